//! Pairs are pairs: `on_connect` and `on_close` run once each, and the one exactly where the other did,
//! whatever way a connection begins, whatever its handler does, and whatever way it ends.

use std::cell::Cell;

use lineman_wire::text::Text;

use super::upgrades::UPGRADE;
use super::*;
use crate::connection::{
    CloseReason, Connection, Driver, Handlers, Serve, WebSocket, boxed, boxed_with, messages,
    websocket,
};
use crate::tls::tests::Files;

#[derive(Debug, Clone, Copy)]
enum Beginning {
    /// A protocol without a handshake.
    Lines,
    /// Lines that become other lines with their first message.
    Changed,
    /// A handshake that is accepted.
    Accepted,
    /// A request on an HTTP connection, behind another one.
    BehindHttp,
    /// A request that the handler refuses, fails at, panics at, closes, or has not decided on.
    Refused,
    Failed,
    Panicked,
    Closed,
    Undecided,
    /// Bytes that are no handshake, and a half of one.
    Garbage,
    Half,
    /// Bytes that are no TLS.
    NoTls,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Connecting {
    Fine,
    Fails,
    Panics,
    Waits,
    Closes,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Peer,
    Reset,
    Stop,
    Abort,
    StopThenAbort,
}

use Beginning::{
    Accepted, BehindHttp, Changed, Closed, Failed, Garbage, Half, Lines, NoTls, Panicked, Refused,
    Undecided,
};

/// How often each has run.
#[derive(Debug, Default)]
struct Ran {
    connect: Cell<u32>,
    close: Cell<u32>,
}

fn counting<D: Driver>(ran: &Rc<Ran>, connecting: Connecting) -> Handlers<D> {
    let (begun, ended) = (Rc::clone(ran), Rc::clone(ran));
    Handlers {
        connect: Some(boxed(async move |connection: Connection<D>| {
            begun.connect.set(begun.connect.get() + 1);
            match connecting {
                Connecting::Fine => {}
                Connecting::Fails => return Err("told to fail".into()),
                Connecting::Panics => assert_eq!(connecting, Connecting::Fine, "told to"),
                Connecting::Waits => sleep(seconds(1)).await,
                Connecting::Closes => connection.close(CloseReason::Local),
            }
            Ok(())
        })),
        close: Some(boxed_with(async move |_: Connection<D>, _: CloseReason| {
            ended.close.set(ended.close.get() + 1);
            Ok(())
        })),
        ..Handlers::default()
    }
}

/// Serves a beginning, and returns what the peer says for it.
fn listen_for(
    table: &Table,
    beginning: Beginning,
    connecting: Connecting,
    ran: &Rc<Ran>,
) -> (SocketAddr, &'static str) {
    let (listener, address) = listener();
    let opening = async move |connection: Connection<WebSocket>, _: websocket::Request| {
        match beginning {
            Refused => return Err(websocket::Refusal::new(403).into()),
            Failed => return Err("told to fail".into()),
            Panicked => assert!(!matches!(beginning, Panicked), "told to"),
            Closed => connection.close(CloseReason::Local),
            Undecided => sleep(seconds(5)).await,
            _ => {}
        }
        Ok(())
    };
    let websocket = || {
        let open = Some(boxed_with(opening));
        let handlers = Handlers { open, ..counting::<WebSocket>(ran, connecting) };
        Serve::peers(WebSocket::server, Rc::new(handlers))
    };
    let lines = || Serve::peers(Text::default, Rc::new(counting::<Text>(ran, connecting)));
    let said = match beginning {
        Lines => {
            table.listen(listener, lines()).expect("a place");
            ""
        }
        Changed => {
            let next = Rc::new(lines());
            let change = messages(async move |connection: Connection<Text>, _: String| {
                connection.change_protocol(&next);
                Ok(())
            });
            // What the old handlers heard of is told to the new ones.
            let old = Handlers { message: Some(change), ..Handlers::default() };
            table.listen(listener, Serve::peers(Text::default, Rc::new(old))).expect("a place");
            "change\n"
        }
        BehindHttp => {
            let (http, on) = (Http::new(Echo(Seen::default())), vec![("/ws".into(), websocket())]);
            table.listen_http(listener, http, Front::default(), on).expect("a place");
            ""
        }
        NoTls => {
            let files = Files::new();
            let front = Front { tls: Some(files.tls("server")), ..Front::default() };
            table.listen(listener, lines().front(front)).expect("a place");
            "GET / HTTP/1.1\r\n\r\n"
        }
        Garbage | Half | Accepted | Refused | Failed | Panicked | Closed | Undecided => {
            table.listen(listener, websocket()).expect("a place");
            match beginning {
                Garbage => "\x16\x03\x01 no request\r\n\r\n",
                Half => "GET / HTTP/1.1\r\nHos",
                _ => UPGRADE,
            }
        }
    };
    (address, said)
}

async fn play(beginning: Beginning, connecting: Connecting, end: End, table: Table) {
    let ran = Rc::new(Ran::default());
    let (address, said) = listen_for(&table, beginning, connecting, &ran);
    let mut peer = connect(address).await;
    peer.set_nodelay(true).expect("an option");
    if let BehindHttp = beginning {
        say(&mut peer, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
        hear(&mut peer).await;
        say(&mut peer, UPGRADE).await;
    }
    say(&mut peer, said).await;
    sleep(Duration::from_millis(100)).await;
    match end {
        End::Peer => drop(peer),
        End::Reset => {
            let zero = Some(Duration::ZERO);
            socket2::SockRef::from(&peer).set_linger(zero).expect("an option");
            drop(peer);
        }
        End::Stop => drop((table.close_all(&CloseReason::GoingAway), peer)),
        End::Abort => drop((table.abort_all(), peer)),
        End::StopThenAbort => {
            table.close_all(&CloseReason::GoingAway);
            sleep(Duration::from_millis(100)).await;
            table.abort_all();
            drop(peer);
        }
    }
    table.finished().await;
    let (connects, closes) = (ran.connect.get(), ran.close.get());
    let expected = match beginning {
        Lines | Changed | Accepted | BehindHttp => 1,
        // It may be accepted before the peer's end is read.
        Undecided => connects.min(1),
        Refused | Failed | Panicked | Closed | Garbage | Half | NoTls => 0,
    };
    let case = format!("{beginning:?}, {connecting:?}, {end:?}");
    assert_eq!((connects, closes), (expected, expected), "{case}");
}

#[test]
fn on_connect_and_on_close_are_pairs() {
    let beginnings = [
        Lines, Changed, Accepted, BehindHttp, Refused, Failed, Panicked, Closed, Undecided,
        Garbage, Half, NoTls,
    ];
    let handlers = [
        Connecting::Fine,
        Connecting::Fails,
        Connecting::Panics,
        Connecting::Waits,
        Connecting::Closes,
    ];
    let ends = [End::Peer, End::Reset, End::Stop, End::Abort, End::StopThenAbort];
    for beginning in beginnings {
        for connecting in handlers {
            for end in ends {
                with_table(|table| play(beginning, connecting, end, table));
            }
        }
    }
}

#[test]
fn an_outgoing_connection_ends_once_whatever_comes_of_it() {
    for (answers, end) in [(true, End::Peer), (true, End::Abort), (false, End::Peer)] {
        with_table(async |table| {
            let ran = Rc::new(Ran::default());
            let (listener, address) = listener();
            let handlers = Rc::new(counting::<Text>(&ran, Connecting::Fine));
            let serve = Rc::new(Serve::outgoing(Text::default, handlers));
            let listener = answers.then_some(listener);
            let out = table.connect(address, &serve).expect("a place");
            sleep(Duration::from_millis(100)).await;
            drop(listener);
            if let End::Abort = end {
                out.abort();
            }
            table.close_all(&CloseReason::GoingAway);
            table.finished().await;
            // A failed attempt is an end as well: the program made it, and has to hear of it.
            assert_eq!((ran.connect.get(), ran.close.get()), (u32::from(answers), 1));
        });
    }
}
