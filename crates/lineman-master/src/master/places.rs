//! Where services listen, looked at before anything is bound: two at one place, and places that are not to
//! be had. Called when the program is planned, and by `check`. It takes no place, so what another program
//! has is found by a start alone.

use std::io;
use std::net::IpAddr;

use rustix::fs::{Access, access};

use super::bind_retry::Unbound;
use super::health;
use super::listeners::nth_port;
use super::socket_file;
use crate::Error;
use crate::config::Config;
use crate::os::procfs;
use crate::service::bind::{Reuse, bind, resolve};
use crate::service::{Description, Endpoint, Listen, Ports, Traffic};

/// One place to listen at, with the ports of all slots.
#[derive(Debug)]
struct TakenPlace<'a> {
    service: &'a str,
    endpoint: Endpoint,
    /// The endpoint, and where it is set.
    shown: String,
    traffic: Traffic,
    /// How many ports follow the first.
    more: u16,
}

impl TakenPlace<'_> {
    fn overlaps(&self, other: &Self) -> bool {
        let (Some((host, port)), Some((other_host, other_port))) =
            (internet(&self.endpoint), internet(&other.endpoint))
        else {
            return self.endpoint == other.endpoint;
        };
        let last = port.saturating_add(self.more);
        let other_last = other_port.saturating_add(other.more);
        let chosen_by_the_kernel = port == 0 || other_port == 0;
        self.traffic == other.traffic
            && is_same_host(host, other_host)
            && !chosen_by_the_kernel
            && port <= other_last
            && other_port <= last
    }
}

fn internet(endpoint: &Endpoint) -> Option<(&str, u16)> {
    match endpoint {
        Endpoint::Internet { host, port } => Some((host, *port)),
        Endpoint::Path(_) | Endpoint::Abstract(_) => None,
    }
}

/// Every address of the machine beside one of them is no conflict: the kernel prefers the one.
fn is_same_host(one: &str, other: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one.eq_ignore_ascii_case(other),
    }
}

/// Checks that no two listeners have the same place: the kernel would let them, and give each of them a
/// share of what arrives for both.
///
/// # Errors
/// [`Error::Configuration`] names both services, [`Error::Address`] what is no address.
pub(super) fn distinct(services: &[Description], config: &Config) -> Result<(), Error> {
    let mut taken: Vec<TakenPlace<'_>> = Vec::new();
    let health = health::address(config).and_then(|address| address.parse::<Endpoint>().ok());
    if let Some(endpoint) = health {
        let (service, shown) = ("health probes", endpoint.to_string());
        taken.push(TakenPlace { service, endpoint, shown, traffic: Traffic::Streams, more: 0 });
    }
    for service in services {
        for listen in &service.listeners {
            let more = if listen.ports == Ports::PerSlot { service.count.max(1) - 1 } else { 0 };
            let endpoint = listen.endpoint()?;
            let place = TakenPlace {
                service: &service.name,
                shown: listen.shown(&endpoint),
                endpoint,
                traffic: listen.traffic,
                more: u16::try_from(more).unwrap_or(u16::MAX),
            };
            if let Some(other) = taken.iter().find(|other| other.overlaps(&place)) {
                let (here, there) = (&place.shown, &other.shown);
                let problem = format!(
                    "it listens at {here}, and {} at {there}: give one of them another address",
                    other.service
                );
                return Err(Error::Configuration { service: service.name.clone(), problem });
            }
            taken.push(place);
        }
    }
    Ok(())
}

/// Returns what a start would object to.
pub(crate) fn problems(services: &[Description]) -> Vec<String> {
    let mut problems = Vec::new();
    for service in services {
        for listen in &service.listeners {
            if let Err(source) = look(listen, service.count) {
                let address = listen.shown(&listen.address);
                let error = Error::Listen { address, source };
                problems.push(Unbound { service: Some(service.name.clone()), error }.to_string());
            }
        }
    }
    problems
}

