//! What the two ends of a handover tell each other, and how it lies in a frame.

use std::fmt;

use lineman_wire::handover::RecordFormats;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::pair::Frame;
use super::{FORMATS, GivenUp, Party};
use crate::connection::Table;
use crate::connection::table::ListensAt;

/// What every first frame begins with.
const MAGIC: &str = "lineman handover";

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FrameKind {
    /// [`Introduction`], both ways.
    Hello = 1,
    /// [`Agreed`], of the taking process.
    Accept = 2,
    /// [`NotAgreed`], of the taking process.
    Refuse = 3,
    /// Records of connections, each with its descriptor.
    Take = 4,
    /// [`HowMany`] of records, of the taking process: a sign that it goes on.
    Took = 5,
    /// Records of connections that were taken before, and have changed.
    Again = 6,
    /// [`Numbers`] of connections that were taken before, and stay.
    Gone = 7,
    /// A part of what the service keeps, as it is.
    State = 8,
    /// [`Sums`]: that was all.
    End = 9,
    /// [`HowMany`] of connections, of the taking process: it waits for the commit.
    Ready = 10,
    /// From here on the taking process is the one that serves.
    Commit = 11,
    /// Records of connections that could not move with the others, each with its descriptor: behind the commit.
    Late = 12,
}

impl FrameKind {
    pub(super) fn of(frame: &Frame) -> Option<Self> {
        const ALL: [FrameKind; 12] = [
            FrameKind::Hello,
            FrameKind::Accept,
            FrameKind::Refuse,
            FrameKind::Take,
            FrameKind::Took,
            FrameKind::Again,
            FrameKind::Gone,
            FrameKind::State,
            FrameKind::End,
            FrameKind::Ready,
            FrameKind::Commit,
            FrameKind::Late,
        ];
        ALL.into_iter().find(|&kind| kind as u8 == frame.kind)
    }

    /// Returns a frame of this kind without descriptors.
    pub(super) fn frame<T: Serialize>(self, word: &T) -> Result<Frame, GivenUp> {
        let body = rmp_serde::to_vec_named(word).map_err(|error| unwritten(&error))?;
        Ok(Frame { kind: self as u8, body: Zeroizing::new(body), descriptors: Vec::new() })
    }
}

fn unwritten(error: &dyn fmt::Display) -> GivenUp {
    GivenUp::new(format!("a frame cannot be written: {error}"))
}

/// Reads what a frame says.
pub(super) fn read<T: DeserializeOwned>(frame: &Frame) -> Result<T, GivenUp> {
    rmp_serde::from_slice(&frame.body)
        .map_err(|error| GivenUp::new(format!("a frame is not understood: {error}")))
}

/// Who is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Introduction {
    magic: String,
    #[serde(with = "serde_bytes")]
    nonce: Vec<u8>,
    formats: RecordFormats,
    build: String,
    service: String,
    slot: usize,
    generation: u64,
    places: Vec<ListenerName>,
}

/// Something that a process accepts with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListenerName {
    pub(super) address: String,
    pub(super) protocol: String,
    /// Which form the application's data of a connection has.
    #[serde(default)]
    pub(super) data: u32,
}

impl Introduction {
    pub(super) fn of(table: &Table, party: &Party, nonce: &[u8]) -> Self {
        let places = table.with_places(|places| {
            let name = |place: &ListensAt| ListenerName {
                address: place.address.clone(),
                protocol: place.accept.protocol().to_owned(),
                data: place.accept.data_version(),
            };
            places.iter().map(name).collect()
        });
        Self {
            magic: MAGIC.to_owned(),
            nonce: nonce.to_vec(),
            formats: FORMATS,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            service: party.service.clone(),
            slot: party.index,
            generation: party.generation,
            places,
        }
    }

    #[cfg(test)]
    pub(super) fn with_formats(self, oldest: u32, newest: u32) -> Self {
        Self { formats: RecordFormats { oldest, newest }, ..self }
    }

    /// Looks whether the other end is the process that is expected; returns the format that both have.
    pub(super) fn check(&self, other: &Self) -> Result<u32, GivenUp> {
        if other.magic != MAGIC || other.nonce != self.nonce {
            return Err(GivenUp::new("a stranger is at the other end"));
        }
        if (&other.service, other.slot) != (&self.service, self.slot) {
            let (service, slot) = (&other.service, other.slot);
            return Err(GivenUp::new(format!("{service}/{slot} is at the other end")));
        }
        self.formats.common(other.formats).ok_or_else(|| {
            GivenUp::new(format!(
                "no record is of a form that both know: here {}, there {} of version {}",
                self.formats, other.formats, other.build
            ))
        })
    }

    /// Returns which of the other end's places this end has not: `None` for one that is not here.
    pub(super) fn places_of(&self, other: &Self) -> Vec<Option<u16>> {
        let is_same = |own: &ListenerName, other: &ListenerName| {
            (&own.address, &own.protocol) == (&other.address, &other.protocol)
        };
        let here = |place: &ListenerName| self.places.iter().position(|own| is_same(own, place));
        let here = |place| here(place).and_then(|at| u16::try_from(at).ok());
        other.places.iter().map(here).collect()
    }

    /// Returns which of the other end's places have data of another form than the same ones here.
    pub(super) fn other_data(&self, other: &Self) -> Vec<u16> {
        let places = self.places_of(other).into_iter().zip(&other.places).enumerate();
        let differs = |(at, (place, name)): (usize, (Option<u16>, &ListenerName))| {
            let own = self.places.get(usize::from(place?))?;
            u16::try_from(at).ok().filter(|_| own.data != name.data)
        };
        places.filter_map(differs).collect()
    }

    /// Returns the names of its places.
    pub(super) fn places(&self) -> &[ListenerName] {
        &self.places
    }
}

/// The taking process agrees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Agreed {
    pub(super) format: u32,
    /// Places of the giving process that it does not have.
    #[serde(default)]
    pub(super) lacking: Vec<u16>,
    /// Places where the application's data has another form.
    #[serde(default)]
    pub(super) other_data: Vec<u16>,
}

/// The taking process does not go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NotAgreed {
    pub(super) reason: String,
}

/// How many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HowMany {
    pub(super) count: u64,
}

/// Which connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Numbers {
    pub(super) numbers: Vec<u64>,
}

/// What there is in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) connections: u64,
    /// Bytes of the service's state.
    pub(super) state: u64,
    /// The number of the next connection.
    pub(super) next_number: u64,
}

/// Records one behind the other, each with its length before it.
#[derive(Debug, Default)]
pub(super) struct Records(Zeroizing<Vec<u8>>);

impl Records {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends a record that `write` appends to the bytes; a failure leaves nothing.
    pub(super) fn add<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.0.len();
        self.0.extend([0; 4]);
        let written = write(&mut self.0);
        let length = self.0.len() - start - 4;
        match (&written, self.0.get_mut(start..start + 4)) {
            (Ok(()), Some(place)) => {
                place.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
            }
            _ => self.0.truncate(start),
        }
        written
    }

    pub(super) fn take(&mut self) -> Zeroizing<Vec<u8>> {
        std::mem::take(&mut self.0)
    }

    /// Takes the record at the front of these bytes off.
    pub(super) fn split_first<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], GivenUp> {
        let wrong = || GivenUp::new("a record's length is wrong");
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(wrong)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (record, rest) = rest.split_at_checked(length).ok_or_else(wrong)?;
        *bytes = rest;
        Ok(record)
    }
}
