//! The example `login`, a driver of one's own, as devices meet it.

use anyhow::Result;
use lineman_testkit::{Program, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[path = "../../../examples/login/src/main.rs"]
#[expect(dead_code, reason = "the example's own start is not called")]
mod example;

fn program() -> lineman::App {
    lineman::App::new().service(example::devices("127.0.0.1:0"))
}

/// Says all of it, and returns what came until the other side ended.
async fn conversation(program: &Program, said: &[u8]) -> Result<String> {
    let mut device = TcpStream::connect(program.address("devices").await?).await?;
    device.write_all(said).await?;
    let mut heard = String::new();
    within("an end", device.read_to_string(&mut heard)).await??;
    Ok(heard)
}

#[tokio::test]
async fn devices_come_in_talk_and_leave() -> Result<()> {
    let program = Program::of(program).await?;
    let long = [b"LOGIN lamp secret\n".as_slice(), &[b'x'; 5000], b"\n"].concat();
    for (said, heard) in [
        (b"LOGIN lamp secret\none\ntwo\nBYE\n".as_slice(), "WELCOME\nlamp: one\nlamp: two\n"),
        (b"LOGIN lamp wrong\n", "BYE protocol error: the key is wrong\n"),
        (b"LOGIN lamp\n", "BYE protocol error: begin with LOGIN name key\n"),
        (b"\xff\n", "BYE protocol error: a line is no UTF-8\n"),
        (&long, "WELCOME\nBYE message too big\n"),
    ] {
        assert_eq!(conversation(&program, said).await?, heard);
    }
    let mut device = TcpStream::connect(program.address("devices").await?).await?;
    device.write_all(b"LOGIN lamp secret\n").await?;
    let mut welcome = [0; 8];
    within("an answer", device.read_exact(&mut welcome)).await??;
    program.run(&["stop"]).await?.expect_code(0)?;
    let mut farewell = String::new();
    within("an end", device.read_to_string(&mut farewell)).await??;
    assert_eq!(farewell, "BYE server going away\n");
    Ok(())
}
