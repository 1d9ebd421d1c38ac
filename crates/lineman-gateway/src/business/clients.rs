//! The clients of this process: one event of each at a time, the others wait in order.
//!
//! Knows neither sockets nor handlers: [`super::packets`] feeds it with events, [`super::run`] runs
//! what it returns. An event is in one of three places: waiting in its client's queue, running, or
//! done.

mod of_gateway;

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use lineman_wire::link::{self, Allowance, ClientId, SessionForm};
use lineman_wire::websocket::Message;
use rustc_hash::FxHashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fingerprint::Fingerprints;
use super::gateway::Report;
use super::session::{Session, SessionWrite};
use crate::Request;
use crate::cluster::gateway_of;
use crate::error::HubError;

/// Names one connection to a gateway in the life of this process.
pub(super) type LinkId = u64;

/// One event of one client.
pub(super) struct ClientEvent {
    /// The link it came over; for events made here, the one that was lost.
    pub(super) link: LinkId,
    /// The client, with the gateway's copy of its session.
    pub(super) client: link::Client,
    pub(super) work: Work,
    /// What it counts against the bound of waiting events, in bytes.
    pub(super) weight: usize,
}

/// What the handlers are to do.
#[derive(Debug)]
pub(super) enum Work {
    Connect,
    /// Its end was told, but it is connected.
    Return,
    WebSocketConnect(Request),
    Message(Message),
    Close,
    /// The client's gateway is dead; the event was made here, so it brings no session.
    Lost,
}

impl Work {
    /// Returns whether nothing can follow.
    pub(super) fn is_last(&self) -> bool {
        matches!(self, Self::Close | Self::Lost)
    }

    /// Returns when its gateway is to be told that it was dealt with.
    pub(super) fn report(&self) -> Report {
        match self {
            Self::Message(_) => Report::Soon,
            Self::Connect | Self::Return | Self::WebSocketConnect(_) | Self::Close | Self::Lost => {
                Report::Now
            }
        }
    }
}

/// What to do with an event that is due.
pub(super) enum Begin<S> {
    /// Run the handler with this session.
    Run(S),
    /// The client failed and is being closed: it gets no further event but the last.
    Skip,
    /// The session does not fit the handlers' type.
    Unreadable(HubError),
}

/// How a handler left its client.
pub(super) enum Outcome<S> {
    /// It returned `Ok`: the session counts.
    Handled(S),
    /// It failed; the session counts as it was: the gateway's copy, or what could not be written back was made of.
    Failed(Bytes),
    /// The client is gone.
    Closed,
}

/// All clients. `S` is the type of the sessions.
pub(super) struct ServedClients<S> {
    by_id: FxHashMap<ClientId, ServedClient<S>>,
    fingerprints: Fingerprints,
    /// What sessions hold in PHP's format, in bytes.
    session_bytes: Rc<Cell<usize>>,
    /// The number of the last write of a session.
    writes: u32,
    busy: usize,
    waiting: usize,
}

struct ServedClient<S> {
    ip: IpAddr,
    port: u16,
    gateway_port: u16,
    session: Session<S>,
    queue: VecDeque<ClientEvent>,
    state: Handling,
    /// What was handled and its gateway was not told yet.
    untold: Allowance,
    /// A handler failed, so the client is being closed.
    failed: bool,
    /// The link is lost, and whether the gateway is dead is not known: no event begins.
    held: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Handling {
    Idle,
    Busy,
    /// Busy, and its gateway has given the client to another business; it may give it back.
    Forgotten,
    /// Its last event is being handled.
    Ending,
    /// Its last event has been handled.
    Gone,
}

impl<S: Serialize + DeserializeOwned + Default + 'static> ServedClient<S> {
    fn new(
        client: &link::Client,
        fingerprints: &Fingerprints,
        session_bytes: &Rc<Cell<usize>>,
    ) -> Self {
        Self {
            ip: client.ip,
            port: client.port,
            gateway_port: client.gateway_port,
            session: Session::new(client, fingerprints, session_bytes),
            queue: VecDeque::new(),
            state: Handling::Idle,
            untold: Allowance::default(),
            failed: false,
            held: false,
        }
    }

