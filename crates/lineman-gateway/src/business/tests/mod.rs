//! A business on real sockets of the loopback, with gateways that do as a test says.

mod directory;
mod links;
mod news;
mod reach;
mod readiness;
mod partitions;
mod reports;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use lineman::Table;
use lineman::connection::{CloseReason, Connection, Event, Handler, Serve, Turn};
use lineman::service::ProcessHooks;
use lineman_wire::link::{
    self, Allowance, Body, Codec, Command, Hello, Packet, Reply, SessionForm,
};
use lineman_wire::php::Value;
use tokio::sync::Semaphore;

use super::*;
use crate::{Client, ClientId, Message};

/// As long as any wait in a test may take; nothing waits that long unless it is broken.
const LIMIT: Duration = Duration::from_secs(20);

/// What happened, in order; tests wait for lines of it.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>, Rc<Notify>);

impl Log {
    fn add(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
        self.1.notify_waiters();
    }

    /// Waits for a line, and takes everything up to it out of the log.
    async fn until(&self, wanted: &str) -> Vec<String> {
        loop {
            let noted = self.1.notified();
            let found = self.0.borrow().iter().position(|line| line.starts_with(wanted));
            if let Some(place) = found {
                return self.0.borrow_mut().drain(..=place).collect();
            }
            tokio::time::timeout(LIMIT, noted)
                .await
                .unwrap_or_else(|_| panic!("no {wanted:?} in {:?}", self.0.borrow()));
        }
    }

    fn holds(&self, wanted: &str) -> bool {
        self.0.borrow().iter().any(|line| line.starts_with(wanted))
    }
}

/// A gateway: it says `Hello` if it has an epoch and is not mute, and logs what it gets.
struct Fake {
    mute: Cell<bool>,
    /// Why it takes no link, if it takes none.
    refuses: Cell<Option<&'static str>>,
    /// Whether it logs what it is told when a link opens.
    settles: Cell<bool>,
    /// It was told, and is asked to confirm it.
    settling: Cell<bool>,
    /// The version of the extension it says it speaks.
    version: Cell<u32>,
    /// How many changes of names its answers say there have been.
    changes: Cell<u64>,
    /// What a client may have unhandled.
    share: Cell<Option<Allowance>>,
    log: Log,
    epoch: RefCell<Option<String>>,
    link: RefCell<Option<Connection<Codec>>>,
}

impl Handler<Codec> for Fake {
    fn on_event(&self, connection: &Connection<Codec>, event: Event<Codec>) -> Turn {
        if let Event::Close(reason) = &event {
            self.log.add(format!("closed: {reason}"));
        }
        let Event::Message(packet) = event else { return Turn::Done(Ok(())) };
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let (ext, body) = (text(&packet.ext), text(&packet.body));
        let settling = match packet.command {
            Command::Kept => !self.settling.replace(true),
            Command::Sync => self.settling.replace(false),
            _ => false,
        };
        if self.settles.get() || !settling {
            self.log.add(format!("{:?} {} {ext}{body}", packet.command, packet.connection_id));
        }
        match packet.command {
            Command::WorkerConnect => {
                if let Some(reason) = self.refuses.get() {
                    let refused = link::Event::Refused(reason.to_owned());
                    connection.send(Packet::from(refused)).unwrap();
                    connection.close(CloseReason::Local);
                    return Turn::Done(Ok(()));
                }
                self.link.replace(Some(connection.clone()));
                if let Some(epoch) = self.epoch.borrow().clone()
                    && !self.mute.get()
                {
                    let (version, share) = (self.version.get(), self.share.get());
                    let hello = Hello { version, epoch, share };
                    connection.send(Packet::from(link::Event::Hello(hello))).unwrap();
                }
            }
            Command::Probe if !self.mute.get() => {
                connection.send(Packet::from(link::Event::Ping)).unwrap();
            }
            Command::Sync => connection.send(Packet::from(link::Event::Synced)).unwrap(),
            Command::IsOnline | Command::GetClientCountByGroup | Command::Stamped => {
                let mut answer = Reply::from(&Value::from(packet.connection_id.max(1)));
                if packet.command == Command::Stamped {
                    answer = Reply::stamped(self.changes.get(), &answer);
                }
                let mut reply = bytes::BytesMut::new();
                answer.encode_into(&mut reply);
                connection.send_encoded(reply.freeze()).unwrap();
            }
            _ => {}
        }
        Turn::Done(Ok(()))
    }
}

