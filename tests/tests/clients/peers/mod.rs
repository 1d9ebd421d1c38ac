//! Peers that share no code with us, each in its own words: libraries of Python and Node, curl and
//! openssl. A peer says what it saw; here is what it should see.

mod client;
mod handover;
mod http;
mod tls;
mod wss;

use anyhow::Result;
use lineman_tests::peer::Peer;
use lineman_tests::programs::{Server, echo};
use serde_json::json;

/// The messages of `tests/peers/samples.*`.
const ECHOES: [&str; 7] =
    ["text", "empty", "unicode", "large text", "binary", "large binary", "fragments"];

/// What a peer that cannot send fragments gets back.
const WHOLE_ECHOES: [&str; 6] =
    ["text", "empty", "unicode", "large text", "binary", "large binary"];

/// What is agreed with who offers compression, by default.
const DEFLATE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Returns a server for a client to talk to.
fn server() -> Result<Server> {
    Ok(echo()?.knob("ECHO_DEFLATE_FROM", "0").knob("ECHO_SUBPROTOCOL", "echo.v1"))
}

/// Lets a client talk to it.
async fn serve(start: impl Fn(&[&str]) -> Result<Peer>, echoes: &[&str]) -> Result<()> {
    let server = server()?.started().await?;
    talk(&[&server.port.ws()], start, echoes).await
}

/// Lets a client, which is told these words first, talk to a server twice: asking for nothing, and
/// asking for all there is.
async fn talk(
    words: &[&str],
    start: impl Fn(&[&str]) -> Result<Peer>,
    echoes: &[&str],
) -> Result<()> {
    let expected = |subprotocol: Option<&str>, extensions: Option<&str>| {
        json!({
            "subprotocol": subprotocol,
            "extensions": extensions,
            "echoes": echoes,
            "keeps_order": true,
            "pong": true,
            "answers_ping": true,
            "closes": "closed by peer (4001: bye, Jürgen)",
            "is_closed": [4002, "told to, Jürgen"],
        })
    };
    assert_eq!(start(words)?.verdict().await?, expected(None, None));
    let all = start(&[words, &["deflate", "subprotocols"]].concat())?;
    assert_eq!(all.verdict().await?, expected(Some("echo.v1"), Some(DEFLATE)));
    Ok(())
}

#[tokio::test]
async fn pythons_websockets_is_served() -> Result<()> {
    serve(|arguments| Peer::python("websockets_client.py", arguments), &ECHOES).await
}

#[tokio::test]
async fn pythons_aiohttp_is_served() -> Result<()> {
    serve(|arguments| Peer::python("aiohttp_client.py", arguments), &WHOLE_ECHOES).await
}

#[tokio::test]
async fn nodes_ws_is_served() -> Result<()> {
    serve(|arguments| Peer::node("ws_client.cjs", arguments), &ECHOES).await
}
