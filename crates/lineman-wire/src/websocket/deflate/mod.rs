//! permessage-deflate (RFC 7692): what a service wants, what two ends agreed on, and the machinery.
//!
//! The handshakes negotiate with it, the decoder inflates and the [`Encoder`] deflates with it. It
//! sets no bounds: that of a message is the decoder's.

mod encoder;
mod inflate;
mod negotiate;
mod pool;
mod prepared;

pub use encoder::Encoder;
pub(crate) use inflate::Inflater;
pub(crate) use negotiate::{answer_to, check_answer, offer};
pub use pool::Pool;
pub use prepared::Prepared;

use super::frame::Role;

/// The smallest window that zlib can deflate with; it can inflate what a window of 8 bits made.
const LEAST_WINDOW_BITS: u8 = 9;
/// The largest window, and that of an end which names none (RFC 7692, 7.1.2).
const MOST_WINDOW_BITS: u8 = 15;

/// What a service wants of permessage-deflate. Of what a peer asks for, everything is granted that
/// costs no more than this.
///
/// Without context takeover each message is deflated by itself, and an idle connection owns no
/// window: the default, both ways. With it, small messages that are alike shrink far better, but the
/// connection owns 256 KiB to deflate or 48 KiB to inflate for as long as it lives.
///
/// ```
/// use lineman_wire::websocket::Deflate;
///
/// let small = Deflate::new().server_max_window_bits(12).level(1).min_size(512);
/// let large = Deflate::new().server_context_takeover().client_context_takeover();
/// assert_ne!(small, large);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deflate {
    server: Side,
    client: Side,
    level: u8,
    min_size: usize,
}

impl Deflate {
    /// Returns the defaults: no context takeover, windows of 15 bits, level 6, from 128 bytes on.
    pub const fn new() -> Self {
        let side = Side { takeover: false, window_bits: MOST_WINDOW_BITS };
        Self { server: side, client: side, level: 6, min_size: 128 }
    }

    /// Lets the server deflate with what it sent before, if the client allows it.
    #[must_use]
    pub const fn server_context_takeover(mut self) -> Self {
        self.server.takeover = true;
        self
    }

    /// Lets the client deflate with what it sent before, if the server allows it.
    #[must_use]
    pub const fn client_context_takeover(mut self) -> Self {
        self.client.takeover = true;
        self
    }

    /// Bounds the window that the server deflates with, in bits: 9 to 15, and what is outside is
    /// taken as the nearest. Default 15: 32 KiB.
    #[must_use]
    pub const fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.server.window_bits = window_bits(bits);
        self
    }

    /// Bounds the window that the client deflates with, in bits: 9 to 15, and what is outside is
    /// taken as the nearest. Default 15. A client that does not let itself be bounded (RFC 7692,
    /// 7.1.2.2) uses 15 all the same.
    #[must_use]
    pub const fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.client.window_bits = window_bits(bits);
        self
    }

    /// Sets how hard to try, from 1, the fastest, to 9; what is outside is taken as the nearest.
    /// Default 6, as zlib's.
    #[must_use]
    pub const fn level(mut self, level: u8) -> Self {
        self.level = match level {
            0 => 1,
            1..=9 => level,
            _ => 9,
        };
        self
    }

    /// Sets the size in bytes below which a message is sent as it is. Default 128: shorter ones
    /// hardly shrink by themselves.
    #[must_use]
    pub const fn min_size(mut self, bytes: usize) -> Self {
        self.min_size = bytes;
        self
    }
}

impl Default for Deflate {
    fn default() -> Self {
        Self::new()
    }
}

const fn window_bits(bits: u8) -> u8 {
    match bits {
        0..=LEAST_WINDOW_BITS => LEAST_WINDOW_BITS,
        10..MOST_WINDOW_BITS => bits,
        _ => MOST_WINDOW_BITS,
    }
}

/// How one end deflates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Side {
    /// Whether a message may refer to the ones before it.
    pub(crate) takeover: bool,
    /// 8 to 15.
    pub(crate) window_bits: u8,
}

/// What both ends agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Agreement {
    pub(crate) server: Side,
    pub(crate) client: Side,
}

impl Agreement {
    /// Returns how that end deflates.
    pub(crate) fn of(self, role: Role) -> Side {
        match role {
            Role::Server => self.server,
            Role::Client => self.client,
        }
    }
}
