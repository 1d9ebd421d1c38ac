//! Rules of RFC 6455 that a server can do without, for devices whose programs break them and cannot be changed.
//!
//! The handshake and the decoder ask it. What two servers in a row could read differently is refused
//! whatever is set here: a body, a second `Host` or key, a bare line feed.

use std::str::FromStr;

use super::handshake::HandshakeLimits;

/// The head that [`Concession::LongHead`] allows: what a cookie for each of fifty applications of a site needs,
/// and still not worth a flood.
const LONG_HEAD: HandshakeLimits = HandshakeLimits { max_head_size: 64 * 1024, max_headers: 256 };

/// One rule that is not insisted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Concession {
    /// A text message may have bytes that are no UTF-8 (8.1): it comes as a binary one, with the bytes as they
    /// are. Without this it ends the connection with 1007.
    InvalidText = 1,
    /// The request may speak HTTP/1.0 (4.2.1); the answer is one of HTTP/1.1. Without this: 400.
    Http10 = 2,
    /// The request may have no `Host` (4.2.1); two are refused. Without this: 400.
    MissingHost = 4,
    /// The request may lack `Connection: Upgrade` (4.2.1), and `Upgrade: websocket` if it has a
    /// `Sec-WebSocket-Key`. Without this it is a request for a page: 426, or the HTTP service's.
    ///
    /// A proxy in front does not take such a request for one that ends HTTP on its connection: let none that
    /// shares connections between clients pass it on. It counts for the first request of a connection.
    MissingConnection = 8,
    /// `Sec-WebSocket-Key` may be anything, and empty (4.2.1); it has to be there once. The answer is made of
    /// its bytes. Without this: 400.
    AnyKey = 16,
    /// The request's head may have 64 KiB and 256 lines where the bounds that are set are less: long cookies.
    /// Without this: 431.
    LongHead = 32,
}

impl Concession {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::InvalidText,
        Self::Http10,
        Self::MissingHost,
        Self::MissingConnection,
        Self::AnyKey,
        Self::LongHead,
    ];

    /// Returns its name in settings: `invalid_text`, `http_10`, `missing_host`, `missing_connection`, `any_key`,
    /// `long_head`.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidText => "invalid_text",
            Self::Http10 => "http_10",
            Self::MissingHost => "missing_host",
            Self::MissingConnection => "missing_connection",
            Self::AnyKey => "any_key",
            Self::LongHead => "long_head",
        }
    }
}

/// A name that is none of a [`Concession`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is none of invalid_text, http_10, missing_host, missing_connection, any_key and long_head"
)]
pub struct ConcessionError(String);

impl FromStr for Concession {
    type Err = ConcessionError;

    fn from_str(name: &str) -> Result<Self, ConcessionError> {
        let mut all = Self::ALL.into_iter();
        all.find(|one| one.name() == name).ok_or_else(|| ConcessionError(name.to_owned()))
    }
}

/// Which rules a server does without. Default: none, so that every rule holds.
///
/// ```
/// use lineman_wire::websocket::{Concession, Leniency};
///
/// let leniency = Leniency::none().with(Concession::MissingHost).with(Concession::AnyKey);
/// assert!(leniency.has(Concession::AnyKey) && !leniency.has(Concession::Http10));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Leniency(u8);

impl Leniency {
    /// Insists on every rule.
    pub const fn none() -> Self {
        Self(0)
    }

    /// Makes every concession. PHP's Workerman 5 insists on none of these rules either.
    pub fn all() -> Self {
        Concession::ALL.into_iter().collect()
    }

    /// Adds a concession.
    #[must_use]
    pub const fn with(self, concession: Concession) -> Self {
        Self(self.0 | concession as u8)
    }

    /// Returns whether it has a concession.
    pub const fn has(self, concession: Concession) -> bool {
        self.0 & concession as u8 != 0
    }

    /// Returns the bounds of a request's head.
    pub fn head_limits(self, limits: HandshakeLimits) -> HandshakeLimits {
        if !self.has(Concession::LongHead) {
            return limits;
        }
        HandshakeLimits {
            max_head_size: limits.max_head_size.max(LONG_HEAD.max_head_size),
            max_headers: limits.max_headers.max(LONG_HEAD.max_headers),
        }
    }
}

impl FromIterator<Concession> for Leniency {
    fn from_iter<I: IntoIterator<Item = Concession>>(concessions: I) -> Self {
        concessions.into_iter().fold(Self::none(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_concession_has_a_name_and_a_place_of_its_own() {
        for one in Concession::ALL {
            assert_eq!(one.name().parse(), Ok(one));
            let with = Leniency::none().with(one);
            let has: Vec<_> =
                Concession::ALL.into_iter().filter(|other| with.has(*other)).collect();
            assert_eq!(has, [one]);
            assert!(ConcessionError(String::new()).to_string().contains(one.name()));
        }
        assert!("http_11".parse::<Concession>().is_err());
    }

    #[test]
    fn a_long_head_never_makes_a_bound_smaller() {
        let large = HandshakeLimits { max_head_size: 1 << 20, max_headers: 50 };
        let expected = HandshakeLimits { max_headers: 256, ..large };
        assert_eq!(Leniency::all().head_limits(large), expected);
        assert_eq!(Leniency::none().head_limits(large), large);
    }
}
