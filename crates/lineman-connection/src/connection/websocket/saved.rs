//! A WebSocket's state, written down and read back: which step of the handshake, or for an open one
//! its role, what was negotiated, and the frames that bring a new decoder to where the old one is.

use bytes::{Buf as _, BufMut as _, BytesMut};
use lineman_wire::BoxError;
use lineman_wire::websocket::{CloseFrame, Encoder, Extensions, Role};

use super::{Phase, Rare, WebSocket};
use crate::connection::{CannotMove, Limits};

const REQUEST: u8 = 0;
const REFUSED: u8 = 1;
const OPEN: u8 = 2;

impl WebSocket {
    pub(super) fn write(&self, limits: &Limits, output: &mut BytesMut) -> Result<(), CannotMove> {
        let (decoder, rare) = match &self.phase {
            Phase::Request(_) => {
                output.put_u8(REQUEST);
                return Ok(());
            }
            Phase::Refused(_) => {
                output.put_u8(REFUSED);
                return Ok(());
            }
            Phase::Deciding(_) => {
                return Err(CannotMove("its handler decides about the handshake"));
            }
            Phase::Asking(_) => {
                return Err(CannotMove("the server has not answered its handshake"));
            }
            Phase::Open(decoder, rare) => (decoder, rare.as_deref()),
        };
        if !decoder.is_movable() {
            return Err(CannotMove("it is within a compressed message"));
        }
        output.put_u8(OPEN);
        output.put_u8(u8::from(self.role == Role::Client));
        output.put_slice(&decoder.extensions().saved());
        output.put_u8(u8::from(self.sent_close));
        output.put_u16(self.pongs);
        put_text(rare.and_then(|rare| rare.subprotocol.as_deref()), output);
        let peer_close = rare.and_then(|rare| rare.peer_close.as_ref());
        output.put_u16(peer_close.map_or(0, |frame| frame.code.0));
        put_text(peer_close.map(|frame| frame.reason.as_str()), output);
        put(rare.and_then(|rare| rare.unanswered.as_deref()), output);
        // Of what we deflate nothing moves: a deflater that begins anew refers to nothing, which is no less right.
        put(decoder.window().as_deref(), output);
        decoder.write_unfinished(&limits.websocket, output);
        Ok(())
    }

    pub(super) fn read(&mut self, mut saved: &[u8], limits: &Limits) -> Result<(), BoxError> {
        match saved.try_get_u8()? {
            REQUEST => return Ok(()),
            REFUSED => {
                self.phase = Phase::Refused(Box::default());
                return Ok(());
            }
            OPEN => {}
            _ => return Err("it is in a state that is not known here".into()),
        }
        self.role = if saved.try_get_u8()? == 0 { Role::Server } else { Role::Client };
        let extensions = Extensions::from_saved([saved.try_get_u8()?, saved.try_get_u8()?]);
        let extensions = extensions.ok_or("it has an extension that is not known here")?;
        self.sent_close = saved.try_get_u8()? != 0;
        self.pongs = saved.try_get_u16()?;
        self.open(take_text(&mut saved)?, extensions);
        let (code, reason) = (saved.try_get_u16()?, take_text(&mut saved)?);
        if let Some(reason) = reason {
            self.keep_peer_close(Some(&CloseFrame::new(code, reason)));
        }
        if let Some(payload) = take(&mut saved)? {
            self.rare_mut(|rare| rare.unanswered = Some(payload.into()));
        }
        let window = take(&mut saved)?;
        let Phase::Open(decoder, _) = &mut self.phase else { return Ok(()) };
        decoder.restore_window(window.as_deref())?;
        let mut frames = BytesMut::from(saved);
        match decoder.decode(&mut frames, &limits.websocket)? {
            None if frames.is_empty() => Ok(()),
            None | Some(_) => Err("what is unfinished in it is a message of its own".into()),
        }
    }
}

impl Rare {
    pub(super) fn new(role: Role, extensions: Extensions, subprotocol: Option<String>) -> Self {
        Self {
            encoder: Encoder::new(role, extensions),
            subprotocol,
            peer_close: None,
            unanswered: None,
        }
    }
}

fn put_text(text: Option<&str>, output: &mut BytesMut) {
    put(text.map(str::as_bytes), output);
}

fn take_text(saved: &mut &[u8]) -> Result<Option<String>, BoxError> {
    Ok(take(saved)?.map(String::from_utf8).transpose()?)
}

/// They are short: a subprotocol, the reason of a close frame, the payload of a ping, a window.
fn put(bytes: Option<&[u8]>, output: &mut BytesMut) {
    let length = bytes.map_or(u16::MAX, |it| u16::try_from(it.len()).unwrap_or(u16::MAX - 1));
    output.put_u16(length);
    let bytes = bytes.unwrap_or_default();
    output.put_slice(bytes.get(..usize::from(length)).unwrap_or(bytes));
}

fn take(saved: &mut &[u8]) -> Result<Option<Vec<u8>>, BoxError> {
    let length = saved.try_get_u16()?;
    if length == u16::MAX {
        return Ok(None);
    }
    let (bytes, rest) = saved.split_at_checked(length.into()).ok_or("it ends within a text")?;
    *saved = rest;
    Ok(Some(bytes.to_vec()))
}
