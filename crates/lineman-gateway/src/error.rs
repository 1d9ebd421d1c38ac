//! What can go wrong when code reaches for clients, grouped by cause.

use std::net::SocketAddr;
use std::time::Duration;

use lineman_wire::link;

/// Why something was not sent, or not answered.
///
/// Sending functions return it boxed: `error.is::<HubError>()`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The caller: a uid or a group without a name; `0` is none either, as in `GatewayWorker`.
    #[error("a uid or group must not be empty or \"0\"")]
    EmptyName,
    /// The caller: a message that has no form in JSON.
    #[error("message has no form in json: {0}")]
    Message(#[from] serde_json::Error),
    /// The caller: a session that is no struct or map, or that PHP's format cannot express; or one
    /// that was read does not fit the type.
    #[error("session: {0}")]
    Session(link::Error),
    /// The caller: a message that is too long for the cluster's protocol.
    #[error("packet of {length} bytes is longer than the limit of {limit}")]
    TooLong {
        /// What it would have on the wire.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The gateway takes less than we send; nothing was queued.
    #[error("link to gateway {gateway} is full: it reads more slowly than we send")]
    Full {
        /// Which one.
        gateway: SocketAddr,
    },
    /// There is no link to the gateway at the moment.
    #[error("no link to gateway {gateway}")]
    Unlinked {
        /// Which one.
        gateway: SocketAddr,
    },
    /// The gateway did not answer in time.
    #[error("gateway {gateway} did not answer within {} s", .limit.as_secs_f64())]
    Timeout {
        /// Which one.
        gateway: SocketAddr,
        /// How long it may be silent.
        limit: Duration,
    },
    /// The gateway did not answer a question in time, and has said nothing since: it was not waited for, or not
    /// for long.
    #[error("gateway {gateway} has not answered for {} s", .since.as_secs())]
    Silent {
        /// Which one.
        gateway: SocketAddr,
        /// How long ago the question was asked.
        since: Duration,
    },
    /// The connection to the gateway ended before the answer.
    #[error("gateway {gateway} did not answer: {problem}")]
    Lost {
        /// Which one.
        gateway: SocketAddr,
        /// How the connection ended.
        problem: String,
    },
    /// Too many questions wait for the gateway's answers.
    #[error("gateway {gateway} owes {pending} answers already")]
    Busy {
        /// Which one.
        gateway: SocketAddr,
        /// How many questions wait.
        pending: usize,
    },
    /// The gateway's answer is longer than any that is waited for.
    #[error("gateway {gateway} has an answer of more than {limit} bytes")]
    AnswerTooLong {
        /// Which one.
        gateway: SocketAddr,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The gateway's answer cannot be read, or is of another kind than the question asks for.
    #[error("gateway {gateway} gave an answer of no use: {source}")]
    Reply {
        /// Which one.
        gateway: SocketAddr,
        /// What is wrong with it.
        source: link::Error,
    },
    /// The caller wanted the answers of all gateways ([`Answers::complete`]), and some are missing.
    ///
    /// [`Answers::complete`]: lineman_wire::link::Answers::complete
    #[error(transparent)]
    Incomplete(#[from] link::Incomplete<HubError>),
}
