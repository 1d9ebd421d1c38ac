//! Our business (`calls_under_test`), for which the test is the captured register and gateways.
//!
//! It hears what the business `Bw:0` of a capture heard, and has to say what that said. Ports of our gateways
//! stand in for the captured ones in addresses, headers and the ids of clients that messages hold.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use lineman_testkit::Program;
use lineman_tests::programs::built;
use lineman_wire::link::{Command, Packet, flags};
use serde_json::Value as Json;
use tokio::net::TcpListener;

use super::capture::{Capture, End, INNER_PORT, Record, What, compare, packet};
use super::ids::unserialize;
use super::peer::{Cut, Peer};

/// A file, and what its business was set to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) secret: &'static str,
    /// The second from which on the captured programs were ended.
    pub(crate) until: f64,
    pub(crate) gateways: usize,
    /// The address of the gateways.
    pub(crate) host: &'static str,
    /// Does the business send back what is no order?
    pub(crate) echo: bool,
    /// How many messages are compared.
    pub(crate) expected: usize,
}

struct Replay {
    case: Case,
    capture: Capture,
    register: TcpListener,
    gateways: Vec<TcpListener>,
    /// Connections of our business: to the register, links, and those on which it asks, by gateway.
    discovery: Option<Peer>,
    links: BTreeMap<usize, Peer>,
    questions: BTreeMap<usize, Peer>,
    /// The event that the captured business handles.
    event: Vec<u8>,
    compared: usize,
}

/// Replays a file; returns how many messages were compared.
pub(crate) async fn replay(case: Case) -> Result<usize> {
    let capture = Capture::read(case.name, case.until)?;
    let register = TcpListener::bind("127.0.0.1:0").await?;
    let mut gateways = Vec::new();
    for _ in 0..case.gateways {
        gateways.push(TcpListener::bind((case.host, 0)).await?);
    }
    let mut program = Program::new(built("calls_under_test", "lineman-tests")?)?
        .env("CALLS_REGISTER", register.local_addr()?.to_string())
        .env("CALLS_SECRET", case.secret);
    if case.echo {
        program = program.env("CALLS_ECHO", "1");
    }
    program.start().await?;
    let (links, questions) = Default::default();
    let mut replay = Replay {
        case,
        capture,
        register,
        gateways,
        discovery: None,
        links,
        questions,
        event: Vec::new(),
        compared: 0,
    };
    for record in replay.capture.records.clone() {
        replay.step(&record).await.with_context(|| record.place.clone())?;
    }
    program.stop().await?;
    for (gateway, link) in &mut replay.links {
        let more = link.message(Cut::Packet).await?;
        ensure!(more.is_none(), "{}: gateway {gateway} got more: {more:?}", case.name);
    }
    Ok(replay.compared)
}

impl Replay {
    async fn step(&mut self, record: &Record) -> Result<()> {
        let What::Said(end, bytes) = &record.what else { return Ok(()) };
        let name = &record.name;
        // A register on this machine is not pinged by ours.
        let is_ping = bytes.starts_with(b"{\"event\":\"ping\"");
        if is_ping || name.starts_with('C') || self.is_anothers(name)? {
            return Ok(());
        }
        match (name.starts_with('R'), self.capture.is_link(name), end) {
            (true, _, End::Opener) => self.asks_for_gateways(record, bytes).await,
            (true, _, End::Listener) => {
                let line = str::from_utf8(bytes)?.to_owned();
                let line = self.with_our_ports(line)?;
                self.discovery.as_mut().context("not asked")?.send(line.as_bytes()).await
            }
            (_, true, End::Opener) => self.says(record, bytes).await,
            (_, true, End::Listener) => self.hears(name, bytes).await,
            (_, false, End::Opener) => self.asks(record, bytes).await,
            (_, false, End::Listener) if self.is_look_up() || self.has_no_call() => Ok(()),
            (_, false, End::Listener) => {
                let gateway = self.capture.gateway(name)?;
                self.questions.get_mut(&gateway).context("not asked")?.send(bytes).await
            }
        }
    }

