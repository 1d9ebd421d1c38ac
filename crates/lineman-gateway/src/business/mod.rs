//! The Business: runs the application's handlers for clients of all gateways.
//!
//! The path of an event: [`links`] keeps a link to every gateway, [`packets`] reads what comes,
//! [`clients`] lets one event of each client through at a time, [`run`] calls the handler and writes
//! the [`session`] back. [`drain`] is the way out. It owns no client's socket.

mod clients;
mod addresses;
mod core;
mod drain;
mod gateway;
mod links;
mod news;
mod reach;
mod readiness;
mod packets;
mod run;
mod session;
mod session_changes;
mod unsettled;
mod heirs;
mod inheritance;
mod fingerprint;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use lineman::service::{
    ClusterPeer, Context, Description, LocalFuture, Processes, Running, Service, StopOrder,
};
use lineman::{App, Result, timer};
use lineman_wire::link::Secret;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::addresses::AddressBook;
use self::clients::ServedClients;
use self::core::{Core, RunningBusiness};
use self::readiness::LINK_LIMIT;
use crate::discovery::{Announcement, Discovery, Heard, RegisterNews};
use crate::link_tls::SharedSecurity;
use crate::mesh::Mesh;
use crate::reach::{LEAST_LINK_QUEUE, LINK_QUEUE, ReachLimits};
use crate::{ClusterSettings, Events, Hub, check};

/// How long a gateway may be silent by default that owes an answer: a working one answers within milliseconds,
/// and a handler of the application waits meanwhile.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// How long a business may reach too little of its cluster by default: as long as a gateway holds clients for which
/// there is no business, and longer than a process takes to be replaced, a machine to be noticed as dead.
const REACH_LIMIT: Duration = Duration::from_secs(30);

/// How long a gateway whose link is lost may take to answer by default. One that crashed is back within a second,
/// with another epoch; this is for machines that vanish.
const VERDICT_LIMIT: Duration = Duration::from_secs(5);

/// How often gateways are told that a business lives which has events to handle.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// A service that runs the handlers of an application.
///
/// Its processes are replaced by `reload`: clients stay connected, no event is lost or handled
/// twice, and messages of a client keep their order.
///
/// ```no_run
/// use lineman_gateway::{Business, Client, Events, Hub, Message};
///
/// struct Echo;
///
/// impl Events for Echo {
///     type Session = ();
///
///     async fn on_message(
///         &self,
///         hub: &Hub,
///         client: &mut Client,
///         message: Message,
///     ) -> lineman::Result {
///         hub.send_to_client(client.id(), message)
///     }
/// }
///
/// fn main() -> lineman::Result {
///     Business::new(Echo).count(4).register("127.0.0.1:1236").run()
/// }
/// ```
pub struct Business<E> {
    events: E,
    processes: Processes,
    cluster: ClusterSettings,
    silence_limit: Option<Duration>,
    answer_limit: Duration,
    reach_limit: Duration,
    link_limit: Duration,
    link_timeout: Option<Duration>,
    link_queue: usize,
    verdict_limit: Duration,
}

impl<E: Events> Business<E> {
    /// Returns a business that runs these handlers; each process gets the value that `main` made
    /// in it.
    pub fn new(events: E) -> Self {
        Self {
            events,
            processes: Processes::new("business"),
            cluster: ClusterSettings::default(),
            silence_limit: None,
            answer_limit: ANSWER_LIMIT,
            reach_limit: REACH_LIMIT,
            link_limit: LINK_LIMIT,
            link_timeout: None,
            link_queue: LINK_QUEUE,
            verdict_limit: VERDICT_LIMIT,
        }
    }

    lineman::process_settings!();
    lineman::count_settings!();
    crate::cluster_settings::cluster_settings!();
    crate::cluster_settings::register_settings!();

    /// Sets for how long this business may reach no gateway, or gateways of fewer than half of the machines that the
    /// registers list, before `health` says that the program is not ready; zero for ever. Default 30 s.
    ///
    /// A business that is not ready goes on: it is for load balancers, so that new clients go to a machine from
    /// which more of the others are reached. Where every machine is cut off from every other while all reach a
    /// register, as by a firewall in front of all inner ports, all are not ready: with a balancer that takes every
    /// machine out then, set zero.
    #[must_use]
    pub fn reach_limit(mut self, limit: Duration) -> Self {
        self.reach_limit = limit;
        self
    }

