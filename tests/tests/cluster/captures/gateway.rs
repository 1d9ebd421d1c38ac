//! Our gateway, driven by the businesses, clients and `GatewayClient`s of a capture; the register is a socket of
//! the test's.
//!
//! Businesses of one gateway are equal: which of them gets a client is the gateway's to choose, so events are
//! told apart by their client and not by the link.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use lineman_testkit::{Port, within};
use lineman_tests::programs::{Server, part_of_cluster};
use lineman_wire::link::{Command, Packet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::capture::{Capture, End, Record, What, compare, packet};
use super::ids::Ids;
use super::peer::{Cut, Peer};

/// A file, and what the captured programs were set to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) secret: &'static str,
    /// The second from which on the captured programs were ended.
    pub(crate) until: f64,
    pub(crate) gateways: usize,
    /// Where its clients connect.
    pub(crate) host: &'static str,
    /// What the programs are set to beyond that.
    pub(crate) knobs: &'static [(&'static str, &'static str)],
    /// A client that is silent: the others would have to be replayed in time, and are left out.
    pub(crate) only: Option<&'static str>,
    /// When the gateway was killed.
    pub(crate) killed: Option<f64>,
    /// How many messages are compared.
    pub(crate) expected: usize,
}

/// What is sent to clients that are silent; in files that are not about that, it comes at other times.
const PING: &[u8] = br#"{"type":"ping"}"#;

/// A gateway of ours in the place of a captured one.
struct Place {
    server: Server,
    /// Where its clients connect.
    listen: SocketAddr,
    /// Where businesses do.
    inner: SocketAddr,
    /// Asks something whose answer says that all before it is dealt with.
    asker: Peer,
    /// Held for as long as the register lives.
    _announced: Peer,
}

/// Replays one file.
struct Replay {
    case: Case,
    capture: Capture,
    register: TcpListener,
    places: Vec<Place>,
    /// Clients, and connections that ask.
    peers: BTreeMap<String, Peer>,
    /// What was asked on a connection and not answered yet.
    asked: BTreeMap<String, VecDeque<Command>>,
    links: BTreeMap<String, OwnedWriteHalf>,
    sender: UnboundedSender<(usize, Packet)>,
    receiver: UnboundedReceiver<(usize, Packet)>,
    /// Events by gateway and the port of the client, 0 for pings of links.
    events: BTreeMap<(usize, u16), VecDeque<Packet>>,
    /// Clients that have said something.
    spoke: BTreeSet<String>,
    /// Events that came before that: ours tells of a client when it has asked for its WebSocket.
    early: Vec<Record>,
    ids: Ids,
    compared: usize,
}

/// Replays a file; returns how many messages were compared.
pub(crate) async fn replay(case: Case) -> Result<usize> {
    let capture = Capture::read(case.name, case.until)?;
    let register = TcpListener::bind("127.0.0.1:0").await?;
    let (sender, receiver) = unbounded_channel();
    let (places, peers, asked, links, events) = Default::default();
    let (spoke, early, ids) = Default::default();
    let mut replay = Replay {
        case,
        capture,
        register,
        places,
        peers,
        asked,
        links,
        sender,
        receiver,
        events,
        spoke,
        early,
        ids,
        compared: 0,
    };
    for _ in 0..case.gateways {
        replay.start().await?;
    }
    let mut killed = case.killed;
    for record in replay.capture.records.clone() {
        if let Some(time) = killed
            && record.time >= time
        {
            replay.kill().await?;
            killed = None;
        }
        replay.step(&record).await.with_context(|| record.place.clone())?;
    }
    replay.nothing_more().await.context(case.name)?;
    Ok(replay.compared)
}

