//! Waiting until every business knows what was bound over a link: asked of its gateway where that is waited for.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use lineman::connection::{Connection, SendError};
use lineman_wire::link::{Codec, Control, Packet};
use tokio::sync::Notify;

use crate::error::HubError;

/// How long it may take: as long as the answer to a question.
const DEADLINE: Duration = Duration::from_secs(5);

/// What was asked over one link.
#[derive(Debug, Default)]
pub(super) struct Settles {
    /// The number of the last question, and of the last one that is answered; they wrap.
    asked: Cell<u32>,
    answered: Cell<u32>,
    /// How many binds and joins there were before the last question.
    claims_asked: Cell<u32>,
    ended: Cell<bool>,
    changed: Notify,
}

impl Settles {
    /// Asks the gateway, after so many binds and joins; returns the wait for its answer, or none if there was
    /// nothing since the last answer.
    ///
    /// # Errors
    /// The link is full or gone.
    pub(super) fn ask(
        self: &Rc<Self>,
        gateway: SocketAddr,
        link: &Connection<Codec>,
        claims: u32,
    ) -> Result<Option<impl Future<Output = Result<(), HubError>> + use<>>, HubError> {
        if self.claims_asked.get() != claims {
            let number = self.asked.get().wrapping_add(1);
            link.send_encoded(Packet::from(Control::Settle(number)).to_bytes()).map_err(
                |error| match error {
                    SendError::Full => HubError::Full { gateway },
                    _ => HubError::Unlinked { gateway },
                },
            )?;
            self.asked.set(number);
            self.claims_asked.set(claims);
        }
        let (settles, number) = (Rc::clone(self), self.asked.get());
        Ok((self.answered.get() != number).then_some(async move {
            let answered = tokio::time::timeout(DEADLINE, settles.until(number)).await;
            match answered {
                Ok(true) => Ok(()),
                Ok(false) => Err(HubError::Unlinked { gateway }),
                Err(_) => Err(HubError::Timeout { gateway, limit: DEADLINE }),
            }
        }))
    }

    /// Waits for an answer; returns false if the link has ended before.
    async fn until(&self, number: u32) -> bool {
        loop {
            let changed = self.changed.notified();
            if self.answered.get().wrapping_sub(number).cast_signed() >= 0 {
                return true;
            }
            if self.ended.get() {
                return false;
            }
            changed.await;
        }
    }

    /// The gateway has answered this question, and those before.
    pub(super) fn answer(&self, number: u32) {
        let unanswered = self.asked.get().wrapping_sub(self.answered.get());
        // An answer to what was not asked is none.
        if self.asked.get().wrapping_sub(number) < unanswered {
            self.answered.set(number);
            self.changed.notify_waiters();
        }
    }

    /// The link has ended.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.changed.notify_waiters();
    }
}
