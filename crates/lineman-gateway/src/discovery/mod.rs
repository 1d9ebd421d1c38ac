//! The way to the registers: one standing connection to each, on which a gateway announces itself
//! and a business hears which gateways there are.
//!
//! Called by [`crate::Gateway`] and [`crate::Business`] when they start. It never touches a link:
//! with every register gone, what is connected goes on.

mod liveness;
mod standing;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use lineman::connection::{CloseReason, Connection, Event, Handler, Serve, Turn};
use lineman::{BoxError, Result, Table};
use lineman_wire::link::register::Line;
use lineman_wire::link::{EXTENSION_VERSION, Secret};
use lineman_wire::text::Text;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::liveness::{Ask, Liveness};
use self::standing::{SETTLED, Standing};
use crate::outage::{self, why};
use crate::reach::register_timeout;
use crate::recurrence::Recurrence;

/// Where a register is by default; `GatewayWorker`'s default.
pub(crate) const DEFAULT_REGISTER: &str = "127.0.0.1:1236";

/// The mean pause before a lost connection of the cluster is tried again and again; `GatewayWorker`'s.
const RETRY: Duration = Duration::from_secs(1);

/// The mean pause before the first of these: a process that has crashed is back in less than a second.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// How long one attempt to reach a register may take. The kernel sends the first packet of a handshake
/// again after one second and then after two more: a new attempt asks sooner.
const ATTEMPT: Duration = Duration::from_millis(1200);

/// The longest line of a register: a list of ten thousand gateways with their epochs.
const MAX_LINE: usize = 1024 * 1024;

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

/// Called with the number of the register, from 0, and what it lists.
pub(crate) type Heard = Rc<dyn Fn(usize, List)>;

/// The standing connections to the registers; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Discovery {
    tasks: Vec<JoinHandle<()>>,
    visitors: Vec<Rc<Visitor>>,
}

impl Discovery {
    /// Begins to keep a connection to each of `registers`, `host:port`; to [`DEFAULT_REGISTER`] if
    /// there are none.
    pub(crate) fn start(
        table: &Table,
        registers: &[String],
        secret_key: &Secret,
        announcement: &Announcement,
        heard: &Heard,
    ) -> Self {
        let visitor = |(number, address): (usize, &String)| {
            Rc::new(Visitor {
                number,
                address: address.clone(),
                announced: match announcement {
                    Announcement::Gateway { address, .. } => Some(*address),
                    Announcement::Business => None,
                },
                standing: RefCell::default(),
                ended: RefCell::default(),
                hurry: Notify::new(),
                greeting: greeting(announcement, secret_key),
                heard: Rc::clone(heard),
                connection: Cell::default(),
                liveness: RefCell::default(),
                changed: Notify::new(),
                refused_lines: RefCell::default(),
            })
        };
        let default = [DEFAULT_REGISTER.to_owned()];
        let registers = if registers.is_empty() { &default } else { registers };
        let visitors: Vec<_> = registers.iter().enumerate().map(visitor).collect();
        let attend = |visitor| tokio::task::spawn_local(attend(table.clone(), Rc::clone(visitor)));
        Self { tasks: visitors.iter().map(attend).collect(), visitors }
    }

    /// Returns how many registers take us.
    pub(crate) fn connected(&self) -> usize {
        self.visitors.iter().filter(|visitor| visitor.standing.borrow().is_taken()).count()
    }

    /// Returns whether the register of that number takes us, so that its list is of now.
    pub(crate) fn is_connected(&self, register: usize) -> bool {
        self.visitors.get(register).is_some_and(|visitor| visitor.standing.borrow().is_taken())
    }

    /// Returns a line for each thing that is not as it should be.
    pub(crate) fn remarks(&self, now: Instant) -> Vec<String> {
        let missing =
            |visitor: &Rc<Visitor>| visitor.standing.borrow().describe(&visitor.address, now);
        let missing: Vec<_> = self.visitors.iter().filter_map(missing).collect();
        let notices = self.visitors.iter().filter_map(|visitor| {
            let standing = visitor.standing.borrow();
            Some(format!("register {}: {}", visitor.address, standing.notice.as_ref()?))
        });
        outage::line("registers", self.visitors.len(), &missing)
            .into_iter()
            .chain(notices)
            .collect()
    }

