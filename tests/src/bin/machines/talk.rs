//! Users who send each other numbered messages, ten a second each, by uid; and the account of what did not arrive.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use lineman_testkit::Client;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

const PACE: Duration = Duration::from_millis(100);

/// A message: who sent it, and the how manyth it was.
type Number = (usize, u64);

/// Which connection of a user.
type Visit = u64;

struct Sent {
    step: usize,
    by: Visit,
    to: usize,
    at: Visit,
}

/// What became of the messages of a step.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) sent: u64,
    /// The sender's or the receiver's connection ended meanwhile.
    pub(crate) between: u64,
    /// Came more than once.
    pub(crate) repeated: u64,
    pub(crate) lost: u64,
}

/// The account of all.
#[derive(Default)]
pub(crate) struct Ledger {
    /// The connection by which a user can be reached, once their uid is bound.
    bound: Vec<Option<Visit>>,
    visits: Visit,
    under_way: BTreeMap<Number, Sent>,
    heard: BTreeSet<Number>,
    step: usize,
    counts: Vec<Count>,
}

/// All talkers.
pub(crate) struct Talk {
    pub(crate) ledger: Rc<RefCell<Ledger>>,
    over: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Ledger {
    /// Begins another step: what is sent from now on belongs to it.
    pub(crate) fn begin(&mut self) {
        self.step += 1;
    }

    /// Returns the counts of each step; what is still under way is lost.
    pub(crate) fn counts(&self) -> Vec<Count> {
        let mut counts = self.counts.clone();
        for sent in self.under_way.values() {
            if let Some(count) = counts.get_mut(sent.step) {
                count.lost += 1;
            }
        }
        counts
    }

    fn count(&mut self, step: usize) -> &mut Count {
        if self.counts.len() <= step {
            self.counts.resize(step + 1, Count::default());
        }
        &mut self.counts[step]
    }

    /// A message is about to be sent; one to a user who cannot be reached does not count.
    fn send(&mut self, number: Number, by: Visit, to: usize) {
        let Some(at) = self.bound[to] else { return };
        let step = self.step;
        self.count(step).sent += 1;
        self.under_way.insert(number, Sent { step, by, to, at });
    }

    fn hear(&mut self, number: Number) {
        self.under_way.remove(&number);
        // It may have come through though the sender's connection has ended since.
        if !self.heard.insert(number) {
            let step = self.step;
            self.count(step).repeated += 1;
        }
    }

    /// A connection has ended: of what was under way from it and to it nothing is owed.
    fn end(&mut self, user: usize, visit: Visit) {
        self.bound[user] = None;
        let concerns = |number: &Number, sent: &Sent| {
            (number.0 == user && sent.by == visit) || (sent.to == user && sent.at == visit)
        };
        let mut steps = Vec::new();
        self.under_way.retain(|number, sent| {
            let concerned = concerns(number, sent);
            if concerned {
                steps.push(sent.step);
            }
            !concerned
        });
        for step in steps {
            self.count(step).between += 1;
        }
    }
}

impl Talk {
    /// Has `each` users come to each machine; each talks to one of the next machine. Returns when all can be reached.
    pub(crate) async fn at(gateways: &[SocketAddr], each: usize) -> Result<Self> {
        let count = gateways.len() * each;
        let ledger = Ledger { bound: vec![None; count], ..Ledger::default() };
        let (ledger, over) = (Rc::new(RefCell::new(ledger)), watch::Sender::new(false));
        let tasks = (0..count).map(|user| {
            let talker = Talker {
                user,
                // Users are dealt out to the machines in turns.
                to: (user + 1) % count,
                gateways: gateways.to_vec(),
                said: 0,
                ledger: Rc::clone(&ledger),
            };
            spawn_local(talker.live(over.subscribe()))
        });
        let tasks = tasks.collect();
        let talk = Self { ledger, over, tasks };
        let reached = async {
            while talk.ledger.borrow().bound.iter().any(Option::is_none) {
                sleep(PACE).await;
            }
        };
        timeout(Duration::from_mins(1), reached).await.context("not all talkers get in")?;
        Ok(talk)
    }

    /// Has all say nothing more; they listen until this is dropped.
    pub(crate) fn hush(&self) {
        self.over.send_replace(true);
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

struct Talker {
    user: usize,
    to: usize,
    gateways: Vec<SocketAddr>,
    said: u64,
    ledger: Rc<RefCell<Ledger>>,
}

impl Talker {
    async fn live(mut self, over: watch::Receiver<bool>) {
        let mut at = self.user % self.gateways.len();
        loop {
            let visit = {
                let mut ledger = self.ledger.borrow_mut();
                ledger.visits += 1;
                ledger.visits
            };
            // However it ended, there is another try.
            drop(self.visit(at, visit, &over).await);
            self.ledger.borrow_mut().end(self.user, visit);
            at = (at + 1) % self.gateways.len();
            sleep(PACE).await;
        }
    }

    async fn visit(&mut self, at: usize, visit: Visit, over: &watch::Receiver<bool>) -> Result<()> {
        let url = format!("ws://{}/", self.gateways[at]);
        let mut client = timeout(Duration::from_secs(2), Client::connect(&url)).await??;
        client.send_text(format!("/uid talker-{}", self.user)).await?;
        client.next_text().await?;
        self.ledger.borrow_mut().bound[self.user] = Some(visit);
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                text = client.text() => {
                    let text = text?;
                    let (from, number) = text.split_once(' ').context("a message of ours")?;
                    self.ledger.borrow_mut().hear((from.parse()?, number.parse()?));
                }
                _ = ticks.tick() => if !*over.borrow() {
                    self.said += 1;
                    self.ledger.borrow_mut().send((self.user, self.said), visit, self.to);
                    client.send_text(format!("/to talker-{} {} {}", self.to, self.user, self.said)).await?;
                }
            }
        }
    }
}
