//! What stands between hyper and the service on one connection: rules and bounds first, then the
//! service, and what it must not do to the connection: panic, or answer for a body it never got.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use lineman_wire::forwarded::texts;
use lineman_wire::panic_text;
use tower::ServiceExt;

use super::WebService;
use super::answer::{Answer, answer, empty, refuse};
use super::body::{Body, Fault};
use super::crowd::Crowd;
use super::rules::{Verdict, judge};
use super::strict::Framing;
use super::upgrade::Upgrades;
use super::watch::{Exchange, Spoken, Watch};
use crate::activity::{self, Activity};
use crate::connection::{Address, Front};
use crate::tls::TlsInfo;

/// The service of one connection, as hyper calls it.
pub(super) struct Guarded<S> {
    pub(super) service: S,
    pub(super) watch: Rc<Watch>,
    pub(super) upgrades: Rc<Upgrades>,
    /// Where the connection comes from.
    pub(super) peer: Address,
    /// What TLS has agreed on.
    pub(super) tls: Option<Arc<TlsInfo>>,
    /// What its listener trusts to tell the client's address.
    pub(super) front: Rc<Front>,
    /// The requests under way at this service.
    pub(super) crowd: Rc<Crowd>,
}

type Answering<B> = Pin<Box<dyn Future<Output = Result<Response<Answer<B>>, Infallible>>>>;

impl<S: WebService> hyper::service::Service<Request<Incoming>> for Guarded<S> {
    type Response = Response<Answer<S::Content>>;
    type Error = Infallible;
    type Future = Answering<S::Content>;

    fn call(&self, mut request: Request<Incoming>) -> Answering<S::Content> {
        let mut exchange = Exchange::begin(&self.watch);
        let spoken = self.watch.spoken;
        self.watch.framing.set(Some(Framing::of(&request)));
        let verdict = judge(&mut request, &self.watch.limits);
        if let Verdict::Serve = verdict
            && let Some(upgrade) = self.upgrades.of(&request)
        {
            self.watch.ask_upgrade(upgrade);
            // The connection's task takes it from hyper before anything is answered.
            return Box::pin(async move {
                let _unanswered = exchange;
                pending().await
            });
        }
        self.watch.guest.asked();
        match verdict {
            Verdict::Serve => {}
            Verdict::Pong => return ready(empty(StatusCode::OK, exchange)),
            Verdict::Refuse(status) => {
                tracing::debug!(peer = %self.peer, %status, "request refused");
                return ready(refuse(status, spoken, exchange));
            }
        }
        if self.watch.guest.table().refuses_new() {
            return ready(refuse(StatusCode::SERVICE_UNAVAILABLE, spoken, exchange));
        }
        let Some(client) = self.client(&request) else {
            return ready(refuse(StatusCode::BAD_REQUEST, spoken, exchange));
        };
        let most = self.watch.limits.requests_per_address;
        if let Some(address) = client.ip().filter(|_| most < usize::MAX) {
            let Some(place) = self.crowd.enter(address, most) else {
                self.watch.guest.limited();
                return ready(refuse(StatusCode::TOO_MANY_REQUESTS, spoken, exchange));
            };
            exchange.takes(place);
        }
        request.extensions_mut().insert(client);
        if let Some(tls) = &self.tls {
            request.extensions_mut().insert(Arc::clone(tls));
        }
        Box::pin(serve(self.service.clone(), request, exchange, self.peer.clone(), &self.watch))
    }
}

impl<S> Guarded<S> {
    /// Returns the client's address, as a trusted proxy tells it; `None` where another peer pretends to be
    /// one.
    fn client<B>(&self, request: &Request<B>) -> Option<Address> {
        let Some(proxies) = &self.front.proxies else { return Some(self.peer.clone()) };
        let lines = |name: &str| {
            let values = request.headers().get_all(name).iter();
            values.flat_map(|value| texts(value.as_bytes())).collect()
        };
        let told = proxies.client_of(&self.peer, lines).ok()?;
        let client = told.unwrap_or_else(|| self.peer.clone());
        self.watch.guest.speaks_for(client.clone());
        Some(client)
    }
}

fn ready<B: http_body::Body + 'static>(response: Response<Answer<B>>) -> Answering<B> {
    Box::pin(std::future::ready(Ok(response)))
}

fn serve<S: WebService>(
    service: S,
    request: Request<Incoming>,
    exchange: Exchange,
    peer: Address,
    watch: &Rc<Watch>,
) -> impl Future<Output = Result<Response<Answer<S::Content>>, Infallible>> + use<S> {
    let watch = Rc::clone(watch);
    async move {
        // An empty body cannot fail.
        let fault = (!request.body().is_end_stream()).then(Fault::default);
        let request = request.map(|body| {
            let holder = fault.is_some().then(|| Arc::clone(watch.holder()));
            Body::new(body, &watch.limits, fault.clone().unwrap_or_default(), holder)
        });
        let answered = AssertUnwindSafe(service.oneshot(request)).catch_unwind();
        let answered = activity::watched(Activity::Http, 0, answered).await;
        let status = match &answered {
            Ok(_) => fault.and_then(|fault| fault.status()),
            Err(panic) => {
                tracing::error!(%peer, panic = panic_text(&**panic), "HTTP service panicked");
                Some(StatusCode::INTERNAL_SERVER_ERROR)
            }
        };
        let response = match (status, answered) {
            (None, Ok(Ok(response))) => response,
            (status, _) => {
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return Ok(refuse(status, watch.spoken, exchange));
            }
        };
        let mut response = answer(response, exchange);
        if watch.spoken == Spoken::Http1 && watch.is_last_request() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}
