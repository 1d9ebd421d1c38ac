//! The innocent clients: on a thread of their own, so that an attacker's work does not delay what they
//! measure more than it must. They talk before, during and after an attack, and write down what it cost.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::{join_all, select, try_join_all};
use lineman_testkit::{Client, LIMIT, Process};
use lineman_tests::certificates::Authority;
use lineman_tests::http2::Http2;
use lineman_tests::innocent::{echoes, is_greeted};
use lineman_tests::raw::Raw;
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout_at};

use crate::ledger::{Kind, Ledger, Phase};
use crate::target::Target;

/// How many clients echo; behind the gateway there are enough for each business to have some.
const ECHO: usize = 4;
const GATEWAY: usize = 6;

/// After so long without an answer a client says the next thing: an answer to that shows whether the
/// one before it is lost, for a client's messages are handled in their order.
const LOOK: Duration = Duration::from_secs(1);

/// How often the memory of each process is looked at.
const MEMORY_PACE: Duration = Duration::from_millis(20);

/// The clients, and the thread they live on.
#[derive(Debug)]
pub(crate) struct Innocents {
    phase: watch::Sender<Phase>,
    thread: JoinHandle<Result<Ledger>>,
}

impl Innocents {
    /// Connects them to the target; they talk from now on.
    pub(crate) async fn beside(target: &Target, authority: &Arc<Authority>) -> Result<Self> {
        let (phase, receiver) = watch::channel(Phase::Quiet);
        let (all_in, are_in) = oneshot::channel();
        let crowd = Crowd {
            gateway: target.server.port.ws(),
            plain: target.plain.clone(),
            secure: target.secure.clone(),
            authority: Arc::clone(authority),
            processes: target.processes()?,
            phase: receiver,
            ledger: RefCell::default(),
        };
        let thread = thread::Builder::new().name("innocents".to_owned()).spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(crowd.attend(all_in))
        })?;
        let innocents = Self { phase, thread };
        if are_in.await.is_err() {
            // The thread has ended, and can tell why.
            return innocents.part().await.and_then(|_| bail!("the innocents went away"));
        }
        Ok(innocents)
    }

    /// Begins a phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Has each client say a last thing and go; returns what they wrote down.
    pub(crate) async fn part(self) -> Result<Ledger> {
        self.enter(Phase::Parting);
        let thread = tokio::task::spawn_blocking(move || self.thread.join());
        thread.await?.map_err(|_panic| anyhow::anyhow!("an innocent client panicked"))?
    }
}

/// What the clients share.
struct Crowd {
    /// The URL of the gateway; the addresses of the others.
    gateway: String,
    plain: String,
    secure: String,
    authority: Arc<Authority>,
    processes: Vec<(String, Process)>,
    phase: watch::Receiver<Phase>,
    ledger: RefCell<Ledger>,
}

