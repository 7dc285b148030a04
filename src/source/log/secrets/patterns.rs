//! What secrets look like.
//!
//! Formats with a mark of their own are found by it. A word such as `password` in front of a value is followed by much that
//! is no secret (`password: required`, `token=${TOKEN}`, `secret=[FILTERED]`), so [`value`] asks for something that no such
//! word has.
//!
//! [`PATTERNS`] runs over every byte of every log. The engine skips to where one of these patterns can begin, with a search for
//! many short texts at once, and that is only fast while there are few texts, of four bytes or more, which are rare in logs.
//! Hence words begin in their middle (`assw` is of `password`, `Password` and `passwd`), and rarer spellings and formats are
//! left to [`HIDDEN`], which runs only over what is shown or kept. No pattern matches across lines; all are meant for bytes,
//! without the Unicode mode of the engine.

/// What stands between a key and its value: `=`, `: `, `":"`, `' => '`, and the quotes of JSON within JSON.
macro_rules! is {
    () => {
        r#"\\{0,3}["']?[ \t]?(?:=>?|:)[ \t]?\\{0,3}["']?"#
    };
}

/// A value after a word: at least six characters with a digit or a sign among them, and not the beginning of `${VAR}`,
/// `<redacted>`, `[FILTERED]`, `***`, `%s` or a path. What ends a value in a query, in JSON, in `key=value` and in code does not
/// belong to it. The engine cannot look ahead, so the letters in front of the first digit or sign are counted out.
macro_rules! value {
    () => {
        concat!(
            "((?:[0-9!@#?+~^]",
            of_value!("{5,}"),
            "|[A-Za-z_-](?:",
            sign!(),
            of_value!("{4,}"),
            "|",
            letter!(),
            "(?:",
            sign!(),
            of_value!("{3,}"),
            "|",
            letter!(),
            "(?:",
            sign!(),
            of_value!("{2,}"),
            "|",
            letter!(),
            "(?:",
            sign!(),
            of_value!("+"),
            "|",
            letter!(),
            "+",
            sign!(),
            of_value!("*"),
            ")))))",
            ")"
        )
    };
}

/// A password in an address: `://user:password@`. Not one that is left out: `***`, `xxxxx`, `<password>`, `${PASSWORD}`.
macro_rules! url_password {
    () => {
        r#"://[^\s/?#@:"'<>]{0,64}:([A-Za-wyz0-9_!~.^+-][^\s/?#@"'<>]{2,}|x[^x\s/?#@"'<>][^\s/?#@"'<>]+)@"#
    };
}

/// A value that ends in front of one of these characters and is not `***`, as a group.
macro_rules! not_hidden {
    ($ends:literal) => {
        concat!(r"(\*{0,2}[^*", $ends, "][^", $ends, r"]*|\*{3}[^", $ends, "]+)")
    };
}

