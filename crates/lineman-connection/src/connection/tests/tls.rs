//! TLS on the table: beneath any protocol, behind a PROXY header, begun in mid-stream, ended in order.

use std::time::Duration;

use lineman_wire::raw::Raw;

use super::*;
use crate::tls::tests::Files;
use crate::tls::{Connector, Parts as Pieces, Stream as Secure};

pub(super) type Client = Secure<TcpStream>;

/// Speaks TLS over a stream from here on.
pub(super) async fn secure(stream: TcpStream, files: &Files) -> Client {
    let connector = Connector::new(&files.client_tls()).expect("good files");
    let session = connector.session("localhost").expect("a good name");
    let (undecrypted, unread, unsent) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
    let mut client = Secure::new(Pieces { io: stream, session, undecrypted, unread, unsent });
    client.handshake().await.expect("a handshake");
    client
}

pub(super) async fn ask(client: &mut Client, said: &[u8], expected: &[u8]) {
    client.write_all(said).await.expect("written");
    client.flush().await.expect("sent");
    let mut got = vec![0; expected.len()];
    client.read_exact(&mut got).await.expect("an answer");
    assert!(got == expected, "{} bytes came as they were sent", got.len());
}

fn front(files: &Files) -> Front {
    Front { tls: Some(files.tls("server")), ..Front::default() }
}

fn echo(table: &Table, front: Front, log: &Log) -> SocketAddr {
    let handlers = Handlers {
        connect: Some(boxed(async |connection: Connection<Text>| connection.send("welcome"))),
        ..echoing(log)
    };
    serve(table, Serve::peers(Text::default, Rc::new(handlers)).front(front))
}

#[test]
fn lines_small_and_large_pass_and_the_end_is_told() {
    with_table(async |table| {
        let (files, log) = (Files::new(), Log::default());
        let address = echo(&table, front(&files), &log);
        let mut client = secure(connect(address).await, &files).await;
        ask(&mut client, b"", b"welcome\n").await;
        for size in [0, 1, 16_383, 16_384, 16_385, 400_000] {
            let line = [vec![b'x'; size], vec![b'\n']].concat();
            ask(&mut client, &line, &line).await;
        }
        client.shutdown().await.expect("ended");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("the server ends TLS too, not the socket alone");
        assert_eq!(rest, b"");
        log.until("closed by peer").await;
        assert_eq!(table.stats().protocol_errors, 0);
    });
}

#[test]
fn a_queue_larger_than_the_kernels_buffers_arrives_whole() {
    with_table(async |table| {
        let files = Files::new();
        let block = Bytes::from(vec![7; 3_000_000]);
        let sent = block.clone();
        let handlers = Handlers {
            connect: Some(boxed(async move |connection: Connection<Raw>| {
                connection.send(sent.clone())?;
                connection.close(CloseReason::Local);
                Ok(())
            })),
            ..Handlers::default()
        };
        let serve_it = Serve::peers(|| Raw, Rc::new(handlers)).front(front(&files));
        let mut client = secure(connect(serve(&table, serve_it)).await, &files).await;
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.expect("an orderly end");
        assert_eq!(got.len(), block.len());
    });
}

