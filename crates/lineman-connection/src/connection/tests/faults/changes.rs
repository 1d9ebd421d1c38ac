//! A change of protocol keeps what the connection was: its weight, an end that was asked for, TLS that was
//! begun, and what was sent before.

use lineman_wire::framed::Framed;

use super::*;
use crate::tls::tests::Files;

/// Frames that are echoed; tells when they begin and why they end.
fn frames(log: &Log) -> Rc<Serve<Framed>> {
    let (opened, closed) = (log.clone(), log.clone());
    let handlers = Handlers {
        connect: Some(boxed(async move |_: Connection<Framed>| {
            opened.add("changed");
            Ok(())
        })),
        message: Some(messages(async |connection: Connection<Framed>, frame| {
            connection.send(frame)
        })),
        close: Some(boxed_with(async move |_: Connection<Framed>, reason: CloseReason| {
            closed.add(format!("end: {reason}"));
            Ok(())
        })),
        ..Handlers::default()
    };
    Rc::new(Serve::peers(Framed::default, Rc::new(handlers)))
}

fn tls_on_demand(files: &Files) -> Front {
    Front { tls_on_demand: Some(files.tls("server")), ..Front::default() }
}

#[test]
fn an_end_that_was_asked_for_with_nothing_queued_is_said_by_the_successor() {
    paused(async |table| {
        let log = Log::default();
        let mut line = Line::with_limits(&table, Limits::default()).await;
        line.connection.end();
        line.connection.change_protocol(&frames(&log));
        assert_eq!(rest(&mut line.peer).await, b"");
        log.until("end: closed by us").await;
    });
}

#[test]
fn an_outgoing_connection_stays_one_whatever_it_speaks() {
    paused(async |table| {
        let log = Log::default();
        let line = Line::with_limits(&table, Limits::default()).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let serve = Serve::outgoing(Text::default, Rc::new(Handlers::<Text>::default()));
        let address = listener.local_addr().expect("an address");
        let out = table.connect(address, &Rc::new(serve)).expect("a place");
        let (server, _) = listener.accept().await.expect("a connection");
        settle().await;
        out.change_protocol(&frames(&log));
        log.until("changed").await;
        assert_eq!(table.len(), 1, "a peer, and it is none");
        drop(server);
        log.until("end").await;
        assert_eq!(table.len(), 1);
        table.close_all(&CloseReason::GoingAway);
        drop(line);
        table.emptied().await;
    });
}

#[test]
fn a_change_that_was_asked_for_with_tls_comes_after_it() {
    let files = Files::new();
    paused(async |table| {
        let log = Log::default();
        let line = Line::open(&table, tls_on_demand(&files)).await;
        line.connection.start_tls().expect("it is set");
        line.connection.change_protocol(&frames(&log));
        settle().await;
        assert_eq!(log.lines(), Vec::<String>::new(), "TLS is not up");
        let mut client = tls::secure(line.peer, &files).await;
        tls::ask(&mut client, b"\0\0\0\x05x", b"\0\0\0\x05x").await;
        log.until("changed").await;
    });
}

#[test]
fn a_change_in_the_middle_of_a_handshake_leaves_it_its_deadline() {
    let files = Files::new();
    paused(async |table| {
        let log = Log::default();
        let mut line = Line::open(&table, tls_on_demand(&files)).await;
        line.connection.start_tls().expect("it is set");
        settle().await;
        line.connection.change_protocol(&frames(&log));
        let begun = Instant::now();
        rest(&mut line.peer).await;
        assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
        line.log.until("end: handshake timed out").await;
        assert_eq!(log.lines(), Vec::<String>::new(), "it never changed");
    });
}

#[test]
fn what_was_sent_before_leaves_before_an_http_answer() {
    paused(async |table| {
        let service = tower::service_fn(async |request: http::Request<crate::http::Body>| {
            Ok::<_, std::convert::Infallible>(http::Response::new(request.uri().path().to_owned()))
        });
        let http = Some(crate::http::Http::new(service));
        let handlers = Rc::new(Handlers::<WebSocket>::default());
        let websockets = Rc::new(Serve::peers(WebSocket::server, handlers).http(http));
        let text = Handlers {
            message: Some(messages(async move |connection: Connection<Text>, _: String| {
                connection.send("go ahead")?;
                connection.change_protocol(&websockets);
                Ok(())
            })),
            ..Handlers::default()
        };
        let address = serve(&table, Serve::peers(Text::default, Rc::new(text)));
        let mut peer = connect(address).await;
        say(&mut peer, "http\nGET /page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        let got = String::from_utf8(rest(&mut peer).await).expect("text");
        assert!(got.starts_with("go ahead\nHTTP/1.1 200 OK") && got.ends_with("/page"), "{got}");
    });
}

#[test]
fn a_pipe_of_two_that_are_gone_keeps_neither() {
    paused(async |table| {
        let left = Line::with_limits(&table, Limits::default()).await;
        let right = Line::with_limits(&table, Limits::default()).await;
        let entries = [&left, &right].map(|line| Rc::downgrade(line.connection.entry()));
        left.connection.abort();
        right.connection.abort();
        left.connection.pipe(&right.connection);
        right.connection.pipe(&left.connection);
        settle().await;
        drop((left, right));
        settle().await;
        assert!(entries.iter().all(|entry| entry.upgrade().is_none()));
    });
}

#[test]
fn a_rate_that_was_waited_for_leaves_no_memory_behind() {
    paused(async |table| {
        let mut line = Line::with_limits(&table, one_a_second(Duration::from_secs(10))).await;
        say(&mut line.peer, "1\n2\n3\n").await;
        hear(&mut line.peer, "1\n2\n3\n").await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(line.connection.entry().due.borrow().owns_nothing());
    });
}
