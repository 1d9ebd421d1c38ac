//! `[[register]]`: the address book of a cluster.

use lineman_gateway::Register;

use super::service::address;
use super::{Effect, Setting, Takes};
use crate::draft::{DraftService, on_register};

/// Returns the address without what a start file of PHP has before it.
fn place(text: &str) -> &str {
    ["text://", "register://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text)
}

pub(super) const LISTEN: &[Setting] = &[Setting {
    key: "listen",
    takes: Takes::Checked(
        "host:port",
        |text| address(place(text)),
        |draft, text| {
            draft.service = Some(DraftService::Register(Register::listen(place(text))));
        },
    ),
    default: "",
    example: "\"127.0.0.1:1236\"",
    effect: Effect::Restart,
    php: "listen",
    help: "Where gateways and businesses find it. It has to be there.",
}];

pub(super) const REGISTER: &[Setting] = &[Setting {
    key: "silence_limit",
    takes: Takes::Duration(
        |draft, limit| on_register!(draft, register => register.silence_limit(limit)),
    ),
    default: "\"5s\"",
    example: "",
    effect: Effect::InPlace,
    php: "",
    help: "How long a peer may be connected before it has shown the key and said what it is; 0 is for ever.",
}];
