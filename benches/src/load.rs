//! The load: many connections in one loop, each with so many messages in flight.
//!
//! It parses nothing it need not: every frame has the same size, so frames are counted by bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::peer::{FRAME, frame, number_of};

/// How the clients behave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) clients: usize,
    /// Messages on their way at once, for each client.
    pub(crate) in_flight: usize,
    /// In how many rooms; each client joins one with its first message, and then only its own
    /// message's return lets it send the next. `None`: every frame that returns does.
    pub(crate) rooms: Option<usize>,
}

struct Client {
    stream: TcpStream,
    frame: Vec<u8>,
    /// Bytes of a frame that is not whole yet.
    rest: Vec<u8>,
    unsent: Vec<u8>,
}

/// Frames received per second, after a start that is not counted.
pub(crate) fn measure(server: SocketAddr, shape: Shape, time: Duration) -> anyhow::Result<f64> {
    let mut poll = Poll::new()?;
    let mut clients = Vec::new();
    for number in 0..shape.clients {
        let mut client = open(server, shape, number)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut client.stream, Token(number), interest)?;
        clients.push(client);
    }
    for client in &mut clients {
        client.send(shape.in_flight)?;
    }
    pump(&mut poll, &mut clients, shape, time / 4)?;
    let begin = Instant::now();
    let received = pump(&mut poll, &mut clients, shape, time)?;
    #[expect(clippy::cast_precision_loss, reason = "a count of one measurement")]
    Ok(received as f64 / begin.elapsed().as_secs_f64())
}

/// Has each of so many clients send a message and wait until it is back, so many times; in each round
/// all of them send before the first one waits.
pub(crate) fn exchange(server: SocketAddr, clients: usize, rounds: usize) -> anyhow::Result<()> {
    let streams = (0..clients).map(|_| connect(server));
    let mut streams = streams.collect::<anyhow::Result<Vec<_>>>()?;
    let message = frame(0);
    for _ in 0..rounds {
        for stream in &mut streams {
            stream.write_all(&message)?;
        }
        for stream in &mut streams {
            stream.read_exact(&mut [0; FRAME]).context("no echo")?;
        }
    }
    Ok(())
}

/// Connects and shakes hands, with plain blocking calls, for it is not measured.
fn connect(server: SocketAddr) -> anyhow::Result<std::net::TcpStream> {
    let mut stream = open_socket(server)?;
    shake_hands(&mut stream)?;
    Ok(stream)
}

/// Connects, and no more.
pub(crate) fn open_socket(server: SocketAddr) -> anyhow::Result<std::net::TcpStream> {
    let stream = std::net::TcpStream::connect(server).context("cannot connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    Ok(stream)
}

/// Makes a WebSocket of a connection.
pub(crate) fn shake_hands(stream: &mut (impl Read + Write)) -> anyhow::Result<()> {
    stream.write_all(
        b"GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).context("no answer to the handshake")?;
        head.push(byte[0]);
    }
    ensure!(head.starts_with(b"HTTP/1.1 101"), "refused: {}", String::from_utf8_lossy(&head));
    Ok(())
}

/// Connects and joins.
fn open(server: SocketAddr, shape: Shape, number: usize) -> anyhow::Result<Client> {
    let mut stream = connect(server)?;
    if let Some(rooms) = shape.rooms {
        stream.write_all(&frame(number % rooms))?;
        stream.read_exact(&mut [0; FRAME]).context("no answer to the join")?;
    }
    stream.set_nonblocking(true)?;
    Ok(Client {
        stream: TcpStream::from_std(stream),
        frame: frame(number),
        rest: Vec::new(),
        unsent: Vec::new(),
    })
}

fn pump(
    poll: &mut Poll,
    clients: &mut [Client],
    shape: Shape,
    time: Duration,
) -> anyhow::Result<u64> {
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; 64 * 1024];
    let mut received = 0;
    let end = Instant::now() + time;
    while let left = end.saturating_duration_since(Instant::now())
        && !left.is_zero()
    {
        match poll.poll(&mut events, Some(left)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            let number = event.token().0;
            let client = &mut clients[number];
            let (frames, own) = client.receive(&mut scratch, number)?;
            received += frames;
            client.send(if shape.rooms.is_some() { own } else { usize::try_from(frames)? })?;
        }
    }
    ensure!(received > 0, "the server answered nothing");
    Ok(received)
}

impl Client {
    /// Reads what is there; returns how many frames that were, and how many of them its own.
    fn receive(&mut self, scratch: &mut [u8], number: usize) -> anyhow::Result<(u64, usize)> {
        let (mut frames, mut own) = (0, 0);
        loop {
            match self.stream.read(scratch) {
                Ok(0) => anyhow::bail!("the server hung up"),
                Ok(count) => {
                    self.rest.extend_from_slice(&scratch[..count]);
                    let whole = self.rest.len() / FRAME;
                    let senders = self.rest.chunks_exact(FRAME).map(|frame| number_of(&frame[2..]));
                    own += senders.filter(|&sender| sender == number).count();
                    self.rest.drain(..whole * FRAME);
                    frames += whole as u64;
                    if count < scratch.len() {
                        return Ok((frames, own));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((frames, own)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn send(&mut self, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            self.unsent.extend_from_slice(&self.frame);
        }
        if self.unsent.is_empty() {
            return Ok(());
        }
        match self.stream.write(&self.unsent) {
            Ok(count) => drop(self.unsent.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
