//! Against OpenSSL's command line over real sockets: versions, key updates, renegotiation, tickets.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::*;
use crate::tls::{Parts, Stream};

/// Serves one connection: returns every line, in capitals.
async fn serve(listener: &TcpListener, acceptor: &Acceptor) {
    let (io, _) = listener.accept().await.unwrap();
    let empty = BytesMut::new;
    let (session, undecrypted) = (acceptor.session(), empty());
    let parts = Parts { io, session, undecrypted, unread: empty(), unsent: empty() };
    let mut stream = Stream::new(parts);
    let mut buffer = [0; 4096];
    // An end without a farewell is OpenSSL's way when its input ends.
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let answer = buffer[..length].to_ascii_uppercase();
        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// What the client prints for a line: its commands are single letters.
fn answer(line: &str) -> String {
    match line {
        "k" | "K" => "KEYUPDATE\n".to_owned(),
        "R" => "RENEGOTIATING\n".to_owned(),
        _ => format!("{}\n", line.to_uppercase()),
    }
}

/// Runs `openssl s_client`, types each line when the one before was answered, and returns its output.
async fn s_client(address: SocketAddr, arguments: &[&str], lines: &[&str]) -> String {
    let mut child = Command::new("sh")
        .args(["-c", "exec openssl s_client \"$@\" 2>&1", "sh"])
        .args(["-connect", &address.to_string(), "-servername", "localhost"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut output, mut seen) = (String::new(), 0);
    for line in lines {
        stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let expected = answer(line);
        while !output[seen..].contains(&expected) {
            let mut buffer = [0; 4096];
            let length = stdout.read(&mut buffer).await.unwrap();
            assert!(length > 0, "no answer to {line:?}: {output}");
            output.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        seen = output.len();
    }
    drop(stdin);
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).await.unwrap();
    output + &String::from_utf8_lossy(&rest)
}

async fn both(acceptor: &Acceptor, arguments: &[&str], lines: &[&str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limit = std::time::Duration::from_mins(1);
    let run =
        async { tokio::join!(serve(&listener, acceptor), s_client(address, arguments, lines)).1 };
    tokio::time::timeout(limit, run).await.expect("openssl hangs")
}

#[tokio::test]
async fn it_speaks_every_suite() {
    let files = Files::new();
    files.issue_rsa("rsa", &["localhost"]);
    let authority = files.path("ca.pem");
    let tls = files.tls("server").also(files.path("rsa.pem"), files.path("rsa.key"));
    let acceptor = Acceptor::new(&tls, &from_master()).unwrap();
    let authority = authority.to_str().unwrap();
    let trust = ["-CAfile", authority, "-verify_return_error", "-quiet", "-no_ign_eof"];
    for suite in
        ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
    {
        let arguments = [&trust[..], &["-tls1_3", "-ciphersuites", suite]].concat();
        both(&acceptor, &arguments, &["hello there", "and again"]).await;
    }
    for suite in [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ] {
        let arguments = [&trust[..], &["-tls1_2", "-cipher", suite]].concat();
        both(&acceptor, &arguments, &["hello there", "and again"]).await;
    }
}

#[tokio::test]
async fn it_updates_keys() {
    let files = Files::new();
    let acceptor = Acceptor::new(&files.tls("server"), &from_master()).unwrap();
    // `k` updates its keys, `K` asks for ours as well.
    let lines = ["before", "K", "between", "k", "after", "K", "at last"];
    both(&acceptor, &["-tls1_3"], &lines).await;
}

#[tokio::test]
async fn a_renegotiation_is_turned_down() {
    let files = Files::new();
    let acceptor = Acceptor::new(&files.tls("server"), &from_master()).unwrap();
    let output = both(&acceptor, &["-tls1_2"], &["before", "R"]).await;
    assert!(output.contains("no renegotiation"), "{output}");
}

#[tokio::test]
async fn a_session_goes_on_with_another_worker() {
    let files = Files::new();
    let keys = TicketKeys::first(random_key());
    let worker = || {
        let from = FromMaster::default();
        from.tickets.accept(keys.clone());
        Acceptor::new(&files.tls("server"), &from).unwrap()
    };
    let session = files.path("session");
    let session = session.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let output = both(&worker(), &[version, "-sess_out", session], &["hello"]).await;
        assert!(output.contains("New, TLS"), "{output}");
        let output = both(&worker(), &[version, "-sess_in", session], &["hello"]).await;
        assert!(output.contains("Reused, TLS"), "{output}");
    }
}