/// Characters of a value, so many times.
macro_rules! of_value {
    ($times:literal) => {
        concat!(r#"[^\s"'&;,<>()\[\]{}\\]"#, $times)
    };
}

/// What words and the names of variables and files consist of.
macro_rules! letter {
    () => {
        "[A-Za-z_.:/-]"
    };
}

/// What they do not consist of.
macro_rules! sign {
    () => {
        r#"[^A-Za-z_.:/\-*%\s"'&;,<>()\[\]{}\\]"#
    };
}

/// The kinds that are looked for in every line: the name of the pattern, and a regular expression whose first group is the
/// value. A kind is described in [`super::kind`].
///
/// The order matters to nothing but the speed, and to that by a factor of two: the engine sorts the beginnings of patterns into
/// a few buckets by their place. This is the best of sixty orders that were measured over access, JSON and application logs.
pub const PATTERNS: &[(&str, &str)] = &[
    ("secret_aws_key", r"\b((?:AKIA|ASIA)[A-Z2-7]{16})\b"),
    ("secret_password", concat!("(?:assw(?:or)?d|ASSW(?:OR)?D)", is!(), value!())),
    ("secret_private_key", r"BEGIN ([A-Z0-9 ]{0,30}PRIVATE KEY-[^\r\n]*)"),
    ("secret_stripe_key", "(k_live_[A-Za-z0-9]{16,})"),
    (
        "secret_assignment",
        concat!("(?:ecret(?:(?:_access)?_key|(?:Access)?Key)?|ECRET(?:(?:_ACCESS)?_KEY)?)", is!(), value!()),
    ),
    ("secret_pwd", concat!(r#"\b[Pp]wd=["']?"#, value!())),
    ("secret_github_token", r"\b(gh[ops]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})"),
    (
        "secret_bearer_token",
        "earer[ \t]([A-Za-z._~+/-]{0,3}[0-9][A-Za-z0-9._~+/=-]{7,}|[A-Za-z._~+/-]{4,}[0-9][A-Za-z0-9._~+/=-]{3,})",
    ),
    ("secret_jwt", r"\b(eyJ[h0][A-Za-z0-9_-]{7,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,})"),
    ("secret_slack_token", r"\b(xox[bp]-[A-Za-z0-9-]{10,})"),
    ("secret_url_password", concat!("(?:es|ql|db|rv|is|qp)", url_password!())),
    ("secret_slack_webhook", r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9/_+-]{20,})"),
    ("secret_gitlab_token", r"\b(glpat-[A-Za-z0-9_.-]{20,})"),
    ("secret_package_token", r"\b(npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{50,})"),
    ("secret_api_key", concat!("(?:api_?key|apiKey|API_KEY)", is!(), value!())),
    ("secret_ai_key", r"(\bsk-ant-[A-Za-z0-9_-]{20,}|T3BlbkFJ[A-Za-z0-9_-]{16,})"),
    ("secret_storage_key", "(?:sKey|tKey)=([A-Za-z0-9+/]{40,100}={0,2})"),
    (
        "secret_basic_auth",
        r#"uthorization\\{0,3}["']?[ \t]?[:=][ \t]?\\{0,3}["']?[Bb]asic[ \t]([A-Za-z0-9+/]{8,}={0,2})"#,
    ),
    ("secret_token", concat!("(?:oken|OKEN)", is!(), value!())),
    ("secret_google_key", r"\b(AIza[A-Za-z0-9_-]{35})"),
];

/// Passwords in addresses of any scheme, which [`PATTERNS`] looks for in those of databases and brokers only: where every line
/// has an address, as an access log does, looking at each of them costs as much as all of `PATTERNS`.
pub const COSTLY: (&str, &str) = ("secret_url_password", url_password!());

/// What is hidden besides, because hiding too much is better than too little: any value after one of these words, rarer
/// spellings, formats that are too rare or too short to look for, passwords in any address. The first group that takes part is
/// the value; none of these finds a value that is `***`.
pub(super) const HIDDEN: &[&str] = &[
    // Quoted, with or without a backslash in front of the quotes, or up to what ends a value in a query or in a log.
    concat!(
        "(?i)(?:passw(?:or)?d|passphrase|passcode|pwd|secret|token|(?:api|access|account|private|secret|signing|encryption)[_-]?key",
        r#"|\bpass|phpsessid|jsessionid|signature|credential)\\*["']?[ \t]*(?:=>?|:)[ \t]*(?:\\+["']"#,
        not_hidden!(r#""'\\\r\n"#),
        // A backslash takes the next character with it.
        r#"|"(\*{0,2}(?:[^*"\\\r\n]|\\.)(?:[^"\\\r\n]|\\.)*|\*{3}(?:[^"\\\r\n]|\\.)+)"#,
        "|'",
        not_hidden!(r"'\r\n"),
        "|",
        // `PWD=/srv/shop` is a folder.
        r#"((?:\*{0,2}[^*\s"'\\&;/>]|\*{3}[^\s"'\\&;])[^\s"&;\\]*))"#,
    ),
    r#"://[^\s/?#@:"'<>]*:(\*{0,2}[^*\s/@"'<>][^\s/@"'<>]*|\*{3}[^\s/@"'<>]+)@"#,
    r#"://([^\s/?#@:"'<>*]{16,})@"#,
    concat!(
        r#"(?i)authorization\\*["']?[ \t]*[:=][ \t]*\\*["']?(?:[a-z0-9-]{1,30}[ \t]+"#,
        not_hidden!(r#"\s"'\\,"#),
        r#"|([^\s"'\\]{20,}))"#
    ),
    r"(?i)\bbearer[ \t]+([a-z0-9._~+/=-]{20,})",
    r#"(?i)\bcookie:[ \t]*(\*{0,2}[^*\s"][^"\r\n]*|\*{3}[^"\r\n]+)"#,
    r"(eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4})",
    r"\b([sr]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{16,}|sk-[A-Za-z0-9_-]{20,})",
    r"\b(gh[a-z]_[A-Za-z0-9_.-]{16,}|github_pat_[A-Za-z0-9_]{16,}|gl[a-z]{2,6}-[A-Za-z0-9_.-]{20,})",
    r"\b(xox[a-z.]{1,6}-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}|bot[0-9]{6,}:[A-Za-z0-9_-]{20,})",
    r"\b(A[A-Z]{2}A[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{16,}|GOCSPX-[A-Za-z0-9_-]{16,})",
    r"\b(hv[bs]\.[A-Za-z0-9_-]{20,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{30,}|dckr_pat_[A-Za-z0-9_-]{16,})",
    r"\b(dop_v1_[a-f0-9]{32,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,})",
    r"(?:hooks\.slack\.com/[a-z]+|discord(?:app)?\.com/api/webhooks|webhook\.office\.com/webhookb2)/([A-Za-z0-9/_+@-]{10,})",
];
