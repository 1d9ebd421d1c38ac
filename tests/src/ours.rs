//! Our own WebSocket client, for servers that are not ours, in a table of the test's own.

use std::future::Future;

use anyhow::{Context, Result, bail};
use lineman::Table;
use lineman::connection::{CloseReason, Connection};
use lineman::outgoing::{Handle, Outgoing};
use lineman::prelude::{Message, WebSocket};
use lineman_testkit::within;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// Runs a test beside a connection table.
///
/// # Errors
/// The test's; when there is no table.
pub async fn in_a_table<T>(test: impl Future<Output = Result<T>>) -> Result<T> {
    let local = LocalSet::new();
    let test = async {
        let table = Table::new()?;
        let running = tokio::task::spawn_local(async move { table.run().await });
        let result = test.await;
        running.abort();
        result
    };
    local.run_until(test).await
}

/// A connection of ours and what it hears.
#[derive(Debug)]
pub struct Ours {
    handle: Handle<WebSocket>,
    heard: mpsc::UnboundedReceiver<Heard>,
}

/// What a connection hears.
#[derive(Debug)]
pub enum Heard {
    /// It is open.
    Open,
    /// A message came.
    Message(Message),
    /// It has ended.
    Closed(CloseReason),
}

impl Ours {
    /// Connects; `outgoing` has no handlers yet.
    ///
    /// # Errors
    /// When its address cannot be used.
    pub fn connect(outgoing: Outgoing<WebSocket>) -> Result<Self> {
        let (hear, heard) = mpsc::unbounded_channel();
        let [open, message, closed] = [hear.clone(), hear.clone(), hear];
        let handle = outgoing
            .on_connect(async move |_| Ok(open.send(Heard::Open)?))
            .on_message(async move |_, text| Ok(message.send(Heard::Message(text))?))
            .on_close(async move |_, reason| Ok(closed.send(Heard::Closed(reason))?))
            .connect()?;
        Ok(Self { handle, heard })
    }

    /// Waits until it is open.
    ///
    /// # Errors
    /// When it does not open.
    pub async fn open(&mut self) -> Result<Connection<WebSocket>> {
        match self.next().await? {
            Heard::Open => self.handle.connection().context("it is closed again"),
            other => bail!("expected an open connection, heard {other:?}"),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When it was not taken.
    pub fn send(&self, message: impl Into<Message>) -> Result<()> {
        self.handle.send(message.into()).map_err(|error| anyhow::anyhow!("cannot send: {error}"))
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When the connection ends instead.
    pub async fn message(&mut self) -> Result<Message> {
        match self.next().await? {
            Heard::Message(message) => Ok(message),
            other => bail!("expected a message, heard {other:?}"),
        }
    }

    /// Waits until it has ended, and returns why; messages are thrown away.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn closed(&mut self) -> Result<CloseReason> {
        loop {
            if let Heard::Closed(reason) = self.next().await? {
                return Ok(reason);
            }
        }
    }

    async fn next(&mut self) -> Result<Heard> {
        within("our client to hear something", self.heard.recv())
            .await?
            .context("its table is gone")
    }
}
