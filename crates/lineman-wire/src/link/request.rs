//! Whatever can arrive at a gateway, sorted by what it has to do with it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Command, Error, Login, Note, Order, Packet, Query};

/// A packet from a business or a client of the cluster to a gateway.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Request {
    /// The peer introduces itself.
    Login(Login),
    /// The peer wants something done; there is no answer.
    Order(Order),
    /// The peer wants to know something; there is one [`Reply`](super::Reply).
    Query(Query),
    /// The peer steers the link itself, by the extension.
    Control(Control),
    /// A command that is not for a gateway; to be ignored.
    Unknown(Command),
}

/// Commands of the extension from a business to a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Send no more events to this link; answered by [`Event::Fence`](super::Event::Fence).
    Drain,
    /// Answer with [`Event::Synced`](super::Event::Synced) when everything before is applied.
    Sync,
    /// Everything that this business sent has been applied: its clients can move.
    Release,
    /// How many events of this link have been handled so far, and all that came of them has left; the
    /// number wraps.
    Handled(u32),
    /// Version 2, each second while there are events, and in answer to [`Event::Probe`](super::Event::Probe): the
    /// loop goes on, and so many of them are dealt with, though what came of them may wait for another gateway; the
    /// number wraps.
    Alive(u32),
    /// Version 2: events of one client were handled, so that as much of it may come again.
    Credit {
        /// The client.
        connection_id: u32,
        /// What was handled since the last credit.
        share: Allowance,
    },
    /// Version 2: what each client may have unhandled from now on, at most what the gateway's
    /// [`Hello`](super::Hello) says.
    Share(Allowance),
    /// Version 3: say something, for it is in doubt whether this link still has another end; answered by
    /// [`Event::Ping`](super::Event::Ping).
    Probe,
    /// Version 3: passes a note on to another business.
    Relay(Note),
    /// Version 3, once, when the link opens: what became of clients of this run of the gateway while there was no
    /// link.
    Kept {
        /// The connection ids of those that were this business's, and whose end it has not told: the gateway has
        /// given them to others, so it does not any more.
        clients: Vec<u32>,
        /// Those whose end it has told, as the gateway seemed to be dead: its own, and those of businesses that
        /// seemed to be dead as well.
        ended: Vec<u32>,
    },
    /// Version 3: answer with [`Event::Settled`](super::Event::Settled) when every business knows the names of
    /// all that was bound on this link before.
    Settle(u32),
    /// Version 3: the entries before the gateway's `Settle` of that number are known here.
    Settled(u32),
}

/// Events of one client that are under way, or may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// How many events.
    pub events: u32,
    /// Their bytes on the wire, headers and sessions included.
    pub bytes: u32,
}

