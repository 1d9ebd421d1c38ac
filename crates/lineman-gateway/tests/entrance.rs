//! Clients at the entrance of a gateway: allowed or not, and waiting for a connect hook.

#[path = "process/hook.rs"]
mod hook;
mod process;

use std::time::Duration;

use bytes::BytesMut;
use hook::{Hook, answer};
use lineman::connection::Limits;
use lineman_gateway::{Allow, ConnectHook, Gateway, HookFailure};
use lineman_wire::link::{Codec, Command, Login, Packet, Secret};
use process::{Peer, Process, run};

const ACCEPTED: &str = "HTTP/1.1 101 ";

fn gateway() -> Gateway {
    // Nothing listens there.
    Gateway::websocket("unused").register("127.0.0.1:9")
}

fn hooked(url: &str) -> ConnectHook {
    ConnectHook::http(url).timeout(Duration::from_secs(9))
}

/// Asks for a WebSocket.
async fn ask(gateway: &Process, target: &str, lines: &str) -> Peer {
    let mut client = Peer::connect(gateway.addresses[0]).await;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: here:7272\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{lines}\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    client.write(request.as_bytes()).await;
    client
}

async fn head(client: &mut Peer) -> String {
    String::from_utf8(client.read_to(b"\r\n\r\n").await).expect("text")
}

/// Returns the whole of a refusal.
async fn refused(client: &mut Peer) -> String {
    let head = head(client).await;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length = length.expect("a length").parse().expect("a number");
    let body = client.read(length).await;
    assert!(client.is_closed().await);
    head + &String::from_utf8(body).expect("text")
}

/// A business of PHP's.
async fn business(gateway: &Process) -> Peer {
    let mut business = Peer::connect(gateway.addresses[1]).await;
    let secret_key = Secret::default();
    let login = Login::Worker { worker_key: "Bw:0".to_owned(), secret_key, lineman: None };
    business.write(&Packet::from(login).to_bytes()).await;
    gateway.reaches("links", 1).await;
    business
}

async fn packet(peer: &mut Peer) -> Packet {
    let mut bytes = BytesMut::from(&peer.read(4).await[..]);
    let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    bytes.extend(peer.read(length as usize - 4).await);
    Codec::new().decode_packet(&mut bytes).expect("good").expect("whole")
}

#[test]
fn what_is_not_allowed_is_refused_and_counted() {
    run(async {
        let allow = Allow::new().paths(["/chat"]).networks("127.0.0.0/8".parse().expect("a list"));
        let gateway = Process::start(gateway().allow(allow.cookie("k", "v"))).await;
        let mut client = ask(&gateway, "/chat", "Cookie: k=v\r\n").await;
        assert!(head(&mut client).await.starts_with(ACCEPTED));
        for (target, lines, expected) in [
            ("/other", "Cookie: k=v\r\n", "HTTP/1.1 404 Not Found\r\n"),
            ("/chat", "", "HTTP/1.1 401 Unauthorized\r\n"),
        ] {
            let answer = refused(&mut ask(&gateway, target, lines).await).await;
            assert!(answer.starts_with(expected), "{answer}");
        }
        let gauges = gateway.gauges();
        assert_eq!((gauges["refused_clients"], gauges["clients"]), (2, 1));
    });
}

#[test]
fn an_address_that_is_not_allowed_is_closed_where_there_is_no_handshake() {
    run(async {
        let allow = Allow::new().networks("192.0.2.0/24".parse().expect("a list"));
        let text = Gateway::text("unused").register("127.0.0.1:9").allow(allow.clone());
        let text = Process::start(text).await;
        assert!(Peer::connect(text.addresses[0]).await.is_closed().await);
        text.reaches("refused_clients", 1).await;
        assert_eq!(text.gauges()["clients"], 0);
        let websocket = Process::start(gateway().allow(allow)).await;
        let answer = refused(&mut ask(&websocket, "/", "").await).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(answer.ends_with("this address may not connect\n"), "{answer}");
    });
}

