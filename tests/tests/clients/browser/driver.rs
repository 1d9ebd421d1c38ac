//! A real browser: Chromium, told what to do over `WebDriver`.
//!
//! Every page is a browser of its own with a fresh profile, so two pages are two people. Waiting is
//! for conditions in the page, with the kit's limit.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use fantoccini::key::Key;
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use lineman_testkit::within;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// No window, no sandbox (tests may run as root), certificates of any authority, and nothing that talks to anyone but
/// us.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--ignore-certificate-errors",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// How often a condition in a page is looked at.
const TICK: Duration = Duration::from_millis(50);

/// How long a driver gets to close its browsers.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

/// Chromium's driver. Dropping it closes its browsers, also those of a test that failed.
#[derive(Debug)]
pub(crate) struct Driver {
    address: SocketAddr,
    process: Child,
    profiles: TempDir,
}

/// The size of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Screen {
    /// 1180 × 760.
    Desktop,
    /// 360 × 640 with touch, as a small phone.
    Phone,
}

impl Driver {
    /// Starts `chromedriver` on a port of its choice.
    ///
    /// # Errors
    /// When it is not installed or does not get up.
    pub(crate) async fn start() -> Result<Self> {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start chromedriver (`cargo xtask test` installs it)")?;
        let output = process.stdout.take().context("a pipe")?;
        let mut lines = BufReader::new(output).lines();
        let port = within("chromedriver to name its port", async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    return Ok(port.trim_end_matches('.').parse()?);
                }
            }
            Err(anyhow!("chromedriver ended"))
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port.await??));
        Ok(Self { address, process, profiles: TempDir::with_prefix("lineman-browser-")? })
    }

    /// Opens a browser and in it an address.
    ///
    /// # Errors
    /// When the browser does not start or the address does not load.
    pub(crate) async fn open(&self, address: &str, screen: Screen) -> Result<Page> {
        let profile = tempfile::Builder::new().tempdir_in(self.profiles.path())?.keep();
        let mut flags: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
        flags.push(format!("--user-data-dir={}", profile.display()));
        flags.push("--window-size=1180,760".to_owned());
        let mut options = json!({ "args": flags });
        if screen == Screen::Phone {
            let metrics = json!({ "width": 360, "height": 640, "pixelRatio": 2, "touch": true });
            options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
        }
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        let driver = format!("http://{}", self.address);
        let client = within("a browser", async {
            ClientBuilder::new(HttpConnector::new())
                .capabilities(capabilities)
                .connect(&driver)
                .await
        });
        let client = client.await?.context("cannot start chromium")?;
        within("the page to load", client.goto(address)).await??;
        Ok(Page { client })
    }

    /// Asks the driver to quit its browsers, which it would leave behind when it is killed.
    fn shut_down(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&self.address, SHUTDOWN_LIMIT)?;
        stream.set_read_timeout(Some(SHUTDOWN_LIMIT))?;
        let request = "GET /shutdown HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes())?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    }
}

impl Drop for Driver {
    #[expect(clippy::print_stderr, reason = "the harness shows it with a failure")]
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            eprintln!("chromedriver {:?} does not shut down: {error}", self.process.id());
        }
    }
}

/// A browser with one page.
#[derive(Debug)]
pub(crate) struct Page {
    client: Client,
}

impl Page {
    /// Returns the value of a JavaScript expression.
    ///
    /// # Errors
    /// When it throws.
    pub(crate) async fn value(&self, expression: &str) -> Result<Value> {
        let script = format!("return ({expression})");
        within(expression, self.client.execute(&script, Vec::new())).await?.context(script)
    }

    /// Waits until a JavaScript expression is true.
    ///
    /// # Errors
    /// When it never is: the error shows the page's text.
    pub(crate) async fn until(&self, expression: &str) -> Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        let holds = within(expression, async {
            while self.value(expression).await? != Value::Bool(true) {
                ticks.tick().await;
            }
            Ok::<_, anyhow::Error>(())
        });
        match holds.await {
            Ok(answer) => answer,
            Err(error) => {
                let text = self.value("document.body.innerText").await?;
                Err(error.context(format!("the page shows {text}")))
            }
        }
    }

    /// Clicks what a CSS selector finds.
    ///
    /// # Errors
    /// When nothing is found, or it cannot be clicked.
    pub(crate) async fn click(&self, selector: &str) -> Result<()> {
        let element = self.client.find(Locator::Css(selector)).await?;
        element.click().await.with_context(|| format!("cannot click {selector}"))
    }

    /// Types into a field, in place of what it holds.
    ///
    /// # Errors
    /// When there is no such field.
    pub(crate) async fn fill(&self, selector: &str, text: &str) -> Result<()> {
        let field = self.client.find(Locator::Css(selector)).await?;
        field.clear().await?;
        field.send_keys(text).await.with_context(|| format!("cannot type into {selector}"))
    }

    /// Presses Enter in a field.
    ///
    /// # Errors
    /// When there is no such field.
    pub(crate) async fn enter(&self, selector: &str) -> Result<()> {
        let field = self.client.find(Locator::Css(selector)).await?;
        field.send_keys(&char::from(Key::Enter).to_string()).await?;
        Ok(())
    }
}
