//! Each bound of a connection, met: the named answer, and that nobody else notices.

use bytes::BytesMut;
use lineman_wire::text::Text;

use super::*;
use crate::connection::{self, Connection, Handlers, Serve, messages};
use crate::tls::tests::Files;
use crate::tls::{self, Connector, Parts};

fn echo() -> Http {
    Http::new(Echo(Seen::default()))
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_head_beyond_its_bounds_is_431() {
    with_table(async |table| {
        let address = listen(&table, echo());
        let long = format!("X: {}\r\n", "x".repeat(16 * 1024));
        let many = "X: y\r\n".repeat(100);
        let endless = "x".repeat(1024 * 1024);
        for fields in [&long, &many, &endless] {
            let mut peer = connect(address).await;
            say(&mut peer, format!("GET /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n")).await;
            assert_eq!(statuses(&rest(&mut peer).await), [431]);
        }
        let mut fits = connect(address).await;
        let (long, many) = ("x".repeat(15 * 1024), "X: y\r\n".repeat(98));
        say(&mut fits, format!("GET /a HTTP/1.1\r\nHost: h\r\nY: {long}\r\n{many}\r\n")).await;
        assert_eq!(statuses(&hear(&mut fits).await), [200]);
    });
}

#[test]
fn a_head_that_drips_is_408_at_its_limit() {
    with_table(async |table| {
        let address = listen(&table, echo());
        let mut peer = connect(address).await;
        // The second request of a connection has the same time as the first, from its first byte.
        for _ in 0..2 {
            say(&mut peer, GET).await;
            assert_eq!(statuses(&hear(&mut peer).await), [200]);
            sleep(seconds(60)).await;
        }
        let began = Instant::now();
        let (mut reader, mut writer) = peer.split();
        let mut answer = Vec::new();
        let drip = async {
            for byte in GET.bytes() {
                if writer.write_all(&[byte]).await.is_err() {
                    return;
                }
                sleep(seconds(4)).await;
            }
        };
        tokio::select! {
            () = drip => unreachable!("it was not stopped"),
            read = reader.read_to_end(&mut answer) => drop(read),
        }
        assert_eq!(statuses(&String::from_utf8(answer).expect("text")), [408]);
        assert!(began.elapsed() < seconds(12), "{:?}", began.elapsed());
    });
}

#[test]
fn a_silent_peer_is_closed_without_a_word() {
    with_table(async |table| {
        let address = listen(&table, echo());
        assert_eq!(rest(&mut connect(address).await).await, "");
        let mut idle = connect(address).await;
        say(&mut idle, GET).await;
        assert_eq!(statuses(&hear(&mut idle).await), [200]);
        let since = Instant::now();
        assert_eq!(rest(&mut idle).await, "");
        assert!(since.elapsed() >= Limits::default().keep_alive);
        drop(idle);
        table.emptied().await;
    });
}

#[test]
fn the_last_request_of_a_connection_is_told() {
    with_table(async |table| {
        let limits = Limits { requests: 3, ..Limits::default() };
        let address = listen(&table, echo().limits(limits));
        let mut peer = connect(address).await;
        say(&mut peer, GET.repeat(5)).await;
        let answers = rest(&mut peer).await;
        assert_eq!(statuses(&answers), [200, 200, 200]);
        assert_eq!(answers.matches("connection: close\r\n").count(), 1);
    });
}

/// The wait for the peer's end began anew with each look at it.
#[test]
fn a_peer_that_does_not_end_after_a_close_is_dropped() {
    with_table(async |table| {
        let address = listen(&table, echo());
        let mut peer = connect(address).await;
        say(&mut peer, GET.replace("Host", "Connection: close\r\nHost")).await;
        assert_eq!(statuses(&rest(&mut peer).await), [200]);
        let since = Instant::now();
        table.emptied().await;
        assert!(since.elapsed() < seconds(2), "{:?}", since.elapsed());
    });
}

#[test]
fn a_peer_that_never_reads_its_answer_is_dropped() {
    with_table(async |table| {
        let service = tower::service_fn(async |_: Request<Body>| {
            // More than the kernel holds for both ends.
            Ok::<_, Infallible>(Response::new("x".repeat(64 * 1024 * 1024)))
        });
        let address = listen(&table, Http::new(service));
        let mut peer = connect(address).await;
        say(&mut peer, GET).await;
        until_peers(&table, 1).await;
        table.emptied().await;
    });
}

#[test]
fn a_panic_costs_its_own_connection() {
    with_table(async |table| {
        let service = tower::service_fn(async |request: Request<Body>| {
            assert!(request.uri().path() == "/sound", "as the test wants");
            Ok::<_, Infallible>(Response::new("sound".to_owned()))
        });
        let address = listen(&table, Http::new(service));
        let mut innocent = connect(address).await;
        let sound = GET.replace("/a", "/sound");
        say(&mut innocent, &sound).await;
        assert_eq!(statuses(&hear(&mut innocent).await), [200]);
        let mut peer = connect(address).await;
        say(&mut peer, GET).await;
        assert_eq!(statuses(&rest(&mut peer).await), [500]);
        say(&mut innocent, &sound).await;
        assert_eq!(statuses(&hear(&mut innocent).await), [200]);
        drop((peer, innocent));
        table.emptied().await;
    });
}

/// A body's panic ends hyper's task; the place among the peers must not stay taken, or no drain ends.
#[test]
fn a_panic_in_an_answers_body_leaves_no_ghost() {
    struct Panics;
    impl http_body::Body for Panics {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
            unreachable!("as the test wants")
        }
    }
    with_table(async |table| {
        let service = tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(Panics)));
        let address = listen(&table, Http::new(service));
        let mut peer = connect(address).await;
        say(&mut peer, GET).await;
        // A close or a reset: what was read of the answer does not matter.
        drop(peer.read_to_end(&mut Vec::new()).await);
        table.emptied().await;
    });
}

