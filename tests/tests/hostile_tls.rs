//! Peers that mean harm to TLS: each is turned away in time, and nobody else feels it.

use anyhow::{Context, Result, ensure};
use lineman_tests::certificates::Authority;
use lineman_tests::peer::Peer;
use lineman_tests::programs::{Server, http};
use lineman_tests::raw::Raw;

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

    let wrong: [(&str, &[u8]); 5] = [
        ("plain HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
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
