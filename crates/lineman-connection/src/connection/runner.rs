//! Handlers of users: asynchronous closures, run for one event after the other.
//!
//! A handler's future is polled in place; only one that waits becomes a task. The memory of a
//! message handler's future is used again for the next message, so a handler that does not wait
//! costs no allocation.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::FutureExt;
use lineman_wire::panic_text;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handler::{Event, Handler, Turn};
use super::life::HeardOf;
use super::{CloseReason, Connection, Driver};
use crate::activity::{self, Activity};
use crate::{LocalFuture, Result};

pub(crate) type Simple<D> = Box<dyn Fn(Connection<D>) -> LocalFuture<Result>>;
pub(crate) type With<D, T> = Box<dyn Fn(Connection<D>, T) -> LocalFuture<Result>>;
pub(crate) type Signal<D> = Box<dyn Fn(&Connection<D>)>;
pub(crate) type OnPing<D> = Box<dyn Fn(&Connection<D>, &Bytes)>;

/// The callbacks of a worker. Those that are not set do nothing.
#[doc(hidden)]
pub struct Handlers<D: Driver> {
    pub connect: Option<Simple<D>>,
    pub open: Option<With<D, D::Opening>>,
    pub adopt: Option<Simple<D>>,
    pub data: Option<DataForm>,
    pub message: Option<Box<dyn RunMessage<D>>>,
    pub close: Option<With<D, CloseReason>>,
    pub full: Option<Signal<D>>,
    pub drain: Option<Signal<D>>,
    pub ping: Option<OnPing<D>>,
    pub pong: Option<OnPing<D>>,
}

impl<D: Driver> std::fmt::Debug for Handlers<D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Handlers").finish_non_exhaustive()
    }
}

impl<D: Driver> Default for Handlers<D> {
    fn default() -> Self {
        Self {
            connect: None,
            open: None,
            adopt: None,
            data: None,
            message: None,
            close: None,
            full: None,
            drain: None,
            ping: None,
            pong: None,
        }
    }
}

impl<D: Driver> Handler<D> for Handlers<D> {
    fn on_event(&self, connection: &Connection<D>, event: Event<D>) -> Turn {
        match event {
            Event::Connect | Event::Opened => match &self.connect {
                Some(handler) => {
                    start(connection, Activity::Connect, || handler(connection.clone()))
                }
                None => Turn::Done(Ok(())),
            },
            Event::Open(opening) => match &self.open {
                Some(handler) => start(connection, Activity::WebsocketConnect, || {
                    handler(connection.clone(), opening)
                }),
                None => Turn::Done(Ok(())),
            },
            Event::Adopted => match &self.adopt {
                Some(handler) => start(connection, Activity::Adopt, || handler(connection.clone())),
                None => Turn::Done(Ok(())),
            },
            Event::Message(message) => match &self.message {
                Some(handler) => handler.run(connection, message),
                None => Turn::Done(Ok(())),
            },
            // Every end has its beginning: a service of ours hears of a request that was refused, and of
            // its end; a handler of users does not.
            Event::Close(reason) => match &self.close {
                Some(handler) if connection.entry().life.heard() == HeardOf::Connection => {
                    start(connection, Activity::Close, || handler(connection.clone(), reason))
                }
                Some(_) | None => Turn::Done(Ok(())),
            },
        }
    }

    fn hears_adopted(&self) -> bool {
        self.adopt.is_some()
    }

    fn moves_late(&self) -> bool {
        true
    }

    fn save_data(&self, data: &dyn Any) -> Option<Vec<u8>> {
        (self.data.as_ref()?.save)(data)
    }

    fn restore_data(&self, saved: &[u8]) -> Result<Box<dyn Any>> {
        let form = self.data.as_ref().ok_or("the handlers here keep no data with a connection")?;
        (form.restore)(saved)
    }

    fn data_version(&self) -> u32 {
        self.data.as_ref().map_or(0, |form| form.version)
    }

    fn on_full(&self, connection: &Connection<D>) {
        signal(connection, self.full.as_ref(), |handler| handler(connection));
    }

    fn on_drain(&self, connection: &Connection<D>) {
        signal(connection, self.drain.as_ref(), |handler| handler(connection));
    }

    fn on_ping(&self, connection: &Connection<D>, payload: &Bytes) {
        signal(connection, self.ping.as_ref(), |handler| handler(connection, payload));
    }

    fn on_pong(&self, connection: &Connection<D>, payload: &Bytes) {
        signal(connection, self.pong.as_ref(), |handler| handler(connection, payload));
    }
}

/// How what the application keeps with a connection is written down.
#[doc(hidden)]
#[derive(Debug)]
pub struct DataForm {
    version: u32,
    save: fn(&dyn Any) -> Option<Vec<u8>>,
    restore: fn(&[u8]) -> Result<Box<dyn Any>>,
}

impl DataForm {
    /// Returns the form of values of this type.
    pub fn of<T: Serialize + DeserializeOwned + 'static>(version: u32) -> Self {
        Self {
            version,
            save: |data| rmp_serde::to_vec_named(data.downcast_ref::<T>()?).ok(),
            restore: |saved| Ok(Box::new(rmp_serde::from_slice::<T>(saved)?)),
        }
    }
}

