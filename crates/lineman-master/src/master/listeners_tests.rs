//! What the sockets of slots promise: what is shared, what is refused, how they park.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

use super::*;
use crate::service::Families;

fn listen(address: &str) -> Listen {
    Listen::streams("clients", "tcp", address)
}

fn bound(listen: &Listen, count: usize) -> io::Result<Vec<Listener>> {
    let bound = bind_address(listen, listen.endpoint().expect("an address"), count);
    bound.map_err(|error| match error {
        Error::Listen { source, .. } => source,
        other => panic!("{other}"),
    })
}

fn one(listen: &Listen) -> Listener {
    bound(listen, 1).unwrap().remove(0)
}

fn address(listener: &Listener) -> String {
    listener.address().to_string()
}

fn in_use(listen: &Listen, count: usize) {
    let error = bound(listen, count).expect_err("another socket listens");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
}

fn datagrams(address: &str) -> Listen {
    Listen { traffic: Traffic::Datagrams, ..listen(address) }
}

#[test]
fn slots_share_the_port_the_kernel_chose() {
    for wish in [listen("127.0.0.1:0"), listen("[::1]:0"), datagrams("127.0.0.1:0")] {
        let listeners = bound(&wish, 3).unwrap();
        assert_ne!(listeners[0].address().port(), Some(0));
        assert!(listeners.iter().all(|other| other.address() == listeners[0].address()));
    }
}

#[test]
fn a_second_copy_is_refused_although_ports_are_shared() {
    for wish in [listen, datagrams] {
        for count in [1, 2] {
            let first = bound(&wish("127.0.0.1:0"), count).unwrap();
            in_use(&wish(&address(&first[0])), 1);
            in_use(&wish(&address(&first[0])), 2);
        }
    }
}

#[test]
fn a_port_that_a_test_reserved_is_free() {
    let wish = listen("127.0.0.1:0");
    let place = BindAddress::Internet(resolve("127.0.0.1", 0, Families::Both).unwrap());
    let recipe = Recipe { reuse: Reuse::Port, ..Recipe::new(&wish, place) };
    let (_, reserved) = recipe.with_port().unwrap();
    let port = local(&reserved.unwrap()).unwrap();
    bound(&listen(&port.to_string()), 2).unwrap();
    bound(&listen(&port.to_string()), 1).unwrap();
}

#[test]
fn a_parked_listener_refuses_and_comes_back_on_its_address() {
    let listener = one(&listen("127.0.0.1:0"));
    TcpStream::connect(address(&listener)).unwrap();
    listener.park();
    TcpStream::connect(address(&listener)).expect_err("parked");
    listener.unpark().unwrap();
    TcpStream::connect(address(&listener)).unwrap();
}

#[test]
fn a_parked_unix_socket_refuses_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let listen = listen(&format!("unix:{}", path.display()));
    let listeners = bound(&listen, 2).unwrap();
    assert_eq!(listeners[0].reach(&listen), Reach::AllSlots);
    UnixStream::connect(&path).unwrap();
    listeners[0].park();
    let error = UnixStream::connect(&path).expect_err("parked");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    listeners[1].unpark().unwrap();
    listeners[0].lend().unwrap();
    UnixStream::connect(&path).unwrap();
    drop(listeners);
    assert!(!path.exists());
}

#[test]
fn an_abstract_socket_listens_without_a_file() {
    let wish = listen(&format!("unix:@lineman-test-{}", std::process::id()));
    let listener = one(&wish);
    in_use(&wish, 1);
    drop(listener);
    one(&wish);
}

/// The datagrams of a slot without a process go to the others.
#[test]
fn a_parked_udp_socket_leaves_its_share_to_the_others() {
    let listeners = bound(&datagrams("127.0.0.1:0"), 2).unwrap();
    listeners[0].park();
    let rest = UdpSocket::from(listeners[1].lend().unwrap());
    for _ in 0..32 {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.send_to(b"here", address(&listeners[0])).unwrap();
        rest.recv(&mut [0; 8]).expect("loopback delivers at once");
    }
    listeners[0].unpark().unwrap();
    assert_eq!(listeners[0].address(), listeners[1].address());
}

#[test]
fn every_address_is_both_families_unless_told_otherwise() {
    let both = one(&listen("[::]:0"));
    let port = both.address().port().unwrap();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    TcpStream::connect(("::1", port)).unwrap();

    let options = SocketOptions::new().ipv6_only();
    let single = one(&Listen { options, ..listen("[::]:0") });
    let port = single.address().port().unwrap();
    TcpStream::connect(("::1", port)).unwrap();
    TcpListener::bind(("0.0.0.0", port)).expect("IPv4 is free");
}

#[test]
fn a_name_stands_for_its_ipv4_address_where_asked() {
    let options = SocketOptions::new().ipv4_only();
    let named = one(&Listen { options: options.clone(), ..listen("localhost:0") });
    assert!(named.address().to_string().starts_with("127.0.0.1:"), "{}", named.address());
    let refused = bound(&Listen { options, ..listen("[::1]:0") }, 1).expect_err("it has none");
    assert_eq!(refused.to_string(), "the name has no IPv4 address");
}

#[test]
fn all_slots_have_one_socket_where_asked() {
    let options = SocketOptions::new().one_socket();
    let listeners = bound(&Listen { options, ..listen("127.0.0.1:0") }, 2).unwrap();
    let first = TcpListener::from(listeners[0].lend().unwrap());
    let second = TcpListener::from(listeners[1].lend().unwrap());
    TcpStream::connect(address(&listeners[0])).unwrap();
    second.accept().expect("either takes it");
    let error = first.accept().expect_err("it is taken");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn each_slot_has_the_next_port() {
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(nth_port(at(4000), 3).unwrap().port(), 4003);
    nth_port(at(65_535), 1).expect_err("no such port");
    assert_eq!(nth_port(at(0), 9).unwrap().port(), 0);
}
