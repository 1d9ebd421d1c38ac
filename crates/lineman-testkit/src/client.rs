//! A WebSocket client made of tokio-tungstenite: a second opinion on everything our codec says.

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::limit::within;

/// An open WebSocket.
#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<TcpStream>,
}

/// How a connection ended, as the client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With a close frame of this code and text.
    Closed(u16, String),
    /// With a close frame that carries no code.
    ClosedWithoutCode,
    /// Without a close frame: end of stream or a reset.
    Dropped(String),
}

impl Ended {
    /// Returns the close frame's code.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Closed(code, _) => Some(*code),
            Self::ClosedWithoutCode | Self::Dropped(_) => None,
        }
    }
}

impl Client {
    /// Connects to `url`, `ws://host:port/path`, and does the handshake.
    ///
    /// # Errors
    /// When the connection or the handshake is refused or takes too long.
    pub async fn connect(url: &str) -> Result<Self> {
        let authority = url.strip_prefix("ws://").context("a ws:// address")?;
        let address = authority.split('/').next().unwrap_or(authority);
        let handshake = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (socket, _response) = tokio_tungstenite::client_async(url, stream).await?;
            anyhow::Ok(Self { socket })
        };
        let connected = within(&format!("a WebSocket on {url}"), handshake).await?;
        connected.with_context(|| format!("cannot connect to {url}"))
    }

    /// Returns the client's own address, by which a server's logs name it.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn local_addr(&self) -> Result<std::net::SocketAddr> {
        Ok(self.socket.get_ref().local_addr()?)
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send_text(&mut self, text: impl Into<String>) -> Result<()> {
        self.send(Message::text(text.into())).await
    }

    /// Sends a value as JSON, in a text message.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send_json(&mut self, value: &impl Serialize) -> Result<()> {
        self.send_text(serde_json::to_string(value)?).await
    }

    /// Sends any message of tungstenite's.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send(&mut self, message: Message) -> Result<()> {
        within("a message to be sent", self.socket.send(message)).await?.context("cannot send")
    }

    /// Waits for the next text message; pings are answered meanwhile.
    ///
    /// # Errors
    /// When the connection ends or nothing comes within [`crate::LIMIT`].
    pub async fn next_text(&mut self) -> Result<String> {
        within("a message", self.text()).await?
    }

    /// Waits for the next text message without a limit, for a `select!` with one of its own.
    ///
    /// # Errors
    /// When the connection ends.
    ///
    /// # Cancel safety
    /// No message is lost when the future is dropped.
    pub async fn text(&mut self) -> Result<String> {
        match self.next().await {
            Ok(text) => Ok(text),
            Err(ended) => bail!("the connection ended while a message was waited for: {ended:?}"),
        }
    }

    /// Waits for the next message that `matches`; what comes before it is thrown away.
    ///
    /// # Errors
    /// When the connection ends, nothing matches within [`crate::LIMIT`], or a message is no JSON.
    pub async fn next_json(&mut self, matches: impl Fn(&Value) -> bool) -> Result<Value> {
        let search = async {
            loop {
                let text = self.text().await?;
                let value: Value = serde_json::from_str(&text)
                    .with_context(|| format!("this message is no JSON: {text}"))?;
                if matches(&value) {
                    return Ok(value);
                }
            }
        };
        within("a message that matches", search).await?
    }

    /// Reads until the connection has ended and returns how; messages are thrown away.
    ///
    /// # Errors
    /// When it has not ended within [`crate::LIMIT`].
    pub async fn ended(&mut self) -> Result<Ended> {
        let end = async {
            loop {
                if let Err(ended) = self.next().await {
                    return ended;
                }
            }
        };
        within("the connection to end", end).await
    }

    /// Closes the connection politely: a close frame with 1000, and its answer.
    ///
    /// # Errors
    /// When the other end does not answer.
    pub async fn close(mut self) -> Result<()> {
        within("the close frame to be sent", self.socket.close(None))
            .await?
            .context("cannot close")?;
        self.ended().await?;
        Ok(())
    }

    async fn next(&mut self) -> Result<String, Ended> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(frame))) => {
                    self.finish().await;
                    return Err(frame.map_or(Ended::ClosedWithoutCode, |frame| {
                        Ended::Closed(frame.code.into(), frame.reason.to_string())
                    }));
                }
                Some(Ok(_)) => {}
                None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => {
                    return Err(Ended::Dropped("end of stream".to_owned()));
                }
                Some(Err(error)) => return Err(Ended::Dropped(error.to_string())),
            }
        }
    }

    /// Lets tungstenite send its half of the closing handshake.
    async fn finish(&mut self) {
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}
