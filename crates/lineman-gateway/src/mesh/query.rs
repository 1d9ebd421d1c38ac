//! Questions to gateways: one connection for each gateway, opened when it is first needed.
//!
//! Questions are pipelined; answers come in their order and carry no number. So a question whose
//! asker has given up keeps its place until its answer, or the connection's end, has come.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use lineman::Table;
use lineman::connection::{CloseReason, Connection, Event, Handler, SendError, Serve, Turn};
use lineman::service::LocalFuture;
use lineman_wire::link::{Login, Packet, Reply, ReplyCodec, Secret};
use tokio::sync::oneshot;

use crate::error::HubError;

/// How long an answer may take: longer than any gateway that works needs to list its clients, and
/// what `GatewayWorker` waits.
const DEADLINE: Duration = Duration::from_secs(5);

/// How many questions may wait for one gateway: a gateway that is stuck for the whole deadline costs
/// no more than these, and no working one lags so far behind.
const MAX_PENDING: usize = 4096;

/// The connections for questions of this process.
pub(super) struct Queries {
    table: Table,
    secret: Secret,
    connections: RefCell<BTreeMap<SocketAddr, Rc<Asked>>>,
}

/// One connection, and the questions that wait for answers on it.
struct Asked {
    connection: RefCell<Option<Connection<ReplyCodec>>>,
    pending: RefCell<Pending>,
}

impl Queries {
    pub(super) fn new(table: Table, secret: Secret) -> Self {
        Self { table, secret, connections: RefCell::default() }
    }

    fn send(&self, gateway: SocketAddr, packet: Bytes) -> Result<Waiting, HubError> {
        let asked = self.connection(gateway)?;
        let connection = asked.connection.borrow().clone();
        let connection = connection.ok_or(HubError::Unlinked { gateway })?;
        let pending = asked.pending.borrow().0.len();
        if pending >= MAX_PENDING {
            return Err(HubError::Busy { gateway, pending });
        }
        connection.send_encoded(packet).map_err(|error| match error {
            SendError::Full => HubError::Full { gateway },
            _ => HubError::Unlinked { gateway },
        })?;
        Ok(asked.pending.borrow_mut().push())
    }

    /// Returns the open connection, or opens one and introduces us.
    fn connection(&self, gateway: SocketAddr) -> Result<Rc<Asked>, HubError> {
        let known = self.connections.borrow().get(&gateway).cloned();
        if let Some(asked) = known.filter(|asked| asked.connection.borrow().is_some()) {
            return Ok(asked);
        }
        let asked = Rc::new(Asked { connection: RefCell::default(), pending: RefCell::default() });
        let handler = Rc::clone(&asked) as Rc<dyn Handler<ReplyCodec>>;
        let serve = Rc::new(Serve::links(ReplyCodec::new, handler));
        let lost = |problem: String| HubError::Lost { gateway, problem };
        let connection =
            self.table.connect(gateway, &serve).map_err(|error| lost(error.to_string()))?;
        if !self.secret.is_empty() {
            let login = Packet::from(Login::Client { secret_key: self.secret.clone() });
            connection.send_encoded(login.to_bytes()).map_err(|error| lost(error.to_string()))?;
        }
        asked.connection.replace(Some(connection));
        self.connections.borrow_mut().insert(gateway, Rc::clone(&asked));
        Ok(asked)
    }
}