    /// Returns what a register says where another gateway has our address.
    pub(crate) fn address_taken(&self) -> Option<String> {
        self.visitors.iter().find_map(|visitor| {
            let standing = visitor.standing.borrow();
            Some(format!("register {} {}", visitor.address, standing.address_taken()?))
        })
    }

    /// Tries registers at once that have refused us: what they object to may be mended.
    pub(crate) fn hurry(&self) {
        for visitor in &self.visitors {
            visitor.standing.borrow_mut().hurry();
            visitor.hurry.notify_waiters();
        }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
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

/// Returns the first address that `host:port` stands for.
pub(crate) async fn resolve(address: &str) -> Result<SocketAddr> {
    if let Ok(address) = address.parse() {
        return Ok(address);
    }
    let mut found = tokio::net::lookup_host(address).await?;
    found.next().ok_or_else(|| BoxError::from(format!("{address} stands for no address")))
}

/// Keeps a connection to one register for as long as the task lives.
async fn attend(table: Table, visitor: Rc<Visitor>) {
    let mut failures = 0_u32;
    loop {
        let begun = Instant::now();
        visitor.standing.borrow_mut().begin();
        let outcome = visit(&table, &visitor).await;
        let was_up = outcome.is_ok() && begun.elapsed() >= RETRY;
        // An attempt that got no answer is a pause as well.
        let spent = if was_up { Duration::ZERO } else { begun.elapsed() };
        failures = if was_up { 0 } else { failures };
        let pause = retry_pause(failures).saturating_sub(spent);
        failures = failures.saturating_add(1);
        let problem = match (visitor.ended.take(), outcome) {
            (Some(ended), _) => ended,
            (None, Err(error)) => error.to_string(),
            (None, Ok(())) => "it does not answer".to_owned(),
        };
        let refused =
            visitor.standing.borrow_mut().lost(&visitor.address, &problem, Instant::now());
        tokio::select! {
            () = tokio::time::sleep(refused.unwrap_or(pause)) => {}
            () = visitor.hurry.notified() => {}
        }
    }
}

/// Connects, and returns when the connection has ended; an error is one that never came up.
async fn visit(table: &Table, visitor: &Rc<Visitor>) -> Result {
    let address = resolve(&visitor.address).await?;
    visitor.look_at(address.ip());
    let handler = Rc::clone(visitor) as Rc<dyn Handler<Text>>;
    let serve = Serve::links(|| Text::with_max_size(MAX_LINE), handler);
    // For one that answers no pings, as PHP's.
    let serve = serve.peer_timeout(register_timeout(address.ip()));
    let connection = Hangup(table.connect(address, &Rc::new(serve))?);
    visitor.liveness.take();
    visitor.connection.set(Some(connection.0.id()));
    let answered = tokio::time::timeout(ATTEMPT, visitor.until_up()).await;
    if answered.is_err() || visitor.liveness.borrow().is_none() {
        return Err("it did not come up".into());
    }
    let up = Instant::now();
    while visitor.connection.get().is_some() {
        let settles = SETTLED.saturating_sub(up.elapsed());
        let taken = visitor.standing.borrow().is_taken();
        // A business hears the list at once, whatever the register is.
        if !taken && settles.is_zero() && visitor.announced.is_some() {
            visitor.standing.borrow_mut().is_quiet(&visitor.address);
        }
        let ask = match &mut *visitor.liveness.borrow_mut() {
            Some(liveness) if !address.ip().is_loopback() => liveness.ask(Instant::now()),
            // What is on this machine is not gone without the kernel's word.
            _ => Ask::After(Duration::MAX),
        };
        match ask {
            Ask::Now => connection.0.send(Line::Ping.encode())?,
            Ask::NoMore => {
                tracing::warn!(register = visitor.address, "register does not answer");
                return Ok(());
            }
            Ask::After(time) => {
                let time = if settles.is_zero() { time } else { time.min(settles) };
                // Passed or not: it is looked what is due.
                tokio::time::timeout(time, visitor.changed.notified()).await.unwrap_or_default();
            }
        }
    }
    Ok(())
}

/// Ends the connection when the task that attends it is dropped.
struct Hangup(Connection<Text>);

impl Drop for Hangup {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Hears the events of the connection to one register.
struct Visitor {
    number: usize,
    address: String,
    /// Where we say that we are, if we are a gateway.
    announced: Option<SocketAddr>,
    standing: RefCell<Standing>,
    /// Why the last connection has ended.
    ended: RefCell<Option<String>>,
    /// The pause before the next attempt ends.
    hurry: Notify,
    greeting: Line,
    heard: Heard,
    /// The connection that counts: one that was given up may have its last events still before it.
    connection: Cell<Option<u64>>,
    /// What is known of it once it is up.
    liveness: RefCell<Option<Liveness>>,
    /// One of these has changed.
    changed: Notify,
    refused_lines: RefCell<Recurrence>,
}

impl fmt::Debug for Visitor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Visitor")
            .field("address", &self.address)
            .field("standing", &*self.standing.borrow())
            .finish_non_exhaustive()
    }
}

impl Handler<Text> for Visitor {
    fn on_event(&self, connection: &Connection<Text>, event: Event<Text>) -> Turn {
        if self.connection.get() != Some(connection.id()) {
            return Turn::Done(Ok(()));
        }
        match event {
            Event::Connect => {
                self.liveness.replace(Some(Liveness::new(Instant::now())));
                self.changed.notify_one();
                tracing::debug!(register = self.address, "register connected");
                return Turn::Done(connection.send(self.greeting.encode()));
            }
            Event::Message(line) => return Turn::Done(self.on_line(connection, &line)),
            Event::Close(reason) => self.on_close(&reason),
            Event::Open(()) | Event::Opened => {}
        }
        Turn::Done(Ok(()))
    }
}

impl Visitor {
    /// Resolves when the connection is up, or has ended.
    async fn until_up(&self) {
        while self.connection.get().is_some() && self.liveness.borrow().is_none() {
            self.changed.notified().await;
        }
    }

