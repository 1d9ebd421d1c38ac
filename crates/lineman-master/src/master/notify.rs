//! Tells the service manager how the program is, in the words of `sd_notify(3)`: ready, reloading,
//! stopping, a line of status, and that the loop turns. The master's loop calls it once a turn.
//! Decides nothing; without a manager it does nothing.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::control::environment;

/// How much more time the manager is asked for while something is under way. A master that
/// stands still is found when this has passed.
const EXTENSION: Duration = Duration::from_secs(30);

/// How often it is asked for more time: several times within an extension, in case of a slow machine.
const EXTEND_EVERY: Duration = Duration::from_secs(10);

/// When a manager that did not read is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How many stages wait for a manager that does not read; beyond it the oldest is lost. Everything else
/// is said again by itself.
const UNSAID: usize = 16;

/// The way to the service manager, and what it was told.
#[derive(Debug, Default)]
pub(super) struct Notify {
    /// Where it listens; `None` without a manager.
    socket: Option<OsString>,
    /// The stage it knows of.
    stage: Option<ShownState>,
    status: String,
    /// How often it wants to hear of the loop, and when it is due.
    watchdog: Option<(Duration, Instant)>,
    /// When to ask for more time again.
    extend: Option<Instant>,
    /// What it has not taken yet, and when to try again.
    unsaid: VecDeque<String>,
    try_again: Option<Instant>,
    /// Whether it could not be told something, which is said once.
    deaf: bool,
}

/// What the master is doing, as people and the service manager see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShownState {
    Starting,
    Up,
    Reloading,
    Stopping,
}

impl ShownState {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Reloading => "reloading",
            Self::Stopping => "stopping",
        }
    }
}

impl Notify {
    /// Returns the manager that the environment names.
    pub(super) fn from_environment() -> Self {
        let socket = std::env::var_os(environment::NOTIFY_SOCKET.name);
        let Some(socket) = socket.filter(|socket| !socket.is_empty()) else {
            return Self::default();
        };
        // Half of its period, as sd_watchdog_enabled(3) advises.
        let period = sd_notify::watchdog_enabled().map(|period| period / 2);
        let period = period.filter(|period| !period.is_zero());
        let watchdog = period.map(|period| (period, Instant::now()));
        Self { socket: Some(socket), watchdog, ..Self::default() }
    }

