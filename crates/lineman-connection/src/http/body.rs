//! A request's body as a service reads it: within its size, and at a pace that gets somewhere.

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::limits::Limits;
use super::pace::Pace;
use crate::BoxError;
use crate::connection::{Level, Share};
use crate::limit::finite;

/// The body of a request, bounded by [`Limits`].
///
/// A body that is too large, too slow or malformed fails where it is read; whatever the service makes
/// of that, the client is answered 413, 408 or 400, unless the answer's head has gone out before.
pub struct Body {
    inner: Limited<Incoming>,
    pace: Pace,
    fault: Fault,
    /// What counts its pieces.
    holder: Option<Arc<Share>>,
    /// How long it may wait for the process.
    wait_limit: Duration,
    wait: Option<Wait>,
}

/// A wait until the process holds less, which is not the peer's fault.
struct Wait {
    holder: Arc<Share>,
    ticket: u64,
    timer: Pin<Box<Sleep>>,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.holder.account().leave(self.ticket);
    }
}

/// Of a body as much is read whatever the process holds: most are smaller, and end.
const FREE: u64 = 64 * 1024;

/// What went wrong with a body, for the answer: a status, or 0.
#[derive(Debug, Clone, Default)]
pub(super) struct Fault(Arc<AtomicU16>);

impl Fault {
    fn set(&self, status: StatusCode) {
        self.0.store(status.as_u16(), Ordering::Relaxed);
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.0.load(Ordering::Relaxed)).ok()
    }
}

impl Body {
    pub(super) fn new(
        inner: Incoming,
        limits: &Limits,
        fault: Fault,
        holder: Option<Arc<Share>>,
    ) -> Self {
        let size = usize::try_from(limits.body_size).unwrap_or(usize::MAX);
        Self {
            inner: Limited::new(inner, size),
            pace: Pace::new(limits.body_stall, limits.body_rate),
            fault,
            holder,
            wait_limit: limits.body_stall,
            wait: None,
        }
    }

    /// Waits while the process holds so much that a large body is not read; fails when that takes too long.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let is_large = self.pace.passed() >= FREE;
        let Some(holder) = self.holder.as_ref().filter(|_| is_large) else {
            return Poll::Ready(Ok(()));
        };
        let is_tight = || holder.account().level() >= Level::Tight;
        if is_tight() {
            let (pace, limit) = (&mut self.pace, self.wait_limit);
            let wait = self.wait.get_or_insert_with(|| {
                // The peer's own silence ends here.
                pace.went_on(0);
                let (holder, ticket) = (Arc::clone(holder), holder.account().ticket());
                Wait { holder, ticket, timer: Box::pin(sleep(finite(limit))) }
            });
            holder.account().wait(wait.ticket, context);
            // It may have become calm on another thread before that.
            if is_tight() {
                ready!(wait.timer.as_mut().poll(context));
                self.fault.set(StatusCode::SERVICE_UNAVAILABLE);
                return Poll::Ready(Err("the server holds too much to read the body".into()));
            }
        }
        self.wait = None;
        Poll::Ready(Ok(()))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Err(error) = ready!(this.poll_room(context)) {
            return Poll::Ready(Some(Err(error)));
        }
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) else {
            ready!(this.pace.poll_overdue(context));
            this.fault.set(StatusCode::REQUEST_TIMEOUT);
            return Poll::Ready(Some(Err("the request's body came too slowly".into())));
        };
        match &frame {
            Some(Ok(frame)) => this.pace.went_on(frame.data_ref().map_or(0, Bytes::len)),
            Some(Err(error)) if error.is::<LengthLimitError>() => {
                this.fault.set(StatusCode::PAYLOAD_TOO_LARGE);
            }
            Some(Err(_)) => this.fault.set(StatusCode::BAD_REQUEST),
            None => {}
        }
        let counted = |bytes: Bytes| match &this.holder {
            Some(holder) => holder.count(bytes),
            None => bytes,
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(counted))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Body").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}