    fn on_line(&self, connection: &Connection<Text>, line: &str) -> Result {
        match Line::parse(line.as_bytes()) {
            Ok(Line::BroadcastAddresses { addresses, epochs }) => {
                self.standing.borrow_mut().is_well(&self.address);
                (self.heard)(self.number, List { addresses, epochs });
            }
            Ok(Line::Alive { .. }) => {
                if let Some(liveness) = &mut *self.liveness.borrow_mut() {
                    liveness.answered();
                }
                self.standing.borrow_mut().lives(&self.address);
                self.changed.notify_one();
            }
            Ok(Line::Refused { reason, address_taken }) => {
                self.standing.borrow_mut().refuse(&reason, address_taken, Instant::now());
            }
            Ok(Line::Notice { text }) => self.standing.borrow_mut().find_odd(&self.address, text),
            // It wonders whether we live.
            Ok(Line::Ping) => return connection.send(Line::Ping.encode()),
            Ok(_) => tracing::debug!(register = self.address, "a line that is not for us"),
            Err(error) => {
                let mut refused = self.refused_lines.borrow_mut();
                refused.add();
                if let Some(count) = refused.untold(Instant::now()) {
                    tracing::warn!(register = self.address, count, %error, "register lines refused");
                }
            }
        }
        Ok(())
    }

    /// A register on another machine introduces us to others: those would look for a loopback address on
    /// their own.
    fn look_at(&self, register: IpAddr) {
        let announced = self.announced.filter(|announced| announced.ip().is_loopback());
        if let Some(announced) = announced.filter(|_| !is_of_this_machine(register)) {
            let text = format!(
                "it is on another machine, and this gateway announces {announced}, where none but this \
                 machine's own businesses find it (hint: lan_ip)"
            );
            self.standing.borrow_mut().find_odd(&self.address, text);
        }
    }

    fn on_close(&self, reason: &CloseReason) {
        self.ended.replace(Some(why(reason)));
        tracing::debug!(register = self.address, %reason, "register connection closed");
        self.connection.set(None);
        self.changed.notify_one();
    }
}

/// Returns whether an address is one of this machine's: the kernel lets a socket have it.
fn is_of_this_machine(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
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
