//! An answer's body on its way to hyper, in pieces: its exchange lasts as long as it does, and the
//! watch learns whether it is the service or the peer that lets it wait.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::watch::{Exchange, Spoken};

pin_project! {
    /// The service's body, or a text of ours.
    pub(super) struct Answer<B: Body> {
        #[pin]
        body: Option<B>,
        // What the service gave, or the text, as far as hyper has not asked for it.
        rest: Bytes,
        exchange: Exchange,
    }
}

/// Passes on what the service answers.
pub(super) fn answer<B: Body>(response: Response<B>, exchange: Exchange) -> Response<Answer<B>> {
    exchange.answered();
    response.map(|body| Answer { body: Some(body), rest: Bytes::new(), exchange })
}

/// Answers with a status, in words too. Over HTTP/1 it is the connection's last answer: what follows the
/// request cannot be trusted, or is not wanted.
pub(super) fn refuse<B: Body>(
    status: StatusCode,
    spoken: Spoken,
    exchange: Exchange,
) -> Response<Answer<B>> {
    exchange.answered();
    let response = in_words(status);
    let mut response = response.map(|rest| Answer { body: None, rest, exchange });
    if spoken == Spoken::Http1 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Returns an answer of a status and its name, for a person to read.
pub(super) fn in_words(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{status}\n")));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// Answers with a status and nothing else.
pub(super) fn empty<B: Body>(status: StatusCode, exchange: Exchange) -> Response<Answer<B>> {
    exchange.answered();
    let body = Answer { body: None, rest: Bytes::new(), exchange };
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
        if this.rest.is_empty() {
            let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(None) };
            let Some(frame) = ready!(body.poll_frame(context)?) else { return Poll::Ready(None) };
            match frame.into_data() {
                // It counts as it is: a piece of it shares its memory with the rest.
                Ok(data) => *this.rest = this.exchange.count(whole(data)),
                Err(trailers) => {
                    this.exchange.gave();
                    return Poll::Ready(Some(Ok(trailers.map_data(whole))));
                }
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(this.exchange.piece()));
        this.exchange.gave();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
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
