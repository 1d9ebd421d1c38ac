//! TLS on the port of a gateway's clients: they talk through a business as they would without it, and
//! who speaks no TLS is turned away.

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use lineman_testkit::within;
use lineman_tests::certificates::{Authority, Pair};
use lineman_tests::programs::{Server, cluster};
use lineman_tests::raw::{Raw, UPGRADE};
use lineman_tests::secure::dial;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Somebody at `wss://localhost`.
struct Guest {
    socket: Box<WebSocketStream<TlsStream<TcpStream>>>,
    address: String,
}

impl Guest {
    async fn enter(server: &Server, authority: &Authority) -> Result<Self> {
        let stream = Box::pin(dial(&server.port.address(), authority, &["http/1.1"])).await?;
        let address = stream.get_ref().0.local_addr()?.to_string();
        let upgrade = Box::pin(tokio_tungstenite::client_async("wss://localhost/", stream));
        let (socket, _) = within("a WebSocket over TLS", upgrade).await??;
        Ok(Self { socket: Box::new(socket), address })
    }

    async fn say(&mut self, text: &str) -> Result<()> {
        within("a message to be sent", self.socket.send(Message::text(text))).await??;
        Ok(())
    }

    async fn hears(&mut self, text: &str) -> Result<()> {
        let next = within("a message", self.socket.next()).await?;
        let message = next.context("the connection ended")??;
        ensure!(message == Message::text(text), "{message:?} came");
        Ok(())
    }
}

async fn server(authority: &Authority) -> Result<Server> {
    let Pair { certificate, key } = authority.sign("localhost").await?;
    cluster()?.knob("CLUSTER_CERTIFICATE", certificate).knob("CLUSTER_KEY", key).started().await
}

/// Returns the rows of the gateway's clients.
async fn clients(server: &Server) -> Result<Vec<Value>> {
    let output = server.program.run(&["connections", "gateway", "--json"]).await?.expect_code(0)?;
    let rows = output.stdout.lines().map(serde_json::from_str::<Value>);
    let rows = rows.collect::<Result<Vec<Value>, _>>()?;
    Ok(rows.into_iter().filter(|row| row["protocol"] == "websocket").collect())
}

#[tokio::test]
async fn clients_talk_through_a_business_over_tls() -> Result<()> {
    let authority = Authority::new().await?;
    let server = server(&authority).await?;
    let mut ada = Guest::enter(&server, &authority).await?;
    let mut bob = Guest::enter(&server, &authority).await?;
    let long = "a record's worth and more ".repeat(4000);
    for text in ["hello", &long, "Grüße"] {
        ada.say(text).await?;
        ada.hears(text).await?;
        bob.hears(text).await?;
        bob.say(text).await?;
        ada.hears(text).await?;
        bob.hears(text).await?;
    }

    let start = server.program.run(&["status"]).await?.expect_code(0)?;
    ensure!(start.stdout.contains("wss://"), "{start}");
    let rows = clients(&server).await?;
    ensure!(rows.len() == 2, "{rows:#?}");
    for guest in [&ada, &bob] {
        let row = rows.iter().find(|row| row["peer"] == guest.address.as_str());
        let row = row.with_context(|| format!("no {} in {rows:#?}", guest.address))?;
        assert_eq!((&row["tls"], &row["state"]), (&"1.3".into(), &"open".into()), "{row:#?}");
        assert_eq!((&row["messages_in"], &row["messages_out"]), (&3.into(), &6.into()));
    }
    let table = server.program.run(&["connections", "gateway"]).await?.expect_code(0)?;
    let line = table.stdout.lines().find(|line| line.contains(&ada.address)).context("no line")?;
    ensure!(line.contains(" websocket  1.3  open "), "{line:?}");
    Ok(())
}

#[tokio::test]
async fn a_peer_without_tls_is_told_at_once() -> Result<()> {
    let authority = Authority::new().await?;
    let server = server(&authority).await?;
    let address = server.port.address();
    let mut ada = Guest::enter(&server, &authority).await?;
    let mut peer = Raw::connect(&address).await?;
    peer.send(UPGRADE).await?;
    let answer = String::from_utf8(peer.rest().await?)?;
    let is_told = answer.starts_with("HTTP/1.1 400 ") && answer.contains("speaks TLS");
    ensure!(is_told, "{answer:?} was answered");
    let counted = |status: &lineman_testkit::Status| {
        status.slot("gateway/0").is_ok_and(|slot| slot.stats["protocol_errors"] == 1)
    };
    server.program.until("who speaks no TLS to be counted", counted).await?;

    // Nor is a stranger's authority believed, by a client that looks.
    let strangers = Authority::new().await?;
    ensure!(Box::pin(dial(&address, &strangers, &[])).await.is_err(), "anybody is believed");
    ada.say("still here").await?;
    ada.hears("still here").await
}