impl Replay {
    /// Starts a gateway, which announces itself as the captured one did.
    async fn start(&mut self) -> Result<()> {
        let register = self.register.local_addr()?.to_string();
        let server =
            part_of_cluster("gateway", &Port::reserve()?)?.knob("CLUSTER_REGISTER", register);
        let listen = format!("{}:{}", self.case.host, server.port.number());
        let mut server =
            server.knob("CLUSTER_LISTEN", &listen).knob("CLUSTER_SECRET", self.case.secret);
        for (knob, value) in self.case.knobs {
            server = server.knob(knob, *value);
        }
        let server = server.started().await?;
        let mut announced = Peer::accept(&self.register).await?;
        let line = announced.message(Cut::Line).await?.context("no address")?;
        let said: serde_json::Value = serde_json::from_slice(&line)?;
        let inner: SocketAddr = said["address"].as_str().context("no address")?.parse()?;
        let (event, key) = (said["event"].as_str(), said["secret_key"].as_str());
        ensure!((event, key) == (Some("gateway_connect"), Some(self.case.secret)), "{said}");
        let asker = asker(inner, self.case.secret).await?;
        let listen = listen.parse()?;
        self.places.push(Place { server, listen, inner, asker, _announced: announced });
        Ok(())
    }

    /// Kills the only gateway there is, with its clients and links; its successor is announced.
    async fn kill(&mut self) -> Result<()> {
        let [Place { server, listen, inner, .. }] =
            <[Place; 1]>::try_from(std::mem::take(&mut self.places)).ok().context("one gateway")?;
        let old = server.program.kill("gateway/0").await?;
        server.program.replaced("gateway/0", &old).await?;
        let mut announced = Peer::accept(&self.register).await?;
        announced.message(Cut::Line).await?.context("no address")?;
        let asker = asker(inner, self.case.secret).await?;
        self.places.push(Place { server, listen, inner, asker, _announced: announced });
        Ok(())
    }

    async fn step(&mut self, record: &Record) -> Result<()> {
        let name = &record.name;
        let left_out = |only| name.starts_with('C') && name != only;
        match &record.what {
            // The register's part has a test of its own.
            _ if name.starts_with('R') || self.case.only.is_some_and(left_out) => Ok(()),
            What::Opened { .. } if name.starts_with('C') => self.arrive(name).await,
            What::Opened { .. } => self.connect(name).await,
            What::Said(End::Opener, bytes) => {
                self.say(name, bytes).await?;
                for early in std::mem::take(&mut self.early) {
                    Box::pin(self.step(&early)).await?;
                }
                Ok(())
            }
            What::Said(End::Listener, bytes) if name.starts_with('C') => {
                self.client_hears(record, bytes).await
            }
            What::Said(End::Listener, bytes) if self.capture.is_link(name) => {
                self.event(record, bytes).await
            }
            What::Said(End::Listener, bytes) => self.reply(record, bytes).await,
            What::Closed(End::Opener) => {
                let gateway = self.gateway_of(name)?;
                self.links.remove(name);
                self.peers.remove(name);
                self.settled(gateway).await
            }
            What::Closed(End::Listener) => self.closes(record).await,
        }
    }

    /// A client of the gateway that the captured one had: its first event says which.
    async fn arrive(&mut self, name: &str) -> Result<()> {
        let gateway = self.gateway_of(name)?;
        let address = self.places[gateway].listen;
        self.peers.insert(name.to_owned(), Peer::connect(address).await?);
        Ok(())
    }

    async fn connect(&mut self, name: &str) -> Result<()> {
        let gateway = self.gateway_of(name)?;
        let inner = self.places[gateway].inner;
        if !self.capture.is_link(name) {
            self.peers.insert(name.to_owned(), Peer::connect(inner).await?);
            return Ok(());
        }
        let stream = TcpStream::connect(inner).await?;
        stream.set_nodelay(true)?;
        let (mut reader, writer) = stream.into_split();
        self.links.insert(name.to_owned(), writer);
        let sender = self.sender.clone();
        tokio::spawn(async move {
            while let Ok(length) = reader.read_u32().await {
                let mut bytes = length.to_be_bytes().to_vec();
                bytes.resize(length as usize, 0);
                reader.read_exact(&mut bytes[4..]).await?;
                sender.send((gateway, packet(&bytes)?))?;
            }
            anyhow::Ok(())
        });
        Ok(())
    }

