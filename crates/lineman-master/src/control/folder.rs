//! The runtime folder: where a program's lock and control socket are; and where its log is. Used by `command` and
//! `master`; it never trusts a folder that others could write to.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::environment;
use crate::Error;
use crate::os::{procfs, user};

/// The longest path a Unix socket can have: `sun_path` is 108 bytes, its closing zero included.
const SOCKET_PATH_LIMIT: usize = 107;

/// What to do where another folder would do.
const CHOOSE: &str = "--runtime-dir or LINEMAN_RUNTIME_DIR chooses another folder";

const NO_FOLDER: &str =
    "it is no folder; --runtime-dir or LINEMAN_RUNTIME_DIR chooses another folder";

/// Where a program's runtime files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuntimeFolder {
    path: PathBuf,
    name: String,
    /// Where the log of a daemon is.
    logs: PathBuf,
    /// Whether it is the default of a user.
    of_user: bool,
}

/// What decides where the folder is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choice {
    /// What the flag, the environment or the program asks for, in this order.
    pub(crate) wanted: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub(crate) session: Option<PathBuf>,
    /// `$XDG_STATE_HOME`, else `~/.local/state`, if the user can write there.
    pub(crate) state: Option<PathBuf>,
    pub(crate) uid: u32,
}

impl Choice {
    /// Reads the environment. The flag wins over `LINEMAN_RUNTIME_DIR`, which wins over the program.
    pub(crate) fn from_environment(flag: Option<&Path>, program: Option<&Path>) -> Self {
        let variable = |variable: environment::Variable| {
            std::env::var_os(variable.name).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        Self {
            wanted: flag
                .map(Path::to_path_buf)
                .or_else(|| variable(environment::RUNTIME_DIR))
                .or_else(|| program.map(Path::to_path_buf)),
            session: variable(environment::XDG_RUNTIME_DIR),
            state: variable(environment::XDG_STATE_HOME)
                .or_else(|| Some(variable(environment::HOME)?.join(".local/state")))
                .filter(|state| can_have_folders(state)),
            uid: rustix::process::geteuid().as_raw(),
        }
    }
}

impl RuntimeFolder {
    /// Returns where the folder of the program `name` is; nothing is created yet.
    pub(crate) fn resolve(name: &str, choice: &Choice) -> Self {
        if let Some(wanted) = &choice.wanted {
            let path = std::path::absolute(wanted).unwrap_or_else(|_| wanted.clone());
            return Self { logs: path.clone(), path, name: name.to_owned(), of_user: false };
        }
        // A session's folder is none for root: its daemons are the machine's, in whichever session they start.
        let (path, logs) = if choice.uid == 0 {
            (Path::new("/run").join(name), Some(Path::new("/var/log").join(name)))
        } else {
            let path = match &choice.session {
                Some(session) => session.join(name),
                None => PathBuf::from(format!("/tmp/lineman-{}", choice.uid)).join(name),
            };
            (path, choice.state.as_ref().map(|state| state.join(name)))
        };
        let (logs, of_user) = (logs.unwrap_or_else(|| path.clone()), choice.uid != 0);
        Self { logs, path, name: name.to_owned(), of_user }
    }

