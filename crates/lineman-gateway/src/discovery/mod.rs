//! The way to the registers: one standing connection to each, on which a gateway announces itself
//! and a business hears which gateways there are.
//!
//! Called by [`crate::Gateway`] and [`crate::Business`] when they start. It never touches a link:
//! with every register gone, what is connected goes on.

mod names;
mod visitor;
mod liveness;
mod standing;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use lineman::Table;
use lineman_wire::link::register::Line;
use lineman_wire::link::{EXTENSION_VERSION, Secret};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::names::{RegisterName, follow, system_resolver};
use self::visitor::{Visitor, attend};
use crate::link_tls::SharedSecurity;
use crate::outage;

pub(crate) use self::names::Resolver;

/// Where a register is by default; `GatewayWorker`'s default.
pub(crate) const DEFAULT_REGISTER: &str = "127.0.0.1:1236";

/// The mean pause before a lost connection of the cluster is tried again and again; `GatewayWorker`'s.
const RETRY: Duration = Duration::from_secs(1);

/// The mean pause before the first of these: a process that has crashed is back in less than a second.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// What a process of the cluster is to the register.
#[derive(Debug, Clone)]
pub(crate) enum Announcement {
    /// Businesses reach us at this `ip:port`.
    Gateway {
        /// The address of the inner listener, or the one that leads there.
        address: SocketAddr,
        /// Names this run of the process.
        epoch: String,
        /// The address was set to be announced, whatever this machine's are.
        explicit: bool,
    },
    /// We want to know all gateways.
    Business,
}

/// All gateways that a register knows.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub(crate) addresses: Vec<String>,
    /// Which run each of them is in, by address, of those that said so.
    pub(crate) epochs: BTreeMap<String, String>,
}

/// What is heard of registers. Each has a number of its own.
#[derive(Debug)]
pub(crate) enum RegisterNews {
    /// One says which gateways it knows; there are so many registers, as far as is known.
    Listed(usize, usize, List),
    /// A name stands for this one no longer, and its connection has ended: what it has listed counts no more.
    Gone(usize),
}

pub(crate) type Heard = Rc<dyn Fn(RegisterNews)>;

/// The standing connections to the registers; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Discovery {
    registers: Rc<Registers>,
    /// Each follows what a name stands for.
    tasks: Vec<JoinHandle<()>>,
}

/// The registers that there are: those given by address, and those that names stand for now.
struct Registers {
    table: Table,
    greeting: Line,
    /// Where we say that we are, if we are a gateway.
    announced: Option<SocketAddr>,
    heard: Heard,
    security: SharedSecurity,
    names: Vec<Rc<RegisterName>>,
    attended: RefCell<BTreeMap<usize, Attended>>,
    next: Cell<usize>,
}

/// A register, and the task that keeps the connection to it.
struct Attended {
    visitor: Rc<Visitor>,
    /// Which name stands for it.
    name: Option<Rc<RegisterName>>,
    task: JoinHandle<()>,
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Discovery {
    /// Begins to keep a connection to each of `registers`, `host:port`; to [`DEFAULT_REGISTER`] if
    /// there are none. A name stands for as many registers as it has addresses, and is resolved now and then.
    pub(crate) fn start(
        table: &Table,
        registers: &[String],
        secret_key: &Secret,
        announcement: &Announcement,
        heard: &Heard,
        security: &SharedSecurity,
    ) -> Self {
        let about_us = (greeting(announcement, secret_key), announcement);
        Self::resolved_by(&system_resolver(), table, registers, about_us, heard, security)
    }

    /// As a business with one name, resolved by this.
    #[cfg(test)]
    pub(crate) fn by_name(
        resolver: &Resolver,
        table: &Table,
        name: &str,
        key: &str,
        heard: &Heard,
    ) -> Self {
        let about_us =
            (greeting(&Announcement::Business, &Secret::new(key)), &Announcement::Business);
        let security = SharedSecurity::default();
        Self::resolved_by(resolver, table, &[name.to_owned()], about_us, heard, &security)
    }

    /// As [`Self::start`], with what resolves names.
    fn resolved_by(
        resolver: &Resolver,
        table: &Table,
        registers: &[String],
        (greeting, announcement): (Line, &Announcement),
        heard: &Heard,
        security: &SharedSecurity,
    ) -> Self {
        let default = [DEFAULT_REGISTER.to_owned()];
        let registers = if registers.is_empty() { &default } else { registers };
        let literal = |register: &String| register.parse::<SocketAddr>().ok();
        let names = registers.iter().filter(|register| literal(register).is_none());
        let found = Rc::new(Registers {
            table: table.clone(),
            greeting,
            announced: match announcement {
                Announcement::Gateway { address, .. } => Some(*address),
                Announcement::Business => None,
            },
            heard: Rc::clone(heard),
            security: Rc::clone(security),
            names: names.map(|name| Rc::new(RegisterName::new(name.clone()))).collect(),
            attended: RefCell::default(),
            next: Cell::default(),
        });
        for address in registers.iter().filter_map(literal) {
            found.add(address, None);
        }
        let follow = |name: &Rc<RegisterName>| {
            let (found, resolver) = (Rc::clone(&found), Rc::clone(resolver));
            tokio::task::spawn_local(follow(found, Rc::clone(name), resolver))
        };
        let tasks = found.names.iter().map(follow).collect();
        Self { registers: found, tasks }
    }

    /// Returns how many registers take us.
    pub(crate) fn connected(&self) -> usize {
        let attended = self.registers.attended.borrow();
        attended.values().filter(|attended| attended.is_well()).count()
    }

    /// Returns whether the register of that number takes us, so that its list is of now.
    pub(crate) fn is_connected(&self, register: usize) -> bool {
        self.registers.attended.borrow().get(&register).is_some_and(Attended::is_well)
    }

    /// Returns a line for each thing that is not as it should be.
    pub(crate) fn remarks(&self, now: Instant) -> Vec<String> {
        let attended = self.registers.attended.borrow();
        let missing = attended.values().filter_map(|attended| {
            let visitor = &attended.visitor;
            visitor.standing.borrow().describe(&visitor.shown, now)
        });
        let unresolved = self.registers.names.iter().filter_map(|name| name.describe(now));
        let missing: Vec<_> = missing.chain(unresolved).collect();
        let notices = attended.values().filter_map(|attended| {
            let standing = attended.visitor.standing.borrow();
            Some(format!("register {}: {}", attended.visitor.shown, standing.notice.as_ref()?))
        });
        outage::line("registers", self.registers.count(), &missing)
            .into_iter()
            .chain(notices)
            .collect()
    }

    /// Returns what a register says where another gateway has our address.
    pub(crate) fn address_taken(&self) -> Option<String> {
        self.registers.attended.borrow().values().find_map(|attended| {
            let standing = attended.visitor.standing.borrow();
            Some(format!("register {} {}", attended.visitor.shown, standing.address_taken()?))
        })
    }

    /// Tries registers at once that have refused us: what they object to may be mended. Names are resolved anew.
    pub(crate) fn hurry(&self) {
        for attended in self.registers.attended.borrow().values() {
            attended.visitor.standing.borrow_mut().hurry();
            attended.visitor.hurry.notify_waiters();
        }
        for name in &self.registers.names {
            name.look_again();
        }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        // Their callbacks hold what holds them.
        self.registers.attended.take();
    }
}

impl Attended {
    fn is_well(&self) -> bool {
        self.visitor.standing.borrow().is_taken()
    }
}

impl Registers {
    /// Begins to keep a connection to a register.
    fn add(self: &Rc<Self>, address: SocketAddr, name: Option<&Rc<RegisterName>>) {
        let number = self.next.replace(self.next.get() + 1);
        let shown = name.map_or_else(|| address.to_string(), |name| name.shown(address));
        let registers = Rc::clone(self);
        let listed =
            move |list| (registers.heard)(RegisterNews::Listed(number, registers.count(), list));
        let of = name.cloned();
        let lost = move || of.iter().for_each(|name| name.look_again());
        let about_us = (self.greeting.clone(), self.announced);
        let visitor = Rc::new(Visitor::new(address, shown, about_us, listed, lost));
        let security = Rc::clone(&self.security);
        let attend = attend(self.table.clone(), Rc::clone(&visitor), security);
        let task = tokio::task::spawn_local(attend);
        let attended = Attended { visitor, name: name.cloned(), task };
        self.attended.borrow_mut().insert(number, attended);
    }

