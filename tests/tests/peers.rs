//! Peers that share no code with us, each in its own words: libraries of Python and Node, curl and
//! openssl. A peer says what it saw; here is what it should see.

use anyhow::Result;
use lineman_tests::peer::Peer;
use lineman_tests::programs::echo;
use serde_json::{Value, json};

/// What a WebSocket client sees of `echo_under_test`.
fn seen(echoes: &[&str]) -> Value {
    json!({
        "subprotocol": null,
        "extensions": null,
        "echoes": echoes,
        "keeps_order": true,
        "pong": true,
        "closes": "closed by peer (4001: bye, Jürgen)",
        "is_closed": [1011, "internal error"],
    })
}

/// The messages of `tests/peers/samples.*`.
const ECHOES: [&str; 7] =
    ["text", "empty", "unicode", "large text", "binary", "large binary", "fragments"];

#[tokio::test]
async fn pythons_websockets_is_served() -> Result<()> {
    let server = echo()?.started().await?;
    let client = Peer::python("websockets_client.py", &[&server.port.ws()])?;
    assert_eq!(client.verdict().await?, seen(&ECHOES));
    Ok(())
}

#[tokio::test]
async fn pythons_aiohttp_is_served() -> Result<()> {
    let server = echo()?.started().await?;
    let client = Peer::python("aiohttp_client.py", &[&server.port.ws()])?;
    assert_eq!(client.verdict().await?, seen(&ECHOES[..6]));
    Ok(())
}

#[tokio::test]
async fn nodes_ws_is_served() -> Result<()> {
    let server = echo()?.started().await?;
    let client = Peer::node("ws_client.cjs", &[&server.port.ws()])?;
    assert_eq!(client.verdict().await?, seen(&ECHOES));
    Ok(())
}
