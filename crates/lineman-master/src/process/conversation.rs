//! The worker's side of the talk with the master: answers questions, hands out orders.

use std::fmt;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use lineman_wire::briefing::{Predecessor, bounded};
use lineman_wire::handover::{HandedOver, MoveOrder};
use tokio::task::spawn_local;

use super::lag::Meter;
use crate::control::frame::{Inbox, Outbox};
use crate::control::message::{FromWorker, ToWorker};
use crate::program::Inside;
use crate::terminal::log::{self, Streams};

/// What the master wants of the process as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaveOrder {
    /// Wait until the connections end by themselves, then leave.
    Drain {
        /// How long to wait.
        limit: Duration,
        /// How long those left then may take to go.
        stop_limit: Duration,
        /// How many are told a second meanwhile that their service restarts.
        rate: Option<u32>,
    },
    /// Close everything and leave.
    Stop {
        /// How long the connections may take to go.
        stop_limit: Duration,
    },
    /// The master is gone, and with it what would start a successor: leave as on a stop.
    Orphaned,
}

impl fmt::Display for LeaveOrder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Drain { .. } => "drain",
            Self::Stop { .. } => "stop",
            Self::Orphaned => "the master is gone",
        })
    }
}

/// What the master says before the service starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FirstWords {
    /// What is known of the process before.
    pub(super) predecessor: Option<Predecessor>,
    /// The order to take over what another process serves.
    pub(super) take_over: Option<MoveOrder>,
}

/// What a message of the master came to.
enum MasterMessage {
    /// It was a question, and is answered, or something small, and is done.
    Handled,
    /// The keys of session tickets, and what else is said with the first ones.
    TicketKeys(FirstWords),
    LeaveOrder(LeaveOrder),
}

/// The talk with the master.
pub(super) struct Conversation {
    inbox: Inbox<ToWorker>,
    outbox: Outbox<FromWorker>,
    inside: Rc<dyn Inside>,
    meter: Meter,
    /// The handover under way.
    handing: Option<LocalBoxFuture<'static, Result<HandedOver, String>>>,
    /// Whether its connections have moved, and what is left could not.
    has_handed_over: bool,
}

impl Conversation {
    /// Returns the talk over these two halves, about this inside and this loop.
    pub(super) fn new(
        inbox: Inbox<ToWorker>,
        outbox: Outbox<FromWorker>,
        inside: Rc<dyn Inside>,
        meter: Meter,
    ) -> Self {
        Self { inbox, outbox, inside, meter, handing: None, has_handed_over: false }
    }

    /// Waits for what the master says first: the keys of session tickets are there as well then; a listener that accepts without them takes no ticket and
    /// makes none. The master's limit for getting ready is the limit of this wait.
    ///
    /// # Errors
    /// The order that came instead.
    pub(super) async fn first_words(&mut self) -> Result<FirstWords, LeaveOrder> {
        loop {
            match self.next().await {
                MasterMessage::TicketKeys(words) => return Ok(words),
                MasterMessage::LeaveOrder(order) => return Err(order),
                MasterMessage::Handled => {}
            }
        }
    }

    /// Answers questions until an order comes.
    ///
    /// # Cancel safety
    /// No message is lost.
    pub(super) async fn next_order(&mut self) -> LeaveOrder {
        loop {
            if let MasterMessage::LeaveOrder(order) = self.next().await {
                if self.handing.take().is_some() {
                    self.handed(Err(format!("told to leave meanwhile: {order}")));
                }
                return order;
            }
        }
    }

    /// Returns whether its connections have moved to another process.
    pub(super) fn has_handed_over(&self) -> bool {
        self.has_handed_over
    }

    async fn next(&mut self) -> MasterMessage {
        let heard = match &mut self.handing {
            None => self.inbox.next().await,
            Some(handing) => tokio::select! {
                heard = self.inbox.next() => heard,
                outcome = handing => {
                    self.handing = None;
                    self.handed(outcome);
                    return MasterMessage::Handled;
                }
            },
        };
        match heard {
            Ok(Some(ToWorker::Status { token })) => self.say(&self.status(token)),
            Ok(Some(ToWorker::Connections { token, from, limit })) => {
                let (rows, next) = self.inside.rows(from, limit);
                self.say(&FromWorker::Rows { token, rows, next });
            }
            Ok(Some(ToWorker::TicketKeys { keys, predecessor, take_over })) => {
                self.inside.use_ticket_keys(keys);
                return MasterMessage::TicketKeys(FirstWords { predecessor, take_over });
            }
            Ok(Some(ToWorker::HandOver { order })) => self.hand_over(order),
            Ok(Some(ToWorker::Reload { handed })) => {
                if let Some(handed) = handed {
                    super::handed::replace(handed);
                }
                spawn_local(self.inside.reload());
            }
            Ok(Some(ToWorker::Borrow { lender })) => self.borrow(&lender),
            Ok(Some(ToWorker::Log { streams })) => self.use_log(streams),
            Ok(Some(ToWorker::Return { lender })) => {
                tracing::info!(lender, "giving a listener back");
                self.inside.return_listeners(&lender);
            }
            Ok(Some(ToWorker::Drain { limit, stop_limit, rate })) => {
                return MasterMessage::LeaveOrder(LeaveOrder::Drain { limit, stop_limit, rate });
            }
            Ok(Some(ToWorker::Stop { stop_limit })) => {
                return MasterMessage::LeaveOrder(LeaveOrder::Stop { stop_limit });
            }
            Ok(None) => return MasterMessage::LeaveOrder(LeaveOrder::Orphaned),
            Err(error) => {
                tracing::error!(%error, "the master is not understood");
                return MasterMessage::LeaveOrder(LeaveOrder::Orphaned);
            }
        }
        MasterMessage::Handled
    }

