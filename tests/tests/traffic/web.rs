//! The example `web`: each of its features over real sockets.

use anyhow::{Context, Result};
use lineman_tests::programs::{Server, web};
use lineman_tests::raw::Raw;

/// Asks for one page on a connection of its own; returns head and body.
async fn ask(server: &Server, line: &str, fields: &str, body: &[u8]) -> Result<(String, Vec<u8>)> {
    let mut peer = Raw::connect(&server.port.address()).await?;
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\
         {fields}\r\n"
    );
    peer.send(&[head.as_bytes(), body].concat()).await?;
    let answer = peer.rest().await?;
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n").context("a head")? + 4;
    let (head, body) = answer.split_at(end);
    Ok((String::from_utf8(head.to_vec())?, body.to_vec()))
}

#[tokio::test]
async fn files_are_served_and_compressed_for_who_wants_it() -> Result<()> {
    let server = web()?.started().await?;
    let (head, page) = ask(&server, "GET /", "", b"").await?;
    assert!(head.contains("content-type: text/html"), "{head}");
    assert!(String::from_utf8(page)?.contains("<title>Lineman: web</title>"));
    let (head, packed) = ask(&server, "GET /index.html", "Accept-Encoding: gzip\r\n", b"").await?;
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(packed.windows(2).any(|magic| magic == [0x1f, 0x8b]), "{packed:?}");
    let (head, _) = ask(&server, "GET /../Cargo.toml", "", b"").await?;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    Ok(())
}

#[tokio::test]
async fn a_session_counts_its_visits() -> Result<()> {
    let server = web()?.started().await?;
    let (head, first) = ask(&server, "GET /visits", "", b"").await?;
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
    let cookie = cookie.and_then(|cookie| cookie.split(';').next()).context("a cookie")?;
    let (_, second) = ask(&server, "GET /visits", &format!("Cookie: {cookie}\r\n"), b"").await?;
    let (_, stranger) = ask(&server, "GET /visits", "", b"").await?;
    assert_eq!((&first[..], &second[..], &stranger[..]), (&b"1"[..], &b"2"[..], &b"1"[..]));
    Ok(())
}

#[tokio::test]
async fn a_stream_comes_whole_and_an_upload_is_counted() -> Result<()> {
    let server = web()?.started().await?;
    let (head, numbers) = ask(&server, "GET /numbers", "", b"").await?;
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert!(String::from_utf8(numbers)?.contains("\n100000\n"));
    let body = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n\
        hello\r\n--x--\r\n";
    let fields = "Content-Type: multipart/form-data; boundary=x\r\n";
    let (_, told) = ask(&server, "POST /upload", fields, body.as_bytes()).await?;
    assert_eq!(String::from_utf8(told)?, "a.txt: 5 bytes\n");
    Ok(())
}

#[tokio::test]
async fn events_come_one_by_one_and_a_websocket_beside_them() -> Result<()> {
    let server = web()?.started().await?;
    let mut peer = Raw::connect(&server.port.address()).await?;
    peer.send(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    peer.until(b"data: 0\n\n").await?;
    peer.until(b"data: 1\n\n").await?;
    let mut client = lineman_testkit::Client::connect(&format!("{}ws", server.port.ws())).await?;
    client.send_text("hello").await?;
    assert_eq!(client.next_text().await?, "hello");
    Ok(())
}
