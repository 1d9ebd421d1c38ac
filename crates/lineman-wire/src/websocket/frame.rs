//! The frame's header (RFC 6455, 5.2): parsed with every rule that can be checked on it, and written.
//!
//! The decoder and the encoders call it. It never touches a payload.

use bytes::{BufMut, BytesMut};

use super::{
    Error, Limits,
    deflate::{Agreement, Side},
};

/// The most bytes of payload in a control frame (RFC 6455, 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// Which end this is. A server reads masked frames, a client unmasked ones (RFC 6455, 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The end that was connected to.
    Server,
    /// The end that connected.
    Client,
}

impl Role {
    pub(crate) const fn peer(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}

/// RSV1 among [`Header::reserved`]: the message is compressed (RFC 7692, 6).
pub(crate) const RSV1: u8 = 0b100;

/// What the handshake negotiated: nothing, or permessage-deflate with its parameters.
///
/// The handshake makes it, [`Decoder`](super::Decoder) and [`Encoder`](super::Encoder) take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Extensions {
    deflate: Option<Agreement>,
}

impl Extensions {
    /// No extension: every reserved bit is an error.
    pub const NONE: Self = Self { deflate: None };

    pub(crate) const fn with_deflate(agreement: Agreement) -> Self {
        Self { deflate: Some(agreement) }
    }

    /// Returns what [`Extensions::from_saved`] reads, for a connection that moves: the windows of both
    /// ends, and which of them takes its context over.
    pub fn saved(self) -> [u8; 2] {
        let Some(Agreement { server, client }) = self.deflate else { return [0; 2] };
        let window = |side: Side| side.window_bits.saturating_sub(7) & 0xf;
        let takeover = u8::from(server.takeover) << 1 | u8::from(client.takeover);
        [window(server) << 4 | window(client), takeover]
    }

    /// Reads what [`Extensions::saved`] returned; `None` for anything else.
    pub fn from_saved(saved: [u8; 2]) -> Option<Self> {
        let [windows, takeover @ 0..=3] = saved else { return None };
        if windows == 0 {
            return (takeover == 0).then_some(Self::NONE);
        }
        let side = |window: u8, takeover: u8| {
            let window_bits = window + 7;
            let takeover = takeover != 0;
            (8..=15).contains(&window_bits).then_some(Side { takeover, window_bits })
        };
        let agreement = Agreement {
            server: side(windows >> 4, takeover & 2)?,
            client: side(windows & 0xf, takeover & 1)?,
        };
        Some(Self::with_deflate(agreement))
    }

    /// Returns whether permessage-deflate was negotiated.
    pub const fn has_deflate(self) -> bool {
        self.deflate.is_some()
    }

    /// Returns how the end `role` deflates, if it may.
    pub(crate) fn deflates(self, role: Role) -> Option<Side> {
        self.deflate.map(|agreement| agreement.of(role))
    }
}

/// What a sender that flushes a small message now and then needs beyond its bytes.
const BLOCK_ENDS: usize = 1024;

/// What a frame is (RFC 6455, 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// A further fragment of the message.
    Continuation,
    /// Text, or the first fragment of it.
    Text,
    /// Binary data, or the first fragment of it.
    Binary,
    /// The last frame of a connection.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping, or says "still here".
    Pong,
}

impl Opcode {
    /// Returns whether this is a control frame (RFC 6455, 5.5).
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    const fn from_bits(bits: u8) -> Result<Self, Error> {
        Ok(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            reserved => return Err(Error::ReservedOpcode(reserved)),
        })
    }
}

/// A frame's header. Most programs need [`encode_message`](super::encode_message) instead; this is
/// for those which send fragments, and for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether this is the message's last frame (FIN).
    pub last: bool,
    /// The three reserved bits, RSV1 being 4.
    pub reserved: u8,
    /// What the frame is.
    pub opcode: Opcode,
    /// The key that the payload is masked with, if it is.
    pub mask: Option<[u8; 4]>,
    /// The payload's length in bytes.
    pub length: usize,
}

