//! A program that exists only in a test: the test's own binary is started again as its master, its
//! workers and its commands, and each of them comes to the same line of the same test.

use std::ffi::OsString;

use anyhow::{Context, Result, bail};
use lineman::App;

use crate::Program;

/// The test that a process was started for.
const TEST: &str = "LINEMAN_TESTKIT_TEST";

/// What it is to do: the arguments of a command line, as JSON.
const VERB: &str = "LINEMAN_TESTKIT_VERB";

impl Program {
    /// Starts the program that `app` describes, on free ports, and returns when it is up.
    ///
    /// The test's binary is started again for the master and for each worker, with the name of this
    /// test, and runs the test up to this call: so call it first. Let addresses have port 0 and ask
    /// for them with [`Program::address`]. The program ends with the value that is returned.
    ///
    /// ```no_run
    /// use lineman::prelude::*;
    /// use lineman_testkit::{Client, Program};
    ///
    /// fn echo() -> App {
    ///     App::new().service(Worker::websocket("127.0.0.1:0").name("echo").on_message(
    ///         async |connection, message| connection.send(message),
    ///     ))
    /// }
    ///
    /// #[tokio::test]
    /// async fn it_echoes() -> anyhow::Result<()> {
    ///     let program = Program::of(echo).await?;
    ///     let url = format!("ws://{}", program.address("echo").await?);
    ///     let mut client = Client::connect(&url).await?;
    ///     client.send_text("hello").await?;
    ///     assert_eq!(client.next_text().await?, "hello");
    ///
    ///     let old = program.kill("echo/0").await?;
    ///     program.replaced("echo/0", &old).await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// When it does not get up: the error shows what it printed. When this is no test of the standard
    /// harness, or it runs on another thread than the harness gave it.
    pub async fn of(app: impl FnOnce() -> App + Send + 'static) -> Result<Self> {
        let thread = std::thread::current();
        let test = thread.name().filter(|name| *name != "main");
        let test = test.context("a test is told by its thread: call this in a #[test]")?.to_owned();
        if std::env::var(TEST).is_ok_and(|started_for| started_for == test) {
            play(app);
        }
        let program = Self::new(std::env::current_exe()?)?
            .args([test.as_str(), "--exact", "--nocapture", "--include-ignored"])
            .env(TEST, &test)
            .with_verbs_in(VERB);
        program.start().await.context("the program of this test")?;
        Ok(program)
    }

    /// Returns the address of a service, the first if it has several: `127.0.0.1:40123`.
    ///
    /// # Errors
    /// When the program is not running, has no such service, or it listens on nothing.
    pub async fn address(&self, service: &str) -> Result<String> {
        let status = self.status().await?;
        let found = status.services.iter().find(|found| found.name == service);
        let Some(service) = found else {
            let names: Vec<_> = status.services.iter().map(|service| &service.name).collect();
            bail!("no service {service:?} among {names:?}");
        };
        let listen = service.listen.first();
        Ok(listen.with_context(|| format!("{} listens on nothing", service.name))?.address.clone())
    }
}

/// Plays this process's part and ends it: the rest of the test is not for it.
#[expect(clippy::exit, reason = "what comes after is the test's, which another process runs")]
fn play(app: impl FnOnce() -> App + Send + 'static) -> ! {
    let verb = std::env::var(VERB).unwrap_or_default();
    let verb: Vec<OsString> = serde_json::from_str::<Vec<String>>(&verb)
        .map(|verb| verb.into_iter().map(OsString::from).collect())
        .unwrap_or_default();
    // A thread of its own: a test with a runtime could not run another one on this.
    let played = std::thread::spawn(move || app().run_with(verb).is_ok()).join();
    std::process::exit(i32::from(!played.unwrap_or(false)))
}
