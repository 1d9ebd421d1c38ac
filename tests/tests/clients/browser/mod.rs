//! Pages in a real browser. The chat: people who talk, leave, and come back when the server does.

mod driver;
mod handover;
mod todpole;
mod websocket;

use anyhow::Result;
use lineman_tests::alone;
use lineman_tests::programs::{Server, chat};
use serde_json::json;

use driver::{Driver, Page, Screen};

/// The texts of the conversation, oldest first; without those that are not confirmed yet.
const TEXTS: &str =
    "[...document.querySelectorAll('.message:not(.pending) .text')].map(text => text.textContent)";

/// The names in the list of people.
const PEOPLE: &str =
    "[...document.querySelectorAll('#people-list .author')].map(name => name.textContent)";

/// Someone who opens the chat and enters room 7.
async fn person(driver: &Driver, chat: &Server, name: &str, screen: Screen) -> Result<Page> {
    let page = driver.open(&format!("http://{}/?room_id=7", chat.port.address()), screen).await?;
    page.until("document.getElementById('room').value === '7'").await?;
    page.fill("#name", name).await?;
    page.enter("#name").await?;
    page.until("document.getElementById('state').dataset.state === 'online'").await?;
    Ok(page)
}

async fn say(page: &Page, text: &str) -> Result<()> {
    page.fill("#text", text).await?;
    page.enter("#text").await
}

async fn until_equal(page: &Page, list: &str, expected: &[&str]) -> Result<()> {
    page.until(&format!("JSON.stringify({list}) === {:?}", json!(expected).to_string())).await
}

async fn until_shown(page: &Page, text: &str) -> Result<()> {
    page.until(&format!("document.getElementById('messages').innerText.includes({text:?})")).await
}

#[tokio::test]
async fn two_people_talk_in_a_room_and_in_private() -> Result<()> {
    let _machine = alone().await;
    let chat = chat()?.started().await?;
    let driver = Driver::start().await?;
    let ann = person(&driver, &chat, "Ann", Screen::Desktop).await?;
    let bob = person(&driver, &chat, "Bob", Screen::Desktop).await?;
    let eve = person(&driver, &chat, "Eve", Screen::Desktop).await?;
    for page in [&ann, &bob, &eve] {
        until_equal(page, PEOPLE, &["Ann", "Bob", "Eve"]).await?;
    }
    until_shown(&ann, "Bob came in").await?;

    say(&ann, "hello").await?;
    until_equal(&bob, TEXTS, &["hello"]).await?;
    until_equal(&ann, TEXTS, &["hello"]).await?;

    ann.click("#people-list li:nth-child(2) button").await?;
    say(&ann, "for Bob alone").await?;
    until_equal(&bob, TEXTS, &["hello", "for Bob alone"]).await?;
    until_shown(&bob, "only to you").await?;
    until_equal(&ann, TEXTS, &["hello", "for Bob alone"]).await?;
    until_shown(&ann, "only to Bob").await?;

    bob.click("#leave").await?;
    until_shown(&eve, "Bob left").await?;
    until_equal(&eve, PEOPLE, &["Ann", "Eve"]).await?;

    // Bob is gone: what was meant for him goes to nobody.
    say(&ann, "still for Bob").await?;
    ann.until("document.getElementById('notice').innerText.includes('Bob')").await?;
    assert_eq!(ann.value("document.getElementById('text').value").await?, "still for Bob");
    say(&eve, "last").await?;
    until_equal(&ann, TEXTS, &["hello", "for Bob alone", "last"]).await?;
    until_equal(&eve, TEXTS, &["hello", "last"]).await
}

#[tokio::test]
async fn markup_is_shown_as_it_was_typed_and_makes_no_element() -> Result<()> {
    const NAME: &str = "<b>Tom</b> & \"Co\"";
    const TEXT: &str = "<img src=x onerror=alert(1)> &lt;b&gt; <br /> 'x'";
    let _machine = alone().await;
    let chat = chat()?.started().await?;
    let driver = Driver::start().await?;
    let ann = person(&driver, &chat, "Ann", Screen::Desktop).await?;
    let tom = person(&driver, &chat, NAME, Screen::Desktop).await?;
    say(&tom, TEXT).await?;
    for page in [&ann, &tom] {
        until_equal(page, TEXTS, &[TEXT]).await?;
        until_equal(page, PEOPLE, &[NAME, "Ann"]).await?;
        let foreign = "document.querySelectorAll('#messages :is(b, img, br), #people b').length";
        assert_eq!(page.value(foreign).await?, 0);
    }
    until_shown(&ann, &format!("{NAME} came in")).await?;
    ann.click("#people-list button").await?;
    say(&ann, TEXT).await?;
    until_equal(&tom, TEXTS, &[TEXT, TEXT]).await?;
    until_shown(&ann, &format!("only to {NAME}")).await
}

#[tokio::test]
async fn pages_come_back_by_themselves_after_a_restart() -> Result<()> {
    let _machine = alone().await;
    let chat = chat()?.started().await?;
    let driver = Driver::start().await?;
    let ann = person(&driver, &chat, "Ann", Screen::Desktop).await?;
    let bob = person(&driver, &chat, "Bob", Screen::Desktop).await?;
    until_equal(&ann, PEOPLE, &["Ann", "Bob"]).await?;
    say(&bob, "before").await?;
    until_equal(&ann, TEXTS, &["before"]).await?;
    ann.fill("#text", "half a sentence").await?;

    chat.program.run(&["restart", "-d"]).await?.expect_code(0)?;
    for page in [&ann, &bob] {
        until_shown(page, "You are connected again").await?;
        until_equal(page, PEOPLE, &["Ann", "Bob"]).await?;
    }
    assert_eq!(ann.value("document.getElementById('text').value").await?, "half a sentence");
    ann.enter("#text").await?;
    until_equal(&bob, TEXTS, &["before", "half a sentence"]).await
}

#[tokio::test]
async fn the_page_fits_a_phone() -> Result<()> {
    const WIDTH: &str = "document.documentElement.scrollWidth";
    let _machine = alone().await;
    let chat = chat()?.started().await?;
    let driver = Driver::start().await?;
    let long = "W".repeat(32);
    let ann = person(&driver, &chat, &long, Screen::Phone).await?;
    assert_eq!(ann.value("innerWidth").await?, 360);
    say(&ann, &"x".repeat(300)).await?;
    ann.until("document.querySelectorAll('.message:not(.pending)').length === 1").await?;
    assert_eq!(ann.value(WIDTH).await?, 360);

    let bob = person(&driver, &chat, "Bob", Screen::Desktop).await?;
    until_equal(&ann, PEOPLE, &["Bob", &long]).await?;
    ann.click("#show-people").await?;
    ann.click("#people-list button").await?;
    say(&ann, "to Bob").await?;
    until_shown(&bob, "only to you").await?;
    assert_eq!(ann.value(WIDTH).await?, 360);
    Ok(())
}
