//! What a decoder owns while a frame or a message is unfinished; boxed, so that most own nothing.
//!
//! The decoder alone uses it. Each piece is unmasked, checked and stored when it comes; the memory
//! follows the bytes that came, never the length that was announced.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    Error, Event, Limits, Message, Pool,
    decoder::event_of,
    deflate::{Inflater, Side},
    frame::{Begun, Header, Opcode, Role},
    mask,
    utf8::PartialText,
};

/// How much of a compressed message is inflated before all of it has come: text that is wrong early
/// fails early, and a few bytes on the wire do not hold a message of the largest size.
const AHEAD: usize = 64 * 1024;

/// What zlib owns to inflate: its window and tables.
const INFLATER: usize = 48 * 1024;

/// The unfinished message, and the frame in whose middle the input ended. Control frames may come
/// between fragments (RFC 6455, 5.4), so there can be both.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    message: Option<PartialMessage>,
    frame: Option<PartialFrame>,
    inflater: Option<Inflater>,
    deflate: Deflated,
    /// What came of a compressed message beyond [`AHEAD`], as it came.
    deflated: Vec<u8>,
    /// How long the frames of the compressed message are together.
    deflated_len: usize,
}

/// What the bytes of the message have to go through, and which side owns the inflater.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Deflated {
    /// They are the message.
    #[default]
    No,
    /// They are deflated, and the message stands by itself: the inflater is the pool's.
    Alone,
    /// They are deflated, and may refer to messages before: the inflater stays.
    WithContext,
}

/// When a text is checked.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextCheck {
    /// When it comes: the first byte that no text could have is refused.
    #[default]
    EachByte,
    /// When it is whole: what is no text is a binary message.
    AtTheEnd,
}

#[derive(Debug)]
enum PartialMessage {
    Text(PartialText),
    /// Bytes that came as text, and may be none.
    Unchecked(Vec<u8>),
    Binary(Vec<u8>),
}

#[derive(Debug)]
struct PartialFrame {
    last: bool,
    opcode: Opcode,
    /// The key, turned to where the payload goes on.
    mask: Option<[u8; 4]>,
    /// How many bytes of payload are still to come.
    remaining: usize,
    /// What came of a control frame's payload; a data frame's goes to the message.
    control: Vec<u8>,
}

/// How far a piece of input led.
#[derive(Debug)]
pub(crate) enum Progress {
    /// The input ended inside the frame.
    NeedsMore,
    /// The frame is finished, but its message is not.
    Fragment,
    /// The frame finished this event.
    Event(Event),
}

