//! What a connection is to its service and to a drain.

use axum::body::BodyDataStream;
use futures_util::stream;

use super::*;
use crate::connection::{CloseReason, Others, Proxies};

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_drain_fails_no_request() {
    with_table(async |table| {
        let service = tower::service_fn(async |_: Request<Body>| {
            sleep(seconds(5)).await;
            Ok::<_, Infallible>(Response::new("done".to_owned()))
        });
        let address = listen(&table, Http::new(service));
        let (mut silent, mut idle) = (connect(address).await, connect(address).await);
        for peer in [&mut silent, &mut idle] {
            say(peer, GET).await;
            let answer = hear(peer).await;
            assert!(!answer.contains("connection") && answer.ends_with("done"), "{answer}");
        }
        let mut busy = connect(address).await;
        say(&mut busy, GET).await;
        until_peers(&table, 3).await;
        sleep(seconds(1)).await;
        table.stop_accepting();
        let last =
            |answer: String| answer.contains("connection: close\r\n") && answer.ends_with("done");
        // One more request that was on its way.
        sleep(Duration::from_millis(900)).await;
        say(&mut idle, GET).await;
        let answer = rest(&mut busy).await;
        assert!(last(answer.clone()), "what is under way is answered: {answer}");
        assert!(last(rest(&mut idle).await), "and so is one more request");
        drop((idle, busy));
        assert_eq!(table.close_all(&CloseReason::GoingAway), 0, "hyper has it, not the slab");
        assert_eq!(rest(&mut silent).await, "");
        drop(silent);
        table.emptied().await;
    });
}

#[test]
fn a_service_knows_its_peers_address() {
    with_table(async |table| {
        let service = tower::service_fn(async |request: Request<Body>| {
            let peer = request.extensions().get::<Address>().expect("an address");
            Ok::<_, Infallible>(Response::new(peer.to_string()))
        });
        let mut peer = connect(listen(&table, Http::new(service))).await;
        say(&mut peer, GET).await;
        let address = peer.local_addr().expect("an address").to_string();
        assert!(hear(&mut peer).await.ends_with(&address));
    });
}

#[test]
fn a_trusted_proxy_tells_who_asks() {
    with_table(async |table| {
        let service = tower::service_fn(async |request: Request<Body>| {
            let peer = request.extensions().get::<Address>().and_then(Address::ip);
            Ok::<_, Infallible>(Response::new(peer.expect("an address").to_string()))
        });
        let told = GET.replace("Host", "X-Forwarded-For: 192.0.2.7\r\nHost");
        for (trusted, others, expected) in [
            ("127.0.0.1", Others::Ignore, "\r\n\r\n192.0.2.7"),
            ("10.0.0.0/8", Others::Ignore, "\r\n\r\n127.0.0.1"),
            ("10.0.0.0/8", Others::Refuse, "HTTP/1.1 400 Bad Request"),
        ] {
            let trusted = trusted.parse().expect("a network");
            let proxies = Proxies::trust(trusted).x_forwarded_for().others(others);
            let front = Front { proxies: Some(proxies), ..Front::default() };
            let mut peer = connect(listen_with(&table, Http::new(service), front)).await;
            say(&mut peer, &told).await;
            let answer = hear(&mut peer).await;
            assert!(answer.contains(expected), "{answer}");
        }
    });
}

/// Server-sent events: an answer without an end, whose service says nothing for long.
#[test]
fn an_answer_may_wait_for_its_service_as_long_as_it_likes() {
    with_table(async |table| {
        let service = tower::service_fn(async |_: Request<Body>| {
            let events = stream::unfold(0, async |count| {
                sleep(seconds(3600)).await;
                (count < 3).then(|| (Ok::<_, Infallible>(format!("event {count}\n")), count + 1))
            });
            let body: BodyDataStream = AxumBody::from_stream(events).into_data_stream();
            Ok::<_, Infallible>(Response::new(AxumBody::from_stream(body)))
        });
        let mut peer = connect(listen(&table, Http::new(service))).await;
        say(&mut peer, GET.replace("Host", "Connection: close\r\nHost")).await;
        let answer = rest(&mut peer).await;
        assert!(answer.contains("event 0") && answer.contains("event 2"), "{answer}");
    });
}

