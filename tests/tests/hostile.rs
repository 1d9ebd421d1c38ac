//! Peers that mean harm: each gets the right answer, and nobody else feels it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lineman_testkit::Process;
use lineman_tests::alone;
use lineman_tests::person::Person;
use lineman_tests::programs::{Server, chat, echo};
use lineman_tests::raw::{Raw, frame, head_of};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How many half-open handshakes come at once: more than two gateways may have.
const HALF_OPEN: usize = 10_000;

/// The gateway's bound of handshakes under way, per process (`Limits::handshakes`).
const HANDSHAKES: u64 = 4096;

/// The bound of a handshake's header block (`HandshakeLimits`), and what an entry costs beside it.
const HANDSHAKE_BYTES: u64 = (16 + 1) * 1024;

/// The bound of a send queue (`Limits::send_queue`) and of a message, half read (`websocket::Limits`).
const OPEN_BYTES: u64 = (1 + 10) * 1024 * 1024;

/// First bytes of whole frames: final, and of this kind.
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// What a process with nobody on it holds, generously: buffers, the page, the allocator's arenas.
const BASE_BYTES: u64 = 16 * 1024 * 1024;

#[tokio::test]
async fn each_offence_gets_its_answer() -> Result<()> {
    for server in [echo()?, chat()?] {
        let server = server.started().await?;
        let address = server.port.address();
        refuse_requests(&address).await?;
        refuse_frames(&address).await?;
    }
    Ok(())
}

async fn refuse_requests(address: &str) -> Result<()> {
    let endless = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Endless: {}", "a".repeat(16 * 1024));
    let requests: [(&str, &[u8], u16); 4] = [
        ("headers without an end", endless.as_bytes(), 431),
        ("garbage", b"\x00\xff\x00\xff garbage\r\n\r\n", 400),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        ("no HTTP", b"HELO localhost\r\n\r\n", 400),
    ];
    for (what, bytes, expected) in requests {
        let mut peer = Raw::connect(address).await?;
        peer.send(bytes).await?;
        let status = peer.status().await.context(what)?;
        assert_eq!(status, expected, "{what}");
    }
    Ok(())
}

