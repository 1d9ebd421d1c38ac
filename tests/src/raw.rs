//! Peers that misbehave: bytes over TCP, with no codec to keep them honest.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lineman_testkit::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::MissedTickBehavior;

/// A request that becomes a WebSocket.
pub const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A TCP connection and nothing else.
#[derive(Debug)]
pub struct Raw(TcpStream);

impl Raw {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn connect(address: &str) -> Result<Self> {
        let stream = within("a TCP connection", TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Connects to `host:port` from an address of its own, such as `127.0.0.2`.
    ///
    /// # Errors
    /// When nothing listens there, or the source address is not this machine's.
    pub async fn connect_from(source: &str, address: &str) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(source.parse()?, 0))?;
        let stream = within("a TCP connection", socket.connect(address.parse()?)).await??;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Connects to `host:port`; the kernel takes no more than `bytes` that this end has not read.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn connect_narrow(address: &str, bytes: usize) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // Linux doubles what it is told.
        socket.set_recv_buffer_size(u32::try_from(bytes / 2)?)?;
        let stream = within("a TCP connection", socket.connect(address.parse()?)).await??;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Connects from this very address and does the WebSocket handshake.
    ///
    /// # Errors
    /// When the address is taken, nobody listens, or the upgrade is refused.
    pub async fn websocket_from(source: SocketAddr, address: SocketAddr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // A run before this one may have left the port in its last minute.
        socket.set_reuseaddr(true)?;
        socket.bind(source)?;
        let mut stream = within("a TCP connection", socket.connect(address)).await??;
        stream.set_nodelay(true)?;
        stream.write_all(UPGRADE).await?;
        let (mut head, mut bytes) = (Vec::new(), [0; 1024]);
        // In large pieces: an upgrade is all that the server sends unasked.
        while !head.ends_with(b"\r\n\r\n") {
            let read = within("the answer to an upgrade", stream.read(&mut bytes)).await??;
            ensure!(read > 0, "closed before the answer to an upgrade");
            head.extend_from_slice(&bytes[..read]);
        }
        ensure!(status(&head) == Some(101), "{}", String::from_utf8_lossy(&head));
        Ok(Self(stream))
    }

    /// Returns this end's address.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }

    /// Connects and does the WebSocket handshake.
    ///
    /// # Errors
    /// When the upgrade is refused.
    pub async fn websocket(address: &str) -> Result<Self> {
        Self::upgraded(address, UPGRADE).await
    }

    /// Does the WebSocket handshake; returns whether it was let in, or closed without a word.
    ///
    /// # Errors
    /// When it is answered with anything but a whole 101.
    pub async fn enters(&mut self) -> Result<bool> {
        // Somebody refused may be told before this is sent.
        drop(self.send(UPGRADE).await);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match within("the answer to an upgrade", self.0.read_u8()).await? {
                Ok(byte) => head.push(byte),
                Err(_) if head.is_empty() => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        ensure!(status(&head) == Some(101), "{}", String::from_utf8_lossy(&head));
        Ok(true)
    }

    /// As [`Raw::websocket`], with an offer to compress (RFC 7692).
    ///
    /// # Errors
    /// When the upgrade is refused.
    pub async fn websocket_with_deflate(address: &str) -> Result<Self> {
        let offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        let head = UPGRADE.strip_suffix(b"\r\n").unwrap_or(UPGRADE);
        Self::upgraded(address, &[head, &offer[..]].concat()).await
    }

    async fn upgraded(address: &str, request: &[u8]) -> Result<Self> {
        let mut raw = Self::connect(address).await?;
        raw.send(request).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within("the answer to an upgrade", raw.0.read_u8()).await??);
        }
        ensure!(status(&head) == Some(101), "{}", String::from_utf8_lossy(&head));
        Ok(raw)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the other end is gone, or does not read.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        within("bytes to be sent", self.0.write_all(bytes)).await?.context("cannot send")
    }

