//! Our WebSocket client and servers that share no code with it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use lineman::outgoing::Outgoing;
use lineman::prelude::{Message, WebSocket};
use lineman::websocket::Deflate;
use lineman_tests::ours::{Ours, in_a_table};
use lineman_tests::peer::Peer;
use serde_json::{Value, json};

/// The fragments of `tests/peers/samples.*`, put together.
const FRAGMENTS: &str = "one message in fünf pieces";

const LONG: usize = 1024 * 1024;

/// Whether a server can be asked for a message in fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fragments {
    Yes,
    No,
}

/// Talks to a server without TLS.
async fn meet(mut server: Peer, parameters: &[&str], fragments: Fragments) -> Result<()> {
    let url = format!("ws://127.0.0.1:{}/chat?room=7", server.port().await?);
    meet_by(|| Outgoing::websocket(&url), server, parameters, fragments).await
}

/// Talks to a server twice: asking for nothing, and asking for all there is. To an offer of
/// compression it answers with `parameters`.
pub(crate) async fn meet_by(
    outgoing: impl Fn() -> Outgoing<WebSocket>,
    mut server: Peer,
    parameters: &[&str],
    fragments: Fragments,
) -> Result<()> {
    in_a_table(async {
        talk(outgoing(), fragments).await?;
        let heard = saw(&mut server).await?;
        let expected = json!({
            "subprotocol": null,
            "extensions": null,
            "path": "/chat?room=7",
            "closed": [4001, "bye, Jürgen"],
        });
        assert_eq!(heard, expected);

        let all = || {
            let outgoing = outgoing().subprotocols(["chat.v3", "echo.v1"]);
            outgoing.compression(Deflate::new().min_size(0))
        };
        talk(all(), fragments).await?;
        let heard = saw(&mut server).await?;
        assert_eq!(heard["subprotocol"], "echo.v1");
        let extensions = heard["extensions"].as_str().context("no extensions")?;
        let (name, answered) = extensions.split_once("; ").context("no parameters")?;
        assert_eq!(name, "permessage-deflate");
        // They have no order.
        let answered: BTreeSet<&str> = answered.split("; ").collect();
        assert_eq!(answered, parameters.iter().copied().collect());

        let mut ours = Ours::connect(all())?;
        ours.open().await?;
        ours.send("close")?;
        let reason = ours.closed().await?.to_string();
        assert_eq!(reason, "closed by peer (4002: told to, Jürgen)");
        Ok(())
    })
    .await
}

/// Sends one of everything, and closes.
async fn talk(outgoing: Outgoing<WebSocket>, fragments: Fragments) -> Result<()> {
    let mut ours = Ours::connect(outgoing)?;
    let connection = ours.open().await?;
    for (index, sample) in samples().into_iter().enumerate() {
        ours.send(sample.clone())?;
        ensure!(ours.message().await? == sample, "sample {index} comes back as another one");
    }
    for number in 0..1000 {
        ours.send(number.to_string().as_str())?;
    }
    for number in 0..1000 {
        assert_eq!(ours.message().await?.as_text(), Some(number.to_string().as_str()));
    }
    ours.send("ping")?;
    assert_eq!(ours.message().await?.as_text(), Some("pong"));
    if fragments == Fragments::Yes {
        ours.send("fragments")?;
        assert_eq!(ours.message().await?.as_text(), Some(FRAGMENTS));
    }
    connection.close_with_code(4001, "bye, Jürgen");
    assert_eq!(ours.closed().await?.to_string(), "closed by us (4001: bye, Jürgen)");
    Ok(())
}

fn samples() -> Vec<Message> {
    let noise: Vec<u8> = std::iter::successors(Some(1_u32), |state| {
        Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
    })
    .flat_map(u32::to_be_bytes)
    .take(LONG)
    .collect();
    let every_byte: Vec<u8> = (0..=255).collect();
    vec![
        Message::from("hello"),
        Message::from(""),
        Message::from("Grüße, 世界, 👋🏽, \u{0}, \u{200b}"),
        Message::from("0123456789abcdé 世界 ".repeat(LONG / 24)),
        Message::from(every_byte),
        Message::from(noise),
    ]
}

/// Returns what the server saw of a connection that has ended.
async fn saw(server: &mut Peer) -> Result<Value> {
    let line = server.line().await?;
    serde_json::from_str(&line).with_context(|| format!("the server said {line:?}"))
}

/// What our offer asks for, and who says yes to all of it.
pub(crate) const BOTH: [&str; 2] = ["server_no_context_takeover", "client_no_context_takeover"];

/// What Python's `websockets` says besides: it has its windows of 4 KiB by itself.
pub(crate) const SMALL: [&str; 2] = ["server_max_window_bits=12", "client_max_window_bits=12"];

#[tokio::test]
async fn meets_pythons_websockets() -> Result<()> {
    let parameters = [BOTH, SMALL].concat();
    meet(Peer::python("websockets_server.py", &["deflate"])?, &parameters, Fragments::Yes).await
}

#[tokio::test]
async fn meets_pythons_aiohttp() -> Result<()> {
    // What the client does is the client's choice, and aiohttp leaves it to us (RFC 7692, 7.1.1.2).
    meet(Peer::python("aiohttp_server.py", &["deflate"])?, &BOTH[..1], Fragments::No).await
}

#[tokio::test]
async fn meets_nodes_ws() -> Result<()> {
    meet(Peer::node("ws_server.cjs", &["deflate"])?, &BOTH, Fragments::Yes).await
}
