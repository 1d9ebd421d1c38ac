//! What a peer and the handlers of a pair say to each other, in each protocol that is tried.

use lineman_wire::framed::Framed;
use lineman_wire::text::Text;
use lineman_wire::websocket::{Message, encode_message};

use super::super::websockets::REQUEST;
use super::super::*;

/// A protocol that a pair is tried in.
pub(super) trait Speech: Driver {
    /// What the peer says before anything else.
    const OPENING: &'static str = "";
    /// What the wire form of a long text has beside the text, as the peer sends it.
    const OVERHEAD: usize;

    fn make() -> Self;
    fn message(text: &str) -> Self::Outbound;
    fn text(message: Self::Inbound) -> String;
    /// Returns the peer's wire form.
    fn said(text: &str) -> BytesMut;
    /// Returns our wire form.
    fn sent(text: &str) -> BytesMut;
}

impl Speech for Text {
    const OVERHEAD: usize = 1;

    fn make() -> Self {
        Self::default()
    }

    fn message(text: &str) -> String {
        text.to_owned()
    }

    fn text(line: String) -> String {
        line
    }

    fn said(text: &str) -> BytesMut {
        BytesMut::from(format!("{text}\n").as_bytes())
    }

    fn sent(text: &str) -> BytesMut {
        Self::said(text)
    }
}

impl Speech for Framed {
    const OVERHEAD: usize = 4;

    fn make() -> Self {
        Self::default()
    }

    fn message(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn text(frame: Bytes) -> String {
        String::from_utf8_lossy(&frame).into_owned()
    }

    fn said(text: &str) -> BytesMut {
        let mut bytes = BytesMut::new();
        let encoded =
            lineman_wire::Protocol::encode(&mut Self::default(), Self::message(text), &mut bytes);
        encoded.expect("a short frame");
        bytes
    }

    fn sent(text: &str) -> BytesMut {
        Self::said(text)
    }
}

impl Speech for WebSocket {
    const OPENING: &'static str = REQUEST;
    /// Two bytes, two of length, four of the mask.
    const OVERHEAD: usize = 8;

    fn make() -> Self {
        Self::server()
    }

    fn message(text: &str) -> Message {
        text.into()
    }

    fn text(message: Message) -> String {
        message.as_text().expect("the peer says text").to_owned()
    }

    fn said(text: &str) -> BytesMut {
        let mut bytes = BytesMut::new();
        encode_message(&text.into(), Some([7, 0, 255, 3]), &mut bytes);
        bytes
    }

    fn sent(text: &str) -> BytesMut {
        let mut bytes = BytesMut::new();
        encode_message(&text.into(), None, &mut bytes);
        bytes
    }
}
