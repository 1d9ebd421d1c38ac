//! A cluster's key, which must not get into logs.

use std::fmt;

/// A secret key.
///
/// It cannot be printed and has no `==`: the comparison has to take the same time for every key,
/// which the holder of the right one sees to.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a key; an empty one means that there is none.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// Returns the key itself, to compare or to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Says whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

impl From<String> for Secret {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl From<&str> for Secret {
    fn from(key: &str) -> Self {
        Self(key.to_owned())
    }
}