#[test]
fn a_hook_binds_before_a_business_hears_of_the_client() {
    run(async {
        let said =
            r#"{"uid":42,"groups":["room","hall"],"session":{"name":"Ada"},"headers":{"X-A":"b"}}"#;
        let accept = answer("200 OK", "Set-Cookie: s=1\r\n", said);
        let (hook, url) = Hook::http(&accept).await;
        let gateway = Process::start(gateway().connect_hook(hooked(&url))).await;
        let mut business = business(&gateway).await;
        let lines = "Cookie: c=1\r\nX-Other: x\r\nOrigin: http://a\r\nAuthorization: Bearer t\r\n";
        let mut client = ask(&gateway, "/chat?token=a%20b&q={}#f", lines).await;
        // A message that does not wait for the answer.
        client.write(b"\x81\x82\0\0\0\0hi").await;

        let question = hook.question().await;
        let start = "GET /connect?token=a%20b&q=%7B%7D HTTP/1.1\r\n";
        assert!(question.starts_with(start), "{question}");
        for line in [
            "cookie: c=1",
            "origin: http://a",
            "authorization: Bearer t",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-method: GET",
            "x-forwarded-proto: ws",
            "x-forwarded-host: here:7272",
            "x-forwarded-uri: /chat?token=a%20b&q={}#f",
        ] {
            assert!(question.contains(&format!("\r\n{line}\r\n")), "{line}: {question}");
        }
        for absent in ["x-other", "upgrade", "sec-websocket", "connection:"] {
            assert!(!question.to_lowercase().contains(absent), "{absent}: {question}");
        }

        let head = head(&mut client).await;
        assert!(head.starts_with(ACCEPTED), "{head}");
        assert!(
            head.contains("\r\nset-cookie: s=1\r\n") && head.contains("\r\nX-A: b\r\n"),
            "{head}"
        );
        let session = r#"a:1:{s:4:"name";s:3:"Ada";}"#;
        for command in [Command::OnConnect, Command::OnWebSocketConnect, Command::OnMessage] {
            let packet = packet(&mut business).await;
            assert_eq!((packet.command, &packet.ext[..]), (command, session.as_bytes()));
        }
        let gauges = gateway.gauges();
        assert_eq!((gauges["uids"], gauges["groups"], gauges["hook_questions"]), (1, 2, 0));

        // The next question has the same connection.
        hook.answers(answer("204 No Content", "", ""));
        let mut other = ask(&gateway, "/", "").await;
        assert!(self::head(&mut other).await.starts_with(ACCEPTED));
        assert!(hook.question().await.starts_with("GET /connect HTTP/1.1\r\n"));
        assert_eq!(hook.connections(), 1);
        assert_eq!(packet(&mut business).await.ext, "", "nothing is bound");
    });
}

#[test]
fn a_hook_refuses_with_its_status_and_text() {
    run(async {
        let (hook, url) = Hook::http("").await;
        let gateway = Process::start(gateway().connect_hook(hooked(&url))).await;
        let lines = "WWW-Authenticate: Bearer\r\nServer: x\r\nContent-Type: application/json\r\n";
        for (said, expected, text) in [
            (answer("401 Unauthorized", lines, "{\"why\":1}"), "HTTP/1.1 401 ", "{\"why\":1}"),
            (answer("403 Forbidden", "", ""), "HTTP/1.1 403 ", "403 Forbidden\n"),
            (answer("403 Forbidden", "", &"x".repeat(100_000)), "HTTP/1.1 403 ", "403 Forbidden\n"),
            (answer("302 Found", "Location: /login\r\n", "go"), "HTTP/1.1 403 ", "403 Forbidden\n"),
        ] {
            hook.answers(said);
            let answer = refused(&mut ask(&gateway, "/", "").await).await;
            assert!(answer.starts_with(expected) && answer.ends_with(text), "{answer}");
            let passed = answer.contains("\r\nwww-authenticate: Bearer\r\n");
            assert_eq!(passed, expected.contains("401"), "{answer}");
            assert!(!answer.contains("Server: x") && !answer.contains("/login"), "{answer}");
        }
        let gauges = gateway.gauges();
        assert_eq!(
            (gauges["refused_clients"], gauges["hook_failures"], gauges["clients"]),
            (4, 0, 0)
        );
    });
}

