//! Which proxies are believed, and how sockets are set up.

use lineman::Networks;
use lineman::connection::Others;
use lineman::service::SocketOptions;

use super::takes::{something, to_usize};
use super::{Setting, Takes, at_once, plain, unset};

pub(super) fn is_network(text: &str) -> Result<(), String> {
    Networks::new([text]).map(drop).map_err(|error| error.to_string())
}

fn mode(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777)
}

fn is_mode(text: &str) -> Result<(), String> {
    mode(text).map(drop).ok_or_else(|| format!("{text:?} is no mode: write \"0660\""))
}

pub(super) const PROXIES: &[Setting] = &[
    at_once(plain(
        "proxies.trust",
        Takes::List("networks", is_network, |draft, names| {
            draft.proxies.trusted = Networks::new(names).unwrap_or_default();
        }),
        "[]",
        "The proxies that are believed about where a peer comes from: addresses, networks as \"10.0.0.0/8\", or \
         \"unix\". Without any, none is.",
    )),
    at_once(plain(
        "proxies.proxy_protocol",
        Takes::Switch(|draft, on| draft.proxies.proxy_protocol = on),
        "false",
        "Whether they begin each connection with a PROXY header, version 1 or 2.",
    )),
    at_once(unset(
        "proxies.header",
        Takes::Choice(&["x-forwarded-for", "forwarded"], |draft, name| {
            name.clone_into(&mut draft.proxies.header);
        }),
        "\"x-forwarded-for\"",
        "The header of a request that is believed: the last address in it that is not trusted is the client's. \
         Default: none.",
    )),
    at_once(plain(
        "proxies.others",
        Takes::Choice(&["ignore", "refuse"], |draft, others| {
            draft.proxies.others = if others == "refuse" { Others::Refuse } else { Others::Ignore };
        }),
        "\"ignore\"",
        "What happens to peers that are not trusted: what they say of others is ignored, or they are refused.",
    )),
];

pub(super) const SOCKET: &[Setting] = &[
    plain(
        "socket.backlog",
        Takes::Number(1, 65_535, |draft, most| {
            let most = u16::try_from(most).unwrap_or(u16::MAX);
            draft.socket(|options| options.backlog(most));
        }),
        "4096",
        "How many connections may wait to be accepted; the kernel cuts it down to net.core.somaxconn.",
    ),
    plain(
        "socket.delayed",
        Takes::Switch(|draft, on| {
            if on {
                draft.socket(SocketOptions::delayed);
            }
        }),
        "false",
        "Lets small writes wait for the acknowledgement of earlier ones (Nagle's algorithm).",
    ),
    plain(
        "socket.keepalive_idle",
        Takes::Number(1, 32_767, |draft, seconds| {
            draft.keepalive(|keepalive| {
                keepalive.idle = std::time::Duration::from_secs(seconds);
            });
        }),
        "55",
        "Seconds of silence before TCP asks.",
    ),
    plain(
        "socket.keepalive_interval",
        Takes::Number(1, 32_767, |draft, seconds| {
            draft.keepalive(|keepalive| {
                keepalive.interval = std::time::Duration::from_secs(seconds);
            });
        }),
        "11",
        "Seconds for the answer to that, after which it asks again.",
    ),
    plain(
        "socket.keepalive_count",
        Takes::Number(1, 127, |draft, count| {
            draft.keepalive(|keepalive| {
                keepalive.count = u32::try_from(count).unwrap_or(1);
            });
        }),
        "5",
        "How often it may go unanswered, one after the other.",
    ),
    plain(
        "socket.keepalive",
        Takes::Switch(|draft, on| {
            if !on {
                draft.socket(SocketOptions::without_keepalive);
            }
        }),
        "true",
        "Whether TCP asks a silent peer at all.",
    ),
    unset(
        "socket.receive_buffer",
        Takes::Size(|draft, bytes| draft.socket(|options| options.receive_buffer(to_usize(bytes)))),
        "\"128KiB\"",
        "The kernel's receive buffer of each connection. Default: the kernel's, which grows by itself.",
    ),
    unset(
        "socket.send_buffer",
        Takes::Size(|draft, bytes| draft.socket(|options| options.send_buffer(to_usize(bytes)))),
        "\"128KiB\"",
        "The kernel's send buffer of each connection. Default: the kernel's, which grows by itself.",
    ),
    plain(
        "socket.ipv6_only",
        Takes::Switch(|draft, on| {
            if on {
                draft.socket(SocketOptions::ipv6_only);
            }
        }),
        "false",
        "Makes [::] take IPv6 alone; needed beside a 0.0.0.0 of the same port.",
    ),
    plain(
        "socket.one_socket",
        Takes::Switch(|draft, on| {
            if on {
                draft.socket(SocketOptions::one_socket);
            }
        }),
        "false",
        "Gives all processes the same socket, in place of one each (SO_REUSEPORT).",
    ),
    plain(
        "socket.mode",
        Takes::Checked("mode", is_mode, |draft, text| {
            let mode = mode(text).unwrap_or(0o660);
            draft.socket(|options| options.mode(mode));
        }),
        "\"0660\"",
        "The mode of a Unix socket's file: users that may write to it may connect.",
    ),
    unset(
        "socket.owner",
        Takes::Checked("user", something, |draft, user| {
            draft.socket(|options| options.owner(user));
        }),
        "\"www-data\"",
        "The owner of a Unix socket's file. Default: the user that starts the program.",
    ),
    unset(
        "socket.group",
        Takes::Checked("group", something, |draft, group| {
            draft.socket(|options| options.group(group));
        }),
        "\"www-data\"",
        "The group of a Unix socket's file. Default: that of the user that starts the program.",
    ),
];
