//! Reloads in which connections go on: in another process, over the same sockets.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use lineman_testkit::{Port, Program, within};
use lineman_tests::alone;
use lineman_tests::certificates::Authority;
use lineman_tests::meanwhile::{Meanwhile, Rounds, rounds_during};
use lineman_tests::programs::built;
use lineman_tests::raw::UPGRADE;
use lineman_tests::secure::{dial, dial_tls12};
use lineman_wire::websocket::{
    Decoder, Deflate, Encoder, Event, Extensions, Limits, Message, Pool, Role,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DEFLATE: Deflate = Deflate::new().min_size(1);

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Lines,
    WebSocket,
    /// Compressed, both ends with their context.
    Deflated,
}

trait Carrier: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Carrier for T {}

/// A client that counts what it says: each message is answered with its number on the connection, so nothing
/// can be lost, doubled or out of order without a word.
pub(crate) struct Speaker {
    carrier: Box<dyn Carrier>,
    speech: Speech,
    input: BytesMut,
    decoder: Decoder,
    encoder: Encoder,
    pool: Pool,
    said: u64,
}

impl Speaker {
    /// Speaks over a connection from its beginning on.
    pub(crate) async fn begin(
        carrier: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        speech: Speech,
    ) -> Result<Self> {
        let extensions = match speech {
            // Windows of 15 bits, and both take their context over.
            Speech::Deflated => Extensions::from_saved([0x88, 3]).context("extensions")?,
            Speech::Lines | Speech::WebSocket => Extensions::NONE,
        };
        let mut speaker = Self {
            carrier: Box::new(carrier),
            speech,
            input: BytesMut::new(),
            decoder: Decoder::with_extensions(Role::Client, extensions),
            encoder: Encoder::new(Role::Client, extensions),
            pool: Pool::new(),
            said: 0,
        };
        if speech != Speech::Lines {
            let offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
            let head = UPGRADE.strip_suffix(b"\r\n").context("an end")?;
            let rest = if speech == Speech::Deflated { &offer[..] } else { b"\r\n" };
            speaker.write(&[head, rest].concat()).await?;
            speaker.upgraded().await?;
        }
        Ok(speaker)
    }

    async fn upgraded(&mut self) -> Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within("the answer to an upgrade", self.carrier.read_u8()).await??);
        }
        ensure!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        Ok(())
    }

    pub(crate) fn encoded(&mut self, text: &str) -> BytesMut {
        let mut bytes = BytesMut::new();
        if self.speech == Speech::Lines {
            bytes.extend_from_slice(text.as_bytes());
            bytes.extend_from_slice(b"\n");
        } else {
            let (message, mask) = (Message::from(text), Some([1, 2, 3, 4]));
            self.encoder.encode(&message, mask, &DEFLATE, &mut self.pool, &mut bytes);
        }
        bytes
    }

    pub(crate) async fn say(&mut self, text: &str) -> Result<()> {
        let bytes = self.encoded(text);
        self.said += 1;
        self.write(&bytes).await
    }

    /// Writes bytes; TLS may keep some to itself until it is told to flush.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.carrier.write_all(bytes).await?;
        self.carrier.flush().await?;
        Ok(())
    }

    pub(crate) async fn hear(&mut self) -> Result<String> {
        loop {
            if self.speech == Speech::Lines {
                if let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
                    let line = self.input.split_to(end + 1);
                    return Ok(String::from_utf8(line[..end].to_vec())?);
                }
            } else {
                match self.decoder.decode(&mut self.input, &Limits::default())? {
                    Some(Event::Message(Message::Text(text))) => return Ok(text.to_string()),
                    Some(other) => anyhow::bail!("{other:?} in place of a text"),
                    None => {}
                }
            }
            let read = within("an answer", self.carrier.read_buf(&mut self.input)).await??;
            ensure!(read > 0, "the connection has ended behind {} messages", self.said);
        }
    }

    /// Hears the answer to what was said last.
    async fn answer(&mut self, text: &str) -> Result<()> {
        let (heard, expected) = (self.hear().await?, format!("{}:{text}", self.said));
        ensure!(heard == expected, "heard {heard:?} in place of {expected:?}");
        Ok(())
    }

    async fn ask(&mut self, text: &str) -> Result<()> {
        self.say(text).await?;
        self.answer(text).await
    }

    /// Returns the process at the other end, and how many have had the connection.
    async fn process(&mut self) -> Result<(i32, u64)> {
        self.say("who").await?;
        let heard = self.hear().await?;
        let (number, who) = heard.split_once(':').context("a number")?;
        ensure!(number.parse::<u64>()? == self.said, "{number} is not {}", self.said);
        let (pid, processes) = who.split_once(' ').context("two numbers")?;
        Ok((pid.parse()?, processes.parse()?))
    }
}