    async fn say(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let gateway = self.gateway_of(name)?;
        self.spoke.insert(name.to_owned());
        if name.starts_with('C') {
            self.peers.get_mut(name).context("not open")?.send(bytes).await?;
            return self.settled(gateway).await;
        }
        let packet = self.ids.to_ours(gateway, packet(bytes)?)?;
        let bytes = packet.to_bytes();
        if let Some(link) = self.links.get_mut(name) {
            link.write_all(&bytes).await?;
        } else {
            self.asked.entry(name.to_owned()).or_default().push_back(packet.command);
            self.peers.get_mut(name).context("not open")?.send(&bytes).await?;
        }
        self.settled(gateway).await
    }

    async fn client_hears(&mut self, record: &Record, expected: &[u8]) -> Result<()> {
        let (is_text, is_head) = (self.is_text(), expected.starts_with(b"HTTP/1.1 101"));
        let is_ping = !is_text && expected.get(2..) == Some(PING) && self.case.only.is_none();
        if is_ping {
            return Ok(());
        }
        let cut = match (is_text, is_head) {
            (true, _) => Cut::Line,
            (false, true) => Cut::Head,
            (false, false) => Cut::Frame,
        };
        let peer = self.peers.get_mut(&record.name).context("not open")?;
        let got = peer.message(cut).await?.context("closed in place of a message")?;
        self.compared += 1;
        match expected {
            _ if is_head => compare(&record.place, &accepted(expected)?, &accepted(&got)?),
            // GatewayWorker says 1000 whatever the client says.
            [0x88, ..] if !is_text => ensure_close(&got),
            _ => compare(&record.place, expected, &got),
        }
    }

    /// Compares an event with what came for this client, on whatever link.
    async fn event(&mut self, record: &Record, bytes: &[u8]) -> Result<()> {
        let gateway = self.gateway_of(&record.name)?;
        let expected = packet(bytes)?;
        if expected.command == Command::OnConnect && !self.is_text() {
            let name = self.client_from(expected.client_port, record.time)?;
            if !self.spoke.contains(&name) {
                self.early.push(record.clone());
                return Ok(());
            }
        }
        let (name, port) = match expected.client_port {
            0 => (String::new(), 0),
            port => {
                let name = self.client_from(port, record.time)?;
                if self.case.only.is_some_and(|only| only != name) {
                    return Ok(());
                }
                let known = self.ids.port(&name);
                let peer = self.peers.get(&name);
                let port = peer.map_or(known.context("not open"), Peer::port)?;
                (name, port)
            }
        };
        self.ids.remember(&name, port);
        let got = within("an event", self.next_event((gateway, port))).await??;
        let got = self.ids.event_to_captured(gateway, &expected, got)?;
        self.compared += 1;
        compare(&record.place, bytes, &got.to_bytes())
    }

    async fn next_event(&mut self, place: (usize, u16)) -> Result<Packet> {
        loop {
            if let Some(event) = self.events.entry(place).or_default().pop_front() {
                return Ok(event);
            }
            let (gateway, event) = self.receiver.recv().await.context("no link")?;
            self.events.entry((gateway, event.client_port)).or_default().push_back(event);
        }
    }

    async fn reply(&mut self, record: &Record, bytes: &[u8]) -> Result<()> {
        let asked = self.asked.get_mut(&record.name).context("nothing asked")?;
        asked.retain(|command| *command != Command::GatewayClientConnect);
        let command = asked.pop_front().context("nothing asked")?;
        let peer = self.peers.get_mut(&record.name).context("not open")?;
        let got = peer.message(Cut::Reply).await?.context("closed in place of an answer")?;
        let got = self.ids.reply_to_captured(self.capture.gateway(&record.name)?, command, &got)?;
        self.compared += 1;
        compare(&record.place, bytes, &got)
    }

    /// The gateway closes, with a close frame of which the captured one had none.
    async fn closes(&mut self, record: &Record) -> Result<()> {
        let name = &record.name;
        if name.starts_with('C') && !self.is_text() && !self.spoke.contains(name) {
            // Without a business, a client is held once it is one, and then told that it is in vain.
            self.early.push(record.clone());
            return Ok(());
        }
        let Some(mut peer) = self.peers.remove(name) else { return Ok(()) };
        if self.case.name.starts_with("16") {
            accepted(&peer.message(Cut::Head).await?.context("no answer")?)?;
        }
        let cut = if self.is_text() { Cut::Line } else { Cut::Frame };
        while let Some(message) = peer.message(cut).await? {
            ensure!(name.starts_with('C'), "{} and no end", message.escape_ascii());
            ensure_close(&message)?;
        }
        Ok(())
    }

