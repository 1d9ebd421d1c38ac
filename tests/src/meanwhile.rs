//! What goes on while a test does something else, counted in rounds: so that the test can say how many
//! of them fell into its window, and not only that there were some at some time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use lineman_testkit::within;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A task that does the same thing again and again. Dropping it lets the task end after its round.
#[derive(Debug)]
pub struct Meanwhile {
    done: watch::Receiver<u64>,
    over: Arc<AtomicBool>,
    task: JoinHandle<Result<()>>,
}

/// The task's side of it.
#[derive(Debug)]
pub struct Rounds {
    begun: u64,
    done: watch::Sender<u64>,
    over: Arc<AtomicBool>,
}

impl Rounds {
    /// Counts the round before this one, if there was one; returns whether there is another.
    pub fn another(&mut self) -> bool {
        self.done.send_replace(self.begun);
        self.begun += 1;
        !self.over.load(Ordering::Relaxed)
    }
}

impl Meanwhile {
    /// Starts a task, which has to ask before each round.
    pub fn goes_on<F>(task: impl FnOnce(Rounds) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (over, (sender, done)) = (Arc::new(AtomicBool::new(false)), watch::channel(0));
        let rounds = Rounds { begun: 0, done: sender, over: Arc::clone(&over) };
        Self { done, over, task: tokio::spawn(task(rounds)) }
    }

    fn done(&self) -> u64 {
        *self.done.borrow()
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Runs `event` while all of these go on, and ends them; returns how many rounds of each both began and
/// ended while it ran.
///
/// # Errors
/// When the event or a round fails, or a first round never ends.
pub async fn rounds_during<T>(
    mut all: Vec<Meanwhile>,
    event: impl Future<Output = Result<T>>,
) -> Result<(T, Vec<u64>)> {
    for one in &mut all {
        let first = one.done.wait_for(|done| *done > 0);
        if within("a first round", first).await?.is_err() {
            // The other end of the channel is gone, and the task can tell why.
            (&mut one.task).await??;
            bail!("a task ended before its time");
        }
    }
    let before: Vec<u64> = all.iter().map(Meanwhile::done).collect();
    let outcome = event.await?;
    let after: Vec<u64> = all.iter().map(Meanwhile::done).collect();
    for mut one in all {
        one.over.store(true, Ordering::Relaxed);
        within("a last round", &mut one.task).await???;
    }
    // The first that ended in the window may have begun before it.
    let during = before.iter().zip(after).map(|(before, after)| (after - before).saturating_sub(1));
    Ok((outcome, during.collect()))
}
