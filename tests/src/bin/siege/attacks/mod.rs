//! The attacks, in the order in which they are played: first those on a process's loop and memory, then
//! those on TLS, then those on a cluster and its processes.

mod sockets;
mod http;
mod secure;
mod cluster;
mod processes;

use crate::attack::Attack;

/// An attack of this name: its function, and what it does, for `--list`.
macro_rules! attack {
    ($name:literal, $function:path, $what:literal) => {
        Attack::new($name, $what, |siege| Box::pin($function(siege)))
    };
}

/// Every attack.
pub(crate) const ALL: [Attack; 23] = [
    attack!("pings", sockets::pings, "clients that send nothing but pings, and read no answer"),
    attack!("slow-readers", sockets::slow_readers, "clients that do not read what they are sent"),
    attack!("idle", sockets::idle, "15,000 clients that say nothing, and go at once"),
    attack!("slow-handshakes", sockets::slow_handshakes, "handshakes of a byte each 100 ms"),
    attack!("reconnects", sockets::reconnects, "1,000 connections a second from one address"),
    attack!("bombs", sockets::bombs, "unfinished messages of 10 KB that inflate to 10 MiB"),
    attack!("panics", sockets::panics, "messages whose handler panics"),
    attack!(
        "farewells",
        sockets::farewells,
        "closing clients that read slowly, with 900 KB queued for each"
    ),
    attack!(
        "datagrams",
        sockets::datagrams,
        "datagrams as fast as they can be sent, most of them garbage"
    ),
    attack!("garbage", http::garbage, "requests that are malformed, or could hide another one"),
    attack!(
        "slow-bodies",
        http::slow_bodies,
        "uploads of which most comes, and the rest in crumbs"
    ),
    attack!(
        "unread-answers",
        http::unread_answers,
        "pages of a mebibyte whose clients do not read"
    ),
    attack!("half-handshakes", secure::half_handshakes, "TLS hellos that do not end"),
    attack!("half-records", secure::half_records, "TLS connections that send half a record"),
    attack!("rapid-reset", secure::rapid_reset, "requests over HTTP/2 that are reset at once"),
    attack!(
        "client-flood",
        cluster::client_flood,
        "40,000 messages of one client to a handler that waits"
    ),
    attack!(
        "long-messages",
        cluster::long_messages,
        "messages as long as a packet between gateway and business"
    ),
    attack!("fan-out", cluster::fan_out, "messages of 60 KB to 3,000 clients"),
    attack!(
        "strangers",
        cluster::strangers,
        "peers without a key on the inner ports: silent, pinging, long-winded"
    ),
    attack!(
        "stopped-business",
        processes::stopped,
        "one of two businesses stands still, and goes on"
    )
    .that_kills(),
    attack!("killed-business", processes::killed, "one business after the other is killed")
        .that_kills(),
    attack!("crash-loop", processes::crash_loop, "one client whose messages abort their business")
        .that_kills()
        .in_the_long_form(),
    attack!("reloads", processes::reloads, "reloads of the businesses, one after the other")
        .that_reloads(),
];