    /// Leaves out what gateways say to the register, and what other businesses and `GatewayClient`s say: they come
    /// after the captured business's own connections.
    fn is_anothers(&self, name: &str) -> Result<bool> {
        let numbers = |kind| {
            let mut names: Vec<_> =
                self.capture.records.iter().map(|record| &record.name).collect();
            names.retain(|name| name.starts_with(kind));
            names
        };
        if name.starts_with('R') {
            let first = numbers('R').into_iter().find(|name| !self.capture.is_gateways(name));
            return Ok(first.is_none_or(|first| first != name));
        }
        let gateway = self.capture.gateway(name)?;
        let is_link = self.capture.is_link(name);
        let mut alike = numbers('G').into_iter().filter(|other| {
            self.capture.is_link(other) == is_link
                && self.capture.gateway(other).ok() == Some(gateway)
        });
        Ok(alike.next().is_none_or(|first| first != name))
    }

    async fn asks_for_gateways(&mut self, record: &Record, expected: &[u8]) -> Result<()> {
        let mut peer = Peer::accept(&self.register).await?;
        let line = peer.message(Cut::Line).await?.context("no question")?;
        self.discovery = Some(peer);
        compare(&record.place, &introduction(expected)?, &introduction(&line)?)
    }

    /// The business says something on its link.
    async fn says(&mut self, record: &Record, expected: &[u8]) -> Result<()> {
        let gateway = self.capture.gateway(&record.name)?;
        let mut expected = packet(expected)?;
        if expected.command == Command::WorkerConnect {
            let mut link = Peer::accept(&self.gateways[gateway]).await?;
            let got = link.message(Cut::Packet).await?.context("no introduction")?;
            self.links.insert(gateway, link);
            let got = packet(&got)?;
            ensure!(got.command == Command::WorkerConnect, "{got:?}");
            return compare(
                &record.place,
                &introduction(&expected.body)?,
                &introduction(&got.body)?,
            );
        }
        if self.has_no_call() {
            return Ok(());
        }
        // A Hub refuses a name that every gateway ignores, and sends nothing to no one.
        let is_refused = match expected.command {
            Command::BindUid | Command::JoinGroup => matches!(&expected.ext[..], b"" | b"0"),
            Command::SendToUid => expected.ext == "[]",
            _ => false,
        };
        if is_refused {
            return Ok(());
        }
        let link = self.links.get_mut(&gateway).context("not linked")?;
        let got = link.message(Cut::Packet).await?.context("the link was closed")?;
        let mut got = self.with_captured_ports(packet(&got)?)?;
        as_text(&mut expected)?;
        if matches!(got.command, Command::SendToUid | Command::SendToGroup) {
            got.ext = canonical(&got.ext);
        }
        if expected.command == Command::UnbindUid {
            expected.ext.clear(); // Every gateway ignores it.
        }
        self.compared += 1;
        compare(&record.place, &expected.to_bytes(), &got.to_bytes())
    }

    async fn hears(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let gateway = self.capture.gateway(name)?;
        let mut event = packet(bytes)?;
        event.local_port = self.port(gateway)?;
        if event.command != Command::Ping {
            self.event = event.body.to_vec();
        }
        if self.has_no_call() {
            return Ok(());
        }
        if let Ok(text) = String::from_utf8(event.body.to_vec()) {
            event.body = self.with_our_ports(text)?.into();
        }
        let bytes = event.to_bytes();
        self.links.get_mut(&gateway).context("not linked")?.send(&bytes).await
    }

    async fn asks(&mut self, record: &Record, expected: &[u8]) -> Result<()> {
        let gateway = self.capture.gateway(&record.name)?;
        let mut expected = packet(expected)?;
        let is_skipped = self.is_look_up() || self.has_no_call();
        if expected.command == Command::GatewayClientConnect || is_skipped {
            return Ok(()); // We say the key once on a connection, GatewayWorker each time.
        }
        if !self.questions.contains_key(&gateway) {
            let peer = Peer::accept(&self.gateways[gateway]).await?;
            self.questions.insert(gateway, peer);
        }
        let peer = self.questions.get_mut(&gateway).context("not asked")?;
        let mut got = packet(&peer.message(Cut::Packet).await?.context("no question")?)?;
        if got.command == Command::GatewayClientConnect {
            let key: Json = serde_json::from_slice(&got.body)?;
            ensure!(key["secret_key"] == self.case.secret, "a wrong key");
            got = packet(&peer.message(Cut::Packet).await?.context("no question")?)?;
        }
        expected.ext = canonical(&expected.ext);
        let mut got = self.with_captured_ports(got)?;
        got.ext = canonical(&got.ext);
        if expected.command == Command::Select && got.command == Command::Select {
            let selects = [&expected.ext, &got.ext].map(|ext| serde_json::from_slice::<Json>(ext));
            let [Ok(captured), Ok(ours)] = selects else { bail!("no selects") };
            let fields = |select: &Json| select["fields"].as_array().cloned().unwrap_or_default();
            // It may select more, which gateways of PHP do not mind.
            ensure!(fields(&captured).iter().all(|field| fields(&ours).contains(field)), "{ours}");
            ensure!(captured["where"] == ours["where"], "{ours}, not {captured}");
            got.ext = expected.ext.clone();
        }
        self.compared += 1;
        compare(&record.place, &expected.to_bytes(), &got.to_bytes())
    }

