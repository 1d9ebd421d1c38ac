//! The way to the registers: one standing connection to each, on which a gateway announces itself
//! and a business hears which gateways there are.
//!
//! Called by [`crate::Gateway`] and [`crate::Business`] when they start. It never touches a link:
//! with every register gone, what is connected goes on.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use lineman::connection::{CloseReason, Connection, Event, Handler, Serve, Turn};
use lineman::{BoxError, Result, Table};
use lineman_wire::link::Secret;
use lineman_wire::link::register::Line;
use lineman_wire::text::Text;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How often a register hears from us unless it is on this machine: below the 60 s after which the
/// shortest-lived NAT tables forget a silent connection. `GatewayWorker`'s interval.
const PING_INTERVAL: Duration = Duration::from_secs(25);

/// Where a register is by default; `GatewayWorker`'s default.
pub(crate) const DEFAULT_REGISTER: &str = "127.0.0.1:1236";

/// The mean pause before a lost connection of the cluster is tried again; `GatewayWorker`'s.
const RETRY: Duration = Duration::from_secs(1);

/// What a process of the cluster is to the register.
#[derive(Debug, Clone)]
pub(crate) enum Announcement {
    /// Businesses reach us at this `ip:port`.
    Gateway {
        /// The address of the inner listener.
        address: String,
    },
    /// We want to know all gateways.
    Business,
}

/// Called with the number of the register, from 0, and all gateways it knows.
pub(crate) type Heard = Rc<dyn Fn(usize, Vec<String>)>;

/// The standing connections to the registers; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Discovery {
    tasks: Vec<JoinHandle<()>>,
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
        let attend = |(number, address): (usize, &String)| {
            let visitor = Visitor {
                number,
                address: address.clone(),
                greeting: greeting(announcement, secret_key),
                heard: Rc::clone(heard),
                ended: Notify::new(),
            };
            tokio::task::spawn_local(attend(table.clone(), Rc::new(visitor)))
        };
        let default = [DEFAULT_REGISTER.to_owned()];
        let registers = if registers.is_empty() { &default } else { registers };
        Self { tasks: registers.iter().enumerate().map(attend).collect() }
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
        Announcement::Gateway { address } => {
            Line::GatewayConnect { address: address.clone(), secret_key, epoch: None }
        }
        Announcement::Business => Line::WorkerConnect { secret_key, lineman: None },
    }
}

/// Returns how long to wait before a lost connection is tried again: 0.5 to 1.5 s, so that a
/// cluster does not come back in one blow.
pub(crate) fn retry_pause() -> Duration {
    let dice = getrandom::u32().map_or(500, |number| number % 1000);
    RETRY / 2 + Duration::from_millis(u64::from(dice))
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
    let mut complained = false;
    loop {
        let begun = Instant::now();
        if let Err(error) = visit(&table, &visitor).await {
            tracing::debug!(register = visitor.address, %error, "no connection");
        }
        // One line for each time it goes away, not one for each second it stays away.
        complained &= begun.elapsed() < RETRY;
        if !complained {
            tracing::warn!(register = visitor.address, "register not connected, trying again");
            complained = true;
        }
        tokio::time::sleep(retry_pause()).await;
    }
}

/// Connects, and returns when the connection has ended.
async fn visit(table: &Table, visitor: &Rc<Visitor>) -> Result {
    let address = resolve(&visitor.address).await?;
    let handler = Rc::clone(visitor) as Rc<dyn Handler<Text>>;
    let connection =
        Hangup(table.connect(address, &Rc::new(Serve::links(Text::default, handler)))?);
    loop {
        let ended = visitor.ended.notified();
        if address.ip().is_loopback() {
            ended.await;
            return Ok(());
        }
        match tokio::time::timeout(PING_INTERVAL, ended).await {
            Ok(()) => return Ok(()),
            Err(_) => connection.0.send(Line::Ping.encode())?,
        }
    }
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
    greeting: Line,
    heard: Heard,
    ended: Notify,
}

impl Handler<Text> for Visitor {
    fn on_event(&self, connection: &Connection<Text>, event: Event<Text>) -> Turn {
        match event {
            Event::Connect => {
                tracing::info!(register = self.address, "register connected");
                return Turn::Done(connection.send(self.greeting.encode()));
            }
            Event::Message(line) => self.on_line(&line),
            Event::Close(reason) => self.on_close(&reason),
            Event::Open(()) | Event::Opened => {}
        }
        Turn::Done(Ok(()))
    }
}

impl Visitor {
    fn on_line(&self, line: &str) {
        match Line::parse(line.as_bytes()) {
            Ok(Line::BroadcastAddresses { addresses, .. }) => (self.heard)(self.number, addresses),
            Ok(_) => tracing::debug!(register = self.address, "a line that is not for us"),
            Err(error) => tracing::warn!(register = self.address, %error, "register line refused"),
        }
    }

    fn on_close(&self, reason: &CloseReason) {
        tracing::debug!(register = self.address, %reason, "register connection closed");
        self.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_around_a_second() {
        for _ in 0..100 {
            let pause = retry_pause();
            assert!((500..1500).contains(&pause.as_millis()), "{pause:?}");
        }
    }
}
