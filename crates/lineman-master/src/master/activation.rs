//! Sockets that a service manager opened for us (`sd_listen_fds(3)`): which listener gets which.
//! Binds nothing, and leaves no socket unused without a word.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::process::Command;

use socket2::Socket;

use super::listeners::Listener;
use crate::control::environment;
use crate::service::{self, Description, Endpoint, Listen, Ports, Traffic, bind};
use crate::{Error, os};

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;

/// The most sockets that are taken: a number of descriptors, so far beyond need.
const MOST: RawFd = 1024;

/// The name of a socket that was given none.
const UNNAMED: &str = "unknown";

/// A socket that was handed over.
#[derive(Debug)]
pub(crate) struct Given {
    name: String,
    socket: Socket,
    address: Option<Endpoint>,
    /// At every address of the machine, IPv4 included: `ListenStream=7272` of a unit.
    dual_stack: bool,
    traffic: Traffic,
}

/// For each service and each of its addresses: the socket it was given, if any.
pub(super) type Assigned = Vec<Vec<Option<Socket>>>;

/// Takes what the service manager handed to this process, close-on-exec and non-blocking.
///
/// Called before any descriptor of the process is touched, and at most once.
///
/// # Errors
/// When the environment names what is not there, or a descriptor is no listening socket.
pub(crate) fn take() -> Result<Vec<Given>, Error> {
    let read = |variable: environment::Variable| std::env::var(variable.name).ok();
    let ours = read(environment::LISTEN_PID).and_then(|pid| pid.parse().ok());
    if ours != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    let count = read(environment::LISTEN_FDS).unwrap_or_default();
    let count: RawFd =
        count.parse().ok().filter(|count| (0..=MOST).contains(count)).ok_or_else(|| {
            problem("LISTEN_FDS", &format!("{count:?} is no number from 0 to {MOST}"))
        })?;
    let names = read(environment::LISTEN_FDNAMES).unwrap_or_default();
    let mut names = names.split(':');
    let mut given = Vec::new();
    for number in FIRST..FIRST + count {
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or(UNNAMED).to_owned();
        let one = adopt(number, &name);
        given.push(one.map_err(|error| problem(&name, &format!("descriptor {number}: {error}")))?);
    }
    Ok(given)
}

fn adopt(number: RawFd, name: &str) -> io::Result<Given> {
    let socket = Socket::from(os::adopt(number)?);
    socket.set_nonblocking(true)?;
    let hint = "it does not listen (hint: Accept=no in the .socket unit)";
    let bound = service::Socket::try_from(OwnedFd::from(socket.try_clone()?))
        .map_err(|_| io::Error::other(hint))?;
    let (address, traffic) = (bound.local().ok(), bound.traffic());
    let local = socket.local_addr()?.as_socket_ipv6();
    let everywhere = local.is_some_and(|local| local.ip().is_unspecified());
    let dual_stack = everywhere && !socket.only_v6()?;
    Ok(Given { name: name.to_owned(), socket, address, dual_stack, traffic })
}

/// Gives each socket to the listener it fits: the one at its address, else one at `0.0.0.0` for a
/// socket that is there too, else the one whose `service.label` or service has its name. It then
/// serves all processes of the service.
///
/// # Errors
/// When a socket fits no listener.
pub(super) fn assign(given: &[Given], services: &[Description]) -> Result<Assigned, Error> {
    let mut assigned: Assigned =
        services.iter().map(|service| service.listeners.iter().map(|_| None).collect()).collect();
    let mut left: Vec<&Given> = given.iter().collect();
    let fits: [fn(&Given, &Description, &Listen) -> bool; 4] = [
        |given, _, listen| has_address(given, listen),
        |given, _, listen| includes_address(given, listen),
        |given, service, listen| given.name == label(service, listen),
        |given, service, _| given.name == service.name,
    ];
    for fits in fits {
        for (service, sockets) in services.iter().zip(&mut assigned) {
            for (listen, socket) in service.listeners.iter().zip(sockets) {
                let takes = |given: &&Given| {
                    given.traffic == listen.traffic
                        && has_one(service, listen)
                        && fits(given, service, listen)
                };
                if socket.is_none()
                    && let Some(position) = left.iter().position(takes)
                {
                    let given = left.remove(position);
                    let copy = given.socket.try_clone();
                    let copy = copy.map_err(|error| problem(&given.name, &error.to_string()))?;
                    tracing::info!(socket = %given, listener = label(service, listen), "given");
                    *socket = Some(copy);
                }
            }
        }
    }
    match left.first() {
        None => Ok(assigned),
        Some(given) => Err(problem(&given.to_string(), &fits_nothing(services))),
    }
}

/// Tells a worker which of its listeners were given, and hides from it what is for the master alone.
pub(super) fn prepare(worker: &mut Command, listeners: &[Listener]) {
    for name in environment::FOR_THE_MASTER {
        worker.env_remove(name);
    }
    let given = listeners.iter().enumerate().filter(|(_, listener)| listener.is_given());
    let positions: Vec<String> = given.map(|(position, _)| position.to_string()).collect();
    worker.env(environment::GIVEN.name, positions.join(","));
}

