//! The giving end: everything that can move is told to the other process, and let go of behind the commit.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use lineman_wire::handover::{HandedOver, MoveOrder};
use rustc_hash::FxHashMap;

use super::fault::{self, FaultPoint};
use super::pair::{DESCRIPTORS, Frame, PairEnd, StillLimit};
use super::words::{
    Agreed, FrameKind, HowMany, Introduction, NotAgreed, Numbers, Records, Sums, read,
};
use super::{GivenUp, Party};
use crate::connection::entry::{AnyEntry, Weight};
use crate::connection::{CannotMove, Table};

/// A batch of records is sent when it has grown to this many bytes: its connections are copied within one
/// turn of the loop.
const BATCH: usize = 256 * 1024;

/// So many batches may be under way: they are in the kernel, and so are their descriptors.
const WINDOW: usize = 4;

/// The most bytes that may wait on a connection which moves: a frame has room for that many, and a batch.
const RECORD: usize = 8 * 1024 * 1024;

const NO_ROOM: CannotMove = CannotMove("the process has no room for another descriptor");

/// How often those are looked at that could not move yet: soon for what follows, and seldom for the loop.
const LOOK: Duration = Duration::from_millis(20);

/// How long a connection's part of the service's state may take to be restored: several times what a gateway's
/// client takes. The whole of it is bounded by the limit of standing still.
const RESTORING: Duration = Duration::from_micros(20);

/// A part of the service's state.
const PART: usize = 1024 * 1024;

/// Gives the connections of this process to the one at the other end of the socket, which has the same
/// order; resolves behind the commit, when this process accepts no more and has what could not move.
///
/// `save` is called while nothing of the process runs, and returns what its service keeps beside its
/// connections.
///
/// # Errors
/// Why it was given up: everything is as before, and nothing was lost.
///
/// # Cancel safety
/// Dropped before it has stood still, it has changed nothing.
pub async fn give(
    table: &Table,
    socket: OwnedFd,
    party: &Party,
    order: &MoveOrder,
    save: impl FnOnce() -> Result<Vec<u8>, CannotMove>,
) -> Result<HandedOver, GivenUp> {
    let mut giver = Giver::new(table, socket)?;
    let began = Instant::now();
    let ahead = async {
        giver.agree(party, order).await?;
        giver.copy_ahead().await
    };
    match tokio::time::timeout(order.limits.whole, ahead).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(giver.explain(error)),
        Err(_) => return Err(GivenUp::new("it took longer than it may")),
    }
    let ahead = began.elapsed();
    let report = giver.finish(order, save)?;
    Ok(HandedOver { ahead, ..report })
}

/// A connection that the other process has.
struct Copied {
    stamp: u64,
    /// Whether it is here still; looked at while the process stands still.
    seen: bool,
}

/// What is said to the other process about one connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turned {
    New,
    Changed,
}

pub(in crate::connection) struct Giver {
    table: Table,
    pair: PairEnd,
    /// Which places the other process does not have.
    lacking: Vec<u16>,
    /// Where the application's data has another form there.
    other_data: Vec<u16>,
    copied: FxHashMap<u64, Copied>,
    left: BTreeMap<String, u64>,
    bytes: u64,
    /// Batches that the other process has not answered.
    under_way: usize,
    fresh: Batch,
    changed: Batch,
}

/// Records that wait to be sent together.
#[derive(Default)]
struct Batch {
    records: Records,
    descriptors: Vec<OwnedFd>,
    count: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.count == DESCRIPTORS || self.records.len() >= BATCH
    }

    fn frame(&mut self, kind: FrameKind) -> Frame {
        self.count = 0;
        let descriptors = std::mem::take(&mut self.descriptors);
        Frame { kind: kind as u8, body: self.records.take(), descriptors }
    }
}

impl Giver {
    pub(in crate::connection) fn new(table: &Table, socket: OwnedFd) -> Result<Self, GivenUp> {
        Ok(Self {
            table: table.clone(),
            pair: PairEnd::new(socket)?,
            lacking: Vec::new(),
            other_data: Vec::new(),
            copied: FxHashMap::default(),
            left: BTreeMap::new(),
            bytes: 0,
            under_way: 0,
            fresh: Batch::default(),
            changed: Batch::default(),
        })
    }

    pub(in crate::connection) async fn agree(
        &mut self,
        party: &Party,
        order: &MoveOrder,
    ) -> Result<(), GivenUp> {
        fault::at(FaultPoint::Hello, &mut self.pair)?;
        let own = Introduction::of(&self.table, party, &order.nonce);
        self.pair.send(FrameKind::Hello.frame(&own)?).await?;
        let hello = self.next(FrameKind::Hello).await?;
        own.check(&read(&hello)?)?;
        let agreed: Agreed = read(&self.next(FrameKind::Accept).await?)?;
        (self.lacking, self.other_data) = (agreed.lacking, agreed.other_data);
        Ok(())
    }

