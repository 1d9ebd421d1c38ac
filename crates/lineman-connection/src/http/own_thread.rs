//! An HTTP service on a thread of its own, for a process whose loop must not run users' code: a handler
//! that blocks stalls requests, one that panics fails its own, and neither costs a connection of the loop.
//!
//! Called by `guarded`, as any `tower::Service`. The other thread reads a request's body where it comes
//! from; of an answer the head and the pieces of its body come over bounded channels.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::thread;

use bytes::{Buf, Bytes};
use http::{Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tower::{Service, ServiceExt};

use super::WebService;
use super::answer::in_words;
use crate::{BoxError, LocalFuture};

/// Requests that may wait for the thread; further ones are answered 503. Only a thread that is blocked
/// has any: what runs there is bounded by the connections.
const WAITING: usize = 1024;

/// Pieces of an answer's body that may wait to be sent; then the service has to.
const PIECES: usize = 2;

/// The loop's end of the service. `R` is a request.
pub(super) struct OwnThread<R> {
    calls: mpsc::Sender<RemoteCall<R>>,
}

impl<R> Clone for OwnThread<R> {
    fn clone(&self) -> Self {
        Self { calls: self.calls.clone() }
    }
}

/// A request on its way to the thread. Dropping `answer` says that none will come.
struct RemoteCall<R> {
    request: R,
    answer: oneshot::Sender<Response<Pieces>>,
}

/// What the thread says of an answer's body. The channel's end without one of the last three is a panic.
enum Piece {
    Frame(Frame<Bytes>),
    LastFrame(Frame<Bytes>),
    Failed(BoxError),
    End,
}

impl<R: Send + 'static> OwnThread<R> {
    /// Starts the thread; it ends with the last clone of the handle.
    pub(super) fn start(service: impl WebService<R> + Send) -> io::Result<Self> {
        let (calls, waiting) = mpsc::channel(WAITING);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("http".to_owned()).spawn(move || {
            tokio::task::LocalSet::new().block_on(&runtime, serve(service, waiting));
        })?;
        Ok(Self { calls })
    }
}

impl<R: 'static> Service<R> for OwnThread<R> {
    type Response = Response<Pieces>;
    type Error = Infallible;
    type Future = LocalFuture<Result<Response<Pieces>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (answer, answered) = oneshot::channel();
        let refusal = match self.calls.try_send(RemoteCall { request, answer }) {
            Ok(()) => None,
            Err(TrySendError::Full(_)) => {
                tracing::warn!("the HTTP service is blocked: request refused");
                Some(StatusCode::SERVICE_UNAVAILABLE)
            }
            Err(TrySendError::Closed(_)) => {
                tracing::error!("the HTTP service's thread has ended: request refused");
                Some(StatusCode::INTERNAL_SERVER_ERROR)
            }
        };
        Box::pin(async move {
            if let Some(status) = refusal {
                return Ok(refusal_of(status));
            }
            Ok(answered.await.unwrap_or_else(|_| {
                tracing::error!("HTTP service panicked");
                refusal_of(StatusCode::INTERNAL_SERVER_ERROR)
            }))
        })
    }
}

/// The thread: a task for each request, whose panic ends nothing else.
async fn serve<R: 'static>(service: impl WebService<R>, mut calls: mpsc::Receiver<RemoteCall<R>>) {
    let service = Rc::new(service);
    while let Some(call) = calls.recv().await {
        tokio::task::spawn_local(handle(Rc::clone(&service), call));
    }
}

async fn handle<R, S: WebService<R>>(service: Rc<S>, call: RemoteCall<R>) {
    let RemoteCall { request, mut answer } = call;
    let Ok(response) = tokio::select! {
        biased;
        () = answer.closed() => return,
        response = S::clone(&service).oneshot(request) => response,
    };
    let (head, body) = response.into_parts();
    let (sender, receiver) = mpsc::channel(PIECES);
    let pieces = Pieces { receiver, left: body.size_hint(), ended: body.is_end_stream() };
    if answer.send(Response::from_parts(head, pieces)).is_ok() {
        pass_on(body, &sender).await;
    }
}

/// Passes a body on until it ends or its peer is gone.
async fn pass_on<B>(body: B, sender: &mpsc::Sender<Piece>)
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    loop {
        let frame = tokio::select! {
            biased;
            () = sender.closed() => return,
            frame = body.frame() => frame,
        };
        let piece = match frame {
            None => Piece::End,
            Some(Err(error)) => Piece::Failed(error.into()),
            Some(Ok(frame)) => {
                let frame = frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
                if body.is_end_stream() { Piece::LastFrame(frame) } else { Piece::Frame(frame) }
            }
        };
        let goes_on = matches!(piece, Piece::Frame(_));
        if sender.send(piece).await.is_err() || !goes_on {
            return;
        }
    }
}

/// An answer's body, as the loop gets it.
pub(super) struct Pieces {
    receiver: mpsc::Receiver<Piece>,
    left: SizeHint,
    ended: bool,
}