    /// Returns when the next turn of the loop is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let watchdog = self.watchdog.map(|(_, next)| next);
        watchdog.into_iter().chain(self.extend).chain(self.try_again).min()
    }

    /// Says that a reload begins, even if another one is under way: a manager that asked for this
    /// one waits for a message that is younger than its wish.
    pub(super) fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.announce(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "cannot read the clock for the service manager"),
        }
        self.stage = Some(ShownState::Reloading);
    }

    /// Tells what has changed, and that the loop turns.
    pub(super) fn turn(
        &mut self,
        stage: ShownState,
        condition: impl FnOnce() -> String,
        now: Instant,
    ) {
        if self.socket.is_none() {
            return;
        }
        let status = format!("{}: {}", stage.name(), condition());
        if self.try_again.is_some_and(|due| due <= now) {
            self.say();
        }
        let mut said = Vec::new();
        if self.stage.replace(stage) != Some(stage) {
            said.extend(announcement(stage));
        }
        let is_stage = !said.is_empty();
        let changed = self.status != status;
        self.status = status;
        if stage == ShownState::Up {
            self.extend = None;
        } else if self.extend.is_none_or(|due| due <= now) {
            let extension = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
            said.push(NotifyState::ExtendTimeoutUsec(extension));
            self.extend = Some(now + EXTEND_EVERY);
        }
        if let Some((period, next)) = &mut self.watchdog
            && *next <= now
        {
            *next = now + *period;
            said.push(NotifyState::Watchdog);
        }
        let status = self.status.clone();
        if changed {
            said.push(NotifyState::Status(&status));
        }
        if is_stage {
            self.announce(&said);
        } else if !said.is_empty() {
            self.mention(&said);
        }
    }

    /// Says a stage: what a manager waits for, so it is kept until it was taken.
    fn announce(&mut self, said: &[NotifyState<'_>]) {
        if self.unsaid.len() == UNSAID {
            self.unsaid.pop_front();
        }
        self.unsaid.push_back(text(said));
        self.say();
    }

    /// Says what another message makes superfluous later: it does not wait.
    fn mention(&mut self, said: &[NotifyState<'_>]) {
        if !self.unsaid.is_empty() || !self.deliver(&text(said)) {
            let soon = Instant::now() + TRY_AGAIN;
            self.status.clear();
            self.extend = self.extend.map(|due| due.min(soon));
            self.try_again.get_or_insert(soon);
        }
    }

    /// Says what is unsaid, in its order. The loop never waits for a manager that does not read.
    fn say(&mut self) {
        self.try_again = None;
        while let Some(text) = self.unsaid.pop_front() {
            if !self.deliver(&text) {
                self.unsaid.push_front(text);
                self.try_again = Some(Instant::now() + TRY_AGAIN);
                return;
            }
        }
    }

    /// Returns whether there is nothing to try again: it was taken, or no manager is there to take it.
    fn deliver(&mut self, text: &str) -> bool {
        let Some(socket) = &self.socket else { return true };
        let Err(error) = deliver(socket, text) else { return true };
        // A manager that does not listen now will not later, and the program is not there for it.
        if !std::mem::replace(&mut self.deaf, true) {
            tracing::warn!(?socket, %error, "cannot tell the service manager");
        }
        error.kind() != io::ErrorKind::WouldBlock
    }
}

fn text(said: &[NotifyState<'_>]) -> String {
    let lines: Vec<String> = said.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Our own socket instead of the library's: that one waits for a reader and knows no `@names`.
fn deliver(socket: &OsString, text: &str) -> io::Result<()> {
    let name = socket.as_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let ours = UnixDatagram::unbound()?;
    ours.set_nonblocking(true)?;
    ours.send_to_addr(text.as_bytes(), &address).map(drop)
}

fn announcement(stage: ShownState) -> Vec<NotifyState<'static>> {
    match stage {
        // The number matters to a manager that started us through something else.
        ShownState::Up => vec![NotifyState::Ready, NotifyState::MainPid(std::process::id())],
        ShownState::Stopping => vec![NotifyState::Stopping],
        // Said when it began, see `reloading`.
        ShownState::Starting | ShownState::Reloading => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_is_asked_for_again_and_again_until_the_program_is_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify.sock");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let asked = || {
            let mut message = [0; 4096];
            let mut asked = 0;
            while let Ok(length) = manager.recv(&mut message) {
                let said = String::from_utf8_lossy(&message[..length]).into_owned();
                asked += said.matches("EXTEND_TIMEOUT_USEC=30000000").count();
            }
            asked
        };
        let mut notify = Notify { socket: Some(path.into()), ..Notify::default() };
        let start = Instant::now();
        let mut turn = |stage, seconds| {
            notify.turn(stage, String::new, start + Duration::from_secs(seconds));
            (asked(), notify.deadline())
        };
        let due = |seconds| Some(start + Duration::from_secs(seconds));
        assert_eq!(turn(ShownState::Starting, 0), (1, due(10)));
        assert_eq!(turn(ShownState::Starting, 9), (0, due(10)));
        assert_eq!(turn(ShownState::Starting, 10), (1, due(20)));
        assert_eq!(turn(ShownState::Up, 11), (0, None));
        assert_eq!(turn(ShownState::Up, 60), (0, None));
        assert_eq!(turn(ShownState::Stopping, 70), (1, due(80)));
        assert_eq!(turn(ShownState::Stopping, 80), (1, due(90)));
    }
}