impl Crowd {
    async fn attend(self, all_in: oneshot::Sender<()>) -> Result<Ledger> {
        let plain = format!("ws://{}/", self.plain);
        let urls = [(Kind::Echo, ECHO, &plain), (Kind::Gateway, GATEWAY, &self.gateway)];
        let places =
            urls.into_iter().flat_map(|(kind, count, url)| (0..count).map(move |_| (kind, url)));
        let talkers =
            try_join_all(places.map(|(kind, url)| Talker::enter(&self, kind, url))).await?;
        if all_in.send(()).is_err() {
            // The attack was given up.
            return Ok(self.ledger.into_inner());
        }
        let talk = join_all(talkers.into_iter().map(Talker::talk));
        let come = self.asks(
            Kind::Newcomer,
            async || Ok(()),
            async |()| {
                let mut client = Client::connect(&self.gateway).await?;
                echoes(&mut client).await?;
                client.close().await
            },
        );
        let http = self.asks(Kind::Http, async || Raw::connect(&self.plain).await, is_greeted);
        let secure = self.asks(
            Kind::Secure,
            async || Http2::connect(&self.secure, &self.authority, &[]).await,
            Http2::is_greeted,
        );
        let all = async { tokio::join!(talk, come, http, secure) };
        select(Box::pin(all), Box::pin(self.watch_memory())).await;
        Ok(self.ledger.into_inner())
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Asks something again and again, and anew on a new connection when that fails.
    async fn asks<T>(
        &self,
        kind: Kind,
        connect: impl AsyncFn() -> Result<T>,
        ask: impl AsyncFn(&mut T) -> Result<()>,
    ) {
        let (mut pace, mut connection) = (paced(kind.pace()), None);
        while self.phase() != Phase::Parting {
            pace.tick().await;
            let (phase, begun) = (self.phase(), Instant::now());
            let asked = async {
                if connection.is_none() {
                    connection = Some(connect().await?);
                }
                ask(connection.as_mut().context("a connection")?).await
            };
            match asked.await {
                Ok(()) => self.ledger.borrow_mut().trip(kind, phase, begun.elapsed()),
                Err(error) => {
                    connection = None;
                    self.ledger.borrow_mut().lost_connection(kind, 1, &error);
                    // A refusal comes at once.
                    pace.reset_after(LOOK);
                }
            }
        }
    }

    async fn watch_memory(&self) {
        let mut pace = paced(MEMORY_PACE);
        loop {
            pace.tick().await;
            let peaks = &mut self.ledger.borrow_mut().peaks;
            for (slot, process) in &self.processes {
                // One that has ended holds nothing.
                let bytes = process.resident_bytes().unwrap_or_default();
                let peak = peaks.entry(slot.clone()).or_default();
                *peak = bytes.max(*peak);
            }
        }
    }
}

/// A client whose messages come back to it; they are numbers that count up.
struct Talker<'a> {
    crowd: &'a Crowd,
    kind: Kind,
    url: &'a str,
    client: Client,
    next: u64,
    /// What was said and has not come back: the number, and when it was said.
    unanswered: VecDeque<(u64, Phase, Instant)>,
}

impl<'a> Talker<'a> {
    async fn enter(crowd: &'a Crowd, kind: Kind, url: &'a str) -> Result<Self> {
        let client = Client::connect(url).await?;
        Ok(Self { crowd, kind, url, client, next: 0, unanswered: VecDeque::new() })
    }

    async fn talk(mut self) {
        let mut pace = paced(self.kind.pace());
        while self.crowd.phase() != Phase::Parting {
            pace.tick().await;
            let look = Instant::now() + LOOK;
            if let Err(error) = self.exchange(look).await {
                self.come_again(&error).await;
            }
        }
        let last = Instant::now() + LIMIT;
        if let Err(error) = self.exchange(last).await {
            self.loses(&error);
        } else if !self.unanswered.is_empty() {
            let reason = format!("not answered within {LIMIT:?}");
            self.crowd.ledger.borrow_mut().lost_messages(self.kind, self.unanswered.len(), &reason);
        }
    }

    /// Says the next number and waits, until then at the latest, for it and those before it.
    async fn exchange(&mut self, until: Instant) -> Result<()> {
        self.unanswered.push_back((self.next, self.crowd.phase(), Instant::now()));
        self.client.send_text(self.next.to_string()).await?;
        self.next += 1;
        while !self.unanswered.is_empty() {
            let Ok(text) = timeout_at(until, self.client.text()).await else { return Ok(()) };
            self.hears(text?.parse().context("what comes back is no number")?)?;
        }
        Ok(())
    }

    fn hears(&mut self, number: u64) -> Result<()> {
        let mut ledger = self.crowd.ledger.borrow_mut();
        while let Some((said, phase, begun)) = self.unanswered.pop_front() {
            if said == number {
                ledger.trip(self.kind, phase, begun.elapsed());
                return Ok(());
            }
            ledger.lost_messages(self.kind, 1, "a later one was answered");
        }
        bail!("{number} came back, which was not said or was answered before")
    }

    /// Counts the connection and all that it has not answered as lost.
    fn loses(&mut self, reason: &anyhow::Error) {
        let mut ledger = self.crowd.ledger.borrow_mut();
        ledger.lost_connection(self.kind, self.unanswered.len(), reason);
        self.unanswered.clear();
    }

    async fn come_again(&mut self, reason: &anyhow::Error) {
        self.loses(reason);
        while self.crowd.phase() != Phase::Parting {
            match Client::connect(self.url).await {
                Ok(client) => {
                    self.client = client;
                    return;
                }
                Err(error) => self.loses(&error),
            }
            // A refusal comes at once.
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn paced(period: Duration) -> Interval {
    let mut pace = interval(period);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}