/// Answers with a status, in words too.
fn refusal_of(status: StatusCode) -> Response<Pieces> {
    in_words(status).map(|text| {
        let (sender, receiver) = mpsc::channel(1);
        let left = SizeHint::with_exact(text.len() as u64);
        // It has room for one.
        let ended = sender.try_send(Piece::LastFrame(Frame::data(text))).is_err();
        Pieces { receiver, left, ended }
    })
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(this.receiver.poll_recv(context));
        this.ended = !matches!(piece, Some(Piece::Frame(_)));
        Poll::Ready(match piece {
            Some(Piece::Frame(frame) | Piece::LastFrame(frame)) => {
                this.left = less(&this.left, frame.data_ref().map_or(0, Bytes::len));
                Some(Ok(frame))
            }
            Some(Piece::Failed(error)) => Some(Err(error)),
            Some(Piece::End) => None,
            None => Some(Err("the HTTP service panicked in its answer".into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left
    }
}

/// Returns what is left of a size.
fn less(size: &SizeHint, taken: usize) -> SizeHint {
    let taken = taken as u64;
    let mut left = SizeHint::new();
    left.set_lower(size.lower().saturating_sub(taken));
    if let Some(upper) = size.upper() {
        left.set_upper(upper.saturating_sub(taken));
    }
    left
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use http_body_util::Full;
    use tokio::sync::Notify;
    use tower::service_fn;

    use super::*;

    /// A body of two pieces; it panics where the second should come, if told to.
    struct TwoPieces {
        panics: bool,
        given: u8,
    }

    impl http_body::Body for TwoPieces {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            self.given += 1;
            assert!(!self.panics || self.given == 1, "as told");
            let piece = Frame::data(Bytes::from_static(b"piece"));
            Poll::Ready((self.given < 3).then_some(Ok(piece)))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(10)
        }
    }

    fn full(text: &'static str) -> Full<Bytes> {
        Full::new(Bytes::from_static(text.as_bytes()))
    }

    async fn ask<R: Send + 'static>(
        service: &OwnThread<R>,
        request: R,
    ) -> (StatusCode, Result<Bytes, BoxError>) {
        let Ok(response) = service.clone().oneshot(request).await;
        let (head, body) = response.into_parts();
        (head.status, body.collect().await.map(http_body_util::Collected::to_bytes))
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_request() {
        let service = OwnThread::start(service_fn(async |request: &'static str| {
            assert_ne!(request, "panic", "as told");
            Ok::<_, Infallible>(Response::new(full(request)))
        }));
        let service = service.unwrap();
        for _ in 0..2 {
            assert_eq!(ask(&service, "panic").await.0, StatusCode::INTERNAL_SERVER_ERROR);
            let (status, body) = ask(&service, "page").await;
            assert_eq!((status, body.unwrap()), (StatusCode::OK, Bytes::from_static(b"page")));
        }
    }

    #[tokio::test]
    async fn a_body_arrives_whole_or_is_broken_off() {
        let service = OwnThread::start(service_fn(async |panics: bool| {
            Ok::<_, Infallible>(Response::new(TwoPieces { panics, given: 0 }))
        }));
        let service = service.unwrap();
        let (status, body) = ask(&service, false).await;
        assert_eq!((status, body.unwrap()), (StatusCode::OK, Bytes::from_static(b"piecepiece")));
        let (status, body) = ask(&service, true).await;
        assert_eq!(status, StatusCode::OK, "the head was sent before");
        body.expect_err("a body that panics has no end");

        let Ok(response) = service.clone().oneshot(false).await;
        let mut body = response.into_body();
        assert_eq!(body.size_hint().exact(), Some(10));
        body.frame().await.unwrap().unwrap();
        assert_eq!(body.size_hint().exact(), Some(5));
    }

    #[tokio::test]
    async fn a_blocked_thread_has_a_bounded_queue() {
        let (began, (unblock, blocked)) = (Arc::new(Notify::new()), std::sync::mpsc::channel());
        let (begins, blocked) = (Arc::clone(&began), Arc::new(Mutex::new(blocked)));
        let service = OwnThread::start(service_fn(move |(): ()| {
            begins.notify_one();
            blocked.lock().unwrap().recv().unwrap();
            async { Ok::<_, Infallible>(Response::new(full("late"))) }
        }));
        let mut service = service.unwrap();
        let first = service.call(());
        within(began.notified()).await;
        let waiting: Vec<_> = (0..WAITING).map(|_| service.call(())).collect();
        assert_eq!(ask(&service, ()).await.0, StatusCode::SERVICE_UNAVAILABLE);
        (0..=WAITING).for_each(|_| unblock.send(()).unwrap());
        for answer in waiting.into_iter().chain([first]) {
            let Ok(response) = within(answer).await;
            assert_eq!(response.status(), StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn without_its_thread_it_refuses() {
        let service = OwnThread::<()> { calls: mpsc::channel(1).0 };
        let (status, _) = within(ask(&service, ())).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn a_request_whose_peer_is_gone_is_dropped() {
        /// Tells of its end.
        struct Held(Arc<Notify>);

        impl Drop for Held {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }

        let (began, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let signals = (Arc::clone(&began), Arc::clone(&ended));
        let service = OwnThread::start(service_fn(move |(): ()| {
            let (begins, held) = (Arc::clone(&signals.0), Held(Arc::clone(&signals.1)));
            async move {
                let _held = held;
                begins.notify_one();
                std::future::pending::<()>().await;
                Ok::<_, Infallible>(Response::new(full("never")))
            }
        }));
        // The thread ends with its last handle.
        let mut service = service.unwrap();
        let answer = service.call(());
        within(began.notified()).await;
        drop(answer);
        within(ended.notified()).await;
    }

    async fn within<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), future).await.expect("it takes too long")
    }
}
