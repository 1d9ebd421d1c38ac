//! The tadpoles in a real browser: they see one another swim, hear one another, and leave; and the wire they use.

use anyhow::{Context, Result, ensure};
use lineman_tests::alone;
use lineman_tests::programs::{Server, todpole};
use serde_json::{Value, json};

use super::driver::{Driver, Page, Screen};

const NAMES: &str = "JSON.stringify([...document.querySelectorAll('#swimmers li')].map(li => li.textContent).sort())";

/// Where the other one is, seen from a page that has one.
const OTHER_X: &str =
    "Number(document.querySelector('#swimmers li:not(.me)').dataset.at.split(' ')[0])";

async fn tadpole(driver: &Driver, pond: &Server, name: &str, screen: Screen) -> Result<Page> {
    let page = driver.open(&format!("http://{}/", pond.port.address()), screen).await?;
    online(&page).await?;
    page.fill("#name", name).await?;
    page.enter("#name").await?;
    Ok(page)
}

async fn online(page: &Page) -> Result<()> {
    page.until("document.getElementById('state').dataset.state === 'online'").await
}

async fn until_named(page: &Page, names: &[&str]) -> Result<()> {
    page.until(&format!("{NAMES} === {:?}", json!(names).to_string())).await
}

async fn press(page: &Page, event: &str) -> Result<()> {
    let press = format!("dispatchEvent(new KeyboardEvent('{event}', {{ key: 'ArrowRight' }}))");
    page.value(&press).await.map(drop)
}

#[tokio::test]
async fn tadpoles_see_and_hear_one_another() -> Result<()> {
    let _machine = alone().await;
    let pond = todpole()?.started().await?;
    let driver = Driver::start().await?;
    let ann = tadpole(&driver, &pond, "Ann", Screen::Desktop).await?;
    let bob = tadpole(&driver, &pond, "Bob <b>", Screen::Phone).await?;
    for page in [&ann, &bob] {
        until_named(page, &["Ann", "Bob <b>"]).await?;
        ensure!(page.value("document.documentElement.scrollWidth === innerWidth").await? == true);
    }

    let before = bob.value(OTHER_X).await?.as_f64().context("a number")?;
    press(&ann, "keydown").await?;
    bob.until(&format!("{OTHER_X} > {before} + 100")).await?;
    press(&ann, "keyup").await?;

    ann.fill("#text", "hello <i>all</i>").await?;
    ann.enter("#text").await?;
    for page in [&ann, &bob] {
        page.until("document.getElementById('said').textContent === 'Ann: hello <i>all</i>'")
            .await?;
    }
    bob.value("location.replace('about:blank')").await?;
    until_named(&ann, &["Ann"]).await
}

#[tokio::test]
async fn the_canvas_shows_the_own_tadpole_in_its_middle() -> Result<()> {
    // The body, or an eye in it, and neither of them is water.
    const MIDDLE: &str = "(() => { const canvas = document.getElementById('pond'); \
        const { data } = canvas.getContext('2d').getImageData(canvas.width / 2 - 9, canvas.height / 2 - 9, 18, 18); \
        return [...data.keys()].some((i) => i % 4 === 0 \
            && Math.abs(data[i] - 127) + Math.abs(data[i + 1] - 227) + Math.abs(data[i + 2] - 208) < 30); })()";
    let _machine = alone().await;
    let pond = todpole()?.started().await?;
    let driver = Driver::start().await?;
    let ann = tadpole(&driver, &pond, "Ann", Screen::Desktop).await?;
    ann.until(MIDDLE).await
}

#[tokio::test]
async fn pages_swim_on_after_a_restart() -> Result<()> {
    let _machine = alone().await;
    let pond = todpole()?.started().await?;
    let driver = Driver::start().await?;
    let ann = tadpole(&driver, &pond, "Ann", Screen::Desktop).await?;
    let bob = tadpole(&driver, &pond, "Bob", Screen::Desktop).await?;
    until_named(&ann, &["Ann", "Bob"]).await?;
    pond.program.run(&["stop"]).await?.expect_code(0)?;
    ann.until("document.getElementById('state').dataset.state === 'lost'").await?;
    pond.program.start().await?;
    for page in [&ann, &bob] {
        online(page).await?;
        until_named(page, &["Ann", "Bob"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_wire_is_that_of_the_game_for_gatewayworker() -> Result<()> {
    async fn next(client: &mut lineman_testkit::Client) -> Result<Value> {
        Ok(serde_json::from_str(&client.next_text().await?)?)
    }
    let _machine = alone().await;
    let pond = todpole()?.started().await?;
    let (mut one, mut two) = (pond.client().await?, pond.client().await?);
    let (first, second) = (next(&mut one).await?, next(&mut two).await?);
    let id = first["id"].as_u64().context("a number")?;
    ensure!(first == json!({ "type": "welcome", "id": id }), "{first}");
    ensure!(id < 1 << 53 && second["id"] != first["id"], "{first} {second}");

    let said = r#"{"type":"update","x":"-64.8","y":"147.1","angle":"3.636","momentum":"0.000","name":"Ann"}"#;
    for text in ["no json", r#"{"type":"login"}"#, r#"{"type":"authorize","token":"x"}"#, said] {
        one.send_text(text).await?;
    }
    let update = json!({
        "type": "update", "id": id, "x": -64.8, "y": 147.1, "angle": 3.636, "momentum": 0.0,
        "life": 1, "name": "Ann", "authorized": false,
    });
    one.send_text(r#"{"type":"message","message":"hi"}"#).await?;
    let message = json!({ "type": "message", "id": id, "message": "hi" });
    for client in [&mut one, &mut two] {
        let (place, word) = (next(client).await?, next(client).await?);
        ensure!(place == update && word == message, "{place} {word}");
    }
    drop(one);
    let closed = next(&mut two).await?;
    ensure!(closed == json!({ "type": "closed", "id": id }), "{closed}");
    Ok(())
}
