//! How a process stands with one register: whether it is taken, what stands in the way and since when, what the
//! register finds odd about it. It writes the log of that; no socket.

use std::time::Duration;

use tokio::time::Instant;

use crate::outage::{Outage, back_off};

/// A connection that has stood so long without a word of refusal is one that is wanted: a register of PHP's says
/// nothing to a gateway. One of ours takes less, also where it asks whether another gateway lives.
pub(super) const SETTLED: Duration = Duration::from_secs(5);

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// What the register has said on this connection.
    stand: Stand,
    /// It has said that it is one of ours, which say at once that they take us.
    is_ours: bool,
    /// What stands in the way.
    outage: Option<Outage>,
    /// How often in a row it has refused us.
    refusals: u32,
    /// The last refusal was that another gateway has our address.
    address_taken: bool,
    /// What it takes us in spite of.
    pub(super) notice: Option<String>,
    /// What the log has told of that.
    noticed: Option<String>,
}

/// How we stand with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stand {
    /// It has not said.
    #[default]
    Open,
    /// It takes us, as far as can be known.
    Taken,
    /// It has refused us in so many words, and closes.
    Refused,
}

impl Standing {
    /// Returns whether the register takes us, as far as can be known.
    pub(super) fn is_taken(&self) -> bool {
        self.stand == Stand::Taken
    }

    /// Returns what stands in the way, as people read it.
    pub(super) fn describe(&self, register: &str, now: Instant) -> Option<String> {
        Some(format!("{register} {}", self.outage.as_ref()?.describe(now)))
    }

    /// Returns what the register says where another gateway has our address.
    pub(super) fn address_taken(&self) -> Option<&str> {
        let outage = self.outage.as_ref().filter(|_| self.address_taken)?;
        Some(outage.problem())
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self) {
        (self.stand, self.notice) = (Stand::Open, None);
    }

    /// The register says that it lives.
    pub(super) fn lives(&mut self, register: &str) {
        self.is_ours = true;
        self.is_well(register);
    }

    /// A gateway's connection has stood for a while, and nothing was said: PHP's says nothing, and one of ours hangs.
    pub(super) fn is_quiet(&mut self, register: &str) {
        if !self.is_ours {
            self.is_well(register);
        }
    }

    /// The register has shown that it takes us.
    pub(super) fn is_well(&mut self, register: &str) {
        if self.stand == Stand::Refused {
            return;
        }
        self.outage = None;
        (self.refusals, self.address_taken) = (0, false);
        if std::mem::replace(&mut self.stand, Stand::Taken) == Stand::Open {
            tracing::info!(register, "register connected");
        }
    }

    /// The register refuses us.
    pub(super) fn refuse(&mut self, reason: &str, address_taken: bool, now: Instant) {
        self.fail(format!("refuses this process: {reason}"), now);
        self.refusals = self.refusals.saturating_add(1);
        (self.stand, self.address_taken) = (Stand::Refused, address_taken);
    }

    /// Something is odd about us, though a register takes us; the log says it once.
    pub(super) fn find_odd(&mut self, register: &str, text: String) {
        if self.noticed.as_ref() != Some(&text) {
            tracing::warn!(register, text, "this process looks misconfigured");
            self.noticed = Some(text.clone());
        }
        self.notice = Some(text);
    }

    /// The connection has ended, or did not come about. Returns how long to wait, if the register refused us.
    pub(super) fn lost(&mut self, register: &str, problem: &str, now: Instant) -> Option<Duration> {
        let pause = if std::mem::take(&mut self.stand) == Stand::Refused {
            Some(back_off(self.refusals))
        } else {
            self.fail(format!("is not connected ({problem})"), now);
            (self.refusals, self.address_taken) = (0, false);
            None
        };
        if let Some(outage) = self.outage.as_mut()
            && outage.is_due(now)
        {
            let (problem, attempts) = (outage.problem(), outage.attempts());
            tracing::warn!(register, problem, attempts, "register not connected, trying again");
        }
        pause
    }

    /// The next attempt is worth as much as a first one.
    pub(super) fn hurry(&mut self) {
        self.refusals = 0;
    }

    fn fail(&mut self, problem: String, now: Instant) {
        match &mut self.outage {
            Some(outage) => outage.again(problem),
            None => self.outage = Some(Outage::new(problem, now)),
        }
    }
}
