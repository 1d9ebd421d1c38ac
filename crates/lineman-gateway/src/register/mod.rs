//! The register: the address book of a cluster, `GatewayWorker`'s protocol.
//!
//! Gateways say where they are, businesses and clients of the cluster hear it. It is on no
//! message's way: with it gone, everything that is connected goes on.

mod book;
mod rivals;
mod handler;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use lineman::connection::{CannotMove, Front, Serve, Served};
use lineman::service::{
    Context, Description, Listening, LocalFuture, ProcessHooks, Processes, Reload, Running,
    Service, StopOrder,
};
use lineman::timer::{self, Timer};
use lineman::{App, Result, Table};
use lineman_wire::link::Secret;
use lineman_wire::text::Text;

use book::period;
use handler::Desk;

use crate::ClusterSettings;
use crate::rounds::part_of;
use crate::strangers::{LOGIN_BYTES, LOGIN_TIME, STRANGERS, Strangers};

/// How often it is looked for peers that do not answer, where none has to say what it is in time.
const LOOK: Duration = Duration::from_millis(250);

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
    cluster: ClusterSettings,
    silence_limit: Duration,
    strangers: usize,
    anew: Option<RegisterAnew>,
}

/// Describes a register that runs as it is to be from then on.
struct RegisterAnew(Box<dyn Fn() -> Result<Register>>);

impl fmt::Debug for RegisterAnew {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RegisterAnew(..)")
    }
}

impl Register {
    /// Listens on `address`, `host:port`; `GatewayWorker`'s port is 1236.
    pub fn listen(address: impl Into<String>) -> Self {
        let mut processes = Processes::new("register");
        processes.set_reload(Reload::HandOver);
        Self {
            processes,
            listening: Listening::default(),
            address: address.into(),
            cluster: ClusterSettings::default(),
            silence_limit: LOGIN_TIME,
            strangers: STRANGERS,
            anew: None,
        }
    }

    lineman::process_settings!();
    lineman::listening_settings!();
    crate::cluster_settings::cluster_settings!();
    crate::strangers::stranger_settings!();

    /// Sets how long a peer may be connected before it has shown the key and said what it is, whatever
    /// else it sends; zero for ever. Default 5 s.
    #[must_use]
    pub fn silence_limit(mut self, limit: Duration) -> Self {
        self.silence_limit = limit;
        self
    }

    /// Asks `anew` at each reload of the program how the register is to be from then on: its `silence_limit`,
    /// `strangers`, and for new peers `link_tls` with its certificates, its limits and proxies. Of everything else the one that was started counts.
    /// Default: it stays as it is.
    #[must_use]
    pub fn reconfigured(mut self, anew: impl Fn() -> Result<Self> + 'static) -> Self {
        self.anew = Some(RegisterAnew(Box::new(anew)));
        self
    }

    fn secret(&self) -> Result<Secret> {
        Ok(self.cluster.secret(self.processes.name())?)
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

    fn check(&self) -> Result {
        self.listening.front.check()?;
        self.cluster.security(self.processes.name(), &self.secret()?)?;
        Ok(())
    }

    fn start(self: Box<Self>, context: Context) -> LocalFuture<Result<Rc<dyn Running>>> {
        Box::pin(async move {
            let (secret, is_dormant) = (self.secret()?, context.is_dormant());
            let security = self.cluster.security(self.processes.name(), &secret)?;
            let hooks = self.processes.start(context.slot()).await?;
            let strangers = Strangers::new(self.strangers, self.silence_limit);
            let desk = Rc::new(Desk::new(secret.clone(), strangers, security));
            let mut served = Vec::new();
            for listener in context.listeners {
                let serve = serve(&desk, self.listening.front.clone());
                served.push(context.table.listen(listener, serve)?);
            }
            let (anew, table) = (self.anew, context.table);
            let (silence_limit, looks) = (self.silence_limit, RefCell::default());
            let running =
                RunningRegister { desk, secret, hooks, silence_limit, looks, served, table, anew };
            if !is_dormant {
                running.begin_to_look();
            }
            Ok(Rc::new(running) as Rc<dyn Running>)
        })
    }
}

/// Returns how its peers are served.
fn serve(desk: &Rc<Desk>, front: Front) -> Serve<Text> {
    let serve = Serve::links(|| Text::with_max_size(LOGIN_BYTES), Rc::<Desk>::clone(desk));
    serve.front(front).offered_tls(desk.security.borrow().accepting())
}

/// Begins to look for peers that do not answer.
fn looks(desk: &Rc<Desk>, silence_limit: Duration) -> Timer {
    let part = part_of(period(silence_limit)).unwrap_or(LOOK);
    let desk = Rc::clone(desk);
    timer::every(part, async move || desk.check_silence())
}

struct RunningRegister {
    desk: Rc<Desk>,
    secret: Secret,
    hooks: ProcessHooks,
    silence_limit: Duration,
    looks: RefCell<Option<Timer>>,
    served: Vec<Served<Text>>,
    table: Table,
    anew: Option<RegisterAnew>,
}

impl RunningRegister {
    fn begin_to_look(&self) {
        self.looks.replace(Some(looks(&self.desk, self.silence_limit)));
    }

    fn reconfigure(&self, register: &Register) -> Result {
        let security = register.cluster.security(register.processes.name(), &self.secret)?;
        self.desk.security.replace(security);
        for served in &self.served {
            served.replace(&self.table, serve(&self.desk, register.listening.front.clone()))?;
        }
        self.desk.set_strangers(register.strangers, register.silence_limit);
        let looks = looks(&self.desk, register.silence_limit);
        if let Some(former) = self.looks.replace(Some(looks)) {
            former.cancel();
        }
        Ok(())
    }
}

impl Running for RunningRegister {
    fn reload(&self) -> LocalFuture<()> {
        let anew = self.anew.as_ref().map(|anew| anew.0());
        if let Some(Err(error)) = anew.map(|register| self.reconfigure(&register?)) {
            tracing::error!(error = lineman_wire::chain(&*error), "the settings stay as they were");
        }
        self.hooks.reload()
    }

    fn stopped(&self) -> LocalFuture<()> {
        self.hooks.stopped()
    }

    fn save(&self) -> Result<Vec<u8>, CannotMove> {
        self.desk.save().map_err(|problem| {
            tracing::error!(problem, "the register cannot be handed over");
            CannotMove("the register's state cannot be written down")
        })
    }

    fn restore(&self, state: &[u8]) -> Result {
        Ok(self.desk.restore(state)?)
    }

    fn took_over(&self) {
        self.desk.took_over();
        self.begin_to_look();
    }

    fn gave(&self) {
        self.desk.gave();
        if let Some(looks) = self.looks.take() {
            looks.cancel();
        }
    }

    fn gauges(&self) -> BTreeMap<&'static str, u64> {
        self.desk.gauges()
    }
}