#[test]
fn without_an_answer_the_policy_decides() {
    run(async {
        let (hook, url) = Hook::http("").await;
        let impatient = |url: &str| ConnectHook::http(url).timeout(Duration::from_millis(50));
        let refuse = Process::start(gateway().connect_hook(hooked(&url))).await;
        let accepting = hooked(&url).on_failure(HookFailure::Accept);
        let accept = Process::start(gateway().connect_hook(accepting)).await;
        let bad_header = r#"{"uid":"1","headers":{"Upgrade":"x"}}"#;
        for said in [
            answer("500 Internal Server Error", "", "{}"),
            answer("200 OK", "", "<b>Warning</b>: Undefined variable"),
            answer("200 OK", "", &format!("{{\"uid\":\"{}\"}}", "x".repeat(70_000))),
            answer("200 OK", "", bad_header),
            "220 mail\r\n".to_owned(),
        ] {
            hook.answers(said.clone());
            let answer = refused(&mut ask(&refuse, "/", "").await).await;
            assert!(answer.starts_with("HTTP/1.1 503 "), "{said}: {answer}");
            assert!(head(&mut ask(&accept, "/", "").await).await.starts_with(ACCEPTED));
        }
        assert_eq!((refuse.gauges()["hook_failures"], accept.gauges()["hook_failures"]), (5, 5));
        assert_eq!(accept.gauges()["uids"], 0, "nothing is bound");

        // One that says nothing in time, or half of it, and one that is not there.
        hook.answers("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}");
        for url in [&*url, "http://127.0.0.1:9/"] {
            let gateway = Process::start(gateway().connect_hook(impatient(url))).await;
            let answer = refused(&mut ask(&gateway, "/", "").await).await;
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert_eq!(gateway.gauges()["hook_failures"], 1);
        }
    });
}

#[test]
fn a_client_that_leaves_while_the_hook_is_asked_was_never_there() {
    run(async {
        let (hook, url) = Hook::http(&answer("200 OK", "", r#"{"uid":"1"}"#)).await;
        hook.hold();
        let gateway = Process::start(gateway().connect_hook(hooked(&url).questions(2))).await;
        let mut business = business(&gateway).await;
        let leaving = ask(&gateway, "/", "").await;
        hook.question().await;
        let staying = ask(&gateway, "/", "").await;
        hook.question().await;
        // All places are taken.
        let answer = refused(&mut ask(&gateway, "/", "").await).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        drop(leaving);
        // The hook works on it all the same.
        let answer = refused(&mut ask(&gateway, "/", "").await).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert_eq!(gateway.gauges()["hook_questions"], 2);

        hook.release();
        gateway.reaches("hook_questions", 0).await;
        let mut staying = staying;
        assert!(head(&mut staying).await.starts_with(ACCEPTED));
        assert_eq!(packet(&mut business).await.command, Command::OnConnect);
        assert_eq!(packet(&mut business).await.command, Command::OnWebSocketConnect);
        drop(staying);
        assert_eq!(packet(&mut business).await.command, Command::OnClose, "of no other client");
        gateway.reaches("clients", 0).await;
        assert_eq!(gateway.gauges()["uids"], 0);
    });
}

#[test]
fn a_handshake_that_is_out_of_time_does_not_wait_for_the_hook() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (hook, url) = Hook::http(&answer("200 OK", "", "")).await;
        hook.hold();
        let limits = Limits { handshake_time: Duration::from_secs(10), ..Limits::default() };
        let gateway = Process::start(gateway().limits(limits).connect_hook(hooked(&url))).await;
        let mut client = Peer::connect(gateway.addresses[0]).await;
        client.write(b"GET / HTTP/1.1\r\n").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let rest = "Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        client.write(rest.as_bytes()).await;
        let answer = refused(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        // The question ends by its own time.
        tokio::time::sleep(Duration::from_secs(9)).await;
        let gauges = gateway.gauges();
        assert_eq!((gauges["hook_questions"], gauges["clients"]), (0, 0));
    });
}

