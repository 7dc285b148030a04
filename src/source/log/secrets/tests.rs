//! Lines with secrets and lines that only look so. `<20>` stands for 20 letters and digits and `<A16>` for capitals, so that no
//! line of this file looks like a secret itself.

use proptest::prelude::*;

use super::*;

/// The pattern that finds it, the line, the line as it is shown.
const SECRETS: &[(&str, &str, &str)] = &[
    ("secret_password", "login failed: password=hunter2 user=bob", "login failed: password=*** user=bob"),
    ("secret_password", r#"{"user":"bob","password":"hunter2!"}"#, r#"{"user":"bob","password":"***"}"#),
    ("secret_password", r#"{"msg":"{\"password\":\"hunter2\"}"}"#, r#"{"msg":"{\"password\":\"***\"}"}"#),
    ("secret_password", "  db_password: s3cr3t-value", "  db_password: ***"),
    ("secret_password", "DB_PASSWORD=s3cr3t-value", "DB_PASSWORD=***"),
    (
        "secret_password",
        "GET /login?user=bob&password=hunter2&next=/ HTTP/1.1",
        "GET /login?user=bob&password=***&next=/ HTTP/1.1",
    ),
    (
        "secret_password",
        "Server=db;User Id=sa;Password=Passw0rd;Encrypt=true",
        "Server=db;User Id=sa;Password=***;Encrypt=true",
    ),
    ("secret_password", "mysql --user root --password=hunter2", "mysql --user root --password=***"),
    ("secret_password", "{'passwd': 'c0rrect horse'}", "{'passwd': '***'}"),
    ("secret_password", "userPassword => 'hunter2'", "userPassword => '***'"),
    ("secret_password", "host=db user=app password='h0rse-or a cow'", "host=db user=app password='***'"),
    ("secret_password", "PASSWD=hunter2hunter2", "PASSWD=***"),
    ("secret_password", "password=pässwörd1", "password=***"),
    ("secret_pwd", "Server=db;Uid=sa;Pwd=hunter2;", "Server=db;Uid=sa;Pwd=***;"),
    ("secret_pwd", "odbc pwd=hunter2", "odbc pwd=***"),
    ("secret_assignment", "client_secret=<32>", "client_secret=***"),
    ("secret_assignment", r#"{"client_secret":"<32>"}"#, r#"{"client_secret":"***"}"#),
    ("secret_assignment", "clientSecret: <24>", "clientSecret: ***"),
    ("secret_assignment", "SECRET_KEY=<50>", "SECRET_KEY=***"),
    ("secret_assignment", "DJANGO_SECRET_KEY='<40>'", "DJANGO_SECRET_KEY='***'"),
    ("secret_assignment", "aws_secret_access_key = <40>", "aws_secret_access_key = ***"),
    ("secret_assignment", "AWS_SECRET_ACCESS_KEY=<40>", "AWS_SECRET_ACCESS_KEY=***"),
    ("secret_assignment", r#""SecretAccessKey": "<40>","#, r#""SecretAccessKey": "***","#),
    ("secret_token", "access_token=<40>", "access_token=***"),
    ("secret_token", r#"{"token":"<24>"}"#, r#"{"token":"***"}"#),
    ("secret_token", "GET /cb?id_token=<24>&state=1", "GET /cb?id_token=***&state=1"),
    ("secret_token", "x-vault-token: <24>", "x-vault-token: ***"),
    ("secret_token", "BOT_TOKEN=<24>", "BOT_TOKEN=***"),
    ("secret_token", "refreshToken: '<24>'", "refreshToken: '***'"),
    ("secret_api_key", "GET /v1/x?api_key=<32> 200", "GET /v1/x?api_key=*** 200"),
    ("secret_api_key", "apikey: <32>", "apikey: ***"),
    ("secret_api_key", r#""apiKey":"<32>""#, r#""apiKey":"***""#),
    ("secret_api_key", "STRIPE_API_KEY=<32>", "STRIPE_API_KEY=***"),
    (
        "secret_storage_key",
        "AccountName=shop;AccountKey=<86>==;EndpointSuffix=x",
        "AccountName=shop;AccountKey=***;EndpointSuffix=x",
    ),
    (
        "secret_storage_key",
        "SharedAccessKeyName=root;SharedAccessKey=<43>=",
        "SharedAccessKeyName=root;SharedAccessKey=***",
    ),
    ("secret_basic_auth", "Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
    (
        "secret_basic_auth",
        r#""authorization":"Basic dXNlcjpwYXNzd29yZA==","x":1"#,
        r#""authorization":"Basic ***","x":1"#,
    ),
    ("secret_basic_auth", "> Proxy-Authorization: basic dXNlcjpwYXNzd29yZA==", "> Proxy-Authorization: basic ***"),
    ("secret_bearer_token", "Authorization: Bearer <40>", "Authorization: Bearer ***"),
    (
        "secret_bearer_token",
        "curl -H 'authorization: bearer <40>' https://x",
        "curl -H 'authorization: bearer ***' https://x",
    ),
    ("secret_bearer_token", "sent Bearer <30> upstream", "sent Bearer *** upstream"),
    (
        "secret_url_password",
        "connect to postgres://app:hunter2@db:5432/shop failed",
        "connect to postgres://app:***@db:5432/shop failed",
    ),
    ("secret_url_password", "postgresql://app:p%40ss@db/shop", "postgresql://app:***@db/shop"),
    ("secret_url_password", "DATABASE_URL=mysql://root:toor@127.0.0.1/", "DATABASE_URL=mysql://root:***@127.0.0.1/"),
    ("secret_url_password", "mongodb+srv://app:xhunter2@c0.example.net", "mongodb+srv://app:***@c0.example.net"),
    ("secret_url_password", "mongodb://app:hunter2@a,b/shop", "mongodb://app:***@a,b/shop"),
    ("secret_url_password", "redis://:hunter2@cache:6379/0", "redis://:***@cache:6379/0"),
    ("secret_url_password", "amqp://guest:guest@mq:5672//", "amqp://guest:***@mq:5672//"),
    ("secret_aws_key", "denied for AKIA<A16> in eu-west-1", "denied for *** in eu-west-1"),
    ("secret_aws_key", "Credential=ASIA<A16>/20250312/eu-west-1", "Credential=***"),
    ("secret_jwt", "session eyJhbGciOi<20>.eyJzdWIi<20>.<43> expired", "session *** expired"),
    ("secret_jwt", "jwt=eyJ0eXAiOi<20>.eyJpc3Mi<20>.<43>", "jwt=***"),
    ("secret_private_key", "-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN ***"),
    (
        "secret_private_key",
        r#"{"key":"-----BEGIN PRIVATE KEY-----\n<64>\n-----END PRIVATE KEY-----\n"}"#,
        r#"{"key":"-----BEGIN ***"#,
    ),
    (
        "secret_private_key",
        "-----BEGIN EC PRIVATE KEY-----\n<64>\n<20>\n-----END EC PRIVATE KEY-----\nnext",
        "-----BEGIN ***\n***\n***\n-----END EC PRIVATE KEY-----\nnext",
    ),
    ("secret_github_token", "cloning with ghp_<36>", "cloning with ***"),
    ("secret_github_token", "GITHUB: ghs_<36>.", "GITHUB: ***"),
    ("secret_github_token", "remote github_pat_<22>_<59> rejected", "remote *** rejected"),
    ("secret_gitlab_token", "glpat-<20> has no scope", "*** has no scope"),
    ("secret_slack_token", "posting with xoxb-123456789012-<24>", "posting with ***"),
    ("secret_slack_token", "xoxp-1234567890-<24>", "***"),
    (
        "secret_slack_webhook",
        "POST https://hooks.slack.com/services/T<8>/B<8>/<24> 404",
        "POST https://hooks.slack.com/services/*** 404",
    ),
    ("secret_stripe_key", "No such customer (key sk_live_<24>)", "No such customer (key ***)"),
    ("secret_stripe_key", "rk_live_<24>", "***"),
    ("secret_google_key", "maps?key=AIza<35>&v=3", "maps?key=***&v=3"),
    ("secret_ai_key", "Incorrect API key provided: sk-ant-api03-<40>", "Incorrect API key provided: ***"),
    ("secret_ai_key", "Incorrect API key provided: sk-<20>T3BlbkFJ<20>", "Incorrect API key provided: ***"),
    ("secret_package_token", "npm ERR! npm_<36> revoked", "npm ERR! *** revoked"),
    ("secret_package_token", "twine: pypi-AgEIcHlwaS5vcmc<60>", "twine: ***"),
];

/// Hidden, but no reason to raise an alarm.
const ONLY_HIDDEN: &[(&str, &str)] = &[
    ("git clone https://bob:hunter2@git.example.com/x", "git clone https://bob:***@git.example.com/x"),
    ("https://x-access-token:<30>@github.com", "https://x-access-token:***"),
    ("https://<30>@github.com/a/b", "https://***@github.com/a/b"),
    ("password=secret", "password=***"),
    (r#"password="p\"q1234567" x"#, r#"password="***" x"#),
    ("password: correct", "password: ***"),
    ("Password = a", "Password = ***"),
    ("pAsSwOrD=abc", "pAsSwOrD=***"),
    ("password=***tail", "password=***"),
    ("password=${DB_PASSWORD}", "password=***"),
    ("X-Api-Key: <32>", "X-Api-Key: ***"),
    ("HTTP_AUTHORIZATION=Token <20>", "HTTP_AUTHORIZATION=Token ***"),
    ("Cookie: sid=<20>; theme=dark", "Cookie: ***"),
    ("PHPSESSID=<26>", "PHPSESSID=***"),
    ("GET /?X-Amz-Signature=<64>&x=1", "GET /?X-Amz-Signature=***&x=1"),
    ("user=bob&pass=abc&x=1", "user=bob&pass=***&x=1"),
    ("sk_test_<24>", "***"),
    ("hvs.<24>", "***"),
    ("SG.<22>.<43>", "***"),
    ("xapp-1-<24>", "***"),
    ("eyJhbGciOi<20>.eyJzdWIi<20>", "***"),
    ("https://discord.com/api/webhooks/123456789/<60>", "https://discord.com/api/webhooks/***"),
    ("<64>", "***"),
];

/// Nothing to find and nothing to hide.
const HARMLESS: &[&str] = &[
    "",
    "token expired",
    "password reset mail sent to bob@example.com",
    "tokens=512",
    "prompt_tokens=51200 completion_tokens=1024",
    "secret santa draws names tomorrow",
    "the secret of success",
    "invalid password for user bob from 10.0.0.7 port 22 ssh2",
    "Failed password for root from 203.0.113.7 port 52314 ssh2",
    "PWD=/srv/shop/releases/20250312",
    "changed pwd to /root",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "request 550e8400-e29b-41d4-a716-446655440000 took 12 ms",
    "<img src=\"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4\">",
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAAMCAgICAgMCAgIDAwMDBAYEBAQEBAgGBgUGCQgKCgkICQkK/AbcD",
    "GET /api/v1/tokens HTTP/1.1 200",
    "GET https://shop.example.com:8443/a?b=c 200",
    "http://127.0.0.1:9090/metrics",
    "see https://example.com/user:guide",
    "mail from bob@example.com to alice@example.com",
    "http://[::1]:8080/",
    "time 12:30:45 user@host",
    "password=***",
    "{\"password\":\"***\"}",
    "postgres://app:***@db/shop",
    "Authorization: Bearer ***",
    "-----BEGIN ***",
    "-----BEGIN PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----",
    "bearer of bad news",
    "the standard bearer arrived",
    "WWW-Authenticate: Bearer realm=\"api\", error=\"invalid_token\"",
    "basic authentication is off",
    "authorization failed for user bob",
    "unauthorized: no such user",
    "disk-usage of task-1234 is 91%",
    "sk-SK locale loaded",
    "npm_config_cache is /root/.npm",
    "AKIA is a prefix",
    "eyJ is how they begin",
    "password",
    "password=",
    "password=\"\"",
    "passwordless login enabled",
    "keyboard: us, key: 17",
    "cache miss for key user:4711, fetched in 12 us",
    "authors=[bob, alice]",
    "compass=north bypass=1 passes=3 passed: 12 failed: 0",
    "tokenizer=bpe tokenization: ok",
    "secretary: alice",
];

/// Hidden perhaps, but no alarm: the value is left out, or it is a word.
const NO_ALARM: &[&str] = &[
    "password=***",
    "password=********",
    "password=xxxxxx",
    "password=<redacted>",
    "password=[FILTERED]",
    "password=${DB_PASSWORD_1}",
    "password=$DB_PASSWORD1",
    "password=null",
    "password: None",
    "password: required",
    "password=%(password1)s",
    "password: {{ db_password1 }}",
    "password=sec***",
    "Unexpected token: identifier",
    "token: expired",
    "secret=missing",
    "secret: default/api-tls-cert",
    "token = get_token(user1)",
    "api_key=undefined",
    "password=a1b2",
    "token=/var/run/secrets/token1",
    "postgres://app:xxxxx@db/shop",
    "postgres://app:<password>@db/shop",
    "postgres://app:${PASSWORD}@db/shop",
    "postgres://db:5432/shop?owner=bob@example.com",
    "Authorization: Bearer ${TOKEN1}",
    "Authorization: Bearer <token>",
    "Authorization: Bearer token",
    "passwordHash=abc123def",
];

fn expanded(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once('<') {
        let (inside, after) = tail.split_once('>').unwrap_or((tail, ""));
        let (letters, count) = match inside.strip_prefix('A') {
            Some(count) => ("Q7WERTYUIOP2ASDFGH", count),
            None => ("kR4tY8bN2mQ6wE1zX5", inside),
        };
        out.push_str(before);
        match count.parse::<usize>() {
            Ok(count) => out.extend(letters.chars().cycle().take(count)),
            Err(_) => out.extend(["<", inside, ">"]),
        }
        rest = after;
    }
    out + rest
}

fn finds(pattern: &str, text: &str) -> bool {
    RegexBuilder::new(pattern).unicode(false).build().unwrap().is_match(text.as_bytes())
}

fn found_in(text: &str) -> Vec<&'static str> {
    static EACH: LazyLock<Vec<Regex>> =
        LazyLock::new(|| PATTERNS.iter().map(|(_, p)| RegexBuilder::new(p).unicode(false).build().unwrap()).collect());
    let found = EACH.iter().zip(PATTERNS).filter(|(regex, _)| regex.is_match(text.as_bytes()));
    found.map(|(_, (name, _))| *name).collect()
}

#[test]
fn secrets_are_found_and_shown_without_their_values() {
    assert!(SECRETS.len() >= 60);
    let mut wrong = Vec::new();
    for (name, line, shown) in SECRETS {
        let line = expanded(line);
        let (found, hidden) = (found_in(&line), hide(&line));
        if !found.contains(name) || hidden != *shown {
            wrong.push(format!("{line}: {found:?} {hidden}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (name, _) in PATTERNS {
        assert!(SECRETS.iter().any(|(other, _, _)| other == name), "{name} has no line");
    }
}

#[test]
fn what_may_be_a_secret_is_hidden_without_an_alarm() {
    let hidden = ONLY_HIDDEN.iter().map(|(line, shown)| (expanded(line), hide(&expanded(line)).into_owned(), *shown));
    let wrong: Vec<_> = hidden.filter(|(_, hidden, shown)| hidden != shown).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn harmless_lines_raise_no_alarm_and_stay_as_they_are() {
    assert!(HARMLESS.len() + NO_ALARM.len() >= 40);
    for line in HARMLESS {
        assert_eq!(found_in(line), Vec::<&str>::new(), "{line}");
        assert!(matches!(hide(line), Cow::Borrowed(same) if same == *line), "{line}: {}", hide(line));
    }
    for line in NO_ALARM {
        assert_eq!(found_in(line), Vec::<&str>::new(), "{line}");
    }
}

#[test]
fn passwords_in_all_addresses_are_found_where_that_is_asked_for() {
    assert!(finds(COSTLY.1, "https://bob:hunter2@git.example.com/x"));
    assert!(!finds(COSTLY.1, "https://bob@git.example.com:8080/x"));
}

#[test]
fn no_pattern_crosses_a_line() {
    for (name, pattern) in PATTERNS.iter().copied().chain([COSTLY]) {
        for (_, line, _) in SECRETS {
            let line = expanded(line);
            let lines = format!("a\n{line}\nb");
            for found in RegexBuilder::new(pattern).unicode(false).build().unwrap().find_iter(lines.as_bytes()) {
                assert!(!found.as_bytes().contains(&b'\n'), "{name}: {found:?}");
            }
        }
    }
}

#[test]
fn each_kind_of_secret_has_one_name() {
    let names: std::collections::BTreeSet<&str> = PATTERNS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), PATTERNS.len(), "each name once");
    for name in names {
        assert!(name.starts_with("secret_"), "{name}");
    }
}

/// Pieces of lines with secrets, in any order, with anything between.
fn texts() -> impl Strategy<Value = String> {
    let known = SECRETS.iter().map(|(_, line, _)| *line).chain(ONLY_HIDDEN.iter().map(|(line, _)| *line));
    let lines: Vec<String> = known.map(expanded).collect();
    let piece = (proptest::sample::select(lines), any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let cut = piece.prop_map(|(line, a, b)| {
        let chars: Vec<char> = line.chars().collect();
        let (a, b) = (a.index(chars.len() + 1), b.index(chars.len() + 1));
        chars[a.min(b)..a.max(b)].iter().collect::<String>()
    });
    let glue =
        proptest::sample::select(vec!["", " ", "***", "=", ":", "\"", "@", "://", "password=", "\\\"", "\n", "*", "é"]);
    proptest::collection::vec((cut, glue), 0..8).prop_map(|all| all.into_iter().map(|(a, b)| a + b).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_hidden_holds_no_secret_and_hiding_it_again_changes_nothing(text in texts()) {
        let hidden = hide(&text).into_owned();
        prop_assert_eq!(found_in(&hidden), Vec::<&str>::new());
        prop_assert_eq!(hide(&hidden), hidden.as_str());
    }

    #[test]
    fn any_text_can_be_hidden(text in "\\PC{0,200}") {
        let hidden = hide(&text).into_owned();
        prop_assert_eq!(hide(&hidden), hidden.as_str());
    }
}