fn look(listen: &Listen, count: usize) -> io::Result<()> {
    match listen.endpoint().map_err(io::Error::other)? {
        Endpoint::Internet { host, port } => {
            let address = resolve(&host, port, listen.options.families)?;
            if listen.ports == Ports::PerSlot {
                nth_port(address, count.saturating_sub(1))?;
            }
            if !procfs::may_listen_at(port) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            // With a port of the kernel's choice it says whether the address is this machine's.
            let any = (address.ip(), 0).into();
            bind(any, listen.traffic, Reuse::Nothing, &listen.options).map(drop)
        }
        Endpoint::Path(path) => {
            let folder = socket_file::check(&path, &listen.options)?;
            access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
                let folder = folder.display();
                io::Error::new(error.kind(), format!("cannot write to {folder}: {error}"))
            })
        }
        Endpoint::Abstract(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, listen: Listen) -> Description {
        Description { listeners: vec![listen], ..Description::new(name, "text") }
    }

    fn streams(address: &str) -> Listen {
        Listen::streams("clients", "text", address)
    }

    #[track_caller]
    fn check(services: &[Description], expected: Option<&str>) {
        let config = Config { health: Some("127.0.0.1:9".to_owned()), ..Config::new("x".into()) };
        let found = distinct(services, &config).err().map(|error| error.to_string());
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn two_listeners_at_one_place_are_named() {
        let datagrams = Listen { traffic: Traffic::Datagrams, ..streams("0.0.0.0:80") };
        let each = |address: &str| Listen { ports: Ports::PerSlot, ..streams(address) };
        for other in ["0.0.0.0:81", "127.0.0.1:80", "[::]:80", "unix:/a.sock"] {
            check(&[service("a", streams("0.0.0.0:80")), service("b", streams(other))], None);
        }
        check(&[service("a", streams("0.0.0.0:80")), service("b", datagrams)], None);
        check(&[service("a", streams("[::1]:0")), service("b", streams("[::1]:0"))], None);
        let a = || service("a", streams("[::1]:0083"));
        let said = "service \"b\": it listens at [0:0:0:0:0:0:0:1]:83, and a at [::1]:83: give one of \
                    them another address";
        check(&[a(), service("b", streams("[0:0:0:0:0:0:0:1]:83"))], Some(said));
        let mut many = service("b", each("[::1]:80"));
        many.count = 3;
        check(&[a(), many.clone()], None);
        many.count = 4;
        let said = "service \"b\": it listens at [::1]:80, and a at [::1]:83: give one of them another \
                    address";
        check(&[a(), many], Some(said));
        let said = "service \"b\": it listens at 127.0.0.1:9, and health probes at 127.0.0.1:9: give one \
                    of them another address";
        check(&[service("b", streams("127.0.0.1:9"))], Some(said));
        let mut twice = service("b", streams("unix:/a.sock"));
        twice.listeners.push(streams("unix:///a.sock"));
        let said = "service \"b\": it listens at unix:/a.sock, and b at unix:/a.sock: give one of them \
                    another address";
        check(&[twice], Some(said));
    }

    #[test]
    fn a_place_that_is_not_to_be_had_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let no_folder = format!("unix:{}", folder.path().join("missing/a.sock").display());
        let no_socket = format!("unix:{}", file.display());
        for (address, expected) in [
            (&*no_folder, "is not there: create it"),
            (&no_socket, "is no socket"),
            ("192.0.2.1:1024", "Cannot assign requested address"),
        ] {
            let found = problems(&[service("b", streams(address))]);
            assert!(found[0].starts_with("b: cannot listen on "), "{found:?}");
            assert!(found[0].contains(expected), "{found:?}");
        }
        let mut many = service("b", Listen { ports: Ports::PerSlot, ..streams("127.0.0.1:65535") });
        assert_eq!(problems(std::slice::from_ref(&many)), [""; 0]);
        many.count = 2;
        let said = "b: cannot listen on 127.0.0.1:65535: slot 1 has no port left";
        assert_eq!(problems(&[many]), [said]);
    }
}
