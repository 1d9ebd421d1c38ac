//! The file of a Unix socket: takes its place only from a dead one, gives it mode and owner before
//! a client can connect, and removes it when it is still ours. Called by `listeners` alone.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::os::{procfs, user};
use crate::service::SocketOptions;

/// How long to wait for another program that is taking a place in the same folder; it needs less
/// than a millisecond. Beyond it another program holds the folder's lock for reasons of its own.
const FOLDER_LIMIT: Duration = Duration::from_secs(1);

/// The file of a bound socket, removed on drop.
///
/// Drop it before its socket: a bound socket keeps its inode, so that no other file can have the
/// same number meanwhile.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Returns that of a socket which the program before has bound.
    pub(super) fn again(path: &Path, identity: (u64, u64)) -> Self {
        Self { path: path.to_owned(), identity }
    }

    /// Returns its device and number.
    pub(super) fn identity(&self) -> (u64, u64) {
        self.identity
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let path = self.path.display();
        match identity(&self.path) {
            Ok(now) if now == self.identity => {
                if let Err(error) = fs::remove_file(&self.path) {
                    tracing::warn!(%path, %error, "cannot remove the socket's file");
                }
            }
            Ok(_) => tracing::warn!(%path, "the socket's file was replaced: it stays"),
            Err(error) => tracing::debug!(%path, %error, "the socket's file is gone"),
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Returns a socket that listens on `path`.
///
/// It listens last, when mode and owner are right: before that a connect is refused, as it was when
/// there was no socket.
pub(super) fn listen(path: &Path, options: &SocketOptions) -> io::Result<(Socket, SocketFile)> {
    let (owner, group) = owners(options)?;
    let _alone = lock(folder(path)?)?;
    clear(path, owner)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // From here on an error removes the file.
    let file = SocketFile { path: path.to_owned(), identity: identity(path)? };
    if owner.is_some() || group.is_some() {
        lchown(path, owner, group).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot give the file its owner: {error}"))
        })?;
    }
    fs::set_permissions(path, Permissions::from_mode(options.mode))?;
    socket.listen(i32::from(options.backlog))?;
    Ok((socket, file))
}

/// Says what [`listen`] would object to beside a process that listens there, which may be this program's;
/// returns the folder.
pub(super) fn check<'path>(path: &'path Path, options: &SocketOptions) -> io::Result<&'path Path> {
    let (owner, _) = owners(options)?;
    let folder = folder(path)?;
    if let Some(metadata) = there(path)?
        && !procfs::is_listened_at(path)
    {
        may_replace(&metadata, owner)?;
    }
    Ok(folder)
}

/// Returns the numbers of the user and the group that the file is given to.
fn owners(options: &SocketOptions) -> io::Result<(Option<u32>, Option<u32>)> {
    let owner = options.owner.as_deref().map(user::id).transpose()?;
    let group = options.group.as_deref().map(user::group_id).transpose()?;
    Ok((owner, group))
}

fn folder(path: &Path) -> io::Result<&Path> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let problem = format!("the folder {} is not there: create it", folder.display());
    Err(io::Error::new(io::ErrorKind::NotFound, problem))
}

/// Keeps other programs of this kind out of the folder: between finding a dead socket and replacing
/// it, one of them may have replaced it already, with a live one.
fn lock(folder: &Path) -> io::Result<File> {
    let file = File::open(folder)?;
    let end = Instant::now() + FOLDER_LIMIT;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => {
                tracing::debug!(folder = %folder.display(), %error, "cannot lock the folder");
                return Ok(file);
            }
        }
    }
}

/// Removes what a program that died left at `path`, and nothing else.
fn clear(path: &Path, owner: Option<u32>) -> io::Result<()> {
    let Some(metadata) = there(path)? else { return Ok(()) };
    if is_alive(path)? {
        return in_use("somebody listens there (hint: `ss -lxp` shows who)");
    }
    may_replace(&metadata, owner)?;
    tracing::info!(path = %path.display(), "replacing a socket on which no process listens");
    fs::remove_file(path)
}

/// Returns the facts of the socket that is there.
///
/// # Errors
/// When it is something else.
fn there(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(metadata) if metadata.file_type().is_socket() => Ok(Some(metadata)),
        Ok(_) => in_use("the file there is no socket: move it away, or choose another path"),
    }
}

/// Checks whose a dead socket is.
fn may_replace(metadata: &Metadata, owner: Option<u32>) -> io::Result<()> {
    let ours = [Some(geteuid().as_raw()), Some(0), owner];
    if ours.contains(&Some(metadata.uid())) {
        return Ok(());
    }
    let holder = user::name(metadata.uid());
    in_use(&format!("a dead socket of {holder} is there: remove it, or choose another path"))
}

fn in_use<T>(problem: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::AddrInUse, problem))
}

/// Asks whether a process listens; a socket of another kind counts as alive.
fn is_alive(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full backlog is an answer as well, not something to wait for.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let problem = "a socket is there and we may not ask whether a process listens on it";
            Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
        }
        Ok(()) | Err(_) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    #[track_caller]
    fn refused(path: &Path, problem: &str) {
        let error = listen(path, &SocketOptions::new()).expect_err("refused");
        assert!(error.to_string().contains(problem), "{error}");
    }

    #[test]
    fn the_file_has_its_mode_and_goes_with_the_socket() {
        let folder = folder();
        let path = folder.path().join("a.sock");
        let options = SocketOptions::new().mode(0o600).group("0");
        let (_socket, file) = listen(&path, &options).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = folder();
        let path = folder.path().join("a.sock");
        let other = UnixListener::bind(&path).unwrap();
        refused(&path, "somebody listens there");
        drop(other);
        let (_socket, _file) = listen(&path, &SocketOptions::new()).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_is_no_stream_socket_stays() {
        let folder = folder();
        let path = folder.path().join("a.sock");
        fs::write(&path, "precious").unwrap();
        refused(&path, "is no socket");
        assert_eq!(fs::read(&path).unwrap(), b"precious");

        let link = folder.path().join("link.sock");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        refused(&link, "is no socket");

        let datagrams = folder.path().join("datagrams.sock");
        let _other = UnixDatagram::bind(&datagrams).unwrap();
        refused(&datagrams, "somebody listens there");
    }

    #[test]
    fn a_missing_folder_and_an_unknown_owner_are_named() {
        let folder = folder();
        refused(&folder.path().join("no/a.sock"), "no is not there: create it");
        let options = SocketOptions::new().owner("nobody-by-this-name");
        let error = listen(&folder.path().join("a.sock"), &options).expect_err("no such user");
        assert!(error.to_string().contains("nobody-by-this-name"), "{error}");
    }

    #[test]
    fn a_file_that_somebody_put_in_our_place_stays() {
        let folder = folder();
        let path = folder.path().join("a.sock");
        let (_socket, file) = listen(&path, &SocketOptions::new()).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(file);
        UnixStream::connect(&path).unwrap();
    }
}
