//! `serialize`: a value to bytes, byte for byte as PHP writes them.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Array, Key, Value, write_float};

/// Returns what PHP's `serialize` returns for `value`.
pub fn serialize(value: &Value) -> Vec<u8> {
    let mut buffer = Vec::new();
    put_value(&mut buffer, value);
    buffer
}

/// Appends what PHP's `serialize` returns for `value`.
pub fn serialize_into(value: &Value, buffer: &mut BytesMut) {
    put_value(buffer, value);
}

fn put_value(buffer: &mut impl BufMut, value: &Value) {
    match value {
        Value::Null => buffer.put_slice(b"N;"),
        Value::Bool(false) => buffer.put_slice(b"b:0;"),
        Value::Bool(true) => buffer.put_slice(b"b:1;"),
        Value::Int(number) => put_int(buffer, *number),
        Value::Float(number) => {
            let mut text = String::with_capacity(32);
            write_float(&mut text, *number, 'E');
            buffer.put_slice(b"d:");
            buffer.put_slice(text.as_bytes());
            buffer.put_slice(b";");
        }
        Value::String(text) => put_string(buffer, text),
        Value::Array(array) => put_array(buffer, array),
    }
}

/// Appends `tag:DIGITS`. A session is written after each of its client's events, so the digits go
/// straight into the buffer: `format!` for each value took more than half of a business's time.
pub(super) fn put_number(buffer: &mut impl BufMut, tag: &[u8], number: impl itoa::Integer) {
    buffer.put_slice(tag);
    buffer.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn put_int(buffer: &mut impl BufMut, number: i64) {
    put_number(buffer, b"i:", number);
    buffer.put_slice(b";");
}

fn put_string(buffer: &mut impl BufMut, text: &Bytes) {
    put_number(buffer, b"s:", text.len());
    buffer.put_slice(b":\"");
    buffer.put_slice(text);
    buffer.put_slice(b"\";");
}

fn put_array(buffer: &mut impl BufMut, array: &Array) {
    put_number(buffer, b"a:", array.len());
    buffer.put_slice(b":{");
    for (key, value) in array {
        put_key(buffer, key);
        put_value(buffer, value);
    }
    buffer.put_slice(b"}");
}

pub(super) fn put_key(buffer: &mut impl BufMut, key: &Key) {
    match key {
        Key::Int(number) => put_int(buffer, *number),
        Key::String(text) => put_string(buffer, text),
    }
}
