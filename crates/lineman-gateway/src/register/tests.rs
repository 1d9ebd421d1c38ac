//! The register and the way to it, on sockets of the loopback; the clock leaps over every pause.

use std::cell::RefCell;
use std::net::SocketAddr;

use lineman::Table;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::*;
use crate::discovery::{Announcement, Discovery, Heard};

const LIMIT: Duration = Duration::from_secs(10);

/// A register whose key is `k`.
struct Scene {
    table: Table,
    desk: Rc<Desk>,
    address: SocketAddr,
}

fn run(test: impl AsyncFnOnce(Scene)) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let table = Table::new().unwrap();
        let served = table.clone();
        tokio::task::spawn_local(async move { served.run().await });
        let desk = Rc::new(Desk::new(Secret::new("k"), Strangers::new(4, LIMIT)));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let make = || Text::with_max_size(LOGIN_BYTES);
        table.listen(listener, Serve::links(make, Rc::<Desk>::clone(&desk))).unwrap();
        let scene = Scene { table, desk, address };
        tokio::time::timeout(Duration::from_hours(1), test(scene)).await.expect("it ends");
    });
}

/// What a business heard, in order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>, Rc<Notify>);

impl Log {
    fn heard(&self) -> Heard {
        let log = self.clone();
        Rc::new(move |register, list| {
            log.0.borrow_mut().push(format!("{register}: {}", list.addresses.join(" ")));
            log.1.notify_one();
        })
    }

    /// Waits for the next list.
    async fn next(&self) -> String {
        loop {
            if let Some(line) = self.0.borrow_mut().pop() {
                return line;
            }
            self.1.notified().await;
        }
    }
}

impl Scene {
    fn attend(&self, key: &str, announcement: &Announcement, log: &Log) -> Discovery {
        let registers = [self.address.to_string()];
        Discovery::start(&self.table, &registers, &Secret::new(key), announcement, &log.heard())
    }

    fn gauges(&self) -> (u64, u64) {
        let gauges = self.desk.gauges();
        (gauges["gateways"], gauges["businesses"])
    }

    async fn peer(&self) -> TcpStream {
        let peer = TcpStream::connect(self.address).await.unwrap();
        peer.set_nodelay(true).unwrap();
        settle().await;
        peer
    }
}

/// Waits until nothing is left to do: the paused clock goes on only then.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[test]
fn a_business_hears_of_gateways_that_come_and_go() {
    run(async |scene| {
        let (log, silent) = (Log::default(), Log::default());
        let business = scene.attend("k", &Announcement::Business, &log);
        assert_eq!(log.next().await, "0: ");
        let address = "10.0.0.1:2900".to_owned();
        let announcement = Announcement::Gateway { address, epoch: "e".to_owned() };
        let gateway = scene.attend("k", &announcement, &silent);
        assert_eq!(log.next().await, "0: 10.0.0.1:2900");
        assert_eq!(scene.gauges(), (1, 1));
        drop(gateway);
        assert_eq!(log.next().await, "0: ");
        drop(business);
        settle().await;
        assert_eq!(scene.gauges(), (0, 0));
        assert!(silent.0.borrow().is_empty(), "a gateway is told nothing");
    });
}

#[test]
fn peers_that_offer_the_extension_are_shown_that_the_register_lives_and_others_nothing_new() {
    run(async |scene| {
        let list = r#"{"event":"broadcast_addresses","addresses":[]}"#;
        for (offer, expected) in [("", ""), (r#","lineman":3"#, r#"{"event":"alive","lineman":3}"#)]
        {
            let mut peer = scene.peer().await;
            let login = format!(r#"{{"event":"worker_connect","secret_key":"k"{offer}}}"#);
            let said = format!("{login}\n{{\"event\":\"ping\"}}\n");
            peer.write_all(said.as_bytes()).await.unwrap();
            settle().await;
            peer.shutdown().await.unwrap();
            let mut heard = String::new();
            peer.read_to_string(&mut heard).await.unwrap();
            let lines: Vec<_> =
                [expected, list, expected].into_iter().filter(|line| !line.is_empty()).collect();
            assert_eq!(heard.lines().collect::<Vec<_>>(), lines);
        }
    });
}

#[test]
fn a_refusal_is_counted_once_where_the_table_or_the_register_ends_it() {
    run(async |scene| {
        let refused = || scene.desk.gauges()["refused_strangers"];
        let unknown = b"{\"event\":\"unheard of\"}\n".to_vec();
        let mut peers = Vec::new();
        for (count, said) in [(1, vec![b'x'; 5000]), (2, b"GET /\n".to_vec()), (3, unknown)] {
            let mut peer = scene.peer().await;
            peer.write_all(&said).await.unwrap();
            settle().await;
            assert_eq!(refused(), count);
            peers.push(peer);
        }
        drop(peers);
        tokio::time::sleep(LIMIT * 2).await;
        assert_eq!((refused(), scene.desk.gauges()["strangers"]), (3, 0));
    });
}

#[test]
fn a_peer_without_the_key_is_refused_and_tries_again() {
    run(async |scene| {
        let log = Log::default();
        let _business = scene.attend("wrong", &Announcement::Business, &log);
        settle().await;
        assert_eq!((scene.table.stats().accepted, scene.gauges()), (1, (0, 0)));
        tokio::time::sleep(Duration::from_mins(1)).await;
        let tried = scene.table.stats().accepted;
        assert!((40..=125).contains(&tried), "{tried}");
        assert!(log.0.borrow().is_empty());
    });
}

#[test]
fn silence_and_another_language_are_answered_with_an_end() {
    run(async |scene| {
        let (mut silent, mut other) = (scene.peer().await, scene.peer().await);
        other.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut answer = String::new();
        other.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("Bad request for Register service"), "{answer}");
        (0..32).for_each(|_| scene.desk.check_silence());
        settle().await;
        assert!(silent.try_read(&mut [0]).is_err(), "it has time left");
        tokio::time::sleep(LIMIT).await;
        (0..32).for_each(|_| scene.desk.check_silence());
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    });
}

#[test]
fn many_that_do_not_say_what_they_are_give_way_to_one_another_and_to_no_business() {
    run(async |scene| {
        let log = Log::default();
        let _business = scene.attend("k", &Announcement::Business, &log);
        assert_eq!(log.next().await, "0: ");
        let mut strangers = Vec::new();
        for _ in 0..5 {
            let mut stranger = scene.peer().await;
            stranger.write_all(b"{\"event\":\"ping\"}\n").await.unwrap();
            tokio::time::sleep(LIMIT / 20).await;
            strangers.push(stranger);
        }
        let mut oldest = strangers.remove(0);
        assert!(!matches!(oldest.read(&mut [0]).await, Ok(1..)), "it has given way");
        assert!(strangers[0].try_read(&mut [0]).is_err(), "the others stay");
        let gauges = scene.desk.gauges();
        assert_eq!((gauges["strangers"], gauges["refused_strangers"]), (4, 1));
        assert_eq!(scene.gauges(), (0, 1));
        tokio::time::sleep(LIMIT).await;
        scene.desk.check_silence();
        assert_eq!(strangers[3].read(&mut [0]).await.unwrap(), 0, "a ping renews nothing");
        settle().await;
        assert_eq!(scene.desk.gauges()["refused_strangers"], 5);
    });
}
