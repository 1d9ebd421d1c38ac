//! Questions to gateways: one connection for each gateway, opened when it is first needed.
//!
//! Questions are pipelined; answers come in their order and carry no number. So a question whose
//! asker has given up keeps its place until its answer, or the connection's end, has come.
//! [`silence`](super::silence) remembers which gateways are not worth waiting for.

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
use tokio::time::Instant;

use super::silence::{AnswerDeadline, Expiry, GatewaySilence, TEST_PART};
use crate::error::HubError;
use crate::link_tls::SharedSecurity;

/// How many questions may wait for one gateway: a gateway that is stuck for as long as an answer may
/// take costs no more than these, and no working one lags so far behind.
const MAX_PENDING: usize = 4096;

/// The connections for questions of this process.
pub(super) struct Queries {
    table: Table,
    secret: Secret,
    /// How long a gateway may be silent that owes an answer; zero for ever.
    limit: Duration,
    security: SharedSecurity,
    gateways: RefCell<BTreeMap<SocketAddr, Asked>>,
}

/// A gateway that was asked.
#[derive(Default)]
struct Asked {
    exchange: Option<Rc<QueryConnection>>,
    silence: Rc<GatewaySilence>,
}

/// One connection, and the questions that wait for answers on it.
struct QueryConnection {
    gateway: SocketAddr,
    connection: RefCell<Option<Connection<ReplyCodec>>>,
    pending: RefCell<Pending>,
    silence: Rc<GatewaySilence>,
}

impl Queries {
    pub(super) fn new(
        table: Table,
        secret: Secret,
        limit: Duration,
        security: SharedSecurity,
    ) -> Self {
        Self { table, secret, limit, security, gateways: RefCell::default() }
    }

