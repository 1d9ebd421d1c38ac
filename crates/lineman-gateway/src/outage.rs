//! Something of the cluster that does not work for a while: since when, why, and when the log tells of it,
//! which is at once, then after a minute, and then half as often each time. Kept for each register, each gateway
//! and each peer that was refused. It reads no clock and writes no log.

use std::time::Duration;

use lineman::connection::CloseReason;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// After how long the log has a second line.
const FIRST_PAUSE: Duration = Duration::from_mins(1);

/// The longest the log is silent about what lasts.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// How soon the log may have a line because the reason is another one: two that take turns fill no log.
const OTHER_REASON: Duration = Duration::from_secs(10);

/// The shortest and the longest mean pause before a peer that refused us is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How many of what is missing a line names.
const NAMED: usize = 5;

/// One thing that does not work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outage {
    problem: String,
    #[serde(with = "crate::written")]
    since: Instant,
    attempts: u32,
    /// How many of these in a row, the last one among them, the peer has refused in so many words.
    refusals: u32,
    /// When the log told of it last, of which problem, and how long it is silent then.
    #[serde(with = "crate::written")]
    told: Option<(Instant, String, Duration)>,
}

impl Outage {
    pub(crate) fn new(problem: impl Into<String>, now: Instant) -> Self {
        Self { problem: problem.into(), since: now, attempts: 1, refusals: 0, told: None }
    }

    /// It has failed again.
    pub(crate) fn again(&mut self, problem: impl Into<String>) {
        self.problem = problem.into();
        self.attempts = self.attempts.saturating_add(1);
        self.refusals = 0;
    }

    /// The peer has refused us.
    pub(crate) fn refused(&mut self, problem: impl Into<String>) {
        let refusals = self.refusals;
        self.again(problem);
        self.refusals = refusals.saturating_add(1);
    }

    pub(crate) fn refusals(&self) -> u32 {
        self.refusals
    }

    pub(crate) fn problem(&self) -> &str {
        &self.problem
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Returns whether the log has told of it.
    pub(crate) fn was_told(&self) -> bool {
        self.told.is_some()
    }

    /// Returns whether the log is to tell of it now, and takes it that it does.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let pause = match &self.told {
            None => FIRST_PAUSE,
            Some((at, problem, pause)) => {
                let quiet = now.saturating_duration_since(*at);
                let is_other = *problem != self.problem && quiet >= OTHER_REASON;
                if quiet < *pause && !is_other {
                    return false;
                }
                if is_other { FIRST_PAUSE } else { (*pause * 2).min(LONGEST_PAUSE) }
            }
        };
        self.told = Some((now, self.problem.clone(), pause));
        true
    }

    /// Returns it as people read it: why, and for how long.
    pub(crate) fn describe(&self, now: Instant) -> String {
        let seconds = self.age(now).as_secs();
        match self.problem.strip_suffix(')') {
            Some(with_cause) => format!("{with_cause}, {seconds} s)"),
            None => format!("{} ({seconds} s)", self.problem),
        }
    }
}

/// Returns why a connection did not come about, or ended, without what every such text has.
pub(crate) fn why(reason: &CloseReason) -> String {
    match reason {
        CloseReason::ConnectFailed(problem) => match problem.split_once(" (os error") {
            Some((problem, _)) => problem.to_owned(),
            None => problem.clone(),
        },
        // What is known here, and not where TLS fails.
        CloseReason::Tls(problem) if !problem.contains("(hint: ") => {
            format!("{reason} (hint: link_tls and the secret key have to be the same at both ends)")
        }
        reason => reason.to_string(),
    }
}

/// Returns how long to wait before a peer is tried again that has refused us so many times in a row: a second,
/// then twice as long each time up to half a minute, give or take a quarter. A wrong key stays wrong; when it
/// has been mended on the other side, half a minute is not long.
pub(crate) fn back_off(refusals: u32) -> Duration {
    let (shortest, longest) = BACK_OFF;
    let doublings = refusals.saturating_sub(1).min(16);
    let mean = shortest.saturating_mul(1 << doublings).min(longest);
    let dice = getrandom::u32().map_or(500, |number| number % 1000);
    mean * 3 / 4 + mean / 2 * dice / 1000
}

/// Returns a line such as `links 4 of 6: 10.0.0.3:4000 does not answer (connection refused, 25 s)`; nothing if
/// none is missing.
pub(crate) fn line(what: &str, of: usize, missing: &[String]) -> Option<String> {
    if missing.is_empty() {
        return None;
    }
    let named = missing.get(..NAMED).unwrap_or(missing).join("; ");
    let more = match missing.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Some(format!("{what} {} of {of}: {named}{more}", of.saturating_sub(missing.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_log_tells_at_once_and_then_seldom() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut outage = Outage::new("refused", begun);
        let told: Vec<u64> = (0..20_000).filter(|&second| outage.is_due(at(second))).collect();
        assert_eq!(told, [0, 60, 180, 420, 900, 1860, 3780, 7380, 10_980, 14_580, 18_180]);
        outage.again("another reason");
        assert!(!outage.is_due(at(18_185)), "too soon");
        assert!(outage.is_due(at(18_190)) && !outage.is_due(at(18_191)));
        assert_eq!(outage.describe(at(18_200)), "another reason (18200 s)");
        outage.again("does not answer (refused)");
        assert_eq!(outage.describe(at(25)), "does not answer (refused, 25 s)");
        assert_eq!(outage.attempts(), 3);
    }

    #[test]
    fn pauses_grow_to_half_a_minute_and_are_spread() {
        for (refusals, low, high) in
            [(0, 750, 1250), (1, 750, 1250), (3, 3000, 5000), (99, 22_500, 37_500)]
        {
            for _ in 0..100 {
                let pause = back_off(refusals).as_millis();
                assert!((low..=high).contains(&pause), "{refusals}: {pause}");
            }
        }
    }

    #[test]
    fn a_line_counts_and_names_what_is_missing() {
        assert_eq!(line("links", 6, &[]), None);
        let missing: Vec<String> =
            (0..7).map(|number| format!("g{number} does not answer")).collect();
        assert_eq!(line("links", 6, &missing[..1]).unwrap(), "links 5 of 6: g0 does not answer");
        let many = line("links", 9, &missing).unwrap();
        assert!(many.starts_with("links 2 of 9: g0 does not answer; g1 "), "{many}");
        assert!(many.ends_with("g4 does not answer; and 2 more"), "{many}");
    }

    #[test]
    fn a_reason_is_short() {
        let refused = CloseReason::ConnectFailed("Connection refused (os error 111)".to_owned());
        assert_eq!(why(&refused), "Connection refused");
        assert_eq!(why(&CloseReason::GoingAway), "server going away");
        let ended = why(&CloseReason::Tls("the peer ended the connection".to_owned()));
        assert!(ended.starts_with("TLS: the peer ended the connection (hint: link_tls"), "{ended}");
        let with_hint = CloseReason::Tls("expired (hint: renew it)".to_owned());
        assert_eq!(why(&with_hint), "TLS: expired (hint: renew it)");
    }
}
