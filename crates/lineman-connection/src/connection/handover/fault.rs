//! Faults on purpose, for tests of what the other process does about them: in builds with debug assertions
//! alone, `LINEMAN_TEST_HANDOVER_FAULT=<step>:<fault>` has a process do that when it comes to the step.

use std::env;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::GivenUp;
use super::pair::PairEnd;

const VARIABLE: &str = "LINEMAN_TEST_HANDOVER_FAULT";

/// How long a delay is: longer than a process may stand still while nothing moves.
const DELAY: Duration = Duration::from_secs(3);

/// Where a fault may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultPoint {
    /// The giving process is about to say who it is.
    Hello,
    /// It is about to send connections, ahead.
    Take,
    /// It stands still.
    Again,
    /// It is about to send what its service keeps.
    State,
    /// It is about to say that this was all.
    End,
    /// It is about to commit.
    Commit,
    /// The taking process is about to agree.
    Accept,
    /// The taking process has taken connections.
    Took,
    /// It is about to say that it waits for the commit.
    Ready,
}

impl FaultPoint {
    fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Take => "take",
            Self::Again => "again",
            Self::State => "state",
            Self::End => "end",
            Self::Commit => "commit",
            Self::Accept => "accept",
            Self::Took => "took",
            Self::Ready => "ready",
        }
    }
}

/// Does what the variable says for this step.
///
/// # Errors
/// What the process says who fails on purpose.
pub(super) fn at(step: FaultPoint, pair: &mut PairEnd) -> Result<(), GivenUp> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    let wanted = env::var(VARIABLE).unwrap_or_default();
    let Some((name, fault)) = wanted.split_once(':') else { return Ok(()) };
    if name != step.name() {
        return Ok(());
    }
    tracing::warn!(step = name, fault, "a fault on purpose");
    match fault {
        "kill" => std::process::abort(),
        "stop" => loop {
            std::thread::park();
        },
        "refuse" => Err(GivenUp::new("a fault on purpose")),
        "truncate" => {
            pair.cut_off();
            Err(GivenUp::new("a frame cut off on purpose"))
        }
        "delay" => {
            std::thread::sleep(DELAY);
            Ok(())
        }
        "emfile" => {
            let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
            // The number that the next one would have: what is open stays usable, `poll` included.
            let next = File::open("/dev/null")?.as_raw_fd().unsigned_abs();
            let no_more = Rlimit { current: Some(next.into()), maximum };
            Ok(setrlimit(Resource::Nofile, no_more).map_err(std::io::Error::from)?)
        }
        _ => Ok(()),
    }
}
