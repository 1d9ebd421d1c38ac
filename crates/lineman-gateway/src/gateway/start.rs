//! The gateway as a service: what the master needs to know of it, and how a process of it starts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use lineman::connection::{CannotMove, Connection, Limits, Serve, Served};
use lineman::http::Http;
use lineman::service::{
    ClusterPeer, Complaints, Context, Description, Endpoint, Listen, Listening, LocalFuture, Ports,
    ProcessHooks, Running, Service, Socket, SocketOptions,
};
use lineman::timer::{self, Timer};
use lineman::{ConnectionError, Error, Result, Table};
use lineman_wire::link::{Codec, Secret};
use tokio::time::Instant;

use super::core::{Core, Input, Policy};
use super::dialect::ClientDialect;
use super::identity::GatewayIdentity;
use super::ids::Counter;
use super::outlet::Outlet;
use super::shell::{ClientDoor, LinkDoor, Shell};
use super::stalls::StallLimits;
use super::{Anew, Gateway};
use crate::check;
use crate::discovery::{Announcement, Discovery};
use crate::entrance::{Arrival, Entrance, EntranceRules};
use crate::link_tls::SharedSecurity;
use crate::reach::ReachLimits;
use crate::rounds::part_of;
use crate::strangers::LOGIN_BYTES;

/// How often links to other machines are pinged by default: below the 60 s after which the
/// shortest-lived NAT tables forget a silent connection. `GatewayWorker`'s interval.
const LINK_PING_INTERVAL: Duration = Duration::from_secs(25);

/// How often it is looked for what has waited too long: limits are met to within this.
const SWEEP: Duration = Duration::from_secs(1);

/// How long a process that has handed over stays announced beside the one that has taken over, so that no register
/// misses the gateway meanwhile: many times what it takes to connect to one.
const ANNOUNCED_TWICE: Duration = Duration::from_millis(500);

/// How long the last packets may take to leave; a business that does not read misses them.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl<P: ClientDialect> Service for Gateway<P> {
    fn description(&self) -> Description {
        let clients = Listen {
            page: self.http.is_some(),
            ..self.listening.describe("clients", self.scheme, &self.address)
        };
        let links = Listen {
            ports: Ports::PerSlot,
            options: SocketOptions::new().ipv4_only(),
            ..Listen::streams("links", "link", self.inner.listen_address())
        };
        Description { listeners: vec![clients, links], ..self.processes.describe(self.kind) }
    }

    fn check(&self) -> Result {
        self.listening.front.check()?;
        self.check_entrance()?;
        self.inner.announced().map_err(|problem| self.wrong(&problem))?;
        let last = self.processes.count().saturating_sub(1);
        self.inner.announced_port(last, 0).map_err(|problem| self.wrong(&problem))?;
        self.cluster.security(self.processes.name(), &self.secret()?)?;
        Ok(())
    }

    fn peers(&self) -> Vec<ClusterPeer> {
        let start_port = self.inner.start_port;
        let lan_ip = self.inner.announced().ok().filter(|_| start_port != 0);
        // With a port of the kernel's choice only the registers know where it is.
        let ports = (start_port..).take(self.processes.count());
        let own = ports.filter_map(|port| Some(SocketAddr::from((lan_ip?, port))));
        check::peers(&self.cluster, &self.secret().unwrap_or_default(), &own.collect::<Vec<_>>())
    }

    fn start(self: Box<Self>, context: Context) -> LocalFuture<Result<Rc<dyn Running>>> {
        Box::pin(async move { Ok(Rc::new(self.begin(context).await?) as Rc<dyn Running>) })
    }
}

