//! The lock a master holds for its life: the kernel drops it with the process, so a file that was
//! left behind is never believed. Taken by `master`, asked by `command`. Beside it is a plain pid file
//! for tools that want one; no code here reads it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::Error;

/// How often taking the lock is tried. A command that only asks holds it for an instant, and a start
/// must not take that for another master.
const ATTEMPTS: u32 = 10;

/// The pause between two attempts: longer than a command holds the lock.
const PAUSE: Duration = Duration::from_millis(20);

/// The master that holds the lock: the content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    /// When it started, in seconds since 1970.
    pub(crate) started_at: u64,
    /// The file it was started from.
    #[serde(with = "bytes")]
    pub(crate) program: PathBuf,
    /// The log's file; `None` when it goes to stderr.
    #[serde(default)]
    pub(crate) log: Option<LogPath>,
}

/// The log's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct LogPath(#[serde(with = "bytes")] pub(crate) PathBuf);

impl Holder {
    /// Returns this process as a holder.
    pub(crate) fn this(program: &Path) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            pid: std::process::id(),
            started_at: since.as_secs(),
            program: program.to_path_buf(),
            log: None,
        }
    }
}

/// Paths as text, or as bytes where they are none.
mod bytes {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(PathBuf),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => to.serialize_str(text),
            None => path.as_os_str().as_bytes().serialize(to),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Ok(match Written::deserialize(from)? {
            Written::Text(path) => path,
            Written::Bytes(bytes) => OsString::from_vec(bytes).into(),
        })
    }
}

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    left_by: Option<Holder>,
    file: File,
}

/// Why the lock was not taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// Another master has it; `None` when it has not written its name yet.
    Held(Option<Holder>),
    /// The file cannot be used.
    Failed(Error),
}

impl Lock {
    /// Takes the lock and writes `holder` into the file.
    pub(crate) fn take(path: &Path, holder: &Holder) -> Result<Self, NotTaken> {
        for attempt in 1..=ATTEMPTS {
            if let Some(lock) = Self::attempt(path, holder)? {
                return Ok(lock);
            }
            if attempt < ATTEMPTS {
                std::thread::sleep(PAUSE);
            }
        }
        Err(NotTaken::Held(read(path)))
    }

    /// Returns the lock that this process holds already, under another program.
    pub(crate) fn of_this_process(path: PathBuf, file: OwnedFd) -> Self {
        Self { path, left_by: None, file: file.into() }
    }

    /// Returns a descriptor of the same lock.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// Tries once; `None` when another process holds it at this moment.
    fn attempt(path: &Path, holder: &Holder) -> Result<Option<Self>, NotTaken> {
        let fail = |source| NotTaken::Failed(failed("lock", path, explained(source)));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(fail)?;
        match file.try_lock() {
            // The file may have been unlinked by its last holder between open and lock.
            Ok(()) if !is_still(path, &file) => Ok(None),
            Ok(()) => {
                let left_by = read(path);
                // From here on an error removes the file.
                let lock = Self { path: path.to_path_buf(), left_by, file };
                write(&lock.file, holder).map_err(fail)?;
                lock.write_pid(holder.pid)?;
                Ok(Some(lock))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(fail(source)),
        }
    }

    fn write_pid(&self, pid: u32) -> Result<(), NotTaken> {
        let path = self.pid_file();
        // A new file, never one that another process may have open.
        let written = remove(&path).and_then(|()| {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
            writeln!(file, "{pid}")
        });
        written.map_err(|source| NotTaken::Failed(failed("write", &path, explained(source))))
    }

    fn pid_file(&self) -> PathBuf {
        self.path.with_extension("pid")
    }

    /// Returns the master that held it last, if that master did not come to give it back.
    pub(crate) fn left_by(&self) -> Option<&Holder> {
        self.left_by.as_ref()
    }

    /// Returns whether the files are still where they were made: when they are deleted, others
    /// believe that the lock is free.
    pub(crate) fn is_in_place(&self) -> bool {
        self.is_ours() && self.pid_file().exists()
    }

    /// Makes again what was deleted, and locks it.
    pub(crate) fn restore(&mut self, holder: &Holder) -> Result<(), NotTaken> {
        if self.is_ours() {
            return self.write_pid(holder.pid);
        }
        // Once: the master's loop waits meanwhile, and the next look comes by itself.
        let Some(mut new) = Self::attempt(&self.path, holder)? else {
            return Err(NotTaken::Held(read(&self.path)));
        };
        std::mem::swap(&mut self.file, &mut new.file);
        Ok(())
    }

    /// Returns whether what is there now is what we have locked, and not another master's.
    pub(crate) fn is_ours(&self) -> bool {
        is_still(&self.path, &self.file)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Another master's, if ours was deleted and it came first.
        if !self.is_ours() {
            return;
        }
        // Before the lock goes, so that no file but ours can be hit. A failure leaves a file
        // that no reader believes.
        for path in [self.pid_file(), self.path.clone()] {
            if let Err(error) = remove(&path) {
                tracing::debug!(path = %path.display(), %error, "cannot remove the lock's file");
            }
        }
    }
}

/// Returns the master that holds the lock at `path`; `None` when it is free.
pub(crate) fn holder(path: &Path) -> Result<Option<Holder>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed("read", path, source)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::Error(source)) => Err(failed("read", path, source)),
        Err(TryLockError::WouldBlock) => {
            // Written right after it was locked: at worst a moment away.
            for _ in 0..ATTEMPTS {
                if let Some(holder) = read(path) {
                    return Ok(Some(holder));
                }
                std::thread::sleep(PAUSE);
            }
            let problem = io::Error::other("it is locked and does not say by whom");
            Err(failed("read", path, problem))
        }
    }
}

