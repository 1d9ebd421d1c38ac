//! Messages and control frames to bytes (RFC 6455, 5 and 6.1).
//!
//! The connection table's write queue calls these with no mask; clients give a fresh random mask
//! for each frame. Nothing here fragments: a message is one frame.

use bytes::{BufMut, BytesMut};

use super::{
    CloseFrame, Error, Message,
    frame::{Header, MAX_CONTROL_PAYLOAD, Opcode},
    mask,
};

/// Appends `message` as one frame.
///
/// A server gives no mask; a client gives four bytes that the server cannot foresee, new ones for
/// each frame (RFC 6455, 5.3 and 10.3).
pub fn encode_message(message: &Message, mask: Option<[u8; 4]>, out: &mut BytesMut) {
    encode_data(message, 0, message.as_bytes(), mask, out);
}

/// Appends a message whose payload an extension may have changed, with the bits that say so.
pub(super) fn encode_data(
    message: &Message,
    reserved: u8,
    payload: &[u8],
    mask: Option<[u8; 4]>,
    out: &mut BytesMut,
) {
    let opcode = match message {
        Message::Text(_) => Opcode::Text,
        Message::Binary(_) => Opcode::Binary,
    };
    encode_frame(opcode, reserved, payload, mask, out);
}

/// Appends a ping (RFC 6455, 5.5.2); the mask is as for [`encode_message`].
///
/// # Errors
/// Fails if the payload is longer than 125 bytes; nothing is appended then.
pub fn encode_ping(payload: &[u8], mask: Option<[u8; 4]>, out: &mut BytesMut) -> Result<(), Error> {
    encode_control(Opcode::Ping, payload, mask, out)
}

/// Appends a pong (RFC 6455, 5.5.3); it answers a ping with the ping's payload.
///
/// # Errors
/// Fails if the payload is longer than 125 bytes, which a decoded ping's never is; nothing is
/// appended then.
pub fn encode_pong(payload: &[u8], mask: Option<[u8; 4]>, out: &mut BytesMut) -> Result<(), Error> {
    encode_control(Opcode::Pong, payload, mask, out)
}

/// Appends a close frame (RFC 6455, 5.5.1); `None` is one without code and reason.
///
/// Closing never fails: a reason too long is cut at a character's border, and a code that must not
/// be sent (such as 1005 or 1006, see [`CloseCode::is_sendable`](super::CloseCode::is_sendable)) is
/// left out together with its reason.
pub fn encode_close(close: Option<&CloseFrame>, mask: Option<[u8; 4]>, out: &mut BytesMut) {
    let mut payload = Vec::new();
    if let Some(close) = close.filter(|close| close.code.is_sendable()) {
        payload.extend_from_slice(&close.code.0.to_be_bytes());
        payload.extend_from_slice(close.reason_that_fits().as_bytes());
    }
    encode_frame(Opcode::Close, 0, &payload, mask, out);
}

fn encode_control(
    opcode: Opcode,
    payload: &[u8],
    mask: Option<[u8; 4]>,
    out: &mut BytesMut,
) -> Result<(), Error> {
    if payload.len() > MAX_CONTROL_PAYLOAD {
        return Err(Error::ControlTooLong);
    }
    encode_frame(opcode, 0, payload, mask, out);
    Ok(())
}

fn encode_frame(
    opcode: Opcode,
    reserved: u8,
    payload: &[u8],
    mask: Option<[u8; 4]>,
    out: &mut BytesMut,
) {
    let header = Header { last: true, reserved, opcode, mask, length: payload.len() };
    out.reserve(header.encoded_len() + payload.len());
    header.encode(out);
    let start = out.len();
    out.put_slice(payload);
    if let Some(key) = mask {
        mask::apply(key, out.get_mut(start..).unwrap_or_default());
    }
}