    /// Returns when the gateway has dealt with everything that was sent to it before.
    async fn settled(&mut self, gateway: usize) -> Result<()> {
        let question = Packet::new(Command::IsOnline, 0).to_bytes();
        let asker = &mut self.places[gateway].asker;
        asker.send(&question).await?;
        asker.message(Cut::Reply).await?.context("the gateway closed")?;
        Ok(())
    }

    /// Nothing was said that the captured gateway did not say.
    async fn nothing_more(&mut self) -> Result<()> {
        for gateway in 0..self.places.len() {
            self.settled(gateway).await?;
            self.settled(gateway).await?;
        }
        let is_text = self.is_text();
        for (name, peer) in &mut self.peers {
            let cut = match (name.starts_with('C'), is_text) {
                (true, true) => Cut::Line,
                (true, false) => Cut::Frame,
                (false, _) => Cut::Reply,
            };
            let more = peer.at_hand(cut).context(name.clone())?;
            ensure!(more.is_none(), "{name} got more: {more:?}");
        }
        while let Ok((gateway, event)) = self.receiver.try_recv() {
            self.events.entry((gateway, event.client_port)).or_default().push_back(event);
        }
        self.events.retain(|(_, port), events| *port != 0 && !events.is_empty());
        ensure!(self.events.is_empty() || self.case.only.is_some(), "more: {:?}", self.events);
        Ok(())
    }

    fn is_text(&self) -> bool {
        self.case.knobs.contains(&("CLUSTER_SCHEME", "text"))
    }

    /// Returns the captured client that came from this port.
    fn client_from(&self, port: u16, time: f64) -> Result<String> {
        let opened = self.capture.records.iter().rev().filter(|record| record.time <= time);
        let mut names = opened.filter(|record| record.name.starts_with('C')).filter(
            |record| matches!(record.what, What::Opened { from, .. } if from.port() == port),
        );
        Ok(names.next().with_context(|| format!("no client from {port}"))?.name.clone())
    }

    /// Returns the gateway of a connection; that of a client is told by its first event.
    fn gateway_of(&self, name: &str) -> Result<usize> {
        if !name.starts_with('C') {
            return self.capture.gateway(name);
        }
        if self.places.len() == 1 {
            return Ok(0);
        }
        let port = self.capture.addresses(name)?.0.port();
        for record in &self.capture.records {
            let What::Said(End::Listener, bytes) = &record.what else { continue };
            if record.name.starts_with('G')
                && self.capture.is_link(&record.name)
                && packet(bytes)?.client_port == port
            {
                return self.capture.gateway(&record.name);
            }
        }
        bail!("{name} has no event")
    }
}

async fn asker(inner: SocketAddr, secret: &str) -> Result<Peer> {
    let mut peer = Peer::connect(inner).await?;
    let mut login = Packet::new(Command::GatewayClientConnect, 0);
    login.body = serde_json::json!({ "secret_key": secret }).to_string().into();
    peer.send(&login.to_bytes()).await?;
    Ok(peer)
}

/// Returns what counts of the answer to an upgrade: `GatewayWorker` says `Switching Protocol`.
fn accepted(head: &[u8]) -> Result<Vec<u8>> {
    let head = str::from_utf8(head)?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.get(..12)).context("a status")?;
    let accept = lines.find(|line| line.to_lowercase().starts_with("sec-websocket-accept:"));
    let accept = accept.context("no Sec-WebSocket-Accept")?.to_lowercase();
    Ok(format!("{status} {accept}").into_bytes())
}

fn ensure_close(frame: &[u8]) -> Result<()> {
    ensure!(frame.first() == Some(&0x88), "{} in place of an end", frame.escape_ascii());
    Ok(())
}
