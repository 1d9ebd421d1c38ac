//! The WebSocket on the table: handshake, control frames, farewells, and HTTP beside it.

use std::convert::Infallible;
use std::time::Duration;

use lineman_wire::websocket::{
    CloseFrame, Decoder, Event as Frame, Limits as Sizes, Message, Role, encode_close,
    encode_message, encode_ping,
};

use super::*;

pub(super) const REQUEST: &str = "GET /chat?x=1 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

const MASK: Option<[u8; 4]> = Some([7, 0, 255, 3]);

fn echo() -> Serve<WebSocket> {
    let handlers = Handlers {
        message: Some(messages(async |connection: Connection<WebSocket>, message| {
            connection.send(message)
        })),
        ..Handlers::default()
    };
    Serve::peers(WebSocket::server, Rc::new(handlers))
}

/// A client that has shaken hands.
pub(super) struct Client {
    stream: TcpStream,
    input: BytesMut,
    decoder: Decoder,
}

impl Client {
    pub(super) async fn open(address: SocketAddr) -> Self {
        let mut stream = connect(address).await;
        say(&mut stream, REQUEST).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Self { stream, input: BytesMut::new(), decoder: Decoder::new(Role::Client) }
    }

    pub(super) async fn send(&mut self, text: &str) {
        let mut bytes = BytesMut::new();
        encode_message(&Message::from(text), MASK, &mut bytes);
        say(&mut self.stream, bytes).await;
    }

    pub(super) async fn next(&mut self) -> Frame {
        loop {
            let found = self.decoder.decode(&mut self.input, &Sizes::default());
            if let Some(frame) = found.expect("a sane server") {
                return frame;
            }
            let count = self.stream.read_buf(&mut self.input).await.expect("more");
            assert_ne!(count, 0, "the server ended without a close frame");
        }
    }

    pub(super) async fn close(&mut self, code: u16, reason: &str) {
        let mut bytes = BytesMut::new();
        encode_close(Some(&CloseFrame::new(code, reason)), MASK, &mut bytes);
        say(&mut self.stream, bytes).await;
    }

    async fn close_code(&mut self) -> u16 {
        match self.next().await {
            Frame::Close(Some(frame)) => frame.code.0,
            other => panic!("{other:?} instead of a close"),
        }
    }
}

#[test]
fn echo_ping_and_close() {
    with_table(async |table| {
        let address = serve(&table, echo());
        let mut client = Client::open(address).await;
        client.send("hello").await;
        assert_eq!(client.next().await, Frame::Message(Message::from("hello")));
        let mut bytes = BytesMut::new();
        encode_ping(b"beat", MASK, &mut bytes).expect("short");
        encode_close(Some(&CloseFrame::new(4000, "bye")), MASK, &mut bytes);
        say(&mut client.stream, bytes).await;
        assert_eq!(client.next().await, Frame::Pong("beat".into()));
        assert_eq!(client.close_code().await, 4000);
        assert_eq!(rest(&mut client.stream).await, b"", "the server ends first");
        table.emptied().await;
    });
}

#[test]
fn a_ping_behind_much_that_waits_is_answered() {
    with_table(async |table| {
        let handlers = Handlers {
            message: Some(messages(async |connection: Connection<WebSocket>, _| {
                connection.send("x".repeat(100_000))
            })),
            ..Handlers::default()
        };
        let address = serve(&table, Serve::peers(WebSocket::server, Rc::new(handlers)));
        let mut client = Client::open(address).await;
        let mut bytes = BytesMut::new();
        encode_message(&Message::from("much"), MASK, &mut bytes);
        encode_ping(b"beat", MASK, &mut bytes).expect("short");
        say(&mut client.stream, bytes).await;
        assert_eq!(client.next().await, Frame::Message(Message::from("x".repeat(100_000))));
        assert_eq!(client.next().await, Frame::Pong("beat".into()));
    });
}

#[test]
fn of_pings_that_pile_up_the_newest_is_answered() {
    with_table(async |table| {
        let pinged = Rc::new(RefCell::new(0));
        let count = Rc::clone(&pinged);
        let handlers = Handlers::<WebSocket> {
            ping: Some(Box::new(move |_, _| *count.borrow_mut() += 1)),
            ..Handlers::default()
        };
        let address = serve(&table, Serve::peers(WebSocket::server, Rc::new(handlers)));
        let mut client = Client::open(address).await;
        let mut burst = BytesMut::new();
        for number in 1..=2000 {
            encode_ping(format!("{number:0>100}").as_bytes(), MASK, &mut burst).expect("short");
        }
        say(&mut client.stream, burst).await;
        let newest = format!("{:0>100}", 2000);
        let mut pongs = 0;
        loop {
            let Frame::Pong(payload) = client.next().await else { panic!("no pong") };
            pongs += 1;
            if payload == newest {
                break;
            }
        }
        assert_eq!(*pinged.borrow(), 2000);
        assert!(pongs < 2000, "their bound holds");
        client.close(1000, "").await;
        assert_eq!(client.close_code().await, 1000, "nothing is answered twice");
    });
}

