//! Names and numbers of users and groups: whose file it is, and whose it shall be.

use std::fs;
use std::io;

use nix::unistd::{Group, User};

/// Returns the user's name, or `uid N` when the machine has none for it.
pub fn name(uid: u32) -> String {
    fs::read_to_string("/etc/passwd")
        .ok()
        .and_then(|passwd| find(&passwd, uid))
        .unwrap_or_else(|| format!("uid {uid}"))
}

/// Returns the number of a user, given by name or number.
pub fn id(user: &str) -> io::Result<u32> {
    known("user", user, |name| Ok(User::from_name(name)?.map(|user| user.uid.as_raw())))
}

/// Returns the number of a group, given by name or number.
pub fn group_id(group: &str) -> io::Result<u32> {
    known("group", group, |name| Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())))
}

fn known(
    what: &str,
    name: &str,
    find: impl FnOnce(&str) -> io::Result<Option<u32>>,
) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let problem = || io::Error::other(format!("this machine has no {what} {name:?}"));
    find(name)?.ok_or_else(problem)
}

fn find(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_field_is_the_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nwww:x:33:0::/:/bin/false\n";
        assert_eq!(find(passwd, 33).as_deref(), Some("www"));
        assert_eq!(find(passwd, 5), None);
    }

    #[test]
    fn a_number_is_itself_and_a_name_is_looked_up() {
        assert_eq!(id("4711").unwrap(), 4711);
        assert_eq!(id("root").unwrap(), 0);
        assert_eq!(group_id("root").unwrap(), 0);
        let error = id("nobody-by-this-name").expect_err("unknown");
        assert_eq!(error.to_string(), "this machine has no user \"nobody-by-this-name\"");
    }
}
