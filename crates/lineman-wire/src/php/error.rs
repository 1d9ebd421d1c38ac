//! What can go wrong with PHP values: bad bytes from a peer, or a type PHP cannot hold.

/// Why PHP-serialized bytes were refused, or a conversion from or to a PHP value failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer's value is longer than the limit.
    #[error("php value of {size} bytes is longer than the limit of {limit}")]
    TooLong {
        /// The length of the input, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The peer's value nests arrays deeper than the limit.
    #[error("php value nests arrays deeper than {limit} levels")]
    TooDeep {
        /// The number of levels that are allowed.
        limit: usize,
    },
    /// The peer sent a type that is never built here: objects, enums, references.
    #[error("php value holds {what} at byte {offset}, which is refused")]
    Refused {
        /// The type, with the letter that introduces it.
        what: &'static str,
        /// Where it begins.
        offset: usize,
    },
    /// The peer's bytes are not what `serialize` writes.
    #[error("malformed php value at byte {offset}: expected {expected}")]
    Malformed {
        /// What would have been right there.
        expected: &'static str,
        /// Where the bytes go wrong.
        offset: usize,
    },
    /// The peer's value ends before the input does.
    #[error("php value ends at byte {offset}, but the input goes on")]
    TrailingBytes {
        /// Where the value ends.
        offset: usize,
    },
    /// The user's integer is outside the 64 signed bits of a PHP int.
    #[error("integer {0} does not fit into a php int")]
    IntegerOutOfRange(i128),
    /// The user's map has keys that no PHP array can have.
    #[error("a php array key must be a string or an integer, not {0}")]
    Key(&'static str),
    /// A string that has to become JSON is not UTF-8.
    #[error("a php string that is not utf-8 cannot become json")]
    NotUtf8,
    /// A float that has to become JSON is infinite or not a number.
    #[error("a php float that is not finite cannot become json")]
    NotFinite,
    /// A Rust type and a PHP value do not fit each other; the text is serde's.
    #[error("cannot convert php value: {0}")]
    Convert(String),
}

impl ::serde::ser::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Convert(message.to_string())
    }
}

impl ::serde::de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Convert(message.to_string())
    }
}
