//! What a WebSocket's two ends agree on, refuse and tell each other, our own client on one of them.

use std::io::Read as _;

use lineman_wire::websocket::{Event as Frame, Message};

use super::websockets::{Client, REQUEST};
use super::*;
use crate::connection::websocket::{
    Accept, ClientRequest, Deflate, Leniency, Options, Origins, Prepared, Refusal, Request,
};

type Peer = Connection<WebSocket>;

/// Handlers that note everything, and echo.
fn noting(log: &Log) -> Handlers<WebSocket> {
    let [opened, got, closed, asked, answered] = [(); 5].map(|()| log.clone());
    Handlers {
        connect: Some(boxed(async move |connection: Peer| {
            opened.add(format!("opened {:?}", connection.subprotocol()));
            Ok(())
        })),
        message: Some(messages(async move |connection: Peer, message: Message| {
            got.add(format!("got {} bytes", message.len()));
            connection.send(message)
        })),
        close: Some(boxed_with(async move |connection: Peer, reason: CloseReason| {
            let theirs = connection.peer_close().map(|frame| frame.to_string());
            closed.add(format!("{reason}, peer {theirs:?}"));
            Ok(())
        })),
        ping: Some(Box::new(move |_, payload| asked.add(format!("ping {payload:?}")))),
        pong: Some(Box::new(move |_, payload| answered.add(format!("pong {payload:?}")))),
        ..Handlers::default()
    }
}

fn server(log: &Log, options: Options) -> Serve<WebSocket> {
    Serve::peers(WebSocket::server_with(options), Rc::new(noting(log)))
}

/// Connects a client of ours, whose handlers note into `log`.
fn dial(table: &Table, address: SocketAddr, request: ClientRequest, log: &Log) -> Peer {
    let make = WebSocket::client(request).expect("a request that can be sent");
    let mut handlers = noting(log);
    // Only the server echoes.
    let got = log.clone();
    handlers.message = Some(messages(async move |_, message: Message| {
        got.add(format!("got {:?}", message.as_text().map_or(0, str::len)));
        Ok(())
    }));
    table.connect(address, &Rc::new(Serve::links(make, Rc::new(handlers)))).expect("a socket")
}

/// Sends a request, and returns everything that comes back.
async fn ask(address: SocketAddr, lines: &str) -> String {
    let mut stream = connect(address).await;
    say(&mut stream, REQUEST.replacen("\r\n\r\n", &format!("\r\n{lines}\r\n"), 1)).await;
    stream.shutdown().await.expect("our side ends");
    String::from_utf8(rest(&mut stream).await).expect("text")
}

#[test]
fn our_client_and_our_server_agree_on_everything() {
    let plain: fn() -> (Options, ClientRequest) = || (Options::new(), ClientRequest::new("a", "/"));
    let compressed: fn() -> (Options, ClientRequest) = || {
        let options = Options::new().compression(Deflate::new());
        (options, ClientRequest::new("a", "/").compression(Deflate::new()))
    };
    let with_context: fn() -> (Options, ClientRequest) = || {
        let deflate = Deflate::new().server_context_takeover().client_context_takeover();
        let options = Options::new().compression(deflate);
        (options, ClientRequest::new("a", "/").compression(deflate))
    };
    for ends in [plain, compressed, with_context] {
        with_table(async |table| {
            let (ours, theirs) = (Log::default(), Log::default());
            let (options, request) = ends();
            let address = serve(&table, server(&ours, options.subprotocols(["b", "c"])));
            let client = dial(&table, address, request.subprotocols(["a", "c", "b"]), &theirs);
            assert_eq!(theirs.until("opened").await, "opened Some(\"b\")", "the server's choice");
            let text = "the same again, ".repeat(100);
            for _ in 0..2 {
                client.send(text.as_str()).expect("open");
                client.send("short").expect("open");
            }
            client.ping("are you there").expect("open");
            theirs.until("pong").await;
            let expected = ["got 1600", "got 5", "got 1600", "got 5", "pong b\"are you there\""];
            assert_eq!(theirs.lines()[1..], expected);
            ours.until("ping b\"are you there\"").await;
            client.close_with_code(4001, "done");
            let closed = "closed by us (4001: done), peer Some(\"4001: done\")";
            assert_eq!(theirs.until("closed").await, closed);
            let closed = "closed by peer (4001: done), peer Some(\"4001: done\")";
            assert_eq!(ours.until("closed").await, closed);
        });
    }
}

#[test]
fn compression_saves_bytes_on_the_wire() {
    with_table(async |table| {
        let log = Log::default();
        let options = Options::new().compression(Deflate::new());
        let address = serve(&table, server(&Log::default(), options));
        let request = ClientRequest::new("a", "/").compression(Deflate::new());
        let client = dial(&table, address, request, &log);
        log.until("opened").await;
        let before = client.counters();
        client.send("a".repeat(100_000)).expect("open");
        log.until("got 100000").await;
        let after = client.counters();
        assert!(after.bytes_out - before.bytes_out < 1000, "{after:?}");
        assert!(after.bytes_in - before.bytes_in < 1000, "{after:?}");
    });
}

