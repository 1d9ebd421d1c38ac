//! The page, compiled into the program and served on the gateway's own port.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Nothing from anywhere else, nothing inline, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct File {
    path: &'static str,
    kind: &'static str,
    body: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

static FILES: [File; 8] = [
    File { path: "/", kind: "text/html; charset=utf-8", body: include_str!("../page/index.html") },
    File {
        path: "/style.css",
        kind: "text/css; charset=utf-8",
        body: include_str!("../page/style.css"),
    },
    File { path: "/icon.svg", kind: "image/svg+xml", body: include_str!("../page/icon.svg") },
    File { path: "/app.js", kind: SCRIPT, body: include_str!("../page/app.js") },
    File { path: "/line.js", kind: SCRIPT, body: include_str!("../page/line.js") },
    File { path: "/messages.js", kind: SCRIPT, body: include_str!("../page/messages.js") },
    File { path: "/people.js", kind: SCRIPT, body: include_str!("../page/people.js") },
    File { path: "/wire.js", kind: SCRIPT, body: include_str!("../page/wire.js") },
];

/// Serves the page and its parts.
pub(crate) fn router() -> Router {
    let mut router = Router::new();
    for file in &FILES {
        router = router.route(file.path, get(async move |headers| file.answer(&headers)));
    }
    router.fallback((StatusCode::NOT_FOUND, "there is no such page: the chat is at /\n"))
}

impl File {
    /// A browser asks each time whether its copy is the newest, and mostly hears that it is.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let tag = self.tag();
        let caching = [(CACHE_CONTROL, "no-cache".to_owned()), (ETAG, tag.clone())];
        if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        let safety = [
            (CONTENT_TYPE, self.kind),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
        ];
        (caching, safety, self.body).into_response()
    }

    fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.body.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }
}
