//! Peers that mean harm to TLS: each is turned away in time, and nobody else feels it.

use anyhow::{Context, Result, ensure};
use lineman_testkit::within;
use lineman_tests::certificates::Authority;
use lineman_tests::peer::Peer;
use lineman_tests::programs::{Server, echo, http, lines};
use lineman_tests::raw::Raw;
use lineman_tests::secure::Secure;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

/// The alerts that are fatal are records of this kind (RFC 8446, 5.1).
const ALERT: u8 = 21;

/// The beginning of a hello: a record of 512 bytes of which few come.
const BEGINNING: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// Asks for the page, as somebody who means no harm.
async fn innocent(server: &Server, authority: &Authority) -> Result<()> {
    let port = server.port.number();
    let (url, resolve) =
        (format!("https://localhost:{port}/"), format!("localhost:{port}:127.0.0.1"));
    let root = authority.certificate();
    let root = root.to_str().context("a path in UTF-8")?;
    let quiet = ["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"];
    let trust = ["--cacert", root, "--resolve", &resolve, &url];
    let (code, output) = Peer::program("curl", &[&quiet[..], &trust].concat())?.output().await?;
    ensure!(code == Some(0) && output == "hello", "curl failed with {code:?}: {output}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_handshake_ends_and_others_are_served() -> Result<()> {
    let authority = Authority::new().await?;
    let pair = authority.sign("localhost").await?;
    let server = http()?.knob("HTTP_CERTIFICATE", pair.certificate).knob("HTTP_KEY", pair.key);
    let server = server.knob("HTTP_HEAD_MS", "2000").started().await?;
    let address = server.port.address();
    let worker = server.program.process("http/0").await?.pid();

    // Some that stop in the middle, and stay.
    let mut half_open = Vec::new();
    for bytes in [&b""[..], &BEGINNING[..1], &BEGINNING[..5], BEGINNING] {
        let mut peer = Raw::connect(&address).await?;
        for byte in bytes.chunks(1) {
            peer.send(byte).await?;
        }
        half_open.push(peer);
    }
    innocent(&server, &authority).await?;

    let wrong: [(&str, &[u8]); 4] = [
        ("noise", b"\x00\xff\x93\x27\xb1\x0c\x5e\xee\x00\x00\x01"),
        ("a record too long", b"\x16\x03\x01\xff\xff\x01\x00\x00"),
        ("data before a handshake", b"\x17\x03\x03\x00\x05hello"),
        ("a hello of nonsense", b"\x16\x03\x01\x00\x08\x01\x00\x00\x04\xff\xff\xff\xff"),
    ];
    for (what, bytes) in wrong {
        let mut peer = Raw::connect(&address).await?;
        peer.send(bytes).await?;
        let answer = peer.rest().await.context(what)?;
        // To who speaks no TLS there is nothing to say; the rest hears an alert and nothing else.
        let is_alert = answer.len() == 7 && answer[0] == ALERT;
        assert!(answer.is_empty() || is_alert, "{what}: {answer:?}");
        innocent(&server, &authority).await.context(what)?;
    }
    for mut peer in half_open {
        peer.rest().await.context("a handshake that stops has a deadline")?;
    }
    innocent(&server, &authority).await?;
    ensure!(server.program.process("http/0").await?.pid() == worker, "the worker was replaced");
    Ok(())
}

/// Sends bytes and returns all that is answered.
async fn answer(server: &Server, bytes: &[u8]) -> Result<String> {
    let mut peer = Raw::connect(&server.port.address()).await?;
    peer.send(bytes).await?;
    Ok(String::from_utf8(peer.rest().await?)?)
}

#[tokio::test]
async fn plain_http_where_tls_is_spoken_is_told_so() -> Result<()> {
    let authority = Authority::new().await?;
    let pair = authority.sign("localhost").await?;
    let pages = http()?.knob("HTTP_CERTIFICATE", &pair.certificate).knob("HTTP_KEY", &pair.key);
    let sockets = echo()?.knob("ECHO_CERTIFICATE", &pair.certificate).knob("ECHO_KEY", &pair.key);
    for server in [pages.started().await?, sockets.started().await?] {
        let bytes = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
        for end in [1, bytes.len()] {
            let answer = answer(&server, &bytes[..end]).await?;
            let (head, body) = answer.split_once("\r\n\r\n").context("a head")?;
            ensure!(
                head.starts_with("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"),
                "{head}"
            );
            ensure!(head.ends_with(&format!("\r\nContent-Length: {}", body.len())), "{answer}");
            ensure!(body == "this port speaks TLS: use https:// or wss://\n", "{body}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn tls_where_there_is_none_is_told_so_and_logged_once() -> Result<()> {
    for server in [http()?.started().await?, echo()?.started().await?] {
        for end in [1, BEGINNING.len(), BEGINNING.len()] {
            let answer = answer(&server, &BEGINNING[..end]).await?;
            ensure!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
            ensure!(answer.contains("the peer speaks TLS, this port does not"), "{answer}");
        }
        let log = server.program.log();
        let told =
            log.lines().filter(|line| line.contains("WARN") && line.contains("speaks TLS")).count();
        ensure!(told == 1, "{told} lines:\n{log}");
    }
    Ok(())
}

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

/// Carries one connection from `listener` to `address`: what the client says goes in single bytes, each
/// a write of its own.
async fn in_single_bytes(listener: &TcpListener, address: &str) -> Result<()> {
    let (mut client, _) = within("a client", listener.accept()).await??;
    let mut server = TcpStream::connect(address).await?;
    server.set_nodelay(true)?;
    let (mut said, mut hears) = client.split();
    let (mut answers, mut asked) = server.split();
    let there = async {
        while let Ok(byte) = said.read_u8().await {
            asked.write_all(&[byte]).await?;
        }
        asked.shutdown().await
    };
    tokio::try_join!(there, copy(&mut answers, &mut hears))?;
    Ok(())
}

#[tokio::test]
async fn a_hello_in_single_bytes_is_answered() -> Result<()> {
    let authority = Authority::new().await?;
    let server = lines(&authority.sign("localhost").await?)?.started().await?;
    let behind = server.port.address();
    for version in VERSIONS {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let mut client = Secure::connect(&address, &authority, &[version])?;
        let talk = async {
            assert_eq!(client.ask("hello").await?, "");
            client.close().await
        };
        tokio::try_join!(talk, in_single_bytes(&listener, &behind))?;
    }
    Ok(())
}

/// Returns the first record that openssl sends: a hello that is right in every byte.
async fn hello(version: &str, authority: &Authority) -> Result<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let _client = Secure::connect(&address, authority, &[version])?;
    let (mut stream, _) = within("openssl to connect", listener.accept()).await??;
    let mut record = vec![0; 5];
    stream.read_exact(&mut record).await?;
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    stream.read_exact(&mut record[5..]).await?;
    Ok(record)
}

#[tokio::test]
async fn who_stops_after_the_servers_hello_is_dropped_at_the_deadline() -> Result<()> {
    let authority = Authority::new().await?;
    let server = lines(&authority.sign("localhost").await?)?.knob("TLS_HANDSHAKE_MS", "3000");
    let server = server.started().await?;
    let address = server.port.address();
    let mut innocent = Secure::connect(&address, &authority, &[])?;
    innocent.ask("hello").await?;
    let mut peers = Vec::new();
    for version in VERSIONS {
        let mut peer = Raw::connect(&address).await?;
        peer.send(&hello(version, &authority).await?).await?;
        peers.push(peer);
    }
    innocent.ask("served meanwhile").await?;
    for mut peer in peers {
        // A record of a handshake, whose first message is a server's hello, and then the end.
        let answer = peer.rest().await.context("a handshake that stops has a deadline")?;
        assert_eq!((answer.first(), answer.get(5)), (Some(&22), Some(&2)), "{answer:?}");
    }
    let failed = |status: &lineman_testkit::Status| {
        status.slot("lines/0").is_ok_and(|slot| slot.stats["handshakes_failed"] == 2)
    };
    server.program.until("both to be counted", failed).await?;
    innocent.ask("served after").await?;
    innocent.close().await
}

#[tokio::test]
async fn who_renegotiates_harms_nobody_else() -> Result<()> {
    let authority = Authority::new().await?;
    let server = lines(&authority.sign("localhost").await?)?.started().await?;
    let address = server.port.address();
    let mut innocent = Secure::connect(&address, &authority, &["-tls1_2"])?;
    let worker = innocent.ask("who").await?;
    let mut peer = Secure::connect(&address, &authority, &["-tls1_2"])?;
    peer.ask("hello").await?;
    peer.renegotiate().await?;
    let output = peer.failed().await?;
    assert!(output.contains("RENEGOTIATING"), "{output}");
    assert!(output.contains("no renegotiation"), "{output}");
    assert_eq!(innocent.ask("who").await?, worker);
    innocent.close().await?;
    let mut next = Secure::connect(&address, &authority, &["-tls1_2"])?;
    assert_eq!(next.ask("who").await?, worker);
    next.close().await
}
