//! The parameters of permessage-deflate, offered, answered and checked (RFC 7692, 5.1 and 7.1).
//!
//! The handshakes call it with what they read. An offer that is wrong is declined, never repaired; an
//! answer that is wrong fails the connection.

use std::fmt::Write;

use super::{Agreement, Deflate, LEAST_WINDOW_BITS, MOST_WINDOW_BITS, Side};
use crate::websocket::{Extensions, handshake::Extension};

const NAME: &str = "permessage-deflate";

/// The parameters of one offer or answer, each at most once.
#[derive(Debug, Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: ClientBits,
}

/// The one parameter that may stand with and without a value.
#[derive(Debug, Default, PartialEq, Eq)]
enum ClientBits {
    /// It does not stand there: the client cannot be bounded.
    #[default]
    Absent,
    /// It stands there without a value: the client lets itself be bounded.
    Any,
    AtMost(u8),
}

impl Parameters {
    /// Returns `None` for a parameter that is unknown, doubled, or has a value it cannot have.
    fn parse(extension: &Extension<'_>) -> Option<Self> {
        let mut parsed = Self::default();
        for (name, value) in &extension.parameters {
            let value = value.as_deref();
            let is_new = match *name {
                "server_no_context_takeover" if value.is_none() => {
                    !std::mem::replace(&mut parsed.server_no_context_takeover, true)
                }
                "client_no_context_takeover" if value.is_none() => {
                    !std::mem::replace(&mut parsed.client_no_context_takeover, true)
                }
                "server_max_window_bits" => {
                    parsed.server_max_window_bits.replace(window_bits(value?)?).is_none()
                }
                "client_max_window_bits" => {
                    let bits = match value {
                        Some(value) => ClientBits::AtMost(window_bits(value)?),
                        None => ClientBits::Any,
                    };
                    let before = std::mem::replace(&mut parsed.client_max_window_bits, bits);
                    before == ClientBits::Absent
                }
                _ => false,
            };
            if !is_new {
                return None;
            }
        }
        Some(parsed)
    }
}

/// Parses 8 to 15, without leading zeros (7.1.2.1).
fn window_bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok().filter(|bits| (8..=MOST_WINDOW_BITS).contains(bits))?;
    (value == bits.to_string()).then_some(bits)
}

/// Chooses the first offer that can be accepted, and returns the header's value that says so.
pub(crate) fn answer_to(
    offers: &[Extension<'_>],
    deflate: &Deflate,
) -> Option<(String, Extensions)> {
    let deflates = offers.iter().filter(|offer| offer.name == NAME);
    let agreement = |offer: Parameters| {
        let asked = offer.server_max_window_bits.unwrap_or(MOST_WINDOW_BITS);
        let server = Side {
            takeover: deflate.server.takeover && !offer.server_no_context_takeover,
            window_bits: asked.min(deflate.server.window_bits),
        };
        let client = Side {
            takeover: deflate.client.takeover && !offer.client_no_context_takeover,
            // A client that did not offer to be bounded must not be (7.1.2.2).
            window_bits: match offer.client_max_window_bits {
                ClientBits::Absent => MOST_WINDOW_BITS,
                ClientBits::Any => deflate.client.window_bits,
                ClientBits::AtMost(bits) => bits.min(deflate.client.window_bits),
            },
        };
        let bounds_server =
            server.window_bits < MOST_WINDOW_BITS || offer.server_max_window_bits.is_some();
        // zlib cannot deflate with the smallest of all windows.
        (server.window_bits >= LEAST_WINDOW_BITS).then(|| {
            (
                answer(server, client, bounds_server),
                Extensions::with_deflate(Agreement { server, client }),
            )
        })
    };
    deflates.filter_map(Parameters::parse).find_map(agreement)
}

fn answer(server: Side, client: Side, bounds_server: bool) -> String {
    let mut answer = NAME.to_owned();
    if !server.takeover {
        answer.push_str("; server_no_context_takeover");
    }
    if !client.takeover {
        answer.push_str("; client_no_context_takeover");
    }
    if bounds_server {
        push_bits(&mut answer, "server_max_window_bits", server.window_bits);
    }
    if client.window_bits < MOST_WINDOW_BITS {
        push_bits(&mut answer, "client_max_window_bits", client.window_bits);
    }
    answer
}

/// Returns the header's value by which a client offers; it always lets itself be bounded.
pub(crate) fn offer(deflate: &Deflate) -> String {
    let mut offer = NAME.to_owned();
    if !deflate.server.takeover {
        offer.push_str("; server_no_context_takeover");
    }
    if !deflate.client.takeover {
        offer.push_str("; client_no_context_takeover");
    }
    if deflate.server.window_bits < MOST_WINDOW_BITS {
        push_bits(&mut offer, "server_max_window_bits", deflate.server.window_bits);
    }
    if deflate.client.window_bits < MOST_WINDOW_BITS {
        push_bits(&mut offer, "client_max_window_bits", deflate.client.window_bits);
    } else {
        offer.push_str("; client_max_window_bits");
    }
    offer
}

/// Returns what a server's answer to [`offer`] agrees on, or `None` if it is no answer to it.
pub(crate) fn check_answer(
    accepted: &[Extension<'_>],
    offered: Option<&Deflate>,
) -> Option<Extensions> {
    let extension = match accepted {
        [] => return Some(Extensions::NONE),
        [one] if one.name == NAME => one,
        _ => return None,
    };
    let (offered, answer) = (offered?, Parameters::parse(extension)?);
    let server_bits = answer.server_max_window_bits.unwrap_or(MOST_WINDOW_BITS);
    let client_bits = match answer.client_max_window_bits {
        ClientBits::Absent => offered.client.window_bits,
        // In an answer it has a value (7.1.2.2).
        ClientBits::Any => return None,
        ClientBits::AtMost(bits) => bits,
    };
    let keeps_takeover = offered.server.takeover || answer.server_no_context_takeover;
    if !keeps_takeover
        || server_bits > offered.server.window_bits
        || client_bits > offered.client.window_bits
    {
        return None;
    }
    let server = Side { takeover: !answer.server_no_context_takeover, window_bits: server_bits };
    let takeover = offered.client.takeover && !answer.client_no_context_takeover;
    let client = Side { takeover, window_bits: client_bits };
    Some(Extensions::with_deflate(Agreement { server, client }))
}

fn push_bits(out: &mut String, name: &str, bits: u8) {
    // Writing to a String cannot fail.
    let _infallible = write!(out, "; {name}={bits}");
}
