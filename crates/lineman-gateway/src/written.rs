//! How the state of a gateway or register is written down for the process that takes over from this one:
//! `MessagePack` with named fields. A reader skips fields that it does not know; one that is added later has a
//! default (`#[serde(default)]`), so that what the build before has written can be read.
//!
//! Times mean something in one process alone, and are written as what has passed since. They, bytes and packets
//! have no form of their own, alone or in collections: `#[serde(with = "crate::written")]` on such a field.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use lineman_wire::link::{Packet, SessionForm};
use lineman_wire::php::Key;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::ByteBuf;
use tokio::time::Instant;

use crate::outage::Outage;

thread_local! {
    /// The moment that times are written and read as of.
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Writes a value down as of a moment.
///
/// # Errors
/// It has a part with no form in `MessagePack`.
pub(crate) fn encode(
    value: &impl Serialize,
    now: Instant,
) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    as_of(now, || rmp_serde::to_vec_named(value))
}

/// Reads what [`encode`] has written, as of the same moment.
///
/// # Errors
/// It is something else, or of a build that this one does not understand.
pub(crate) fn decode<T: DeserializeOwned>(
    written: &[u8],
    now: Instant,
) -> Result<T, rmp_serde::decode::Error> {
    as_of(now, || rmp_serde::from_slice(written))
}

fn as_of<T>(now: Instant, then: impl FnOnce() -> T) -> T {
    NOW.set(Some(now));
    let result = then();
    NOW.set(None);
    result
}

/// A value that has another form when it is written down.
pub(crate) trait WrittenDown: Sized {
    /// That form.
    type Form: Serialize + DeserializeOwned;

    fn write(&self, now: Instant) -> Self::Form;

    /// # Errors
    /// It stands for no such value.
    fn read(form: Self::Form, now: Instant) -> Result<Self, &'static str>;
}

pub(crate) fn serialize<T: WrittenDown, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.write(NOW.get().unwrap_or_else(Instant::now)).serialize(serializer)
}

pub(crate) fn deserialize<'de, T: WrittenDown, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let form = T::Form::deserialize(deserializer)?;
    T::read(form, NOW.get().unwrap_or_else(Instant::now)).map_err(D::Error::custom)
}

/// Nanoseconds that have passed since; less than 0 of what is to come.
impl WrittenDown for Instant {
    type Form = i64;

    fn write(&self, now: Instant) -> i64 {
        let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        match self.checked_duration_since(now) {
            Some(ahead) => -nanoseconds(ahead),
            None => nanoseconds(now.saturating_duration_since(*self)),
        }
    }

    fn read(form: i64, now: Instant) -> Result<Self, &'static str> {
        let distance = Duration::from_nanos(form.unsigned_abs());
        let time = if form < 0 { now.checked_add(distance) } else { now.checked_sub(distance) };
        time.ok_or("a time that this machine does not have")
    }
}

impl WrittenDown for Bytes {
    type Form = ByteBuf;

    fn write(&self, _: Instant) -> ByteBuf {
        ByteBuf::from(&self[..])
    }

    fn read(form: ByteBuf, _: Instant) -> Result<Self, &'static str> {
        Ok(Self::from(form.into_vec()))
    }
}

/// A packet with all that it has: its form on a link is without what the receiver does not need.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WrittenPacket {
    command: u8,
    local: (Ipv4Addr, u16),
    client: (IpAddr, u16),
    connection_id: u32,
    flags: u8,
    gateway_port: u16,
    #[serde(with = "crate::written")]
    ext: Bytes,
    session: SessionForm,
    #[serde(with = "crate::written")]
    body: Bytes,
}

impl WrittenDown for Packet {
    type Form = WrittenPacket;

    fn write(&self, _: Instant) -> WrittenPacket {
        let Self {
            command,
            local_ip,
            local_port,
            client_ip,
            client_port,
            connection_id,
            flags,
            gateway_port,
            ext,
            session,
            body,
        } = self.clone();
        let (local, client) = ((local_ip, local_port), (client_ip, client_port));
        let command = command.number();
        WrittenPacket {
            command,
            local,
            client,
            connection_id,
            flags,
            gateway_port,
            ext,
            session,
            body,
        }
    }

    fn read(form: WrittenPacket, _: Instant) -> Result<Self, &'static str> {
        let WrittenPacket {
            command,
            local: (local_ip, local_port),
            client: (client_ip, client_port),
            connection_id,
            flags,
            gateway_port,
            ext,
            session,
            body,
        } = form;
        Ok(Self {
            command: command.into(),
            local_ip,
            local_port,
            client_ip,
            client_port,
            connection_id,
            flags,
            gateway_port,
            ext,
            session,
            body,
        })
    }
}

/// A number, or a text that is none.
impl WrittenDown for Key {
    type Form = (Option<i64>, ByteBuf);

    fn write(&self, now: Instant) -> Self::Form {
        match self {
            Self::Int(number) => (Some(*number), ByteBuf::new()),
            Self::String(text) => (None, text.write(now)),
        }
    }

    fn read((number, text): Self::Form, _: Instant) -> Result<Self, &'static str> {
        Ok(number.map_or_else(|| Self::from(Bytes::from(text.into_vec())), Self::Int))
    }
}

