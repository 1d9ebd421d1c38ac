//! Connections through SOCKS 5 and HTTP proxies: small ones of the tests' own.

use tokio::io::{AsyncReadExt, copy_bidirectional};

use super::*;

/// What a proxy of the tests does with a request.
#[derive(Clone, Copy)]
enum Answer {
    /// Connects to that port of the loopback, whatever name was asked for.
    Tunnel(u16),
    Refuse,
}

/// Serves one client; returns what it asked for.
async fn socks5(listener: TcpListener, answer: Answer) -> String {
    let (mut client, _) = listener.accept().await.expect("a client");
    let mut greeting = [0; 4];
    client.read_exact(&mut greeting).await.expect("a greeting");
    assert_eq!(greeting, [5, 2, 0, 2]);
    client.write_all(&[5, 2]).await.expect("written");
    let mut login = [0; 3 + 4 + 6];
    client.read_exact(&mut login).await.expect("a login");
    assert_eq!(&login, b"\x01\x04user\x06secret");
    client.write_all(&[1, 0]).await.expect("written");
    let mut head = [0; 5];
    client.read_exact(&mut head).await.expect("a request");
    assert_eq!(head[..4], [5, 1, 0, 3]);
    let mut rest = vec![0; usize::from(head[4]) + 2];
    client.read_exact(&mut rest).await.expect("a name");
    let port = u16::from_be_bytes([rest[rest.len() - 2], rest[rest.len() - 1]]);
    let asked = format!("{}:{port}", String::from_utf8_lossy(&rest[..rest.len() - 2]));
    match answer {
        Answer::Tunnel(port) => {
            let reply = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50";
            tunnel(client, reply, port).await;
        }
        Answer::Refuse => client.write_all(b"\x05\x05\x00\x01\0\0\0\0\0\0").await.expect("written"),
    }
    asked
}

/// Serves one client; returns the lines of its request.
async fn http(listener: TcpListener, answer: Answer) -> String {
    let mut client = accept(&listener).await;
    let mut request = Vec::new();
    loop {
        match hear(&mut client).await.trim_end() {
            "" => break,
            line => request.push(line.to_owned()),
        }
    }
    match answer {
        Answer::Tunnel(port) => {
            let reply = b"HTTP/1.1 200 Connection established\r\n\r\n";
            tunnel(client.into_inner(), reply, port).await;
        }
        Answer::Refuse => say(&mut client, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").await,
    }
    request.join("|")
}

/// The peer speaks first: its bytes may come together with the proxy's answer.
async fn tunnel(mut client: TcpStream, reply: &[u8], port: u16) {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.expect("the server");
    let mut first = [0; 6];
    server.read_exact(&mut first).await.expect("a first line");
    client.write_all(&[reply, &first].concat()).await.expect("written");
    if let Err(error) = copy_bidirectional(&mut client, &mut server).await {
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    }
}

/// Connects through `proxy` to a server that greets; returns what the log has then.
async fn through(proxy: Proxy, address: &str, server: &TcpListener) -> Vec<String> {
    let log = Log::default();
    let outgoing = noting(Outgoing::text(address).proxy(proxy), &log);
    let handle = outgoing.connect().expect("good addresses");
    let mut peer = accept(server).await;
    say(&mut peer, "first\n").await;
    let lines = log.lines(2).await;
    handle.send("hello").expect("it is open");
    assert_eq!(hear(&mut peer).await, "hello\n");
    handle.close();
    assert_eq!(hear(&mut peer).await, "");
    lines
}

#[test]
fn through_a_socks_proxy() {
    run(async || {
        let ((proxy, address), (server, behind)) = (listen().await, listen().await);
        let proxy = tokio::task::spawn_local(socks5(proxy, Answer::Tunnel(behind.port())));
        let way = Proxy::socks5(address.to_string()).credentials("user", "secret");
        assert_eq!(through(way, "no.such.name:80", &server).await, ["up", "first"]);
        assert_eq!(proxy.await.expect("a good proxy"), "no.such.name:80");
    });
}

#[test]
fn through_an_http_proxy() {
    run(async || {
        let ((proxy, address), (server, behind)) = (listen().await, listen().await);
        let proxy = tokio::task::spawn_local(http(proxy, Answer::Tunnel(behind.port())));
        let way = Proxy::http(address.to_string()).credentials("user", "secret");
        assert_eq!(through(way, "[::1]:80", &server).await, ["up", "first"]);
        assert_eq!(
            proxy.await.expect("a good proxy"),
            "CONNECT [::1]:80 HTTP/1.1|Host: [::1]:80|Proxy-Authorization: Basic dXNlcjpzZWNyZXQ="
        );
    });
}

/// Connects through `proxy`; returns the one line that is noted.
async fn failing(proxy: Proxy) -> String {
    let log = Log::default();
    let outgoing = noting(Outgoing::text("example.org:80").proxy(proxy), &log);
    let _handle = outgoing.connect().expect("good addresses");
    let lines = log.lines(1).await;
    assert_eq!(lines.len(), 1);
    lines[0].clone()
}

#[test]
fn a_proxy_that_refuses_is_named() {
    run(async || {
        let (proxy, address) = listen().await;
        let proxy = tokio::task::spawn_local(socks5(proxy, Answer::Refuse));
        let way = Proxy::socks5(address.to_string()).credentials("user", "secret");
        assert_eq!(
            failing(way).await,
            format!(
                "connect failed: example.org:80: through {address}: \
                 the proxy refused: connection refused"
            )
        );
        proxy.await.expect("a good proxy");

        let (proxy, address) = listen().await;
        let proxy = tokio::task::spawn_local(http(proxy, Answer::Refuse));
        assert_eq!(
            failing(Proxy::http(address.to_string())).await,
            format!(
                "connect failed: example.org:80: through {address}: \
                 the proxy refused the tunnel with status 403"
            )
        );
        proxy.await.expect("a good proxy");

        let address = nobody().await;
        let problem = failing(Proxy::http(address.to_string())).await;
        let expected =
            format!("connect failed: example.org:80: proxy {address}: Connection refused");
        assert!(problem.starts_with(&expected), "{problem}");
    });
}

#[test]
fn a_proxy_that_goes_away_is_a_failure() {
    run(async || {
        let (proxy, address) = listen().await;
        let gone = tokio::task::spawn_local(async move { drop(accept(&proxy).await) });
        let problem = failing(Proxy::socks5(address.to_string())).await;
        gone.await.expect("it went");
        assert!(problem.starts_with("connect failed: example.org:80: "), "{problem}");
    });
}
