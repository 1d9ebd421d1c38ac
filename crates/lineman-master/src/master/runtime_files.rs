//! Keeps the way to a running master open: files of its runtime folder that are deleted, by a cleaner of
//! old files or by hand, are made again, or the commands would say that nothing runs. It never touches what
//! another master has put there.

use std::cell::RefCell;
use std::convert::Infallible;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::{RuntimeDescriptors, already_running};
use crate::control::folder::RuntimeFolder;
use crate::control::lock::{Holder, Lock, NotTaken};
use crate::control::server;
use crate::error::chain;

/// How often the folder is looked at: a `stat` takes a microsecond.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks after the folder for the master's life; a new socket goes to the task that serves it.
pub(super) async fn keep(
    folder: &RuntimeFolder,
    lock: &mut Lock,
    holder: &Holder,
    sockets: &mpsc::Sender<UnixListener>,
    open: &RefCell<RuntimeDescriptors>,
) -> Infallible {
    let mut known = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let path = folder.path().display();
        match restore(folder, lock, holder) {
            Ok(None) => known = None,
            Ok(Some(socket)) => {
                known = None;
                // The next program has what is in the folder now.
                if let Ok(new) = RuntimeDescriptors::new(lock, &socket) {
                    open.swap(&new);
                }
                tracing::warn!(%path, "the runtime folder's files were deleted: made again");
                if sockets.send(socket).await.is_err() {
                    tracing::debug!("the control socket's task has ended");
                }
            }
            // Once, not each second.
            Err(problem) if known.as_ref() == Some(&problem) => {}
            Err(problem) => {
                tracing::error!(%path, problem, "the commands cannot reach this master");
                known = Some(problem);
            }
        }
    }
}

fn restore(
    folder: &RuntimeFolder,
    lock: &mut Lock,
    holder: &Holder,
) -> Result<Option<UnixListener>, String> {
    let socket = folder.socket();
    let was_ours = lock.is_ours();
    if lock.is_in_place() && socket.exists() {
        return Ok(None);
    }
    folder.create().map_err(|error| chain(&error))?;
    if !lock.is_in_place() {
        lock.restore(holder).map_err(|problem| match problem {
            NotTaken::Failed(error) => chain(&error),
            NotTaken::Held(Some(other)) => already_running(&other),
            NotTaken::Held(None) => "another master has locked the folder".to_owned(),
        })?;
    }
    if was_ours && socket.exists() {
        // It was the pid file alone, and callers wait at this socket.
        return Ok(None);
    }
    server::listen(&socket).map(Some).map_err(|error| chain(&error))
}