fn write(mut file: &File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    let mut line = serde_json::to_vec(holder)?;
    line.push(b'\n');
    file.write_all(&line)
}

fn read(path: &Path) -> Option<Holder> {
    let mut text = String::new();
    // A lock's file is one short line; whatever is longer is none.
    File::open(path).ok()?.take(8192).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_still(path: &Path, file: &File) -> bool {
    match (fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(ours)) => there.dev() == ours.dev() && there.ino() == ours.ino(),
        _ => false,
    }
}

/// Adds what to do where the disk is to blame.
fn explained(error: io::Error) -> io::Error {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full: make room",
        io::ErrorKind::ReadOnlyFilesystem => "nothing can be written there",
        io::ErrorKind::IsADirectory => return io::Error::other("a folder is there: remove it"),
        _ => return error,
    };
    let hint = format!("{error} (hint: {hint}, or choose another --runtime-dir)");
    io::Error::new(error.kind(), hint)
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somewhere(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("lineman-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_held_lock_names_its_holder_and_a_dropped_one_is_gone() {
        let path = somewhere("held.lock");
        let us = Holder::this(Path::new("/bin/chat"));
        let lock = Lock::take(&path, &us).unwrap();
        assert_eq!(holder(&path).unwrap(), Some(us.clone()));
        let pid_file = path.with_extension("pid");
        assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{}\n", std::process::id()));
        assert!(matches!(Lock::take(&path, &us), Err(NotTaken::Held(Some(held))) if held == us));
        drop(lock);
        assert!(!path.exists() && !pid_file.exists());
        assert_eq!(holder(&path).unwrap(), None);
    }

    #[test]
    fn paths_need_not_be_text() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = somewhere("bytes.lock");
        let odd = Path::new(std::ffi::OsStr::from_bytes(b"/srv/\xff/chat"));
        for program in [odd, Path::new("/srv/chat")] {
            let us = Holder { log: Some(LogPath(odd.into())), ..Holder::this(program) };
            let lock = Lock::take(&path, &us).unwrap();
            assert_eq!(holder(&path).unwrap(), Some(us));
            drop(lock);
        }
    }

    #[test]
    fn a_file_that_was_left_behind_is_not_believed() {
        let path = somewhere("stale.lock");
        fs::write(&path, r#"{"pid":1,"started_at":1,"program":"/bin/chat"}"#).unwrap();
        assert_eq!(holder(&path).unwrap(), None);
        let us = Holder::this(Path::new("/bin/chat"));
        let lock = Lock::take(&path, &us).unwrap();
        assert_eq!(lock.left_by().map(|left_by| left_by.pid), Some(1));
        assert_eq!(holder(&path).unwrap(), Some(us));
        drop(lock);
    }

    #[test]
    fn a_file_that_was_deleted_is_made_again_unless_another_was_quicker() {
        let path = somewhere("deleted.lock");
        let us = Holder::this(Path::new("/bin/chat"));
        let mut lock = Lock::take(&path, &us).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!lock.is_in_place());
        lock.restore(&us).unwrap();
        assert!(lock.is_in_place());
        assert_eq!(holder(&path).unwrap(), Some(us.clone()));

        fs::remove_file(&path).unwrap();
        let other = Holder { pid: 1, ..us.clone() };
        let quicker = Lock::take(&path, &other).unwrap();
        assert!(matches!(lock.restore(&us), Err(NotTaken::Held(Some(held))) if held == other));
        drop(lock);
        assert!(quicker.is_in_place(), "another's file was removed");
    }

    #[test]
    fn a_disk_that_is_full_keeps_no_empty_file() {
        let path = somewhere("full.lock");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let taken = Lock::take(&path, &Holder::this(Path::new("/bin/chat")));
        assert!(matches!(taken, Err(NotTaken::Failed(_))), "{taken:?}");
        assert!(fs::symlink_metadata(&path).is_err());
    }
}
