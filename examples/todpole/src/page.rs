//! The page, compiled into the program and served on the gateway's own port.

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use axum::routing::get;

/// Nothing from anywhere else, nothing inline, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Each with its path and its kind.
static FILES: [(&str, &str, &str); 7] = [
    ("/", "text/html; charset=utf-8", include_str!("../page/index.html")),
    ("/style.css", "text/css; charset=utf-8", include_str!("../page/style.css")),
    ("/icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
    ("/app.js", SCRIPT, include_str!("../page/app.js")),
    ("/pond.js", SCRIPT, include_str!("../page/pond.js")),
    ("/painter.js", SCRIPT, include_str!("../page/painter.js")),
    // The line is the chat's: it knows nothing of what is said on it.
    ("/line.js", SCRIPT, include_str!("../../chat/page/line.js")),
];

/// Serves the page and its parts.
pub(crate) fn router() -> Router {
    let mut router = Router::new();
    for (path, kind, body) in FILES {
        let headers = [
            (CONTENT_TYPE, kind),
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        router = router.route(path, get((headers, body)));
    }
    router.fallback((StatusCode::NOT_FOUND, "there is no such page: the pond is at /\n"))
}
