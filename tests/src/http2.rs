//! Peers of HTTP/2 that write each frame by hand, over TLS that is rustls's: no library keeps them
//! honest, and none of ours keeps them company.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use lineman_testkit::within;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::certificates::Authority;
use crate::secure::dial;

/// What a client says first (RFC 9113, 3.4); its settings follow.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// The types of frames (RFC 9113, 6), and their flags.
/// A piece of a body.
pub const DATA: u8 = 0;
/// A head, or its beginning.
pub const HEADERS: u8 = 1;
/// What a stream depends on; deprecated.
pub const PRIORITY: u8 = 2;
/// The end of a stream.
pub const RST_STREAM: u8 = 3;
/// What the sender bounds.
pub const SETTINGS: u8 = 4;
/// A request that a server makes up.
pub const PUSH_PROMISE: u8 = 5;
/// A question whether anybody is there.
pub const PING: u8 = 6;
/// The end of a connection.
pub const GOAWAY: u8 = 7;
/// What more may be sent.
pub const WINDOW_UPDATE: u8 = 8;
/// More of a head.
pub const CONTINUATION: u8 = 9;
/// The sender's side of the stream ends here.
pub const END_STREAM: u8 = 1;
/// An acknowledgment, in `SETTINGS` and `PING`.
pub const ACK: u8 = 1;
/// The head ends here.
pub const END_HEADERS: u8 = 4;

/// The first byte says how many at the end mean nothing.
pub const PADDED: u8 = 8;

/// A whole head without a body.
pub const WHOLE: u8 = END_STREAM | END_HEADERS;

/// A frame that the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream, or 0.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// A connection that agreed on HTTP/2.
#[derive(Debug)]
pub struct Http2 {
    /// Boxed: it is large, and futures hold it.
    stream: Box<TlsStream<TcpStream>>,
    next: u32,
}

impl Http2 {
    /// Connects to `host:port` and says nothing yet.
    ///
    /// # Errors
    /// When nothing listens there, or the server does not agree on HTTP/2.
    pub async fn silent(address: &str, authority: &Authority) -> Result<Self> {
        let stream = Box::new(Box::pin(dial(address, authority, &["h2"])).await?);
        ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "HTTP/2 was not agreed on");
        Ok(Self { stream, next: 1 })
    }

    /// Connects to `host:port` and begins as everybody does, with settings of these pairs.
    ///
    /// # Errors
    /// As [`Http2::silent`].
    pub async fn connect(
        address: &str,
        authority: &Authority,
        settings: &[(u16, u32)],
    ) -> Result<Self> {
        let mut peer = Self::silent(address, authority).await?;
        let pair =
            |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let settings = settings.iter().flat_map(pair).collect::<Vec<u8>>();
        peer.send(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()).await?;
        Ok(peer)
    }

    /// Returns this end's address.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(self.stream.get_ref().0.local_addr()?)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the server is gone, or does not read.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        within("bytes to be sent", sent).await?.context("cannot send")
    }

    /// Sends `bytes` again and again, and never reads, until the server is gone.
    ///
    /// # Errors
    /// When it stays.
    pub async fn flood(mut self, bytes: &[u8]) -> Result<()> {
        let flood = async { while self.stream.write_all(bytes).await.is_ok() {} };
        within("one who floods to be dropped", flood).await
    }

    /// Sends what of `pieces` the server takes, reads all along, and returns what it said until it
    /// closed.
    ///
    /// # Errors
    /// When it does not close.
    pub async fn answers(self, pieces: impl IntoIterator<Item = Vec<u8>>) -> Result<Vec<Frame>> {
        let (mut reader, mut writer) = tokio::io::split(self.stream);
        let talk = async {
            for piece in pieces {
                if writer.write_all(&piece).await.is_err() || writer.flush().await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let mut heard = Vec::new();
        let hear = async {
            while let Some(frame) = read(&mut reader).await {
                heard.push(frame);
            }
        };
        within("a hostile peer to be closed", async {
            tokio::select! {
                () = hear => {}
                () = talk => {}
            }
        })
        .await?;
        Ok(heard)
    }

    /// Waits for the next frame; `None` when the server closed.
    ///
    /// # Errors
    /// When none comes.
    pub async fn frame(&mut self) -> Result<Option<Frame>> {
        within("a frame", read(&mut self.stream)).await
    }

    /// Asks `http_under_test` for its first page, as somebody who means no harm.
    ///
    /// # Errors
    /// When something else is answered, or nothing.
    pub async fn is_greeted(&mut self) -> Result<()> {
        let stream = self.next;
        self.next += 2;
        self.send(&frame(HEADERS, WHOLE, stream, &get("/"))).await?;
        let mut body = Vec::new();
        loop {
            let frame = self.frame().await?.context("closed before the answer")?;
            match frame.kind {
                SETTINGS | PING if frame.flags & ACK == 0 => {
                    let payload = if frame.kind == PING { &frame.payload[..] } else { &[] };
                    self.send(&self::frame(frame.kind, ACK, 0, payload)).await?;
                }
                DATA if frame.stream == stream => body.extend(frame.payload),
                GOAWAY | RST_STREAM => anyhow::bail!("turned away: {frame:?}"),
                _ => {}
            }
            if frame.stream == stream && frame.flags & END_STREAM != 0 {
                ensure!(body == b"hello", "{body:?} came back");
                return Ok(());
            }
        }
    }
}

/// Reads a frame; `None` where the server closed, however it did.
async fn read(reader: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    reader.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await.ok()?;
    Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
}

/// Returns a frame of these parts, sound or not.
///
/// # Panics
/// When the payload has 16 MiB.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    head_of(length, kind, flags, stream).into_iter().chain(payload.iter().copied()).collect()
}

