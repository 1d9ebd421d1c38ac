//! The taking end: connections become entries of a table that stands still, and live from the commit on.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use lineman_wire::handover::MoveOrder;
use rustc_hash::FxHashMap;

use super::fault::{self, FaultPoint};
use super::pair::{Frame, PairEnd};
use super::words::{
    Agreed, FrameKind, HowMany, Introduction, ListenerName, NotAgreed, Numbers, Records, Sums, read,
};
use super::{GivenUp, Party};
use crate::Result;
use crate::connection::entry::AnyEntry;
use crate::connection::record::Record;
use crate::connection::{Stream, Table};

/// The most bytes of a service's state: a bound on what one process takes from another.
const STATE: u64 = 1024 * 1024 * 1024;

/// Takes what the process at the other end of the socket gives, which has the same order; resolves behind the
/// commit, when the table goes on. The table [stands still](Table::stand_still) when this is called.
///
/// `restore` is given what the other process's service keeps beside its connections, when all of them are
/// entries here and their handlers have heard of them.
///
/// # Errors
/// Why there was no commit. What was taken is not this process's: it is to end without a word.
pub async fn take(
    table: &Table,
    socket: OwnedFd,
    party: &Party,
    order: &MoveOrder,
    restore: impl FnOnce(&[u8]) -> Result,
) -> Result<u64, GivenUp> {
    let mut taker = Taker {
        table: table.clone(),
        pair: PairEnd::new(socket)?,
        places: Vec::new(),
        names: Vec::new(),
        taken: FxHashMap::default(),
        state: Vec::new(),
    };
    let outcome = match taker.agree(party, order).await {
        Ok(()) => taker.take_all(restore).await,
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        let refusal = NotAgreed { reason: error.to_string() };
        // One that is gone hears nothing.
        if let Ok(frame) = FrameKind::Refuse.frame(&refusal)
            && let Err(silent) = taker.pair.send(frame).await
        {
            tracing::debug!(%silent, "the other process was not told");
        }
        return Err(error);
    }
    Ok(taker.begin())
}

struct Taker {
    table: Table,
    pair: PairEnd,
    /// Our place for each of the giving process's.
    places: Vec<Option<u16>>,
    names: Vec<ListenerName>,
    /// The connections by their numbers.
    taken: FxHashMap<u64, Rc<dyn AnyEntry>>,
    state: Vec<u8>,
}

impl Taker {
    async fn agree(&mut self, party: &Party, order: &MoveOrder) -> Result<(), GivenUp> {
        let own = Introduction::of(&self.table, party, &order.nonce);
        let frame = self.next().await?;
        if FrameKind::of(&frame) != Some(FrameKind::Hello) {
            return Err(GivenUp::new("a stranger is at the other end"));
        }
        let other: Introduction = read(&frame)?;
        let format = own.check(&other)?;
        self.places = own.places_of(&other);
        self.names = other.places().to_vec();
        let lacking = self.places.iter().enumerate().filter(|(_, place)| place.is_none());
        let lacking = lacking.filter_map(|(at, _)| u16::try_from(at).ok()).collect();
        let other_data = own.other_data(&other);
        fault::at(FaultPoint::Accept, &mut self.pair)?;
        self.pair.send(FrameKind::Hello.frame(&own)?).await?;
        self.pair.send(FrameKind::Accept.frame(&Agreed { format, lacking, other_data })?).await
    }

    async fn next(&mut self) -> Result<Frame, GivenUp> {
        let frame = self.pair.receive().await?;
        frame.ok_or_else(|| GivenUp::new("the other process has given up, or is gone"))
    }

    async fn take_all(&mut self, restore: impl FnOnce(&[u8]) -> Result) -> Result<(), GivenUp> {
        loop {
            let mut frame = self.next().await?;
            let kind = FrameKind::of(&frame);
            let expected = if kind == Some(FrameKind::Take) { usize::MAX } else { 0 };
            if frame.descriptors.len() > expected {
                return Err(GivenUp::new("a frame has descriptors that it should not have"));
            }
            match kind {
                Some(FrameKind::Take) => {
                    let descriptors = std::mem::take(&mut frame.descriptors);
                    let count = self.take_new(&frame.body, descriptors)?;
                    fault::at(FaultPoint::Took, &mut self.pair)?;
                    self.pair.send(FrameKind::Took.frame(&HowMany { count })?).await?;
                }
                Some(FrameKind::Again) => self.take_again(&frame.body)?,
                Some(FrameKind::Gone) => {
                    let Numbers { numbers } = read(&frame)?;
                    for number in numbers {
                        drop(self.put_back(number)?);
                    }
                }
                Some(FrameKind::State) => {
                    if (self.state.len() + frame.body.len()) as u64 > STATE {
                        return Err(GivenUp::new("the service's state is larger than may be"));
                    }
                    self.state.extend_from_slice(&frame.body);
                }
                Some(FrameKind::End) => {
                    self.end(&read(&frame)?, restore)?;
                    fault::at(FaultPoint::Ready, &mut self.pair)?;
                    let count = self.taken.len() as u64;
                    self.pair.send(FrameKind::Ready.frame(&HowMany { count })?).await?;
                    return self.await_commit().await;
                }
                Some(
                    FrameKind::Hello
                    | FrameKind::Accept
                    | FrameKind::Refuse
                    | FrameKind::Took
                    | FrameKind::Ready
                    | FrameKind::Commit
                    | FrameKind::Late,
                )
                | None => return Err(GivenUp::new(format!("{kind:?} came out of turn"))),
            }
        }
    }

