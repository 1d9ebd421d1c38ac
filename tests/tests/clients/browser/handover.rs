//! A page whose WebSocket stays open while every process behind it is replaced.

use anyhow::{Context, Result, ensure};
use lineman_tests::alone;
use lineman_tests::certificates::{Authority, Pair};
use lineman_tests::programs::{cluster, http};
use serde_json::{Value, json};

use super::driver::{Driver, Page, Screen};

/// Opens a socket and notes all that happens to it. It says the next number every few milliseconds.
const CHAT: &str = "(() => {
    window.heard = [];
    window.events = [];
    window.said = 0;
    window.socket = new WebSocket(address);
    for (const name of ['open', 'error', 'close']) {
        socket.addEventListener(name, () => events.push(name));
    }
    socket.addEventListener('message', event => heard.push(event.data));
    socket.addEventListener('open', () => {
        socket.send('/id');
        window.talk = setInterval(() => socket.send(`/me ${++said}`), 5);
    });
})()";

/// How often everything is replaced.
const RELOADS: u64 = 3;

async fn hears_more(page: &Page) -> Result<()> {
    let heard = page.value("heard.length").await?;
    page.until(&format!("heard.length >= {heard} + 20 || events.length > 1")).await
}

#[tokio::test]
async fn a_page_talks_on_over_one_socket_while_all_is_replaced() -> Result<()> {
    let _machine = alone().await;
    let authority = Authority::new().await?;
    let Pair { certificate, key } = authority.sign("localhost").await?;
    let server = cluster()?
        .knob("CLUSTER_GATEWAYS", "2")
        .knob("CLUSTER_BUSINESSES", "2")
        .knob("CLUSTER_CERTIFICATE", certificate)
        .knob("CLUSTER_KEY", key)
        .started()
        .await?;
    let driver = Driver::start().await?;
    // A page of a server on this machine: to any other one it is out of reach.
    let site = http()?.started().await?;
    let page = driver.open(&format!("http://{}/", site.port.address()), Screen::Desktop).await?;
    let address = format!("wss://localhost:{}/", server.port.number());
    page.value(&CHAT.replace("address", &format!("{address:?}"))).await?;
    hears_more(&page).await?;
    let pids = async || {
        let slots = server.program.status().await?.slots;
        anyhow::Ok(slots.into_iter().map(|slot| slot.pid).collect::<Vec<_>>())
    };
    for _ in 0..RELOADS {
        let before = pids().await?;
        server.program.reload().await?;
        let after = pids().await?;
        ensure!(after.iter().all(|pid| !before.contains(pid)), "{before:?} and {after:?}");
        hears_more(&page).await?;
    }
    page.value("clearInterval(talk), socket.send('/id')").await?;
    page.until("heard.length >= said + 2 || events.length > 1").await?;
    assert_eq!(page.value("events").await?, json!(["open"]), "the socket stayed open");
    assert_eq!(page.value("socket.readyState").await?, 1);
    let heard = page.value("heard").await?;
    let said = page.value("said").await?.as_u64().context("a number")?;
    let (first, rest) = heard.as_array().and_then(|all| all.split_first()).context("a first")?;
    let (last, numbers) = rest.split_last().context("a last")?;
    assert_eq!(first, last, "its id is the same");
    let expected: Vec<_> = (1..=said).map(|number| Value::from(number.to_string())).collect();
    assert_eq!(numbers, expected, "each answer came once and in order");
    Ok(())
}