impl<T: WrittenDown> WrittenDown for Box<T> {
    type Form = T::Form;

    fn write(&self, now: Instant) -> T::Form {
        (**self).write(now)
    }

    fn read(form: T::Form, now: Instant) -> Result<Self, &'static str> {
        T::read(form, now).map(Self::new)
    }
}

/// Values in a collection that are written as they are.
macro_rules! as_they_are {
    ($($type:ty),*) => {$(
        impl WrittenDown for $type {
            type Form = Self;

            fn write(&self, _: Instant) -> Self {
                self.clone()
            }

            fn read(form: Self, _: Instant) -> Result<Self, &'static str> {
                Ok(form)
            }
        }
    )*};
}

as_they_are!(u32, u64, String, Duration, Outage);

impl<T: WrittenDown> WrittenDown for Option<T> {
    type Form = Option<T::Form>;

    fn write(&self, now: Instant) -> Self::Form {
        self.as_ref().map(|value| value.write(now))
    }

    fn read(form: Self::Form, now: Instant) -> Result<Self, &'static str> {
        form.map(|form| T::read(form, now)).transpose()
    }
}

macro_rules! collections {
    ($($collection:ident),*) => {$(
        impl<T: WrittenDown> WrittenDown for $collection<T> {
            type Form = Vec<T::Form>;

            fn write(&self, now: Instant) -> Self::Form {
                self.iter().map(|value| value.write(now)).collect()
            }

            fn read(form: Self::Form, now: Instant) -> Result<Self, &'static str> {
                form.into_iter().map(|form| T::read(form, now)).collect()
            }
        }
    )*};
}

collections!(Vec, VecDeque);

impl<K, T> WrittenDown for BTreeMap<K, T>
where
    K: Clone + Ord + Serialize + DeserializeOwned,
    T: WrittenDown,
{
    type Form = BTreeMap<K, T::Form>;

    fn write(&self, now: Instant) -> Self::Form {
        self.iter().map(|(key, value)| (key.clone(), value.write(now))).collect()
    }

    fn read(form: Self::Form, now: Instant) -> Result<Self, &'static str> {
        form.into_iter().map(|(key, form)| Ok((key, T::read(form, now)?))).collect()
    }
}

impl<K, T, S> WrittenDown for HashMap<K, T, S>
where
    K: Clone + Eq + Hash + Serialize + DeserializeOwned,
    T: WrittenDown,
    S: BuildHasher + Default,
{
    type Form = HashMap<K, T::Form, S>;

    fn write(&self, now: Instant) -> Self::Form {
        self.iter().map(|(key, value)| (key.clone(), value.write(now))).collect()
    }

    fn read(form: Self::Form, now: Instant) -> Result<Self, &'static str> {
        form.into_iter().map(|(key, form)| Ok((key, T::read(form, now)?))).collect()
    }
}

impl<A: WrittenDown, B: WrittenDown> WrittenDown for (A, B) {
    type Form = (A::Form, B::Form);

    fn write(&self, now: Instant) -> Self::Form {
        (self.0.write(now), self.1.write(now))
    }

    fn read((one, other): Self::Form, now: Instant) -> Result<Self, &'static str> {
        Ok((A::read(one, now)?, B::read(other, now)?))
    }
}

impl<A: WrittenDown, B: WrittenDown, C: WrittenDown> WrittenDown for (A, B, C) {
    type Form = (A::Form, B::Form, C::Form);

    fn write(&self, now: Instant) -> Self::Form {
        (self.0.write(now), self.1.write(now), self.2.write(now))
    }

    fn read((one, two, three): Self::Form, now: Instant) -> Result<Self, &'static str> {
        Ok((A::read(one, now)?, B::read(two, now)?, C::read(three, now)?))
    }
}

#[cfg(test)]
mod tests {
    use lineman_wire::link::Command;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Sample {
        #[serde(with = "crate::written")]
        since: BTreeMap<u32, Instant>,
        #[serde(with = "crate::written")]
        told: Option<(Instant, String)>,
        #[serde(with = "crate::written")]
        packets: VecDeque<Packet>,
        #[serde(with = "crate::written")]
        sessions: HashMap<u32, Bytes>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Later {
        #[serde(with = "crate::written")]
        told: Option<(Instant, String)>,
        #[serde(default)]
        added: u32,
    }

    #[tokio::test(start_paused = true)]
    async fn times_are_as_long_ago_in_another_process_and_others_stay() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_hours(1));
        let second = Duration::from_secs(1);
        let packet = Packet { body: "hello".into(), ..Packet::new(Command::OnMessage, 7) };
        let sample = |now: Instant| Sample {
            since: BTreeMap::from([(1, now), (2, now - second), (3, now + second)]),
            told: Some((now - second, "why".to_owned())),
            packets: VecDeque::from([packet.clone()]),
            sessions: HashMap::from([(9, Bytes::from_static(b"a:0:{}"))]),
        };
        let written = encode(&sample(now), now).unwrap();
        assert_eq!(decode::<Sample>(&written, later).unwrap(), sample(later));
        let read = decode::<Later>(&written, later).unwrap();
        assert_eq!(read, Later { told: sample(later).told, added: 0 });
        assert!(decode::<Sample>(&written[..written.len() - 1], now).is_err());
    }
}
