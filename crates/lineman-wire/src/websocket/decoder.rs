//! Bytes to events: reads frames, puts fragments together, checks every rule of RFC 6455, 5 on the way.
//!
//! The connection table feeds it what it read. It never reserves memory for what a peer announced,
//! only for what came, and owns no memory at all between two messages.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    CloseFrame, Concession, Error, Leniency, Message, Pool, Utf8Bytes,
    frame::{Extensions, Header, Opcode, Reader, Role},
    mask,
    unfinished::{Progress, TextCheck, Unfinished},
};
use crate::protocol::DEFAULT_MAX_MESSAGE_SIZE;

/// How large what a peer sends may become. One value serves all connections of a listener, which is
/// why a decoder borrows it instead of keeping it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of payload in one frame, as they come. Default: 10 MiB.
    pub max_frame_size: usize,
    /// The most bytes in one message, all its fragments together and inflated. Default: 10 MiB.
    pub max_message_size: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_size: DEFAULT_MAX_MESSAGE_SIZE,
            max_message_size: DEFAULT_MAX_MESSAGE_SIZE,
        }
    }
}

/// What a decoder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole message.
    Message(Message),
    /// A ping; answer with a pong of the same payload (RFC 6455, 5.5.2).
    Ping(Bytes),
    /// A pong, asked for or not (RFC 6455, 5.5.3).
    Pong(Bytes),
    /// The peer closes. Answer with a close frame of the same code, if none was sent before, then
    /// end the connection (RFC 6455, 5.5.1). No event follows.
    Close(Option<CloseFrame>),
}

/// A push decoder for one connection: 16 bytes while no message is unfinished, unless the peer
/// deflates with context takeover, which needs its window.
///
/// See the [module](super) for an example.
#[derive(Debug)]
pub struct Decoder {
    unfinished: Option<Box<Unfinished>>,
    role: Role,
    extensions: Extensions,
    text: TextCheck,
    /// Whether a close frame or an error came, after which nothing counts.
    ended: bool,
}

impl Decoder {
    /// Makes a decoder for the end that reads, without extensions.
    pub fn new(role: Role) -> Self {
        Self::with_extensions(role, Extensions::NONE)
    }

    /// Makes a decoder for the end that reads, with the extensions that the handshake negotiated.
    pub fn with_extensions(role: Role, extensions: Extensions) -> Self {
        let text = TextCheck::default();
        Self { unfinished: None, role, extensions, text, ended: false }
    }

    /// Does without the rules that it checks and the server does not insist on:
    /// [`Concession::InvalidText`].
    #[must_use]
    pub fn lenient(mut self, leniency: Leniency) -> Self {
        let passes = leniency.has(Concession::InvalidText);
        self.text = if passes { TextCheck::AtTheEnd } else { TextCheck::EachByte };
        self
    }

