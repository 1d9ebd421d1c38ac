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
            let mut text = String::from("d:");
            write_float(&mut text, *number, 'E');
            text.push(';');
            buffer.put_slice(text.as_bytes());
        }
        Value::String(text) => put_string(buffer, text),
        Value::Array(array) => put_array(buffer, array),
    }
}

fn put_int(buffer: &mut impl BufMut, number: i64) {
    buffer.put_slice(format!("i:{number};").as_bytes());
}

fn put_string(buffer: &mut impl BufMut, text: &Bytes) {
    buffer.put_slice(format!("s:{}:\"", text.len()).as_bytes());
    buffer.put_slice(text);
    buffer.put_slice(b"\";");
}

fn put_array(buffer: &mut impl BufMut, array: &Array) {
    buffer.put_slice(format!("a:{}:{{", array.len()).as_bytes());
    for (key, value) in array {
        match key {
            Key::Int(number) => put_int(buffer, *number),
            Key::String(text) => put_string(buffer, text),
        }
        put_value(buffer, value);
    }
    buffer.put_slice(b"}");
}