/// A message handler with the spare memory of its futures.
#[doc(hidden)]
pub trait RunMessage<D: Driver> {
    fn run(&self, connection: &Connection<D>, message: D::Inbound) -> Turn;
}

/// Invariant: `spare` holds `None` inside its box, never a future.
struct Runner<H, F> {
    handler: H,
    spare: RefCell<Option<Pin<Box<Option<F>>>>>,
}

/// Makes a runner of a handler.
#[doc(hidden)]
pub fn messages<D, H>(handler: H) -> Box<dyn RunMessage<D>>
where
    D: Driver,
    H: AsyncFn(Connection<D>, D::Inbound) -> Result + 'static,
{
    let handler = Rc::new(handler);
    runner(move |connection, message| {
        let handler = Rc::clone(&handler);
        async move { handler(connection, message).await }
    })
}

/// Makes a callback without further arguments storable.
#[doc(hidden)]
pub fn boxed<D, H>(handler: H) -> Simple<D>
where
    D: Driver,
    H: AsyncFn(Connection<D>) -> Result + 'static,
{
    let handler = Rc::new(handler);
    Box::new(move |connection| {
        let handler = Rc::clone(&handler);
        Box::pin(async move { handler(connection).await })
    })
}

/// Makes a callback with an argument storable.
#[doc(hidden)]
pub fn boxed_with<D, T, H>(handler: H) -> With<D, T>
where
    D: Driver,
    T: 'static,
    H: AsyncFn(Connection<D>, T) -> Result + 'static,
{
    let handler = Rc::new(handler);
    Box::new(move |connection, argument| {
        let handler = Rc::clone(&handler);
        Box::pin(async move { handler(connection, argument).await })
    })
}

/// A function of its own because only inference can name the future's type.
fn runner<D, H, F>(handler: H) -> Box<dyn RunMessage<D>>
where
    D: Driver,
    H: Fn(Connection<D>, D::Inbound) -> F + 'static,
    F: Future<Output = Result> + 'static,
{
    Box::new(Runner { handler, spare: RefCell::new(None) })
}

impl<D, H, F> RunMessage<D> for Runner<H, F>
where
    D: Driver,
    H: Fn(Connection<D>, D::Inbound) -> F,
    F: Future<Output = Result> + 'static,
{
    fn run(&self, connection: &Connection<D>, message: D::Inbound) -> Turn {
        let mut place = self.spare.take().unwrap_or_else(|| Box::pin(None));
        let during = activity::during(Activity::Message, connection.id());
        let polled = catch_unwind(AssertUnwindSafe(|| {
            place.set(Some((self.handler)(connection.clone(), message)));
            poll_place(place.as_mut(), &mut Context::from_waker(Waker::noop()))
        }));
        drop(during);
        match polled {
            Ok(Poll::Ready(result)) => {
                place.set(None);
                self.spare.replace(Some(place));
                Turn::Done(result)
            }
            Ok(Poll::Pending) => {
                let rest = std::future::poll_fn(move |context| poll_place(place.as_mut(), context));
                go_on(connection, Activity::Message, rest)
            }
            Err(panic) => panicked(connection, &*panic),
        }
    }
}

fn poll_place<F: Future<Output = Result>>(
    place: Pin<&mut Option<F>>,
    context: &mut Context<'_>,
) -> Poll<Result> {
    match place.as_pin_mut() {
        Some(future) => future.poll(context),
        None => Poll::Ready(Ok(())),
    }
}

/// Runs a handler's future in place, or leaves it to a task.
fn start<D: Driver>(
    connection: &Connection<D>,
    activity: Activity,
    make: impl FnOnce() -> LocalFuture<Result>,
) -> Turn {
    let during = activity::during(activity, connection.id());
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let mut future = make();
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        (future, polled)
    }));
    drop(during);
    match polled {
        Ok((_, Poll::Ready(result))) => Turn::Done(result),
        Ok((future, Poll::Pending)) => go_on(connection, activity, future),
        Err(panic) => panicked(connection, &*panic),
    }
}

fn go_on<D: Driver>(
    connection: &Connection<D>,
    activity: Activity,
    future: impl Future<Output = Result> + 'static,
) -> Turn {
    let connection = connection.clone();
    let future = activity::watched(activity, connection.id(), future);
    tokio::task::spawn_local(async move {
        match AssertUnwindSafe(future).catch_unwind().await {
            Ok(result) => connection.finished(result),
            Err(panic) => {
                panicked(&connection, &*panic);
                connection.finished(Ok(()));
            }
        }
    });
    Turn::Busy
}

/// Runs a handler that does not wait, in the middle of a send, a flush or a read that has to go on.
fn signal<D: Driver, H>(connection: &Connection<D>, handler: Option<&H>, run: impl FnOnce(&H)) {
    let Some(handler) = handler else { return };
    let _during = activity::during(Activity::Signal, connection.id());
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(handler))) {
        panicked(connection, &*panic);
    }
}

/// A panic costs its own connection and nothing else.
fn panicked<D: Driver>(connection: &Connection<D>, panic: &(dyn Any + Send)) -> Turn {
    let text = panic_text(panic).to_owned();
    tracing::error!(connection = connection.id(), peer = %connection.peer_addr(), panic = text, "handler panicked");
    connection.count_handler_error();
    connection.close(CloseReason::HandlerPanicked(text));
    Turn::Done(Ok(()))
}