    /// Takes the next event off the front of `input`; call it again until it answers `None`.
    ///
    /// Payloads are consumed as they come, so after `None` at most the 13 bytes of an unfinished
    /// header are left in `input`; give them back with the bytes that follow. The consumed part of
    /// `input` is overwritten. After a close frame or an error, `input` is emptied and the answer is
    /// always `None`.
    ///
    /// # Errors
    /// Fails at the first byte that breaks a rule: send [`Error::close_frame`] and close.
    pub fn decode(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<Event>, Error> {
        self.decode_from(None, input, limits)
    }

    /// Does what [`Decoder::decode`] does, with inflaters that many connections take turns with.
    ///
    /// What is inflated is bounded while it is: beyond [`Limits::max_message_size`] no more than 8 KiB
    /// are ever made, and text is checked as it comes out. Of a message whose last byte has not come,
    /// 64 KiB are inflated at most; what follows waits as it came.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_with(
        &mut self,
        pool: &mut Pool,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<Event>, Error> {
        self.decode_from(Some(pool), input, limits)
    }

    fn decode_from(
        &mut self,
        pool: Option<&mut Pool>,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<Event>, Error> {
        if self.ended {
            input.clear();
            return Ok(None);
        }
        let outcome = self.next_event(pool, input, limits);
        if matches!(outcome, Err(_) | Ok(Some(Event::Close(_)))) {
            self.ended = true;
            self.unfinished = None;
            input.clear();
        }
        outcome
    }

    /// Returns what the handshake negotiated.
    pub fn extensions(&self) -> Extensions {
        self.extensions
    }

    /// Returns whether the decoder is between two messages and so owns no memory but the window of a
    /// peer that takes its context over.
    pub fn is_idle(&self) -> bool {
        self.unfinished.as_ref().is_none_or(|unfinished| unfinished.is_idle())
    }

    /// Returns whether [`Decoder::write_unfinished`] and [`Decoder::window`] say everything: not within a
    /// compressed message, as an inflater's state cannot be written down.
    pub fn is_movable(&self) -> bool {
        self.unfinished.as_ref().is_none_or(|unfinished| !unfinished.is_inflating())
    }

    /// Returns what a peer that takes its context over may refer to: the end of what it has sent, inflated,
    /// at most 32 KiB; `None` where there is nothing of the kind. For a decoder that is
    /// [movable](Decoder::is_movable); what it decodes afterwards is what it would have decoded.
    pub fn window(&self) -> Option<Vec<u8>> {
        self.unfinished.as_ref()?.window()
    }

    /// Goes on with what [`Decoder::window`] returned; call it on a new decoder.
    ///
    /// # Errors
    /// When that was not negotiated, or it is more than a window.
    pub fn restore_window(&mut self, window: Option<&[u8]>) -> Result<(), Error> {
        let Some(window) = window else { return Ok(()) };
        let context = self.extensions.deflates(self.role.peer()).filter(|side| side.takeover);
        let side = context.ok_or(Error::InvalidDeflate)?;
        self.unfinished.get_or_insert_default().restore_window(window, side)
    }

    /// Returns how many bytes of an unfinished message it holds.
    pub fn buffered(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |unfinished| unfinished.buffered())
    }

    /// Returns how many bytes of an unfinished message wait to be inflated, beside what
    /// [`Decoder::buffered`] counts.
    pub fn deflated(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |unfinished| unfinished.deflated())
    }

    /// Returns how many bytes of memory it holds for what is unfinished, an inflater's included.
    pub fn held(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |unfinished| unfinished.held())
    }

    /// Drops an unfinished message: the next bytes have to begin a frame of a new one.
    pub fn forget_unfinished(&mut self) {
        self.unfinished = None;
    }

    /// Appends bytes that bring a new decoder of the same role to this one's state: what a
    /// connection takes along when it moves to another process. The bytes left unread follow them.
    ///
    /// They are frames of RFC 6455 themselves, so the format needs no version. Nothing is appended
    /// by an idle decoder, nor by one that has seen a close frame or an error. One that is not
    /// [movable](Decoder::is_movable) has more to say than it writes: move it later, or close.
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use lineman_wire::websocket::{Decoder, Event, Limits, Message, Role};
    ///
    /// let limits = Limits::default();
    /// let mut old = Decoder::new(Role::Client);
    /// assert_eq!(old.decode(&mut BytesMut::from(&b"\x81\x05Hel"[..]), &limits)?, None);
    ///
    /// let mut wire = BytesMut::new();
    /// old.write_unfinished(&limits, &mut wire);
    /// wire.extend_from_slice(b"lo");
    /// let event = Decoder::new(Role::Client).decode(&mut wire, &limits)?;
    /// assert_eq!(event, Some(Event::Message(Message::from("Hello"))));
    /// # Ok::<(), lineman_wire::websocket::Error>(())
    /// ```
    pub fn write_unfinished(&self, limits: &Limits, out: &mut BytesMut) {
        if let Some(unfinished) = &self.unfinished {
            unfinished.write(self.role, limits, out);
        }
    }

    fn next_event(
        &mut self,
        mut pool: Option<&mut Pool>,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<Event>, Error> {
        loop {
            if let Some(unfinished) = &mut self.unfinished
                && unfinished.is_inside_frame()
            {
                let progress = unfinished.feed(pool.as_deref_mut(), input, limits)?;
                if unfinished.is_empty() {
                    self.unfinished = None;
                }
                match progress {
                    Progress::NeedsMore => return Ok(None),
                    Progress::Event(event) => return Ok(Some(event)),
                    Progress::Fragment => {}
                }
            }
            let unfinished = self.unfinished.as_ref().and_then(|unfinished| unfinished.begun());
            let reader =
                Reader { role: self.role, extensions: self.extensions, limits, unfinished };
            let Some((header, header_len)) = Header::parse(input, reader)? else { return Ok(None) };
            if let Some(event) = take_whole(header, header_len, input, self.text)? {
                return Ok(Some(event));
            }
            input.advance(header_len);
            let context = self.extensions.deflates(self.role.peer());
            let unfinished = self.unfinished.get_or_insert_default();
            unfinished.begin(header, self.text, context, pool.as_deref_mut());
        }
    }
}