#[test]
fn without_a_business_a_client_that_the_hook_accepts_is_held_with_its_names() {
    run(async {
        let (_hook, url) =
            Hook::http(&answer("200 OK", "", r#"{"uid":"1","session":{"a":1}}"#)).await;
        let gateway = Process::start(gateway().connect_hook(hooked(&url))).await;
        let mut client = ask(&gateway, "/", "").await;
        assert!(head(&mut client).await.starts_with(ACCEPTED));
        assert_eq!((gateway.gauges()["held_clients"], gateway.gauges()["uids"]), (1, 1));
        let mut business = business(&gateway).await;
        let packet = packet(&mut business).await;
        assert_eq!(
            (packet.command, &packet.ext[..]),
            (Command::OnConnect, &b"a:1:{s:1:\"a\";i:1;}"[..])
        );
    });
}

#[test]
fn php_fpm_is_asked_over_fastcgi() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("fpm.sock");
        let hook = Hook::fastcgi(&path, b"Content-type: text/html\r\n\r\n{\"uid\":\"7\"}\n");
        let address = format!("unix:{}", path.display());
        let settings =
            ConnectHook::fastcgi(address, "/srv/app/connect.php").header("X-Gateway", "k");
        let gateway = Process::start(gateway().connect_hook(settings)).await;
        let lines = "Cookie: c=1\r\nProxy: evil\r\n";
        let mut client = ask(&gateway, "/chat?token=t", lines).await;
        let question = hook.question().await;
        for pair in [
            "\x0f\x14SCRIPT_FILENAME/srv/app/connect.php",
            "\x0e\x03REQUEST_METHODGET",
            "\x0c\x07QUERY_STRINGtoken=t",
            "\x0b\x0dREQUEST_URI/chat?token=t",
            "\x0b\x09REMOTE_ADDR127.0.0.1",
            "\x09\x09HTTP_HOSThere:7272",
            "\x0b\x03HTTP_COOKIEc=1",
            "\x0e\x01HTTP_X_GATEWAYk",
        ] {
            assert!(question.contains(pair), "{pair:?}: {question:?}");
        }
        assert!(!question.contains("evil"), "{question:?}");
        assert!(head(&mut client).await.starts_with(ACCEPTED));
        assert_eq!(gateway.gauges()["uids"], 1);

        hook.answers(Hook::records(
            b"Status: 403 Forbidden\r\nContent-type: text/plain\r\n\r\nnot you",
        ));
        let answer = refused(&mut ask(&gateway, "/", "").await).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("not you"), "{answer}");
        // It dies behind its header lines: that is no yes.
        let mut cut = Hook::records(b"Content-type: text/html\r\n\r\n");
        cut.truncate(cut.len() - 16);
        hook.answers(cut);
        let answer = refused(&mut ask(&gateway, "/", "").await).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    });
}

#[test]
fn an_entrance_that_cannot_work_fails_the_start() {
    use lineman::service::Service;
    let text = || Gateway::text("127.0.0.1:0");
    for (error, part) in [
        (gateway().connect_hook(ConnectHook::http("nowhere")).check(), "connect hook: "),
        (gateway().allow(Allow::new().paths(["chat"])).check(), "allow: "),
        (text().allow(Allow::new().paths(["/chat"])).check(), "send no request"),
    ] {
        let error = error.expect_err(part).to_string();
        assert!(error.contains(part) && error.contains("gateway"), "{error}");
    }
    assert!(text().allow(Allow::new().networks("unix".parse().expect("a list"))).check().is_ok());
}
