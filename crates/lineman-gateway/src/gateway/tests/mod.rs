//! Tests of the logic, on connections that only remember what was done to them.

mod assignment;
mod routing;
mod orders;
mod ends;
mod pairs;
mod partitions;
mod heirs;
mod bounds;
mod noise;
mod fan_outs;
mod shares;
mod stalls;
mod machines;
mod told;
mod golden;
mod message_types;
mod sessions;
mod heartbeats;
mod reconfigured;
mod moves;

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lineman::BoxError;
use lineman::connection::{Acknowledgement, CloseReason, SendError, WebSocket};
use lineman_client::LinkTls;
use lineman_wire::link::{Allowance, Body, Codec, Command, Control, Login, Order, Packet, Secret};
use tokio::time::Instant;

use super::core::{Core, Input, Policy};
use super::dialect::{ClientDialect, Typed, WebSocketForm};
use super::handover::MovedConnections;
use super::heartbeat::Heartbeat;
use super::identity::GatewayIdentity;
use super::ids::Counter;
use super::outlet::Outlet;
use super::stalls::StallLimits;
use super::{MessageType, Prefer, Router, SlowClient};
use crate::entrance::Binding;
use crate::reach::ReachLimits;

/// A connection without a socket.
pub(super) struct Fake {
    id: u64,
    peer: SocketAddr,
    sent: RefCell<Vec<Bytes>>,
    ended: RefCell<Option<CloseReason>>,
    paused: Cell<bool>,
    /// How many bytes were sent, and how many of them wait.
    accepted: Cell<u64>,
    queued: Cell<usize>,
    /// How many more messages it takes.
    room: Cell<usize>,
    /// Since when its machine answers nothing.
    dead: Cell<Option<Instant>>,
    /// Whether its business says nothing, though it is asked.
    hangs: Cell<bool>,
    clock: Rc<Cell<Instant>>,
}

impl Outlet for Rc<Fake> {
    type Form = Bytes;

    fn id(&self) -> u64 {
        self.id
    }

    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn send(&self, wire: &Bytes) -> Result<(), SendError> {
        if self.ended.borrow().is_some() {
            return Err(SendError::Closed);
        }
        let Some(room) = self.room.get().checked_sub(1) else { return Err(SendError::Full) };
        self.room.set(room);
        self.accepted.set(self.accepted.get() + wire.len() as u64);
        self.sent.borrow_mut().push(wire.clone());
        Ok(())
    }

    fn is_encrypted(&self) -> bool {
        false
    }

    fn queued_bytes(&self) -> usize {
        self.queued.get()
    }

    fn sent_bytes(&self) -> u64 {
        self.accepted.get() - self.queued.get() as u64
    }

    fn acknowledgement(&self) -> Option<Acknowledgement> {
        let last = self.dead.get().map(|dead| self.clock.get().saturating_duration_since(dead));
        Some(Acknowledgement { awaited: last.is_some(), last: last.unwrap_or_default() })
    }

    fn close(&self, reason: CloseReason) {
        self.ended.borrow_mut().get_or_insert(reason);
    }

    fn abort(&self) {
        self.close(CloseReason::Local);
    }

    fn pause(&self) {
        self.paused.set(true);
    }

    fn resume(&self) {
        self.paused.set(false);
    }
}

/// What a client without compression gets.
pub(super) fn websocket_form(message: Typed) -> Result<Bytes, BoxError> {
    Ok(match WebSocket::form(message)? {
        WebSocketForm::Wire(wire) => wire,
        WebSocketForm::Message(message) => message.plain(),
    })
}

/// Where the gateway is, and which run of it this is.
fn identity(epoch: &str) -> GatewayIdentity {
    GatewayIdentity {
        lan_ip: Ipv4Addr::LOCALHOST,
        links_port: 22900,
        clients_port: 27272,
        epoch: epoch.to_owned(),
    }
}

/// What the logic goes by where a test sets nothing else.
fn policy(key: &str, form: fn(Typed) -> Result<Bytes, BoxError>) -> Policy<Bytes> {
    let heartbeat = Heartbeat { interval: Duration::ZERO, limit: 0, data: Bytes::new() };
    Policy {
        secret_key: Secret::new(key),
        heartbeat,
        link_ping_interval: Duration::ZERO,
        slow_client: SlowClient::Close,
        message_type: MessageType::AsReceived,
        prefer: Prefer::SameMachine,
        router: Router::LeastBusy,
        pinned: Vec::new(),
        no_business_limit: Duration::from_secs(30),
        partition_limit: Duration::from_mins(10),
        heirs: true,
        share: Allowance { events: 256, bytes: 1024 * 1024 },
        stall_limits: StallLimits {
            stalled: Duration::from_secs(5),
            abandoned: Duration::from_secs(30),
        },
        reach: ReachLimits::new(Some(Duration::from_secs(15)), Ipv4Addr::LOCALHOST.into()),
        strangers: 3,
        link_tls: LinkTls::Off,
        form,
        typed: |wire| Typed::Wire(wire.clone()),
    }
}

