//! Where sockets come from: every protocol over IPv4, IPv6, a Unix socket and UDP; Unix sockets that
//! are dead, alive or somebody else's file.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Program, Status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixStream};
use tokio::time::timeout;

use lineman_tests::programs::built;

/// Each protocol's name and a message of its on the wire.
const PROTOCOLS: [(&str, &[u8]); 3] =
    [("text", b"hello\n"), ("framed", b"\0\0\0\x09hello"), ("shout", b"hello!")];

fn program(listen: &str) -> Result<Program> {
    let program = Program::new(built("transports_under_test", "lineman-tests")?)?;
    Ok(program.env("LISTEN", listen))
}

async fn echoes(mut stream: impl AsyncRead + AsyncWrite + Unpin, message: &[u8]) -> Result<()> {
    stream.write_all(message).await?;
    let mut got = vec![0; message.len()];
    timeout(lineman_testkit::LIMIT, stream.read_exact(&mut got)).await??;
    ensure!(got == message, "{:?} came back", String::from_utf8_lossy(&got));
    Ok(())
}

async fn udp_echoes(at: &str, message: &[u8]) -> Result<()> {
    let any = if at.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(at).await?;
    socket.send(&[message, message].concat()).await?;
    for _ in 0..2 {
        let mut got = [0; 64];
        let count = timeout(lineman_testkit::LIMIT, socket.recv(&mut got)).await??;
        ensure!(got[..count] == *message, "{:?} came back", String::from_utf8_lossy(&got));
    }
    Ok(())
}

fn address<'a>(status: &'a Status, service: &str) -> Result<&'a str> {
    status.listen(service, "clients").next().context("an address")
}

#[tokio::test]
async fn every_protocol_speaks_over_every_transport() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for host in ["127.0.0.1", "[::1]"] {
        let words = PROTOCOLS.map(|(name, _)| format!("{name}={host}:0 udp-{name}={host}:0"));
        let program = program(&words.join(" "))?;
        program.start().await?;
        let status = program.status().await?;
        for (name, message) in PROTOCOLS {
            echoes(TcpStream::connect(address(&status, name)?).await?, message).await?;
            udp_echoes(address(&status, &format!("udp-{name}"))?, message).await?;
        }
        // The same sockets, and what arrives meanwhile is not refused.
        program.reload().await?;
        for (name, message) in PROTOCOLS {
            echoes(TcpStream::connect(address(&status, name)?).await?, message).await?;
            udp_echoes(address(&status, &format!("udp-{name}"))?, message).await?;
        }
        program.stop().await?;
    }
    let path = |name: &str| folder.path().join(name);
    let words = PROTOCOLS.map(|(name, _)| format!("{name}=unix:{}", path(name).display()));
    let program = program(&words.join(" "))?;
    program.start().await?.expect_text(&format!("text+unix:{}", path("text").display()))?;
    for (name, message) in PROTOCOLS {
        echoes(UnixStream::connect(path(name)).await?, message).await?;
    }
    program.reload().await?;
    for (name, message) in PROTOCOLS {
        echoes(UnixStream::connect(path(name)).await?, message).await?;
    }
    program.stop().await?;
    Ok(())
}

/// A program with a text service on a Unix socket of this folder.
fn on_unix(folder: &Path) -> Result<(Program, PathBuf)> {
    let path = folder.join("text.sock");
    Ok((program(&format!("text=unix:{}", path.display()))?, path))
}

#[tokio::test]
async fn a_unix_socket_has_its_mode_and_leaves_no_file_behind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (program, path) = on_unix(folder.path())?;
    let program = program.env("MODE", "600");
    program.start().await?;
    assert_eq!(path.metadata()?.permissions().mode() & 0o777, 0o600);
    program.run(&["restart", "-d"]).await?.expect_code(0)?;
    echoes(UnixStream::connect(&path).await?, b"again\n").await?;
    program.stop().await?;
    assert_eq!(folder.path().read_dir()?.count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_dead_socket_is_replaced_a_live_one_and_a_file_are_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (first, path) = on_unix(folder.path())?;
    drop(UnixListener::bind(&path)?);
    first.start().await?;

    let (second, _) = on_unix(folder.path())?;
    let refused = second.run(&["start", "-d"]).await?;
    refused.expect_code(1)?.expect_text("somebody listens there")?;
    echoes(UnixStream::connect(&path).await?, b"still here\n").await?;
    first.stop().await?;

    std::fs::write(&path, "precious")?;
    let refused = second.run(&["start", "-d"]).await?;
    refused.expect_code(1)?.expect_text("is no socket")?;
    assert_eq!(std::fs::read_to_string(&path)?, "precious");
    Ok(())
}

#[tokio::test]
async fn a_killed_worker_comes_back_to_the_same_unix_socket() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (program, path) = on_unix(folder.path())?;
    program.start().await?;
    for slot in ["text/0", "text/1"] {
        let old = program.kill(slot).await?;
        echoes(UnixStream::connect(&path).await?, b"served\n").await?;
        program.replaced(slot, &old).await?;
    }
    program.stop().await?;
    Ok(())
}

#[tokio::test]
async fn an_address_that_is_none_is_named() -> Result<()> {
    let program = program("text=unix:relative.sock")?;
    let refused = program.run(&["start", "-d"]).await?;
    refused.expect_code(1)?.expect_text("\"unix:relative.sock\": the path is not absolute")?;
    Ok(())
}
