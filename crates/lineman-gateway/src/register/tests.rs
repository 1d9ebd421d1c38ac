//! The register and the way to it, on sockets of the loopback; the clock leaps over every pause.

use std::cell::RefCell;
use std::net::SocketAddr;

use lineman::Table;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;
use crate::discovery::{Announcement, Discovery, Heard, RegisterNews, Resolver};
use crate::link_tls::{LinkSecurity, SharedSecurity};

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
        let desk =
            Rc::new(Desk::new(Secret::new("k"), Strangers::new(4, LIMIT), LinkSecurity::default()));
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
        Rc::new(move |news| {
            log.0.borrow_mut().push(match news {
                RegisterNews::Listed(register, _, list) => {
                    format!("{register}: {}", list.addresses.join(" "))
                }
                RegisterNews::Gone(register) => format!("{register} is gone"),
            });
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
        let (secret, none) = (Secret::new(key), SharedSecurity::default());
        Discovery::start(&self.table, &registers, &secret, announcement, &log.heard(), &none)
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

fn gateway(address: &str, epoch: &str) -> Announcement {
    let address = address.parse().unwrap();
    Announcement::Gateway { address, epoch: epoch.to_owned(), explicit: false }
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
        let gateway = scene.attend("k", &gateway("10.0.0.1:2900", "e1"), &silent);
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
        for (offer, expected) in [("", ""), (r#","lineman":3"#, r#"{"event":"alive","lineman":5}"#)]
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
        let business = scene.attend("wrong", &Announcement::Business, &log);
        settle().await;
        assert_eq!((scene.table.stats().accepted, scene.gauges()), (1, (0, 0)));
        tokio::time::sleep(Duration::from_mins(1)).await;
        let tried = scene.table.stats().accepted;
        assert!((5..=8).contains(&tried), "it waits longer each time: {tried}");
        assert!(log.0.borrow().is_empty());
        let remarks = business.remarks(Instant::now());
        let [remark] = &remarks[..] else { panic!("{remarks:?}") };
        let register = scene.address;
        let said = format!("registers 0 of 1: {register} refuses this process: wrong secret key (");
        assert!(remark.starts_with(&said), "{remark}");
        assert_eq!(business.connected(), 0);
        business.hurry();
        settle().await;
        assert_eq!(scene.table.stats().accepted, tried + 1, "a reload ends the pause");
    });
}

#[test]
fn two_that_live_cannot_have_one_address() {
    run(async |scene| {
        let log = Log::default();
        let _business = scene.attend("k", &Announcement::Business, &log);
        assert_eq!(log.next().await, "0: ");
        let silent = Log::default();
        let first = scene.attend("k", &gateway("10.0.0.1:2900", "e1"), &silent);
        assert_eq!(log.next().await, "0: 10.0.0.1:2900");
        let second = scene.attend("k", &gateway("10.0.0.1:2900", "e2"), &silent);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let taken = second.address_taken().unwrap_or_else(|| panic!("{second:?} {first:?}"));
        assert!(taken.contains("refuses this process: address 10.0.0.1:2900 is taken"), "{taken}");
        assert_eq!((first.address_taken(), first.connected(), second.connected()), (None, 1, 0));
        let remarks = first.remarks(Instant::now());
        assert!(
            remarks[0].contains("announced the address 10.0.0.1:2900 of this one"),
            "{remarks:?}"
        );
        assert!(log.0.borrow().is_empty(), "no business hears of it");
        // The one that has it goes, so the other one may have it.
        drop(first);
        while log.next().await != "0: 10.0.0.1:2900" {}
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!((second.address_taken(), second.connected()), (None, 1));
        assert!(second.remarks(Instant::now()).is_empty());
    });
}

#[test]
fn a_loopback_address_beside_a_register_elsewhere_is_remarked() {
    run(async |scene| {
        let remarks = |announced: &str, register: &str| {
            let (secret, none) = (Secret::new("k"), Log::default());
            let registers = [register.to_owned()];
            let announcement = gateway(announced, "e1");
            Discovery::start(
                &scene.table,
                &registers,
                &secret,
                &announcement,
                &none.heard(),
                &SharedSecurity::default(),
            )
        };
        // An address for documentation, which no machine has.
        let found = remarks("127.0.0.1:4000", "192.0.2.7:1236");
        let fine =
            [remarks("192.0.2.1:4000", "192.0.2.7:1236"), remarks("127.0.0.1:4000", "127.0.0.9:1")];
        settle().await;
        let text = found.remarks(Instant::now()).join("\n");
        let said = "register 192.0.2.7:1236: it is on another machine, and this gateway announces 127.0.0.1:4000";
        assert!(text.contains(said), "{text}");
        let text: Vec<_> = fine.iter().flat_map(|found| found.remarks(Instant::now())).collect();
        assert!(!text.join("\n").contains("another machine"), "{text:?}");
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

#[test]
fn a_name_stands_for_as_many_registers_as_it_has_addresses() {
    run(async |scene| {
        let (log, told) = (Log::default(), Rc::new(RefCell::new(Vec::<SocketAddr>::new())));
        // Nothing listens there.
        let other = SocketAddr::from(([127, 0, 0, 2], scene.address.port()));
        let answers = Rc::clone(&told);
        let resolver: Resolver = Rc::new(move |name| {
            assert_eq!(name, "registers:1236");
            let found = answers.borrow().clone();
            Box::pin(async move { Ok(found) })
        });
        let business =
            Discovery::by_name(&resolver, &scene.table, "registers:1236", "k", &log.heard());
        settle().await;
        let remarks = business.remarks(Instant::now());
        assert_eq!(
            remarks,
            ["registers 0 of 1: registers:1236 cannot be resolved (no address, 0 s)"]
        );
        told.borrow_mut().push(scene.address);
        assert_eq!(log.next().await, "0: ");
        assert!(business.is_connected(0) && business.remarks(Instant::now()).is_empty());

        // Another one is added: its list counts as well, and it is missing as long as it does not answer.
        told.borrow_mut().push(other);
        tokio::time::sleep(Duration::from_mins(1)).await;
        let remarks = business.remarks(Instant::now()).join("");
        assert!(
            remarks.starts_with("registers 1 of 2: registers:1236 (127.0.0.2) is not connected ("),
            "{remarks}"
        );
        told.borrow_mut().pop();
        assert_eq!(log.next().await, "1 is gone");
        assert!(business.remarks(Instant::now()).is_empty());

        // What is connected is kept though the name has lost it for a while, and with no answer at all.
        told.borrow_mut().clear();
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert_eq!((business.connected(), scene.gauges()), (1, (0, 1)));
        assert!(log.0.borrow().is_empty(), "{:?}", log.0);
    });
}