impl Header {
    /// Appends the header, its length in the shortest form; the masked payload must follow.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(self.last) << 7 | (self.reserved & 0b111) << 4 | self.opcode.bits());
        let masked = u8::from(self.mask.is_some()) << 7;
        if let Ok(short @ 0..=125) = u8::try_from(self.length) {
            out.put_u8(masked | short);
        } else if let Ok(length) = u16::try_from(self.length) {
            out.put_u8(masked | 0x7E);
            out.put_u16(length);
        } else {
            out.put_u8(masked | 0x7F);
            out.put_u64(self.length as u64);
        }
        if let Some(key) = self.mask {
            out.put_slice(&key);
        }
    }

    /// Returns how many bytes [`encode`](Header::encode) appends: 2 to 14.
    pub fn encoded_len(&self) -> usize {
        let length = match self.length {
            0..=125 => 0,
            126..=0xFFFF => 2,
            _ => 8,
        };
        2 + length + if self.mask.is_some() { 4 } else { 0 }
    }

    /// Parses the header at the front of `input`, and returns it with its own size.
    ///
    /// `None` means that the header is not whole yet. Each rule is checked as soon as the bytes it
    /// needs are there, in the bytes' order, so that the answer does not depend on how they came.
    pub(crate) fn parse(input: &[u8], reader: Reader<'_>) -> Result<Option<(Self, usize)>, Error> {
        let Some(&first) = input.first() else { return Ok(None) };
        let (last, reserved) = (first & 0x80 != 0, first >> 4 & 0b111);
        if reserved & !reader.allowed_bits(first & 0x0F) != 0 {
            return Err(Error::ReservedBits);
        }
        let opcode = Opcode::from_bits(first & 0x0F)?;
        reader.check_order(opcode, last)?;

        let Some(&second) = input.get(1) else { return Ok(None) };
        let masked = second & 0x80 != 0;
        if masked != (reader.role == Role::Server) {
            return Err(Error::WrongMask(reader.role));
        }
        let short = second & 0x7F;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL_PAYLOAD {
            return Err(Error::ControlTooLong);
        }
        let Some((length, end)) = parse_length(short, input)? else { return Ok(None) };
        let length = reader.check_length(opcode, reserved, length)?;

        if !masked {
            return Ok(Some((Self { last, reserved, opcode, mask: None, length }, end)));
        }
        let Some(&key) = input.get(end..).and_then(|rest| rest.first_chunk::<4>()) else {
            return Ok(None);
        };
        Ok(Some((Self { last, reserved, opcode, mask: Some(key), length }, end + 4)))
    }
}

/// What the reading end knows when a header arrives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) role: Role,
    pub(crate) extensions: Extensions,
    pub(crate) limits: &'a Limits,
    /// The message that is still unfinished, if there is one.
    pub(crate) unfinished: Option<Begun>,
}

/// What counts of an unfinished message when its next frame arrives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    /// How much has come; of a compressed one, on the wire.
    pub(crate) size: usize,
    /// Whether it is compressed, so that a frame's length says nothing about the message's.
    pub(crate) compressed: bool,
}

impl Reader<'_> {
    /// Returns the reserved bits that the frame may have: the first of a message says whether it is
    /// compressed (RFC 7692, 6.1).
    fn allowed_bits(self, opcode: u8) -> u8 {
        if self.extensions.has_deflate() && matches!(opcode, 0x1 | 0x2) { RSV1 } else { 0 }
    }

    /// Checks that the frame may come now (RFC 6455, 5.4).
    fn check_order(self, opcode: Opcode, last: bool) -> Result<(), Error> {
        match (opcode, self.unfinished) {
            (Opcode::Continuation, None) => Err(Error::LoneContinuation),
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(Error::UnfinishedMessage),
            _ if opcode.is_control() && !last => Err(Error::FragmentedControl),
            _ => Ok(()),
        }
    }

    fn check_length(self, opcode: Opcode, reserved: u8, announced: u64) -> Result<usize, Error> {
        let limit =
            if opcode.is_control() { MAX_CONTROL_PAYLOAD } else { self.limits.max_frame_size };
        let length = usize::try_from(announced)
            .ok()
            .filter(|&length| length <= limit)
            .ok_or(Error::FrameTooBig { length: announced, limit })?;
        if opcode.is_control() {
            return Ok(length);
        }
        let compressed = reserved != 0 || self.unfinished.is_some_and(|begun| begun.compressed);
        let limit = self.limits.max_message_size;
        // A compressed message is counted while it is inflated; on the wire its bytes are one eighth
        // longer at most (RFC 1951, 3.2.6: nine bits for a byte), and the ends of a few blocks.
        let most = if compressed { limit.saturating_add(limit / 8 + BLOCK_ENDS) } else { limit };
        if length > most.saturating_sub(self.unfinished.map_or(0, |begun| begun.size)) {
            return Err(Error::MessageTooBig { limit });
        }
        Ok(length)
    }
}

/// Returns the payload's length and where in `input` its field ends. The shortest form is the only
/// one (RFC 6455, 5.2).
fn parse_length(short: u8, input: &[u8]) -> Result<Option<(u64, usize)>, Error> {
    let extended = input.get(2..).unwrap_or_default();
    let (length, end, least) = match short {
        0x7E => match extended.first_chunk() {
            Some(&bytes) => (u64::from(u16::from_be_bytes(bytes)), 4, 126),
            None => return Ok(None),
        },
        0x7F => match extended.first_chunk() {
            Some(&bytes) => (u64::from_be_bytes(bytes), 10, 0x1_0000),
            None => return Ok(None),
        },
        _ => (u64::from(short), 2, 0),
    };
    if length < least {
        return Err(Error::LengthNotMinimal);
    }
    Ok(Some((length, end)))
}
