//! Every service has the settings of its processes, and every listening one those of its address; and
//! what is set is what happens.

mod process;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use lineman::connection::{Limits, Proxies};
use lineman::http::Limits as HttpLimits;
use lineman::service::{Description, Reload, Service, SocketOptions};
use lineman::tls::Tls;
use lineman_gateway::{Business, Client, Events, Gateway, Hub, Message, Register};
use lineman_wire::link::{Login, Packet, Secret};
use lineman_wire::text::ByteLines;
use process::{Peer, Process, run};

struct Nothing;

impl Events for Nothing {
    type Session = ();

    async fn on_message(&self, _: &Hub, _: &mut Client, _: Message) -> lineman::Result {
        Ok(())
    }
}

/// What ran, in order.
type Log = Rc<RefCell<Vec<&'static str>>>;

/// Sets everything about a service's processes.
macro_rules! with_processes {
    ($service:expr, $log:expr) => {{
        let log: &Log = $log;
        let (started, reloaded, stopped) = (Rc::clone(log), Rc::clone(log), Rc::clone(log));
        $service
            .name("mine")
            .user("www-data")
            .group("www")
            .env("COLOUR", "blue")
            .keep_on_reload()
            .drain_limit(Duration::from_secs(7))
            .on_start(async move |slot| {
                assert_eq!(slot.to_string(), "mine/0");
                started.borrow_mut().push("start");
                Ok(())
            })
            .on_reload(async move || {
                reloaded.borrow_mut().push("reload");
                Ok(())
            })
            .on_stop(async move || {
                stopped.borrow_mut().push("stop");
                Ok(())
            })
    }};
}

fn check_description(description: &Description, count: usize) {
    let kind = description.kind;
    assert_eq!(description.name, "mine", "{kind}");
    assert_eq!(description.user.as_deref(), Some("www-data"), "{kind}");
    assert_eq!(description.group.as_deref(), Some("www"), "{kind}");
    assert_eq!(description.environment, [("COLOUR".to_owned(), "blue".to_owned())], "{kind}");
    assert_eq!(description.reload, Reload::Keep, "{kind}");
    assert_eq!(description.drain_limit, Some(Duration::from_secs(7)), "{kind}");
    assert_eq!(description.count, count, "{kind}");
}

async fn check_hooks(service: impl Service, log: &Log) {
    let kind = service.description().kind;
    let process = Process::start(service).await;
    assert_eq!(log.take(), ["start"], "{kind}");
    process.running.reload().await;
    process.running.reload().await;
    process.running.stopped().await;
    assert_eq!(log.take(), ["reload", "reload", "stop"], "{kind}");
}

#[test]
fn processes_are_as_they_are_set() {
    run(async {
        let log = Log::default();
        let each = std::thread::available_parallelism().map_or(1, usize::from);

        let websocket = with_processes!(Gateway::websocket("unused").count(3), &log);
        check_description(&websocket.description(), 3);
        check_hooks(websocket, &log).await;
        let text = with_processes!(Gateway::text("unused").per_core(2), &log);
        check_description(&text.description(), 2 * each);
        check_hooks(text, &log).await;
        let register = with_processes!(Register::listen("unused"), &log);
        check_description(&register.description(), 1);
        check_hooks(register, &log).await;
        let register = Process::start(Register::listen("unused")).await;
        let address = register.addresses[0].to_string();
        let business = || Business::new(Nothing).register(address.as_str());
        check_description(&with_processes!(business().per_core(1), &log).description(), each);
        let business = with_processes!(business().count(2), &log);
        check_description(&business.description(), 2);
        check_hooks(business, &log).await;
    });
}

#[test]
fn defaults_are_those_of_each_service() {
    let check = |description: Description, name: &str, reload| {
        assert_eq!((&*description.name, description.count), (name, 1));
        assert_eq!((description.reload, description.drain_limit), (reload, None), "{name}");
        assert_eq!((description.user, description.group), (None, None), "{name}");
    };
    check(Gateway::websocket("unused").description(), "gateway", Reload::HandOver);
    check(Register::listen("unused").description(), "register", Reload::HandOver);
    check(Business::new(Nothing).description(), "business", Reload::Replace);
}

#[test]
fn an_error_before_serving_is_a_failed_start() {
    async fn fails(service: impl Service) {
        let error = Process::try_start(service).await.err().expect("a failed start");
        assert_eq!(error.to_string(), "as told");
    }
    run(async {
        fails(Gateway::websocket("unused").on_start(async |_| Err("as told".into()))).await;
        fails(Register::listen("unused").on_start(async |_| Err("as told".into()))).await;
        fails(Business::new(Nothing).on_start(async |_| Err("as told".into()))).await;
    });
}

