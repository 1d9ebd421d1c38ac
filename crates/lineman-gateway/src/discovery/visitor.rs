//! The connection to one register: made anew when it is lost, asked whether the register lives, and what comes on it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use lineman::connection::{CloseReason, Connection, Event, Handler, Serve, Turn};
use lineman::{Result, Table};
use lineman_wire::link::register::Line;
use lineman_wire::text::Text;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::liveness::{Ask, Liveness};
use super::standing::{SETTLED, Standing};
use super::{List, RETRY, retry_pause};
use crate::link_tls::SharedSecurity;
use crate::outage::why;
use crate::reach::register_timeout;
use crate::recurrence::Recurrence;

/// How long one attempt to reach a register may take. The kernel sends the first packet of a handshake
/// again after one second and then after two more: a new attempt asks sooner.
const ATTEMPT: Duration = Duration::from_millis(1200);

/// The longest line of a register: a list of ten thousand gateways with their epochs.
const MAX_LINE: usize = 1024 * 1024;

/// Keeps a connection to one register for as long as the task lives.
pub(super) async fn attend(table: Table, visitor: Rc<Visitor>, security: SharedSecurity) {
    let mut failures = 0_u32;
    loop {
        let begun = Instant::now();
        visitor.standing.borrow_mut().begin();
        let outcome = visit(&table, &visitor, &security).await;
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
        let refused = visitor.standing.borrow_mut().lost(&visitor.shown, &problem, Instant::now());
        (visitor.lost)();
        tokio::select! {
            () = tokio::time::sleep(refused.unwrap_or(pause)) => {}
            () = visitor.hurry.notified() => {}
        }
    }
}

/// Connects, and returns when the connection has ended; an error is one that never came up.
async fn visit(table: &Table, visitor: &Rc<Visitor>, security: &SharedSecurity) -> Result {
    let address = visitor.address;
    visitor.look_at(address.ip());
    let handler = Rc::clone(visitor) as Rc<dyn Handler<Text>>;
    let serve = Serve::links(|| Text::with_max_size(MAX_LINE), handler);
    // For one that answers no pings, as PHP's.
    let serve = serve.peer_timeout(register_timeout(address.ip()));
    let serve = serve.begins_tls(security.borrow().connecting());
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
            visitor.standing.borrow_mut().is_quiet(&visitor.shown);
        }
        let ask = match &mut *visitor.liveness.borrow_mut() {
            Some(liveness) if !address.ip().is_loopback() => liveness.ask(Instant::now()),
            // What is on this machine is not gone without the kernel's word.
            _ => Ask::After(Duration::MAX),
        };
        match ask {
            Ask::Now => connection.0.send(Line::Ping.encode())?,
            Ask::NoMore => {
                tracing::warn!(register = visitor.shown, "register does not answer");
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
pub(super) struct Visitor {
    pub(super) address: SocketAddr,
    /// As it is configured, with the address that a name stands for.
    pub(super) shown: String,
    /// Where we say that we are, if we are a gateway.
    announced: Option<SocketAddr>,
    pub(super) standing: RefCell<Standing>,
    /// Why the last connection has ended.
    ended: RefCell<Option<String>>,
    /// The pause before the next attempt ends.
    pub(super) hurry: Notify,
    greeting: Line,
    /// Called with each list of the register.
    listed: Box<dyn Fn(List)>,
    /// Called when a connection was lost, or did not come about.
    lost: Box<dyn Fn()>,
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
            .field("register", &self.shown)
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
                tracing::debug!(register = self.shown, "register connected");
                return Turn::Done(connection.send(self.greeting.encode()));
            }
            Event::Message(line) => return Turn::Done(self.on_line(connection, &line)),
            Event::Close(reason) => self.on_close(&reason),
            Event::Open(()) | Event::Opened | Event::Adopted => {}
        }
        Turn::Done(Ok(()))
    }
}

impl Visitor {
    pub(super) fn new(
        address: SocketAddr,
        shown: String,
        (greeting, announced): (Line, Option<SocketAddr>),
        listed: impl Fn(List) + 'static,
        lost: impl Fn() + 'static,
    ) -> Self {
        Self {
            address,
            shown,
            announced,
            standing: RefCell::default(),
            ended: RefCell::default(),
            hurry: Notify::new(),
            greeting,
            listed: Box::new(listed),
            lost: Box::new(lost),
            connection: Cell::default(),
            liveness: RefCell::default(),
            changed: Notify::new(),
            refused_lines: RefCell::default(),
        }
    }

    /// Resolves when the connection is up, or has ended.
    async fn until_up(&self) {
        while self.connection.get().is_some() && self.liveness.borrow().is_none() {
            self.changed.notified().await;
        }
    }

    fn on_line(&self, connection: &Connection<Text>, line: &str) -> Result {
        match Line::parse(line.as_bytes()) {
            Ok(Line::BroadcastAddresses { addresses, epochs }) => {
                self.standing.borrow_mut().is_well(&self.shown);
                (self.listed)(List { addresses, epochs });
            }
            Ok(Line::Alive { .. }) => {
                if let Some(liveness) = &mut *self.liveness.borrow_mut() {
                    liveness.answered();
                }
                self.standing.borrow_mut().lives(&self.shown);
                self.changed.notify_one();
            }
            Ok(Line::Refused { reason, address_taken }) => {
                self.standing.borrow_mut().refuse(&reason, address_taken, Instant::now());
            }
            Ok(Line::Notice { text }) => self.standing.borrow_mut().find_odd(&self.shown, text),
            // It wonders whether we live.
            Ok(Line::Ping) => return connection.send(Line::Ping.encode()),
            Ok(_) => tracing::debug!(register = self.shown, "a line that is not for us"),
            Err(error) => {
                let mut refused = self.refused_lines.borrow_mut();
                refused.add();
                if let Some(count) = refused.untold(Instant::now()) {
                    tracing::warn!(register = self.shown, count, %error, "register lines refused");
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
            self.standing.borrow_mut().find_odd(&self.shown, text);
        }
    }

    fn on_close(&self, reason: &CloseReason) {
        self.ended.replace(Some(why(reason)));
        tracing::debug!(register = self.shown, %reason, "register connection closed");
        self.connection.set(None);
        self.changed.notify_one();
    }
}

/// Returns whether an address is one of this machine's: the kernel lets a socket have it.
fn is_of_this_machine(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}