impl Fake {
    fn listen(table: &Table, address: &str, epoch: Option<&str>) -> (Rc<Self>, SocketAddr) {
        let gateway = Rc::new(Self {
            mute: Cell::new(false),
            refuses: Cell::new(None),
            settles: Cell::new(false),
            settling: Cell::new(false),
            version: Cell::new(3),
            changes: Cell::new(0),
            share: Cell::new(None),
            log: Log::default(),
            epoch: RefCell::new(epoch.map(ToOwned::to_owned)),
            link: RefCell::default(),
        });
        let listener = std::net::TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let handler = Rc::clone(&gateway) as Rc<dyn Handler<Codec>>;
        table.listen(listener, Serve::links(Codec::new, handler)).unwrap();
        (gateway, address)
    }

    fn send(&self, event: link::Event) {
        self.link.borrow().as_ref().unwrap().send(Packet::from(event)).unwrap();
    }
}

/// A gateway's place in a cluster, and the business under test.
struct Cluster {
    core: Rc<Core<App>>,
    gateway: Rc<Fake>,
    address: SocketAddr,
    /// What handlers did.
    log: Log,
}

/// The application: does what messages say.
struct App {
    log: Log,
    /// What handlers that wait wait for.
    gate: Rc<Semaphore>,
    /// A client of another gateway.
    far: Cell<Option<ClientId>>,
}

impl Events for App {
    type Session = BTreeMap<String, String>;

    async fn on_connect(&self, _: &Hub, client: &mut Client<Self::Session>) -> Result {
        self.log.add(format!("connect {}", client.id().connection_id));
        Ok(())
    }

    async fn on_return(&self, _: &Hub, client: &mut Client<Self::Session>) -> Result {
        let last = client.session.get("last").cloned().unwrap_or_default();
        self.log.add(format!("return {} {last}", client.id().connection_id));
        Ok(())
    }

    async fn on_message(
        &self,
        hub: &Hub,
        client: &mut Client<Self::Session>,
        message: Message,
    ) -> Result {
        let text = message.as_text().unwrap_or_default().to_owned();
        match text.as_str() {
            "fail" => return Err("as told".into()),
            "panic" => panic!("as told"),
            "wait" => self.gate.acquire().await?.forget(),
            "wait and fail" => {
                client.session.insert("last".to_owned(), text);
                self.gate.acquire().await?.forget();
                return Err("as told".into());
            }
            "ask" => {
                let online = hub.is_online(client.id()).await?;
                self.log.add(format!("online {online}"));
            }
            "far" => hub.send_to_client(self.far.get().unwrap(), vec![b'x'; 8 * 1024 * 1024])?,
            _ => client.send(&text)?,
        }
        self.log.add(format!("{text} {}", client.id().connection_id));
        client.session.insert("last".to_owned(), text);
        Ok(())
    }

    async fn on_stop(&self, _: &Hub) -> Result {
        self.log.add("stop");
        Ok(())
    }

    async fn on_close(&self, _: &Hub, client: &mut Client<Self::Session>) -> Result {
        let last = client.session.get("last").cloned().unwrap_or_default();
        if last == "slow to leave" {
            self.gate.acquire().await?.forget();
        }
        self.log.add(format!("close {} {last}", client.id().connection_id));
        Ok(())
    }
}

impl Cluster {
    async fn new(epoch: Option<&str>, share: Option<Allowance>, settles: bool) -> Self {
        Self::of(|business| business, epoch, share, settles).await
    }