#[test]
fn a_peer_that_has_said_nothing_is_told_nothing() {
    with_table_and_paused_clock(async |table| {
        let files = crate::tls::tests::Files::new();
        let secured = Front { tls: Some(files.tls("server")), ..Front::default() };
        for ends in ["by the deadline", "by a stop"] {
            let mut plain = connect(serve(&table, echo())).await;
            let address = serve(&table, echo().front(secured.clone()));
            let mut secure = tls::secure(connect(address).await, &files).await;
            settle().await;
            if ends == "by a stop" {
                table.close_all(&CloseReason::GoingAway);
            }
            assert_eq!(rest(&mut plain).await, b"", "{ends}");
            let mut got = Vec::new();
            secure.read_to_end(&mut got).await.expect("an orderly end");
            assert_eq!(got, b"", "{ends}");
        }
    });
}

#[test]
fn going_away_says_1001_to_everyone() {
    with_table(async |table| {
        let address = serve(&table, echo());
        let mut clients = vec![Client::open(address).await, Client::open(address).await];
        for client in &mut clients {
            client.send("up").await;
            client.next().await;
        }
        table.stop_accepting();
        assert_eq!(table.close_all(&CloseReason::GoingAway), 2);
        for client in &mut clients {
            assert_eq!(client.close_code().await, 1001);
            let mut bytes = BytesMut::new();
            encode_close(Some(&CloseFrame::new(1001, "")), MASK, &mut bytes);
            say(&mut client.stream, bytes).await;
        }
        table.emptied().await;
    });
}

#[test]
fn a_peer_that_breaks_the_rules_is_told_which() {
    let unmasked: &[u8] = b"\x81\x05hello";
    let not_utf8: &[u8] = b"\x81\x82\0\0\0\0\xc3\x28";
    let endless: &[u8] = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0";
    with_table(async |table| {
        let address = serve(&table, echo());
        let mut innocent = Client::open(address).await;
        for (bytes, code) in [(unmasked, 1002), (not_utf8, 1007), (endless, 1009)] {
            let mut client = Client::open(address).await;
            say(&mut client.stream, bytes).await;
            assert_eq!(client.close_code().await, code);
        }
        innocent.send("still here").await;
        assert_eq!(innocent.next().await, Frame::Message(Message::from("still here")));
        assert_eq!(table.stats().protocol_errors, 3);
    });
}

#[test]
fn half_open_connections_displace_their_oldest_only() {
    with_table(async |table| {
        let limits = Limits { handshakes: 3, ..Limits::default() };
        let address = serve(&table, echo().limits(limits));
        let mut open = Client::open(address).await;
        let mut half_open = Vec::new();
        for _ in 0..5 {
            half_open.push(connect(address).await);
        }
        // The first two are gone, the other three are waited for.
        for stream in half_open.drain(..2) {
            let mut stream = stream;
            assert!(stream.read_u8().await.is_err());
        }
        open.send("unharmed").await;
        open.next().await;
        assert_eq!(table.len(), 4);
    });
}

#[test]
fn a_silent_handshake_gets_408_and_an_endless_one_431() {
    with_table(async |table| {
        let limits = Limits { handshake_time: Duration::from_millis(50), ..Limits::default() };
        let address = serve(&table, echo().limits(limits));
        let mut silent = connect(address).await;
        say(&mut silent, "GET / HTTP/1.1\r\n").await;
        assert!(rest(&mut silent).await.starts_with(b"HTTP/1.1 408 "));
        let mut endless = connect(address).await;
        say(&mut endless, format!("GET / HTTP/1.1\r\nCookie: {}", "c".repeat(17_000))).await;
        assert!(rest(&mut endless).await.starts_with(b"HTTP/1.1 431 "));
    });
}

#[test]
fn plain_http_goes_to_the_service_and_without_one_gets_426() {
    with_table(async |table| {
        let service = tower::service_fn(async |request: http::Request<crate::http::Body>| {
            Ok::<_, Infallible>(http::Response::new(request.uri().path().to_owned()))
        });
        let with = serve(&table, echo().http(Some(crate::http::Http::new(service))));
        let without = serve(&table, echo());
        let get = "GET /page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let mut page = connect(with).await;
        say(&mut page, get).await;
        let answer = String::from_utf8(rest(&mut page).await).expect("text");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n/page"), "{answer}");
        let mut refused = connect(without).await;
        say(&mut refused, get).await;
        assert!(rest(&mut refused).await.starts_with(b"HTTP/1.1 426 "));
        table.emptied().await;
    });
}