    /// Asks a gateway with an encoded packet. One that is silent is asked now and then, on a new connection;
    /// otherwise the error comes at once.
    pub(super) fn ask(
        &self,
        gateway: SocketAddr,
        packet: Bytes,
    ) -> LocalFuture<Result<Reply, HubError>> {
        match self.send(gateway, packet) {
            Ok((exchange, waiting, limit)) => Box::pin(exchange.answer(waiting, limit)),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    /// The link to a gateway is lost: nothing that it was asked will be answered, and what was known of it
    /// is of the past.
    pub(super) fn forget(&self, gateway: SocketAddr) {
        let asked = self.gateways.borrow_mut().remove(&gateway);
        if let Some(exchange) = asked.and_then(|asked| asked.exchange) {
            exchange.abort();
        }
    }

    fn send(
        &self,
        gateway: SocketAddr,
        packet: Bytes,
    ) -> Result<(Rc<QueryConnection>, Waiting, Duration), HubError> {
        let (exchange, silence) = {
            let mut gateways = self.gateways.borrow_mut();
            let asked = gateways.entry(gateway).or_default();
            (asked.exchange.clone(), Rc::clone(&asked.silence))
        };
        let (now, mut limit) = (Instant::now(), self.limit);
        let exchange = match silence.lasts(now) {
            None => exchange.filter(|exchange| exchange.is_open()),
            Some(since) if !silence.is_to_be_tested(now) => {
                return Err(HubError::Silent { gateway, since });
            }
            Some(_) => {
                // It may lead to a former life of the machine, and nothing would ever come on it.
                if let Some(exchange) = exchange {
                    exchange.abort();
                }
                limit /= TEST_PART;
                None
            }
        };
        let exchange = match exchange {
            Some(exchange) => exchange,
            None => self.open(gateway, &silence)?,
        };
        let waiting = exchange.send(packet)?;
        Ok((exchange, waiting, limit))
    }

    /// Opens a connection and introduces us.
    fn open(
        &self,
        gateway: SocketAddr,
        silence: &Rc<GatewaySilence>,
    ) -> Result<Rc<QueryConnection>, HubError> {
        let exchange = Rc::new(QueryConnection {
            gateway,
            connection: RefCell::default(),
            pending: RefCell::default(),
            silence: Rc::clone(silence),
        });
        let handler = Rc::clone(&exchange) as Rc<dyn Handler<ReplyCodec>>;
        let serve = Serve::links(ReplyCodec::new, handler);
        let serve = Rc::new(serve.begins_tls(self.security.borrow().connecting()));
        let lost = |problem: String| HubError::Lost { gateway, problem };
        let connection =
            self.table.connect(gateway, &serve).map_err(|error| lost(error.to_string()))?;
        if !self.secret.is_empty() {
            let login =
                Packet::from(Login::Client { secret_key: self.secret.clone(), lineman: None });
            connection.send_encoded(login.to_bytes()).map_err(|error| lost(error.to_string()))?;
        }
        exchange.connection.replace(Some(connection));
        self.gateways.borrow_mut().entry(gateway).or_default().exchange =
            Some(Rc::clone(&exchange));
        Ok(exchange)
    }
}

impl QueryConnection {
    fn is_open(&self) -> bool {
        self.connection.borrow().is_some()
    }

    fn abort(&self) {
        // A copy: its end comes back here.
        let connection = self.connection.borrow().clone();
        if let Some(connection) = connection {
            connection.abort();
        }
    }

    fn send(&self, packet: Bytes) -> Result<Waiting, HubError> {
        let gateway = self.gateway;
        let connection = self.connection.borrow().clone();
        let connection = connection.ok_or(HubError::Unlinked { gateway })?;
        let pending = self.pending.borrow().0.len();
        if pending >= MAX_PENDING {
            return Err(HubError::Busy { gateway, pending });
        }
        connection.send_encoded(packet).map_err(|error| match error {
            SendError::Full => HubError::Full { gateway },
            _ => HubError::Unlinked { gateway },
        })?;
        Ok(self.pending.borrow_mut().push())
    }

    /// Returns how much has come from the gateway on this connection.
    fn bytes(&self) -> u64 {
        self.connection.borrow().as_ref().map_or(0, |connection| connection.counters().bytes_in)
    }

    /// Waits for an answer, as long as something of it, or of those before it, goes on coming.
    async fn answer(
        self: Rc<Self>,
        mut waiting: Waiting,
        limit: Duration,
    ) -> Result<Reply, HubError> {
        let gateway = self.gateway;
        let lost = |problem| Err(HubError::Lost { gateway, problem });
        let mut deadline = AnswerDeadline::new(limit, Instant::now(), self.bytes());
        loop {
            let outcome = match deadline.until() {
                Some(until) => tokio::time::timeout_at(until, &mut waiting).await,
                None => Ok((&mut waiting).await),
            };
            match outcome {
                Ok(Ok(Ok(reply))) => return Ok(reply),
                Ok(Ok(Err(problem))) => return lost(problem),
                Ok(Err(_)) => return lost("connection dropped".to_owned()),
                Err(_) => {}
            }
            match deadline.look(Instant::now(), self.bytes()) {
                Expiry::Wait => {}
                Expiry::Late => return Err(HubError::Timeout { gateway, limit }),
                Expiry::Silent { asked } => {
                    let now = Instant::now();
                    let known = self.silence.lasts(now);
                    self.silence.begin(asked, now);
                    return Err(match known {
                        Some(since) => HubError::Silent { gateway, since },
                        None => HubError::Timeout { gateway, limit },
                    });
                }
            }
        }
    }
}

impl Handler<ReplyCodec> for QueryConnection {
    fn on_event(&self, connection: &Connection<ReplyCodec>, event: Event<ReplyCodec>) -> Turn {
        match event {
            Event::Connect | Event::Open(()) | Event::Opened | Event::Adopted => {}
            Event::Message(reply) => {
                self.silence.end();
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
    async fn a_gateway_that_says_nothing_is_silent_after_the_limit() {
        let silence = Rc::new(GatewaySilence::default());
        let exchange = Rc::new(QueryConnection {
            gateway: SocketAddr::from(([127, 0, 0, 1], 2900)),
            connection: RefCell::default(),
            pending: RefCell::default(),
            silence: Rc::clone(&silence),
        });
        let waiting = exchange.pending.borrow_mut().push();
        let asked = Instant::now();
        let error = Rc::clone(&exchange).answer(waiting, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(asked.elapsed(), Duration::from_secs(1));
        assert_eq!(error.to_string(), "gateway 127.0.0.1:2900 did not answer within 1 s");
        assert!(silence.lasts(Instant::now()).is_some());
        let mut waiting = exchange.pending.borrow_mut().push();
        assert!(exchange.pending.borrow_mut().answer(reply("i:1;")), "the first one's");
        assert!(waiting.try_recv().is_err());
    }
}
