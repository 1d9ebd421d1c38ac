//! Clients that notice a pause: each sends messages with a number, one after the other, at fixed times. The
//! delay of a message counts from when it was due, so one that cannot be sent in time is late as well.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

use crate::load::{open_socket, shake_hands};
use crate::peer::{FRAME, frame, number_of};

/// The longest wait for anything.
const LIMIT: Duration = Duration::from_mins(1);

/// So many are asked at once where all are.
const AT_ONCE: usize = 500;

pub(super) struct Callers {
    poll: Poll,
    all: Vec<Caller>,
    /// The first ones talk.
    active: usize,
    every: Duration,
}

struct Caller {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Bytes of a frame that is not whole yet.
    rest: Vec<u8>,
    sent: usize,
    /// When the message was due that is not back yet.
    due: Option<Instant>,
    worst: Duration,
}

impl Callers {
    /// Has none connected yet.
    pub(super) fn new(active: usize, every: Duration) -> anyhow::Result<Self> {
        Ok(Self { poll: Poll::new()?, all: Vec::new(), active, every })
    }

    /// Connects so many, over TLS if this certificate is to be trusted.
    pub(super) fn connect(
        &mut self,
        server: SocketAddr,
        count: usize,
        certificate: Option<&Path>,
    ) -> anyhow::Result<()> {
        let tls = certificate.map(trusting).transpose()?;
        for number in 0..count {
            let caller = Caller::connect(server, tls.as_ref());
            let mut caller = caller.with_context(|| format!("connection {number}"))?;
            let interest = Interest::READABLE;
            self.poll.registry().register(&mut caller.stream, Token(number), interest)?;
            self.all.push(caller);
        }
        Ok(())
    }

    /// Has the active ones talk until it is enough; returns the longest delay of each in milliseconds, the
    /// least first.
    pub(super) fn talk(&mut self, is_over: impl Fn() -> bool) -> anyhow::Result<Vec<f64>> {
        let step = self.every / u32::try_from(self.active)?;
        let mut due = Instant::now();
        let mut turn = 0;
        while !is_over() {
            while due <= Instant::now() {
                let caller = &mut self.all[turn];
                if caller.due.is_none() {
                    caller.send(due)?;
                }
                due += step;
                turn = (turn + 1) % self.active;
            }
            self.receive(due.saturating_duration_since(Instant::now()))?;
        }
        self.await_answers()?;
        let worst = self.all.iter_mut().take(self.active).map(|it| std::mem::take(&mut it.worst));
        let mut worst: Vec<_> = worst.map(|delay| delay.as_secs_f64() * 1e3).collect();
        worst.sort_by(f64::total_cmp);
        Ok(worst)
    }

    /// Has each send a message and hear it.
    pub(super) fn ask_all(&mut self) -> anyhow::Result<()> {
        for from in (0..self.all.len()).step_by(AT_ONCE) {
            for caller in self.all.iter_mut().skip(from).take(AT_ONCE) {
                caller.send(Instant::now())?;
            }
            self.await_answers()?;
        }
        Ok(())
    }

    fn await_answers(&mut self) -> anyhow::Result<()> {
        let limit = Instant::now() + LIMIT;
        while self.all.iter().any(|caller| caller.due.is_some()) {
            ensure!(Instant::now() < limit, "messages do not come back");
            self.receive(Duration::from_millis(10))?;
        }
        Ok(())
    }

    fn receive(&mut self, wait: Duration) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1024);
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &events {
            let number = event.token().0;
            self.all[number].receive().with_context(|| format!("connection {number}"))?;
        }
        Ok(())
    }
}

impl Caller {
    fn connect(server: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> anyhow::Result<Self> {
        let mut socket = open_socket(server)?;
        let tls = match tls {
            None => {
                shake_hands(&mut socket)?;
                None
            }
            Some(config) => {
                let name = ServerName::try_from("localhost")?;
                let mut tls = ClientConnection::new(Arc::clone(config), name)?;
                shake_hands(&mut Stream::new(&mut tls, &mut socket))?;
                Some(Box::new(tls))
            }
        };
        socket.set_nonblocking(true)?;
        Ok(Self {
            stream: TcpStream::from_std(socket),
            tls,
            rest: Vec::new(),
            sent: 0,
            due: None,
            worst: Duration::ZERO,
        })
    }

    /// Sends the next message; a socket has room for it, as none is under way.
    fn send(&mut self, due: Instant) -> anyhow::Result<()> {
        self.due = Some(due);
        let bytes = frame(self.sent);
        match &mut self.tls {
            None => self.stream.write_all(&bytes)?,
            Some(tls) => {
                tls.writer().write_all(&bytes)?;
                while tls.wants_write() {
                    tls.write_tls(&mut self.stream)?;
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<()> {
        let mut scratch = [0; 4096];
        loop {
            let read = match &mut self.tls {
                None => self.stream.read(&mut scratch),
                Some(tls) => match tls.read_tls(&mut self.stream) {
                    Ok(0) => Ok(0),
                    Err(error) => Err(error),
                    Ok(_) => {
                        tls.process_new_packets()?;
                        match tls.reader().read(&mut scratch) {
                            // A ticket, or half of a record.
                            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                            read => read,
                        }
                    }
                },
            };
            match read {
                Ok(0) => anyhow::bail!("the server hung up"),
                Ok(count) => self.rest.extend_from_slice(&scratch[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        if self.rest.len() < FRAME {
            return Ok(());
        }
        let (number, length) = (number_of(&self.rest[2..]), self.rest.len());
        ensure!(number == self.sent && length == FRAME, "{number} is not {}", self.sent);
        self.rest.clear();
        self.sent += 1;
        let due = self.due.take().context("an answer to no message")?;
        self.worst = self.worst.max(due.elapsed());
        Ok(())
    }
}

fn trusting(certificate: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

/// Returns the value below which this share is.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a short list"
)]
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}
