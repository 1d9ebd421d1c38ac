//! An attack: its row in the table, how much of it is played, and what it plays on.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use lineman_tests::audience::SIDE_BY_SIDE;
use lineman_tests::certificates::Authority;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::target::Target;

/// An attack.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// What it does, for `--list`.
    pub(crate) what: &'static str,
    pub(crate) ends: Ends,
    /// Whether CI plays it.
    pub(crate) in_short: bool,
    /// Plays it, and says in numbers what was played.
    pub(crate) play: for<'a> fn(&'a Siege) -> Playing<'a>,
}

/// What an attack may do to processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Each goes on.
    Nothing,
    /// They are replaced, and nothing may be lost.
    Replaced,
    /// They are killed: what they had in hand is lost as far as the gateway counts it.
    Killed,
}

impl Attack {
    /// Returns one that ends no process, in both forms.
    pub(crate) const fn new(
        name: &'static str,
        what: &'static str,
        play: for<'a> fn(&'a Siege) -> Playing<'a>,
    ) -> Self {
        Self { name, what, ends: Ends::Nothing, in_short: true, play }
    }

    pub(crate) const fn that_reloads(self) -> Self {
        Self { ends: Ends::Replaced, ..self }
    }

    pub(crate) const fn that_kills(self) -> Self {
        Self { ends: Ends::Killed, ..self }
    }

    /// Keeps it out of the short form: it is not withstood yet.
    pub(crate) const fn in_the_long_form(self) -> Self {
        Self { in_short: false, ..self }
    }
}

/// An attack under way; an error is a promise that was broken.
pub(crate) type Playing<'a> = Pin<Box<dyn Future<Output = Result<String>> + 'a>>;

/// How much of an attack is played.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// How long it goes on.
    pub(crate) time: Duration,
    /// How long the innocents are measured before and after it.
    pub(crate) around: Duration,
    /// What part of a crowd comes: one in so many.
    pub(crate) one_in: usize,
    /// Whether the innocents' delays are judged, too.
    pub(crate) judges_delay: bool,
}

impl Effort {
    pub(crate) const SHORT: Self = Self {
        time: Duration::from_millis(600),
        around: Duration::from_millis(200),
        one_in: 10,
        judges_delay: false,
    };

    /// Returns the whole crowd, for an attack that takes about so long with all around it.
    pub(crate) fn within(time: Duration) -> Self {
        Self { time: time / 5 * 3, around: time / 5, one_in: 1, judges_delay: true }
    }
}

/// What an attack is played on.
#[derive(Debug)]
pub(crate) struct Siege {
    pub(crate) target: Target,
    pub(crate) authority: Arc<Authority>,
    pub(crate) effort: Effort,
}

impl Siege {
    /// Returns how many come, of so many in the long form.
    pub(crate) fn crowd(&self, full: usize) -> usize {
        (full / self.effort.one_in).max(1)
    }

    /// Returns when an attack that begins now is over.
    pub(crate) fn end(&self) -> Instant {
        Instant::now() + self.effort.time
    }

    /// Goes on with something for the time of an attack, unless it ends by itself.
    pub(crate) async fn goes_on(&self, something: impl Future) {
        let end = self.end();
        // An attack has no outcome: what it did is seen elsewhere.
        drop(timeout_at(end, something).await);
        sleep_until(end).await;
    }

    /// Lets the time of an attack pass, while what was set up stays as it is.
    pub(crate) async fn holds(&self) {
        sleep_until(self.end()).await;
    }
}

/// Has so many attackers arrive, some of them at a time; those that are refused are left out.
pub(crate) async fn gathered<T>(count: usize, arrive: impl AsyncFn(usize) -> Result<T>) -> Vec<T> {
    let mut all = Vec::with_capacity(count);
    for begin in (0..count).step_by(SIDE_BY_SIDE) {
        let some = (begin..count.min(begin + SIDE_BY_SIDE)).map(|number| arrive(number));
        all.extend(join_all(some).await.into_iter().flatten());
    }
    all
}