    /// Returns root's folder of the same program if this one is another user's and was not chosen.
    pub(crate) fn of_root(&self) -> Option<Self> {
        self.of_user.then(|| Self::resolve(&self.name, &Choice::default()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the lock, which also names the master's process.
    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join("master.lock")
    }

    /// Returns the path of the socket the command line talks to.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// Returns whether a process listens there, which takes no rights to see.
    pub(crate) fn is_listened_at(&self) -> bool {
        procfs::is_listened_at(&self.socket())
    }

    /// Returns the path of the log that `start -d` writes. Runtime folders are emptied at every boot,
    /// a log is wanted longer.
    pub(crate) fn log(&self) -> PathBuf {
        self.logs.join(format!("{}.log", self.name))
    }

    /// Makes sure the folder exists, belongs to this user and can be written by no other.
    pub(crate) fn create(&self) -> Result<(), Error> {
        self.check_length()?;
        if let Some(parent) = self.path.parent() {
            make(parent)?;
        }
        self.check_parent()?;
        make(&self.path)?;
        Self::check_owned(&self.path)
    }

    fn check_length(&self) -> Result<(), Error> {
        if self.socket().as_os_str().len() <= SOCKET_PATH_LIMIT {
            return Ok(());
        }
        let problem = format!(
            "the path is longer than a socket's may be ({SOCKET_PATH_LIMIT} bytes); choose a shorter \
             --runtime-dir"
        );
        Err(failed("create", &self.socket(), io::Error::other(problem)))
    }

    /// Below /tmp any user can get in first; the folder above ours, if it is there, must be ours too.
    fn check_parent(&self) -> Result<(), Error> {
        let parent = self.path.parent();
        let parent = parent.filter(|parent| parent.parent() == Some(Path::new("/tmp")));
        match parent.filter(|parent| fs::symlink_metadata(parent).is_ok()) {
            Some(parent) => Self::check_owned(parent),
            None => Ok(()),
        }
    }

    /// Says what [`RuntimeFolder::create`] would object to, as far as it can be seen without creating
    /// anything.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_length()?;
        self.check_readable()?;
        self.check_parent()?;
        let there = self.path.ancestors().find(|path| fs::symlink_metadata(path).is_ok());
        let Some(there) = there else { return Ok(()) };
        if there == self.path {
            Self::check_owned(there)?;
        }
        access(there, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| failed("write to", there, error.into()))
    }

    /// Makes sure that the caller may believe what is in the folder: it is the user's own, or the user
    /// is root. A folder that does not exist is fine, as it says nothing.
    pub(crate) fn check_readable(&self) -> Result<(), Error> {
        let facts = match look(&self.path) {
            Ok(facts) => facts,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("use", &self.path, explained(&self.path, &error))),
        };
        if !self.path.is_dir() {
            let problem = io::Error::new(io::ErrorKind::NotADirectory, NO_FOLDER);
            return Err(failed("use", &self.path, problem));
        }
        let us = rustix::process::geteuid().as_raw();
        if us == 0 || facts.uid() == us {
            return Ok(());
        }
        let problem = format!("it belongs to {}: run this as that user", user::name(facts.uid()));
        Err(failed("use", &self.path, io::Error::new(io::ErrorKind::PermissionDenied, problem)))
    }

    fn check_owned(path: &Path) -> Result<(), Error> {
        let facts = look(path).map_err(|source| failed("look at", path, source))?;
        match objection(&facts, rustix::process::geteuid().as_raw()) {
            None => Ok(()),
            Some(problem) => Err(failed("use", path, io::Error::other(problem))),
        }
    }
}

/// Returns whether folders can be made at `path`, which need not exist yet.
fn can_have_folders(path: &Path) -> bool {
    let there = path.ancestors().find(|path| path.exists());
    there.is_some_and(|there| {
        there.is_dir() && access(there, Access::WRITE_OK | Access::EXEC_OK).is_ok()
    })
}

/// Looks at a folder, through a link that only we or root can have made.
fn look(path: &Path) -> io::Result<Metadata> {
    let link = fs::symlink_metadata(path)?;
    if !link.is_symlink() {
        return Ok(link);
    }
    if link.uid() != 0 && link.uid() != rustix::process::geteuid().as_raw() {
        let owner = user::name(link.uid());
        return Err(io::Error::other(format!("it is a link that belongs to {owner}")));
    }
    fs::metadata(path)
}

fn objection(facts: &Metadata, us: u32) -> Option<String> {
    if !facts.is_dir() {
        Some(NO_FOLDER.to_owned())
    } else if facts.uid() != us {
        let owner = user::name(facts.uid());
        Some(format!("it belongs to {owner}: {CHOOSE}"))
    } else if facts.mode() & 0o022 != 0 {
        let mode = facts.mode() & 0o7777;
        Some(format!("others can write to it (mode {mode:04o}): `chmod 0700` it"))
    } else {
        None
    }
}

fn make(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    // The mode counts for every folder it creates, as each of them is for us alone.
    let made = DirBuilder::new().mode(0o700).recursive(true).create(path);
    made.map_err(|source| failed("create", path, explained(path, &source)))
}

/// Adds what to do to what the operating system says; which user could, where it is a matter of rights.
fn explained(path: &Path, error: &io::Error) -> io::Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => closed(path).map(|(folder, owner)| {
            format!("{} is open to {owner} alone: run this as that user", folder.display())
        }),
        _ => None,
    };
    let hint = hint.unwrap_or_else(|| CHOOSE.to_owned());
    io::Error::new(error.kind(), format!("{error} (hint: {hint})"))
}

