//! A request's body as a service reads it: within its size, and at a pace that gets somewhere.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{LengthLimitError, Limited};
use hyper::body::Incoming;

use super::limits::Limits;
use super::pace::Pace;
use crate::BoxError;
use crate::connection::{Level, Share};

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
        }
    }
}

impl Body {
    /// Returns whether the process holds so much that a large body is not read.
    fn has_to_wait(&self, context: &Context<'_>) -> bool {
        let Some(holder) = self.holder.as_ref().filter(|_| self.pace.passed() >= FREE) else {
            return false;
        };
        if holder.account().level() < Level::Tight {
            return false;
        }
        holder.account().wait(context);
        // It may have become calm on another thread before that.
        holder.account().level() >= Level::Tight
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
        if this.has_to_wait(context) {
            ready!(this.pace.poll_overdue(context));
            this.fault.set(StatusCode::SERVICE_UNAVAILABLE);
            return Poll::Ready(Some(Err("the server holds too much to read the body".into())));
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
