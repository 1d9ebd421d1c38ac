//! What the load and the floor agree on: fixed-size messages, so that counting costs nothing.

use lineman_wire::websocket::{Message, encode_message};

/// Bytes of a message.
pub(crate) const MESSAGE: usize = 64;

/// Bytes of a message as a server sends it: a header of two bytes, no mask.
pub(crate) const FRAME: usize = MESSAGE + 2;

/// Returns a masked frame whose message begins with this number, in digits.
pub(crate) fn frame(number: usize) -> Vec<u8> {
    let message = Message::from(format!("{number:06}{}", "x".repeat(MESSAGE - 6)));
    let mut bytes = bytes::BytesMut::new();
    encode_message(&message, Some([1, 2, 3, 4]), &mut bytes);
    bytes.to_vec()
}

/// Returns the number a message begins with.
pub(crate) fn number_of(message: &[u8]) -> usize {
    message.iter().take(6).fold(0, |sum, digit| sum * 10 + usize::from(digit.wrapping_sub(b'0')))
}

/// Returns the room of a joining message: its number. Rooms are few.
pub(crate) fn room_of(message: &[u8]) -> usize {
    number_of(message) % 1024
}
