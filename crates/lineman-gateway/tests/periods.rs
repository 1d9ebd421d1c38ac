//! What services do with time, as they are wired: real services over sockets, and a clock that runs some
//! hundred times as fast as the real one.

mod process;

use std::time::Duration;

use bytes::BytesMut;
use lineman::connection::{Limits, Rate};
use lineman_gateway::{Business, Client, Events, Gateway, Hub, Message, Register};
use lineman_wire::link::{Codec, Command, Control, Event, Hello, Login, Packet, Secret};
use process::{Peer, Process, run, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// How far the clock goes at once: less than any period of a service.
const STEP: Duration = Duration::from_millis(50);

/// How late something may be seen: what is sent takes real time to arrive.
const LATE: Duration = Duration::from_secs(5);

/// Runs a test whose clock is moved by hand. Left to itself, a paused clock would leap to whatever is due
/// next while bytes are on their way between two sockets.
fn paused(test: impl Future<Output = ()>) {
    run(async {
        tokio::time::pause();
        let (ticks, mut clock) = tokio::sync::mpsc::channel(1);
        // While such a task runs, tokio does not move the clock.
        tokio::task::spawn_blocking(move || {
            while ticks.blocking_send(()).is_ok() {
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        let advance = async {
            while clock.recv().await.is_some() {
                tokio::time::advance(STEP).await;
            }
        };
        tokio::select! {
            () = test => {}
            () = advance => {}
        }
    });
}

fn seconds(range: std::ops::RangeInclusive<u64>, since: Instant) {
    let elapsed = since.elapsed();
    let (from, to) = (Duration::from_secs(*range.start()), Duration::from_secs(*range.end()));
    assert!((from..=to + LATE).contains(&elapsed), "{elapsed:?} is not in {range:?} s");
}

/// Opens the link of a business, the only one.
async fn link(gateway: &Process, extension: Option<u32>) -> Peer {
    let business = another_link(gateway, "Bw:0", extension).await;
    gateway.reaches("links", 1).await;
    business
}

async fn another_link(gateway: &Process, worker_key: &str, extension: Option<u32>) -> Peer {
    let mut business = Peer::connect(gateway.addresses[1]).await;
    let (worker_key, secret_key) = (worker_key.to_owned(), Secret::default());
    let login = Login::Worker { worker_key, secret_key, lineman: extension };
    business.write(&Packet::from(login).to_bytes()).await;
    business
}

async fn packet(peer: &mut Peer) -> Packet {
    let mut bytes = BytesMut::from(&peer.read(4).await[..]);
    let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    bytes.extend(peer.read(length as usize - 4).await);
    Codec::new().decode_packet(&mut bytes).expect("good").expect("whole")
}

#[test]
fn a_silent_client_is_pinged_and_given_up() {
    paused(async {
        let gateway = Gateway::text("unused")
            .ping_interval(Duration::from_secs(20))
            .ping_limit(2)
            .ping_data("ping");
        let gateway = Process::start(gateway).await;
        let _business = link(&gateway, None).await;
        let came = Instant::now();
        let mut client = Peer::connect(gateway.addresses[0]).await;
        for ticks in [3, 5] {
            assert_eq!(client.read(5).await, b"ping\n");
            seconds(10 * (ticks - 1)..=10 * ticks, came);
        }
        assert!(client.is_closed().await);
        seconds(50..=60, came);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(gateway.gauges()["clients"], 0);
    });
}

#[test]
fn a_client_that_speaks_is_not_given_up() {
    paused(async {
        let gateway = Gateway::text("unused").ping_interval(Duration::from_secs(20)).ping_limit(1);
        let gateway = Process::start(gateway).await;
        let _business = link(&gateway, None).await;
        let mut client = Peer::connect(gateway.addresses[0]).await;
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(9)).await;
            client.write(b"here\n").await;
        }
        let spoke = Instant::now();
        assert_eq!(gateway.gauges()["clients"], 1);
        assert!(client.is_closed().await, "without data, it has to speak by itself");
        seconds(20..=40, spoke);
    });
}

#[test]
fn a_client_s_connection_has_the_heartbeat_of_every_connection() {
    paused(async {
        let gateway = Gateway::text("unused").heartbeat(Duration::from_secs(10));
        let gateway = Process::start(gateway).await;
        let _business = link(&gateway, None).await;
        let came = Instant::now();
        assert!(Peer::connect(gateway.addresses[0]).await.is_closed().await);
        seconds(10..=40, came);
    });
}

/// Returns when the pings of 100 s come to a business.
async fn pings(gateway: Gateway) -> Vec<u64> {
    let gateway = Process::start(gateway).await;
    let begun = Instant::now();
    let mut business = link(&gateway, Some(1)).await;
    assert_eq!(packet(&mut business).await.command, Command::Hello);
    let mut pings = Vec::new();
    let deadline = tokio::time::sleep(Duration::from_secs(100));
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            packet = packet(&mut business) => {
                assert_eq!(packet.command, Command::Ping);
                pings.push(begun.elapsed().as_secs());
            }
            () = &mut deadline => return pings,
        }
    }
}