/// Slots with a port each cannot share one socket.
fn has_one(service: &Description, listen: &Listen) -> bool {
    listen.ports == Ports::Shared || service.count == 1
}

fn has_address(given: &Given, listen: &Listen) -> bool {
    let (Some(address), Ok(endpoint)) = (&given.address, listen.endpoint()) else { return false };
    let Endpoint::Internet { host, port } = &endpoint else { return *address == endpoint };
    let Endpoint::Internet { host: ip, .. } = address else { return false };
    // A name may stand for the address; a port of 0 is any, and so none that could be compared.
    let resolved = || {
        let found = bind::resolve(host, *port, listen.options.families);
        found.map(|found: SocketAddr| found.ip().to_string())
    };
    address.port() == Some(*port) && (host == ip || resolved().is_ok_and(|found| found == *ip))
}

/// Whether the socket is at every address, and the listener wishes to be at every one of IPv4.
fn includes_address(given: &Given, listen: &Listen) -> bool {
    let (Some(address), Ok(wished)) = (&given.address, listen.endpoint()) else { return false };
    let Endpoint::Internet { host, port } = &wished else { return false };
    given.dual_stack && host == "0.0.0.0" && address.port() == Some(*port)
}

fn label(service: &Description, listen: &Listen) -> String {
    format!("{}.{}", service.name, listen.label)
}

fn fits_nothing(services: &[Description]) -> String {
    let listeners = services.iter().flat_map(|service| {
        let one = |listen: &&Listen| has_one(service, listen);
        let show = |listen: &Listen| format!("{} at {}", label(service, listen), listen.address);
        service.listeners.iter().filter(one).map(show)
    });
    let known: Vec<String> = listeners.collect();
    let known = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
    format!("it fits no listener by address, nor by FileDescriptorName=; known: {known}")
}

fn problem(socket: &str, problem: &str) -> Error {
    Error::Activation { socket: socket.to_owned(), problem: problem.to_owned() }
}

impl fmt::Display for Given {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => write!(formatter, "{} ({address})", self.name),
            None => formatter.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, listeners: Vec<Listen>, count: usize) -> Description {
        Description { count, listeners, ..Description::new(name, "text") }
    }

    fn given(name: &str) -> (Given, String) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (name, traffic) = (name.to_owned(), Traffic::Streams);
        let socket = Socket::from(listener);
        let address_as_text = address.to_string();
        let address = Some(address.into());
        (Given { name, socket, address, dual_stack: false, traffic }, address_as_text)
    }

    fn taken(assigned: &Assigned) -> Vec<Vec<bool>> {
        assigned.iter().map(|service| service.iter().map(Option::is_some).collect()).collect()
    }

    #[test]
    fn an_address_goes_before_a_name() {
        let (given, address) = given("web");
        let links = Listen::streams("links", "tcp", "127.0.0.1:1");
        let services = [
            service("web", vec![links], 1),
            service("chat", vec![Listen::streams("clients", "ws", address)], 2),
        ];
        assert_eq!(taken(&assign(&[given], &services).unwrap()), [[false], [true]]);
    }

    #[test]
    fn a_socket_at_every_address_serves_those_of_ipv4_unless_somebody_is_at_its_own() {
        let at_port = |dual_stack| {
            let (given, _) = given("unknown");
            let address = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 7272));
            Given { address: Some(address.into()), dual_stack, ..given }
        };
        let at = |address| service("web", vec![Listen::streams("clients", "ws", address)], 2);
        let everywhere = [at("0.0.0.0:7272")];
        assert_eq!(taken(&assign(&[at_port(true)], &everywhere).unwrap()), [[true]]);
        assign(&[at_port(false)], &everywhere).expect_err("it is for IPv6 alone");
        for other in ["0.0.0.0:7273", "127.0.0.1:7272"] {
            assign(&[at_port(true)], &[at(other)]).expect_err(other);
        }
        let both = [at("0.0.0.0:7272"), at("[::]:7272")];
        assert_eq!(taken(&assign(&[at_port(true)], &both).unwrap()), [[false], [true]]);
    }

    #[test]
    fn names_are_those_of_listeners_then_of_services() {
        let ((second, _), (first, _)) = (given("web.links"), given("web"));
        let clients = Listen::streams("clients", "ws", "127.0.0.1:1");
        let links = Listen::streams("links", "tcp", "127.0.0.1:2");
        let services = [service("web", vec![clients, links], 1)];
        assert_eq!(taken(&assign(&[second, first], &services).unwrap()), [[true, true]]);
    }

    #[test]
    fn what_fits_nothing_is_named_with_what_is_known() {
        let (given, address) = given("mail");
        let each = Listen { ports: Ports::PerSlot, ..Listen::streams("links", "tcp", &*address) };
        let clients = Listen::streams("clients", "ws", "127.0.0.1:1");
        let services = [service("web", vec![clients, each], 2)];
        let error = assign(&[given], &services).unwrap_err().to_string();
        let expected = format!("mail ({address}) of the service manager: it fits no listener");
        assert!(error.contains(&expected), "{error}");
        assert!(error.ends_with("known: web.clients at 127.0.0.1:1"), "{error}");
    }
}
