//! Users and groups of this host, read from the files that every system has.
//!
//! A directory service (LDAP, sssd) is not asked: a look-up there can hang, and what is said of a user is only how he
//! is called. Whom the files do not know is shown by number.

use std::path::Path;

use super::read;

/// The longest file of users that is read, in bytes.
const MAX: usize = 1 << 20;

/// A user as `/etc/passwd` knows him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// His number.
    pub uid: u32,
    /// The number of his own group.
    pub gid: u32,
    /// Where he is at home.
    pub home: String,
}

/// The user whose rights this process has.
pub fn current() -> String {
    name(current_id())
}

/// His number.
pub fn current_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether this process has the rights of root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The name of a user, or `uid 1000` where the system knows none.
pub fn name(uid: u32) -> String {
    name_of(&text("/etc/passwd"), uid).unwrap_or_else(|| format!("uid {uid}"))
}

/// The name of a group, or `gid 1000` where the system knows none.
pub fn group(gid: u32) -> String {
    name_of(&text("/etc/group"), gid).unwrap_or_else(|| format!("gid {gid}"))
}

/// The number of the group called `name`; none where the system knows none.
pub fn group_id(name: &str) -> Option<u32> {
    let text = text("/etc/group");
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields[0] == name && !name.is_empty())?.get(2)?.parse().ok()
}

/// The user called `name`; none where the system knows none.
pub fn account(name: &str) -> Option<Account> {
    account_of(&text("/etc/passwd"), name)
}

fn text(path: &str) -> String {
    let mut bytes = Vec::new();
    match read::into(Path::new(path), &mut bytes, MAX) {
        Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

/// The name that the third field `id` has in a file like `/etc/passwd` or `/etc/group` (passwd(5), group(5)).
fn name_of(file: &str, id: u32) -> Option<String> {
    let mut lines = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(2).and_then(|field| field.parse().ok()) == Some(id))?;
    let name: String = line[0].chars().filter(|c| !c.is_control()).take(64).collect();
    (!name.is_empty()).then_some(name)
}

fn account_of(passwd: &str, name: &str) -> Option<Account> {
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields[0] == name && !name.is_empty())?;
    let number = |i: usize| line.get(i).and_then(|field| field.parse().ok());
    Some(Account { uid: number(2)?, gid: number(3)?, home: line.get(5).copied().unwrap_or("/").to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nbroken\nbackstop:x:990:980::/var/lib/backstop:/usr/sbin/nologin\n:x:7:7::/:\n";

    #[test]
    fn a_user_has_a_name_a_number_and_a_home() {
        assert_eq!(name_of(PASSWD, 990).as_deref(), Some("backstop"));
        assert_eq!(name_of(PASSWD, 7), None);
        assert_eq!(name_of(PASSWD, 1000), None);
        let account = Account { uid: 990, gid: 980, home: "/var/lib/backstop".into() };
        assert_eq!(account_of(PASSWD, "backstop"), Some(account));
        assert_eq!(account_of(PASSWD, "broken"), None);
        assert_eq!(account_of(PASSWD, ""), None);
    }

    #[test]
    fn every_host_has_root() {
        assert_eq!((name(0).as_str(), group(0).as_str()), ("root", "root"));
        assert_eq!((group_id("root"), group_id("")), (Some(0), None));
        assert_eq!(name(4_000_000_000), "uid 4000000000");
    }
}