/// Whatever refuses a request says so to the person behind it, and that the connection ends.
#[test]
fn refusals_can_be_read() {
    with_table(async |table| {
        let refuse = |status: u16| {
            let open = async move |connection: Connection<WebSocket>, _| {
                connection.close(CloseReason::Refused(status));
                Ok(())
            };
            let handlers = Handlers { open: Some(boxed_with(open)), ..Handlers::default() };
            Serve::peers(WebSocket::server, Rc::new(handlers))
        };
        let limits = Limits { handshake_time: Duration::from_millis(50), ..Limits::default() };
        let mut addresses = [403, 503].map(|status| serve(&table, refuse(status))).to_vec();
        addresses.push(serve(&table, echo().limits(limits)));
        addresses.extend([(); 5].map(|()| serve(&table, echo())));
        let endless = format!("GET / HTTP/1.1\r\nCookie: {}", "c".repeat(17_000));
        let no_upgrade = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let (post, bad) = (REQUEST.replace("GET", "POST"), REQUEST.replace("Host", "Hose"));
        let requests =
            [REQUEST, REQUEST, "GET /", no_upgrade, &post, &bad, &endless, "\x16\x03\x01"];
        let expected = [
            ("403 Forbidden", "403 Forbidden"),
            ("503 Service Unavailable", "503 Service Unavailable"),
            ("408 Request Timeout", "408 Request Timeout"),
            ("426 Upgrade Required", "ws://"),
            ("405 Method Not Allowed", "GET"),
            ("400 Bad Request", "host"),
            ("431 Request Header Fields Too Large", "16384 bytes"),
            ("400 Bad Request", "TLS"),
        ];
        for ((address, request), (status, told)) in
            addresses.into_iter().zip(requests).zip(expected)
        {
            let mut peer = connect(address).await;
            say(&mut peer, request).await;
            let answer = String::from_utf8(rest(&mut peer).await).expect("text");
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\nConnection: close")), "{head}");
            assert!(head.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{head}");
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{answer}");
            assert!(body.contains(told) && body.ends_with('\n'), "{body:?}");
            // RFC 9110, 15.5.22 and RFC 6455, 4.4.
            let upgrade = "close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
            assert_eq!(head.contains(upgrade), status.starts_with("426"), "{head}");
        }
    });
}

#[test]
fn a_handler_may_refuse_the_upgrade() {
    with_table(async |table| {
        let handlers = Handlers::<WebSocket> {
            open: Some(boxed_with(async |_, request: lineman_wire::websocket::Request| {
                assert_eq!(request.query_value("x").as_deref(), Some("1"));
                tokio::task::yield_now().await;
                Err("not you".into())
            })),
            ..Handlers::default()
        };
        let address = serve(&table, Serve::peers(WebSocket::server, Rc::new(handlers)));
        let mut stream = connect(address).await;
        say(&mut stream, REQUEST).await;
        assert!(rest(&mut stream).await.starts_with(b"HTTP/1.1 500 "));
    });
}

#[test]
fn a_close_waits_for_an_on_connect_that_aborts_and_goes_on() {
    with_table(async |table| {
        let (gate, log) = (Rc::new(tokio::sync::Notify::new()), Log::default());
        let (held, logged, closed) = (Rc::clone(&gate), log.clone(), log.clone());
        let handlers = Handlers {
            connect: Some(boxed(async move |connection: Connection<WebSocket>| {
                logged.add("begin");
                connection.abort();
                held.notified().await;
                logged.add("end");
                Ok(())
            })),
            close: Some(boxed_with(async move |_: Connection<WebSocket>, _: CloseReason| {
                closed.add("closed");
                Ok(())
            })),
            ..Handlers::default()
        };
        let address = serve(&table, Serve::peers(WebSocket::server, Rc::new(handlers)));
        let mut peer = connect(address).await;
        say(&mut peer, REQUEST).await;
        assert_eq!(rest(&mut peer).await, b"");
        gate.notify_one();
        log.until("closed").await;
        log.until("end").await;
        assert_eq!(log.lines(), ["begin", "end", "closed"]);
    });
}

#[test]
fn a_handler_hears_nothing_of_a_handshake_that_never_ended() {
    with_table(async |table| {
        let log = Log::default();
        let (opened, closed) = (log.clone(), log.clone());
        let handlers = Handlers {
            connect: Some(boxed(async move |_: Connection<WebSocket>| {
                opened.add("opened");
                Ok(())
            })),
            close: Some(boxed_with(async move |_: Connection<WebSocket>, _: CloseReason| {
                closed.add("closed");
                Ok(())
            })),
            ..Handlers::default()
        };
        let address = serve(&table, Serve::peers(WebSocket::server, Rc::new(handlers)));
        let mut scanner = connect(address).await;
        say(&mut scanner, "HELO\r\n\r\n").await;
        assert!(rest(&mut scanner).await.starts_with(b"HTTP/1.1 400 "));
        drop(scanner);
        table.emptied().await;
        drop(Client::open(address).await);
        log.until("closed").await;
        assert_eq!(log.lines(), ["opened", "closed"]);
    });
}

#[test]
fn a_refusal_has_the_status_it_names() {
    with_table(async |table| {
        let handlers = Handlers::<WebSocket> {
            open: Some(boxed_with(async |connection: Connection<WebSocket>, _| {
                connection.close(CloseReason::Refused(403));
                Ok(())
            })),
            ..Handlers::default()
        };
        let address = serve(&table, Serve::peers(WebSocket::server, Rc::new(handlers)));
        let mut stream = connect(address).await;
        say(&mut stream, REQUEST).await;
        assert!(rest(&mut stream).await.starts_with(b"HTTP/1.1 403 Forbidden\r\n"));
    });
}
