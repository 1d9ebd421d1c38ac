//! What the master does for TLS: makes the keys of session tickets, renews them, and gives them to
//! every worker; at a start with `--self-signed` it makes the certificate. It serves no TLS itself.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Plan;
use super::slot::Worker;
use super::supervisor::Supervisor;
use crate::Error;
use crate::control::message::ToWorker;
use crate::tls::self_signed;
use crate::tls::tickets::{ROTATION, TicketKeys};

/// The master's part of TLS.
#[derive(Debug)]
pub(super) struct Tls {
    keys: TicketKeys,
    renewed: Instant,
    self_signed: Option<SelfSigned>,
}

#[derive(Debug)]
struct SelfSigned {
    folder: PathBuf,
    fingerprint: String,
}

impl Tls {
    /// Makes the first keys, and the certificate if the plan asks for one.
    pub(super) fn new(plan: &Plan) -> Result<Self, Error> {
        let make = || {
            let folder = plan.folder.path().to_owned();
            self_signed::make(&folder).map(|fingerprint| SelfSigned { folder, fingerprint })
        };
        Ok(Self {
            keys: TicketKeys::random()?,
            renewed: Instant::now(),
            self_signed: plan.self_signed.then(make).transpose()?,
        })
    }

    /// Returns the folder with the certificate that workers are to use.
    pub(super) fn self_signed_folder(&self) -> Option<&Path> {
        self.self_signed.as_ref().map(|made| &*made.folder)
    }

    /// Returns the certificate's fingerprint.
    pub(super) fn fingerprint(&self) -> Option<String> {
        self.self_signed.as_ref().map(|made| made.fingerprint.clone())
    }

    /// Gives the keys to a worker.
    pub(super) fn give_keys(&self, worker: &Worker) {
        if let Err(error) = worker.outbox.send(&ToWorker::TicketKeys { keys: self.keys.clone() }) {
            // Its clients make full handshakes until the next keys.
            tracing::warn!(pid = worker.pid, %error, "a worker was not given the keys of tickets");
        }
    }
}

impl Supervisor {
    /// Makes a new key when the newest is old enough, and tells all workers.
    pub(super) fn renew_ticket_keys(&mut self, now: Instant) {
        if now.saturating_duration_since(self.tls.renewed) < ROTATION {
            return;
        }
        self.tls.renewed = now;
        match self.tls.keys.rotate() {
            Ok(()) => tracing::debug!("new keys for session tickets"),
            Err(error) => return tracing::error!(%error, "session tickets keep their keys"),
        }
        for worker in self.slots.iter().flat_map(|slot| &slot.workers) {
            self.tls.give_keys(worker);
        }
    }
}