impl Unfinished {
    /// Returns whether there is nothing to keep.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_idle() && self.inflater.is_none()
    }

    /// Returns whether neither a message nor a frame is unfinished.
    pub(crate) fn is_idle(&self) -> bool {
        self.message.is_none() && self.frame.is_none()
    }

    /// Returns how many bytes of memory it owns, beside itself.
    pub(crate) fn held(&self) -> usize {
        // Between messages it is part of an open connection that takes its context over, as its entry is.
        let inflater = if self.deflate == Deflated::No { 0 } else { INFLATER };
        self.message.as_ref().map_or(0, PartialMessage::capacity)
            + self.frame.as_ref().map_or(0, |frame| frame.control.capacity())
            + self.deflated.capacity()
            + inflater
    }

    pub(crate) fn is_inflating(&self) -> bool {
        self.deflate != Deflated::No
    }

    /// Returns what the inflater that stays has made last.
    pub(crate) fn window(&self) -> Option<Vec<u8>> {
        self.inflater.as_ref()?.window()
    }

    pub(crate) fn restore_window(&mut self, window: &[u8], side: Side) -> Result<(), Error> {
        let mut inflater = Inflater::with_context(side.window_bits);
        inflater.prime(window)?;
        self.inflater = Some(inflater);
        Ok(())
    }

    pub(crate) fn is_inside_frame(&self) -> bool {
        self.frame.is_some()
    }

    /// Returns what a header's checks need of the unfinished message.
    pub(crate) fn begun(&self) -> Option<Begun> {
        let compressed = self.deflate != Deflated::No;
        let size = |message: &PartialMessage| {
            if compressed { self.deflated_len } else { message.len() }
        };
        self.message.as_ref().map(|message| Begun { size: size(message), compressed })
    }

    /// Returns how many bytes of payload are held.
    pub(crate) fn buffered(&self) -> usize {
        self.message.as_ref().map_or(0, PartialMessage::len)
            + self.frame.as_ref().map_or(0, |frame| frame.control.len())
    }

    /// Returns how many bytes of a compressed message wait to be inflated.
    pub(crate) fn deflated(&self) -> usize {
        self.deflated.len()
    }

    /// Enters a frame whose header has been read and checked; `peer` is how the other end deflates.
    /// Without a pool, an inflater is made for the message and dropped after it.
    pub(crate) fn begin(
        &mut self,
        header: Header,
        check: TextCheck,
        peer: Option<Side>,
        pool: Option<&mut Pool>,
    ) {
        let message = match header.opcode {
            Opcode::Text if check == TextCheck::AtTheEnd => {
                Some(PartialMessage::Unchecked(Vec::new()))
            }
            Opcode::Text => Some(PartialMessage::Text(PartialText::default())),
            Opcode::Binary => Some(PartialMessage::Binary(Vec::new())),
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => None,
        };
        if message.is_some() {
            self.message = message;
            self.begin_inflating(peer.filter(|_| header.reserved != 0), pool);
            self.deflated_len = 0;
        }
        if self.deflate != Deflated::No && !header.opcode.is_control() {
            self.deflated_len += header.length;
        }
        self.frame = Some(PartialFrame {
            last: header.last,
            opcode: header.opcode,
            mask: header.mask,
            remaining: header.length,
            control: Vec::new(),
        });
    }

    fn begin_inflating(&mut self, peer: Option<Side>, pool: Option<&mut Pool>) {
        self.deflate = match peer {
            None => Deflated::No,
            Some(side) if side.takeover => {
                let make = || Inflater::with_context(side.window_bits);
                self.inflater.get_or_insert_with(make);
                Deflated::WithContext
            }
            Some(_) => {
                self.inflater = Some(pool.map_or_else(Inflater::alone, Pool::inflater));
                Deflated::Alone
            }
        };
    }

    /// Consumes what `input` holds of the frame it is inside of.
    pub(crate) fn feed(
        &mut self,
        pool: Option<&mut Pool>,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Progress, Error> {
        let Some(frame) = &mut self.frame else { return Ok(Progress::Fragment) };
        let taken = frame.remaining.min(input.len());
        let piece = input.get_mut(..taken).unwrap_or_default();
        frame.unmask(piece);
        if frame.opcode.is_control() {
            frame.control.extend_from_slice(piece);
        } else if let Some(message) = &mut self.message {
            let to_come = frame.last.then_some(frame.remaining);
            match &mut self.inflater {
                Some(inflater) if self.deflate != Deflated::No => {
                    let ahead = AHEAD.saturating_sub(message.len());
                    let take = |chunk: &[u8]| message.push_bounded(chunk, limits);
                    inflate(inflater, &mut self.deflated, piece, to_come, ahead, take)?;
                }
                _ => message.push(piece, to_come)?,
            }
        }
        input.advance(taken);
        if frame.remaining > 0 {
            return Ok(Progress::NeedsMore);
        }
        self.finish_frame(pool, limits)
    }

    fn finish_frame(
        &mut self,
        pool: Option<&mut Pool>,
        limits: &Limits,
    ) -> Result<Progress, Error> {
        let Some(frame) = self.frame.take() else { return Ok(Progress::Fragment) };
        if frame.opcode.is_control() {
            let event = event_of(frame.opcode, &frame.control, TextCheck::EachByte);
            return event.map(Progress::Event);
        }
        if !frame.last {
            return Ok(Progress::Fragment);
        }
        self.finish_inflating(pool, limits)?;
        match self.message.take() {
            Some(message) => Ok(Progress::Event(Event::Message(message.finish()?))),
            None => Ok(Progress::Fragment),
        }
    }

    fn finish_inflating(&mut self, pool: Option<&mut Pool>, limits: &Limits) -> Result<(), Error> {
        let (Some(inflater), Some(message)) = (&mut self.inflater, &mut self.message) else {
            return Ok(());
        };
        let take = |chunk: &[u8]| message.push_bounded(chunk, limits);
        match self.deflate {
            Deflated::No => {}
            Deflated::WithContext => inflater.finish(take)?,
            Deflated::Alone => {
                inflater.finish_alone(take)?;
                if let (Some(inflater), Some(pool)) = (self.inflater.take(), pool) {
                    pool.take_back(inflater);
                }
            }
        }
        self.deflate = Deflated::No;
        Ok(())
    }

    /// Writes the state as the frames that lead to it, see
    /// [`Decoder::write_unfinished`](super::Decoder::write_unfinished).
    pub(crate) fn write(&self, role: Role, limits: &Limits, out: &mut BytesMut) {
        if let Some(message) = &self.message {
            let (opcode, first, second) = message.parts();
            write_fragments(opcode, [first, second], role, limits.max_frame_size, out);
        }
        let Some(frame) = &self.frame else { return };
        let consumed = frame.control.len();
        let opcode = if frame.opcode.is_control() { frame.opcode } else { Opcode::Continuation };
        let mask = frame.mask.map(|mut key| {
            key.rotate_right(consumed % 4);
            key
        });
        let length = consumed + frame.remaining;
        Header { last: frame.last, reserved: 0, opcode, mask, length }.encode(out);
        let start = out.len();
        out.extend_from_slice(&frame.control);
        if let Some(key) = mask {
            mask::apply(key, out.get_mut(start..).unwrap_or_default());
        }
    }
}

