//! The lines between a register and its gateways and businesses: one JSON object each.
//!
//! The register calls it, and businesses and clients that look for gateways. It never cuts lines
//! out of a stream; `text` does.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Serialize;
use serde_json::Value;

use super::event::reason;
use super::{Secret, json};

/// A line, without its end.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Line {
    /// Gateway → register: businesses can reach me there.
    GatewayConnect {
        /// `IP:PORT` of the gateway's inner listener.
        address: String,
        /// The cluster's key.
        secret_key: Secret,
        /// Extension: names this run of the gateway, as [`Hello`](super::Hello) does; PHP says none.
        epoch: Option<String>,
        /// Extension 3: the version the gateway speaks; PHP has none.
        lineman: Option<u32>,
        /// Extension 3: it was told to announce this address, whatever address it comes from.
        explicit: bool,
    },
    /// Business or client → register: tell me the gateways.
    WorkerConnect {
        /// The cluster's key.
        secret_key: Secret,
        /// Extension: the version that the peer speaks; PHP has none.
        lineman: Option<u32>,
    },
    /// Any peer → register: keeps the connection busy. Extension 3, register → gateway: say this, too.
    Ping,
    /// Extension, register → peer that offered it: the peer is entered, or its ping has come.
    Alive {
        /// The version that the register speaks.
        lineman: u32,
    },
    /// Register → business: these are all gateways there are.
    BroadcastAddresses {
        /// `IP:PORT` of each.
        addresses: Vec<String>,
        /// Extension: the epoch of those that said one, by address; empty toward PHP.
        epochs: BTreeMap<String, String>,
    },
    /// Extension 3, register → peer: you are refused, and the connection ends.
    Refused {
        /// Why.
        reason: String,
        /// Another gateway that lives has announced the same address.
        address_taken: bool,
    },
    /// Extension 3, register → peer: something is odd about you, though you are taken.
    Notice {
        /// What.
        text: String,
    },
}

/// Why a line was refused. The line itself is not shown: it may hold the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer's line is no JSON, or has no event; a register answers with a line of text that
    /// begins with "Bad request for Register service", and closes.
    #[error("register line is no json object with an event")]
    Malformed,
    /// The peer's event is not known; a register closes without an answer.
    #[error("unknown register event {0:?}")]
    UnknownEvent(String),
    /// A gateway came without its address; a register closes without an answer.
    #[error("gateway_connect without an address")]
    MissingAddress,
    /// A register broadcasts something else than a list of addresses.
    #[error("broadcast_addresses without a list of addresses")]
    MissingAddresses,
    /// A register says something to people, and no text is there.
    #[error("a register's word without a text")]
    MissingText,
}

#[derive(Serialize)]
struct Broadcast<'a> {
    event: &'static str,
    addresses: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    epochs: &'a BTreeMap<String, String>,
}

impl Line {
    /// Reads a line; its end, `\n` or `\r\n`, may be cut off already or not.
    ///
    /// # Errors
    /// The line is none of these.
    pub fn parse(line: &[u8]) -> Result<Self, Error> {
        let line: Value = serde_json::from_slice(line).map_err(|_| Error::Malformed)?;
        let event = text(&line, "event").filter(present).ok_or(Error::Malformed)?;
        let shown = |name| text(&line, name).unwrap_or_default();
        let secret_key = || Secret::of_peer(shown("secret_key"), shown("cluster"));
        let said = |name| line.get(name)?.as_str().map(|text| reason(text.as_bytes()));
        let is_true = |name| line.get(name) == Some(&Value::Bool(true));
        match event.as_str() {
            "gateway_connect" => {
                let address = text(&line, "address").filter(present);
                let address = address.ok_or(Error::MissingAddress)?;
                let epoch = text(&line, "epoch").filter(present);
                let (secret_key, lineman) = (secret_key(), version(&line));
                let explicit = is_true("explicit");
                Ok(Self::GatewayConnect { address, secret_key, epoch, lineman, explicit })
            }
            "worker_connect" => {
                Ok(Self::WorkerConnect { secret_key: secret_key(), lineman: version(&line) })
            }
            "ping" => Ok(Self::Ping),
            "alive" => Ok(Self::Alive { lineman: version(&line).unwrap_or_default() }),
            "broadcast_addresses" => {
                let addresses = addresses(line.get("addresses")).ok_or(Error::MissingAddresses)?;
                Ok(Self::BroadcastAddresses { addresses, epochs: epochs(line.get("epochs")) })
            }
            "refused" => {
                let reason = said("reason").ok_or(Error::MissingText)?;
                Ok(Self::Refused { reason, address_taken: is_true("address_taken") })
            }
            "notice" => Ok(Self::Notice { text: said("text").ok_or(Error::MissingText)? }),
            _ => Err(Error::UnknownEvent(event)),
        }
    }