/// Linux tells an end and a half-closed side alike: only writing finds out that nobody is there.
#[test]
fn a_peer_that_is_gone_ends_a_stream_with_its_next_event() {
    with_table(async |table| {
        let service = tower::service_fn(async |_: Request<Body>| {
            let events = stream::repeat_with(|| Ok::<_, Infallible>("event\n"));
            let slowly = futures_util::StreamExt::then(events, async |event| {
                sleep(seconds(15)).await;
                event
            });
            Ok::<_, Infallible>(Response::new(AxumBody::from_stream(slowly)))
        });
        let mut peer = connect(listen(&table, Http::new(service))).await;
        say(&mut peer, GET).await;
        hear_head(&mut peer).await;
        drop(peer);
        table.emptied().await;
    });
}

#[test]
fn a_drain_waits_for_no_connection_that_is_idle() {
    with_table(async |table| {
        let address = listen(&table, Http::new(Echo(Seen::default())));
        let mut idle = connect(address).await;
        say(&mut idle, GET).await;
        hear(&mut idle).await;
        sleep(seconds(10)).await;
        let mut fresh = connect(address).await;
        say(&mut fresh, GET).await;
        hear(&mut fresh).await;
        let (preconnected, mut half) = (connect(address).await, connect(address).await);
        say(&mut half, "GET /a HTTP/1.1\r\nHo").await;
        sleep(Duration::from_millis(100)).await;
        table.stop_accepting();
        let began = Instant::now();
        // One that is not idle has its answer, and hears that it is the last.
        say(&mut fresh, GET).await;
        assert!(hear(&mut fresh).await.contains("connection: close"));
        // The paused clock leaps over the time that TCP may take to say that an answer came.
        drop(fresh);
        assert_eq!(rest(&mut idle).await, "");
        assert!(began.elapsed() <= seconds(1), "{:?}", began.elapsed());
        assert_eq!(statuses(&rest(&mut half).await), [408]);
        drop(half);
        table.emptied().await;
        assert!(began.elapsed() <= seconds(3), "{:?}", began.elapsed());
        drop(preconnected);
    });
}

#[test]
fn a_last_answer_arrives_whole_at_a_slow_reader_that_goes_on_speaking() {
    with_table(async |table| {
        let service = tower::service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(Response::new("y".repeat(50_000)))
        });
        let address = listen(&table, Http::new(service));
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(8192).expect("an option");
        let mut peer = socket.connect(address).await.expect("connected");
        say(&mut peer, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        let (mut got, mut buffer) = (0, vec![0; 5_000]);
        loop {
            sleep(seconds(1)).await;
            match peer.read(&mut buffer).await.expect("no reset") {
                0 => break,
                count => got += count,
            }
            // Bytes that a closed socket would answer with a reset.
            let _ended = peer.write_all(b"more").await;
        }
        assert!(got > 50_000, "{got}");
        drop(peer);
        table.emptied().await;
        assert_eq!(table.stats().ends_cut, 0);
    });
}

#[test]
fn a_last_answer_that_its_peer_does_not_read_is_given_up_and_counted() {
    with_table(async |table| {
        let service = tower::service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(Response::new("y".repeat(50_000)))
        });
        let limits = Limits { answer_stall: seconds(30), ..Limits::default() };
        let address = listen(&table, Http::new(service).limits(limits));
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(8192).expect("an option");
        let mut peer = socket.connect(address).await.expect("connected");
        say(&mut peer, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        until_peers(&table, 1).await;
        let begun = Instant::now();
        table.emptied().await;
        // What its kernel has taken earns it some time: 50,000 bytes are 195 s at the least rate.
        let took = begun.elapsed();
        assert!((seconds(30)..seconds(30 + 196)).contains(&took), "{took:?}");
        assert_eq!(table.stats().ends_cut, 1);
    });
}
