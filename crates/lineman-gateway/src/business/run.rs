//! Runs the handlers: polled in place first, left to a task only if they wait.

use std::any::Any;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::FutureExt;
use lineman::BoxError;
use lineman::activity::{self, Activity};
use lineman::service::LocalFuture;
use lineman::work;
use lineman_wire::link::{ClientId, Order};
use lineman_wire::panic_text;

use super::clients::{Begin, ClientEvent, LinkId, Outcome, Work};
use super::core::Core;
use super::gateway::Report;
use crate::cluster::gateway_of;
use crate::error::HubError;
use crate::{Client, Events};

/// How many events that waited behind others begin before links are read again.
const EVENTS_A_TURN: usize = 16;

/// What a handler leaves: its session, and how it went.
type Left<S> = (S, Result<(), BoxError>);

/// What has to be known of an event when its handler is done.
struct EventFacts {
    id: ClientId,
    gateway: SocketAddr,
    link: LinkId,
    last: bool,
    report: Report,
    /// Its bytes on the wire.
    weight: usize,
    /// The gateway's copy of the session.
    session: Bytes,
}

impl<E: Events> Core<E> {
    /// Runs an event; a task goes on with it if it waits.
    pub(super) fn run(self: &Rc<Self>, event: ClientEvent) {
        let facts = EventFacts {
            id: event.client.id,
            gateway: gateway_of(event.client.id),
            link: event.link,
            last: event.work.is_last(),
            report: event.work.report(),
            weight: event.weight,
            session: event.client.session.clone(),
        };
        let error = match guarded(|| self.clients.borrow_mut().begin(&event)) {
            Ok(Begin::Run(session)) => return self.poll(event, session, facts),
            Ok(Begin::Skip) => {
                self.dropped_events.set(self.dropped_events.get() + 1);
                return self.after(&facts);
            }
            Ok(Begin::Unreadable(error)) => error.into(),
            Err(panic) => panic,
        };
        self.failed(&facts, &error);
        self.after(&facts);
    }

    fn poll(self: &Rc<Self>, event: ClientEvent, session: E::Session, facts: EventFacts) {
        let polled = guarded(|| {
            let _during = activity::during(Activity::Event, 0);
            let mut future = Rc::clone(self).handle(event, session);
            let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            (future, polled)
        });
        match polled {
            Ok((_, Poll::Ready(left))) => self.ended(&facts, left),
            Ok((future, Poll::Pending)) => self.go_on(future, facts),
            Err(panic) => {
                self.failed(&facts, &panic);
                self.after(&facts);
            }
        }
    }

    fn go_on(self: &Rc<Self>, future: LocalFuture<Left<E::Session>>, facts: EventFacts) {
        let (core, under_way) = (Rc::clone(self), work::begin());
        tokio::task::spawn_local(async move {
            let _under_way = under_way;
            let future = activity::watched(Activity::Event, 0, future);
            match AssertUnwindSafe(future).catch_unwind().await {
                Ok(left) => core.ended(&facts, left),
                Err(panic) => {
                    core.failed(&facts, &panicked(&*panic));
                    core.after(&facts);
                }
            }
        });
    }

    /// Calls the handler of an event.
    fn handle(
        self: Rc<Self>,
        event: ClientEvent,
        session: E::Session,
    ) -> LocalFuture<Left<E::Session>> {
        Box::pin(async move {
            let mut client = Client::new(&event.client, session, self.hub.clone());
            let (events, hub) = (&self.events, &self.hub);
            let result = match event.work {
                Work::Connect => events.on_connect(hub, &mut client).await,
                Work::Return => events.on_return(hub, &mut client).await,
                Work::WebSocketConnect(request) => {
                    events.on_websocket_connect(hub, &mut client, request).await
                }
                Work::Message(message) => events.on_message(hub, &mut client, message).await,
                Work::Close | Work::Lost => events.on_close(hub, &mut client).await,
            };
            (client.session, result)
        })
    }

    /// A handler has returned.
    fn ended(self: &Rc<Self>, facts: &EventFacts, left: Left<E::Session>) {
        match left {
            (session, Err(error)) => {
                self.failed(facts, &error);
                // With the gateway gone, ours is the last copy: `on_close` is to see it.
                if !facts.last && !self.hub.is_linked(facts.gateway) {
                    self.keep(facts, session);
                }
            }
            (_, Ok(())) if facts.last => self.gone(facts),
            (session, Ok(())) => self.keep(facts, session),
        }
        self.after(facts);
    }