#[test]
fn limits_of_time_may_be_endless() {
    with_table(async |table| {
        let endless = Duration::MAX;
        let limits = Limits {
            header_time: endless,
            body_stall: endless,
            answer_stall: endless,
            keep_alive: endless,
            ..Limits::default()
        };
        let address = listen(&table, echo().limits(limits));
        // Time that leaps before bytes are seen leaps a second, not to the end of a limit.
        tokio::task::spawn_local(async {
            loop {
                sleep(seconds(1)).await;
            }
        });
        let mut peer = connect(address).await;
        for _ in 0..2 {
            say(&mut peer, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe").await;
            sleep(seconds(3600)).await;
            say(&mut peer, "llo").await;
            assert_eq!(statuses(&hear(&mut peer).await), [200]);
            sleep(seconds(3600)).await;
        }
    });
}

#[test]
fn a_large_body_is_not_read_while_the_process_holds_too_much_and_small_ones_are() {
    with_table(async |table| {
        let seen = Seen::default();
        let address = listen(&table, Http::new(Echo(seen.clone())));
        table.set_budget(2_000_000);
        let post = |length: usize| {
            format!("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n")
        };
        let mut large = connect(address).await;
        say(&mut large, post(3_000_000)).await;
        let (mut reader, mut writer) = large.split();
        let write = async {
            // The kernel takes what is not read.
            let _cut = writer.write_all(&vec![b'x'; 3_000_000]).await;
        };
        let others = async {
            while table.stats().held_bytes < 1_000_000 {
                sleep(Duration::from_millis(1)).await;
            }
            sleep(seconds(1)).await;
            let held = table.stats().held_bytes;
            assert!(held < 1_400_000, "{held}");
            let mut small = connect(address).await;
            say(&mut small, [&post(2), "hi"].concat()).await;
            assert_eq!(statuses(&hear(&mut small).await), [200]);
            // What waits too long is told that it is not its own fault.
            let mut answer = vec![0; 12];
            reader.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(answer, b"HTTP/1.1 503");
        };
        tokio::join!(write, others);
        while table.stats().held_bytes > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(seen.0.take(), ["POST /a h hi", "POST /a h broken"]);
    });
}

#[test]
fn the_time_in_which_a_body_is_not_read_is_not_its_peers() {
    with_table(async |table| {
        let seen = Seen::default();
        let address = listen(&table, Http::new(Echo(seen.clone())));
        table.set_budget(2_000_000);
        let mut peer = connect(address).await;
        say(&mut peer, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100003\r\n\r\n").await;
        say(&mut peer, vec![b'x'; 100_000]).await;
        sleep(seconds(10)).await;
        let other = table.holder();
        let held = other.count(Bytes::from(vec![0; 1_200_000]));
        say(&mut peer, "a").await;
        sleep(seconds(20)).await;
        drop(held);
        sleep(seconds(20)).await;
        say(&mut peer, "bc").await;
        assert_eq!(statuses(&hear(&mut peer).await), [200]);
    });
}

/// Waits until the table holds so much.
async fn until_held(table: &Table, least: u64) {
    for _ in 0..1000 {
        if table.stats().held_bytes >= least {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("{} bytes are held", table.stats().held_bytes);
}

fn ten_megabytes() -> Http {
    Http::new(tower::service_fn(async |_: Request<Body>| {
        Ok::<_, Infallible>(Response::new("x".repeat(10_000_000)))
    }))
}

#[test]
fn what_a_peer_does_not_read_of_an_answer_counts_over_tls() {
    with_table(async |table| {
        let files = Files::new();
        let front = Front { tls: Some(files.tls("server")), ..Front::default() };
        let address = listen_with(&table, ten_megabytes(), front);
        let io = connect(address).await;
        // The paused clock leaps over the time in which Nagle's algorithm keeps the request back.
        io.set_nodelay(true).expect("an option");
        let session = Connector::new(&files.client_tls()).expect("good files").session("localhost");
        let (session, none) = (session.expect("a good name"), BytesMut::new);
        let parts = Parts { io, session, undecrypted: none(), unread: none(), unsent: none() };
        let mut peer = tls::Stream::new(parts);
        peer.handshake().await.expect("a handshake");
        peer.write_all(GET.as_bytes()).await.expect("written");
        peer.flush().await.expect("sent");
        until_held(&table, 10_000_000).await;
        let mut answer = vec![0; 10_000_000];
        peer.read_exact(&mut answer).await.expect("all of it");
    });
}

#[test]
fn requests_are_refused_when_the_budget_is_used_to_three_quarters() {
    with_table(async |table| {
        let service = tower::service_fn(async |request: Request<Body>| {
            let body = if request.uri().path() == "/large" {
                "x".repeat(8_000_000)
            } else {
                String::new()
            };
            Ok::<_, Infallible>(Response::new(body))
        });
        let address = listen(&table, Http::new(service));
        let mut slow = connect(address).await;
        say(&mut slow, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n").await;
        while table.stats().held_bytes < 8_000_000 {
            sleep(Duration::from_millis(1)).await;
        }
        table.set_budget(10_000_000);
        let mut late = connect(address).await;
        say(&mut late, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(statuses(&rest(&mut late).await), [503]);
        assert_eq!(table.stats().budget_refused, 1);
        // After five seconds the one that takes nothing of its answer is closed for the others.
        while table.stats().held_bytes > 0 {
            sleep(seconds(1)).await;
        }
        assert_eq!(table.stats().budget_closed, 1);
        let mut next = connect(address).await;
        say(&mut next, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(statuses(&hear(&mut next).await), [200]);
    });
}

#[test]
fn an_answer_has_a_least_rate() {
    with_table(async |table| {
        let service = tower::service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(Response::new("x".repeat(64 * 1024 * 1024)))
        });
        let limits = Limits { answer_rate: 1_000_000, ..Limits::default() };
        let address = listen(&table, Http::new(service).limits(limits));
        let mut peer = connect(address).await;
        say(&mut peer, GET).await;
        until_peers(&table, 1).await;
        // Four megabytes at once, every fifty seconds: it does not stall for sixty, and is dropped before
        // it has read three quarters.
        let read = async {
            let mut piece = vec![0; 4 * 1024 * 1024];
            for _ in 0..12 {
                peer.read_exact(&mut piece).await.expect("more of the answer");
                sleep(seconds(50)).await;
            }
        };
        tokio::select! {
            () = read => unreachable!("it is served for ever"),
            () = table.emptied() => {}
        }
    });
}

#[test]
fn an_address_has_so_many_requests_under_way() {
    with_table(async |table| {
        let service = tower::service_fn(async |request: Request<Body>| {
            sleep(seconds(10)).await;
            Ok::<_, Infallible>(Response::new(request.uri().path().to_owned()))
        });
        let limits = Limits { requests_per_address: 2, ..Limits::default() };
        let address = listen(&table, Http::new(service).limits(limits));
        let mut peers = Vec::new();
        for _ in 0..3 {
            let mut peer = connect(address).await;
            say(&mut peer, GET).await;
            sleep(seconds(1)).await;
            peers.push(peer);
        }
        assert_eq!(statuses(&rest(&mut peers[2]).await), [429]);
        assert_eq!(table.stats().limited_requests, 1);
        for peer in &mut peers[..2] {
            assert_eq!(statuses(&hear(peer).await), [200]);
        }
        say(&mut peers[0], GET).await;
        assert_eq!(statuses(&hear(&mut peers[0]).await), [200]);
    });
}

#[test]
fn a_time_of_zero_is_no_limit() {
    with_table(async |table| {
        let zero = Duration::ZERO;
        let limits = connection::Limits {
            handshake_time: zero,
            message_time: zero,
            close_time: zero,
            end_time: zero,
            heartbeat: Some(zero),
            ..connection::Limits::default()
        };
        let front = || Front { limits: limits.clone(), ..Front::default() };
        let http_limits = Limits {
            header_time: zero,
            body_stall: zero,
            answer_stall: zero,
            keep_alive: zero,
            ..Limits::default()
        };
        let echo =
            messages(async |connection: Connection<Text>, line: String| connection.send(line));
        let lines = Handlers { message: Some(echo), ..Handlers::default() };
        let (listener, address) = listener();
        let lines = Serve::peers(Text::default, Rc::new(lines)).front(front());
        table.listen(listener, lines).expect("a place");
        let http = Http::new(Echo(Seen::default())).limits(http_limits);
        let http = listen_with(&table, http, front());
        let day = Duration::from_hours(24);

        let (mut line, mut silent) = (connect(address).await, connect(http).await);
        say(&mut line, "hel").await;
        sleep(day).await;
        say(&mut line, "lo\n").await;
        let mut heard = [0; 6];
        line.read_exact(&mut heard).await.expect("an echo");
        for part in ["POST /a HTTP/1.1\r\nHost: h\r\n", "Content-Length: 2\r\n\r\n", "h", "i"] {
            sleep(day).await;
            say(&mut silent, part).await;
        }
        assert_eq!(statuses(&hear(&mut silent).await), [200]);
        sleep(day).await;
        say(&mut silent, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(statuses(&hear(&mut silent).await), [200]);
        sleep(day).await;
        assert_eq!(table.len(), 2);
    });
}
