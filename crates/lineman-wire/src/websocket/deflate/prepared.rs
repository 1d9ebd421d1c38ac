//! A message for many connections: encoded once, and deflated once for all that negotiated the same.
//!
//! A broadcast makes one and gives it to each connection's [`Encoder`](super::Encoder). It is of
//! servers only, since a client's frames have a mask of their own each.

use std::cell::{OnceCell, RefCell};

use bytes::Bytes;

use crate::websocket::Message;

/// Window bits, level and least size: what a deflated form depends on.
type Key = (u8, u8, usize);

/// A message and its frames, each made when the first connection needs it.
#[derive(Debug)]
pub struct Prepared {
    message: Message,
    plain: OnceCell<Bytes>,
    /// Bounded by the windows there are, times the services that send it: a handful.
    deflated: RefCell<Vec<(Key, Bytes)>>,
}

impl Prepared {
    /// Makes it; nothing is encoded yet.
    pub fn new(message: impl Into<Message>) -> Self {
        let message = message.into();
        Self { message, plain: OnceCell::new(), deflated: RefCell::default() }
    }

    /// Returns the message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Returns the frame that is not deflated.
    pub fn plain(&self) -> Bytes {
        self.plain.get_or_init(|| self.message.to_frame()).clone()
    }

    /// Returns the frame for connections of that kind; `None` from `make` stands for the plain one.
    pub(super) fn deflated(&self, key: Key, make: impl FnOnce() -> Option<Bytes>) -> Bytes {
        let known = self.deflated.borrow().iter().find(|(other, _)| *other == key).cloned();
        if let Some((_, frame)) = known {
            return frame;
        }
        let frame = make().unwrap_or_else(|| self.plain());
        self.deflated.borrow_mut().push((key, frame.clone()));
        frame
    }
}

impl From<Message> for Prepared {
    fn from(message: Message) -> Self {
        Self::new(message)
    }
}
