//! `[[gateway]]`: how clients come, how links to businesses are kept, and what one client may cost.

use lineman_gateway::{Gateway, Prefer, Router, SlowClient};

use super::service::address;
use super::takes::{ANY, something, to_usize};
use super::{Effect, Setting, Takes};
use crate::draft::{DraftService, on_gateway};

/// What clients can speak: the schemes, and the gateway for an address.
type Scheme = (&'static [&'static str], fn(&str) -> DraftService);

const SCHEMES: &[Scheme] = &[
    (&["websocket", "ws", "wss"], |address| DraftService::WebSocket(Gateway::websocket(address))),
    (&["frame", "framed"], |address| DraftService::Framed(Gateway::framed(address))),
    (&["tcp"], |address| DraftService::Tcp(Gateway::tcp(address))),
    (&["text"], |address| DraftService::Text(Gateway::text(address))),
];

/// Returns what clients speak, and the address.
fn parts(text: &str) -> Result<(&'static Scheme, &str), String> {
    let known = || {
        let names = SCHEMES.iter().filter_map(|(names, _)| names.first());
        names.map(|name| format!("{name}://")).collect::<Vec<_>>().join(", ")
    };
    let (scheme, address) = text.split_once("://").ok_or_else(|| {
        format!("{text:?} does not say what clients speak: write \"websocket://0.0.0.0:7272\" ({} are known)", known())
    })?;
    let scheme = scheme.to_ascii_lowercase();
    let found = SCHEMES.iter().find(|(names, _)| names.contains(&&*scheme));
    let found = found.ok_or_else(|| format!("{scheme:?} is not known: {} are", known()))?;
    Ok((found, address))
}

/// Returns the rule of this name.
fn router(text: &str) -> Result<Router, String> {
    match (text, text.split_once(':')) {
        ("least_busy", _) => Ok(Router::LeastBusy),
        ("random", _) => Ok(Router::Random),
        ("address", _) => Ok(Router::HashOfAddress),
        ("uid", _) => Ok(Router::HashOfUid),
        (_, Some(("query", name))) if !name.is_empty() => Ok(Router::HashOfQuery(name.to_owned())),
        _ => {
            Err(format!("{text:?} is no rule: least_busy, random, address, uid and query:NAME are"))
        }
    }
}

pub(super) const LISTEN: &[Setting] = &[Setting {
    key: "listen",
    takes: Takes::Checked(
        "address",
        |text| parts(text).and_then(|(_, place)| address(place)),
        |draft, text| draft.service = parts(text).ok().map(|((_, make), place)| make(place)),
    ),
    default: "",
    example: "\"websocket://0.0.0.0:7272\"",
    effect: Effect::Restart,
    php: "listen",
    help: "What clients speak, and where they connect: websocket:// (with `tls.certificate` that is wss), text:// (lines), \
           frame:// or tcp:// (bytes as they come), \
           then host:port, or unix:/path for a socket behind a proxy. It has to be there.",
}];

pub(super) const COUNT: &[Setting] = &[
    Setting {
        key: "count",
        takes: Takes::Number(1, 1024, |draft, count| {
            let count = usize::try_from(count).unwrap_or(1);
            on_gateway!(draft, gateway => gateway.count(count));
        }),
        default: "1",
        example: "",
        effect: Effect::Restart,
        php: "count",
        help: "How many processes it has.",
    },
    Setting {
        key: "per_core",
        takes: Takes::Number(1, 64, |draft, each| {
            let each = usize::try_from(each).unwrap_or(1);
            on_gateway!(draft, gateway => gateway.per_core(each));
        }),
        default: "",
        example: "1",
        effect: Effect::Restart,
        php: "",
        help: "How many processes it has for each core, in the place of `count`.",
    },
];

