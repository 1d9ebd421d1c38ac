//! An answer's body on its way to hyper, in pieces: its exchange lasts as long as it does, and the
//! watch learns whether it is the service or the peer that lets it wait.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
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
        // What the service gave and hyper has not asked for.
        rest: Option<B::Data>,
        exchange: Exchange,
    }
}

/// Passes on what the service answers.
pub(super) fn answer<B: Body>(response: Response<B>, exchange: Exchange) -> Response<Answer<B>> {
    exchange.answered();
    response.map(|body| Answer { body: Some(body), rest: None, exchange })
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
    let body = Answer { body: None, rest: None, exchange };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

impl<B: Body> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        this.exchange.went_on();
        let mut data = if let Some(rest) = this.rest.take() {
            rest
        } else {
            let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(None) };
            let Some(frame) = ready!(body.poll_frame(context)?) else { return Poll::Ready(None) };
            match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => {
                    this.exchange.gave();
                    return Poll::Ready(Some(Ok(trailers.map_data(whole))));
                }
            }
        };
        let piece = data.copy_to_bytes(data.remaining().min(this.exchange.piece()));
        *this.rest = data.has_remaining().then_some(data);
        this.exchange.gave();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or(0, |rest| rest.remaining() as u64);
        let body = self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

fn whole(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}
