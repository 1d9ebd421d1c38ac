//! HTTP in four processes: an axum `Router` behind a listener that outlives its workers.

use axum::{Router, routing::get};
use lineman::prelude::*;

fn main() -> Result {
    Worker::http("0.0.0.0:2345", Router::new().route("/", get("hello"))).count(4).run()
}
