//! Outgoing connections that speak WebSocket, with the table itself as their server.

use lineman_wire::websocket::{HandshakeLimits, RequestParser};

use super::*;
use crate::connection::Handlers;
use crate::websocket::{Deflate, Message, Refusal, Request};

/// Serves an echo that accepts `/yes` and notes what it was asked for; returns its port.
fn serve(log: &Log) -> u16 {
    let asked = log.clone();
    let open = async move |_connection: Connection<WebSocket>, request: Request| {
        if request.path() != "/yes" {
            return Err(Refusal::new(403).into());
        }
        let header = request.header("x-secret").unwrap_or_default();
        asked.add(format!("{:?} {header}", request.query()));
        Ok(())
    };
    let echo = async |connection: Connection<WebSocket>, message: Message| connection.send(message);
    let handlers = Handlers {
        open: Some(boxed_with(open)),
        message: Some(messages(echo)),
        ..Handlers::default()
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let serve = Serve::peers(WebSocket::server, Rc::new(handlers));
    Table::current().expect("a table").listen(listener, serve).expect("a place in the table");
    port
}

#[test]
fn messages_go_both_ways() {
    run(async || {
        let log = Log::default();
        let url = format!("ws://127.0.0.1:{}/yes?a=1", serve(&log));
        let heard = log.clone();
        let handle = Outgoing::websocket(url)
            .header("X-Secret", "7")
            .compression(Deflate::new())
            .on_connect(async |connection| connection.send(Message::from("hello")))
            .on_message(async move |_connection, message| {
                heard.add(format!("{message:?}"));
                Ok(())
            })
            .connect()
            .expect("a good URL");
        let early = handle.send(Message::from("early")).expect_err("it is not open yet");
        assert_eq!(early.downcast_ref(), Some(&SendError::NotOpen));
        let lines = log.lines(2).await;
        assert_eq!(lines[0], "Some(\"a=1\") 7");
        assert!(lines[1].contains("hello"), "{lines:?}");
        handle.close();
    });
}

#[test]
fn a_refusal_is_a_failure_to_connect() {
    run(async || {
        let log = Log::default();
        let port = serve(&log);
        let url = format!("ws://127.0.0.1:{port}/no");
        let closed = log.clone();
        let outgoing = Outgoing::websocket(url).on_close(async move |_connection, reason| {
            closed.add(reason.to_string());
            Ok(())
        });
        let _handle = outgoing.connect().expect("a good URL");
        let expected = format!("connect failed: 127.0.0.1:{port}: refused with status 403");
        assert_eq!(log.lines(1).await, [expected]);
    });
}

/// RFC 9110, 15.2: interim answers come unasked. RFC 9112, 5.2: a folded line is unfolded.
#[test]
fn a_server_may_hint_before_it_answers() {
    run(async || {
        let (listener, address) = listen().await;
        let log = Log::default();
        let heard = log.clone();
        let outgoing = Outgoing::websocket(format!("ws://{address}/")).on_message(
            async move |_connection, message| {
                heard.add(format!("{message:?}"));
                Ok(())
            },
        );
        let handle = outgoing.connect().expect("a good URL");
        let mut server = accept(&listener).await;
        let mut asked = String::new();
        while !asked.ends_with("\r\n\r\n") {
            asked += &hear(&mut server).await;
        }
        let request = RequestParser::new().parse(asked.as_bytes(), &HandshakeLimits::default());
        let request = request.expect("good").expect("whole");
        let answer = lineman_wire::websocket::accept(&request, None, &[]).expect("it is accepted");
        let answer = String::from_utf8(answer.to_vec()).expect("text");
        let folded = answer.replace("Connection: ", "Connection:\r\n ");
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
        say(&mut server, &[hints, &folded].concat()).await;
        server.get_mut().write_all(b"\x81\x02hi").await.expect("written");
        let lines = log.lines(1).await;
        assert!(lines[0].contains("hi"), "{lines:?}");
        handle.close();
    });
}

#[test]
fn a_server_that_never_answers_meets_the_limit() {
    run(async || {
        let (listener, address) = listen().await;
        let (log, closed) = (Log::default(), Log::default());
        let noted = closed.clone();
        let began = Instant::now();
        let outgoing = Outgoing::websocket(format!("ws://{address}/"));
        let outgoing = outgoing.connect_limit(Duration::from_secs(4));
        let outgoing = outgoing.on_close(async move |_connection, reason| {
            noted.add(reason.to_string());
            Ok(())
        });
        let _handle = outgoing.connect().expect("a good URL");
        let mut silent = accept(&listener).await;
        log.add(hear(&mut silent).await);
        assert_eq!(log.lines(1).await, ["GET / HTTP/1.1\r\n"]);
        let reason = format!("connect failed: {address}: no answer within 4s");
        assert_eq!(closed.lines(1).await, [reason]);
        assert_eq!(began.elapsed(), Duration::from_secs(4));
    });
}

#[test]
fn a_bad_request_is_said_at_once() {
    run(async || {
        let bad_header = Outgoing::websocket("ws://a/").header("A", "b\r\nC: d");
        for (outgoing, problem) in [
            (Outgoing::websocket("http://a/"), "a websocket's URL begins with ws:// or wss://"),
            (bad_header, "header \"A\" cannot be set: its name or value is not allowed here"),
        ] {
            let error = outgoing.connect().expect_err(problem).to_string();
            assert!(error.ends_with(problem), "{error}");
        }
    });
}
