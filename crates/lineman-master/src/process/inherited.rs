//! What a worker inherits from the master: its slot by the environment, its sockets by number.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use clap::ValueEnum as _;
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use rustix::stdio::dup2_stderr;

use crate::control::environment::{self, CONTROL_DESCRIPTOR, FIRST_LISTENER, Variable};
use crate::program::Inherited;
use crate::service::{Description, Endpoint, Ports, Slot, Socket};
use crate::terminal::log::{self, Format};
use crate::{Error, os, self_signed};

/// What the master handed over.
#[derive(Debug)]
pub(super) struct Inheritance {
    service: String,
    index: usize,
    generation: u64,
    control: Option<UnixStream>,
    listeners: Vec<Socket>,
    /// The positions of those that a service manager opened, wherever it wished.
    given: Vec<usize>,
    self_signed: Option<(PathBuf, PathBuf)>,
    /// The socket to the process whose connections it takes over.
    handover: Option<OwnedFd>,
    format: Format,
}

impl Inheritance {
    /// Reads the environment and takes possession of the descriptors.
    pub(super) fn take() -> Result<Self, Error> {
        // Its descriptor is none for programs that this one starts.
        super::handed_over();
        let slot = variable(environment::SLOT)?;
        let (service, index) = slot.rsplit_once('/').ok_or_else(|| foreign(environment::SLOT))?;
        let index = number(environment::SLOT, index)?;
        let control = adopt(CONTROL_DESCRIPTOR, "the control socket")?;
        let is_control = socket_domain(&control) == Ok(AddressFamily::UNIX)
            && socket_type(&control) == Ok(SocketType::STREAM);
        if !is_control {
            return Err(foreign(environment::SLOT));
        }
        let control = UnixStream::from(control);
        control
            .set_nonblocking(true)
            .map_err(|source| Error::Os { action: "use the control socket", source })?;
        let stderr =
            adopt(number(environment::STDERR, &variable(environment::STDERR)?)?, "stderr")?;
        dup2_stderr(stderr)
            .map_err(|error| Error::Os { action: "use stderr", source: error.into() })?;
        let count: i32 = number(environment::LISTENERS, &variable(environment::LISTENERS)?)?;
        let listeners = (0..count).map(|position| listener(FIRST_LISTENER + position));
        Ok(Self {
            service: service.to_owned(),
            index,
            generation: number(environment::GENERATION, &variable(environment::GENERATION)?)?,
            listeners: listeners.collect::<Result<_, _>>()?,
            control: Some(control),
            given: given(),
            self_signed: self_signed::files_from_environment(),
            handover: handover()?,
            format: format(),
        })
    }

    /// Returns the form of the log's lines.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Returns the slot: `service/index`.
    pub(super) fn slot(&self) -> String {
        format!("{}/{}", self.service, self.index)
    }

    /// Takes the control socket out.
    pub(super) fn control(mut self) -> Result<(UnixStream, Self), Error> {
        let control = self.control.take().ok_or_else(|| foreign(environment::SLOT))?;
        Ok((control, self))
    }

    /// Takes the socket out to the process whose connections it takes over, if it is to.
    pub(super) fn handover(&mut self) -> Option<OwnedFd> {
        self.handover.take()
    }

    /// Finds the slot's service in the program and checks that it expects these listeners: after a
    /// deploy the program may describe other ones than the master holds.
    pub(super) fn claim(self, services: &[Description]) -> Result<Inherited, Error> {
        let service = services.iter().find(|service| service.name == self.service);
        let service = service.ok_or_else(|| {
            self.mismatch("the program describes no service of this name any more")
        })?;
        self.check(service)?;
        let (service, index, generation) = (self.service, self.index, self.generation);
        Ok(Inherited {
            slot: Slot { service, index, generation },
            listeners: self.listeners,
            self_signed: self.self_signed,
        })
    }

    fn check(&self, description: &Description) -> Result<(), Error> {
        let (wanted, held) = (description.listeners.len(), self.listeners.len());
        if wanted != held {
            return Err(self.mismatch(&format!(
                "the program describes {wanted} listeners and the master holds {held}"
            )));
        }
        let listeners = description.listeners.iter().zip(&self.listeners);
        for (position, (listen, socket)) in listeners.enumerate() {
            let failed = |source| Error::Listen { address: listen.address.clone(), source };
            let held = socket.local().map_err(failed)?;
            let wanted = listen.endpoint()?;
            let fits = listen.traffic == socket.traffic();
            let place =
                self.given.contains(&position) || is_at(&wanted, listen.ports, self.index, &held);
            if !(fits && place) {
                return Err(self.mismatch(&format!(
                    "the program wants to listen on {wanted} and the master holds {held}"
                )));
            }
            // They may be newer than the socket: those that can change do.
            listen.options.tune(socket).map_err(failed)?;
        }
        Ok(())
    }

