//! Several gateways and businesses over real sockets: what is for a name costs its owners packets, and no other
//! gateway.

mod process;

use std::time::Instant;

use lineman::Result;
use lineman_gateway::{Business, Client, Events, Gateway, Hub, Message, Register};
use lineman_wire::link::{Login, Order, Packet, Secret};
use process::{Peer, Process, run, within};

/// Does what clients say: `bind UID`, `join GROUP`, `settle`, `leave`, `uid UID TEXT`, `group GROUP TEXT`.
struct App;

impl Events for App {
    type Session = ();

    async fn on_message(&self, hub: &Hub, client: &mut Client, message: Message) -> Result {
        let text = message.as_text().unwrap_or_default();
        let mut words = text.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        match (word(), word(), word()) {
            ("bind", uid, _) => client.bind_uid(uid)?,
            ("join", group, _) => client.join(group)?,
            ("settle", ..) => hub.settled().await?,
            ("leave", ..) => return client.close(),
            ("uid", uid, text) => hub.send_to_uid(uid, text)?,
            ("group", group, text) => hub.send_to_group(group, text)?,
            ("count", group, _) => {
                let count = hub.client_count_in_group(group).await?.value;
                client.send(count.to_string())?;
            }
            ("send", uid, times) => {
                for _ in 0..times.parse::<u64>()? {
                    hub.send_to_uid(uid, "text")?;
                }
            }
            _ => return Err("no such command".into()),
        }
        client.send("done")
    }
}

/// A register, gateways and businesses, all linked.
struct Cluster {
    gateways: Vec<Process>,
    businesses: Vec<Process>,
    register: Process,
}

impl Cluster {
    async fn start(gateways: usize, businesses: usize) -> Self {
        let register = Process::start(Register::listen("unused")).await;
        let mut cluster = Self { gateways: Vec::new(), businesses: Vec::new(), register };
        let address = cluster.address();
        for _ in 0..gateways {
            let gateway = Gateway::text("unused").register(&address);
            cluster.gateways.push(Process::start(gateway).await);
        }
        cluster.register.reaches("gateways", gateways as u64).await;
        for _ in 0..businesses {
            cluster.add_business().await;
        }
        for gateway in &cluster.gateways {
            gateway.reaches("links", businesses as u64).await;
        }
        cluster
    }

    fn address(&self) -> String {
        self.register.addresses[0].to_string()
    }

    async fn add_business(&mut self) {
        // By name, slot and process a gateway tells businesses apart.
        let name = format!("business-{}", self.businesses.len());
        let business = Business::new(App).name(name).register(self.address());
        self.businesses.push(Process::start(business).await);
    }

    async fn client(&self, gateway: usize) -> Person {
        Person(Peer::connect(self.gateways[gateway].addresses[0]).await)
    }

    /// Waits until every business knows of so many names.
    async fn know(&self, names: u64) {
        for business in &self.businesses {
            business.reaches("known_names", names).await;
        }
    }

    /// Returns how many commands each gateway has got.
    fn orders(&self) -> Vec<u64> {
        self.gateways.iter().map(|gateway| gateway.gauges()["orders"]).collect()
    }
}

struct Person(Peer);

impl Person {
    async fn say(&mut self, text: &str) {
        self.0.write(format!("{text}\n").as_bytes()).await;
    }

    async fn hears(&mut self, text: &str) {
        let line = self.0.read_to(b"\n").await;
        assert_eq!(String::from_utf8_lossy(&line), format!("{text}\n"));
    }

    async fn does(&mut self, text: &str) {
        self.say(text).await;
        self.hears("done").await;
    }
}

