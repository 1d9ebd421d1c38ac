//! The register: the address book of a cluster, `GatewayWorker`'s protocol.
//!
//! Gateways say where they are, businesses and clients of the cluster hear it. It is on no
//! message's way: with it gone, everything that is connected goes on.

mod book;
mod handler;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use lineman::connection::Serve;
use lineman::service::{
    Context, Description, Listening, LocalFuture, ProcessHooks, Processes, Reload, Running,
    Service, StopOrder,
};
use lineman::{App, Result, timer};
use lineman_wire::link::Secret;
use lineman_wire::text::Text;

use book::period;
use handler::Desk;

use crate::rounds::part_of;

/// The longest line a peer may send, in bytes. A gateway's is below 1 KiB; `GatewayWorker` takes
/// 10 MiB from any peer, before it has seen a key.
const MAX_LINE: usize = 64 * 1024;

/// A register: one process that introduces gateways and businesses to each other.
///
/// ```no_run
/// use lineman_gateway::Register;
///
/// fn main() -> lineman::Result {
///     Register::listen("127.0.0.1:1236").secret_key("change me").run()
/// }
/// ```
#[derive(Debug)]
pub struct Register {
    processes: Processes,
    listening: Listening,
    address: String,
    secret_key: Secret,
    silence_limit: Duration,
}

impl Register {
    /// Listens on `address`, `host:port`; `GatewayWorker`'s port is 1236.
    pub fn listen(address: impl Into<String>) -> Self {
        let mut processes = Processes::new("register");
        processes.set_reload(Reload::Keep);
        Self {
            processes,
            listening: Listening::default(),
            address: address.into(),
            secret_key: Secret::default(),
            silence_limit: Duration::from_secs(10),
        }
    }

    lineman::process_settings!();
    lineman::listening_settings!();

    /// Sets the key that gateways and businesses have to show. Default: none.
    #[must_use]
    pub fn secret_key(mut self, key: impl Into<String>) -> Self {
        self.secret_key = Secret::new(key);
        self
    }

    /// Sets how long a peer may be connected without a word, to within half of it; zero for ever.
    /// Default 10 s, as `GatewayWorker`.
    #[must_use]
    pub fn silence_limit(mut self, limit: Duration) -> Self {
        self.silence_limit = limit;
        self
    }

    /// Runs a program of this one service.
    ///
    /// # Errors
    /// As [`App::run`].
    pub fn run(self) -> Result {
        App::new().service(self).run()
    }
}

impl Service for Register {
    fn description(&self) -> Description {
        Description {
            listeners: vec![self.listening.describe("cluster", "register", &self.address)],
            stop_order: StopOrder::Core,
            ..self.processes.describe("register")
        }
    }

    fn start(self: Box<Self>, context: Context) -> LocalFuture<Result<Rc<dyn Running>>> {
        Box::pin(async move {
            let hooks = self.processes.start(context.slot()).await?;
            let desk = Rc::new(Desk::new(self.secret_key, self.silence_limit));
            if let Some(part) = part_of(period(self.silence_limit)) {
                let desk = Rc::clone(&desk);
                timer::every(part, async move || desk.check_silence());
            }
            for listener in context.listeners {
                let make = || Text::with_max_size(MAX_LINE);
                let serve = Serve::links(make, Rc::<Desk>::clone(&desk));
                context.table.listen(listener, serve.front(self.listening.front.clone()))?;
            }
            Ok(Rc::new(RunningRegister { desk, hooks }) as Rc<dyn Running>)
        })
    }
}

struct RunningRegister {
    desk: Rc<Desk>,
    hooks: ProcessHooks,
}

impl Running for RunningRegister {
    fn reload(&self) -> LocalFuture<()> {
        self.hooks.reload()
    }

    fn stopped(&self) -> LocalFuture<()> {
        self.hooks.stopped()
    }

    fn gauges(&self) -> BTreeMap<&'static str, u64> {
        self.desk.gauges()
    }
}