impl<P: ClientDialect> Gateway<P> {
    async fn begin(self, context: Context) -> Result<RunningGateway<P>> {
        let (slot, is_dormant) = (context.slot(), context.is_dormant());
        let entrance = self.entrance()?;
        let [clients, links] = <[_; 2]>::try_from(context.listeners)
            .map_err(|_| self.wrong("a gateway needs a listener for clients and one for links"))?;
        let identity = self.identity(&clients, &links, slot.index).await?;
        let secret = self.secret()?;
        let security = self.cluster.security(self.processes.name(), &secret)?;
        let security = SharedSecurity::new(RefCell::new(security));
        let lan_ip = identity.lan_ip;
        let registration = Registration {
            registers: self.cluster.registers.clone(),
            address: (lan_ip, identity.links_port).into(),
            explicit: self.inner.listen.is_some(),
        };
        let policy = self.policy(lan_ip, secret.clone());
        if let Some(limits) = policy.reach {
            let peer_timeout = limits.peer_timeout().set(&links);
            let action = "set up the socket of the links";
            peer_timeout.map_err(|source| ConnectionError::Os { action, source })?;
        }
        let core = Core::new(identity, policy, Counter::random());
        let shell = Rc::new(Shell::new(core, context.table.clone()));

        let hooks = self.processes.start(slot).await?;
        let door = Rc::new(LinkDoor(Rc::clone(&shell)));
        let inner =
            InnerService { open: secret.is_empty(), queue: Cell::new(self.link_queue), door };
        let links = context.table.listen(links, inner.serve(&security))?;
        let door = Rc::new(ClientDoor { shell: Rc::clone(&shell), entrance: Rc::clone(&entrance) });
        let serve = serve(self.make, self.http, self.listening, Rc::clone(&door))?;
        let served = context.table.listen(clients, serve)?;

        let running = RunningGateway {
            missing: RefCell::new(missing(&self.pinned)),
            no_business_limit: Cell::new(self.no_business_limit),
            timers: RefCell::default(),
            telling: RefCell::default(),
            lan_ip,
            anew: self.anew,
            secret,
            security,
            inner,
            links,
            served,
            door,
            shell,
            entrance,
            table: context.table,
            hooks,
            registration,
            discovery: RefCell::default(),
            gave: Cell::default(),
        };
        if !is_dormant {
            running.begin_alone();
        }
        Ok(running)
    }

    fn policy(&self, lan_ip: Ipv4Addr, secret_key: Secret) -> Policy<P::Form> {
        let default_pings = if lan_ip.is_loopback() { Duration::ZERO } else { LINK_PING_INTERVAL };
        Policy {
            secret_key,
            heartbeat: self.heartbeat.clone(),
            link_ping_interval: self.link_ping_interval.unwrap_or(default_pings),
            slow_client: self.slow_client,
            message_type: self.message_type,
            prefer: self.prefer,
            router: self.router.clone(),
            pinned: self.pinned.clone(),
            no_business_limit: self.no_business_limit,
            partition_limit: self.partition_limit,
            heirs: self.heirs,
            share: self.share,
            stall_limits: self.stall_limits,
            reach: ReachLimits::new(self.link_timeout, lan_ip.into()),
            strangers: self.strangers,
            link_tls: self.cluster.link_tls,
            form: P::form,
            typed: P::typed,
        }
    }

    async fn identity(
        &self,
        clients: &Socket,
        links: &Socket,
        index: usize,
    ) -> Result<GatewayIdentity> {
        let bound = links.port().ok_or_else(|| self.wrong("the links need a port"))?;
        let announced = self.inner.announced_port(index, bound);
        let links_port = announced.map_err(|problem| self.wrong(&problem))?;
        let inner = self.inner.clone();
        let lan_ip = match inner.bound(internet(links)) {
            Some(ip) => Ok(ip),
            None if inner.has_name() => lineman::blocking(move || inner.announced()).await?,
            None => inner.announced(),
        };
        let lan_ip = lan_ip.map_err(|problem| self.wrong(&problem))?;
        // GatewayWorker has a number there; on a Unix socket it means nothing.
        let clients_port = clients.port().unwrap_or(0);
        let epoch = format!("{:016x}", getrandom::u64()?);
        Ok(GatewayIdentity { lan_ip, links_port, clients_port, epoch })
    }

    fn entrance(&self) -> Result<Rc<Entrance>> {
        self.check_entrance()?;
        let entrance = Entrance::new(self.entrance.clone());
        Ok(Rc::new(entrance.map_err(|error| self.wrong_hook(&error))?))
    }

    /// Returns what the clients to come at this entrance are to meet.
    fn entrance_rules(&self, entrance: &Entrance) -> Result<EntranceRules> {
        self.check_entrance()?;
        Ok(entrance.rules(self.entrance.clone()).map_err(|error| self.wrong_hook(&error))?)
    }

    fn wrong_hook(&self, error: &io::Error) -> Error {
        self.wrong(&format!("connect hook: {error}"))
    }

    fn check_entrance(&self) -> Result {
        let arrival = if P::HANDSHAKE { Arrival::WithRequest } else { Arrival::Silent };
        let problem = self.entrance.problem(arrival, self.listening.front.limits.handshake_time);
        problem.map_or(Ok(()), |problem| Err(self.wrong(&problem).into()))
    }

    fn secret(&self) -> Result<Secret> {
        Ok(self.cluster.secret(self.processes.name())?)
    }

    fn wrong(&self, problem: &str) -> Error {
        Error::Configuration {
            service: self.processes.name().to_owned(),
            problem: problem.to_owned(),
        }
    }
}

/// How the inner port is served.
struct InnerService<P: ClientDialect> {
    /// There is no key to be shown.
    open: bool,
    queue: Cell<usize>,
    door: Rc<LinkDoor<P>>,
}

