//! What the hub sends is what `Lib\Gateway` sends, byte for byte; and what a failure does.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use lineman::service::LocalFuture;
use lineman_wire::link::{self, Body, MAX_PACKET, MAX_REPLY, Packet, Reply};
use lineman_wire::php::{self, Array, Value};
use serde_json::json;

use super::*;
use crate::Client;

mod ask;

/// The packets a PHP business sent in the captures of all calls and of the argument `$raw`, as hex.
fn golden() -> Vec<String> {
    let file = concat!(
        include_str!("../../../lineman-wire/tests/golden/gatewayworker/01-all-api-one-gateway.txt"),
        include_str!("../../../lineman-wire/tests/golden/gatewayworker/04-raw-flag-and-types.txt")
    );
    let packet = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
        ["M", _, "G1", ">", hex] => Some(hex.to_owned()),
        _ => None,
    };
    file.lines().filter_map(packet).collect()
}

fn hex(packet: &[u8]) -> String {
    packet.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

/// A link that keeps what it is given, or is full.
#[derive(Default)]
struct Recorder {
    packets: RefCell<Vec<Bytes>>,
    full: bool,
}

/// A cluster of such links, which gives prepared answers.
#[derive(Default)]
struct MadeUp {
    links: RefCell<BTreeMap<SocketAddr, Rc<Recorder>>>,
    /// Gateways of which some have no link; those that have one where it is empty.
    known: RefCell<Vec<SocketAddr>>,
    answers: RefCell<VecDeque<Result<Value, ()>>>,
    /// Parts of answers, if its gateways answer in parts.
    pages: RefCell<VecDeque<Reply>>,
}

impl Cluster for MadeUp {
    fn gateways(&self) -> Vec<SocketAddr> {
        self.links.borrow().keys().copied().collect()
    }

    fn is_reachable(&self, gateway: SocketAddr) -> bool {
        self.links.borrow().contains_key(&gateway)
    }

    fn known(&self) -> Vec<SocketAddr> {
        let known = self.known.borrow().clone();
        if known.is_empty() { self.gateways() } else { known }
    }

    fn has_pages(&self, _: SocketAddr) -> bool {
        !self.pages.borrow().is_empty()
    }

    fn send(&self, gateway: SocketAddr, packet: Bytes) -> Result<(), HubError> {
        match self.links.borrow().get(&gateway) {
            None => Err(HubError::Unlinked { gateway }),
            Some(link) if link.full => Err(HubError::Full { gateway }),
            Some(link) => {
                link.packets.borrow_mut().push(packet);
                Ok(())
            }
        }
    }

    fn ask(&self, gateway: SocketAddr, _: Bytes) -> LocalFuture<Result<Reply, HubError>> {
        if !self.is_reachable(gateway) {
            return Box::pin(async move { Err(HubError::Unlinked { gateway }) });
        }
        if let Some(page) = self.pages.borrow_mut().pop_front() {
            return Box::pin(async { Ok(page) });
        }
        let answer = self.answers.borrow_mut().pop_front().expect("a prepared answer");
        Box::pin(async move {
            answer
                .map(|value| Reply::from(&value))
                .map_err(|()| HubError::Timeout { gateway, limit: Duration::from_secs(5) })
        })
    }
}

fn gateway(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], number))
}

fn client(gateway: u16, number: u32) -> ClientId {
    ClientId::new(Ipv4Addr::LOCALHOST, gateway, number)
}

/// Returns a hub whose cluster has these gateways; those of the second list are full.
fn with_full(gateways: &[u16], full: &[u16]) -> (Hub, Rc<MadeUp>, Vec<Rc<Recorder>>) {
    let cluster = Rc::new(MadeUp::default());
    let link = |number: &u16| {
        let link = Rc::new(Recorder { full: full.contains(number), ..Recorder::default() });
        cluster.links.borrow_mut().insert(gateway(*number), Rc::clone(&link));
        link
    };
    let links = gateways.iter().map(link).collect();
    (Hub::new(Rc::<MadeUp>::clone(&cluster)), cluster, links)
}

