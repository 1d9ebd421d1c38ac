//! What a process runs as: a user, a group and the user's other groups, looked up before anything
//! starts and put on between fork and exec, so that no line of the program runs with more rights.

#![expect(unsafe_code, reason = "what runs between fork and exec has rules of its own")]

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist, setgroups, setresgid, setresuid};

/// A user with a group and the other groups it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    user: String,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    home: PathBuf,
}

impl Identity {
    /// Looks up a user, by name or number, and a group if it is another than the user's own. A number
    /// that no user has, as is common in containers, is taken as it is, with the same number as group.
    ///
    /// # Errors
    /// When the machine has none of them, or when this process may not become it.
    pub fn find(user: Option<&str>, group: Option<&str>) -> io::Result<Option<Self>> {
        if user.is_none() && group.is_none() {
            return Ok(None);
        }
        let gid = group.map(find_group).transpose()?;
        let uid = match user {
            Some(user) => number("user", user)?.map(Uid::from_raw),
            None => Some(Uid::effective()),
        };
        let found = match (uid, user) {
            (Some(uid), _) => User::from_uid(uid)?,
            (None, name) => User::from_name(name.unwrap_or_default())?,
        };
        let identity = match (found, uid) {
            (Some(user), _) => Self::of(user, gid)?,
            (None, Some(uid)) => Self::without_a_name(uid, gid),
            (None, None) => {
                let problem = format!("this machine has no user {:?}", user.unwrap_or_default());
                return Err(io::Error::other(problem));
            }
        };
        if !Uid::effective().is_root() && !identity.is_ours() {
            let problem = format!("cannot run processes as {identity}: only root can");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
        }
        Ok(Some(identity))
    }

    fn of(user: User, gid: Option<Gid>) -> io::Result<Self> {
        let gid = gid.unwrap_or(user.gid);
        let groups = getgrouplist(&CString::new(user.name.as_str())?, gid)?;
        Ok(Self { user: user.name, uid: user.uid, gid, groups, home: user.dir })
    }

    fn without_a_name(uid: Uid, gid: Option<Gid>) -> Self {
        let gid = gid.unwrap_or(Gid::from_raw(uid.as_raw()));
        Self { user: uid.to_string(), uid, gid, groups: vec![gid], home: PathBuf::from("/") }
    }

    fn is_ours(&self) -> bool {
        self.uid == Uid::effective() && self.gid == Gid::effective()
    }

    /// Has the process of `command` run as this; one that cannot is not started.
    pub fn put_on(&self, command: &mut Command) {
        command.env("USER", &self.user).env("LOGNAME", &self.user).env("HOME", &self.home);
        if !Uid::effective().is_root() {
            return;
        }
        let Self { uid, gid, groups, .. } = self.clone();
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are plain
        // system calls there, as the child has one thread, and nothing is allocated: the list was
        // made before the fork. Groups go first, as the user may not change them.
        unsafe {
            command.pre_exec(move || {
                setgroups(&groups)?;
                setresgid(gid, gid, gid)?;
                setresuid(uid, uid, uid)?;
                Ok(())
            });
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "user {} (uid {}, gid {})", self.user, self.uid, self.gid)
    }
}

/// Returns the number, if it is one. The highest stands for "do not change" in the calls that would
/// put it on: the process would keep the rights of root.
fn number(what: &str, text: &str) -> io::Result<Option<u32>> {
    match text.parse() {
        Ok(u32::MAX) => Err(io::Error::other(format!("{text} is the number of no {what}"))),
        number => Ok(number.ok()),
    }
}

fn find_group(group: &str) -> io::Result<Gid> {
    if let Some(number) = number("group", group)? {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(group)?;
    let problem = || io::Error::other(format!("this machine has no group {group:?}"));
    found.map(|group| group.gid).ok_or_else(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_asked_for_is_nobody() {
        assert_eq!(Identity::find(None, None).unwrap(), None);
    }

    #[test]
    fn unknown_names_are_named() {
        let error = Identity::find(Some("nobody-by-this-name"), None).unwrap_err();
        assert_eq!(error.to_string(), "this machine has no user \"nobody-by-this-name\"");
        let error = Identity::find(Some("root"), Some("no-such-group")).unwrap_err();
        assert_eq!(error.to_string(), "this machine has no group \"no-such-group\"");
    }

    #[test]
    fn a_number_needs_no_name() {
        assert_eq!(User::from_uid(Uid::from_raw(12_345)).unwrap(), None, "the test needs another");
        let find = |user, group| match Identity::find(user, group) {
            Ok(identity) => identity.unwrap().to_string(),
            Err(error) => error.to_string(),
        };
        let said = find(Some("12345"), None);
        assert!(said.contains("user 12345 (uid 12345, gid 12345)"), "{said}");
        let said = find(Some("12345"), Some("54321"));
        assert!(said.contains("user 12345 (uid 12345, gid 54321)"), "{said}");
    }

    #[test]
    fn the_number_that_changes_nothing_is_refused() {
        for (user, group) in [("4294967295", None), ("root", Some("4294967295"))] {
            let error = Identity::find(Some(user), group).unwrap_err().to_string();
            assert!(error.starts_with("4294967295 is the number of no "), "{error}");
        }
    }

    #[test]
    fn a_process_has_user_group_and_no_group_of_ours() {
        if !Uid::effective().is_root() {
            // Nobody else can become another user.
            return;
        }
        let nobody = Identity::find(Some("nobody"), None).unwrap().unwrap();
        let mut command = Command::new("cat");
        command.arg("/proc/self/status");
        nobody.put_on(&mut command);
        let status = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let (uid, gid) = (nobody.uid, nobody.gid);
        assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{status}");
        assert!(status.contains(&format!("Gid:\t{gid}\t{gid}\t{gid}\t{gid}\n")), "{status}");
        assert!(status.contains(&format!("Groups:\t{gid} \n")), "{status}");
    }
}