#[test]
fn a_bomb_is_told_1009() {
    with_table(async |table| {
        let log = Log::default();
        let limits = Limits {
            websocket: lineman_wire::websocket::Limits {
                max_message_size: 10_000,
                ..<_>::default()
            },
            ..Limits::default()
        };
        let options = Options::new().compression(Deflate::new());
        let address = serve(&table, server(&Log::default(), options).limits(limits));
        let request = ClientRequest::new("a", "/").compression(Deflate::new());
        let client = dial(&table, address, request, &log);
        log.until("opened").await;
        client.send("a".repeat(1_000_000)).expect("open");
        let closed = log.until("closed").await;
        assert!(closed.starts_with("closed by peer (1009"), "{closed}");
    });
}

#[test]
fn a_broadcast_reaches_each_in_its_own_form() {
    with_table(async |table| {
        let peers = Rc::new(RefCell::new(Vec::new()));
        let (kept, log) = (Rc::clone(&peers), Log::default());
        let counted = log.clone();
        let handlers = Handlers {
            connect: Some(boxed(async move |connection: Peer| {
                kept.borrow_mut().push(connection);
                counted.add(format!("{} peers", kept.borrow().len()));
                Ok(())
            })),
            ..Handlers::default()
        };
        let deflate = Deflate::new().server_context_takeover();
        let options = Options::new().compression(deflate);
        let serve_it = Serve::peers(WebSocket::server_with(options), Rc::new(handlers));
        let address = serve(&table, serve_it);
        let heard = [Log::default(), Log::default(), Log::default()];
        let requests = [
            ClientRequest::new("a", "/"),
            ClientRequest::new("a", "/").compression(Deflate::new()),
            ClientRequest::new("a", "/").compression(deflate),
        ];
        for (request, log) in requests.into_iter().zip(&heard) {
            dial(&table, address, request, log);
        }
        log.until("3 peers").await;
        let prepared = Prepared::new("b".repeat(5000));
        for _ in 0..2 {
            for peer in &*peers.borrow() {
                peer.send_prepared(&prepared).expect("open");
            }
        }
        for peer in &*peers.borrow() {
            peer.close(CloseReason::Local);
        }
        for log in &heard {
            log.until("closed").await;
            let lines = log.lines();
            assert_eq!(lines[1..3], ["got 5000", "got 5000"], "{lines:?}");
        }
    });
}

#[test]
fn a_handler_chooses_what_is_answered() {
    with_table(async |table| {
        let handlers = Handlers {
            open: Some(boxed_with(async |connection: Peer, request: Request| {
                assert!(connection.accept_with(Accept::new().subprotocol("other")).is_err());
                assert!(connection.accept_with(Accept::new().header("a", "b\r\nc: d")).is_err());
                let id = request.cookie("id").unwrap_or("none").to_owned();
                let accept =
                    Accept::new().subprotocol("z").header("Set-Cookie", format!("was={id}"));
                connection.accept_with(accept)
            })),
            ..Handlers::default()
        };
        let options = Options::new().subprotocols(["y"]).header("X-Server", "lineman");
        let make = WebSocket::server_with(options);
        let address = serve(&table, Serve::peers(make, Rc::new(handlers)));
        let lines = "Cookie: id=7\r\nSec-WebSocket-Protocol: x, y, z\r\n";
        let answer = ask(address, lines).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        for line in ["Sec-WebSocket-Protocol: z", "X-Server: lineman", "Set-Cookie: was=7"] {
            assert!(answer.contains(&format!("\r\n{line}\r\n")), "{line} is missing in {answer}");
        }
    });
}

#[test]
fn a_handler_refuses_with_status_headers_and_body() {
    with_table(async |table| {
        let log = Log::default();
        let handlers = Handlers {
            open: Some(boxed_with(async |_, request: Request| {
                tokio::task::yield_now().await;
                match request.path() {
                    "/chat" => Err(Refusal::new(401)
                        .body("log in first")
                        .header("WWW-Authenticate", "Bearer")
                        .header("Content-Length", "0")
                        .header("X", "a\r\nb: c")
                        .into()),
                    _ => Ok(()),
                }
            })),
            ..noting(&log)
        };
        let address = serve(&table, Serve::peers(WebSocket::server, Rc::new(handlers)));
        assert_eq!(
            ask(address, "").await,
            "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nWWW-Authenticate: Bearer\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: 12\r\n\r\nlog in first"
        );
        table.finished().await;
        assert_eq!(log.lines(), [""; 0], "it was never up, so it has no end");
        assert_eq!(table.stats().handler_errors, 0, "a refusal is no failure");
        let theirs = Log::default();
        dial(&table, address, ClientRequest::new("a", "/chat"), &theirs);
        theirs.until("refused with status 401").await;
    });
}

