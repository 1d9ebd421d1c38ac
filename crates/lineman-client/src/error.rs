//! What can go wrong, with the peer it concerns.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lineman_wire::link::{self, Incomplete};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A register cannot be reached, or the connection broke.
    #[error("register {address}: {source}")]
    Register {
        /// As it was configured.
        address: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The name of a register cannot be resolved.
    #[error("register {address}: the name cannot be resolved: {source}")]
    Name {
        /// As it was configured.
        address: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A register did not take a connection, or gave no answer, in time.
    #[error("register {address} did not {step} within {} s", .limit.as_secs_f64())]
    RegisterTimeout {
        /// As it was configured.
        address: String,
        /// What we waited for.
        step: LateStep,
        /// How long we waited.
        limit: Duration,
    },
    /// A register said something else than a list of gateways, or has closed.
    #[error("register {address} gave no list of gateways (hint: is the secret key right?)")]
    NoList {
        /// As it was configured.
        address: String,
    },
    /// A register of ours has said why it does not take us: another cluster, a wrong key.
    #[error("register {address} refuses: {reason}")]
    RegisterRefused {
        /// As it was configured.
        address: String,
        /// In the register's words.
        reason: String,
    },
    /// A register does not list gateways that are there, or should be.
    #[error("register {address} does not list {}", listed(.missing))]
    Unlisted {
        /// As it was configured.
        address: String,
        /// Those that it lacks.
        missing: Vec<SocketAddr>,
    },
    /// None of several registers gave a list.
    #[error("no register gave a list of gateways: {}", joined(.problems))]
    NoRegister {
        /// What each said.
        problems: Vec<Error>,
    },
    /// A gateway cannot be reached, or the connection broke.
    #[error("gateway {gateway}: {source}")]
    Gateway {
        /// Which one.
        gateway: SocketAddr,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A gateway did not take a connection or a command, or gave no answer, in time.
    #[error("gateway {gateway} did not {step} within {} s", .limit.as_secs_f64())]
    Timeout {
        /// Which one.
        gateway: SocketAddr,
        /// What we waited for.
        step: LateStep,
        /// How long we waited.
        limit: Duration,
    },
    /// A gateway did not answer a moment ago: it was not tried again so soon.
    #[error("gateway {gateway} did not answer {} s ago", .since.as_secs())]
    Silent {
        /// Which one.
        gateway: SocketAddr,
        /// How long ago we gave up.
        since: Duration,
    },
    /// A gateway does not take us: another cluster, a wrong key. One of PHP's closes the connection without a
    /// word.
    #[error("gateway {gateway} refuses: {reason}")]
    Refused {
        /// Which one.
        gateway: SocketAddr,
        /// In the gateway's words, or ours if it gave none.
        reason: String,
    },
    /// A gateway's answer is longer than any that is waited for.
    #[error("gateway {gateway} has an answer of more than {limit} bytes")]
    AnswerTooLong {
        /// Which one.
        gateway: SocketAddr,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A gateway's answer cannot be read, or is of another kind than the question asks for.
    #[error("gateway {gateway} gave an answer of no use: {source}")]
    Reply {
        /// Which one.
        gateway: SocketAddr,
        /// What is wrong.
        source: link::Error,
    },
    /// Some gateways did not take a command, and the others did; or the answers of all were wanted.
    #[error(transparent)]
    Incomplete(#[from] Incomplete<Error>),
    /// The caller: TLS of links cannot be as it is set.
    #[error("link_tls: {0}")]
    LinkTls(String),
    /// The caller: what was to be sent is too long.
    #[error(transparent)]
    TooLong(link::Error),
    /// The caller: a session that is no struct or map, or that PHP's format cannot express; or one that was
    /// read does not fit the type.
    #[error("session: {0}")]
    Session(link::Error),
    /// The caller: a uid or a group without a name; `0` is none either.
    #[error("a uid or group must not be empty or \"0\"")]
    EmptyName,
}

/// What a peer let the time pass for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateStep {
    /// To take a connection: its machine is off, or something between drops what we send.
    Connect,
    /// To answer, or to take what we send: it hangs, or has vanished.
    Answer,
}

impl fmt::Display for LateStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connect => "take a connection",
            Self::Answer => "answer",
        })
    }
}

impl Error {
    /// Returns the gateway that it is about; `None` if it is about none, or several.
    pub fn gateway(&self) -> Option<SocketAddr> {
        match self {
            Self::Gateway { gateway, .. }
            | Self::Timeout { gateway, .. }
            | Self::Silent { gateway, .. }
            | Self::Refused { gateway, .. }
            | Self::AnswerTooLong { gateway, .. }
            | Self::Reply { gateway, .. } => Some(*gateway),
            _ => None,
        }
    }

    /// Returns whether a peer let the time pass.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::RegisterTimeout { .. })
    }
}

/// Returns whether the operating system says that the time has passed; a socket says it in two ways.
pub(crate) fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// Returns whether the peer has ended the connection; it resets one that it has not read to its end.
pub(crate) fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::UnexpectedEof | Kind::ConnectionReset | Kind::BrokenPipe)
}

fn joined(problems: &[Error]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn listed(gateways: &[SocketAddr]) -> String {
    gateways.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
