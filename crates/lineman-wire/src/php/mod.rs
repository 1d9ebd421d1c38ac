//! PHP's `serialize` format: what sessions, replies and array messages look like between gateways.
//!
//! `link` calls it, and the session code of `lineman-gateway`. It never builds objects: where values are read they
//! are refused by name, as references are; where one serialized array is merged into another they are carried along.

mod array;
mod decode;
mod encode;
mod error;
mod float;
mod json;
mod document;
mod merge;
mod key;
mod query;
mod serde;
mod value;

pub use array::{Array, Iter};
pub use decode::{Limits, unserialize};
pub use encode::{serialize, serialize_into};
pub use error::Error;
pub use key::Key;
pub use merge::{changed_fields, replace_fields, replace_recursive};
pub use query::{parse_cookies, parse_query};
pub use serde::{from_slice, from_value, to_value, to_vec};
pub use value::Value;

pub(crate) use float::write_float;