async fn talk(mut speaker: Speaker, mut rounds: Rounds) -> Result<()> {
    while rounds.another() {
        let text = format!("round {} of words that come again", speaker.said);
        speaker.ask(&text).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

struct Server {
    program: Program,
    ports: [Port; 3],
    authority: Authority,
}

impl Server {
    async fn started() -> Result<Self> {
        Self::started_with("").await
    }

    /// Starts it with a fault on purpose.
    async fn started_with(fault: &str) -> Result<Self> {
        let ports = [Port::reserve()?, Port::reserve()?, Port::reserve()?];
        let authority = Authority::new().await?;
        let pair = authority.sign("localhost").await?;
        let program = Program::new(built("handover_under_test", "lineman-tests")?)?
            .env("HANDOVER_WS", ports[0].address())
            .env("HANDOVER_WSS", ports[1].address())
            .env("HANDOVER_TEXT", ports[2].address())
            .env("HANDOVER_CERTIFICATE", pair.certificate)
            .env("HANDOVER_KEY", pair.key)
            .env("LINEMAN_TEST_HANDOVER_FAULT", fault);
        program.start().await?;
        Ok(Self { program, ports, authority })
    }

    async fn tcp(&self, port: usize) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.ports[port].address()).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn speaker(&self, speech: Speech) -> Result<Speaker> {
        let port = if speech == Speech::Lines { 2 } else { 0 };
        Speaker::begin(self.tcp(port).await?, speech).await
    }

    async fn secure_speaker(&self) -> Result<Speaker> {
        let stream = dial(&self.ports[1].address(), &self.authority, &[]).await?;
        Speaker::begin(stream, Speech::WebSocket).await
    }

    async fn secure_speaker_of_tls12(&self) -> Result<Speaker> {
        let stream = dial_tls12(&self.ports[1].address(), &self.authority).await?;
        Speaker::begin(stream, Speech::WebSocket).await
    }

    async fn pids(&self) -> Result<BTreeSet<i32>> {
        let status = self.program.status().await?;
        let pid = |slot: &&str| status.slot(slot)?.pid.context("a process");
        ["ws/0", "wss/0", "text/0"].iter().map(pid).collect()
    }
}

const RELOADS: u64 = 5;

#[tokio::test]
async fn five_reloads_lose_double_and_end_nothing() -> Result<()> {
    let _machine = alone().await;
    let server = Server::started().await?;
    let mut talking = Vec::new();
    let mut idle = Vec::new();
    for number in 0..50 {
        for speech in [Speech::Lines, Speech::WebSocket, Speech::Deflated] {
            let speaker = server.speaker(speech).await?;
            if number % 2 == 0 { talking.push(speaker) } else { idle.push(speaker) }
        }
        let speaker = match number % 4 {
            0 | 1 => server.secure_speaker().await?,
            _ => server.secure_speaker_of_tls12().await?,
        };
        if number % 2 == 0 { talking.push(speaker) } else { idle.push(speaker) }
    }
    for speaker in &mut idle {
        speaker.ask("hello").await?;
    }
    // Half of a request for a WebSocket, half of a line, and one that does not read what it asked for.
    let mut shaking = server.tcp(0).await?;
    shaking.write_all(&UPGRADE[..40]).await?;
    let mut within_a_line = server.speaker(Speech::Lines).await?;
    let mut slow = server.speaker(Speech::Lines).await?;
    slow.say("large 3000000").await?;

    let mut talks: Vec<_> = talking
        .into_iter()
        .map(|speaker| Meanwhile::goes_on(|rounds| talk(speaker, rounds)))
        .collect();
    let mut before = server.pids().await?;
    let reloads = async {
        for round in 0..RELOADS {
            let line = format!("half of a line, and the rest in round {round}");
            let bytes = within_a_line.encoded(&line);
            within_a_line.write(&bytes[..9]).await?;
            server.program.reload().await?;
            within_a_line.write(&bytes[9..]).await?;
            within_a_line.said += 1;
            within_a_line.answer(&line).await?;
            let after = server.pids().await?;
            ensure!(before.is_disjoint(&after), "{before:?} and {after:?}");
            before = after;
        }
        Ok(())
    };
    let ((), rounds) = rounds_during(std::mem::take(&mut talks), reloads).await?;
    ensure!(rounds.iter().all(|&count| count > 0), "all went on: {rounds:?}");

    for speaker in &mut idle {
        speaker.ask("still here").await?;
        let (pid, processes) = speaker.process().await?;
        ensure!(before.contains(&pid), "{pid} is none of {before:?}");
        ensure!(processes == RELOADS + 1, "{processes} processes have had it");
    }
    slow.answer("large").await?;
    ensure!(slow.hear().await?.len() == 3_000_000, "not a byte less");
    let (_, processes) = slow.process().await?;
    ensure!(processes == RELOADS + 1, "{processes} processes have had the slow one");
    shaking.write_all(&UPGRADE[40..]).await?;
    let mut head = vec![0; 12];
    within("an answer", shaking.read_exact(&mut head)).await??;
    ensure!(head == b"HTTP/1.1 101", "{}", String::from_utf8_lossy(&head));
    Ok(())
}

/// Faults of either process before the commit.
pub(crate) const FAULTS: [&str; 14] = [
    "hello:truncate",
    "accept:kill",
    "accept:truncate",
    "accept:emfile",
    "take:truncate",
    "took:kill",
    "took:stop",
    "took:refuse",
    "took:delay",
    "again:truncate",
    "state:refuse",
    "ready:kill",
    "ready:stop",
    "commit:refuse",
];

#[tokio::test]
async fn a_fault_before_the_commit_costs_nothing() -> Result<()> {
    let _machine = alone().await;
    for fault in FAULTS {
        failed_handover(fault).await.with_context(|| format!("with {fault}"))?;
    }
    Ok(())
}

async fn failed_handover(fault: &str) -> Result<()> {
    let server = Server::started_with(fault).await?;
    let mut speakers = vec![server.secure_speaker().await?];
    for speech in [Speech::Lines, Speech::WebSocket, Speech::Deflated] {
        speakers.push(server.speaker(speech).await?);
    }
    for speaker in &mut speakers {
        speaker.ask("before").await?;
    }
    let before = server.pids().await?;
    ensure!(server.program.reload().await.is_err(), "the reload fails");
    ensure!(server.pids().await? == before, "the processes are the same");
    for speaker in &mut speakers {
        speaker.ask("behind").await?;
        ensure!(speaker.process().await?.1 == 1, "no other process has had it");
    }
    for speech in [Speech::Lines, Speech::WebSocket] {
        server.speaker(speech).await?.ask("new").await?;
    }
    server.program.stop().await?;
    Ok(())
}