/// Inflates a piece of a message, or keeps it deflated until the last one has come; `to_come` is how
/// many bytes follow it, if that is known.
fn inflate(
    inflater: &mut Inflater,
    deflated: &mut Vec<u8>,
    piece: &[u8],
    to_come: Option<usize>,
    ahead: usize,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    if to_come == Some(0) {
        inflater.push(&std::mem::take(deflated), &mut take)?;
        return inflater.push(piece, take);
    }
    let rest = inflater.push_up_to(ahead, piece, take)?;
    deflated.reserve_exact(growth(deflated.capacity(), deflated.len(), rest.len(), to_come));
    deflated.extend_from_slice(rest);
    Ok(())
}

impl PartialFrame {
    /// Unmasks the next piece of the payload and moves on behind it.
    fn unmask(&mut self, piece: &mut [u8]) {
        if let Some(key) = &mut self.mask {
            mask::apply(*key, piece);
            *key = mask::rotate(*key, piece.len());
        }
        self.remaining -= piece.len();
    }
}

impl PartialMessage {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Unchecked(bytes) | Self::Binary(bytes) => bytes.len(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Text(text) => text.capacity(),
            Self::Unchecked(bytes) | Self::Binary(bytes) => bytes.capacity(),
        }
    }

    fn push(&mut self, piece: &[u8], to_come: Option<usize>) -> Result<(), Error> {
        match self {
            Self::Text(text) => text.push(piece, to_come),
            Self::Unchecked(bytes) | Self::Binary(bytes) => {
                bytes.reserve_exact(growth(bytes.capacity(), bytes.len(), piece.len(), to_come));
                bytes.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// Appends what was inflated, unless that is too much. Its capacity stays within the bound too.
    fn push_bounded(&mut self, piece: &[u8], limits: &Limits) -> Result<(), Error> {
        let limit = limits.max_message_size;
        let room = limit.saturating_sub(self.len());
        // What fits is checked even if more came: the fault that came first is the one that counts.
        let (fits, beyond) = piece.split_at(room.min(piece.len()));
        self.push(fits, Some(room - fits.len()))?;
        if beyond.is_empty() { Ok(()) } else { Err(Error::MessageTooBig { limit }) }
    }

    fn finish(self) -> Result<Message, Error> {
        Ok(match self {
            Self::Text(text) => Message::Text(text.finish()?),
            Self::Unchecked(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Message::Text(text.into()),
                Err(error) => Message::Binary(Bytes::from(error.into_bytes())),
            },
            Self::Binary(bytes) => Message::Binary(Bytes::from(bytes)),
        })
    }

    /// Returns the opcode that began the message, and its payload so far in two pieces.
    fn parts(&self) -> (Opcode, &[u8], &[u8]) {
        match self {
            Self::Text(text) => {
                let (whole, pending) = text.parts();
                (Opcode::Text, whole.as_bytes(), pending)
            }
            Self::Unchecked(bytes) => (Opcode::Text, bytes, &[]),
            Self::Binary(bytes) => (Opcode::Binary, bytes, &[]),
        }
    }
}

/// Returns how much to reserve beyond `len` so that `added` bytes fit.
///
/// It doubles, so that pieces cost linear time, but not past the message's end where `to_come` says
/// where that is: a message of just over half the limit does not take twice its size.
pub(crate) fn growth(capacity: usize, len: usize, added: usize, to_come: Option<usize>) -> usize {
    let least = len.saturating_add(added);
    if least <= capacity {
        return 0;
    }
    let most = to_come.map_or(usize::MAX, |to_come| least.saturating_add(to_come));
    least.max(capacity.saturating_mul(2)).min(most) - len
}

/// Writes a message's beginning as fragments that none of the limits refuses.
fn write_fragments(
    opcode: Opcode,
    pieces: [&[u8]; 2],
    role: Role,
    max_frame_size: usize,
    out: &mut BytesMut,
) {
    // A key of zeros leaves the bytes as they are; this end reads them back itself.
    let mask = (role == Role::Server).then_some([0; 4]);
    Header { last: false, reserved: 0, opcode, mask, length: 0 }.encode(out);
    for piece in pieces.into_iter().flat_map(|piece| piece.chunks(max_frame_size.max(1))) {
        Header {
            last: false,
            reserved: 0,
            opcode: Opcode::Continuation,
            mask,
            length: piece.len(),
        }
        .encode(out);
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::{PartialMessage, PartialText, growth};
    use crate::websocket::{Error, Limits};

    #[test]
    fn memory_follows_what_came() {
        const MEBIBYTE: usize = 1024 * 1024;
        // Three bytes of an announced 10 MiB: three bytes.
        assert_eq!(growth(0, 0, 3, Some(10 * MEBIBYTE)), 3);
        // What fits takes nothing.
        assert_eq!(growth(100, 60, 40, None), 0);
        // Doubling, so that many pieces cost linear time.
        assert_eq!(growth(100, 100, 1, None), 100);
        // But not past the end, where it is known.
        assert_eq!(growth(6 * MEBIBYTE, 6 * MEBIBYTE, MEBIBYTE, Some(MEBIBYTE)), 2 * MEBIBYTE);
        // The largest numbers do not overflow.
        assert_eq!(growth(0, 0, 1, Some(usize::MAX)), 1);
    }

    #[test]
    fn a_message_in_pieces_ends_with_memory_of_its_size() {
        let mut message = PartialMessage::Binary(Vec::new());
        for piece in 1..=1000 {
            message.push(&[7; 100], Some(100_000 - piece * 100)).expect("binary is never refused");
        }
        let PartialMessage::Binary(bytes) = message else { panic!("binary stays binary") };
        assert_eq!((bytes.len(), bytes.capacity()), (100_000, 100_000));
    }

    #[test]
    fn memory_of_an_inflated_message_stays_within_the_bound() {
        let limits = Limits { max_message_size: 1000, ..Limits::default() };
        let capacity = PartialMessage::capacity;
        for mut message in
            [PartialMessage::Binary(Vec::new()), PartialMessage::Text(PartialText::default())]
        {
            for _ in 0..10 {
                message.push_bounded(&[b'a'; 100], &limits).expect("it fits");
                assert!(capacity(&message) <= 1000, "{} bytes", capacity(&message));
            }
            let beyond = message.push_bounded(b"a", &limits);
            assert_eq!(beyond, Err(Error::MessageTooBig { limit: 1000 }));
            assert_eq!((message.len(), capacity(&message)), (1000, 1000));
        }
    }
}
