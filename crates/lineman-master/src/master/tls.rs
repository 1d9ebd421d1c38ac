//! What the master does for TLS: makes the keys of session tickets, renews them, and gives them to
//! every worker; at a start with `--self-signed` it makes the certificate. It serves no TLS itself.

use std::path::{Path, PathBuf};
use std::time::Instant;

use lineman_wire::briefing::Predecessor;
use lineman_wire::handover::MoveOrder;
use lineman_wire::ticket_keys::{NAME, ROTATION, TicketKey, TicketKeys};

use super::Plan;
use super::spawn::{WorkerProcess, WorkerProcesses};
use crate::Error;
use crate::control::message::ToWorker;
use crate::self_signed;

#[derive(Debug)]
pub(super) struct MasterTls {
    keys: TicketKeys,
    renewed: Instant,
    self_signed: Option<SelfSigned>,
}

#[derive(Debug)]
struct SelfSigned {
    folder: PathBuf,
    fingerprint: String,
}

impl MasterTls {
    /// Makes the first keys, and the certificate if the plan asks for one.
    pub(super) fn new(plan: &Plan) -> Result<Self, Error> {
        let make = || {
            let folder = plan.folder.path().to_owned();
            self_signed::make(&folder).map(|fingerprint| SelfSigned { folder, fingerprint })
        };
        Ok(Self {
            keys: TicketKeys::first(random_key()?),
            renewed: Instant::now(),
            self_signed: plan.self_signed.then(make).transpose()?,
        })
    }

    /// Returns the folder with the certificate that workers are to use.
    pub(super) fn self_signed_folder(&self) -> Option<&Path> {
        self.self_signed.as_ref().map(|made| &*made.folder)
    }

    /// Returns what the next program is to know: the keys, since when, and the certificate's fingerprint.
    pub(super) fn written(&self) -> (TicketKeys, Instant, Option<String>) {
        (self.keys.clone(), self.renewed, self.fingerprint())
    }

    /// Goes on with what the program before knew; the certificate is in the same folder.
    pub(super) fn go_on(
        &mut self,
        keys: TicketKeys,
        renewed: Instant,
        folder: &Path,
        fingerprint: Option<String>,
    ) {
        let folder = folder.to_owned();
        let self_signed = fingerprint.map(|fingerprint| SelfSigned { folder, fingerprint });
        *self = Self { keys, renewed, self_signed };
    }

    /// Returns the certificate's fingerprint.
    pub(super) fn fingerprint(&self) -> Option<String> {
        self.self_signed.as_ref().map(|made| made.fingerprint.clone())
    }

    /// Gives a process the keys, and with the first ones what is known of the process before it.
    pub(super) fn give_first_keys(&self, worker: &WorkerProcess, predecessor: Option<Predecessor>) {
        let take_over = worker.handover.as_ref().map(|(_, order)| order.clone());
        self.give(worker, predecessor, take_over);
    }

    fn give(
        &self,
        worker: &WorkerProcess,
        predecessor: Option<Predecessor>,
        take_over: Option<MoveOrder>,
    ) {
        let message = ToWorker::TicketKeys { keys: self.keys.clone(), predecessor, take_over };
        if let Err(error) = worker.outbox.send(&message) {
            // Its clients make full handshakes until the next keys.
            tracing::warn!(pid = worker.pid, %error, "a worker was not given the keys of tickets");
        }
    }

    /// Makes a new key when the newest is old enough, and tells all workers.
    pub(super) fn renew(&mut self, now: Instant, workers: &WorkerProcesses) {
        if now.saturating_duration_since(self.renewed) < ROTATION {
            return;
        }
        self.renewed = now;
        match random_key().map(|key| self.keys.rotate(key)) {
            Ok(()) => tracing::debug!("new keys for session tickets"),
            Err(error) => return tracing::error!(%error, "session tickets keep their keys"),
        }
        for worker in workers.values() {
            self.give(worker, None, None);
        }
    }
}

fn random_key() -> Result<TicketKey, Error> {
    let mut key = TicketKey { name: [0; NAME], key: [0; 32] };
    let filled = getrandom::fill(&mut key.name).and_then(|()| getrandom::fill(&mut key.key));
    filled.map_err(|error| Error::Os {
        action: "get random bytes",
        source: std::io::Error::other(error.to_string()),
    })?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::UnixStream;

    use super::*;
    use crate::config::Config;
    use crate::control::frame::{self, Inbox};
    use crate::control::message::FromWorker;
    use crate::master::executable::Image;
    use crate::master::slot::Slots;
    use crate::service::Description;

    /// Returns a worker as the master knows it, and what it is told.
    fn worker() -> (WorkerProcess, Inbox<ToWorker>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (_, outbox) = frame::halves::<FromWorker, ToWorker>(ours);
        let (inbox, _) = frame::halves::<ToWorker, FromWorker>(theirs);
        // No test signals it.
        let handle = std::fs::File::open("/dev/null").unwrap().into();
        let image = Image::open(Path::new("/dev/null"), None).unwrap().into();
        let worker = WorkerProcess::new(1, image, handle, outbox);
        (worker, inbox)
    }

    async fn hear(inbox: &mut Inbox<ToWorker>) -> TicketKeys {
        match inbox.next().await.unwrap() {
            Some(ToWorker::TicketKeys { keys, .. }) => keys,
            other => panic!("no keys but {other:?}"),
        }
    }

    #[tokio::test]
    async fn every_six_hours_there_is_a_new_key_and_one_old_one_is_taken() {
        let start = Instant::now();
        let mut master = MasterTls {
            keys: TicketKeys::first(random_key().unwrap()),
            renewed: start,
            self_signed: None,
        };
        let (worker, mut inbox) = worker();
        master.give_first_keys(&worker, None);
        let mut slots =
            Slots::new(Config::new("echo".to_owned()), vec![Description::new("echo", "text")]);
        let key = slots.next_process(slots.ids().next().unwrap());
        let workers = WorkerProcesses::from([(key, worker)]);
        let mut heard = hear(&mut inbox).await;
        assert_eq!(heard.previous, None);

        let hours = |hours| start + Duration::from_hours(hours);
        let mut used = vec![heard.newest];
        for turn in 1..=3 {
            let due = hours(6 * turn);
            let early = due.checked_sub(Duration::from_nanos(1)).unwrap();
            let before = master.keys.clone();
            master.renew(early, &workers);
            assert_eq!(master.keys, before, "too early");
            master.renew(due, &workers);
            assert_ne!(master.keys, before);
            heard = hear(&mut inbox).await;
            assert_eq!(heard.previous.as_ref(), used.last());
            assert!(!used.contains(&heard.newest));
            used.push(heard.newest);
        }
    }
}