/// Returns the folder on the way to `path` that we may not enter, and whose it is.
fn closed(path: &Path) -> Option<(&Path, String)> {
    let folder = path.ancestors().skip(1).find(|folder| folder.is_dir())?;
    let owner = user::name(fs::metadata(folder).ok()?.uid());
    access(folder, Access::EXEC_OK).err().map(|_| (folder, owner))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: Option<&str>, session: Option<&str>, uid: u32, path: &str, log: &str) {
        let choice = Choice {
            wanted: wanted.map(PathBuf::from),
            session: session.map(PathBuf::from),
            state: Some("/srv/x/state".into()),
            uid,
        };
        let folder = RuntimeFolder::resolve("chat", &choice);
        assert_eq!((folder.path(), &*folder.log()), (Path::new(path), Path::new(log)));
    }

    #[test]
    fn the_folder_that_is_asked_for_wins_and_has_the_log() {
        check(Some("/srv/x"), Some("/run/user/7"), 7, "/srv/x", "/srv/x/chat.log");
        check(Some("/srv/x"), None, 0, "/srv/x", "/srv/x/chat.log");
    }

    #[test]
    fn else_everything_is_where_the_platform_has_it() {
        let (state, system) = ("/srv/x/state/chat/chat.log", "/var/log/chat/chat.log");
        check(None, Some("/run/user/7"), 7, "/run/user/7/chat", state);
        check(None, None, 7, "/tmp/lineman-7/chat", state);
        check(None, None, 0, "/run/chat", system);
        check(None, Some("/run/user/0"), 0, "/run/chat", system);
    }

    #[test]
    fn a_user_without_a_home_has_the_log_in_the_runtime_folder() {
        let folder = RuntimeFolder::resolve("chat", &Choice { uid: 7, ..Choice::default() });
        assert_eq!(folder.log(), Path::new("/tmp/lineman-7/chat/chat.log"));
        assert!(!can_have_folders(Path::new("/dev/null/x")));
        assert!(can_have_folders(&std::env::temp_dir().join("a/b/c")));
    }

    #[test]
    fn root_may_have_the_folder_that_a_user_does_not_have() {
        let of_root = |wanted: Option<&str>, uid| {
            let choice = Choice { wanted: wanted.map(PathBuf::from), uid, ..Choice::default() };
            RuntimeFolder::resolve("chat", &choice).of_root().map(|folder| folder.path)
        };
        assert_eq!(of_root(None, 7), Some("/run/chat".into()));
        assert_eq!(of_root(None, 0), None);
        assert_eq!(of_root(Some("/srv/x"), 7), None);
    }

    #[test]
    fn the_folder_above_in_tmp_is_ours_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::tempdir_in("/tmp").unwrap();
        let wanted = Some(parent.path().join("chat"));
        let folder = RuntimeFolder::resolve("chat", &Choice { wanted, ..Choice::default() });
        folder.check().unwrap();
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o777)).unwrap();
        for refused in [folder.create(), folder.check()] {
            let error = crate::error::chain(&refused.expect_err("open to all"));
            assert!(error.contains("others can write to it"), "{error}");
        }
    }

    #[test]
    fn a_link_of_ours_is_followed_to_a_folder_that_passes() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = tempfile::tempdir().unwrap();
        let (target, link) = (place.path().join("target"), place.path().join("link"));
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let choice = Choice { wanted: Some(link.clone()), ..Choice::default() };
        let folder = RuntimeFolder::resolve("chat", &choice);
        fs::set_permissions(&target, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = [folder.create(), folder.check()].map(|checked| checked.is_err());
        assert_eq!(refused, [true, true], "what is behind the link counts");
        fs::set_permissions(&target, fs::Permissions::from_mode(0o700)).unwrap();
        folder.check().unwrap();
        folder.create().unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
            let error = crate::error::chain(&folder.create().expect_err("another's link"));
            assert!(error.contains("it is a link that belongs to"), "{error}");
        }
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_before_anything_is_created() {
        let choice = Choice {
            wanted: Some(format!("/tmp/{}", "x".repeat(200)).into()),
            ..Choice::default()
        };
        let folder = RuntimeFolder::resolve("chat", &choice);
        for refused in [folder.create(), folder.check()] {
            let error = refused.expect_err("too long").to_string();
            assert!(error.contains("--runtime-dir"), "{error}");
        }
        assert!(!folder.path().exists());
    }
}