    /// Ends its own half; it goes on reading.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn end(&mut self) -> Result<()> {
        self.0.shutdown().await.context("cannot end")
    }

    /// Sends `bytes` again and again, and never reads, until the other end is gone. It may never be:
    /// for a `select!`.
    pub async fn flood(mut self, bytes: &[u8]) {
        while self.0.write_all(bytes).await.is_ok() {}
    }

    /// Reads `piece` bytes at most each `pace`, and returns what came until the other
    /// end closed. There is no limit: the peer is slow by intention.
    ///
    /// # Errors
    /// When the connection is reset.
    pub async fn reads_slowly(&mut self, piece: usize, pace: Duration) -> Result<Vec<u8>> {
        let (mut all, mut bytes) = (Vec::new(), vec![0; piece]);
        let mut pieces = tokio::time::interval(pace);
        pieces.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pieces.tick().await;
            let read =
                self.0.read(&mut bytes).await.with_context(|| {
                    format!("the connection was reset after {} bytes", all.len())
                })?;
            if read == 0 {
                return Ok(all);
            }
            all.extend_from_slice(&bytes[..read]);
        }
    }

    /// Reads as fast as it can, and keeps nothing, until the other end closes: for a `select!`.
    pub async fn listens(&mut self) {
        let mut bytes = vec![0; 64 * 1024];
        while self.0.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    }

    /// Sends `bytes` one by one, never faster than `pace`, until the other end closes, and returns
    /// what that sent meanwhile.
    ///
    /// # Errors
    /// When it stays.
    pub async fn drip(&mut self, bytes: &[u8], pace: Duration) -> Result<Vec<u8>> {
        let (mut reader, mut writer) = self.0.split();
        let drip = async {
            let mut drops = tokio::time::interval(pace);
            drops.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for byte in bytes {
                drops.tick().await;
                if writer.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
            pending::<()>().await;
        };
        let mut answer = Vec::new();
        let rest = async {
            tokio::select! {
                // A reset ends it as well; what came before it counts.
                _end = reader.read_to_end(&mut answer) => {}
                () = drip => {}
            }
        };
        within("a peer that drips to be closed", rest).await?;
        Ok(answer)
    }

    /// Reads until these bytes came.
    ///
    /// # Errors
    /// When the other end closes before.
    pub async fn until(&mut self, wanted: &[u8]) -> Result<()> {
        self.answer(wanted).await.map(drop)
    }

    /// Reads until these bytes came, and returns all that came.
    ///
    /// # Errors
    /// When the other end closes before.
    pub async fn answer(&mut self, wanted: &[u8]) -> Result<String> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(wanted) {
            let wait = within("what a peer waits for", self.0.read_u8()).await?;
            bytes.push(wait.with_context(|| String::from_utf8_lossy(&bytes).into_owned())?);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads a server's frame of at most 125 bytes; returns its first byte and its payload.
    ///
    /// # Errors
    /// When the other end closes before, or the frame is longer.
    pub async fn frame(&mut self) -> Result<(u8, Vec<u8>)> {
        let frame = async {
            let [first, length] = self.0.read_u16().await?.to_be_bytes();
            ensure!(length <= 125, "a long or masked frame: {length}");
            let mut payload = vec![0; usize::from(length)];
            self.0.read_exact(&mut payload).await?;
            Ok((first, payload))
        };
        within("a frame", frame).await?
    }

    /// Reads until the other end closes, and returns what it sent.
    ///
    /// # Errors
    /// When it stays.
    pub async fn rest(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let closed = within("a hostile peer to be closed", self.0.read_to_end(&mut bytes)).await?;
        // A reset ends it as well; what came before it counts.
        drop(closed);
        Ok(bytes)
    }

    /// Reads until the other end closes, and returns the HTTP status it answered with.
    ///
    /// # Errors
    /// When it stays, or answers with no status.
    pub async fn status(&mut self) -> Result<u16> {
        let rest = self.rest().await?;
        status(&rest).with_context(|| format!("no status in {:?}", String::from_utf8_lossy(&rest)))
    }

    /// Reads frames until the other end closes, and returns the code of its close frame.
    ///
    /// # Errors
    /// When it stays, or sends no close frame with a code.
    pub async fn close_code(&mut self) -> Result<u16> {
        let rest = self.rest().await?;
        close_code(&rest).with_context(|| format!("no close frame with a code in {rest:?}"))
    }
}

/// Returns a masked frame: the first byte as given, the length as short as it can be.
///
/// # Errors
/// When the payload's length is no number of 64 bits.
pub fn frame(first: u8, payload: &[u8]) -> Result<Vec<u8>> {
    let mut head = vec![first];
    match payload.len() {
        length @ ..126 => head.push(0x80 | u8::try_from(length)?),
        length @ ..0x1_0000 => {
            head.push(0xfe);
            head.extend(u16::try_from(length)?.to_be_bytes());
        }
        length => {
            head.push(0xff);
            head.extend(u64::try_from(length)?.to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    Ok(head.into_iter().chain(mask).chain(masked).collect())
}

/// Returns the head of a masked binary frame that says it has `length` bytes.
pub fn head_of(length: u64) -> Vec<u8> {
    [&[0x82, 0xff], &length.to_be_bytes()[..], &[1, 2, 3, 4]].concat()
}

/// Returns the statuses of all answers in `bytes`; no body may look like one.
pub fn statuses(bytes: &[u8]) -> Vec<u16> {
    let starts = bytes.windows(9).enumerate().filter(|(_, window)| window == b"HTTP/1.1 ");
    starts.filter_map(|(at, _)| status(bytes.get(at..)?)).collect()
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.get(..12)?).ok()?;
    line.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

/// Finds the close frame among a server's frames, which are not masked and short in these tests.
fn close_code(mut frames: &[u8]) -> Option<u16> {
    while let [first, length @ 0..=125, rest @ ..] = frames {
        let payload = rest.get(..usize::from(*length))?;
        if first & 0x0f == 8 {
            return Some(u16::from_be_bytes(payload.get(..2)?.try_into().ok()?));
        }
        frames = rest.get(usize::from(*length)..)?;
    }
    None
}
