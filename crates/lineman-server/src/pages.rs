//! What requests that open no WebSocket get: the files of a folder, or another address.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::PathBuf;

use http::header::LOCATION;
use http::{HeaderValue, Response, StatusCode};
use lineman_gateway::Gateway;
use tower::service_fn;
use tower_http::services::ServeDir;

/// What such requests get.
#[derive(Debug)]
pub(crate) enum Pages {
    /// The files of this folder.
    Folder(PathBuf),
    /// This address, for every path.
    Redirect(HeaderValue),
}

impl Pages {
    /// Has a gateway serve them.
    pub(crate) fn serve(self, gateway: Gateway) -> Gateway {
        match self {
            Self::Folder(folder) => gateway.http(ServeDir::new(folder)),
            Self::Redirect(to) => {
                gateway.http(service_fn(move |_: http::Request<lineman::http::Body>| {
                    redirect(to.clone())
                }))
            }
        }
    }
}

fn redirect(to: HeaderValue) -> Ready<Result<Response<String>, Infallible>> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, to);
    ready(Ok(response))
}
