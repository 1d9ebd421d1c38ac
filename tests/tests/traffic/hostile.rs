//! Peers that mean harm: each gets the right answer, and nobody else feels it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lineman_testkit::{Process, Status};
use lineman_tests::alone;
use lineman_tests::innocent::{echoes, served_throughout};
use lineman_tests::meanwhile::{Meanwhile, Rounds, rounds_during};
use lineman_tests::person::Person;
use lineman_tests::programs::{Server, chat, echo};
use lineman_tests::raw::{Raw, frame, head_of};
use serde_json::Value;
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

/// A control frame of a server with the longest payload, in bytes (RFC 6455, 5.5).
const CONTROL_FRAME: usize = 127;

/// Bytes of pongs that may wait to be sent (`Bounds` of `ARCHITECTURE.md`).
const PONGS: usize = 16 * 1024;

/// What the kernel takes for a peer that does not read and wants it to take little: Linux doubles it.
const NARROW: usize = 32 * 1024;

/// What the kernel's last write beyond its bound, and what the innocent says meanwhile, add at most.
const SLACK: usize = 128 * 1024;

/// Bytes that are surely a flood.
const FLOODED: u64 = 16 * 1024 * 1024;

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
        floods.spawn(async move {
            peer.flood(&frames).await;
            first
        });
    }
    let bound = BASE_BYTES + 4 * OPEN_BYTES;
    let mut number = 0;
    while number < 300 || bytes_in(&echo).await? < FLOODED {
        innocent.send_text(number.to_string()).await?;
        ensure!(innocent.next_text().await? == number.to_string());
        if number % 100 == 0 {
            let bytes = process.resident_bytes()?;
            ensure!(bytes <= bound, "{bytes} bytes are held, {bound} were the bound");
        }
        number += 1;
    }
    while let Some(ended) = floods.try_join_next() {
        assert_eq!(ended?, TEXT, "control frames end no connection");
    }
    Ok(())
}

async fn bytes_in(echo: &Server) -> Result<u64> {
    echo.program.status().await?.slot("echo/0")?.stats["bytes_in"].as_u64().context("a count")
}

#[tokio::test]
async fn a_flood_of_pings_is_answered_in_order_up_to_the_bound() -> Result<()> {
    let _machine = alone().await;
    let echo = echo()?.started().await?;
    let kernel = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem")?;
    let kernel: usize = kernel.split_whitespace().last().context("a maximum")?.parse()?;
    let bound = kernel + NARROW + PONGS + SLACK;
    let count = 2 * bound / CONTROL_FRAME;

    let mut answered = Vec::new();
    for (first, payload) in flooded(&echo, PING, count).await? {
        ensure!(first == PONG, "a frame that begins with {first} is no pong");
        answered.push(std::str::from_utf8(&payload)?.parse::<usize>()?);
    }
    assert!(answered.is_sorted_by(|one, next| one < next), "in their order, and none twice");
    let sure = PONGS / CONTROL_FRAME;
    let first: Vec<usize> = answered.iter().copied().take(sure).collect();
    assert_eq!(first, (0..sure).collect::<Vec<_>>(), "all are answered up to the bound");
    let bytes = answered.len() * CONTROL_FRAME;
    assert!(bytes <= bound, "{bytes} bytes of pongs, {bound} were the bound");
    Ok(())
}

#[tokio::test]
async fn a_flood_of_pongs_is_answered_by_nothing() -> Result<()> {
    let echo = echo()?.started().await?;
    assert_eq!(flooded(&echo, PONG, 20_000).await?, []);
    Ok(())
}

/// Sends so many numbered control frames without reading, and a message when the server has read them
/// all; returns the frames that come before that is echoed. Somebody innocent is served beside it.
async fn flooded(echo: &Server, first: u8, count: usize) -> Result<Vec<(u8, Vec<u8>)>> {
    let mut innocent = echo.client().await?;
    let attack = async {
        let mut peer = Raw::connect_narrow(&echo.port.address(), NARROW).await?;
        ensure!(peer.enters().await?, "not let in");
        let mut sent = bytes_in(echo).await?;
        for begin in (0..count).step_by(1000) {
            let numbers = (begin..count).take(1000);
            let frames = numbers.map(|number| frame(first, format!("{number:0>125}").as_bytes()));
            let frames = frames.collect::<Result<Vec<_>>>()?.concat();
            peer.send(&frames).await?;
            sent += frames.len() as u64;
        }
        let is_read = |status: &Status| {
            let slot = status.slot("echo/0").ok();
            slot.and_then(|slot| slot.stats["bytes_in"].as_u64()).is_some_and(|read| read >= sent)
        };
        echo.program.until("the flood to be read", is_read).await?;
        peer.send(&frame(TEXT, b"last")?).await?;
        let mut frames = Vec::new();
        loop {
            match peer.frame().await? {
                (TEXT, payload) if payload == b"last" => return Ok(frames),
                other => frames.push(other),
            }
        }
    };
    let exchange = async || echoes(&mut innocent).await;
    let bound = BASE_BYTES + OPEN_BYTES;
    Box::pin(served_throughout(&echo.program, "echo/0", bound, exchange, attack)).await
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
            // The news may come between any two of its own.
            let own_or_leave =
                |news: &Value| news["type"] == "logout" || news["content"] == long.as_str();
            let news = talker.client.next_json(own_or_leave).await?;
            if news["type"] == "logout" {
                assert_eq!(news["from_client_name"], "deaf");
                let status = chat.program.status().await?;
                assert!(status.gauge("chat-gateway", "slow_clients") > 0);
                deaf.rest().await?;
                return Ok(());
            }
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
    let answers = chatting_during(innocents, attack).await?;
    assert!(answers.iter().all(|count| *count > 0), "{answers:?}");
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
/// got to what they said during it. Each must get every one.
async fn chatting_during(
    people: Vec<Person>,
    attack: impl Future<Output = Result<()>>,
) -> Result<Vec<u64>> {
    let chats = people.into_iter().map(|person| {
        Meanwhile::goes_on(async move |rounds| {
            talk_to_oneself(person, rounds).await.context("an innocent client suffered")
        })
    });
    let ((), answers) = rounds_during(chats.collect(), attack).await?;
    Ok(answers)
}

async fn talk_to_oneself(mut person: Person, mut rounds: Rounds) -> Result<()> {
    let mut number = 0;
    while rounds.another() {
        number += 1;
        let content = format!("number {number}");
        person.say(&content).await?;
        let name = person.name.clone();
        person.hears(&name, &content).await?;
    }
    Ok(())
}