    /// The client is ours, whatever was before.
    fn revive(&mut self) {
        if self.state == Handling::Forgotten {
            self.state = Handling::Busy;
        }
    }

    /// Returns whether its last event waits.
    fn is_to_end(&self) -> bool {
        self.queue.iter().any(|event| event.work.is_last())
    }

    /// Returns its next event, which is to begin now, unless one is running.
    fn begin_next(&mut self, busy: &mut usize, waiting: &mut usize) -> Option<ClientEvent> {
        let event = self.queue.pop_front_if(|_| self.state == Handling::Idle)?;
        self.state = Handling::Busy;
        *busy += 1;
        *waiting -= 1;
        Some(event)
    }

    /// Returns the last event of a client whose gateway cannot send it any more.
    fn lost(&self, id: ClientId, link: LinkId) -> ClientEvent {
        let (ip, port, gateway_port) = (self.ip, self.port, self.gateway_port);
        let (session, form) = (Bytes::new(), SessionForm::Whole);
        let client = link::Client { id, ip, port, gateway_port, session, form };
        ClientEvent { link, client, work: Work::Lost, weight: 0 }
    }
}

impl<S: Serialize + DeserializeOwned + Default + 'static> ServedClients<S> {
    pub(super) fn new() -> Self {
        Self {
            by_id: FxHashMap::default(),
            fingerprints: Fingerprints::default(),
            session_bytes: Rc::default(),
            writes: 0,
            busy: 0,
            waiting: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns how many bytes sessions hold in PHP's format.
    pub(super) fn session_bytes(&self) -> usize {
        self.session_bytes.get()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns whether no handler runs and no event waits.
    pub(super) fn is_idle(&self) -> bool {
        self.busy == 0 && self.waiting == 0
    }

    /// The gateway has given us a client that was another business's.
    pub(super) fn adopt(&mut self, client: &link::Client) {
        let fingerprints = &self.fingerprints;
        if let Some(served) = self.by_id.get_mut(&client.id) {
            served.revive();
            // To the gateway, nothing of it was under way here when it gave it to us.
            served.untold = Allowance::default();
            served.session.adopted(client, fingerprints);
        } else {
            let new = ServedClient::new(client, fingerprints, &self.session_bytes);
            self.by_id.insert(client.id, new);
        }
    }

    /// An event came. Returns it if it is to begin now; otherwise it waits its turn.
    pub(super) fn arrive(&mut self, event: ClientEvent) -> Option<ClientEvent> {
        let fingerprints = &self.fingerprints;
        let entry = self.by_id.entry(event.client.id);
        let new = || ServedClient::new(&event.client, fingerprints, &self.session_bytes);
        let served = entry.or_insert_with(new);
        served.revive();
        if served.state != Handling::Idle || served.held {
            served.queue.push_back(event);
            self.waiting += 1;
            return None;
        }
        served.state = Handling::Busy;
        self.busy += 1;
        Some(event)
    }

    /// An event is due: hands out its client's session.
    pub(super) fn begin(&mut self, event: &ClientEvent) -> Begin<S> {
        let Some(served) = self.by_id.get_mut(&event.client.id) else { return Begin::Skip };
        let last = event.work.is_last();
        if last {
            served.state = Handling::Ending;
        }
        if matches!(event.work, Work::Connect | Work::Return) {
            served.failed = false;
        }
        if !matches!(event.work, Work::Lost) {
            served.session.incoming(&event.client, &self.fingerprints);
        }
        if served.failed && !last {
            return Begin::Skip;
        }
        match served.session.take(&mut self.fingerprints) {
            Ok(session) => Begin::Run(session),
            // The application must hear that the client is gone; it never saw its session.
            Err(_) if last => Begin::Run(S::default()),
            Err(error) => Begin::Unreadable(error),
        }
    }

    /// A handler is done. Returns what of the session is to be written back.
    ///
    /// # Errors
    /// The session cannot be written.
    pub(super) fn end(
        &mut self,
        client: ClientId,
        outcome: Outcome<S>,
    ) -> Result<Option<SessionWrite>, HubError> {
        let Some(served) = self.by_id.get_mut(&client) else { return Ok(None) };
        match outcome {
            Outcome::Handled(session) => {
                // 0 stands for none.
                self.writes = self.writes.checked_add(1).unwrap_or(1);
                served.session.give(session, &mut self.fingerprints, self.writes)
            }
            Outcome::Failed(bytes) => {
                served.failed = true;
                served.session.discard(&bytes);
                Ok(None)
            }
            Outcome::Closed => {
                served.state = Handling::Gone;
                Ok(None)
            }
        }
    }

    /// An event of a client was dealt with.
    pub(super) fn handled(&mut self, client: ClientId, bytes: usize) {
        if let Some(served) = self.by_id.get_mut(&client) {
            served.untold.add(bytes);
        }
    }

    /// Takes what its gateway is to be told of a client: nothing as long as the client has half of its
    /// share left, so that most events cost no packet.
    pub(super) fn take_untold(&mut self, client: ClientId, share: Allowance) -> Option<Allowance> {
        let served = self.by_id.get_mut(&client)?;
        let half = Allowance { events: share.events.div_ceil(2), bytes: share.bytes.div_ceil(2) };
        served.untold.is_at(half).then(|| std::mem::take(&mut served.untold))
    }

    /// Returns the clients of a gateway of which it was not told all that was handled.
    pub(super) fn owed(&self, gateway: SocketAddr) -> Vec<ClientId> {
        let owed = |(&id, served): (&ClientId, &ServedClient<S>)| {
            (gateway_of(id) == gateway && served.untold.events > 0).then_some(id)
        };
        self.by_id.iter().filter_map(owed).collect()
    }

    /// A gateway could not be told.
    pub(super) fn untold(&mut self, client: ClientId, share: Allowance) {
        if let Some(served) = self.by_id.get_mut(&client) {
            served.untold.events = served.untold.events.saturating_add(share.events);
            served.untold.bytes = served.untold.bytes.saturating_add(share.bytes);
        }
    }

    /// Returns whether events of a client wait.
    pub(super) fn has_more(&self, client: ClientId) -> bool {
        self.by_id.get(&client).is_some_and(|served| !served.queue.is_empty())
    }

    /// Returns the event of a client that is due after one that has ended; its client stays busy.
    pub(super) fn next(&mut self, client: ClientId) -> Next {
        let Some(served) = self.by_id.get_mut(&client) else { return Next::default() };
        if served.state == Handling::Gone && !served.queue.is_empty() {
            // What came behind its end is about its next life.
            if let Some(event) = served.queue.front() {
                let (fingerprints, sum) = (&self.fingerprints, &self.session_bytes);
                served.session = Session::new(&event.client, fingerprints, sum);
            }
            (served.state, served.failed) = (Handling::Busy, false);
        }
        if matches!(served.state, Handling::Forgotten | Handling::Gone) {
            self.busy -= 1;
            let dropped = self.by_id.remove(&client).map(|served| served.queue).unwrap_or_default();
            self.waiting -= dropped.len();
            return Next { event: None, dropped: dropped.into() };
        }
        if !served.held
            && let Some(event) = served.queue.pop_front()
        {
            if served.queue.is_empty() {
                // An idle client owns no queue.
                served.queue = VecDeque::new();
            }
            self.waiting -= 1;
            return Next { event: Some(event), dropped: Vec::new() };
        }
        served.state = Handling::Idle;
        self.busy -= 1;
        Next::default()
    }
}

/// What follows an event.
#[derive(Default)]
pub(super) struct Next {
    /// The next one of the same client, which is to begin now.
    pub(super) event: Option<ClientEvent>,
    /// Events that will not be handled, for their client is not here any more.
    pub(super) dropped: Vec<ClientEvent>,
}

#[cfg(test)]
#[path = "clients_tests.rs"]
mod tests;
