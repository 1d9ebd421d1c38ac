//! A page's WebSocket and our echo server: what a browser makes of its frames, closes and answers.

use anyhow::Result;
use lineman_tests::alone;
use lineman_tests::programs::{echo, http};
use serde_json::json;

use super::driver::{Driver, Screen};

const CLIENT: &str = include_str!("../../peers/browser_client.js");

#[tokio::test]
async fn a_page_is_served() -> Result<()> {
    let _machine = alone().await;
    let server = echo()?.started().await?;
    let driver = Driver::start().await?;
    // A page of a server on this machine: to any other one it is out of reach.
    let site = http()?.started().await?;
    let page = driver.open(&format!("http://{}/", site.port.address()), Screen::Desktop).await?;
    page.value(&format!("(() => {{ {CLIENT} }})()")).await?;
    page.value(&format!("start({:?}, [])", server.port.ws())).await?;
    page.until("window.verdict !== undefined").await?;
    let expected = json!({
        "subprotocol": "",
        "extensions": "",
        "echoes": ["text", "empty", "unicode", "large text", "binary", "large binary"],
        "keeps_order": true,
        "closes": ["closed by peer (4001: bye, Jürgen)", 4001, "bye, Jürgen", true],
        "is_closed": [1011, "internal error", true],
    });
    assert_eq!(page.value("verdict").await?, expected);
    Ok(())
}
