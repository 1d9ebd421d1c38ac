//! Query strings and cookies as PHP reads them into arrays: `x[]=1&a[b]=c`.

use bytes::Bytes;

use super::{Array, Key, Value};

/// PHP's `max_input_vars`: how many parameters are read; the rest is dropped.
const MOST_PARAMETERS: usize = 1000;

/// A parameter with more brackets is dropped. PHP's `max_input_nesting_level` is 64; with that, a
/// hostile query would nest deeper than the `Limits` under which a peer reads it.
const DEEPEST_NAME: usize = 32;

/// Reads a query string as PHP's `parse_str` does.
///
/// Names and values are URL-decoded; `x[]=1` appends, `a[b]=c` nests, a blank or a dot in a name
/// becomes `_`. Parameters beyond the thousandth and names with more than 32 brackets are dropped.
pub fn parse_query(query: &[u8]) -> Array {
    let mut parameters = Array::new();
    let parts = query.split(|&byte| byte == b'&').filter(|part| !part.is_empty());
    for part in parts.take(MOST_PARAMETERS) {
        let (name, value) = split_once(part, b'=').unwrap_or((part, b""));
        register(&mut parameters, &url_decode(name), url_decode(value));
    }
    parameters
}

/// Reads a `Cookie` header as Workerman does: split at `;`, names trimmed, values as they are.
pub fn parse_cookies(header: &[u8]) -> Array {
    let parts = header.split(|&byte| byte == b';').take(MOST_PARAMETERS);
    parts
        .filter_map(|part| split_once(part, b'='))
        .map(|(name, value)| (name.trim_ascii(), value))
        .collect()
}

/// Puts one parameter where the brackets of its name say.
fn register(parameters: &mut Array, name: &[u8], value: Vec<u8>) {
    let blanks = name.iter().take_while(|&&byte| byte == b' ').count();
    let name = name.get(blanks..).unwrap_or_default();
    // A zero byte ends the name, as it does in PHP.
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    let bracket = name.iter().position(|&byte| byte == b'[').unwrap_or(name.len());
    let (base, brackets) = name.split_at(bracket);
    if base.is_empty() {
        return;
    }
    let mut base: Vec<u8> = base.iter().map(|&byte| plain(byte)).collect();
    if !brackets.is_empty() && !brackets.contains(&b']') {
        // `a[b` never closes: PHP takes it as the name `a_b`.
        base.extend(brackets.iter().map(|&byte| plain(byte)));
    }
    let Some(path) = path(brackets) else { return };
    let mut key = Some(Key::from(Bytes::from(base)));
    let mut array = parameters;
    for next in path {
        let inner = match key {
            Some(key) => array.array_at(key),
            None => array.push(Array::new()).and_then(|n| array.get_mut(n)?.as_array_mut()),
        };
        let Some(inner) = inner else { return };
        array = inner;
        key = next;
    }
    let value = Value::String(Bytes::from(value));
    match key {
        Some(key) => drop(array.insert(key, value)),
        None => drop(array.push(value)),
    }
}

/// Splits `[b][][c]` into keys, `None` for an empty pair; the whole is `None` if it is too deep.
fn path(mut brackets: &[u8]) -> Option<Vec<Option<Key>>> {
    let mut keys = Vec::new();
    while let Some(inside) = brackets.strip_prefix(b"[") {
        let Some((key, rest)) = split_once(inside, b']') else { break };
        if keys.len() == DEEPEST_NAME {
            return None;
        }
        let blank = key.is_empty() || matches!(key, [byte] if byte.is_ascii_whitespace());
        keys.push((!blank).then(|| Key::from(key)));
        brackets = rest;
    }
    Some(keys)
}

fn plain(byte: u8) -> u8 {
    if matches!(byte, b' ' | b'.' | b'[') { b'_' } else { byte }
}

fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|&byte| byte == separator)?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}

fn url_decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escaped = match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                hex(*high).zip(hex(*low)).map(|(high, low)| (high << 4 | low, after))
            }
            _ => None,
        };
        match (escaped, first) {
            (Some((byte, after)), _) => {
                decoded.push(byte);
                rest = after;
            }
            (None, b'+') => decoded.push(b' '),
            (None, byte) => decoded.push(*byte),
        }
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