    /// Waits for a frame of this kind.
    async fn next(&mut self, kind: FrameKind) -> Result<Frame, GivenUp> {
        let frame = self.pair.receive().await?;
        let frame = frame.ok_or_else(|| GivenUp::new("the other process is gone"))?;
        expect(kind, frame)
    }

    /// Copies the connections while they are served, a batch between two turns.
    pub(in crate::connection) async fn copy_ahead(&mut self) -> Result<(), GivenUp> {
        let mut from = Some(0);
        fault::at(FaultPoint::Take, &mut self.pair)?;
        while let Some(at) = from {
            while self.under_way >= WINDOW {
                self.next(FrameKind::Took).await?;
                self.under_way -= 1;
            }
            let (entries, next) = self.table.some_entries(at, DESCRIPTORS);
            from = next;
            for entry in entries {
                // What cannot move by now may do so in a moment.
                if let Ok(()) = self.add(&entry, Turned::New) {
                    self.copied
                        .insert(entry.id().number, Copied { stamp: entry.stamp(), seen: false });
                }
                if self.fresh.is_full() {
                    let frame = self.fresh.frame(FrameKind::Take);
                    self.under_way += 1;
                    self.pair.send(frame).await?;
                }
            }
            if self.fresh.count > 0 {
                let frame = self.fresh.frame(FrameKind::Take);
                self.under_way += 1;
                self.pair.send(frame).await?;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Adds a connection to its batch.
    fn add(&mut self, entry: &Rc<dyn AnyEntry>, turned: Turned) -> Result<(), CannotMove> {
        let batch = match turned {
            Turned::New => &mut self.fresh,
            Turned::Changed => &mut self.changed,
        };
        let place = entry.place();
        if place.is_some_and(|place| self.other_data.contains(&place)) && entry.has_data() {
            return Err(CannotMove("its data has another version in the successor"));
        }
        let is_lacking = place.is_some_and(|place| self.lacking.contains(&place));
        if is_lacking {
            return Err(CannotMove("its listener is not there in the successor"));
        }
        if entry.in_flight() > RECORD {
            return Err(CannotMove("more waits on it than may move"));
        }
        let is_new = turned == Turned::New;
        let descriptor = is_new.then(|| entry.duplicate()).transpose().map_err(|_| NO_ROOM)?;
        batch.records.add(|bytes| entry.write(bytes))?;
        batch.descriptors.extend(descriptor);
        batch.count += 1;
        Ok(())
    }

    /// Stands still, and lets go of what has moved.
    pub(in crate::connection) fn finish(
        mut self,
        order: &MoveOrder,
        save: impl FnOnce() -> Result<Vec<u8>, CannotMove>,
    ) -> Result<HandedOver, GivenUp> {
        // What a turn's end does for what has happened so far is done, and then nothing happens any more.
        self.table.end_turn();
        let still = Instant::now();
        let limit = StillLimit::new(order.limits.still, order.limits.quiet);
        if let Err(error) = self.stand_still(limit, save) {
            return Err(self.explain(error));
        }
        Ok(self.let_go(still.elapsed()))
    }

    /// Nothing of the process runs: tells what is left to tell, and commits.
    fn stand_still(
        &mut self,
        mut limit: StillLimit,
        save: impl FnOnce() -> Result<Vec<u8>, CannotMove>,
    ) -> Result<(), GivenUp> {
        fault::at(FaultPoint::Again, &mut self.pair)?;
        for entry in self.table.some_entries(0, usize::MAX).0 {
            self.tell_again(&entry);
            self.send_full(&mut limit)?;
        }
        self.send_rest(&mut limit)?;
        let guests = self.table.guests() as u64;
        if guests > 0 {
            self.left.insert("it is an HTTP connection".to_owned(), guests);
        }
        fault::at(FaultPoint::State, &mut self.pair)?;
        let state = save().map_err(|CannotMove(why)| GivenUp::new(why))?;
        for part in state.chunks(PART) {
            let body = part.to_vec().into();
            let frame = Frame { kind: FrameKind::State as u8, body, descriptors: Vec::new() };
            self.pair.send_still(frame, &mut limit)?;
        }
        let totals = Sums {
            connections: self.copied.len() as u64,
            state: state.len() as u64,
            next_number: self.table.next_number(),
        };
        fault::at(FaultPoint::End, &mut self.pair)?;
        self.pair.send_still(FrameKind::End.frame(&totals)?, &mut limit)?;
        // No sign comes while the service's state is restored there.
        limit.grant(RESTORING.saturating_mul(u32::try_from(self.copied.len()).unwrap_or(u32::MAX)));
        self.await_ready(&mut limit)?;
        fault::at(FaultPoint::Commit, &mut self.pair)?;
        self.pair.send_still(FrameKind::Commit.frame(&())?, &mut limit)
    }

    /// Looks at a connection anew; says what is new of it.
    fn tell_again(&mut self, entry: &Rc<dyn AnyEntry>) {
        if entry.weight() == Weight::Link && entry.place().is_none() {
            // A link that this process has opened: its successor opens one of its own.
            return;
        }
        let (number, stamp) = (entry.id().number, entry.stamp());
        let told = match self.copied.get_mut(&number) {
            Some(copied) if copied.stamp == stamp => {
                copied.seen = true;
                Ok(())
            }
            Some(_) => self.add(entry, Turned::Changed),
            None => self.add(entry, Turned::New),
        };
        match told {
            Ok(()) => {
                self.bytes += entry.in_flight() as u64;
                self.copied.insert(number, Copied { stamp, seen: true });
            }
            Err(CannotMove(why)) => *self.left.entry(why.to_owned()).or_default() += 1,
        }
    }

    fn send_full(&mut self, limit: &mut StillLimit) -> Result<(), GivenUp> {
        if self.fresh.is_full() {
            self.pair.send_still(self.fresh.frame(FrameKind::Take), limit)?;
        }
        if self.changed.is_full() {
            self.pair.send_still(self.changed.frame(FrameKind::Again), limit)?;
        }
        Ok(())
    }

    fn send_rest(&mut self, limit: &mut StillLimit) -> Result<(), GivenUp> {
        if self.fresh.count > 0 {
            self.pair.send_still(self.fresh.frame(FrameKind::Take), limit)?;
        }
        if self.changed.count > 0 {
            self.pair.send_still(self.changed.frame(FrameKind::Again), limit)?;
        }
        let gone = self.copied.extract_if(|_, copied| !copied.seen).map(|(number, _)| number);
        let numbers: Vec<_> = gone.collect();
        for numbers in numbers.chunks(PART / 16) {
            let numbers = Numbers { numbers: numbers.to_vec() };
            self.pair.send_still(FrameKind::Gone.frame(&numbers)?, limit)?;
        }
        Ok(())
    }

    fn await_ready(&mut self, limit: &mut StillLimit) -> Result<(), GivenUp> {
        loop {
            let frame = self.pair.receive_still(limit)?;
            if FrameKind::of(&frame) == Some(FrameKind::Took) {
                continue;
            }
            let HowMany { count } = read(&expect(FrameKind::Ready, frame)?)?;
            let all = self.copied.len() as u64;
            if count != all {
                return Err(GivenUp::new(format!("{count} of {all} connections were taken")));
            }
            return Ok(());
        }
    }

    #[cfg(test)]
    pub(in crate::connection) fn replace_pair(&mut self, socket: OwnedFd) {
        self.pair = PairEnd::new(socket).expect("a pair");
    }

    /// Returns what the other process said before it was gone, if that is the reason.
    fn explain(&mut self, error: GivenUp) -> GivenUp {
        while let Ok(Some(frame)) = self.pair.try_receive() {
            if FrameKind::of(&frame) == Some(FrameKind::Refuse) {
                return expect(FrameKind::Took, frame).err().unwrap_or(error);
            }
        }
        error
    }

    /// The other process has what moved: here it is let go of.
    fn let_go(mut self, pause: Duration) -> HandedOver {
        let mut left = Vec::new();
        for entry in self.table.some_entries(0, usize::MAX).0 {
            if self.copied.contains_key(&entry.id().number) {
                drop(entry.release());
            } else if entry.may_move_late() {
                left.push(entry);
            }
        }
        self.table.stop_accepting();
        let report = HandedOver {
            moved: self.copied.len() as u64,
            left: std::mem::take(&mut self.left),
            pause,
            ahead: Duration::ZERO,
            bytes: self.bytes,
        };
        // Those of a protocol that is not written down stay for good.
        left.retain(|entry| {
            let record = self.add(entry, Turned::New);
            self.fresh = Batch::default();
            !matches!(record, Err(CannotMove("its protocol cannot be written down")))
        });
        if !left.is_empty() {
            tokio::task::spawn_local(self.give_late(left));
        }
        report
    }

    /// Gives those that could not move with the others as soon as they can.
    async fn give_late(mut self, mut left: Vec<Rc<dyn AnyEntry>>) {
        while !left.is_empty() {
            tokio::time::sleep(LOOK).await;
            // What has left the table is under way: the process waits for that.
            let under_way = self.table.begin_work();
            left.retain(|entry| {
                if !entry.life().state().is_before_the_end() {
                    return false;
                }
                if self.fresh.is_full() || self.add(entry, Turned::New).is_err() {
                    return true;
                }
                drop(Rc::clone(entry).release());
                false
            });
            if self.fresh.count > 0 {
                let frame = self.fresh.frame(FrameKind::Late);
                if let Err(error) = self.pair.send(frame).await {
                    return tracing::warn!(%error, "connections could not follow the others");
                }
            }
            drop(under_way);
        }
    }
}

/// Returns the frame if it is of this kind.
fn expect(kind: FrameKind, frame: Frame) -> Result<Frame, GivenUp> {
    match FrameKind::of(&frame) {
        Some(found) if found == kind => Ok(frame),
        Some(FrameKind::Refuse) => {
            let NotAgreed { reason } = read(&frame)?;
            Err(GivenUp::new(format!("the other process refuses: {reason}")))
        }
        found => Err(GivenUp::new(format!("{found:?} came where {kind:?} was expected"))),
    }
}