#[test]
fn a_websocket_shakes_hands_beneath_tls() {
    with_table(async |table| {
        let files = Files::new();
        let handlers = Handlers {
            message: Some(messages(async |connection: Connection<WebSocket>, message| {
                let tls = connection.tls().expect("it has TLS");
                assert_eq!(tls.server_name(), Some("localhost"));
                connection.send(message)
            })),
            ..Handlers::default()
        };
        let serve_it = Serve::peers(WebSocket::server, Rc::new(handlers)).front(front(&files));
        let mut client = secure(connect(serve(&table, serve_it)).await, &files).await;
        client.write_all(websockets::REQUEST.as_bytes()).await.expect("written");
        client.flush().await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.expect("an answer"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        ask(&mut client, &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'], &[0x81, 2, b'h', b'i']).await;
    });
}

#[test]
fn a_proxy_header_comes_before_tls() {
    with_table(async |table| {
        let files = Files::new();
        let handlers = Handlers {
            message: Some(messages(async |connection: Connection<Text>, _: String| {
                connection.send(connection.peer_addr().to_string())
            })),
            ..Handlers::default()
        };
        let trusted = "127.0.0.1".parse().expect("networks");
        let proxies = Some(Proxies::trust(trusted).proxy_protocol());
        let front = Front { proxies, ..front(&files) };
        let serve_it = Serve::peers(Text::default, Rc::new(handlers)).front(front);
        let mut stream = connect(serve(&table, serve_it)).await;
        say(&mut stream, "PROXY TCP4 203.0.113.9 192.0.2.1 40000 443\r\n").await;
        let mut client = secure(stream, &files).await;
        ask(&mut client, b"who\n", b"203.0.113.9:40000\n").await;
    });
}

/// Lines until STARTTLS, then the same over TLS.
fn starttls(table: &Table, files: &Files, log: &Log) -> SocketAddr {
    let (heard, closed) = (log.clone(), log.clone());
    let handlers = Handlers {
        message: Some(messages(async move |connection: Connection<Text>, line: String| {
            heard.add(&line);
            if line == "STARTTLS" {
                connection.send("go ahead")?;
                connection.start_tls()?;
                return Ok(());
            }
            let secure = connection.tls().is_some();
            connection.send(format!("{line} {secure}"))
        })),
        close: Some(boxed_with(async move |_: Connection<Text>, reason: CloseReason| {
            closed.add(format!("end: {reason}"));
            Ok(())
        })),
        ..Handlers::default()
    };
    let front = Front { tls_on_demand: Some(files.tls("server")), ..Front::default() };
    serve(table, Serve::peers(Text::default, Rc::new(handlers)).front(front))
}

#[test]
fn tls_begins_in_mid_stream() {
    with_table(async |table| {
        let (files, log) = (Files::new(), Log::default());
        let mut stream = connect(starttls(&table, &files, &log)).await;
        say(&mut stream, "a\nSTARTTLS\n").await;
        hear(&mut stream, "a false\ngo ahead\n").await;
        let mut client = secure(stream, &files).await;
        ask(&mut client, b"b\n", b"b true\n").await;
    });
}

/// What stands behind STARTTLS in the same packet was not protected: nobody may take it for that.
#[test]
fn nothing_can_be_slipped_in_before_the_handshake() {
    with_table(async |table| {
        let (files, log) = (Files::new(), Log::default());
        let mut stream = connect(starttls(&table, &files, &log)).await;
        say(&mut stream, "STARTTLS\nslipped in\n").await;
        log.until("end: TLS").await;
        assert_eq!(log.lines().first().map(String::as_str), Some("STARTTLS"));
        assert_eq!(log.lines().len(), 2, "{:?}", log.lines());
    });
}

#[test]
fn what_is_no_tls_is_closed_and_counted() {
    with_table(async |table| {
        let (files, log) = (Files::new(), Log::default());
        let address = echo(&table, front(&files), &log);
        let mut peer = connect(address).await;
        say(&mut peer, "GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(rest(&mut peer).await, b"");
        table.emptied().await;
        assert_eq!(table.stats().protocol_errors, 1);
        assert_eq!(log.lines(), Vec::<String>::new(), "no handler has heard of it");
    });
}

#[test]
fn a_handshake_that_stops_has_a_deadline() {
    with_table_and_paused_clock(async |table| {
        let files = Files::new();
        let address = echo(&table, front(&files), &Log::default());
        let mut peer = connect(address).await;
        // A handshake record that announces more than comes.
        say(&mut peer, [0x16, 3, 1, 1, 0, 1, 0]).await;
        let begun = tokio::time::Instant::now();
        assert_eq!(rest(&mut peer).await, b"");
        assert!(begun.elapsed() >= Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(table.stats().handshakes_failed, 1);
    });
}

#[test]
fn a_broken_certificate_is_an_error_of_the_start() {
    with_table(async |table| {
        let tls = Some(crate::tls::Tls::files("/nowhere.pem", "/nowhere.key"));
        let serve_it = Serve::peers(Text::default, Rc::new(Handlers::default()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let error = table.listen(listener, serve_it.front(Front { tls, ..Front::default() }));
        let error = error.expect_err("no such file").to_string();
        assert!(error.contains("/nowhere.pem"), "{error}");
    });
}