fn linked(gateways: &[u16]) -> (Hub, Vec<Rc<Recorder>>) {
    let (hub, _, links) = with_full(gateways, &[]);
    (hub, links)
}

fn one(test: impl Fn(&Hub, ClientId, ClientId) -> lineman::Result) {
    let (hub, links) = linked(&[22900]);
    test(&hub, client(22900, 1), client(22900, 2)).unwrap();
    let packets = links[0].packets.borrow();
    assert_eq!(packets.len(), 1);
    let plain = hex(&Packet::plain(packets[0].clone()));
    assert!(golden().contains(&plain), "PHP sends no {plain}");
}

#[test]
fn messages_are_those_of_php() {
    one(|hub, _, second| hub.send_to_client(second, "one-other"));
    one(|hub, _, second| hub.send_to_client(second, json!(123)));
    one(|hub, _, _| hub.send_to_all("to-everyone"));
    one(|hub, first, second| hub.send_to_clients(&[first, second], "to-list"));
    one(|hub, first, _| hub.send_to_all_except("to-all-but", &[first]));
    one(|hub, _, second| hub.send_to_clients(&[second], "to-list-but"));
    one(|hub, _, _| hub.send_to_uid("u-1", "for-uid"));
    one(|hub, _, _| hub.send_to_group("room-1", "for-group"));
    one(|hub, first, _| hub.send_to_group_except("room-1", "for-group-but", &[first]));
}

#[test]
fn what_is_encoded_already_travels_as_it_does_in_php() {
    let raw = |bytes: &'static [u8]| Body::Raw(Bytes::from_static(bytes));
    one(|hub, first, _| hub.send_to_client(first, raw(b"\x82\x03\0\x01\x02")));
    one(|hub, _, _| hub.send_to_all(raw(b"\x81\x03raw")));
}

#[test]
fn changes_to_clients_are_those_of_php() {
    one(|hub, first, _| hub.bind_uid(first, "u-1"));
    one(|hub, _, second| hub.bind_uid(second, 123));
    one(|hub, first, _| hub.join(first, String::from("room-1")));
    one(|hub, _, second| hub.join(second, 42));
    one(|hub, first, _| hub.leave(first, "room-1"));
    one(|hub, _, _| hub.ungroup("room-1"));
    one(|hub, _, second| hub.close_client_with(second, "bye"));
    one(|hub, _, _| hub.close_client(client(22900, 3)));
    one(|hub, _, _| hub.destroy_client(client(22900, 4)));
    one(|hub, _, second| hub.set_session(second, &json!({ "only": "this" })));
    one(|hub, _, second| hub.update_session(second, &json!({ "second": [1, 2] })));
}

/// What a client's own functions send is what the hub's send for it.
#[test]
fn a_client_s_functions_are_those_of_php() {
    let about = |id: ClientId, hub: &Hub| {
        let (ip, session) = (Ipv4Addr::LOCALHOST.into(), Bytes::new());
        let form = link::SessionForm::Whole;
        let client = link::Client { id, ip, port: 9, gateway_port: 7, session, form };
        Client::new(&client, (), hub.clone())
    };
    one(|hub, _, second| about(second, hub).send("one-other"));
    one(|hub, _, second| about(second, hub).close_with("bye"));
    one(|hub, _, _| about(client(22900, 3), hub).close());
    one(|hub, _, _| about(client(22900, 4), hub).destroy());
    one(|hub, first, _| about(first, hub).bind_uid("u-1"));
    one(|hub, first, _| about(first, hub).join("room-1"));
    one(|hub, first, _| about(first, hub).leave("room-1"));

    let (hub, cluster, links) = with_full(&[22900], &[]);
    let first = about(client(22900, 1), &hub);
    assert_eq!((first.id(), first.gateway_addr()), (client(22900, 1), gateway(22900)));
    assert_eq!((first.addr().to_string().as_str(), first.gateway_port()), ("127.0.0.1:9", 7));
    // PHP says which uid; no gateway looks at it.
    first.unbind_uid().unwrap();
    hub.unbind_uid(first.id()).unwrap();
    let unbind = Packet::from(Order::UnbindUid { connection_id: 1, uid: Bytes::new() }).to_bytes();
    assert_eq!(links[0].packets.take(), [unbind.clone(), unbind]);
    cluster.links.take();
    let fails = |result: lineman::Result| *result.unwrap_err().downcast::<HubError>().unwrap();
    for result in [first.send("x"), first.close(), first.close_with("x")] {
        assert!(
            matches!(fails(result), HubError::Unlinked { .. }),
            "it says that the link is gone"
        );
    }
    first.destroy().unwrap();
    assert_eq!(hub.unrouted(), 1);
    assert!(links[0].packets.borrow().is_empty());
}