    /// Sets how long a gateway may say nothing before its link is given up, to within a second; zero for ever.
    /// Default 30 s, as it says something each second: less means that its loop stands still, or that what
    /// acknowledges our packets is not its machine. After 7 s, `status` and `health` name it.
    ///
    /// Gateways of before version 3 of the link extension, and those in PHP, say something at their
    /// [`link_ping_interval`](crate::Gateway::link_ping_interval), which the limit has to be above. For these the
    /// default is 75 s, and for ever on this machine.
    #[must_use]
    pub fn silence_limit(mut self, limit: Duration) -> Self {
        self.silence_limit = Some(limit);
        self
    }

    /// Sets how long a gateway may be silent while it owes [`Hub`] an answer; zero for ever. Default 1 s.
    ///
    /// An answer that goes on coming may take five times that. A gateway that was silent for so long is waited
    /// for only once in 2 s, a quarter of the limit, until it answers; other questions fail at once, or lack it. Shorter finds a dead
    /// machine earlier; longer waits for a far one, or for a PHP gateway that makes a long list.
    #[must_use]
    pub fn answer_limit(mut self, limit: Duration) -> Self {
        self.answer_limit = limit;
        self
    }

    /// Sets how long a process that takes the place of another one in a reload may take to link to each
    /// gateway that the other one is linked to; zero for ever. Then the reload fails and names what is missing,
    /// and the other one goes on. Default 5 s; the time that the master gives a process to get ready
    /// (`App::ready_limit`, 10 s) has to be longer, as `on_start` is a part of that.
    ///
    /// A process that no other one hands over to, as at the start of the program or after a crash, waits 2 s for
    /// the gateways that are listed, and then is ready without them.
    #[must_use]
    pub fn link_limit(mut self, limit: Duration) -> Self {
        self.link_limit = limit;
        self
    }

    /// Sets how long the machine of a gateway may be unreachable before its link is given up: what
    /// [`Gateway::link_timeout`](crate::Gateway::link_timeout) is at the other end, with the same default. Set both.
    #[must_use]
    pub fn link_timeout(mut self, timeout: Duration) -> Self {
        self.link_timeout = Some(timeout);
        self
    }

    /// Sets how many bytes may wait to be sent to one gateway, `GatewayWorker`'s `sendToGatewayBufferSize`; beyond it
    /// [`Hub`] answers [`HubError::Full`](crate::HubError::Full). Default 10 MiB, at least 64 KiB.
    #[must_use]
    pub fn link_queue(mut self, bytes: usize) -> Self {
        self.link_queue = bytes.max(LEAST_LINK_QUEUE);
        self
    }

    /// Sets how long a gateway whose link is lost may take to be back before it counts as dead, and `on_close` runs
    /// for each of its clients; four times as long, once more, before it runs for those of another business that
    /// seems to be dead with it. Longer leaves clients online that are gone; shorter takes more partitions for
    /// deaths. Default 5 s.
    #[must_use]
    pub fn verdict_limit(mut self, limit: Duration) -> Self {
        self.verdict_limit = limit;
        self
    }

    /// Runs a program of this one service: `App::new().service(self).run()`.
    ///
    /// # Errors
    /// As [`App::run`].
    pub fn run(self) -> Result {
        App::new().service(self).run()
    }

    fn secret(&self) -> Result<Secret> {
        Ok(self.cluster.secret(self.processes.name())?)
    }