    /// Does the captured business look whether its copy of the session is still right? Ours has no need to.
    fn is_look_up(&self) -> bool {
        let asks = [&b"\"api\":\"get"[..], b"\"api\":\"is"];
        let is_question =
            asks.iter().any(|ask| self.event.windows(ask.len()).any(|part| part == *ask));
        !is_question
    }

    /// Returns whether a `Hub` has no call for what the client wants: messages that are encoded already, and
    /// questions about several groups at once.
    fn has_no_call(&self) -> bool {
        let wants = |part: &[u8]| self.event.windows(part.len()).any(|window| window == part);
        wants(b"\"hex:") || wants(b"\"getClientIdListByGroup\",\"args\":[[")
    }

    fn port(&self, gateway: usize) -> Result<u16> {
        Ok(self.gateways[gateway].local_addr()?.port())
    }

    /// Puts our ports in place of the captured ones, in addresses and in ids of clients.
    fn with_our_ports(&self, mut text: String) -> Result<String> {
        let host: std::net::Ipv4Addr = self.case.host.parse()?;
        for gateway in 0..self.case.gateways {
            let (captured, ours) = (INNER_PORT + u16::try_from(gateway)?, self.port(gateway)?);
            text = text.replace(&format!("{host}:{captured}\""), &format!("{host}:{ours}\""));
            let id = |port: u16| format!("{:08x}{port:04x}", host.to_bits());
            text = text.replace(&id(captured), &id(ours));
        }
        Ok(text)
    }

    /// Puts the captured ids of clients in place of ours, and names as text.
    fn with_captured_ports(&self, mut packet: Packet) -> Result<Packet> {
        let host: std::net::Ipv4Addr = self.case.host.parse()?;
        if let Ok(mut text) = String::from_utf8(packet.body.to_vec()) {
            for gateway in 0..self.case.gateways {
                let id = |port: u16| format!("{:08x}{port:04x}", host.to_bits());
                let captured = INNER_PORT + u16::try_from(gateway)?;
                text = text.replace(&id(self.port(gateway)?), &id(captured));
            }
            packet.body = text.into();
        }
        Ok(packet)
    }
}

/// Returns what counts of a peer's first words: its key, and whether it has a name. Ours says more.
fn introduction(json: &[u8]) -> Result<Vec<u8>> {
    let json: Json = serde_json::from_slice(json)?;
    let name = json["worker_key"].as_str().map(|key| !key.is_empty());
    let key = json["secret_key"].as_str().context("no key")?;
    Ok(format!("{} {name:?} {key}", json["event"]).into_bytes())
}

/// Puts into a packet's JSON what PHP may say as a number and ours says as text, and an array as its JSON.
fn as_text(expected: &mut Packet) -> Result<()> {
    if expected.command == Command::Kick {
        return Ok(());
    }
    if expected.flags & flags::SCALAR == 0 {
        expected.body = serde_json::to_string(&unserialize(&expected.body)?)?.into();
        expected.flags |= flags::SCALAR;
    }
    if matches!(expected.command, Command::SendToUid | Command::SendToGroup) {
        expected.ext = canonical(&expected.ext);
    }
    Ok(())
}

/// Returns JSON with its lists sorted, and numbers in them as text.
pub(crate) fn canonical(ext: &bytes::Bytes) -> bytes::Bytes {
    fn visit(json: &mut Json) {
        match json {
            Json::Array(list) => {
                for item in &mut *list {
                    match item {
                        Json::Number(number) => *item = Json::String(number.to_string()),
                        other => visit(other),
                    }
                }
                // Fields to select: in the answer, each has its name.
                list.sort_by_key(Json::to_string);
            }
            Json::Object(fields) => fields.values_mut().for_each(visit),
            _ => {}
        }
    }
    match serde_json::from_slice::<Json>(ext) {
        Ok(mut json) if json.is_array() || json.is_object() => {
            visit(&mut json);
            json.to_string().into()
        }
        _ => ext.clone(),
    }
}