    fn mismatch(&self, problem: &str) -> Error {
        let problem = format!("{problem}: a reload cannot change that, use restart");
        Error::Configuration { service: self.service.clone(), problem }
    }
}

/// Returns whether a slot that wants to listen at `wanted` may have what is bound to `held`.
///
/// A name is not resolved again: its port decides.
fn is_at(wanted: &Endpoint, ports: Ports, index: usize, held: &Endpoint) -> bool {
    let (Endpoint::Internet { host, port }, Endpoint::Internet { host: held_host, port: held }) =
        (wanted, held)
    else {
        return wanted == held;
    };
    let same_host = host.parse::<IpAddr>().is_err() || host.parse() == held_host.parse::<IpAddr>();
    let offset = match ports {
        Ports::Shared => Some(0),
        Ports::PerSlot => u16::try_from(index).ok(),
    };
    let same_port = *port == 0 || offset.and_then(|offset| port.checked_add(offset)) == Some(*held);
    same_host && same_port
}

fn given() -> Vec<usize> {
    let positions = std::env::var(environment::GIVEN.name).unwrap_or_default();
    positions.split(',').filter_map(|position| position.parse().ok()).collect()
}

fn handover() -> Result<Option<OwnedFd>, Error> {
    let Ok(descriptor) = variable(environment::HANDOVER) else { return Ok(None) };
    let descriptor = number(environment::HANDOVER, &descriptor)?;
    adopt(descriptor, "the socket to the process before").map(Some)
}

fn format() -> Format {
    let chosen = std::env::var(environment::FORMAT.name).ok();
    let chosen = chosen.and_then(|name| Format::from_str(&name, false).ok());
    // A master that is older says it to its workers as users do.
    chosen.or_else(|| log::format_from_environment().ok().flatten()).unwrap_or_default()
}

fn listener(number: i32) -> Result<Socket, Error> {
    let descriptor = adopt(number, "a listener")?;
    Socket::try_from(descriptor).map_err(|error| Error::Configuration {
        service: "worker".to_owned(),
        problem: format!(
            "descriptor {number} is no listener ({error}): only the master starts workers"
        ),
    })
}

fn adopt(number: i32, what: &str) -> Result<OwnedFd, Error> {
    os::adopt(number).map_err(|source| Error::Configuration {
        service: "worker".to_owned(),
        problem: format!(
            "{what} is missing at descriptor {number} ({source}): only the master starts workers"
        ),
    })
}

fn variable(variable: Variable) -> Result<String, Error> {
    std::env::var(variable.name).map_err(|_| foreign(variable))
}

fn number<N: std::str::FromStr>(variable: Variable, text: &str) -> Result<N, Error> {
    text.parse().map_err(|_| foreign(variable))
}

fn foreign(variable: Variable) -> Error {
    Error::Configuration {
        service: "worker".to_owned(),
        problem: format!(
            "{} is not as the master sets it: unset {} to use the command line",
            variable.name,
            environment::SLOT.name
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: &str, ports: Ports, index: usize, held: &str, expected: bool) {
        let (wanted, held) = (wanted.parse().unwrap(), held.parse().unwrap());
        assert_eq!(is_at(&wanted, ports, index, &held), expected);
    }

    #[test]
    fn a_slot_knows_the_address_it_must_have() {
        check("0.0.0.0:80", Ports::Shared, 3, "0.0.0.0:80", true);
        check("0.0.0.0:80", Ports::Shared, 3, "127.0.0.1:80", false);
        check("[::]:80", Ports::PerSlot, 3, "[::]:83", true);
        check("[0:0::0]:80", Ports::PerSlot, 3, "[::]:80", false);
        check("0.0.0.0:0", Ports::PerSlot, 3, "0.0.0.0:4711", true);
        check("localhost:80", Ports::Shared, 0, "127.0.0.1:80", true);
        check("0.0.0.0:65535", Ports::PerSlot, 1, "0.0.0.0:0", false);
        check("unix:///run/a", Ports::Shared, 1, "unix:/run/a", true);
        check("unix:/run/a", Ports::Shared, 1, "unix:/run/b", false);
        check("unix:@a", Ports::Shared, 1, "unix:/a", false);
        check("0.0.0.0:80", Ports::Shared, 1, "unix:/a", false);
    }
}
