//! What `connections` tells of HTTP over TLS, as a table and as JSON: which HTTP, which TLS, how much.

use anyhow::{Context, Result, ensure};
use lineman_tests::certificates::Authority;
use lineman_tests::http2::Http2;
use lineman_tests::programs::{Server, http};
use lineman_tests::raw::Raw;
use lineman_tests::secure::dial;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How many requests each connection has made.
const ASKED: u64 = 3;

async fn listed(server: &Server) -> Result<Vec<Value>> {
    let output = server.program.run(&["connections", "--json"]).await?.expect_code(0)?;
    output.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn row<'a>(rows: &'a [Value], peer: &str) -> Result<&'a Value> {
    let found = rows.iter().find(|row| row["peer"] == peer);
    found.with_context(|| format!("no {peer} in {rows:#?}"))
}

#[tokio::test]
async fn http_over_tls_is_listed_with_both() -> Result<()> {
    let authority = Authority::new().await?;
    let pair = authority.sign("localhost").await?;
    let server = http()?.knob("HTTP_CERTIFICATE", pair.certificate).knob("HTTP_KEY", pair.key);
    let server = server.started().await?;
    let address = server.port.address();

    let mut second = Http2::connect(&address, &authority, &[]).await?;
    let mut first = Box::pin(dial(&address, &authority, &["http/1.1"])).await?;
    for _ in 0..ASKED {
        second.is_greeted().await?;
        first.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nhello") {
            answer.push(first.read_u8().await?);
        }
    }
    let silent = Raw::connect(&address).await?;
    let all_there = |status: &lineman_testkit::Status| {
        status.slot("http/0").is_ok_and(|slot| slot.stats["connections"] == 3)
    };
    server.program.until("all three to be accepted", all_there).await?;

    let rows = listed(&server).await?;
    ensure!(rows.len() == 3, "{rows:#?}");
    let peers = [
        (second.local_addr()?.to_string(), "http/2"),
        (first.get_ref().0.local_addr()?.to_string(), "http/1.1"),
    ];
    for (peer, protocol) in &peers {
        let row = row(&rows, peer)?;
        assert_eq!((&row["protocol"], &row["tls"]), (&(*protocol).into(), &"1.3".into()));
        assert_eq!((&row["state"], &row["slot"]), (&"open".into(), &"http/0".into()));
        assert_eq!((&row["messages_in"], &row["messages_out"]), (&ASKED.into(), &ASKED.into()));
        assert_eq!(row["local"], address.as_str());
        // On the wire, so with what TLS adds: its handshake alone is more.
        for bytes in ["bytes_in", "bytes_out"] {
            ensure!(row[bytes].as_u64().is_some_and(|bytes| bytes > 300), "{row:#?}");
        }
    }
    let row = row(&rows, &silent.local_addr()?.to_string())?;
    assert_eq!((&row["protocol"], &row["state"]), (&"http".into(), &"preparing".into()));
    assert_eq!(row["tls"], Value::Null);

    let table = server.program.run(&["connections"]).await?.expect_code(0)?;
    for (peer, protocol) in &peers {
        let line = table.stdout.lines().find(|line| line.contains(peer)).context("no line")?;
        let cells = format!(" {protocol:<10} 1.3  open ");
        ensure!(line.contains(&cells), "no {cells:?} in {line:?}");
    }
    Ok(())
}