/// A gateway's logic with the connections it was given.
pub(super) struct World {
    core: Core<Rc<Fake>>,
    now: Instant,
    next: u64,
    clients: Vec<Rc<Fake>>,
    peers: Vec<Rc<Fake>>,
    /// The time, as connections see it.
    clock: Rc<Cell<Instant>>,
    /// After so many inputs it moves to another process, 0 for never; and after how many more then.
    until_move: u32,
    next_move: u32,
    /// All connections there ever were.
    ever: Vec<Rc<Fake>>,
}

/// When it moves first, at the latest; then less and less often. Every test is one of that, too: nothing that is tested
/// may depend on it.
const FIRST_MOVE: u32 = 61;

thread_local! {
    /// How many worlds there were, so that each moves at another moment.
    static WORLDS: Cell<u32> = const { Cell::new(0) };
}

/// When everything is gone, nothing is left of it.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for client in std::mem::take(&mut self.clients) {
            self.leave(&client);
        }
        for peer in std::mem::take(&mut self.peers) {
            self.lose(&peer);
        }
        // Ends that were kept back are told, and then forgotten.
        for limit in [self.core.policy.partition_limit, self.core.policy.no_business_limit] {
            self.now += limit;
            self.submit(Input::Sweep);
        }
        for gauge in ["clients", "uids", "groups", "links", "held_clients", "waiting_clients"] {
            assert_eq!(self.gauge(gauge), 0, "{gauge}");
        }
        let Core { peers, held, looked_for, ended, client_rounds, link_rounds, .. } = &self.core;
        assert!(ended.is_empty(), "{ended:?}");
        assert!(looked_for.is_empty(), "{looked_for:?}");
        assert!(peers.is_empty() && held.is_empty(), "{held:?}");
        assert!(client_rounds.is_empty() && link_rounds.is_empty());
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with("", websocket_form)
    }

    pub(super) fn with(key: &str, form: fn(Typed) -> Result<Bytes, BoxError>) -> Self {
        let core = Core::new(identity("e"), policy(key, form), Counter::starting_at(1));
        let now = Instant::now();
        let clock = Rc::new(Cell::new(now));
        let until_move = 1 + WORLDS.replace(WORLDS.get() + 1).wrapping_mul(17) % FIRST_MOVE;
        let (next, clients, peers, ever) = (1, Vec::new(), Vec::new(), Vec::new());
        let next_move = FIRST_MOVE;
        Self { core, now, next, clients, peers, clock, until_move, next_move, ever }
    }

    /// Has everything move to another process.
    fn relocate(&mut self) {
        self.relocate_without(&[]);
        self.core.handle(Input::TookOver, self.now);
    }

    /// As [`Self::relocate`], but for the connections of these numbers; the other process does not serve yet.
    fn relocate_without(&mut self, left: &[u64]) {
        let written = self.core.save(self.now).expect("it can be written down");
        let fresh = Core::new(identity("e2"), policy("", websocket_form), Counter::starting_at(99));
        let former = std::mem::replace(&mut self.core, fresh);
        let follows = |id: &u64| !left.contains(id);
        let clients = former.clients.iter().map(|(_, client)| Rc::clone(&client.connection));
        let peers = former.peers.into_iter().map(|(id, peer)| (id, peer.outlet));
        let mut moved = MovedConnections {
            clients: clients
                .map(|client| (client.id, client))
                .filter(|(id, _)| follows(id))
                .collect(),
            peers: peers.filter(|(id, _)| follows(id)).collect(),
        };
        let identity = GatewayIdentity { epoch: "e2".to_owned(), ..former.identity };
        let mut core = Core::new(identity, former.policy, Counter::starting_at(99));
        core.restore(&written, &mut moved, self.now).expect("it can be read");
        assert!(moved.clients.is_empty() && core.identity.epoch == "e");
        self.core = core;
    }

    /// Has an input handled; clients that end by it are gone afterwards.
    pub(super) fn submit(&mut self, input: Input<Rc<Fake>>) {
        self.submit_alone(input);
        let ended = |client: &Rc<Fake>| client.ended.borrow().is_some();
        let gone: Vec<_> = self.clients.extract_if(.., |client| ended(client)).collect();
        for client in gone {
            self.core.handle(Input::ClientWent(client.id), self.now);
        }
        let asked: Vec<u64> =
            self.peers.iter().filter(|peer| peer.take_probes()).map(|peer| peer.id).collect();
        for peer in asked {
            self.core.handle(Input::PeerSaid(peer, Control::Alive(0).into()), self.now);
        }
    }

    /// Has an input handled; the connections that end by it are not gone yet.
    fn submit_alone(&mut self, input: Input<Rc<Fake>>) {
        if self.until_move > 0 {
            self.until_move -= 1;
            if self.until_move == 0 {
                self.until_move = self.next_move;
                self.next_move *= 2;
                self.relocate();
            }
        }
        self.clock.set(self.now);
        self.core.handle(input, self.now);
    }

    fn fake(&mut self, peer: SocketAddr) -> Rc<Fake> {
        self.next += 1;
        let fake = Rc::new(Fake {
            id: self.next,
            peer,
            sent: RefCell::default(),
            ended: RefCell::default(),
            paused: Cell::new(false),
            accepted: Cell::new(0),
            queued: Cell::new(0),
            room: Cell::new(usize::MAX),
            dead: Cell::default(),
            hangs: Cell::default(),
            clock: Rc::clone(&self.clock),
        });
        self.ever.push(Rc::clone(&fake));
        fake
    }

    pub(super) fn client_from(&mut self, peer: SocketAddr, handshake: Bytes) -> Rc<Fake> {
        let client = self.fake(peer);
        self.clients.push(Rc::clone(&client));
        self.submit(Input::ClientCame(Rc::clone(&client), handshake, Binding::default()));
        client
    }

    pub(super) fn bound_client(&mut self, binding: Binding) -> Rc<Fake> {
        let client = self.fake(([127, 0, 0, 1], 4000).into());
        self.clients.push(Rc::clone(&client));
        self.submit(Input::ClientCame(Rc::clone(&client), Bytes::new(), binding));
        client
    }

    pub(super) fn peer_from(&mut self, peer: SocketAddr) -> Rc<Fake> {
        let peer = self.fake(peer);
        self.peers.push(Rc::clone(&peer));
        self.submit(Input::PeerCame(Rc::new(Rc::clone(&peer))));
        peer
    }

    fn client(&mut self) -> Rc<Fake> {
        self.client_from(([127, 0, 0, 1], 4000).into(), Bytes::from_static(b"a:0:{}"))
    }

    /// Opens the link of a business of Lineman's.
    fn business(&mut self, key: &str) -> Rc<Fake> {
        self.link(key, Some(2))
    }

    fn link(&mut self, key: &str, lineman: Option<u32>) -> Rc<Fake> {
        self.link_from([127, 0, 0, 1], key, lineman)
    }

    fn link_from(&mut self, ip: [u8; 4], key: &str, lineman: Option<u32>) -> Rc<Fake> {
        let peer = self.peer_from((ip, 5000).into());
        let (worker_key, secret_key) = (key.to_owned(), Secret::default());
        self.tell(&peer, Login::Worker { worker_key, secret_key, lineman });
        peer
    }

    fn tell(&mut self, peer: &Rc<Fake>, packet: impl Into<Packet>) {
        self.submit(Input::PeerSaid(peer.id, packet.into()));
    }

    fn order(&mut self, peer: &Rc<Fake>, order: Order) {
        self.tell(peer, order);
    }

    fn say(&mut self, client: &Rc<Fake>, text: &'static str) {
        self.submit(Input::ClientSaid(client.id, Body::from(text)));
    }

    fn leave(&mut self, client: &Rc<Fake>) {
        client.close(CloseReason::Peer { code: None, reason: String::new() });
        self.submit(Input::ClientWent(client.id));
    }

    fn lose(&mut self, peer: &Rc<Fake>) {
        self.lose_by(peer, CloseReason::Broken("gone".to_owned()));
    }

    fn lose_by(&mut self, peer: &Rc<Fake>, reason: CloseReason) {
        peer.close(reason.clone());
        self.submit(Input::PeerWent(peer.id, reason));
    }

    fn gauge(&self, name: &str) -> u64 {
        self.core.gauges().get(name).copied().unwrap_or_else(|| panic!("no gauge {name}"))
    }
}

impl Fake {
    /// Takes what was sent: commands and the connection ids they are about.
    fn heard(&self) -> Vec<(Command, u32)> {
        self.packets().iter().map(|packet| (packet.command, packet.connection_id)).collect()
    }

    /// Takes out the questions whether it lives; returns whether it answers one.
    fn take_probes(&self) -> bool {
        let is_probe = |wire: &mut Bytes| wire.get(4) == Some(&Command::Probe.number());
        let asked = self.sent.borrow_mut().extract_if(.., is_probe).count() > 0;
        asked && !self.hangs.get() && self.dead.get().is_none()
    }

    /// Takes what was sent as packets.
    fn packets(&self) -> Vec<Packet> {
        let decode = |bytes: Bytes| {
            let packet = Codec::new().decode_packet(&mut BytesMut::from(&bytes[..]));
            packet.expect("a good packet").expect("a whole packet")
        };
        self.sent.take().into_iter().map(decode).collect()
    }

    fn close_reason(&self) -> Option<CloseReason> {
        self.ended.borrow().clone()
    }
}