    async fn await_commit(&mut self) -> Result<(), GivenUp> {
        let frame = self.next().await?;
        match FrameKind::of(&frame) {
            Some(FrameKind::Commit) => Ok(()),
            kind => Err(GivenUp::new(format!("{kind:?} came in place of the commit"))),
        }
    }

    /// Takes connections, each with the descriptor of its socket; returns how many.
    fn take_new(&mut self, mut bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<u64, GivenUp> {
        let mut count = 0;
        let mut descriptors = descriptors.into_iter();
        while !bytes.is_empty() {
            let record = decode(Records::split_first(&mut bytes)?)?;
            let descriptor = descriptors.next();
            let descriptor =
                descriptor.ok_or_else(|| GivenUp::new("a record came without a descriptor"))?;
            let stream = Stream::of_other_process(descriptor, record.is_unix())?;
            let (number, entry) = self.adopt(stream, record)?;
            self.taken.insert(number, entry);
            count += 1;
        }
        if descriptors.next().is_some() {
            return Err(GivenUp::new("a descriptor came without a record"));
        }
        Ok(count)
    }

    /// Takes the records of connections anew whose sockets are here.
    fn take_again(&mut self, mut bytes: &[u8]) -> Result<(), GivenUp> {
        while !bytes.is_empty() {
            let record = decode(Records::split_first(&mut bytes)?)?;
            let stream = self.put_back(record.number)?;
            let stream = stream.ok_or_else(|| GivenUp::new("a connection has no socket"))?;
            let (number, entry) = self.adopt(stream, record)?;
            self.taken.insert(number, entry);
        }
        Ok(())
    }

    /// Takes a connection out again, and returns its socket.
    fn put_back(&mut self, number: u64) -> Result<Option<Stream>, GivenUp> {
        let entry = self.taken.remove(&number);
        let unknown = || GivenUp::new("a connection is spoken of that was not given");
        Ok(entry.ok_or_else(unknown)?.release())
    }

    fn adopt(&self, stream: Stream, record: Record) -> Result<(u64, Rc<dyn AnyEntry>), GivenUp> {
        let name = self.names.get(usize::from(record.listener));
        let place = self.places.get(usize::from(record.listener)).copied().flatten();
        let accept = place.and_then(|place| self.table.place(place));
        let (Some(name), Some(accept)) = (name, accept) else {
            return Err(GivenUp::new("a record is of a listener that is not here"));
        };
        if name.protocol != record.protocol {
            let (told, protocol) = (&record.protocol, &name.protocol);
            return Err(GivenUp::new(format!(
                "a record is of the protocol {told}, and its listener of {protocol}"
            )));
        }
        let number = record.number;
        if self.taken.contains_key(&number) {
            return Err(GivenUp::new("a connection was given twice"));
        }
        Ok((number, accept.adopt(&self.table, stream, record)?))
    }

    /// Everything is here: the handlers hear of it, and the service gets its state.
    fn end(&self, totals: &Sums, restore: impl FnOnce(&[u8]) -> Result) -> Result<(), GivenUp> {
        let (connections, state) = (self.taken.len() as u64, self.state.len() as u64);
        if (connections, state) != (totals.connections, totals.state) {
            return Err(GivenUp::new(format!(
                "{connections} of {} connections came, and {state} of {} bytes of the service's state",
                totals.connections, totals.state
            )));
        }
        for entry in self.taken.values() {
            Rc::clone(entry).introduce();
        }
        restore(&self.state).map_err(|error| GivenUp::new(error.to_string()))?;
        self.table.set_next_number(totals.next_number);
        Ok(())
    }

    /// The connections are this process's.
    fn begin(mut self) -> u64 {
        self.table.go_on();
        let taken = std::mem::take(&mut self.taken);
        let count = taken.len() as u64;
        for entry in taken.into_values() {
            entry.adopted();
        }
        tokio::task::spawn_local(async move {
            if let Err(error) = self.take_late().await {
                tracing::warn!(%error, "connections that were to follow do not");
            }
        });
        count
    }

    /// Takes what could not move with the others, until the giving process has nothing more of the kind.
    async fn take_late(&mut self) -> Result<(), GivenUp> {
        while let Some(mut frame) = self.pair.receive().await? {
            if FrameKind::of(&frame) != Some(FrameKind::Late) {
                return Err(GivenUp::new("something came behind the commit"));
            }
            let descriptors = std::mem::take(&mut frame.descriptors);
            self.take_new(&frame.body, descriptors)?;
            for (_, entry) in self.taken.drain() {
                Rc::clone(&entry).introduce();
                entry.adopted();
            }
        }
        Ok(())
    }
}

fn decode(record: &[u8]) -> Result<Record, GivenUp> {
    rmp_serde::from_slice(record)
        .map_err(|error| GivenUp::new(format!("a record is not understood: {error}")))
}
