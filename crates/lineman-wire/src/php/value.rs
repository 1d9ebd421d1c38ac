//! A value of PHP, without objects.

use bytes::Bytes;

use super::Array;

/// What PHP's `serialize` can write, apart from objects and references.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A signed integer of 64 bits.
    Int(i64),
    /// A float; `NAN` is never equal to itself, here as there.
    Float(f64),
    /// Any bytes: PHP strings need not be UTF-8.
    String(Bytes),
    /// An ordered map; PHP's lists are arrays with the keys 0, 1, 2, …
    Array(Array),
}

impl Value {
    /// Says whether the value is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Returns the boolean, if the value is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the integer, if the value is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the float, if the value is one; an integer is not.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the bytes, if the value is a string.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Self::String(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the text, if the value is a string in UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// Returns the array, if the value is one.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the array for changing, if the value is one.
    pub fn as_array_mut(&mut self) -> Option<&mut Array> {
        match self {
            Self::Array(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the array itself, or gives the value back.
    ///
    /// # Errors
    /// The value, if it is something else.
    pub fn into_array(self) -> Result<Array, Self> {
        match self {
            Self::Array(value) => Ok(value),
            other => Err(other),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<Bytes> for Value {
    fn from(value: Bytes) -> Self {
        Self::String(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(Bytes::from(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::from(value.as_bytes())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::String(Bytes::copy_from_slice(value))
    }
}

impl From<Array> for Value {
    fn from(value: Array) -> Self {
        Self::Array(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
