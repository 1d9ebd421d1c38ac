//! What a worker inherits from the master: its slot by the environment, its sockets by number.

use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};

use crate::connection::Table;
use crate::control::environment::{self, CONTROL_DESCRIPTOR, FIRST_LISTENER, Variable};
use crate::service::{Context, Description, Listen, Ports, Service};
use crate::{App, Error, os};

/// What the master handed over.
#[derive(Debug)]
pub(super) struct Inheritance {
    service: String,
    index: usize,
    generation: u64,
    control: Option<UnixStream>,
    listeners: Vec<TcpListener>,
}

impl Inheritance {
    /// Reads the environment and takes possession of the descriptors.
    pub(super) fn take() -> Result<Self, Error> {
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
        let count: i32 = number(environment::LISTENERS, &variable(environment::LISTENERS)?)?;
        let listeners = (0..count).map(|position| listener(FIRST_LISTENER + position));
        Ok(Self {
            service: service.to_owned(),
            index,
            generation: number(environment::GENERATION, &variable(environment::GENERATION)?)?,
            listeners: listeners.collect::<Result<_, _>>()?,
            control: Some(control),
        })
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

    /// Finds the slot's service in the program and checks that it expects these listeners: after a
    /// deploy the program may describe other ones than the master holds.
    pub(super) fn claim(
        self,
        app: App,
        table: Table,
    ) -> Result<(Box<dyn Service>, Context), Error> {
        let mut services = app.services.into_iter();
        let service = services.find(|service| service.description().name == self.service);
        let service = service.ok_or_else(|| {
            self.mismatch("the program describes no service of this name any more")
        })?;
        self.check(&service.description())?;
        let context = Context {
            service: self.service,
            index: self.index,
            generation: self.generation,
            listeners: self.listeners,
            table,
        };
        Ok((service, context))
    }

    fn check(&self, description: &Description) -> Result<(), Error> {
        let (wanted, held) = (description.listeners.len(), self.listeners.len());
        if wanted != held {
            return Err(self.mismatch(&format!(
                "the program describes {wanted} listeners and the master holds {held}"
            )));
        }
        for (listen, listener) in description.listeners.iter().zip(&self.listeners) {
            let local = listener
                .local_addr()
                .map_err(|source| Error::Listen { address: listen.address.clone(), source })?;
            if port(listen, self.index).is_some_and(|port| port != local.port()) {
                return Err(self.mismatch(&format!(
                    "the program wants to listen on {} and the master holds {local}",
                    listen.address
                )));
            }
        }
        Ok(())
    }

    fn mismatch(&self, problem: &str) -> Error {
        let problem = format!("{problem}: a reload cannot change that, use restart");
        Error::Configuration { service: self.service.clone(), problem }
    }
}

/// Returns the port the slot should have; `None` when the kernel chose it.
fn port(listen: &Listen, index: usize) -> Option<u16> {
    let (_, port) = listen.address.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    match listen.ports {
        Ports::Shared => Some(port),
        Ports::PerSlot => port.checked_add(u16::try_from(index).ok()?),
    }
}

fn listener(number: i32) -> Result<TcpListener, Error> {
    let descriptor = adopt(number, "a listener")?;
    if socket_acceptconn(descriptor.as_fd()) == Ok(true) {
        return Ok(TcpListener::from(descriptor));
    }
    Err(Error::Configuration {
        service: "worker".to_owned(),
        problem: format!(
            "descriptor {number} is no listening socket; only the master starts workers"
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
    fn check(address: &str, ports: Ports, index: usize, expected: Option<u16>) {
        let address = address.to_owned();
        let listen = Listen { label: "clients", address, ports, scheme: "ws", page: false };
        assert_eq!(port(&listen, index), expected);
    }

    #[test]
    fn a_slot_knows_the_port_it_must_have() {
        check("0.0.0.0:80", Ports::Shared, 3, Some(80));
        check("[::]:80", Ports::PerSlot, 3, Some(83));
        check("0.0.0.0:0", Ports::PerSlot, 3, None);
        check("0.0.0.0:65535", Ports::PerSlot, 1, None);
    }
}
