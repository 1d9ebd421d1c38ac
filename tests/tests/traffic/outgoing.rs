//! Outgoing connections of a real process that ends: the other side hears 1001, with clients and without.

use anyhow::{Context, Result, bail};
use futures_util::StreamExt as _;
use lineman::prelude::*;
use lineman_testkit::{Program, Status, within};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// Connects to the WebSocket server of each port that it is told, and says when it is up.
fn reader() -> App {
    let worker = Worker::text("127.0.0.1:0").name("reader");
    App::new().service(worker.on_message(async |client, port: String| {
        Outgoing::websocket(format!("ws://127.0.0.1:{port}/"))
            .on_connect(async move |_connection| client.send("up"))
            .connect()?;
        Ok(())
    }))
}

/// A client of the program, and the server's end of the connection that it had made.
async fn connected(program: &Program) -> Result<(TcpStream, WebSocketStream<TcpStream>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let mut client = TcpStream::connect(program.address("reader").await?).await?;
    client.write_all(format!("{port}\n").as_bytes()).await?;
    let (stream, _) = within("a connection", listener.accept()).await??;
    let server = within("a handshake", accept_async(stream)).await??;
    let mut line = String::new();
    within("an answer", BufReader::new(&mut client).read_line(&mut line)).await??;
    assert_eq!(line, "up\n");
    Ok((client, server))
}

async fn hears_1001(mut server: WebSocketStream<TcpStream>) -> Result<()> {
    let frame = within("a close frame", server.next()).await?.context("an end without it")??;
    let Frame::Close(Some(close)) = frame else { bail!("{frame:?} instead of a close frame") };
    assert_eq!(close.code, CloseCode::Away);
    // The process may be gone before our answer is.
    server.close(None).await.or(Ok(()))
}

#[tokio::test]
async fn a_stop_is_told_to_the_servers_of_outgoing_connections() -> Result<()> {
    let program = Program::of(reader).await?;
    for stop in [&["stop"][..], &["stop", "-g"]] {
        let (client, server) = connected(&program).await?;
        // Without a client nothing but the outgoing connection is there to wait for.
        drop(client);
        let gone = |status: &Status| status.slots.iter().all(|slot| slot.stats["connections"] == 0);
        program.until("the client to be gone", gone).await?;
        let (stopped, heard) = tokio::join!(program.run(stop), hears_1001(server));
        heard?;
        stopped?.expect_code(0)?;
        program.all_gone().await?;
        program.start().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_stop_with_clients_is_told_to_the_servers_of_outgoing_connections() -> Result<()> {
    let program = Program::of(reader).await?;
    let (_client, server) = connected(&program).await?;
    let (stopped, heard) = tokio::join!(program.run(&["stop"]), hears_1001(server));
    heard?;
    stopped?.expect_code(0)?;
    Ok(())
}

#[tokio::test]
async fn a_reload_is_told_to_the_servers_of_the_replaced_process() -> Result<()> {
    let program = Program::of(reader).await?;
    let (client, server) = connected(&program).await?;
    drop(client);
    let (reloaded, heard) = tokio::join!(program.reload(), hears_1001(server));
    heard?;
    reloaded?;
    Ok(())
}
