//! Asks registers which gateways there are: one connection, one line each way.
//!
//! Each is asked on a thread of its own, for a name may take as long to be resolved as the system likes. A name stands for
//! as many registers as it has addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use lineman_wire::link::EXTENSION_VERSION;
use lineman_wire::link::register::Line;

use crate::Error;
use crate::error::{LateStep, is_end, is_late};
use crate::limits::{CallClock, CallLimits};
use crate::reach::REST;
use crate::stream::{Credentials, LinkStream};

/// How much a register may say until the list has come. A list of ten thousand gateways is a quarter of this.
const MOST_SAID: usize = 1024 * 1024;

/// The most registers of one name: each costs a thread for as long as it is asked.
const MOST: usize = 64;

/// A register, and how it was when it was last asked.
#[derive(Debug)]
pub(crate) struct KnownRegister {
    address: String,
    /// It is being asked.
    asking: Option<Receiver<Result<Vec<SocketAddr>, Error>>>,
    /// Which of its addresses did not answer, and when.
    resting: Arc<Mutex<BTreeMap<SocketAddr, Instant>>>,
    /// It did not answer last time: no call waits for it again unless no other answers.
    failed: bool,
}

impl KnownRegister {
    pub(crate) fn new(address: String) -> Self {
        Self { address, asking: None, resting: Arc::default(), failed: false }
    }

