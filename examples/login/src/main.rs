//! A protocol with a handshake and a farewell of its own: a device says `LOGIN name key` first, and lines
//! afterwards; it answers `PING` with `PONG`, and leaves with `BYE`. Start it with
//! `cargo run --bin login -- start`, then try `nc 127.0.0.1 1235` and `LOGIN lamp secret`.

use std::time::Duration;

use lineman::connection::{CannotMove, Driver, Farewell, Limits, Opening, Step};
use lineman::prelude::*;
use lineman::worker::Peers;

/// A longer line closes the connection, whole or not.
const LONGEST: usize = 4096;

/// What a device asks to come in with.
pub(crate) struct Login {
    name: String,
    key: String,
}

impl Opening for Login {}

/// Refuses a device; any other error of a handler is our own failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WrongKey;

impl std::fmt::Display for WrongKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the key is wrong")
    }
}

impl std::error::Error for WrongKey {}

/// Whether the device is in.
#[derive(Default)]
pub(crate) struct Device {
    is_in: bool,
}

impl Device {
    fn wrong(problem: &str) -> CloseReason {
        CloseReason::Protocol { code: 1002, problem: problem.to_owned() }
    }
}

impl Driver for Device {
    type Opening = Login;
    type Inbound = String;
    type Outbound = String;

    const HANDSHAKE: bool = true;

    fn name() -> &'static str {
        "device"
    }

    fn decode(
        &mut self,
        input: &mut BytesMut,
        _output: &mut BytesMut,
        _limits: &Limits,
    ) -> Result<Step<Self>, CloseReason> {
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
            return Ok(Step::Wait);
        };
        if end > LONGEST {
            return Err(CloseReason::TooBig);
        }
        let line = input.split_to(end + 1);
        let line = std::str::from_utf8(&line).map_err(|_| Self::wrong("a line is no UTF-8"))?;
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("LOGIN"), Some(name), Some(key), None) if !self.is_in => {
                Ok(Step::Opening(Login { name: name.to_owned(), key: key.to_owned() }))
            }
            _ if !self.is_in => Err(Self::wrong("begin with LOGIN name key")),
            (Some("PONG"), None, ..) => Ok(Step::Pong(Bytes::new())),
            (Some("BYE"), None, ..) => {
                Ok(Step::Closed(CloseReason::Peer { code: None, reason: "BYE".to_owned() }))
            }
            _ => Ok(Step::Message(line.trim_end().to_owned())),
        }
    }

    fn accept(&mut self, output: &mut BytesMut) -> Result<(), CloseReason> {
        self.is_in = true;
        output.extend_from_slice(b"WELCOME\n");
        Ok(())
    }

    fn refuse(&mut self, error: &lineman::BoxError) -> Option<CloseReason> {
        error.is::<WrongKey>().then(|| Self::wrong(&error.to_string()))
    }

    fn encode(&mut self, line: String, output: &mut BytesMut) -> Result {
        output.extend_from_slice(line.as_bytes());
        output.extend_from_slice(b"\n");
        Ok(())
    }

    fn farewell(&mut self, reason: &CloseReason, output: &mut BytesMut) -> Farewell {
        output.extend_from_slice(format!("BYE {reason}\n").as_bytes());
        Farewell::Said
    }

    fn ping(&mut self, output: &mut BytesMut) -> bool {
        output.extend_from_slice(b"PING\n");
        true
    }

    fn max_undecoded(&self) -> usize {
        LONGEST
    }

    fn save(&self, _limits: &Limits, output: &mut BytesMut) -> Result<(), CannotMove> {
        output.extend_from_slice(&[u8::from(self.is_in)]);
        Ok(())
    }

    fn restore(&mut self, saved: &[u8], _limits: &Limits) -> Result {
        self.is_in = match saved {
            [0] => false,
            [1] => true,
            _ => return Err("a device is in or it is not".into()),
        };
        Ok(())
    }
}

/// Serves devices on this address.
pub(crate) fn devices(address: &str) -> Worker<Peers<Device>> {
    Worker::driver(address, Device::default)
        .name("devices")
        .heartbeat(Duration::from_secs(30))
        .on_open(async |connection, login: Login| {
            if login.key != "secret" {
                return Err(WrongKey.into());
            }
            connection.set_data(login.name);
            Ok(())
        })
        .on_message(async |connection, line| {
            let name = connection.with_data(|name: &mut String| name.clone()).unwrap_or_default();
            connection.send(format!("{name}: {line}"))
        })
}

fn main() -> Result {
    devices("0.0.0.0:1235").run()
}