    /// Writes the session back, if the handler has changed it.
    fn keep(&self, facts: &EventFacts, session: E::Session) {
        let end = || self.clients.borrow_mut().end(facts.id, Outcome::Handled(session));
        let changed = match guarded(end) {
            Ok(changed) => changed,
            Err(panic) => return self.failed(facts, &panic),
        };
        let (order, former) = match changed {
            Ok(Some(write)) => write.into_order(facts.id),
            Ok(None) => return,
            Err(error) => return self.failed(facts, &error.into()),
        };
        match self.hub.order(facts.id, order) {
            // Without a link there is no gateway to keep it; what we hold goes to `on_close`.
            Ok(()) | Err(HubError::Unlinked { .. }) => {}
            Err(error) => {
                self.failed_from(facts, &error.into(), former.unwrap_or(facts.session.clone()));
            }
        }
    }

    /// A handler has failed: the client is closed, for what it sees may be wrong from here on.
    fn failed(&self, facts: &EventFacts, error: &BoxError) {
        self.failed_from(facts, error, facts.session.clone());
    }

    /// As [`Core::failed`], with the session as it was.
    fn failed_from(&self, facts: &EventFacts, error: &BoxError, session: Bytes) {
        tracing::error!(client = %facts.id, %error, "handler failed");
        self.handler_errors.set(self.handler_errors.get() + 1);
        if facts.last {
            return self.gone(facts);
        }
        if let Err(error) = self.clients.borrow_mut().end(facts.id, Outcome::Failed(session)) {
            tracing::debug!(client = %facts.id, %error, "session dropped");
        }
        let order = Order::Fail { connection_id: facts.id.connection_id };
        if let Err(error) = self.hub.order(facts.id, order) {
            tracing::debug!(client = %facts.id, %error, "not closed");
        }
    }

    fn gone(&self, facts: &EventFacts) {
        self.unsettled.borrow_mut().ended(facts.id);
        if let Err(error) = self.clients.borrow_mut().end(facts.id, Outcome::Closed) {
            tracing::debug!(client = %facts.id, %error, "session dropped");
        }
    }

    /// An event has been dealt with: counts it. Others that wait have their turn before the client's next.
    fn after(self: &Rc<Self>, facts: &EventFacts) {
        self.handled(facts.gateway, facts.link, facts.report);
        self.credit(facts.link, facts.id, facts.weight);
        if !self.clients.borrow().has_more(facts.id) {
            return self.go_on_with(facts.id);
        }
        self.ready.borrow_mut().push_back(facts.id);
        if !self.taking_turns.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).take_turns());
        }
    }

    /// Runs an event of each client that has more of them, in turn, while there are any.
    async fn take_turns(self: Rc<Self>) {
        loop {
            for _ in 0..EVENTS_A_TURN {
                let next = self.ready.borrow_mut().pop_front();
                let Some(client) = next else { return self.taking_turns.set(false) };
                self.go_on_with(client);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Events will not be handled here: counts them.
    pub(super) fn drop_events(self: &Rc<Self>, gateway: SocketAddr, dropped: &[ClientEvent]) {
        for event in dropped {
            self.dropped_events.set(self.dropped_events.get() + 1);
            self.handled(gateway, event.link, event.work.report());
        }
    }

    /// Begins the next event of a client whose last one has been dealt with.
    fn go_on_with(self: &Rc<Self>, client: ClientId) {
        let gateway = gateway_of(client);
        let next = self.clients.borrow_mut().next(client);
        for event in next.dropped.iter().chain(&next.event) {
            self.unload(gateway, event.link, event.weight);
        }
        self.drop_events(gateway, &next.dropped);
        self.step_drain();
        if let Some(event) = next.event {
            self.run(event);
        }
    }
}

/// Calls code of the application's; a panic of it is an error.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, BoxError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| panicked(&*panic))
}

fn panicked(panic: &(dyn Any + Send)) -> BoxError {
    BoxError::from(format!("panicked: {}", panic_text(panic)))
}
