//! Whether something that was written out is probably a secret.
//!
//! Errs on the side of a refusal: a secret in the configuration, or among the arguments of a program, is read by
//! everybody who looks; a harmless word that is refused costs a minute.

/// Whether the value of the variable `name` is a secret: by the name, or because an address holds a password.
pub(super) fn variable(name: &str, value: &str) -> bool {
    has_credentials(value) || (is_name(name) && !value.is_empty())
}

/// Whether an argument is a secret, or holds one; `before` is the argument before it.
pub(super) fn argument(text: &str, before: Option<&str>) -> bool {
    let is_value = |value: &str| !value.is_empty() && !value.starts_with(['/', '-', '$', '{']);
    let named = |option: &str| option.strip_prefix("--").is_some_and(is_name);
    let pair = text.split([' ', '&', '?', ';']).any(|word| match word.split_once('=') {
        Some((name, value)) => {
            let is_secret = name.strip_prefix("--").map_or_else(|| is_plain(name), is_name);
            is_secret && is_value(value.trim_matches(['\'', '"']))
        }
        None => false,
    });
    has_credentials(text) || pair || (before.is_some_and(named) && is_value(text))
}

/// Whether an argument has the shape in which a well-known client takes a secret; what to write instead.
pub(super) fn of_client(program: &str, text: &str, before: Option<&str>) -> Option<&'static str> {
    let is_value = |value: &str| !value.is_empty() && !value.starts_with(['/', '-', '$', '{', '@']);
    let is_login = |value: &str| value.split_once(':').is_some_and(|(_, password)| is_value(password));
    let is_header = |value: &str| {
        let header = value.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        header.is_some_and(|(_, value)| is_value(value.trim()))
    };
    match program {
        _ if program.starts_with("mysql") || program.starts_with("mariadb") => text
            .strip_prefix("-p")
            .is_some_and(is_value)
            .then_some("give it by env = { MYSQL_PWD = \"credential:mysql\" }"),
        "redis-cli" | "valkey-cli" => (matches!(before, Some("-a" | "--pass")) && is_value(text))
            .then_some("give it by env = { REDISCLI_AUTH = \"credential:redis\" }"),
        "curl" => {
            let after = |short: &str| text.strip_prefix(short).filter(|_| !text.starts_with("--"));
            let login = if matches!(before, Some("-u" | "--user")) { Some(text) } else { after("-u") };
            let header = if matches!(before, Some("-H" | "--header")) { Some(text) } else { after("-H") };
            (login.is_some_and(is_login) || header.is_some_and(is_header))
                .then_some("ask by [http.NAME] with auth = { bearer = \"credential:NAME\" }, or let curl read a file: --netrc-file, -H @FILE")
        }
        _ => None,
    }
}

const WORDS: [&str; 7] = ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "APIKEY", "CREDENTIAL"];

/// Whether a word in front of a `=` that is no option is the name of a secret: `key = 5` may be part of a query.
fn is_plain(name: &str) -> bool {
    is_name(name) && WORDS.iter().any(|word| name.to_ascii_uppercase().contains(word))
}

/// Whether a name speaks of a secret, and not of the place of one.
fn is_name(name: &str) -> bool {
    const PARTS: [&str; 4] = ["PASS", "PWD", "AUTH", "KEY"];
    const PLACES: [&str; 8] = ["FILE", "PATH", "DIR", "SOCK", "ID", "NAME", "ASKPASS", "URL"];
    let is_word = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    let name = name.to_ascii_uppercase();
    if !is_word
        || matches!(&*name, "PWD" | "OLDPWD")
        || name.starts_with("NO-")
        || PLACES.iter().any(|place| name.ends_with(place))
    {
        return false;
    }
    WORDS.iter().any(|word| name.contains(word)) || name.split(['_', '-', '.']).any(|part| PARTS.contains(&part))
}

/// Whether an address with a password stands in the text: `scheme://user:password@host`.
fn has_credentials(text: &str) -> bool {
    text.match_indices("://").any(|(i, _)| {
        let authority = text[i + 3..].split(['/', '?', '#', ' ', '"', '\'']).next().unwrap_or_default();
        let user = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
        user.is_some_and(|(_, password)| !password.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_secret_by_their_name_or_their_value() {
        for name in
            ["PGPASSWORD", "MYSQL_PWD", "REDISCLI_AUTH", "VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY", "api-key", "DB_PASS"]
        {
            assert!(variable(name, "hunter2"), "{name}");
            assert!(!variable(name, ""), "{name}");
        }
        for (name, value) in [
            ("PGUSER", "shop"),
            ("PGPASSFILE", "/etc/pgpass"),
            ("SSH_AUTH_SOCK", "/run/a"),
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("PWD", "/srv"),
            ("TZ", "UTC"),
            ("KEYBOARD", "de"),
            ("URL", "http://shop@h/a:b@c"),
        ] {
            assert!(!variable(name, value), "{name}");
        }
        assert!(variable("URL", "redis://:hunter2@h:6379/0"));
    }

    #[test]
    fn well_known_clients_are_known_by_the_way_they_take_a_password() {
        for (program, text, before) in [
            ("mysql", "-phunter2", None),
            ("mysqladmin", "-phunter2", Some("-u")),
            ("mariadb", "-phunter2", None),
            ("redis-cli", "hunter2", Some("-a")),
            ("valkey-cli", "hunter2", Some("--pass")),
            ("curl", "shop:hunter2", Some("-u")),
            ("curl", "-ushop:hunter2", None),
            ("curl", "shop:hunter2", Some("--user")),
            ("curl", "authorization: Bearer hunter2", Some("-H")),
        ] {
            assert!(of_client(program, text, before).is_some(), "{program} {text}");
        }
        for (program, text, before) in [
            ("mysql", "-p", None),
            ("mysql", "-P3306", None),
            ("psql", "-p5432", None),
            ("redis-cli", "ping", Some("-e")),
            ("curl", "shop", Some("-u")),
            ("curl", "--url", None),
            ("curl", "Accept: text/plain", Some("-H")),
            ("curl", "@/etc/backstop/header", Some("-H")),
        ] {
            assert!(of_client(program, text, before).is_none(), "{program} {text}");
        }
    }

    #[test]
    fn arguments_are_secret_by_their_option_or_their_value() {
        for (text, before) in [
            ("--password=hunter2", None),
            ("hunter2", Some("--password")),
            ("hunter2", Some("--api-token")),
            ("host=h password=hunter2 user=u", None),
            ("password='hunter2'", None),
            ("http://h/?a=b&token=hunter2", None),
            ("mysql://u:hunter2@h", None),
        ] {
            assert!(argument(text, before), "{text}");
        }
        for (text, before) in [
            ("--no-password", None),
            ("select 1", Some("--no-password")),
            ("select password from users where a = 'b'", None),
            ("--password-file=/etc/p", None),
            ("/etc/p", Some("--token")),
            ("--user", Some("--password")),
            ("http://shop@h/", None),
            ("-XAtc", None),
            ("select count(*) from keys where key=5", Some("-c")),
        ] {
            assert!(!argument(text, before), "{text}");
        }
    }
}