#[test]
fn a_group_s_message_is_encoded_once_for_all_gateways() {
    let (hub, links) = linked(&[1, 2, 3]);
    let message = json!({ "type": "say" });
    hub.send_to_group_except("room", &message, &[client(2, 9)]).unwrap();
    let sent: Vec<_> = links.iter().map(|link| link.packets.borrow()[0].clone()).collect();
    assert_eq!(sent[0].as_ptr(), sent[2].as_ptr(), "shared, not copied");
    assert!(!hex(&sent[0]).contains(&hex(b"\"exclude\":{")));
    assert!(hex(&sent[1]).contains(&hex(b"\"exclude\":{\"9\":9}")));

    let (hub, links) = linked(&[1, 2]);
    hub.send_to_groups_except(&["a", "b"], &message, &[client(2, 9)]).unwrap();
    let sent: Vec<_> = links.iter().map(|link| hex(&link.packets.borrow()[0])).collect();
    assert!(sent.iter().all(|packet| packet.contains(&hex(b"{\"group\":[\"a\",\"b\"],"))));
    assert!(sent[1].contains(&hex(b"\"exclude\":{\"9\":9}")));
}

#[test]
fn clients_of_other_gateways_cost_no_packet() {
    let (hub, links) = linked(&[1, 2]);
    hub.send_to_clients(&[client(2, 5)], "hello").unwrap();
    hub.send_to_clients(&[], "nobody").unwrap();
    assert_eq!(links.iter().map(|link| link.packets.borrow().len()).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_full_gateway_keeps_nothing_from_the_others() {
    let (hub, _, links) = with_full(&[1, 2, 3], &[2]);
    let error = hub.send_to_all("hello").unwrap_err();
    let error = error.downcast::<HubError>().unwrap();
    assert!(matches!(*error, HubError::Full { gateway: full } if full == gateway(2)));
    let sent: Vec<_> = links.iter().map(|link| link.packets.borrow().len()).collect();
    assert_eq!(sent, [1, 0, 1]);
}

#[test]
fn a_client_of_a_gateway_that_is_gone_is_ignored() {
    let (hub, cluster, links) = with_full(&[1], &[]);
    hub.send_to_client(client(2, 1), "hello").unwrap();
    cluster.links.take();
    hub.send_to_client(client(1, 1), "hello").unwrap();
    hub.send_to_all("hello").unwrap();
    assert!(links[0].packets.borrow().is_empty());
    assert_eq!(hub.unrouted(), 2);
}

#[test]
fn what_cannot_be_said_is_an_error_of_the_caller() {
    let (hub, _) = linked(&[1]);
    let fails = |result: lineman::Result| *result.unwrap_err().downcast::<HubError>().unwrap();
    assert!(matches!(fails(hub.join(client(1, 1), "")), HubError::EmptyName));
    assert!(matches!(fails(hub.send_to_uid(0, "text")), HubError::EmptyName));
    assert!(matches!(fails(hub.set_session(client(1, 1), "text")), HubError::Session(_)));
    let long = vec![b'a'; MAX_PACKET];
    assert!(matches!(fails(hub.send_to_all(long)), HubError::TooLong { .. }));
}
