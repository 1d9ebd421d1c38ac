//! The numbers of the commands, in both directions.

use std::fmt;

/// Defines the enum, the numbers and the names from one table.
macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// What a packet is about: `GatewayWorker`'s commands and Lineman's extension.
        ///
        /// Extension commands are sent only to a peer that offered the extension itself.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Command {
            $($(#[$doc])* $name,)*
            /// A number that is not known here; PHP ignores such packets.
            ///
            /// Invariant: never one of the numbers above; `Command::from` sees to it.
            Unknown(u8),
        }

        impl Command {
            /// Every command with a number of its own.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the number on the wire.
            pub fn number(self) -> u8 {
                match self {
                    $(Self::$name => $number,)*
                    Self::Unknown(number) => number,
                }
            }
        }

        impl From<u8> for Command {
            fn from(number: u8) -> Self {
                match number {
                    $($number => Self::$name,)*
                    number => Self::Unknown(number),
                }
            }
        }

        impl fmt::Debug for Command {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => formatter.write_str(stringify!($name)),)*
                    Self::Unknown(number) => write!(formatter, "Unknown({number})"),
                }
            }
        }
    };
}

commands! {
    /// Gateway → business: a client has connected; its handshake is yet to come.
    OnConnect = 1,
    /// Gateway → business: a message of a client.
    OnMessage = 3,
    /// Gateway → business: a client is gone.
    OnClose = 4,
    /// → gateway: send the body to one client.
    SendToOne = 5,
    /// → gateway: send the body to all clients, or as the ext data says.
    SendToAll = 6,
    /// → gateway: send the body, if there is one, then close the client.
    Kick = 7,
    /// → gateway: close the client at once.
    Destroy = 8,
    /// → gateway: merge the ext data into the client's session.
    UpdateSession = 9,
    /// Query: the sessions of all clients.
    GetAllClientSessions = 10,
    /// Query: is the client connected?
    IsOnline = 11,
    /// → gateway: bind a uid to the client.
    BindUid = 12,
    /// → gateway: take the client's uid away.
    UnbindUid = 13,
    /// → gateway: send the body to every client of the uids.
    SendToUid = 14,
    /// Query: the clients of a uid.
    GetClientIdByUid = 15,
    /// Query: the clients of several uids.
    BatchGetClientIdByUid = 16,
    /// → gateway: add the client to a group.
    JoinGroup = 20,
    /// → gateway: take the client out of a group.
    LeaveGroup = 21,
    /// → gateway: send the body to the clients of groups.
    SendToGroup = 22,
    /// Query: the sessions of a group's clients.
    GetClientSessionsByGroup = 23,
    /// Query: how many clients are in a group, or at all.
    GetClientCountByGroup = 24,
    /// Query: chosen properties of chosen clients.
    Select = 25,
    /// Query: the names of all groups.
    GetGroupIdList = 26,
    /// → gateway: dissolve a group.
    Ungroup = 27,
    /// Query: how many clients are in each of several groups.
    BatchGetClientCountByGroup = 28,
    /// Extension, gateway → business: the answer to a `WORKER_CONNECT` with `lineman`; the body is
    /// JSON, `{"lineman":1,"epoch":"…"}`.
    Hello = 120,
    /// Extension, gateway → business: this client is yours from now on; ext data as of an event.
    Adopt = 121,
    /// Extension, business → gateway: send no more events to this link.
    Drain = 122,
    /// Extension, gateway → business: the answer to `Drain`, no event follows.
    Fence = 123,
    /// Extension, business → gateway: answer when everything before this has been applied.
    Sync = 124,
    /// Extension, gateway → business: the answer to `Sync`.
    Synced = 125,
    /// Extension, business → gateway: all this business sent has been applied, so its clients can
    /// go to other businesses.
    Release = 126,
    /// Extension, business → gateway: how many events of this link have been handled so far, in
    /// the field of the connection id; the number wraps.
    Handled = 127,
    /// Extension 2, business → gateway: events of one client that have been handled since the last
    /// such packet about it; the body is their number and their bytes on the wire, a u32 each.
    Credit = 128,
    /// Extension 2, query: a part of the answer to another query, whose command is the body and whose ext
    /// data is this one's; the part begins behind the client of the connection id.
    Page = 129,
    /// Extension 2, business → gateway: its loop goes on; how many events of this link it has dealt with so
    /// far, whether or not what came of them has left, in the field of the connection id; the number wraps.
    Alive = 130,
    /// Extension 2, business → gateway: what each client may have unhandled from now on; the body is a
    /// number of events and one of bytes on the wire, a u32 each.
    Share = 131,
    /// Extension 3, both ways: say something; a gateway answers with `Ping`, a business with `Alive`.
    Probe = 138,
    /// Extension 3, gateway → business: the peer is refused and its connection closed; the body says why.
    Refused = 140,
    /// Extension 3, business → gateway: the answer to `Hello`: what became of clients of this run of the gateway
    /// while there was no link. The body has connection ids, a u32 each: first those that were kept, as many as the
    /// packet's connection id says, then those whose end was told.
    Kept = 135,
    /// Extension 3, gateway → business: this client of its own is connected, and another business has told its
    /// end; ext data as of an event.
    Returned = 136,
    /// Extension 3, gateway → business: this client of its own is gone, and another business has told its end.
    Forget = 137,
    /// Extension 3, gateway → business: clients of the business whose key is the ext data; should it and this
    /// gateway both die, the receiver tells their end. A connection id of 1 says that these are all.
    Witness = 160,
    /// Extension 3, business → gateway → business: a note to the business whose key is the ext data; the second
    /// gets it with the key of the first.
    Relay = 161,
    /// Extension 3, gateway → business: which uids and groups it has clients of, see
    /// [`HeldNames`](super::HeldNames).
    HeldNames = 142,
    /// Extension 3, both ways: answer with `Settled` and the same number, in the field of the connection id; a
    /// gateway when every business knows the names of all that was bound on this link before, a business when
    /// it knows what the gateway has told before.
    Settle = 143,
    /// Extension 3, both ways: the answer to `Settle`, and to those with lower numbers; the number wraps.
    Settled = 144,
    /// Extension 3, query: another query, whose command is the last byte of the body; the answer says as well
    /// how much of [`HeldNames`](super::HeldNames) it has seen.
    Stamped = 145,
    /// Extension 5, business → gateway: change fields of the client's session; the ext data are the fields that are set.
    /// The body has two numbers of four bytes, the version of the session that was changed and that of the write, and a
    /// PHP-serialized list of the keys that are gone.
    PatchSession = 146,
    /// Business → gateway: the first packet of a business link.
    WorkerConnect = 200,
    /// Gateway → business: keeps the link busy; there is no answer.
    Ping = 201,
    /// Client → gateway: a key, before every other packet.
    GatewayClientConnect = 202,
    /// Query: the session of one client.
    GetSessionByClientId = 203,
    /// → gateway: replace the client's session.
    SetSession = 204,
    /// Gateway → business: the head of a client's websocket handshake.
    OnWebSocketConnect = 205,
}