impl Allowance {
    /// Adds an event of that many bytes.
    pub fn add(&mut self, bytes: usize) {
        self.events = self.events.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Takes off what another one has.
    pub fn remove(&mut self, other: Self) {
        self.events = self.events.saturating_sub(other.events);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    /// Returns whether it is at a bound in events or in bytes.
    pub fn is_at(&self, bound: Self) -> bool {
        self.events >= bound.events || self.bytes >= bound.bytes
    }

    fn to_bytes(self) -> Bytes {
        Bytes::from([self.events.to_be_bytes(), self.bytes.to_be_bytes()].concat())
    }

    fn read(body: &[u8]) -> Option<Self> {
        let (events, rest) = body.split_first_chunk()?;
        let (bytes, _) = rest.split_first_chunk()?;
        let (events, bytes) = (u32::from_be_bytes(*events), u32::from_be_bytes(*bytes));
        Some(Self { events, bytes })
    }
}

impl Control {
    /// Reads [`Control::Credit`] or [`Control::Share`].
    fn of_allowance(packet: &Packet) -> Result<Self, Error> {
        let (command, connection_id) = (packet.command, packet.connection_id);
        let share = Allowance::read(&packet.body)
            .ok_or(Error::Shape { command, expected: "two numbers of four bytes" })?;
        Ok(match command {
            Command::Share => Self::Share(share),
            _ => Self::Credit { connection_id, share },
        })
    }
}

impl TryFrom<Packet> for Request {
    type Error = Error;

    /// # Errors
    /// The ext data or the body is not what the command wants.
    fn try_from(packet: Packet) -> Result<Self, Error> {
        use Command as C;
        match packet.command {
            C::WorkerConnect | C::GatewayClientConnect => packet.try_into().map(Self::Login),
            C::SendToOne
            | C::SendToAll
            | C::Kick
            | C::Destroy
            | C::UpdateSession
            | C::SetSession
            | C::PatchSession
            | C::BindUid
            | C::UnbindUid
            | C::SendToUid
            | C::JoinGroup
            | C::LeaveGroup
            | C::SendToGroup
            | C::Ungroup => packet.try_into().map(Self::Order),
            C::GetAllClientSessions
            | C::IsOnline
            | C::GetClientIdByUid
            | C::BatchGetClientIdByUid
            | C::GetClientSessionsByGroup
            | C::GetClientCountByGroup
            | C::Select
            | C::GetGroupIdList
            | C::BatchGetClientCountByGroup
            | C::GetSessionByClientId
            | C::Page
            | C::Stamped => packet.try_into().map(Self::Query),
            C::Drain => Ok(Self::Control(Control::Drain)),
            C::Sync => Ok(Self::Control(Control::Sync)),
            C::Release => Ok(Self::Control(Control::Release)),
            C::Probe => Ok(Self::Control(Control::Probe)),
            C::Handled => Ok(Self::Control(Control::Handled(packet.connection_id))),
            C::Alive => Ok(Self::Control(Control::Alive(packet.connection_id))),
            C::Settle => Ok(Self::Control(Control::Settle(packet.connection_id))),
            C::Settled => Ok(Self::Control(Control::Settled(packet.connection_id))),
            C::Credit | C::Share => Control::of_allowance(&packet).map(Self::Control),
            C::Relay => Note::read(&packet).map(|note| Self::Control(Control::Relay(note))),
            C::Kept => {
                let (ids, rest) = packet.body.as_chunks();
                let mut clients: Vec<u32> = ids.iter().copied().map(u32::from_be_bytes).collect();
                // The connection id is how many of them were kept.
                let kept = usize::try_from(packet.connection_id).unwrap_or(usize::MAX);
                if !rest.is_empty() || kept > clients.len() {
                    let (command, expected) = (packet.command, "numbers of four bytes");
                    return Err(Error::Shape { command, expected });
                }
                let ended = clients.split_off(kept);
                Ok(Self::Control(Control::Kept { clients, ended }))
            }
            C::OnConnect
            | C::OnMessage
            | C::OnClose
            | C::OnWebSocketConnect
            | C::Ping
            | C::Hello
            | C::Adopt
            | C::Fence
            | C::Synced
            | C::Refused
            | C::Returned
            | C::Forget
            | C::Witness
            | C::HeldNames
            | C::Unknown(_) => Ok(Self::Unknown(packet.command)),
        }
    }
}

impl From<Control> for Packet {
    fn from(control: Control) -> Self {
        match control {
            Control::Drain => Self::new(Command::Drain, 0),
            Control::Sync => Self::new(Command::Sync, 0),
            Control::Release => Self::new(Command::Release, 0),
            Control::Probe => Self::new(Command::Probe, 0),
            Control::Handled(events) => Self::new(Command::Handled, events),
            Control::Alive(events) => Self::new(Command::Alive, events),
            Control::Relay(note) => note.into_packet(),
            Control::Kept { clients, ended } => {
                let kept = u32::try_from(clients.len()).unwrap_or(u32::MAX);
                let body = clients.into_iter().chain(ended).flat_map(u32::to_be_bytes).collect();
                Self { body, ..Self::new(Command::Kept, kept) }
            }
            Control::Settle(number) => Self::new(Command::Settle, number),
            Control::Settled(number) => Self::new(Command::Settled, number),
            Control::Share(share) => {
                Self { body: share.to_bytes(), ..Self::new(Command::Share, 0) }
            }
            Control::Credit { connection_id, share } => {
                let body = share.to_bytes();
                Self { body, ..Self::new(Command::Credit, connection_id) }
            }
        }
    }
}

impl From<Request> for Packet {
    fn from(request: Request) -> Self {
        match request {
            Request::Login(login) => login.into(),
            Request::Order(order) => order.into(),
            Request::Query(query) => query.into(),
            Request::Control(control) => control.into(),
            Request::Unknown(command) => Self::new(command, 0),
        }
    }
}