async fn refuse_frames(address: &str) -> Result<()> {
    let frames: [(&str, Vec<u8>, u16); 9] = [
        ("an unmasked frame", b"\x81\x02hi".to_vec(), 1002),
        ("a reserved bit", frame(0xc1, b"hi")?, 1002),
        ("a reserved opcode", frame(0x83, b"hi")?, 1002),
        ("a continuation of nothing", frame(0x80, b"hi")?, 1002),
        ("a fragmented ping", frame(0x09, b"hi")?, 1002),
        ("broken UTF-8", frame(0x81, b"\xc3\x28")?, 1007),
        ("broken UTF-8 in a fragment", frame(0x01, b"\xff")?, 1007),
        ("a frame of 2^63 bytes", head_of(1 << 63), 1009),
        ("a frame of 2^62 bytes", head_of(1 << 62), 1009),
    ];
    for (what, bytes, expected) in frames {
        let mut peer = Raw::websocket(address).await?;
        peer.send(&bytes).await?;
        let code = peer.close_code().await.context(what)?;
        assert_eq!(code, expected, "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn a_frame_that_trickles_in_is_cut_at_its_limit() -> Result<()> {
    let echo = echo()?.knob("ECHO_MESSAGE_MS", "300").started().await?;
    let mut innocent = echo.client().await?;
    let mut peer = Raw::websocket(&echo.port.address()).await?;
    // The limit is for the message: each byte in time does not help.
    let mut drips = tokio::time::interval(Duration::from_millis(100));
    let head = frame(0x81, &[b'a'; 100])?;
    for byte in head.iter().take(3) {
        drips.tick().await;
        peer.send(&[*byte]).await?;
    }
    assert_eq!(peer.close_code().await?, 1008);
    innocent.send_text("hello").await?;
    assert_eq!(innocent.next_text().await?, "hello");
    Ok(())
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_dropped_at_its_limit() -> Result<()> {
    let echo = echo()?.knob("ECHO_HANDSHAKE_MS", "300").started().await?;
    let mut silent = Raw::connect(&echo.port.address()).await?;
    let mut half = Raw::connect(&echo.port.address()).await?;
    half.send(b"GET / HTTP/1.1\r\nHost:").await?;
    silent.rest().await?;
    half.rest().await?;
    Ok(())
}

#[tokio::test]
async fn ten_thousand_half_open_handshakes_hurt_nobody() -> Result<()> {
    let _machine = alone().await;
    let chat = chat()?.started().await?;
    let (attacked, innocents) = one_on_each_gateway(&chat).await?;
    let attack = async {
        let mut peers = Vec::with_capacity(HALF_OPEN);
        let half = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Filler: {}", "a".repeat(2000));
        for _ in 0..HALF_OPEN {
            let mut peer = Raw::connect(&chat.port.address()).await?;
            // One that was displaced already does not take it.
            drop(peer.send(half.as_bytes()).await);
            peers.push(peer);
        }
        // Somebody new gets in all the same.
        Person::enter(&chat, "here", "late").await.context("nobody gets in any more")?;
        for slot in ["chat-gateway/0", "chat-gateway/1"] {
            let status = chat.program.status().await?;
            let open = status.slot(slot)?.stats["connections"].as_u64().context("a count")?;
            ensure!(open <= HANDSHAKES + 100, "{slot} holds {open} connections");
            let bytes = chat.program.process(slot).await?.resident_bytes()?;
            let bound = BASE_BYTES + HANDSHAKES * HANDSHAKE_BYTES;
            ensure!(bytes <= bound, "{slot} holds {bytes} bytes, {bound} were the bound");
        }
        Ok(())
    };
    let answers = chatting_during(innocents, attack).await?;
    assert!(answers.iter().all(|count| *count > 0), "{answers:?}");
    assert!(attacked.iter().all(Process::is_alive), "no gateway died");
    Ok(())
}

#[tokio::test]
async fn floods_of_control_frames_and_unread_answers_stay_within_the_bounds() -> Result<()> {
    let _machine = alone().await;
    let echo = echo()?.started().await?;
    let process = echo.program.process("echo/0").await?;
    let mut innocent = echo.client().await?;
    let mut floods = JoinSet::new();
    for (first, byte) in [(PING, b'p'), (PONG, b'q'), (TEXT, b't')] {
        let frames = frame(first, &[byte; 125])?.repeat(500);
        let peer = Raw::websocket(&echo.port.address()).await?;
        floods.spawn(async move { peer.flood(&frames).await });
    }
    let bound = BASE_BYTES + 4 * OPEN_BYTES;
    for number in 0..300 {
        innocent.send_text(number.to_string()).await?;
        ensure!(innocent.next_text().await? == number.to_string());
        if number % 100 == 0 {
            let bytes = process.resident_bytes()?;
            ensure!(bytes <= bound, "{bytes} bytes are held, {bound} were the bound");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_member_who_does_not_read_is_cut_and_the_others_go_on() -> Result<()> {
    let _machine = alone().await;
    let chat = chat()?.started().await?;
    let mut talker = Person::enter(&chat, "here", "talker").await?;
    let mut deaf = Raw::websocket(&chat.port.address()).await?;
    deaf.send(&frame(TEXT, br#"{"type":"login","client_name":"deaf","room_id":"here"}"#)?).await?;
    let long = "a".repeat(4000);
    // The kernel takes some megabytes on its behalf before the gateway's own queue fills.
    for _ in 0..20 {
        for _ in 0..500 {
            talker.say(&long).await?;
            talker.hears("talker", &long).await?;
        }
        if chat.program.status().await?.gauge("chat-gateway", "slow_clients") > 0 {
            let left = talker.sees_leave().await?;
            assert_eq!(left, "deaf");
            deaf.rest().await?;
            return Ok(());
        }
    }
    bail!("a member who does not read stays")
}

#[tokio::test]
async fn garbage_on_the_inner_ports_is_dropped() -> Result<()> {
    let chat = chat()?.started().await?;
    let (processes, innocents) = one_on_each_gateway(&chat).await?;
    let status = chat.program.status().await?;
    let register = chat.register.as_ref().context("the chat has a register")?.address();
    let links = status.listen("chat-gateway", "links").map(str::to_owned);
    let inner: Vec<String> = links.chain([register]).collect();
    assert_eq!(inner.len(), 3, "{inner:?}");
    let attack = async {
        for address in &inner {
            let long_line = "a".repeat(20 * 1024 * 1024);
            let garbage: [&[u8]; 4] = [
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                b"\xff\xff\xff\xff\xff\xff\xff\xff\n",
                b"\x00\x00\x00\x01\n",
                long_line.as_bytes(),
            ];
            for bytes in garbage {
                let mut peer = Raw::connect(address).await?;
                // It may be closed before it has taken everything.
                drop(peer.send(bytes).await);
                peer.rest().await.with_context(|| format!("{address} keeps garbage"))?;
            }
        }
        Ok(())
    };
    chatting_during(innocents, attack).await?;
    assert!(processes.iter().all(Process::is_alive), "no gateway died");
    Ok(())
}

/// Returns the gateways' processes, and somebody on each of them.
async fn one_on_each_gateway(chat: &Server) -> Result<(Vec<Process>, Vec<Person>)> {
    let mut people: Vec<Person> = Vec::new();
    for number in 0..100 {
        let person = Person::enter(chat, &format!("room-{number}"), "innocent").await?;
        if people.iter().all(|other| other.gateway() != person.gateway()) {
            people.push(person);
        }
        if people.len() == 2 {
            break;
        }
    }
    ensure!(people.len() == 2, "a hundred people are on one gateway");
    let mut processes = Vec::new();
    for slot in ["chat-gateway/0", "chat-gateway/1"] {
        processes.push(chat.program.process(slot).await?);
    }
    Ok((processes, people))
}

/// Has each person talk to themselves while the attack goes on, and returns how many answers each
/// got. Each must get every one.
async fn chatting_during(
    people: Vec<Person>,
    attack: impl Future<Output = Result<()>>,
) -> Result<Vec<u64>> {
    let (over, is_over) = watch::channel(false);
    let chats: Vec<_> = people
        .into_iter()
        .map(|person| tokio::spawn(chat_until(person, is_over.clone())))
        .collect();
    let attacked = attack.await;
    over.send_replace(true);
    attacked?;
    let mut answers = Vec::new();
    for chat in chats {
        answers.push(chat.await?.context("an innocent client suffered")?);
    }
    Ok(answers)
}

async fn chat_until(mut person: Person, is_over: watch::Receiver<bool>) -> Result<u64> {
    let mut answers = 0;
    while !*is_over.borrow() {
        let content = format!("number {answers}");
        person.say(&content).await?;
        let name = person.name.clone();
        person.hears(&name, &content).await?;
        answers += 1;
    }
    Ok(answers)
}