#[test]
fn links_are_pinged_once_in_an_interval() {
    paused(async {
        let interval = |interval| Gateway::websocket("unused").link_ping_interval(interval);
        let far = |gateway: Gateway| gateway.lan_ip("192.0.2.1").inner_listen("127.0.0.1");
        for (gateway, period, count) in [
            (interval(Duration::from_secs(10)), 10, 10),
            // By default to other machines alone.
            (far(Gateway::websocket("unused")), 25, 4),
            (Gateway::websocket("unused"), 0, 0),
            (far(interval(Duration::ZERO)), 0, 0),
        ] {
            let pings = pings(gateway).await;
            assert_eq!(pings.len(), count, "{pings:?}");
            let even = |pair: &[u64]| (pair[1] - pair[0]).abs_diff(period) <= 1;
            assert!(pings.windows(2).all(even), "{pings:?}");
        }
    });
}

#[test]
fn a_peer_without_a_key_and_a_client_without_a_business_are_closed_in_time() {
    paused(async {
        let gateway =
            Gateway::text("unused").secret_key("k").no_business_limit(Duration::from_secs(30));
        let gateway = Process::start(gateway).await;
        let came = Instant::now();
        let mut client = Peer::connect(gateway.addresses[0]).await;
        let mut stranger = Peer::connect(gateway.addresses[1]).await;
        gateway.reaches("held_clients", 1).await;
        assert!(stranger.is_closed().await);
        seconds(5..=6, came);
        assert!(client.is_closed().await);
        seconds(30..=31, came);
        assert_eq!(gateway.gauges()["held_clients"], 0);
    });
}

#[test]
fn a_register_hears_something_in_time_or_hangs_up() {
    paused(async {
        let register = Register::listen("unused").silence_limit(Duration::from_secs(20));
        let register = Process::start(register).await;
        let came = Instant::now();
        let mut silent = Peer::connect(register.addresses[0]).await;
        let mut pinging = Peer::connect(register.addresses[0]).await;
        pinging.write(b"{\"event\":\"ping\"}\n").await;
        let mut entered = Peer::connect(register.addresses[0]).await;
        entered.write(b"{\"event\":\"worker_connect\",\"secret_key\":\"\"}\n").await;
        entered.read_to(b"\n").await;
        assert!(silent.is_closed().await && pinging.is_closed().await);
        seconds(20..=21, came);
        tokio::time::sleep(Duration::from_mins(1)).await;
        entered.write(b"{\"event\":\"worker_connect\",\"secret_key\":\"\"}\n").await;
        entered.read_to(b"\n").await;

        let register = Process::start(Register::listen("unused")).await;
        let came = Instant::now();
        assert!(Peer::connect(register.addresses[0]).await.is_closed().await);
        seconds(5..=6, came);

        let register = Register::listen("unused").silence_limit(Duration::ZERO);
        let register = Process::start(register).await;
        let mut silent = Peer::connect(register.addresses[0]).await;
        tokio::time::sleep(Duration::from_secs(200)).await;
        silent.write(b"{\"event\":\"worker_connect\",\"secret_key\":\"\"}\n").await;
        silent.read_to(b"\n").await;
    });
}

/// The last of the messages that are more than a client's rate allows: enough for a slow machine to do
/// something in the middle of them.
const LAST: u32 = 60;