/// Takes a frame that is an event by itself and lies in `input` whole: the path of nearly all
/// frames. The payload is copied once, into memory of exactly its size, so that a message which is
/// kept does not hold the read buffer.
fn take_whole(
    header: Header,
    header_len: usize,
    input: &mut BytesMut,
    text: TextCheck,
) -> Result<Option<Event>, Error> {
    if !header.last || header.opcode == Opcode::Continuation || header.reserved != 0 {
        return Ok(None);
    }
    let end = header_len.saturating_add(header.length);
    let Some(payload) = input.get_mut(header_len..end) else { return Ok(None) };
    if let Some(key) = header.mask {
        mask::apply(key, payload);
    }
    let event = event_of(header.opcode, payload, text)?;
    input.advance(end);
    Ok(Some(event))
}

/// Makes the event of a whole frame from its unmasked payload.
pub(super) fn event_of(opcode: Opcode, payload: &[u8], check: TextCheck) -> Result<Event, Error> {
    Ok(match opcode {
        Opcode::Text => match std::str::from_utf8(payload) {
            Ok(text) => Event::Message(Message::Text(Utf8Bytes::from(text))),
            Err(_) if check == TextCheck::AtTheEnd => Event::Message(Message::from(payload)),
            Err(_) => return Err(Error::InvalidUtf8),
        },
        Opcode::Binary | Opcode::Continuation => Event::Message(Message::from(payload)),
        Opcode::Ping => Event::Ping(Bytes::copy_from_slice(payload)),
        Opcode::Pong => Event::Pong(Bytes::copy_from_slice(payload)),
        Opcode::Close => Event::Close(CloseFrame::parse(payload)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_frame_is_taken_at_once() {
        let header =
            |last, opcode, length| Header { last, reserved: 0, opcode, mask: None, length };
        let taken = |header: Header, input: &[u8]| {
            let mut input = BytesMut::from(input);
            let event =
                take_whole(header, 2, &mut input, TextCheck::EachByte).expect("the frame is good");
            (event, input.to_vec())
        };
        let text = Event::Message(Message::from("ab"));
        assert_eq!(taken(header(true, Opcode::Text, 2), b"..ab"), (Some(text.clone()), vec![]));
        assert_eq!(taken(header(true, Opcode::Text, 2), b"..abc"), (Some(text), b"c".to_vec()));
        for (header, input) in [
            (header(true, Opcode::Text, 2), &b"..a"[..]),
            (header(false, Opcode::Text, 2), b"..ab"),
            (header(true, Opcode::Continuation, 2), b"..ab"),
            (Header { reserved: 4, ..header(true, Opcode::Text, 2) }, b"..ab"),
        ] {
            assert_eq!(taken(header, input), (None, input.to_vec()), "{header:?}");
        }
    }

    #[test]
    fn nothing_is_kept_between_two_messages() {
        let (mut decoder, limits) = (Decoder::new(Role::Client), Limits::default());
        for (piece, keeps) in [
            (&b"\x01\x01a"[..], true),
            (b"\x89\x02p", true),
            (b"!", true),
            (b"\x80\x01b", false),
            (b"\x8a\x02p", true),
            (b"!", false),
            (b"\x82\x01c", false),
            (b"\x82\x02c", true),
            (b"d", false),
        ] {
            let mut input = BytesMut::from(piece);
            while decoder.decode(&mut input, &limits).expect("the frames are good").is_some() {}
            assert_eq!(decoder.unfinished.is_some(), keeps, "after {piece:x?}");
        }
    }
}
