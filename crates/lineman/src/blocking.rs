//! Work that blocks: it runs on threads beside the worker's own, which stays free for connections.

use crate::Result;

/// Runs `work` on a thread of its own and returns what it returns.
///
/// A worker has one thread for all its connections: a database driver that blocks, a password hash
/// or a large file belong in here. At most 512 run at once; more wait for a thread.
///
/// # Errors
/// When `work` panicked.
///
/// ```
/// # async fn example() -> lineman::Result {
/// let hosts = lineman::blocking(|| std::fs::read_to_string("/etc/hosts")).await??;
/// # let _ = hosts;
/// # Ok(())
/// # }
/// ```
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    Ok(tokio::task::spawn_blocking(work).await?)
}
