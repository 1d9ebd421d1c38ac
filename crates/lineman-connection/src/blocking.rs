//! Work that blocks: it runs on threads beside the worker's own, which stays free for connections.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Error, Result, work};

/// How many threads there are for it at most: as many as tokio has by itself.
pub const THREADS: usize = 512;

/// How many calls wait for a thread: a few seconds' worth of short ones, and more than that is late
/// anyway. Each holds its closure, with all that this holds.
const WAITING: usize = 1024;

/// The work of this process.
static WORK: Work = Work::bounded(THREADS + WAITING);

/// Runs `work` on a thread of its own and returns what it returns.
///
/// A worker has one thread for all its connections: a database driver that blocks, a password hash
/// or a large file belong in here. At most 512 run at once in a process, and 1,024 more wait for a
/// thread. Work that has begun goes on even if its caller waits no more. A process that leaves waits for
/// it, within its limits.
///
/// # Errors
/// [`Error::BlockingFull`] when as much waits as may: `work` has not run. When `work` panicked.
///
/// ```
/// # use lineman_connection::blocking;
/// # async fn example() -> lineman_connection::Result {
/// let hosts = blocking(|| std::fs::read_to_string("/etc/hosts")).await??;
/// # let _ = hosts;
/// # Ok(())
/// # }
/// ```
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    WORK.run(work).await
}

/// Work under way: what runs, and what waits for a thread.
#[derive(Debug)]
struct Work {
    under_way: AtomicUsize,
    bound: usize,
}

impl Work {
    const fn bounded(bound: usize) -> Self {
        Self { under_way: AtomicUsize::new(0), bound }
    }

    async fn run<T: Send + 'static>(
        &'static self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (place, under_way) = (self.take_place()?, work::begin());
        let work = move || {
            // Given back when the work is done, panics, or is dropped before it ran: not when its
            // caller stops waiting.
            let (_place, _under_way) = (place, under_way);
            work()
        };
        Ok(tokio::task::spawn_blocking(work).await?)
    }

    fn take_place(&'static self) -> Result<Place, Error> {
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let place = Place(self);
        if before < self.bound { Ok(place) } else { Err(Error::BlockingFull { bound: self.bound }) }
    }
}

/// One call's place; given back when it is dropped.
#[derive(Debug)]
struct Place(&'static Work);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn beyond_the_bound_work_is_refused_until_some_is_done() {
        static WORK: Work = Work::bounded(2);
        let (release, wait) = mpsc::channel::<()>();
        let mut first = Box::pin(WORK.run(move || wait.recv()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        let (release_abandoned, wait) = mpsc::channel::<()>();
        let mut abandoned = Box::pin(WORK.run(move || wait.recv()));
        assert!(matches!(abandoned.as_mut().poll(&mut context), Poll::Pending));
        // Its caller waits no more, and it still has its thread.
        drop(abandoned);
        let refused = WORK.run(|| ()).await.unwrap_err();
        let refused = refused.downcast_ref::<Error>();
        assert!(matches!(refused, Some(Error::BlockingFull { bound: 2 })), "{refused:?}");

        release.send(()).unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(WORK.run(|| 7).await.unwrap(), 7);
        drop(release_abandoned);
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_place_back() {
        static WORK: Work = Work::bounded(1);
        for _ in 0..3 {
            let error = WORK.run(|| assert!(WORK.bound == 0, "told to")).await.unwrap_err();
            assert!(error.downcast_ref::<Error>().is_none(), "{error}");
        }
    }
}