    /// Returns how many registers there are, with one for each name that stands for none yet.
    fn count(&self) -> usize {
        let unknown = self.names.iter().filter(|name| !name.is_known()).count();
        self.attended.borrow().len() + unknown
    }

    /// A name stands for these addresses now: those that are new are registers from now on. One that it stands for no
    /// longer is kept as long as it takes us: names are resolved to a part of what there is, now and then.
    fn follow(self: &Rc<Self>, name: &Rc<RegisterName>, found: &[SocketAddr]) {
        let is_gone = |attended: &Attended| {
            let is_its = attended.name.as_ref().is_some_and(|of| Rc::ptr_eq(of, name));
            is_its && !found.contains(&attended.visitor.address) && !attended.is_well()
        };
        let gone = self
            .attended
            .borrow_mut()
            .extract_if(.., |_, attended| is_gone(attended))
            .collect::<Vec<_>>();
        let known = |address: &SocketAddr| {
            self.attended.borrow().values().any(|known| known.visitor.address == *address)
        };
        let new: Vec<_> = found.iter().filter(|address| !known(address)).collect();
        for address in new {
            self.add(*address, Some(name));
        }
        for (number, attended) in gone {
            tracing::info!(register = attended.visitor.shown, "the name stands for it no longer");
            (self.heard)(RegisterNews::Gone(number));
        }
    }
}

impl fmt::Debug for Registers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attended = self.attended.borrow();
        let visitors = attended.values().map(|attended| &attended.visitor);
        formatter.debug_list().entries(visitors).finish()
    }
}

fn greeting(announcement: &Announcement, secret_key: &Secret) -> Line {
    let secret_key = secret_key.clone();
    match announcement {
        Announcement::Gateway { address, epoch, explicit } => Line::GatewayConnect {
            address: address.to_string(),
            secret_key,
            epoch: Some(epoch.clone()),
            lineman: Some(EXTENSION_VERSION),
            explicit: *explicit,
        },
        Announcement::Business => {
            Line::WorkerConnect { secret_key, lineman: Some(EXTENSION_VERSION) }
        }
    }
}

/// Returns how long to wait before a lost connection is tried again after so many attempts that came to
/// nothing: 0.1 s, twice that, and so on up to 1 s, each half as long to half as long again, so that a
/// cluster does not come back in one blow.
pub(crate) fn retry_pause(failures: u32) -> Duration {
    let mean = FIRST_RETRY.saturating_mul(1 << failures.min(16)).min(RETRY);
    let dice = getrandom::u32().map_or(500, |number| number % 1000);
    mean / 2 + mean * dice / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_are_spread() {
        for _ in 0..100 {
            for (failures, mean) in [(0, 100), (1, 200), (3, 800), (4, 1000), (u32::MAX, 1000)] {
                let pause = retry_pause(failures);
                assert!((mean / 2..mean * 3 / 2).contains(&pause.as_millis()), "{pause:?}");
            }
        }
    }
}