impl<P: ClientDialect> InnerService<P> {
    fn serve(&self, security: &SharedSecurity) -> Serve<Codec> {
        let open = self.open;
        let make = move || if open { Codec::new() } else { Codec::until_login(LOGIN_BYTES) };
        let limits = Limits { send_queue: self.queue.get(), ..Limits::default() };
        let serve = Serve::links(make, Rc::<LinkDoor<P>>::clone(&self.door)).limits(limits);
        serve.offered_tls(security.borrow().accepting())
    }
}

/// Returns the address that a socket has on the network.
fn internet(socket: &Socket) -> Option<IpAddr> {
    match socket.local().ok()? {
        Endpoint::Internet { host, .. } => host.parse().ok(),
        Endpoint::Path(_) | Endpoint::Abstract(_) => None,
    }
}

fn missing(pinned: &[String]) -> String {
    if pinned.is_empty() {
        "no business".to_owned()
    } else {
        format!("no business named {}", pinned.join(" or "))
    }
}

/// A period, and the input that is due after each.
type Periodic<C> = (Duration, fn() -> Input<C>);

/// Returns the inputs that come with time.
fn periods<C: Outlet>(policy: &Policy<C::Form>) -> Vec<Periodic<C>> {
    // A limit shorter than the sweep's period would be met late.
    let StallLimits { stalled, abandoned } = policy.stall_limits;
    let stalls = [stalled, abandoned].into_iter().filter(|limit| !limit.is_zero());
    let shortest = stalls.fold(policy.no_business_limit, Duration::min);
    let sweep = SWEEP.min(shortest / 2).max(SWEEP / 100);
    let beat = part_of(policy.heartbeat.period());
    let ping = part_of(policy.link_ping_interval);
    let mut periods: Vec<Periodic<C>> = vec![(sweep, || Input::Sweep)];
    periods.extend(beat.map(|period| (period, (|| Input::Beat) as fn() -> Input<C>)));
    periods.extend(ping.map(|period| (period, (|| Input::PingLinks) as fn() -> Input<C>)));
    let look = policy.reach.map(ReachLimits::look);
    periods.extend(look.map(|period| (period, (|| Input::LookForMachines) as fn() -> Input<C>)));
    periods
}

fn timers<C: Outlet>(periods: Vec<Periodic<C>>, shell: &Rc<Shell<C>>) -> Vec<Timer> {
    periods.into_iter().map(|(period, input)| every(period, shell, input)).collect()
}

/// Returns how clients are served.
fn serve<P: ClientDialect>(
    make: Box<dyn Fn() -> P>,
    http: Option<Box<dyn FnOnce() -> io::Result<Http>>>,
    listening: Listening,
    door: Rc<ClientDoor<P>>,
) -> Result<Serve<P>> {
    let http = http.map(|make| make()).transpose()?;
    let http = http.map(|http| listening.bound(http));
    Ok(Serve::peers(make, door).front(listening.front).http(http))
}

fn every<C: Outlet>(period: Duration, shell: &Rc<Shell<C>>, input: fn() -> Input<C>) -> Timer {
    let shell = Rc::clone(shell);
    timer::every(period, async move || shell.submit(input()))
}

struct RunningGateway<P: ClientDialect> {
    /// What is said to be missing while no business gets clients.
    missing: RefCell<String>,
    no_business_limit: Cell<Duration>,
    lan_ip: Ipv4Addr,
    anew: Option<Anew<P>>,
    secret: Secret,
    security: SharedSecurity,
    inner: InnerService<P>,
    links: Served<Codec>,
    served: Served<P>,
    door: Rc<ClientDoor<P>>,
    shell: Rc<Shell<Connection<P>>>,
    entrance: Rc<Entrance>,
    table: Table,
    timers: RefCell<Vec<Timer>>,
    telling: RefCell<Option<Timer>>,
    hooks: ProcessHooks,
    registration: Registration,
    discovery: RefCell<Option<Discovery>>,
    /// Since when another process serves.
    gave: Cell<Option<Instant>>,
}

/// What registers are told of the process.
struct Registration {
    registers: Vec<String>,
    address: SocketAddr,
    /// The address was set to be announced.
    explicit: bool,
}

impl<P: ClientDialect> RunningGateway<P> {
    /// Begins what the process does by itself: what is due with time, and telling registers of it.
    fn begin_alone(&self) {
        let periods = self.shell.policy(periods);
        self.timers.replace(timers(periods, &self.shell));
        self.telling.replace(Some(Entrance::telling(&self.entrance, SWEEP)));
        let Registration { registers, address, explicit } = &self.registration;
        let (address, explicit) = (*address, *explicit);
        let announcement = Announcement::Gateway { address, epoch: self.shell.epoch(), explicit };
        let heard = Rc::new(|_| {}) as _;
        let (table, secret, security) = (&self.table, &self.secret, &self.security);
        let discovery = Discovery::start(table, registers, secret, &announcement, &heard, security);
        self.discovery.replace(Some(discovery));
    }