/// Reads packets up to one with that command; returns the clients' messages among them.
async fn messages_until(business: &mut Peer, last: impl Fn(&Packet) -> bool) -> Vec<u32> {
    let mut messages = Vec::new();
    loop {
        let packet = packet(business).await;
        if packet.command == Command::OnMessage {
            let text = std::str::from_utf8(&packet.body).expect("text");
            messages.push(text.parse().expect("a number"));
        }
        if last(&packet) {
            return messages;
        }
    }
}

/// A gateway whose client has said more than its rate allows, so that it is read bit by bit.
async fn over_its_rate() -> (Process, Peer, Peer) {
    let rate = Some(Rate::per_second(1).burst(1));
    let limits = Limits { message_rate: rate, ..Limits::default() };
    let gateway = Process::start(Gateway::text("unused").limits(limits)).await;
    let business = link(&gateway, Some(1)).await;
    let mut client = Peer::connect(gateway.addresses[0]).await;
    let lines = numbers();
    client.write(lines.as_bytes()).await;
    (gateway, business, client)
}

fn says_last(packet: &Packet) -> bool {
    packet.command == Command::OnMessage && packet.body == LAST.to_string().as_str()
}

#[test]
fn a_client_over_its_rate_goes_on_after_a_reload_of_its_business() {
    paused(async {
        let (gateway, mut old, mut client) = over_its_rate().await;
        let mut messages = messages_until(&mut old, |packet| packet.body == "2").await;
        let mut new = another_link(&gateway, "Bw:1", Some(1)).await;
        gateway.reaches("links", 2).await;
        old.write(&Packet::from(Control::Drain).to_bytes()).await;
        messages.extend(messages_until(&mut old, |packet| packet.command == Command::Fence).await);
        assert!(messages.last() < Some(&LAST), "the reload came in the middle of it");
        // Long enough for its debt to be paid while it is paused.
        tokio::time::sleep(Duration::from_secs(30)).await;
        old.write(&Packet::from(Control::Release).to_bytes()).await;
        messages.extend(messages_until(&mut new, says_last).await);
        assert_eq!(messages, (1..=LAST).collect::<Vec<_>>());
        client.write(b"0\n").await;
        assert_eq!(messages_until(&mut new, |packet| packet.body == "0").await, [0]);
    });
}

#[test]
fn a_client_over_its_rate_goes_on_after_its_business_died() {
    paused(async {
        let (gateway, mut old, mut client) = over_its_rate().await;
        messages_until(&mut old, |packet| packet.body == "2").await;
        drop(old);
        gateway.reaches("held_clients", 1).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let mut new = another_link(&gateway, "Bw:1", Some(1)).await;
        let messages = messages_until(&mut new, says_last).await;
        assert!(messages.is_sorted_by(|one, next| one < next), "{messages:?}");
        client.write(b"0\n").await;
        assert_eq!(messages_until(&mut new, |packet| packet.body == "0").await, [0]);
    });
}

#[test]
fn a_client_that_ends_while_it_is_over_its_rate_is_heard_to_the_end() {
    paused(async {
        let (gateway, mut business, client) = over_its_rate().await;
        drop(client);
        let closes = |packet: &Packet| packet.command == Command::OnClose;
        let messages = messages_until(&mut business, closes).await;
        assert_eq!(messages, (1..=LAST).collect::<Vec<_>>());
        assert_eq!(gateway.gauges()["clients"], 0);
    });
}

/// The rate delays what is read, not what is silent: a heartbeat counts from the last message.
#[test]
fn a_client_over_its_rate_is_not_given_up_while_it_has_more_to_say() {
    paused(async {
        let rate = Some(Rate::per_second(1).burst(1));
        let limits = Limits { message_rate: rate, ..Limits::default() };
        let gateway = Gateway::text("unused")
            .limits(limits)
            .ping_interval(Duration::from_secs(5))
            .ping_limit(1);
        let gateway = Process::start(gateway).await;
        let mut business = link(&gateway, Some(1)).await;
        let mut client = Peer::connect(gateway.addresses[0]).await;
        let lines = numbers();
        client.write(lines.as_bytes()).await;
        let messages = messages_until(&mut business, says_last).await;
        assert_eq!(messages, (1..=LAST).collect::<Vec<_>>());
        assert!(client.is_closed().await, "then it is silent");
    });
}

struct Nothing;

impl Events for Nothing {
    type Session = ();

    async fn on_message(&self, _: &Hub, _: &mut Client, _: Message) -> lineman::Result {
        Ok(())
    }
}