    async fn of(
        set: impl FnOnce(Business<App>) -> Business<App>,
        epoch: Option<&str>,
        share: Option<Allowance>,
        settles: bool,
    ) -> Self {
        let table = Table::new().unwrap();
        let served = table.clone();
        tokio::task::spawn_local(async move { served.run().await });
        let (gateway, address) = Fake::listen(&table, "127.0.0.1:0", epoch);
        gateway.share.set(share);
        gateway.settles.set(settles);

        let log = Log::default();
        let gate = Rc::new(Semaphore::new(0));
        let app = App { log: log.clone(), gate, far: Cell::new(None) };
        let service = "app".to_owned();
        let (listeners, predecessor) = (Vec::new(), None);
        let context = Context { service, index: 3, generation: 1, listeners, table, predecessor };
        let (core, _, _) = set(Business::new(app)).secret_key("s").core(&context).unwrap();
        core.on_addresses(0, &[address.to_string()]);
        core.linked().await;
        let login = gateway.log.until("WorkerConnect").await.pop().unwrap();
        let key = format!(r#"{{"worker_key":"app:3:{}-"#, std::process::id());
        assert!(login.contains(&key) && login.contains(r#""lineman":5"#), "{login}");
        Self { core, gateway, address, log }
    }

    fn client(&self, number: u32) -> link::Client {
        let id = ClientId::new(Ipv4Addr::LOCALHOST, self.address.port(), number);
        let (ip, form) = (Ipv4Addr::LOCALHOST.into(), SessionForm::Whole);
        link::Client { id, ip, port: 9, gateway_port: 7, session: Bytes::new(), form }
    }

    /// Lists a second gateway, which does not read what it is sent.
    async fn slow_gateway(&self) -> Rc<Fake> {
        let (gateway, address) = Fake::listen(&self.core.table, "127.0.0.1:0", Some("e9"));
        self.core.on_addresses(0, &[self.address.to_string(), address.to_string()]);
        gateway.log.until("WorkerConnect").await;
        self.until(|core| core.hub.is_linked(address)).await;
        gateway.link.borrow().as_ref().unwrap().pause();
        self.core.events.far.set(Some(ClientId::new(Ipv4Addr::LOCALHOST, address.port(), 5)));
        gateway
    }

    fn message(&self, client: u32, text: &str) {
        self.gateway.send(link::Event::Message(self.client(client), Body::from(text)));
    }

    /// Reads until something is so.
    async fn until(&self, reached: impl Fn(&Core<App>) -> bool) {
        let turns = async {
            while !reached(&self.core) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, turns).await.expect("it takes too long");
    }

    fn lose_link(&self) {
        self.gateway.link.take().unwrap().abort();
    }

    fn running(&self) -> RunningBusiness<App> {
        RunningBusiness { core: Rc::clone(&self.core), hooks: ProcessHooks::default() }
    }

    fn drain(&self) -> tokio::task::JoinHandle<()> {
        tokio::task::spawn_local(self.running().drain(&self.core.table))
    }
}

fn run(epoch: Option<&'static str>, test: impl AsyncFnOnce(Cluster)) {
    run_on(epoch, None, false, test);
}

/// With a gateway that wants to be told by client.
fn run_with(share: Allowance, test: impl AsyncFnOnce(Cluster)) {
    run_on(Some("e1"), Some(share), false, test);
}

/// With a gateway that wants to know which clients were kept.
fn run_settling(test: impl AsyncFnOnce(Cluster)) {
    run_on(Some("e1"), None, true, test);
}

fn run_on(
    epoch: Option<&str>,
    share: Option<Allowance>,
    settles: bool,
    test: impl AsyncFnOnce(Cluster),
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let cluster = Cluster::new(epoch, share, settles).await;
        let core = Rc::clone(&cluster.core);
        test(cluster).await;
        // Whatever happened, nothing is counted that is not there any more.
        let clients = core.clients.borrow();
        assert!(clients.is_idle() && clients.waiting() == 0);
    });
}

/// Whether the business reads its link.
fn reads(core: &Core<App>) -> bool {
    let gateways = core.gateways.borrow();
    gateways.values().all(|g| g.link.as_ref().is_some_and(|link| !link.connection.is_paused()))
}

#[test]
fn a_message_is_handled_and_its_session_written_back() {
    run(Some("e1"), async |cluster| {
        cluster.gateway.send(link::Event::Connect(cluster.client(1)));
        cluster.message(1, "hello");
        let heard = cluster.gateway.log.until("Handled 2").await;
        let expected =
            ["SendToOne 1 hello", r#"SetSession 1 a:1:{s:4:"last";s:5:"hello";}"#, "Handled 2 "];
        assert_eq!(heard, expected);
        assert_eq!(cluster.log.until("hello").await, ["connect 1", "hello 1"]);
    });
}

#[test]
fn a_handler_that_waits_stops_its_own_client_only() {
    run(Some("e1"), async |cluster| {
        cluster.message(1, "wait");
        cluster.message(1, "after");
        cluster.message(2, "other");
        assert_eq!(cluster.log.until("other").await, ["other 2"]);
        cluster.core.events.gate.add_permits(1);
        assert_eq!(cluster.log.until("after").await, ["wait 1", "after 1"]);
    });
}

#[test]
fn an_error_and_a_panic_close_the_client() {
    run(Some("e1"), async |cluster| {
        cluster.message(1, "fail");
        cluster.gateway.log.until("Kick 1 1011N;").await;
        cluster.message(1, "too late");
        cluster.message(2, "panic");
        cluster.gateway.log.until("Kick 2 1011N;").await;
        cluster.gateway.send(link::Event::Close(cluster.client(1)));
        assert_eq!(cluster.log.until("close 1").await, ["close 1 "]);
        assert_eq!(cluster.core.handler_errors.get(), 2);
        assert_eq!(cluster.core.dropped_events.get(), 1);
    });
}

#[test]
fn questions_go_over_a_connection_of_their_own_behind_the_key() {
    run(Some("e1"), async |cluster| {
        cluster.message(1, "ask");
        assert_eq!(cluster.log.until("ask").await, ["online true", "ask 1"]);
        let heard = cluster.gateway.log.until("Stamped 1").await;
        assert_eq!(heard, [r#"GatewayClientConnect 0 {"secret_key":"s"}"#, "Stamped 1 \u{b}"]);
    });
}

#[test]
fn a_gateway_that_is_back_with_another_epoch_was_dead() {
    run(Some("e1"), async |cluster| {
        cluster.message(1, "hello");
        cluster.log.until("hello").await;
        cluster.gateway.epoch.replace(Some("e2".to_owned()));
        cluster.lose_link();
        assert_eq!(cluster.log.until("close 1").await, ["close 1 hello"]);
        assert_eq!(cluster.core.clients.borrow().len(), 0);
    });
}

#[test]
fn a_gateway_that_is_back_with_the_same_epoch_kept_its_clients() {
    run(Some("e1"), async |cluster| {
        cluster.message(1, "hello");
        cluster.log.until("hello").await;
        cluster.lose_link();
        cluster.gateway.log.until("WorkerConnect").await;
        // It gave one of them to us anew.
        cluster.gateway.send(link::Event::Adopt(cluster.client(2)));
        cluster.message(3, "third");
        cluster.log.until("third").await;
        assert_eq!(cluster.core.clients.borrow().len(), 2);
        assert!(!cluster.log.holds("close"));
    });
}

#[test]
fn a_gateway_of_php_s_is_dead_when_its_link_is_lost() {
    run(None, async |cluster| {
        cluster.message(1, "hello");
        cluster.message(2, "wait");
        cluster.log.until("hello").await;
        cluster.lose_link();
        cluster.log.until("close 1 hello").await;
        cluster.core.events.gate.add_permits(1);
        assert_eq!(cluster.log.until("close 2").await, ["wait 2", "close 2 wait"]);
        assert!(!cluster.gateway.log.holds("Handled"), "PHP knows no extension");
    });
}

#[test]
fn a_drain_is_fenced_finished_and_confirmed_before_clients_are_released() {
    run(Some("e1"), async |cluster| {
        cluster.message(1, "wait");
        cluster.message(1, "last");
        cluster.gateway.send(link::Event::Adopt(cluster.client(2)));
        while cluster.core.clients.borrow().len() < 2 {
            tokio::task::yield_now().await;
        }
        let drained = cluster.drain();
        cluster.gateway.log.until("Drain").await;
        cluster.gateway.send(link::Event::Fence);
        cluster.core.events.gate.add_permits(1);
        let heard = cluster.gateway.log.until("Release").await;
        let place = |what: &str| heard.iter().position(|line| line.starts_with(what)).unwrap();
        assert!(place("SendToOne 1 last") < place("Handled 2"), "{heard:?}");
        assert!(place("Handled 2") < place("Sync"), "{heard:?}");
        drained.await.unwrap();
        assert_eq!(cluster.log.until("last").await, ["wait 1", "last 1"]);
        assert_eq!(cluster.core.clients.borrow().len(), 0, "they are others'");
        cluster.running().stopped().await;
        assert!(!cluster.log.holds("close"));
    });
}

#[test]
fn a_drain_does_not_wait_for_a_gateway_that_is_gone() {
    run(Some("e1"), async |cluster| {
        cluster.message(1, "hello");
        cluster.log.until("hello").await;
        let drained = cluster.drain();
        cluster.gateway.log.until("Drain").await;
        cluster.gateway.mute.set(true);
        cluster.lose_link();
        cluster.until(|core| !core.hub.is_linked(cluster.address)).await;
        tokio::time::pause();
        drained.await.unwrap();
        assert_eq!(cluster.log.until("close").await, ["close 1 hello"]);
    });
}