    /// Returns the line as `GatewayWorker` writes it, without its end.
    ///
    /// Keys are put into JSON properly; `GatewayWorker` does not escape them, which makes no
    /// difference to a key without quotes, backslashes and control characters.
    pub fn encode(&self) -> String {
        match self {
            Self::GatewayConnect { address, secret_key, epoch, lineman, explicit } => format!(
                r#"{{"event":"gateway_connect", "address":{}, "secret_key":{}{}{}{}{}}}"#,
                quoted(address),
                quoted(secret_key.expose()),
                field("lineman", *lineman),
                field("cluster", secret_key.cluster_name().map(quoted)),
                field("epoch", epoch.as_deref().map(quoted)),
                field("explicit", explicit.then_some(true)),
            ),
            Self::WorkerConnect { secret_key, lineman } => format!(
                r#"{{"event":"worker_connect","secret_key":{}{}{}}}"#,
                quoted(secret_key.expose()),
                field("lineman", *lineman),
                field("cluster", secret_key.cluster_name().map(quoted)),
            ),
            Self::Ping => r#"{"event":"ping"}"#.to_owned(),
            Self::Alive { lineman } => format!(r#"{{"event":"alive","lineman":{lineman}}}"#),
            Self::BroadcastAddresses { addresses, epochs } => {
                json::to_string(&Broadcast { event: "broadcast_addresses", addresses, epochs })
            }
            Self::Refused { reason, address_taken } => format!(
                r#"{{"event":"refused","reason":{},"address_taken":{address_taken}}}"#,
                quoted(reason)
            ),
            Self::Notice { text } => format!(r#"{{"event":"notice","text":{}}}"#, quoted(text)),
        }
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Returns a field behind others, or nothing; PHP reads past the ones that it does not know.
fn field(name: &str, value: Option<impl Display>) -> String {
    value.map_or_else(String::new, |value| format!(r#","{name}":{value}"#))
}

/// Returns the version of the extension that the peer speaks.
fn version(line: &Value) -> Option<u32> {
    line.get("lineman")?.as_u64()?.try_into().ok()
}

/// Returns a field as text.
fn text(line: &Value, name: &str) -> Option<String> {
    match line.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The opposite of PHP's `empty`.
fn present(text: &String) -> bool {
    !text.is_empty() && text != "0"
}

/// Reads the addresses; an object comes about when the register dropped a duplicate.
fn addresses(list: Option<&Value>) -> Option<Vec<String>> {
    let address = |value: &Value| value.as_str().map(ToOwned::to_owned);
    match list? {
        Value::Array(values) => values.iter().map(address).collect(),
        Value::Object(entries) => entries.values().map(address).collect(),
        _ => None,
    }
}

/// Reads the epochs; what is no text is left out, as they only hasten what is found otherwise.
fn epochs(map: Option<&Value>) -> BTreeMap<String, String> {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    let epoch =
        |(address, epoch): (&String, &Value)| Some((address.clone(), epoch.as_str()?.to_owned()));
    entries.filter_map(epoch).collect()
}