#[test]
fn pages_of_other_origins_are_refused() {
    let list = || Origins::list(["https://example.org"]);
    let check = || Origins::check(|origin, request| origin.is_none() && request.path() == "/chat");
    for (origins, lines, allowed) in [
        (Origins::any(), "Origin: https://evil.example\r\n", true),
        (list(), "Origin: https://EXAMPLE.org\r\n", true),
        (list(), "", true),
        (list(), "Origin: https://example.org.evil.example\r\n", false),
        (list(), "Origin: null\r\n", false),
        (list(), "Origin: https://example.org\r\nOrigin: https://evil.example\r\n", false),
        (check(), "", true),
        (check(), "Origin: https://example.org\r\n", false),
    ] {
        with_table(async |table| {
            let options = Options::new().origins(origins);
            let address = serve(&table, server(&Log::default(), options));
            let answer = ask(address, lines).await;
            let expected = if allowed { "HTTP/1.1 101 " } else { "HTTP/1.1 403 Forbidden\r\n" };
            assert!(answer.starts_with(expected), "{lines:?}: {answer}");
            assert_eq!(answer.contains("this origin may not connect"), !allowed);
        });
    }
}

#[test]
fn a_client_that_breaks_rules_is_served_where_the_options_say_so() {
    let odd = "GET /chat HTTP/1.0\r\nSec-WebSocket-Key: odd\r\nSec-WebSocket-Version: 13\r\n";
    let odd = format!("{odd}Cookie: {}\r\n\r\n\u{81}", "c=1; ".repeat(4000));
    // A masked text frame of one byte that is no text.
    let mut odd: Vec<u8> = odd.chars().map(|one| u8::try_from(one).expect("Latin-1")).collect();
    odd.extend(b"\x81\0\0\0\0\xff");
    for (leniency, expected) in
        [(Leniency::all(), "HTTP/1.1 101 "), (Leniency::none(), "HTTP/1.1 431 ")]
    {
        with_table(async |table| {
            let options = Options::new().leniency(leniency);
            let address = serve(&table, server(&Log::default(), options));
            let mut stream = connect(address).await;
            say(&mut stream, &odd).await;
            stream.shutdown().await.expect("our side ends");
            let answer = rest(&mut stream).await;
            assert!(answer.starts_with(expected.as_bytes()), "{answer:?}");
            let echo = answer.ends_with(b"\r\n\r\n\x82\x01\xff");
            assert_eq!(echo, leniency == Leniency::all(), "{answer:?}");
        });
    }
}

#[test]
fn the_peers_close_frame_is_known_when_we_closed_first() {
    with_table(async |table| {
        let log = Log::default();
        let handlers = Handlers {
            message: Some(messages(async |connection: Peer, _| {
                connection.close_with_code(4000, "enough");
                Ok(())
            })),
            ..noting(&log)
        };
        let address = serve(&table, Serve::peers(WebSocket::server, Rc::new(handlers)));
        let mut client = Client::open(address).await;
        client.send("hello").await;
        let Frame::Close(Some(frame)) = client.next().await else { panic!("no close") };
        assert_eq!(frame.to_string(), "4000: enough");
        client.close(4999, "fine").await;
        let closed = "closed by us (4000: enough), peer Some(\"4999: fine\")";
        assert_eq!(log.until("closed").await, closed);
    });
}

#[test]
fn an_answer_that_is_no_handshake_fails_the_client() {
    let wrong = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    for (answer, expected) in [
        (wrong, "protocol error: the server's sec-websocket-accept header is missing or wrong"),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "refused with status 404"),
        ("SSH-2.0-x\r\n\r\n", "protocol error: "),
        ("", "closed by peer"),
    ] {
        with_table(async |table| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("an address");
            let log = Log::default();
            dial(&table, address, ClientRequest::new("a", "/"), &log);
            let asked = crate::blocking(move || {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).expect("a request");
                    head.extend(byte);
                }
                std::io::Write::write_all(&mut stream, answer.as_bytes()).expect("written");
                head
            });
            assert!(asked.await.expect("no panic").starts_with(b"GET / HTTP/1.1\r\nHost: a\r\n"));
            log.until(expected).await;
        });
    }
}

#[test]
fn a_clients_masks_differ() {
    let make = WebSocket::client(ClientRequest::new("a", "/")).expect("fine");
    let mut driver = make();
    let mut masks = std::collections::HashSet::new();
    for _ in 0..100 {
        let mut frame = BytesMut::new();
        driver.encode(Message::from("x"), &mut frame).expect("fits");
        masks.insert(frame[2..6].to_vec());
    }
    assert!(masks.len() > 90, "{masks:?}");
    assert!(WebSocket::client(ClientRequest::new("a b", "/")).is_err());
}
