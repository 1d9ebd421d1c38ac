//! An answer's body on its way to hyper: its exchange lasts as long as it does, and the watch learns
//! whether it is the service or the peer that lets it wait.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::{CONNECTION, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::watch::{Exchange, Spoken};

pin_project! {
    /// The service's body, or none.
    pub(super) struct Answer<B: Body> {
        #[pin]
        body: Option<B>,
        exchange: Exchange,
    }
}

/// Passes on what the service answers.
pub(super) fn answer<B: Body>(response: Response<B>, exchange: Exchange) -> Response<Answer<B>> {
    exchange.answered();
    response.map(|body| Answer { body: Some(body), exchange })
}

/// Answers with a status alone. Over HTTP/1 it is the connection's last answer: what follows the
/// request cannot be trusted, or is not wanted.
pub(super) fn refuse<B: Body>(
    status: StatusCode,
    spoken: Spoken,
    exchange: Exchange,
) -> Response<Answer<B>> {
    let mut response = empty(status, exchange);
    if spoken == Spoken::Http1 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Answers with a status and nothing else.
pub(super) fn empty<B: Body>(status: StatusCode, exchange: Exchange) -> Response<Answer<B>> {
    exchange.answered();
    let body = Answer { body: None, exchange };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

impl<B: Body> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        this.exchange.went_on();
        let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(None) };
        let frame = ready!(body.poll_frame(context));
        if frame.is_some() {
            this.exchange.gave();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