    fn hand_over(&mut self, order: MoveOrder) {
        match self.inbox.descriptor() {
            Some(_) if self.handing.is_some() || self.has_handed_over => {
                self.handed(Err("a handover was ordered already".to_owned()));
            }
            Some(socket) => {
                tracing::info!(connections = self.inside.connections(), "handing over");
                self.handing = Some(self.inside.hand_over(socket, order));
            }
            None => self.handed(Err("the socket to the successor did not come".to_owned())),
        }
    }

    /// Tells what came of a handover.
    fn handed(&mut self, outcome: Result<HandedOver, String>) {
        match outcome {
            Ok(report) => {
                tracing::info!(?report, "handed over");
                self.has_handed_over = true;
                self.inside.stop_accepting();
                self.say(&FromWorker::HandedOver { report });
            }
            Err(reason) => {
                tracing::warn!(reason, "not handed over: going on");
                self.say(&FromWorker::HandoverFailed { reason });
            }
        }
    }

    /// Tells how many connections a drain still waits for.
    pub(super) fn say_draining(&self, left: usize) {
        self.say(&FromWorker::Draining { left });
    }

    fn borrow(&mut self, lender: &str) {
        let Some(socket) = self.inbox.descriptor() else {
            tracing::warn!(lender, "a listener was lent and did not come");
            return;
        };
        match self.inside.borrow_listener(lender, socket) {
            Ok(()) => tracing::info!(lender, "accepting for a slot that is down"),
            Err(error) => tracing::warn!(lender, %error, "cannot accept for a slot that is down"),
        }
    }

    fn use_log(&mut self, streams: Streams) {
        let file = self.inbox.descriptor();
        match file.map(|file| log::adopt(file.as_fd(), streams)) {
            Some(Ok(())) => tracing::debug!("log file reopened"),
            Some(Err(error)) => tracing::warn!(%error, "the log goes on to the old file"),
            None => tracing::warn!("a log file was handed over and did not come"),
        }
    }

    fn status(&self, token: u64) -> FromWorker {
        let (stats, gauges) = self.inside.status();
        let stats = Box::new(stats);
        let briefing = bounded(self.inside.briefing());
        let (lag, condition) = (self.meter.lag(), self.inside.condition());
        FromWorker::Status { token, stats, gauges, lag, condition, briefing }
    }

    pub(super) fn say(&self, message: &FromWorker) {
        // A master that does not read sees this worker as busy: the answer has no other use.
        if let Err(error) = self.outbox.send(message) {
            tracing::debug!(%error, "an answer to the master was dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use lineman_wire::ticket_keys::{NAME, TicketKey, TicketKeys};
    use tokio::net::UnixStream;
    use tokio::task::LocalSet;

    use super::*;
    use crate::control::frame;
    use crate::process::idle::Idle;
    use crate::process::lag::LoopBeat;

    /// Runs a test with a worker's end of the talk, and the master's way to it.
    async fn talk(test: impl AsyncFnOnce(Conversation, Outbox<ToWorker>)) {
        let talk = async {
            let (worker, master) = UnixStream::pair().unwrap();
            let (inbox, outbox) = frame::halves(worker);
            let (_, orders) = frame::halves::<FromWorker, ToWorker>(master);
            let meter = Meter::start(LoopBeat::default());
            test(Conversation::new(inbox, outbox, Rc::new(Idle), meter), orders).await;
        };
        LocalSet::new().run_until(talk).await;
    }

    #[tokio::test]
    async fn a_start_waits_for_the_keys_of_tickets() {
        talk(async |mut conversation, master| {
            assert_eq!(conversation.first_words().now_or_never(), None);
            master.send(&ToWorker::Status { token: 1 }).unwrap();
            let keys = TicketKeys::first(TicketKey { name: [0; NAME], key: [0; 32] });
            let predecessor = Some(Predecessor { briefing: "a".to_owned(), serves: true });
            let words = FirstWords { predecessor, take_over: None };
            let predecessor = words.predecessor.clone();
            master.send(&ToWorker::TicketKeys { keys, predecessor, take_over: None }).unwrap();
            assert_eq!(conversation.first_words().await, Ok(words));
        })
        .await;
    }

    #[tokio::test]
    async fn a_start_without_keys_can_be_stopped() {
        talk(async |mut conversation, master| {
            let stop_limit = Duration::from_secs(1);
            master.send(&ToWorker::Stop { stop_limit }).unwrap();
            assert_eq!(conversation.first_words().await, Err(LeaveOrder::Stop { stop_limit }));
            drop(master);
            assert_eq!(conversation.first_words().await, Err(LeaveOrder::Orphaned));
        })
        .await;
    }
}
