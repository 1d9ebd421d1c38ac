//! The bridge between Rust types and PHP values: typed sessions that PHP code can read, too.
//!
//! Structs and maps are arrays with names as keys, sequences are lists, `None` is null, enums are
//! written as `serde_json` writes them, byte strings are strings.

mod de;
mod key;
mod ser;
mod value;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Limits, Value, serialize, unserialize};

/// Returns `value` as PHP's `serialize` would write the array or scalar it corresponds to.
///
/// # Errors
/// An integer does not fit into 64 signed bits, or a map has keys that are no strings or integers.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    Ok(serialize(&to_value(value)?))
}

/// Returns `value` as a PHP value.
///
/// # Errors
/// As [`to_vec`].
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, Error> {
    value.serialize(ser::ValueSerializer)
}

/// Reads a Rust type from PHP-serialized bytes, within the default [`Limits`].
///
/// # Errors
/// The bytes are refused by [`unserialize`], or do not fit the type.
pub fn from_slice<T: DeserializeOwned>(input: &[u8]) -> Result<T, Error> {
    from_value(unserialize(input, Limits::default())?)
}

/// Reads a Rust type from a PHP value.
///
/// An empty array does as a sequence, as a map and as a struct; where the type leaves it open (an
/// untagged enum, say) it is taken for a map.
///
/// # Errors
/// The value does not fit the type.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(value)
}