/// Returns the head of a frame that says it has `length` bytes, below 16 MiB.
pub fn head_of(length: u32, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
    [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes()].concat()
}

/// Returns the header block of a `GET`.
pub fn get(path: &str) -> Vec<u8> {
    request(0x82, path)
}

/// Returns the header block of a `POST`.
pub fn post(path: &str) -> Vec<u8> {
    request(0x83, path)
}

/// The method and `https` are entries of HPACK's static table (RFC 7541, appendix A), the names of
/// the path and the authority as well.
fn request(method: u8, path: &str) -> Vec<u8> {
    [&[method, 0x87, 0x04][..], &text(path), &[0x01], &text("localhost")].concat()
}

/// Returns a header line for a block; the tables do not remember it.
pub fn line(name: &str, value: &str) -> Vec<u8> {
    [&[0x00][..], &text(name), &text(value)].concat()
}

/// Returns a header line for a block, which the peer's table keeps as its newest entry.
pub fn kept_line(name: &str, value: &str) -> Vec<u8> {
    [&[0x40][..], &text(name), &text(value)].concat()
}

/// A string of HPACK (RFC 7541, 5.2), its length in seven bits and as many more bytes as it takes.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match text.len() {
        length @ ..127 => bytes.extend(u8::try_from(length)),
        length => {
            bytes.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                bytes.extend(u8::try_from(rest % 128 + 128));
                rest /= 128;
            }
            bytes.extend(u8::try_from(rest));
        }
    }
    bytes.extend(text.as_bytes());
    bytes
}

/// Returns the codes of all `GOAWAY` frames.
pub fn farewells(frames: &[Frame]) -> Vec<u32> {
    let farewells = frames.iter().filter(|frame| frame.kind == GOAWAY);
    farewells.filter_map(|frame| number(frame.payload.get(4..8)?)).collect()
}

/// Returns the codes of all `RST_STREAM` frames.
pub fn resets(frames: &[Frame]) -> Vec<u32> {
    let resets = frames.iter().filter(|frame| frame.kind == RST_STREAM);
    resets.filter_map(|frame| number(&frame.payload)).collect()
}

/// Returns how many requests were answered.
pub fn answered(frames: &[Frame]) -> usize {
    frames.iter().filter(|frame| frame.kind == HEADERS).count()
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}
