//! Bodies, both ways: HEAD, `Expect`, half-closed peers, and what is too large or too slow.

use super::*;

fn limited(seen: &Seen, limits: Limits) -> Http {
    Http::new(Echo(seen.clone())).limits(limits)
}

fn ten_bytes(seen: &Seen) -> Http {
    limited(seen, Limits { body_size: 10, ..Limits::default() })
}

/// RFC 9110, 9.3.2.
#[test]
fn head_has_the_head_of_get_and_no_body() {
    with_table(async |table| {
        let address = listen(&table, Http::new(Echo(Seen::default())));
        let mut peer = connect(address).await;
        say(&mut peer, "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n")
            .await;
        let head = hear_head(&mut peer).await;
        assert!(head.contains("content-length: 7\r\n"), "{head}");
        assert!(hear(&mut peer).await.ends_with("\r\n\r\nGET /b"));
    });
}

/// RFC 9110, 10.1.1.
#[test]
fn who_expects_100_continue_is_told_when_the_body_is_wanted() {
    with_table(async |table| {
        let seen = Seen::default();
        let address = listen(&table, ten_bytes(&seen));
        let mut peer = connect(address).await;
        let head =
            "POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        say(&mut peer, head).await;
        assert_eq!(hear_head(&mut peer).await, "HTTP/1.1 100 Continue\r\n\r\n");
        say(&mut peer, "hi").await;
        assert_eq!(statuses(&hear(&mut peer).await), [200]);
        // One that is refused is told so instead, and before it sends anything.
        say(&mut peer, head.replace("Length: 2", "Length: 11")).await;
        assert_eq!(statuses(&rest(&mut peer).await), [413]);
        // HTTP/1.0 has no 100.
        let mut old = connect(address).await;
        say(&mut old, [&head.replace("HTTP/1.1", "HTTP/1.0"), "hi"].concat()).await;
        assert_eq!(statuses(&rest(&mut old).await), [200]);
        assert_eq!(seen.0.take(), ["POST /a h hi", "POST /a h hi"]);
    });
}

/// RFC 9112, 9.6: the peer may end its side and still read.
#[test]
fn a_half_closed_peer_gets_its_answers() {
    with_table(async |table| {
        let service = tower::service_fn(async |request: Request<Body>| {
            sleep(seconds(600)).await;
            Ok::<_, Infallible>(Response::new(request.uri().path().to_owned()))
        });
        let address = listen(&table, Http::new(service));
        let mut peer = connect(address).await;
        say(&mut peer, "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n")
            .await;
        peer.shutdown().await.expect("half-closed");
        let answers = rest(&mut peer).await;
        assert_eq!(statuses(&answers), [200, 200], "{answers}");
        assert!(answers.contains("/a") && answers.ends_with("/b"), "{answers}");
    });
}

#[test]
fn a_body_that_announces_too_much_is_refused_unread() {
    with_table(async |table| {
        let seen = Seen::default();
        let address = listen(&table, ten_bytes(&seen));
        let mut peer = connect(address).await;
        // More than the kernel takes: the refusal has to survive what nobody reads.
        let body = "x".repeat(16 * 1024 * 1024);
        let head = format!("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
        let (mut reader, mut writer) = peer.split();
        let mut answer = String::new();
        let (written, answered) = tokio::join!(
            async {
                writer.write_all(head.as_bytes()).await?;
                writer.write_all(body.as_bytes()).await
            },
            async {
                let mut byte = [0];
                while !answer.ends_with("\r\n\r\n") {
                    reader.read_exact(&mut byte).await?;
                    answer.push(char::from(byte[0]));
                }
                Ok::<_, io::Error>(())
            },
        );
        answered.expect("the refusal is not lost to a reset");
        assert_eq!(statuses(&answer), [413]);
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(seen.0.take().is_empty());
        drop(written);
    });
}

#[test]
fn a_body_that_turns_out_too_large_is_413_whatever_the_service_says() {
    with_table(async |table| {
        let seen = Seen::default();
        let address = listen(&table, ten_bytes(&seen));
        let mut peer = connect(address).await;
        let head = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        say(&mut peer, [head, "a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n"].concat()).await;
        assert_eq!(statuses(&rest(&mut peer).await), [413]);
        let mut fits = connect(address).await;
        say(&mut fits, [head, "a\r\n0123456789\r\n0\r\n\r\n"].concat()).await;
        assert_eq!(statuses(&hear(&mut fits).await), [200]);
        assert_eq!(seen.0.take(), ["POST /a h broken", "POST /a h 0123456789"]);
    });
}

const HUNDRED: &str = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n";

#[test]
fn a_body_that_stops_is_408() {
    with_table(async |table| {
        let address = listen(&table, Http::new(Echo(Seen::default())));
        let mut peer = connect(address).await;
        say(&mut peer, [HUNDRED, "and then nothing"].concat()).await;
        assert_eq!(statuses(&rest(&mut peer).await), [408]);
    });
}

#[test]
fn a_body_that_drips_is_408_and_a_slow_one_is_not() {
    with_table(async |table| {
        let seen = Seen::default();
        let limits = Limits { body_stall: seconds(30), body_rate: 2, ..Limits::default() };
        let address = listen(&table, limited(&seen, limits));
        for (pause, expected) in [(20, 408), (1, 200)] {
            let mut peer = connect(address).await;
            say(&mut peer, HUNDRED).await;
            let (mut reader, mut writer) = peer.split();
            let drip = async {
                for _ in 0..50 {
                    sleep(seconds(pause)).await;
                    if writer.write_all(b"xx").await.is_err() {
                        return;
                    }
                }
            };
            let mut answer = vec![0; 12];
            let ((), heard) = tokio::join!(drip, reader.read_exact(&mut answer));
            heard.expect("an answer");
            assert_eq!(statuses(std::str::from_utf8(&answer).expect("text")), [expected]);
        }
    });
}

#[test]
fn a_service_that_takes_its_time_is_not_the_peers_fault() {
    with_table(async |table| {
        let service = tower::service_fn(async |request: Request<Body>| {
            sleep(seconds(3600)).await;
            let body = to_bytes(AxumBody::new(request.into_body()), usize::MAX).await;
            Ok::<_, Infallible>(Response::new(body.expect("a whole body").len().to_string()))
        });
        let address = listen(&table, Http::new(service));
        let mut peer = connect(address).await;
        say(&mut peer, [HUNDRED, &"x".repeat(100)].concat()).await;
        assert!(hear(&mut peer).await.ends_with("\r\n\r\n100"));
    });
}
