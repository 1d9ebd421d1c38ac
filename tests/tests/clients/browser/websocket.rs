//! A page's WebSocket and our echo server: what a browser makes of its frames, closes and answers.

use anyhow::Result;
use lineman_tests::alone;
use lineman_tests::programs::{echo, http};
use serde_json::json;

use super::driver::{Driver, Screen};

const CLIENT: &str = include_str!("../../../peers/browser_client.js");

#[tokio::test]
async fn a_page_is_served() -> Result<()> {
    let _machine = alone().await;
    let server = echo()?.knob("ECHO_DEFLATE_FROM", "0").knob("ECHO_SUBPROTOCOL", "echo.v1");
    let server = server.started().await?;
    let driver = Driver::start().await?;
    // A page of a server on this machine: to any other one it is out of reach.
    let site = http()?.started().await?;
    let page = driver.open(&format!("http://{}/", site.port.address()), Screen::Desktop).await?;
    page.value(&format!("(() => {{ {CLIENT} }})()")).await?;
    page.value(&format!("start({:?}, ['chat.v3', 'echo.v1'])", server.port.ws())).await?;
    page.until("window.verdict !== undefined").await?;
    let expected = json!({
        "subprotocol": "echo.v1",
        "extensions":
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "echoes": ["text", "empty", "unicode", "large text", "binary", "large binary"],
        "keeps_order": true,
        "answers_ping": true,
        "closes": ["closed by peer (4001: bye, Jürgen)", 4001, "bye, Jürgen", true],
        "is_closed": [4002, "told to, Jürgen", true],
    });
    assert_eq!(page.value("verdict").await?, expected);
    Ok(())
}
