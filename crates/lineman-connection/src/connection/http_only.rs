//! The driver of an HTTP listener: it decodes nothing, the connection leaves the table for hyper with
//! its first byte. Until then it has its deadline, its TLS and its limits here, and costs no task.

use std::convert::Infallible;

use bytes::BytesMut;
use lineman_wire::BoxError;

use super::driver::{Driver, Step};
use super::handler::{Event, Handler, Turn};
use super::{CloseReason, Connection, Limits};

pub(super) struct HttpOnly;

impl Driver for HttpOnly {
    type Opening = Infallible;
    type Inbound = Infallible;
    type Outbound = Infallible;

    const HANDSHAKE: bool = true;
    const ALPN: &'static [&'static str] = &["h2", "http/1.1"];

    fn name() -> &'static str {
        "http"
    }

    fn decode(
        &mut self,
        input: &mut BytesMut,
        _output: &mut BytesMut,
        _limits: &Limits,
    ) -> Result<Step<Self>, CloseReason> {
        Ok(if input.is_empty() { Step::Wait } else { Step::Http })
    }

    fn encode(&mut self, message: Infallible, _output: &mut BytesMut) -> Result<(), BoxError> {
        match message {}
    }
}

impl Handler<HttpOnly> for HttpOnly {
    fn on_event(&self, _connection: &Connection<HttpOnly>, _event: Event<HttpOnly>) -> Turn {
        Turn::Done(Ok(()))
    }
}