#[test]
fn addresses_are_as_they_are_set() {
    let options = || SocketOptions::new().backlog(77).without_keepalive();
    let gateway = Gateway::websocket("[::]:443")
        .socket_options(options())
        .tls(Tls::files("missing.pem", "missing.key"));
    let listeners = gateway.description().listeners;
    assert_eq!((&listeners[0].options, listeners[0].scheme), (&options(), "wss"));
    let links = SocketOptions::new().ipv4_only();
    assert_eq!((&listeners[1].options, listeners[1].scheme), (&links, "link"));
    let error = gateway.check().expect_err("no such file").to_string();
    assert!(error.contains("missing."), "{error}");
    let register = Register::listen("[::]:1236").socket_options(options()).description();
    assert_eq!(register.listeners[0].options, options());
}

/// One connection at a time: the second is closed at once.
async fn has_one_place(service: impl Service, gauge: &str) {
    let process = Process::start(service).await;
    let mut first = Peer::connect(process.addresses[0]).await;
    first.write(b"{\"event\":\"worker_connect\",\"secret_key\":\"\"}\n").await;
    process.reaches(gauge, 1).await;
    let mut second = Peer::connect(process.addresses[0]).await;
    assert!(second.is_closed().await);
    assert_eq!(process.gauges()[gauge], 1);
}

#[test]
fn bounds_of_connections_hold() {
    let limits = || Limits { connections: 1, ..Limits::default() };
    run(async {
        has_one_place(Gateway::text("unused").limits(limits()), "clients").await;
        has_one_place(Register::listen("unused").limits(limits()), "businesses").await;
    });
}

/// Returns how many bytes a client may say to a business that does not read before the link is full.
async fn filled(gateway: Gateway<ByteLines>) -> usize {
    let gateway = Process::start(gateway.client_bytes(u32::MAX)).await;
    let mut link = Peer::connect(gateway.addresses[1]).await;
    let (worker_key, secret_key) = ("php:0".to_owned(), Secret::default());
    let login = Login::Worker { worker_key, secret_key, lineman: None };
    link.write(&Packet::from(login).to_bytes()).await;
    gateway.reaches("links", 1).await;
    let mut client = Peer::connect(gateway.addresses[0]).await;
    let message = [&[b'x'; 1023][..], b"\n"].concat();
    let mut said = 0;
    while gateway.gauges()["full_links"] == 0 {
        client.write(&message).await;
        said += message.len();
        tokio::task::yield_now().await;
    }
    said
}

#[test]
fn what_may_wait_for_a_business_is_as_it_is_set() {
    run(async {
        let by_default = filled(Gateway::text("unused")).await;
        let least = filled(Gateway::text("unused").link_queue(0)).await;
        // What the kernel holds comes on top.
        let (ten_mib, least_mib) = (10 * 1024 * 1024, 64 * 1024);
        assert!(
            by_default >= ten_mib && (least_mib..ten_mib).contains(&least),
            "{by_default}, {least}"
        );
    });
}

#[test]
fn a_trusted_proxy_says_where_clients_come_from() {
    let proxies = || Proxies::trust("127.0.0.1/32".parse().unwrap()).proxy_protocol();
    run(async {
        // A peer behind a proxy has to begin with the proxy's header, and is cut if it does not.
        for address in [
            Process::start(Gateway::text("unused").proxies(proxies())).await.addresses[0],
            Process::start(Register::listen("unused").proxies(proxies())).await.addresses[0],
        ] {
            let mut peer = Peer::connect(address).await;
            peer.write(b"no header of a proxy\n").await;
            assert!(peer.is_closed().await);
        }
    });
}

#[test]
fn bounds_of_http_hold() {
    run(async {
        let pages = tower::service_fn(async |_: http::Request<lineman::http::Body>| {
            Ok::<_, std::convert::Infallible>(http::Response::new(String::from("page")))
        });
        let limits = HttpLimits { headers: 1, ..HttpLimits::default() };
        let gateway = Gateway::websocket("unused").http(pages).http_limits(limits);
        let gateway = Process::start(gateway).await;
        for (more, status) in [("", "200"), ("X-More: 1\r\n", "431")] {
            let mut client = Peer::connect(gateway.addresses[0]).await;
            let request = format!("GET / HTTP/1.1\r\nHost: here\r\n{more}\r\n");
            client.write(request.as_bytes()).await;
            let head = String::from_utf8(client.read_to(b"\r\n\r\n").await).expect("text");
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        }
    });
}