#[test]
fn a_send_reaches_the_owners_and_costs_the_others_nothing() {
    run(async {
        let cluster = Cluster::start(4, 2).await;
        let (mut ada, mut bob) = (cluster.client(0).await, cluster.client(1).await);
        ada.does("bind ada").await;
        ada.does("join room").await;
        bob.does("join room").await;
        cluster.know(3).await;
        let before = cluster.orders();
        bob.say("uid ada hello").await;
        ada.hears("hello").await;
        bob.hears("done").await;
        bob.say("group room hi").await;
        ada.hears("hi").await;
        bob.hears("hi").await;
        bob.hears("done").await;
        ada.say("count room").await;
        ada.hears("2").await;
        ada.hears("done").await;
        let after = cluster.orders();
        let packets: Vec<_> =
            after.iter().zip(&before).map(|(after, before)| after - before).collect();
        assert_eq!(
            packets,
            [4, 3, 0, 0],
            "two sends to the first and two answers; one, and two answers"
        );
        assert_eq!(&after[2..], [0, 0]);

        // A second device, on a gateway that had nothing to do until now.
        let mut tablet = cluster.client(2).await;
        tablet.does("bind ada").await;
        cluster.know(4).await;
        bob.say("uid ada both").await;
        ada.hears("both").await;
        tablet.hears("both").await;
        bob.hears("done").await;
        assert_eq!(cluster.orders()[3], 0);

        ada.say("leave").await;
        assert!(ada.0.is_closed().await);
        cluster.know(2).await;
        let first = cluster.orders()[0];
        bob.say("uid ada one").await;
        tablet.hears("one").await;
        bob.hears("done").await;
        assert_eq!((cluster.orders()[0], cluster.orders()[3]), (first, 0));
    });
}

#[test]
fn what_is_settled_is_known_to_every_business() {
    run(async {
        let cluster = Cluster::start(3, 3).await;
        let mut phone = cluster.client(0).await;
        phone.does("bind ada").await;
        cluster.know(1).await;
        // A client for each business, for they are given out in turns.
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(cluster.client(1).await);
        }
        for round in 0..20 {
            let mut tablet = cluster.client(2).await;
            tablet.does("bind ada").await;
            tablet.does("settle").await;
            for other in &mut others {
                other.say(&format!("uid ada {round}")).await;
                tablet.hears(&round.to_string()).await;
                phone.hears(&round.to_string()).await;
                other.hears("done").await;
            }
        }
    });
}

/// `cargo test --release -p lineman-gateway --test directory -- --ignored --nocapture`
#[test]
#[ignore = "it measures"]
fn how_long_a_gateway_takes_to_tell_200000_names() {
    const NAMES: u64 = 200_000;
    run(async {
        let mut cluster = Cluster::start(1, 1).await;
        let mut client = cluster.client(0).await;
        client.does("join 1").await;
        let mut peer = Peer::connect(cluster.gateways[0].addresses[1]).await;
        let business = Login::Worker {
            worker_key: "Bw:0".to_owned(),
            secret_key: Secret::default(),
            lineman: None,
        };
        peer.write(&Packet::from(business).to_bytes()).await;
        cluster.gateways[0].reaches("links", 2).await;
        let one = cluster.client(0).await;
        // The link that has no client gets the next one, and says which number it has.
        let header = within(peer.read(28)).await;
        let connection_id = u32::from_be_bytes([header[17], header[18], header[19], header[20]]);
        for name in 2..=NAMES {
            let order = Order::JoinGroup { connection_id, group: name.to_string().into() };
            peer.write(&Packet::from(order).to_bytes()).await;
        }
        cluster.know(NAMES).await;
        let begun = Instant::now();
        cluster.add_business().await;
        cluster.know(NAMES).await;
        println!("{NAMES} names told to a new business in {:?}", begun.elapsed());
        drop(one);
    });
}

/// Returns for how long this thread has run.
fn cpu_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds")
}

#[test]
#[ignore = "it measures"]
fn what_a_send_to_one_uid_costs() {
    const SENDS: u64 = 20_000;
    for gateways in [6, 12, 24] {
        run(async {
            let cluster = Cluster::start(gateways, 1).await;
            let (mut ada, mut sender) = (cluster.client(0).await, cluster.client(1).await);
            ada.does("bind ada").await;
            for uid in ["ada", "nobody"] {
                let owners = if uid == "ada" { 1 } else { gateways as u64 };
                let (orders, begun) = (cluster.orders().iter().sum::<u64>(), cpu_time());
                sender.say(&format!("send {uid} {SENDS}")).await;
                if uid == "ada" {
                    for _ in 0..SENDS {
                        ada.hears("text").await;
                    }
                }
                sender.hears("done").await;
                while cluster.orders().iter().sum::<u64>() < orders + owners * SENDS {
                    tokio::task::yield_now().await;
                }
                let cost = (cpu_time() - begun) / SENDS;
                let orders = (cluster.orders().iter().sum::<u64>() - orders) / SENDS;
                println!("{gateways} gateways, to {uid}: {orders} packets and {cost} ns a send");
            }
        });
    }
}