    fn end_timers(&self) {
        for timer in self.timers.take().into_iter().chain(self.telling.take()) {
            timer.cancel();
        }
    }

    /// Goes by the settings of this gateway from now on; changes nothing if what new connections need cannot be had.
    fn reconfigure(&self, gateway: Gateway<P>) -> Result {
        let policy = gateway.policy(self.lan_ip, Secret::default());
        let missing = missing(&gateway.pinned);
        let security = gateway.cluster.security(gateway.processes.name(), &self.secret)?;
        let rules = gateway.entrance_rules(&self.entrance)?;
        let Gateway { make, http, listening, link_queue, .. } = gateway;
        let serve = serve(make, http, listening, Rc::clone(&self.door))?;
        self.served.replace(&self.table, serve)?;
        self.entrance.replace(rules);
        self.inner.queue.set(link_queue);
        self.security.replace(security);
        self.links.replace(&self.table, self.inner.serve(&self.security))?;
        self.no_business_limit.set(policy.no_business_limit);
        self.missing.replace(missing);
        let periods = periods(&policy);
        self.shell.submit(Input::Reconfigured(Box::new(policy)));
        for timer in self.timers.replace(timers(periods, &self.shell)) {
            timer.cancel();
        }
        Ok(())
    }
}

impl<P: ClientDialect> Running for RunningGateway<P> {
    /// What was sent to many before has been accepted, and leaves before the close frame.
    fn closing(&self) {
        self.shell.submit(Input::Closing);
    }

    /// Every client is gone; the businesses have to hear of it before the process ends.
    fn stopped(&self) -> LocalFuture<()> {
        self.end_timers();
        let (table, ended) = (self.table.clone(), self.hooks.stopped());
        let (gave, discovery) = (self.gave.get(), self.discovery.take());
        Box::pin(async move {
            if let Some(gave) = gave {
                tokio::time::sleep_until(gave + ANNOUNCED_TWICE).await;
            }
            drop(discovery);
            if tokio::time::timeout(LAST_WORDS, table.flushed()).await.is_err() {
                tracing::warn!("a business does not read: it misses the end of some clients");
            }
            ended.await;
        })
    }

    fn reload(&self) -> LocalFuture<()> {
        self.discovery.borrow().iter().for_each(Discovery::hurry);
        let anew = self.anew.as_ref().map(|anew| anew());
        if let Some(Err(error)) = anew.map(|gateway| self.reconfigure(gateway?)) {
            tracing::error!(error = lineman_wire::chain(&*error), "the settings stay as they were");
        }
        self.hooks.reload()
    }

    fn save(&self) -> Result<Vec<u8>, CannotMove> {
        self.shell.save().map_err(|problem| {
            tracing::error!(problem, "the gateway cannot be handed over");
            CannotMove("the gateway's state cannot be written down")
        })
    }

    fn restore(&self, state: &[u8]) -> Result {
        Ok(self.shell.restore(state)?)
    }

    fn took_over(&self) {
        self.shell.took_over();
        self.begin_alone();
    }

    /// The registers are left a moment later, when the other process has told them of itself.
    fn gave(&self) {
        self.shell.gave();
        self.end_timers();
        self.gave.set(Some(Instant::now()));
    }

    fn gauges(&self) -> BTreeMap<&'static str, u64> {
        let mut gauges = self.shell.gauges();
        gauges.append(&mut self.entrance.gauges());
        let connected = self.discovery.borrow().as_ref().map_or(0, Discovery::connected);
        gauges.insert("registers", connected as u64);
        gauges
    }

    fn condition(&self) -> Complaints {
        let now = Instant::now();
        let unserved = self.shell.unserved();
        let missing = self.missing.borrow();
        let remark =
            unserved.map(|(time, does)| format!("{missing} {does} ({} s)", time.as_secs()));
        let discovery = self.discovery.borrow();
        let discovery = discovery.as_ref();
        let of_registers = discovery.map(|discovery| discovery.remarks(now)).unwrap_or_default();
        let remarks = remark.into_iter().chain(of_registers).collect();
        // By then clients that were held are closed.
        let limit = self.no_business_limit.get();
        let starved = unserved.filter(|(time, _)| *time >= limit);
        let starved =
            starved.map(|(time, does)| format!("{missing} {does} for {} s", time.as_secs()));
        Complaints { remarks, unfit: discovery.and_then(Discovery::address_taken).or(starved) }
    }
}