    /// Returns its address as it was configured.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Begins to ask, unless the last question is still under way.
    fn ask(&mut self, credentials: &Credentials, limits: CallLimits) {
        if self.asking.is_some() {
            return;
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let (address, credentials) = (self.address.clone(), credentials.clone());
        let resting = Arc::clone(&self.resting);
        let asked = thread::Builder::new().name("register".to_owned()).spawn(move || {
            // The call may be over by now.
            sender.send(gateways(&address, &credentials, &limits.begin(), &resting)).ok();
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
    credentials: &Credentials,
    call: &CallClock,
    patient: bool,
) -> Result<Vec<SocketAddr>, Error> {
    for register in registers.iter_mut() {
        register.ask(credentials, call.limits);
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

/// Returns the registers that an address stands for: each of its addresses in IPv4, or in IPv6 if it has no other.
pub(crate) fn meanings(address: &str) -> Result<Vec<SocketAddr>, Error> {
    let failed = |source| Error::Name { address: address.to_owned(), source };
    let mut found: Vec<_> = address.to_socket_addrs().map_err(failed)?.collect();
    if found.iter().any(SocketAddr::is_ipv4) {
        found.retain(SocketAddr::is_ipv4);
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST);
    if found.is_empty() { Err(failed(io::ErrorKind::NotFound.into())) } else { Ok(found) }
}

/// Returns all gateways that the registers know for which an address stands.
fn gateways(
    address: &str,
    credentials: &Credentials,
    call: &CallClock,
    resting: &Mutex<BTreeMap<SocketAddr, Instant>>,
) -> Result<Vec<SocketAddr>, Error> {
    match &meanings(address)?[..] {
        [meaning] => gateways_at(address, *meaning, credentials, call),
        several => gateways_at_each(address, several, credentials, call, resting),
    }
}

/// Asks several side by side. One that failed a moment ago is not waited for where another one answers.
fn gateways_at_each(
    address: &str,
    meanings: &[SocketAddr],
    credentials: &Credentials,
    call: &CallClock,
    resting: &Mutex<BTreeMap<SocketAddr, Instant>>,
) -> Result<Vec<SocketAddr>, Error> {
    let lock = || resting.lock().unwrap_or_else(PoisonError::into_inner);
    let mut awaited: BTreeSet<_> = meanings.iter().copied().collect();
    {
        let mut resting = lock();
        resting.retain(|meaning, since| awaited.contains(meaning) && since.elapsed() < REST);
        awaited.retain(|meaning| !resting.contains_key(meaning));
    }
    let (sender, outcomes) = mpsc::channel();
    for &meaning in meanings {
        let (address, credentials, call) = (address.to_owned(), credentials.clone(), *call);
        let sender = sender.clone();
        let asked = thread::Builder::new().name("register".to_owned()).spawn(move || {
            // The others may have been enough.
            sender.send((meaning, gateways_at(&address, meaning, &credentials, &call))).ok();
        });
        if asked.is_err() {
            awaited.remove(&meaning);
        }
    }
    drop(sender);
    let (mut union, mut answered, mut problem) = (Vec::new(), false, None);
    while let Ok((meaning, outcome)) = outcomes.recv() {
        awaited.remove(&meaning);
        match outcome {
            Ok(list) => {
                answered = true;
                lock().remove(&meaning);
                union.extend(list);
            }
            Err(error) => {
                lock().insert(meaning, Instant::now());
                problem = Some(error);
            }
        }
        if answered && awaited.is_empty() {
            break;
        }
    }
    match problem.filter(|_| !answered) {
        None if answered => Ok(union),
        Some(error) => Err(error),
        None => Err(Error::Register {
            address: address.to_owned(),
            source: io::Error::other("it cannot be asked: no thread"),
        }),
    }
}

/// Returns all gateways that one register knows; `shown` names it in errors.
pub(crate) fn gateways_at(
    shown: &str,
    meaning: SocketAddr,
    credentials: &Credentials,
    call: &CallClock,
) -> Result<Vec<SocketAddr>, Error> {
    let failed = |step, limit| {
        move |source: io::Error| {
            let address = shown.to_owned();
            if is_late(&source) {
                return Error::RegisterTimeout { address, step, limit };
            }
            Error::Register { address, source }
        }
    };
    let CallLimits { connect, answer, .. } = call.limits;
    let stream = LinkStream::connect(meaning, credentials, call);
    let mut stream = stream.map_err(failed(LateStep::Connect, connect))?;
    let said = ask(&mut stream, credentials, call).map_err(failed(LateStep::Answer, answer))?;
    match said {
        Some(Line::BroadcastAddresses { addresses, .. }) => {
            Ok(addresses.iter().filter_map(|address| address.parse().ok()).collect())
        }
        Some(Line::Refused { reason, .. }) => {
            Err(Error::RegisterRefused { address: shown.to_owned(), reason })
        }
        _ => Err(Error::NoList { address: shown.to_owned() }),
    }
}

/// Asks for the list; returns the line that says it, or why we do not get it, or none if the register has ended the
/// connection before.
fn ask(
    stream: &mut LinkStream,
    credentials: &Credentials,
    call: &CallClock,
) -> io::Result<Option<Line>> {
    let question = Line::WorkerConnect {
        secret_key: credentials.secret.clone(),
        lineman: Some(EXTENSION_VERSION),
    };
    stream.write(format!("{}\n", question.encode()).as_bytes(), call)?;
    let (mut said, mut chunk, mut done) = (Vec::new(), [0; 4096], 0);
    while said.len() < MOST_SAID {
        match stream.read(&mut chunk, call) {
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A register that answers once with this list, or ends the connection.
    fn register(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            BufReader::new(&stream).read_line(&mut String::new()).unwrap();
            let line = r#"{"event":"broadcast_addresses","addresses":["#;
            if !answer.is_empty() {
                stream.write_all(format!("{line}{answer}]}}\n").as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn the_registers_of_a_name_are_one_and_those_that_answer_are_enough() {
        let ask = |registers: &[SocketAddr], resting: &Mutex<_>| {
            let call = CallLimits::default().begin();
            gateways_at_each("registers:1236", registers, &Credentials::default(), &call, resting)
        };
        let listed = |text: &str| {
            text.split(' ').map(|one| one.parse().unwrap()).collect::<Vec<SocketAddr>>()
        };
        let resting = Mutex::default();
        let all = [register(r#""10.0.0.1:4000""#), register(""), register(r#""10.0.0.2:4000""#)];
        let mut found = ask(&all, &resting).unwrap();
        found.sort_unstable();
        assert_eq!(found, listed("10.0.0.1:4000 10.0.0.2:4000"));
        let failed: Vec<_> = resting.lock().unwrap().keys().copied().collect();
        assert_eq!(failed, [all[1]]);

        // A machine that lets the time pass is not waited for again.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
        let deaf_at = deaf.local_addr().unwrap();
        resting.lock().unwrap().insert(deaf_at, Instant::now());
        let call = CallLimits {
            answer: Duration::from_hours(1),
            whole: Duration::from_hours(1),
            ..CallLimits::default()
        };
        let registers = [register(r#""10.0.0.1:4000""#), deaf_at];
        let found = gateways_at_each(
            "registers:1236",
            &registers,
            &Credentials::default(),
            &call.begin(),
            &resting,
        );
        assert_eq!(found.unwrap(), listed("10.0.0.1:4000"));

        // Where none answers the error names what was configured.
        let error = ask(&[silent, silent], &Mutex::default()).unwrap_err().to_string();
        assert!(error.starts_with("register registers:1236: "), "{error}");
    }

    #[test]
    fn a_machine_is_one_register_whatever_families_it_has() {
        assert_eq!(meanings("localhost:1").unwrap(), [SocketAddr::from(([127, 0, 0, 1], 1))]);
        assert_eq!(meanings("[::1]:1").unwrap().len(), 1);
        assert!(matches!(meanings("no-such-host.invalid:1"), Err(Error::Name { .. })));
    }
}
