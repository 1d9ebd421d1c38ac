//! From a name to a connected socket: resolving, and RFC 8305's "happy eyeballs" over the addresses.
//!
//! Names are resolved by the system's own resolver, in tokio's threads for blocking calls, so that
//! hosts files and the like count as for every other program. It sets no deadline: its caller does.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, UnixStream};

use super::place::Place;
use crate::connection::{Address, Stream};

/// How long an attempt is alone before the next address is tried beside it (RFC 8305, section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects; an error names each address that was tried, and why it failed.
pub(super) async fn dial(place: &Place) -> Result<(Stream, Address), String> {
    match place {
        Place::Unix(path) => {
            let connected = UnixStream::connect(path).await.and_then(UnixStream::into_std);
            let stream = connected.map_err(|error| format!("{place}: {error}"))?;
            let stream = mio::net::UnixStream::from_std(stream);
            Ok((Stream::Unix(stream), Address::Unix(Some(path.as_path().into()))))
        }
        Place::Host(host, port) => {
            let addresses = tokio::net::lookup_host((host.as_str(), *port)).await;
            let addresses = addresses.map_err(|error| format!("cannot resolve {host}: {error}"))?;
            let (stream, address) = race(interleave(addresses)).await?;
            Ok((Stream::Tcp(stream), address.into()))
        }
    }
}

/// Orders addresses so that the families take turns, beginning with that of the first (section 4).
///
/// Within a family the resolver's order stays: it knows the routes (RFC 6724).
fn interleave(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let addresses: Vec<SocketAddr> = addresses.into_iter().collect();
    let v6_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == v6_first);
    let mut order = Vec::new();
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return order;
        }
        order.extend(pair.into_iter().flatten());
    }
}

/// Connects to one address after the other, each beside those before it; the first that is up wins,
/// and the others are closed.
async fn race(addresses: Vec<SocketAddr>) -> Result<(mio::net::TcpStream, SocketAddr), String> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut problems = Vec::new();
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(async move { (address, connect(address).await) });
        }
        let next = if waiting.len() > 0 {
            // Nothing in time: the next address is tried beside those under way.
            let Ok(next) = tokio::time::timeout(ATTEMPT_DELAY, attempts.next()).await else {
                continue;
            };
            next
        } else {
            attempts.next().await
        };
        match next {
            Some((address, Ok(stream))) => return Ok((stream, address)),
            Some((address, Err(error))) => problems.push(format!("{address}: {error}")),
            None if problems.is_empty() => return Err("the name has no address".to_owned()),
            None => return Err(problems.join(", ")),
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<mio::net::TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(mio::net::TcpStream::from_std(stream.into_std()?))
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, SockAddr, Socket, Type};
    use tokio::time::Instant;

    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        for (resolved, order) in [
            (&[][..], &[][..]),
            (
                &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"],
                &["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"],
            ),
            (
                &["1.1.1.1:1", "[::1]:1", "[::2]:1", "1.1.1.2:1"],
                &["1.1.1.1:1", "[::1]:1", "1.1.1.2:1", "[::2]:1"],
            ),
        ] {
            assert_eq!(interleave(addresses(resolved)), addresses(order));
        }
    }

    /// A listener whose queue is full: the kernel answers no further connect.
    pub(crate) fn black_hole() -> (SocketAddr, (Socket, std::net::TcpStream)) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&SockAddr::from(any)).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let fill = std::net::TcpStream::connect(address).unwrap();
        (address, (listener, fill))
    }

    /// Nobody listens there.
    fn refusing() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_gets_a_quarter_of_a_second_alone() {
        let (silent, _full) = black_hole();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let began = Instant::now();
        let (_, address) = race(vec![silent, good]).await.unwrap();
        assert_eq!((address, began.elapsed()), (good, ATTEMPT_DELAY));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusing_address_costs_no_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let began = Instant::now();
        let (_, address) = race(vec![refusing(), refusing(), good]).await.unwrap();
        assert_eq!((address, began.elapsed()), (good, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn every_failure_is_named() {
        let (one, other) = (refusing(), refusing());
        let problem = race(vec![one, other]).await.expect_err("nobody listens");
        for address in [one, other] {
            assert!(problem.contains(&format!("{address}: Connection refused")), "{problem}");
        }
        assert_eq!(race(Vec::new()).await.err().as_deref(), Some("the name has no address"));
    }

    #[tokio::test]
    async fn names_and_paths_are_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        // The name may have an IPv6 address as well, where nobody listens: that must not matter.
        let name = Place::Host("localhost".to_owned(), good.port());
        let (_, address) = dial(&name).await.unwrap();
        assert_eq!(address, good.into());
        let problem = dial(&Place::Host("no such name".to_owned(), 1)).await.expect_err("no name");
        assert!(problem.starts_with("cannot resolve no such name: "), "{problem}");
        let nowhere = Place::Unix("/nowhere/at all".into());
        assert!(dial(&nowhere).await.expect_err("no path").starts_with("unix:/nowhere/at all: "));
    }
}