/// A register that lists one gateway, and that gateway: a socket that does what a test says.
struct MadeUp {
    register: Process,
    gateway: TcpListener,
    _announcement: Peer,
}

impl MadeUp {
    async fn new() -> Self {
        let register = Process::start(Register::listen("unused")).await;
        let gateway = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = gateway.local_addr().expect("bound");
        let mut announcement = Peer::connect(register.addresses[0]).await;
        let line = format!(
            "{{\"event\":\"gateway_connect\",\"address\":\"{address}\",\"secret_key\":\"\"}}\n"
        );
        announcement.write(line.as_bytes()).await;
        register.reaches("gateways", 1).await;
        Self { register, gateway, _announcement: announcement }
    }

    fn business(&self) -> Business<Nothing> {
        Business::new(Nothing).register(self.register.addresses[0].to_string())
    }

    /// Takes the link of a business, and says hello.
    async fn accept(&self) -> TcpStream {
        let (mut link, _) = within(self.gateway.accept()).await.expect("a link");
        let hello = Event::Hello(Hello { version: 1, epoch: "e".to_owned(), share: None });
        link.write_all(&Packet::from(hello).to_bytes()).await.expect("written");
        link
    }
}

/// Reads up to the end of a link.
async fn ended(mut link: TcpStream) {
    let mut bytes = Vec::new();
    // A link that is given up is reset.
    drop(within(link.read_to_end(&mut bytes)).await);
}

#[test]
fn a_business_is_ready_when_it_is_linked() {
    paused(async {
        let made_up = MadeUp::new().await;
        let business = Process::start(made_up.business()).await;
        assert_eq!(business.gauges()["links"], 1);
    });
}

#[test]
fn a_silent_gateway_s_link_is_given_up_and_made_anew() {
    paused(async {
        let made_up = MadeUp::new().await;
        let business = made_up.business().silence_limit(Duration::from_secs(30));
        let _business = Process::start(business).await;
        let link = made_up.accept().await;
        let since = Instant::now();
        ended(link).await;
        seconds(30..=40, since);
        // The next one says something in time, and stays.
        let mut link = made_up.accept().await;
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(15)).await;
            let ping = Packet::from(Event::Ping).to_bytes();
            let written = link.write_all(&ping).await;
            assert!(written.is_ok(), "closed after {:?}", since.elapsed());
        }
        let since = Instant::now();
        ended(link).await;
        seconds(30..=40, since);
    });
}

#[test]
fn gateways_on_this_machine_may_be_silent_for_ever() {
    paused(async {
        for limit in [None, Some(Duration::ZERO)] {
            let made_up = MadeUp::new().await;
            let business = match limit {
                None => made_up.business(),
                Some(limit) => made_up.business().silence_limit(limit),
            };
            let business = Process::start(business).await;
            let _link = made_up.accept().await;
            tokio::time::sleep(Duration::from_secs(200)).await;
            assert_eq!(business.gauges()["links"], 1);
        }
    });
}

/// The machine of a register that hangs takes connections all the same.
#[test]
fn a_register_that_hangs_is_not_taken_for_one_that_has_nothing_to_say() {
    paused(async {
        let register = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = register.local_addr().expect("bound").to_string();
        let gateway = Process::start(Gateway::text("unused").register(&address)).await;
        let (mut connection, _) = within(register.accept()).await.expect("a gateway");
        // PHP's says nothing to a gateway.
        gateway.reaches("registers", 1).await;
        let mut greeting = [0; 4096];
        assert!(within(connection.read(&mut greeting)).await.is_ok_and(|length| length > 0));
        let alive = b"{\"event\":\"alive\",\"lineman\":3}\n";
        within(connection.write_all(alive)).await.expect("written");
        drop(connection);
        gateway.reaches("registers", 0).await;

        // It was one of ours.
        let _silent = within(register.accept()).await.expect("a gateway");
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(gateway.gauges()["registers"], 0);
        let business = Process::start(Business::new(Nothing).register(&address)).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(business.gauges()["registers"], 0, "any register would have listed gateways");
    });
}

/// Returns the numbers up to the last one, a line each.
fn numbers() -> String {
    let lines: Vec<String> = (1..=LAST).map(|number| number.to_string()).collect();
    lines.join("\n") + "\n"
}
