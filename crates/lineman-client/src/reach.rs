//! Reaches gateways, all that a call concerns side by side, and remembers which of them let the time pass.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lineman_wire::link::{ClientId, GatewayAnswer, Missing, Query};

use crate::gateway::Gateway;
use crate::limits::CallClock;
use crate::stream::Credentials;
use crate::{Answers, Error};

/// How long a gateway that let the time pass is not tried again: a program that sends a hundred messages a
/// second waits for a dead machine in every second call otherwise.
pub(crate) const REST: Duration = Duration::from_secs(5);

/// How many gateways are waited for at once; each takes a thread for so long.
const SIDE_BY_SIDE: usize = 64;

/// The gateways that were reached, and those that were not.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    open: BTreeMap<SocketAddr, Gateway>,
    /// When each let the time pass.
    silent: BTreeMap<SocketAddr, Instant>,
}

/// A packet for one gateway.
struct Errand {
    address: SocketAddr,
    packet: Bytes,
    /// How much of the packet has left.
    sent: usize,
    gateway: Option<Gateway>,
}

/// What came of it.
struct Done<T> {
    address: SocketAddr,
    /// The connection, if it can be used again: on one that failed answers could be left.
    gateway: Option<Gateway>,
    outcome: Result<T, Error>,
}

impl Gateways {
    /// The cluster has these gateways, and no others.
    pub(crate) fn keep(&mut self, list: &[SocketAddr]) {
        self.open.retain(|address, _| list.contains(address));
        self.silent.retain(|address, _| list.contains(address));
    }

    /// Sends each gateway its packet. One that fails does not keep the others from theirs.
    pub(crate) fn send(
        &mut self,
        packets: Vec<(SocketAddr, Bytes)>,
        credentials: &Credentials,
        call: &CallClock,
    ) -> Answers<()> {
        let (mut jobs, mut done) = (Vec::new(), Vec::new());
        for (address, packet) in packets {
            match self.job(address, packet) {
                Ok(mut job) => {
                    if job.send_now() {
                        done.push(job.done(Ok(())));
                    } else {
                        jobs.push(job);
                    }
                }
                Err(error) => done.push(Done { address, gateway: None, outcome: Err(error) }),
            }
        }
        let send = |gateway: &mut Gateway, rest: &[u8]| gateway.send(rest, call);
        self.run(jobs, done, credentials, call, send).map(|_| ())
    }

    /// Asks each gateway; its answer is whole, or comes in parts.
    pub(crate) fn ask(
        &mut self,
        gateways: &[SocketAddr],
        query: &Query,
        credentials: &Credentials,
        call: &CallClock,
    ) -> Answers<Vec<Vec<GatewayAnswer>>> {
        let (mut jobs, mut done) = (Vec::new(), Vec::new());
        for &address in gateways {
            match self.job(address, Bytes::new()) {
                Ok(job) => jobs.push(job),
                Err(error) => done.push(Done { address, gateway: None, outcome: Err(error) }),
            }
        }
        let ask = |gateway: &mut Gateway, _: &[u8]| gateway.ask(query, call);
        self.run(jobs, done, credentials, call, ask)
    }

    /// Takes what there is for a gateway; one that let the time pass a moment ago has failed already.
    fn job(&mut self, address: SocketAddr, packet: Bytes) -> Result<Errand, Error> {
        let since = self.silent.get(&address).map(Instant::elapsed);
        if let Some(since) = since.filter(|since| *since < REST) {
            return Err(Error::Silent { gateway: address, since });
        }
        let gateway = self.open.remove(&address).filter(Gateway::is_open);
        Ok(Errand { address, packet, sent: 0, gateway })
    }

    /// Does what is left to do, side by side, and keeps what can be used again.
    fn run<T: Send>(
        &mut self,
        jobs: Vec<Errand>,
        mut done: Vec<Done<T>>,
        credentials: &Credentials,
        call: &CallClock,
        run: impl Fn(&mut Gateway, &[u8]) -> Result<T, Error> + Sync,
    ) -> Answers<Vec<T>> {
        done.extend(side_by_side(jobs, |job| job.run(credentials, call, &run)));
        done.sort_by_key(|done| done.address);
        let asked = done.len();
        let (mut value, mut missing) = (Vec::new(), Vec::new());
        for Done { address, gateway, outcome } in done {
            match outcome {
                Ok(result) => {
                    self.silent.remove(&address);
                    self.open.extend(gateway.map(|gateway| (address, gateway)));
                    value.push(result);
                }
                Err(reason) => {
                    if reason.is_timeout() {
                        self.silent.insert(address, Instant::now());
                    }
                    missing.push(Missing { gateway: address, reason });
                }
            }
        }
        Answers { value, missing, asked }
    }
}

impl Errand {
    /// Sends without waiting; returns whether all of it has left. There nearly always is room for it, and no
    /// thread is needed.
    fn send_now(&mut self) -> bool {
        let Some(gateway) = self.gateway.as_mut().filter(|gateway| !gateway.is_doubtful()) else {
            return false;
        };
        self.packet = gateway.known(std::mem::take(&mut self.packet));
        match gateway.send_now(&self.packet) {
            Some(sent) => self.sent = sent,
            None => self.gateway = None,
        }
        self.sent == self.packet.len()
    }

    /// Uses the connection to the gateway, a new one if need be.
    fn run<T>(
        mut self,
        credentials: &Credentials,
        call: &CallClock,
        run: impl Fn(&mut Gateway, &[u8]) -> Result<T, Error>,
    ) -> Done<T> {
        // In the middle of a packet nothing can be asked.
        let begun = self.sent > 0;
        let kept = self.gateway.take();
        let kept = kept.and_then(|mut kept| (begun || kept.is_sound(call)).then_some(kept));
        let gateway = kept.map_or_else(|| Gateway::connect(self.address, credentials, call), Ok);
        let mut gateway = match gateway {
            Ok(gateway) => gateway,
            Err(error) => return self.done(Err(error)),
        };
        self.packet = gateway.known(std::mem::take(&mut self.packet));
        let outcome = run(&mut gateway, self.packet.get(self.sent..).unwrap_or_default());
        self.gateway = outcome.is_ok().then_some(gateway);
        self.done(outcome)
    }

    fn done<T>(self, outcome: Result<T, Error>) -> Done<T> {
        Done { address: self.address, gateway: self.gateway, outcome }
    }
}

/// Returns where a client's gateway is; its id says it.
pub(crate) fn gateway_of(client: ClientId) -> SocketAddr {
    SocketAddr::from((client.local_ip, client.local_port))
}

/// Does all jobs at once, as far as there are threads for them; this one is one of them.
pub(crate) fn side_by_side<J: Send, R: Send>(jobs: Vec<J>, run: impl Fn(J) -> R + Sync) -> Vec<R> {
    let threads = jobs.len().min(SIDE_BY_SIDE);
    let (jobs, done) = (Mutex::new(jobs.into_iter()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let job = lock(&jobs).next();
            let Some(job) = job else { return };
            let result = run(job);
            lock(&done).push(result);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where the system has no other thread, this one does all of it.
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
