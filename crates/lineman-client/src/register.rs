//! Asks registers which gateways there are: one connection, one line each way.
//!
//! Each is asked on a thread of its own, for a name may take as long to be resolved as the system likes.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;
use std::{io, thread};

use lineman_wire::link::register::Line;
use lineman_wire::link::{EXTENSION_VERSION, Secret};

use crate::Error;
use crate::error::{LateStep, is_end, is_late};
use crate::limits::{CallClock, CallLimits};

/// How much a register may say until the list has come. A list of ten thousand gateways is a quarter of this.
const MOST_SAID: usize = 1024 * 1024;

/// A register, and how it was when it was last asked.
#[derive(Debug)]
pub(crate) struct KnownRegister {
    address: String,
    /// It is being asked.
    asking: Option<Receiver<Result<Vec<SocketAddr>, Error>>>,
    /// It did not answer last time: no call waits for it again unless no other answers.
    failed: bool,
}

impl KnownRegister {
    pub(crate) fn new(address: String) -> Self {
        Self { address, asking: None, failed: false }
    }

    /// Returns its address as it was configured.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Begins to ask, unless the last question is still under way.
    fn ask(&mut self, secret_key: &Secret, limits: CallLimits) {
        if self.asking.is_some() {
            return;
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let (address, secret_key) = (self.address.clone(), secret_key.clone());
        let asked = thread::Builder::new().name("register".to_owned()).spawn(move || {
            // The call may be over by now.
            sender.send(gateways(&address, &secret_key, &limits.begin())).ok();
        });
        // Without a thread there is no answer: the sender is dropped, which the receiver sees.
        drop(asked);
        self.asking = Some(receiver);
    }

    /// Returns what it has answered, or answers within `wait`; `limit` is what the caller granted.
    fn answer(&mut self, wait: Duration, limit: Duration) -> Result<Vec<SocketAddr>, Error> {
        let address = || self.address.clone();
        let outcome = match self.asking.as_ref().map(|asking| asking.recv_timeout(wait)) {
            Some(Ok(outcome)) => outcome,
            Some(Err(RecvTimeoutError::Timeout)) => {
                self.failed = true;
                let step = LateStep::Answer;
                return Err(Error::RegisterTimeout { address: address(), step, limit });
            }
            Some(Err(RecvTimeoutError::Disconnected)) | None => {
                let source = io::Error::other("it cannot be asked: no thread");
                Err(Error::Register { address: address(), source })
            }
        };
        self.asking = None;
        self.failed = outcome.is_err();
        outcome
    }
}

/// Returns all gateways that the registers know, each once. One that fails does not matter while another
/// answers; those that failed last time are waited for only if the caller is `patient`, and no other answers.
///
/// # Errors
/// What each of them said, when none gave a list.
pub(crate) fn list(
    registers: &mut [KnownRegister],
    secret_key: &Secret,
    call: &CallClock,
    patient: bool,
) -> Result<Vec<SocketAddr>, Error> {
    for register in registers.iter_mut() {
        register.ask(secret_key, call.limits);
    }
    let (mut union, mut problems, mut answered) = (Vec::new(), Vec::new(), false);
    registers.sort_by_key(|register| register.failed);
    for register in registers.iter_mut() {
        let in_vain = register.failed && (answered || !patient);
        let wait = if in_vain { Duration::ZERO } else { call.left() };
        match register.answer(wait, call.limits.whole) {
            Ok(list) => {
                answered = true;
                union.extend(list);
            }
            Err(error) => problems.push(error),
        }
    }
    union.sort_unstable();
    union.dedup();
    match (answered, problems.len()) {
        (true, _) => Ok(union),
        (false, 1) => Err(problems.remove(0)),
        (false, _) => Err(Error::NoRegister { problems }),
    }
}

/// Returns all gateways that one register knows.
pub(crate) fn gateways(
    address: &str,
    secret_key: &Secret,
    call: &CallClock,
) -> Result<Vec<SocketAddr>, Error> {
    let failed = |step, limit| {
        move |source: io::Error| {
            let address = address.to_owned();
            if is_late(&source) {
                return Error::RegisterTimeout { address, step, limit };
            }
            Error::Register { address, source }
        }
    };
    let CallLimits { connect: connect_limit, answer, .. } = call.limits;
    let meanings = address.to_socket_addrs();
    let meanings =
        meanings.map_err(|source| Error::Name { address: address.to_owned(), source })?;
    let stream = connect(meanings, call).map_err(failed(LateStep::Connect, connect_limit))?;
    let said = ask(&stream, secret_key, call).map_err(failed(LateStep::Answer, answer))?;
    match said {
        Some(Line::BroadcastAddresses { addresses, .. }) => {
            Ok(addresses.iter().filter_map(|address| address.parse().ok()).collect())
        }
        Some(Line::Refused { reason, .. }) => {
            Err(Error::RegisterRefused { address: address.to_owned(), reason })
        }
        _ => Err(Error::NoList { address: address.to_owned() }),
    }
}

/// Connects to the first of an address's meanings that takes a connection.
fn connect(meanings: impl Iterator<Item = SocketAddr>, call: &CallClock) -> io::Result<TcpStream> {
    let mut outcome = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
    for address in meanings {
        outcome = call.connect(&address);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Asks for the list; returns the line that says it, or why we do not get it, or none if the register has ended the
/// connection before.
fn ask(stream: &TcpStream, secret_key: &Secret, call: &CallClock) -> io::Result<Option<Line>> {
    let question =
        Line::WorkerConnect { secret_key: secret_key.clone(), lineman: Some(EXTENSION_VERSION) };
    call.write(stream, format!("{}\n", question.encode()).as_bytes())?;
    let (mut said, mut chunk, mut done) = (Vec::new(), [0; 4096], 0);
    while said.len() < MOST_SAID {
        match call.read(stream, &mut chunk) {
            Ok(count) => said.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            // It refuses us: what it has said is no list.
            Err(error) if is_end(&error) => break,
            Err(error) => return Err(error),
        }
        while let Some(rest) = said.get(done..)
            && let Some(end) = rest.iter().position(|&byte| byte == b'\n')
        {
            match Line::parse(rest.get(..end).unwrap_or_default()) {
                // One of ours may say more than that.
                Ok(Line::Alive { .. } | Line::Notice { .. }) => done += end + 1,
                line => return Ok(line.ok()),
            }
        }
    }
    Ok(None)
}