impl Queries {
    /// Asks a gateway with an encoded packet.
    pub(super) fn ask(
        &self,
        gateway: SocketAddr,
        packet: Bytes,
    ) -> LocalFuture<Result<Reply, HubError>> {
        match self.send(gateway, packet) {
            Ok(waiting) => Box::pin(answer(gateway, waiting)),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }
}

/// Waits for an answer up to the deadline.
async fn answer(gateway: SocketAddr, waiting: Waiting) -> Result<Reply, HubError> {
    match tokio::time::timeout(DEADLINE, waiting).await {
        Ok(Ok(Ok(reply))) => Ok(reply),
        Ok(Ok(Err(problem))) => Err(HubError::Lost { gateway, problem }),
        Ok(Err(_)) => Err(HubError::Lost { gateway, problem: "connection dropped".to_owned() }),
        Err(_) => Err(HubError::Timeout { gateway, seconds: DEADLINE.as_secs() }),
    }
}

impl Handler<ReplyCodec> for Asked {
    fn on_event(&self, connection: &Connection<ReplyCodec>, event: Event<ReplyCodec>) -> Turn {
        match event {
            Event::Connect | Event::Open(()) | Event::Opened => {}
            Event::Message(reply) => {
                let expected = self.pending.borrow_mut().answer(reply);
                if !expected {
                    let problem = "an answer without a question".to_owned();
                    connection.close(CloseReason::Protocol { code: 1002, problem });
                }
            }
            Event::Close(reason) => {
                self.connection.replace(None);
                self.pending.borrow_mut().fail(&reason.to_string());
            }
        }
        Turn::Done(Ok(()))
    }
}

/// Resolves to an answer, or to how the connection ended.
type Waiting = oneshot::Receiver<Result<Reply, String>>;

/// The questions that wait for the next answers, in their order.
#[derive(Default)]
struct Pending(VecDeque<oneshot::Sender<Result<Reply, String>>>);

impl Pending {
    /// A question was sent.
    fn push(&mut self) -> Waiting {
        let (sender, receiver) = oneshot::channel();
        self.0.push_back(sender);
        receiver
    }

    /// An answer came: it is the oldest question's. Returns false if there is none.
    fn answer(&mut self, reply: Reply) -> bool {
        let Some(asker) = self.0.pop_front() else { return false };
        if asker.send(Ok(reply)).is_err() {
            tracing::debug!("an answer came after its deadline");
        }
        true
    }

    /// The connection has ended.
    fn fail(&mut self, problem: &str) {
        for asker in self.0.drain(..) {
            if asker.send(Err(problem.to_owned())).is_err() {
                tracing::trace!("the question was given up before");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(payload: &'static str) -> Reply {
        Reply { payload: Bytes::from_static(payload.as_bytes()) }
    }

    #[test]
    fn answers_go_to_questions_in_their_order() {
        let mut pending = Pending::default();
        let (mut first, mut second) = (pending.push(), pending.push());
        assert!(pending.answer(reply("i:1;")));
        assert!(pending.answer(reply("i:2;")));
        assert_eq!(first.try_recv().unwrap(), Ok(reply("i:1;")));
        assert_eq!(second.try_recv().unwrap(), Ok(reply("i:2;")));
        assert!(!pending.answer(reply("i:3;")), "there is no question");
    }

    #[test]
    fn a_question_given_up_keeps_its_place() {
        let mut pending = Pending::default();
        drop(pending.push());
        let mut second = pending.push();
        assert!(pending.answer(reply("i:1;")), "the late answer to the first question");
        assert!(second.try_recv().is_err(), "is not the second one's");
        assert!(pending.answer(reply("i:2;")));
        assert_eq!(second.try_recv().unwrap(), Ok(reply("i:2;")));
    }

    #[test]
    fn the_end_of_the_connection_ends_every_wait() {
        let mut pending = Pending::default();
        let (mut first, mut second) = (pending.push(), pending.push());
        pending.fail("reset");
        assert_eq!(first.try_recv().unwrap(), Err("reset".to_owned()));
        assert_eq!(second.try_recv().unwrap(), Err("reset".to_owned()));
    }

    #[tokio::test(start_paused = true, flavor = "current_thread")]
    async fn a_question_ends_at_its_deadline() {
        let gateway = SocketAddr::from(([127, 0, 0, 1], 2900));
        let mut pending = Pending::default();
        let asked = tokio::time::Instant::now();
        let error = answer(gateway, pending.push()).await.unwrap_err();
        assert_eq!(asked.elapsed(), DEADLINE);
        assert_eq!(error.to_string(), "gateway 127.0.0.1:2900 did not answer within 5 s");
    }
}
