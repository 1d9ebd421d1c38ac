//! Sessions as bytes: PHP-serialized arrays, so that PHP code can read them, too.
//!
//! A business calls it for each event, the hub and `lineman-client` when they are asked for one.

use std::any::TypeId;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;
use crate::php::{self, Array, Value};

/// Returns a session's bytes; none for `()` and null.
///
/// # Errors
/// A value that PHP's format cannot express; [`Error::SessionShape`].
pub fn encode<S: Serialize + ?Sized>(session: &S) -> Result<Bytes, Error> {
    let fields = fields(session)?;
    Ok(fields.map_or_else(Bytes::new, |fields| php::serialize(&Value::Array(fields)).into()))
}

/// Returns a session's fields; none for `()` and null.
///
/// # Errors
/// As [`encode`].
pub fn fields<S: Serialize + ?Sized>(session: &S) -> Result<Option<Array>, Error> {
    match php::to_value(session)? {
        Value::Null => Ok(None),
        Value::Array(fields) => Ok(Some(fields)),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::String(_) => {
            Err(Error::SessionShape)
        }
    }
}

/// Reads a session; nothing and an empty array are the default, for a client has one of the two
/// until one is set. `()` ignores whatever is there.
///
/// # Errors
/// The bytes are no PHP value, or one that does not fit the type.
pub fn decode<S: DeserializeOwned + Default + 'static>(bytes: &[u8]) -> Result<S, Error> {
    if bytes.is_empty() || bytes == b"a:0:{}" || TypeId::of::<S>() == TypeId::of::<()>() {
        return Ok(S::default());
    }
    Ok(php::from_slice(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Session {
        name: String,
        room: Option<u32>,
    }

    #[test]
    fn a_struct_is_a_php_array_and_comes_back() {
        let session = Session { name: "Ada".to_owned(), room: Some(7) };
        let bytes = encode(&session).unwrap();
        assert_eq!(bytes, r#"a:2:{s:4:"name";s:3:"Ada";s:4:"room";i:7;}"#);
        assert_eq!(decode::<Session>(&bytes).unwrap(), session);
    }

    #[test]
    fn nothing_is_the_default() {
        assert_eq!(decode::<Session>(b"").unwrap(), Session::default());
        assert_eq!(decode::<Session>(b"a:0:{}").unwrap(), Session::default());
        assert_eq!(encode(&()).unwrap(), "");
    }

    #[test]
    fn the_unit_session_ignores_what_others_keep_there() {
        decode::<()>(br#"a:1:{s:3:"uid";i:4;}"#).unwrap();
    }

    #[test]
    fn a_session_is_no_scalar() {
        assert!(matches!(encode("text"), Err(Error::SessionShape)));
    }
}