pub(super) const LINKS: &[Setting] = &[
    Setting {
        key: "link_ping_interval",
        takes: Takes::Duration(
            |draft, time| on_gateway!(draft, gateway => gateway.link_ping_interval(time)),
        ),
        default: "",
        example: "\"25s\"",
        effect: Effect::InPlace,
        php: "",
        help: "How often the link to each business is pinged; 0 is never. Default: 25 s, and never where `lan_ip` is \
               this machine alone.",
    },
    Setting {
        key: "link_timeout",
        takes: Takes::Duration(
            |draft, time| on_gateway!(draft, gateway => gateway.link_timeout(time)),
        ),
        default: "",
        example: "\"15s\"",
        effect: Effect::Restart,
        php: "",
        help: "How long the machine of a business may be unreachable before its clients move to another one; 0 is for \
               ever. Default: 15 s, and for ever where `lan_ip` is this machine alone. A restart, for the kernel watches \
               the links that are there by it.",
    },
    Setting {
        key: "partition_limit",
        takes: Takes::Duration(
            |draft, limit| on_gateway!(draft, gateway => gateway.partition_limit(limit)),
        ),
        default: "\"10m\"",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "How long it is reckoned with that a business whose link was lost is alive and only cut off; 0 is not at \
               all.",
    },
    Setting {
        key: "heirs",
        takes: Takes::Switch(|draft, on| {
            if !on {
                on_gateway!(draft, gateway => gateway.without_heirs());
            }
        }),
        default: "true",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "Whether another business runs onClose for the clients of a gateway and a business that die together. \
               Businesses in PHP have none.",
    },
    Setting {
        key: "prefer",
        takes: Takes::Choice(&["same_machine", "any"], |draft, prefer| {
            let prefer = if prefer == "any" { Prefer::Any } else { Prefer::SameMachine };
            on_gateway!(draft, gateway => gateway.prefer(prefer));
        }),
        default: "\"same_machine\"",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "Which businesses get new clients first.",
    },
    Setting {
        key: "router",
        takes: Takes::Checked(
            "least_busy, random, address, uid, query:NAME",
            |text| router(text).map(drop),
            |draft, text| {
                if let Ok(router) = router(text) {
                    on_gateway!(draft, gateway => gateway.router(router.clone()));
                }
            },
        ),
        default: "\"least_busy\"",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "Which business a client gets: the least busy one, any, or by a hash, so that all clients of one address, \
               of one uid (where their business leaves) or of one value in the query of the URL (`query:room`) have \
               the same. Another one counts for clients to come, and for those whose business leaves; of these the query is \
               not known any more.",
    },
    Setting {
        key: "pinned_to",
        takes: Takes::List("name", something, |draft, names| {
            on_gateway!(draft, gateway => names.iter().fold(gateway, Gateway::pinned_to));
        }),
        default: "",
        example: "\"ChatBusiness\"",
        effect: Effect::InPlace,
        php: "",
        help: "The names of the businesses that get clients here; a list for several. Default: all do. \
               Clients that are there stay where they are at a reload.",
    },
    Setting {
        key: "send_to_worker_buffer_size",
        takes: Takes::Size(|draft, bytes| {
            let bytes = to_usize(bytes);
            on_gateway!(draft, gateway => gateway.link_queue(bytes));
        }),
        default: "\"10MiB\"",
        example: "",
        effect: Effect::InPlace,
        php: "sendToWorkerBufferSize",
        help: "How much may wait to be sent to one business before its clients are not read; 64KiB at least. A \
               changed one is for businesses that connect from then on.",
    },
    Setting {
        key: "no_business_limit",
        takes: Takes::Duration(
            |draft, limit| on_gateway!(draft, gateway => gateway.no_business_limit(limit)),
        ),
        default: "\"30s\"",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "How long clients are held while no business is connected; then they are closed (1013). 0 is for ever.",
    },
    Setting {
        key: "stall_limit",
        takes: Takes::Duration(
            |draft, limit| on_gateway!(draft, gateway => gateway.stall_limit(limit)),
        ),
        default: "\"5s\"",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "How long a business may have events and give no sign before it gets no new clients; 0 is for ever.",
    },
    Setting {
        key: "abandon_limit",
        takes: Takes::Duration(
            |draft, limit| on_gateway!(draft, gateway => gateway.abandon_limit(limit)),
        ),
        default: "\"30s\"",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "How long a business of Lineman's may have events and give no sign before its clients move to another \
               one; 0 is for ever.",
    },
];

pub(super) const GATEWAY: &[Setting] = &[
    Setting {
        key: "ping_interval",
        takes: Takes::Duration(
            |draft, interval| on_gateway!(draft, gateway => gateway.ping_interval(interval)),
        ),
        default: "\"0s\"",
        example: "",
        effect: Effect::InPlace,
        php: "pingInterval",
        help: "How long a client may be silent before it is pinged; 0 is for ever.",
    },
    Setting {
        key: "ping_not_response_limit",
        takes: Takes::Number(0, ANY, |draft, limit| {
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            on_gateway!(draft, gateway => gateway.ping_limit(limit));
        }),
        default: "0",
        example: "",
        effect: Effect::InPlace,
        php: "pingNotResponseLimit",
        help: "For how many intervals a client may be silent before it is closed; 0 is for ever.",
    },
    Setting {
        key: "ping_data",
        takes: Takes::Text(|draft, data| on_gateway!(draft, gateway => gateway.ping_data(data))),
        default: "\"\"",
        example: "",
        effect: Effect::InPlace,
        php: "pingData",
        help: "The message that pings a client. Without one clients have to speak first.",
    },
    Setting {
        key: "slow_client",
        takes: Takes::Choice(&["close", "drop_message"], |draft, policy| {
            let policy = match policy {
                "drop_message" => SlowClient::DropMessage,
                _ => SlowClient::Close,
            };
            on_gateway!(draft, gateway => gateway.slow_client(policy));
        }),
        default: "\"close\"",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "What happens to a client that reads more slowly than it is sent to, when \
               `send_to_client_buffer_size` is reached: it is closed (1013), or misses the message, as in \
               GatewayWorker.",
    },
    Setting {
        key: "client_events",
        takes: Takes::Number(1, ANY, |draft, events| {
            let events = u32::try_from(events).unwrap_or(u32::MAX);
            on_gateway!(draft, gateway => gateway.client_events(events));
        }),
        default: "256",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "How many events of one client its business may have unhandled before that client is not read. A \
               business in PHP does not tell what it has handled. A changed one is for businesses that connect from \
               then on.",
    },
    Setting {
        key: "client_bytes",
        takes: Takes::Size(|draft, bytes| {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            on_gateway!(draft, gateway => gateway.client_bytes(bytes));
        }),
        default: "\"1MiB\"",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "How many bytes of one client its business may have unhandled before that client is not read. \
               A changed one is for businesses that connect from then on, and for those in PHP.",
    },
];