    fn core(self, context: &Context) -> Result<(Rc<Core<E>>, Vec<String>, Processes)> {
        let secret_key = self.secret()?;
        let security = self.cluster.security(self.processes.name(), &secret_key)?;
        let security = SharedSecurity::new(RefCell::new(security));
        let (table, key) = (context.table.clone(), secret_key.clone());
        let mesh = Rc::new(Mesh::new(table, key, self.answer_limit, Rc::clone(&security)));
        let core = Core {
            events: self.events,
            hub: Hub::new(Rc::<Mesh>::clone(&mesh)),
            mesh,
            table: context.table.clone(),
            // Two processes of one slot live side by side during a reload, and in a container each has the
            // number of the one before.
            worker_key: format!(
                "{}:{}:{}-{:08x}",
                context.service,
                context.index,
                std::process::id(),
                getrandom::u32().unwrap_or_default()
            ),
            secret_key,
            security,
            clients: RefCell::new(ServedClients::new()),
            gateways: RefCell::default(),
            addresses: RefCell::new(AddressBook::new(self.cluster.registers.len().max(1))),
            unusable_lists: RefCell::default(),
            discovery: RefCell::default(),
            drain: RefCell::default(),
            unsettled: RefCell::default(),
            heirs: RefCell::default(),
            changed: Notify::new(),
            handler_errors: Cell::new(0),
            dropped_events: Cell::new(0),
            ready: RefCell::default(),
            taking_turns: Cell::new(false),
            uncredited: RefCell::default(),
            shrunk_shares: RefCell::default(),
            last_seen: Cell::new(Instant::now()),
            doubts_until: Cell::new(Instant::now()),
            reporting: Cell::new(false),
            reporting_later: Cell::new(false),
            silence_limit: self.silence_limit,
            link_timeout: self.link_timeout,
            link_queue: self.link_queue,
            unreachable_links: Cell::new(0),
            verdict_limit: self.verdict_limit,
            shortage: RefCell::default(),
            reach_limit: self.reach_limit,
        };
        Ok((Rc::new(core), self.cluster.registers, self.processes))
    }
}

impl<E: Events> Service for Business<E> {
    fn description(&self) -> Description {
        Description { stop_order: StopOrder::Middle, ..self.processes.describe("business") }
    }

    fn check(&self) -> Result {
        self.cluster.security(self.processes.name(), &self.secret()?)?;
        Ok(())
    }

    fn peers(&self) -> Vec<ClusterPeer> {
        check::peers(&self.cluster, &self.secret().unwrap_or_default(), &[])
    }

    fn start(self: Box<Self>, context: Context) -> LocalFuture<Result<Rc<dyn Running>>> {
        Box::pin(async move {
            let link_limit = self.link_limit;
            let (core, registers, processes) = self.core(&context)?;
            let hooks = processes.start(context.slot()).await?;
            core.events.on_start(&core.hub).await?;
            if let Some(predecessor) = &context.predecessor {
                core.take_over(predecessor);
            }
            discover(&core, &registers);
            if let Err(error) = core.links_made(link_limit).await {
                core.give_up().await;
                return Err(error);
            }
            Ok(Rc::new(RunningBusiness { core, hooks }) as Rc<dyn Running>)
        })
    }
}

/// Begins to look for gateways.
fn discover<E: Events>(core: &Rc<Core<E>>, registers: &[String]) {
    let told = Rc::clone(core);
    let heard: Heard = Rc::new(move |news| match news {
        RegisterNews::Listed(register, of, list) => {
            told.addresses.borrow_mut().expect(of);
            told.on_addresses(register, &list.addresses);
            told.on_epochs(&list.epochs);
        }
        RegisterNews::Gone(register) => {
            told.addresses.borrow_mut().forget(register);
            told.follow_addresses();
        }
    });
    let announcement = Announcement::Business;
    let (table, key) = (&core.table, &core.secret_key);
    let discovery = Discovery::start(table, registers, key, &announcement, &heard, &core.security);
    core.discovery.replace(Some(discovery));
    // Gateways of other machines: those of this one are looked at as well where it is set.
    let elsewhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    if let Some(limits) = ReachLimits::new(core.link_timeout, elsewhere) {
        let core = Rc::clone(core);
        timer::every(limits.look(), async move || core.look_for_machines());
    }
    let core = Rc::clone(core);
    timer::every(SIGN_OF_LIFE, async move || {
        core.give_signs();
        core.look_at_reach();
    });
}

impl<E: Events> fmt::Debug for Core<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut linked, mut missing) = (Vec::new(), Vec::new());
        for (address, gateway) in self.gateways.borrow().iter() {
            let up = gateway.link.as_ref().is_some_and(|link| link.up.is_some());
            if up { linked.push(*address) } else { missing.push(*address) }
        }
        formatter
            .debug_struct("Business")
            .field("registers_heard", &self.addresses.borrow().heard())
            .field("linked", &linked)
            .field("missing", &missing)
            .finish_non_exhaustive()
    }
}

impl<E> fmt::Debug for Business<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Business")
            .field("name", &self.processes.name())
            .field("count", &self.processes.count())
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}
