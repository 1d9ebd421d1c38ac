//! Messages to frames, deflated where both ends agreed on it (RFC 7692, 7.2.1).
//!
//! One for each connection, beside its decoder; 16 bytes, and a window only if the peer agreed to
//! context takeover. It never fragments, and control frames are none of its business.

use bytes::{Bytes, BytesMut};
use flate2::{Compress, FlushCompress};

use super::{Deflate, Pool, Prepared, Side, pool::Deflater};
use crate::websocket::{
    Message,
    encode::{encode_data, encode_message},
    frame::{Extensions, RSV1, Role},
};

/// What a sync flush ends with, and a message leaves out (7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// The sending half of one connection.
///
/// ```
/// use bytes::BytesMut;
/// use lineman_wire::websocket::{Deflate, Encoder, Extensions, Message, Pool, Role};
///
/// let (deflate, mut pool) = (Deflate::new(), Pool::new());
/// // What the handshake negotiated; here nothing.
/// let mut encoder = Encoder::new(Role::Server, Extensions::NONE);
/// let mut wire = BytesMut::new();
/// encoder.encode(&Message::from("hello"), None, &deflate, &mut pool, &mut wire);
/// assert_eq!(&wire[..], b"\x81\x05hello");
/// ```
#[derive(Debug)]
pub struct Encoder {
    /// The deflater with what was sent before; made for the first message that needs it.
    context: Option<Box<Deflater>>,
    side: Option<Side>,
}

impl Encoder {
    /// Makes the encoder of the end `role`, with what the handshake negotiated.
    pub fn new(role: Role, extensions: Extensions) -> Self {
        // A peer may ask for a window so small that zlib has none: nothing is deflated for it then,
        // as RFC 7692, 6 leaves that to the sender, message by message.
        let side =
            extensions.deflates(role).filter(|side| side.window_bits >= super::LEAST_WINDOW_BITS);
        Self { context: None, side }
    }

    /// Returns whether messages may be deflated at all.
    pub fn deflates(&self) -> bool {
        self.side.is_some()
    }

    /// Appends `message` as one frame, deflated if that was negotiated, the message is as large as
    /// [`Deflate::min_size`] and it becomes smaller. The mask is as for
    /// [`encode_message`](crate::websocket::encode_message).
    pub fn encode(
        &mut self,
        message: &Message,
        mask: Option<[u8; 4]>,
        deflate: &Deflate,
        pool: &mut Pool,
        out: &mut BytesMut,
    ) {
        match self.deflated(message, deflate, pool) {
            Some(payload) => encode_data(message, RSV1, &payload, mask, out),
            None => encode_message(message, mask, out),
        }
    }

    /// Returns a server's frame of a message that many get: deflated at most once for all
    /// connections that negotiated the same and take no context over.
    pub fn encode_prepared(
        &mut self,
        prepared: &Prepared,
        deflate: &Deflate,
        pool: &mut Pool,
    ) -> Bytes {
        match self.side {
            Some(side) if side.takeover => {
                let mut frame = BytesMut::new();
                self.encode(prepared.message(), None, deflate, pool, &mut frame);
                frame.freeze()
            }
            Some(side) => {
                let key = (side.window_bits, deflate.level, deflate.min_size);
                prepared.deflated(key, || {
                    let payload = self.deflated(prepared.message(), deflate, pool)?;
                    let mut frame = BytesMut::new();
                    encode_data(prepared.message(), RSV1, &payload, None, &mut frame);
                    Some(frame.freeze())
                })
            }
            None => prepared.plain(),
        }
    }

    /// Returns the payload of the message's deflated form if that is to be sent.
    fn deflated(
        &mut self,
        message: &Message,
        deflate: &Deflate,
        pool: &mut Pool,
    ) -> Option<Vec<u8>> {
        let side = self.side?;
        let bytes = message.as_bytes();
        if bytes.is_empty() || bytes.len() < deflate.min_size {
            return None;
        }
        if side.takeover {
            let make = || Box::new(Deflater::new(side.window_bits, deflate.level));
            let context = self.context.get_or_insert_with(make);
            // Even if it did not shrink: the next message may refer to it.
            let payload = run(&mut context.stream, bytes);
            if payload.is_none() {
                self.context = None;
            }
            return payload;
        }
        pool.with_deflater(side.window_bits, deflate.level, |stream| run(stream, bytes))
            .filter(|payload| payload.len() < bytes.len())
    }
}

/// Deflates up to a sync flush. `None` is a fault of zlib's, which has no reason to fail here.
fn run(stream: &mut Compress, mut input: &[u8]) -> Option<Vec<u8>> {
    // Text often halves; what does not fit is appended.
    let mut output = Vec::with_capacity(input.len() / 2 + 64);
    loop {
        let before = stream.total_in();
        stream.compress_vec(input, &mut output, FlushCompress::Sync).ok()?;
        let consumed = usize::try_from(stream.total_in() - before).ok()?;
        input = input.get(consumed..)?;
        if input.is_empty() && output.len() < output.capacity() {
            break;
        }
        output.reserve(input.len() / 2 + 64);
    }
    if output.ends_with(&TAIL) {
        output.truncate(output.len() - TAIL.len());
    }
    Some(output)
}
