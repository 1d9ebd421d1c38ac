//! Registers that are given by name: a name stands for as many of them as it has addresses, and for others after a
//! while. It resolves names when told to, and connects to nothing.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use lineman::Result;
use lineman::service::LocalFuture;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{RETRY, Registers, retry_pause};
use crate::outage::Outage;

/// How often a name is resolved while all is well: a register that is added is found within it, and a resolver is
/// asked seldom.
const PERIOD: Duration = Duration::from_secs(30);

/// The most registers of one name: each costs a connection for each process.
const MOST: usize = 64;

/// Finds the addresses of `host:port`.
pub(crate) type Resolver = Rc<dyn Fn(String) -> LocalFuture<Result<Vec<SocketAddr>>>>;

/// Returns the system's, which reads `/etc/hosts` and asks its servers.
pub(super) fn system_resolver() -> Resolver {
    Rc::new(|name| {
        Box::pin(async move { Ok(tokio::net::lookup_host(name).await?.collect::<Vec<_>>()) })
    })
}

/// One name.
pub(super) struct RegisterName {
    /// `host:port`.
    name: String,
    /// It has stood for something.
    known: Cell<bool>,
    /// It cannot be resolved.
    outage: RefCell<Option<Outage>>,
    /// What it stands for may have changed: a register of it does not answer.
    doubt: Notify,
}

impl RegisterName {
    pub(super) fn new(name: String) -> Self {
        let (known, outage) = (Cell::new(false), RefCell::default());
        Self { name, known, outage, doubt: Notify::new() }
    }

    /// Returns whether it has stood for something.
    pub(super) fn is_known(&self) -> bool {
        self.known.get()
    }

    /// Has it resolved anew, soon.
    pub(super) fn look_again(&self) {
        self.doubt.notify_one();
    }

    /// Returns the name of a register of it, as people read it.
    pub(super) fn shown(&self, address: SocketAddr) -> String {
        format!("{} ({})", self.name, address.ip())
    }

    /// Returns what stands in the way, where it stands for nothing: registers that were found once tell themselves.
    pub(super) fn describe(&self, now: Instant) -> Option<String> {
        let outage = self.outage.borrow();
        let outage = outage.as_ref().filter(|_| !self.is_known())?;
        Some(format!("{} {}", self.name, outage.describe(now)))
    }

    fn failed(&self, problem: &str, now: Instant) {
        let problem = format!("cannot be resolved ({problem})");
        let mut outage = self.outage.borrow_mut();
        match &mut *outage {
            Some(outage) => outage.again(problem),
            None => *outage = Some(Outage::new(problem, now)),
        }
        if let Some(outage) =
            outage.as_mut().filter(|outage| outage.age(now) > RETRY || !self.is_known())
            && outage.is_due(now)
        {
            let (register, attempts) = (&self.name, outage.attempts());
            tracing::warn!(
                register,
                problem = outage.problem(),
                attempts,
                "register not found, trying again"
            );
        }
    }

    fn resolved(&self) {
        self.known.set(true);
        self.outage.take();
    }
}

impl fmt::Debug for RegisterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// Keeps the registers of a name as what it stands for, for as long as the task lives.
pub(super) async fn follow(registers: Rc<Registers>, name: Rc<RegisterName>, resolver: Resolver) {
    let mut failures = 0_u32;
    loop {
        let pause = match resolver(name.name.clone()).await.map(usable) {
            Ok(found) if !found.is_empty() => {
                failures = 0;
                name.resolved();
                registers.follow(&name, &found);
                spread(PERIOD)
            }
            outcome => {
                let problem =
                    outcome.map_or_else(|error| error.to_string(), |_| "no address".to_owned());
                name.failed(&problem, Instant::now());
                let pause = retry_pause(failures);
                failures = failures.saturating_add(1);
                pause
            }
        };
        // Not more often than a lost register is tried, however many of them are.
        let least = RETRY.min(pause);
        tokio::time::sleep(least).await;
        tokio::select! {
            () = tokio::time::sleep(pause.saturating_sub(least)) => {}
            () = name.doubt.notified() => {}
        }
    }
}

/// Returns a time that is a quarter shorter or longer: processes that start together ask apart.
fn spread(mean: Duration) -> Duration {
    let dice = getrandom::u32().map_or(500, |number| number % 1000);
    mean * 3 / 4 + mean / 2 * dice / 1000
}

/// Returns each address once, those of IPv6 only if there are no others: a machine with both is one register.
fn usable(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let has_ipv4 = found.iter().any(SocketAddr::is_ipv4);
    let mut found: Vec<_> =
        found.into_iter().filter(|address| address.is_ipv4() || !has_ipv4).collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_is_one_register() {
        let check = |found: &[&str], expected: &[&str]| {
            let parse =
                |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
            assert_eq!(usable(parse(found)), parse(expected));
        };
        check(&["[::1]:1", "127.0.0.1:1"], &["127.0.0.1:1"]);
        check(&["10.0.0.2:1", "10.0.0.1:1", "10.0.0.2:1"], &["10.0.0.1:1", "10.0.0.2:1"]);
        check(&["[2001:db8::2]:1", "[2001:db8::1]:1"], &["[2001:db8::1]:1", "[2001:db8::2]:1"]);
        check(&[], &[]);
    }
}
