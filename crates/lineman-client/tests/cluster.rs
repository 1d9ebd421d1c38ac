//! The client against a register and gateways that do as a test says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to panic")]

mod peers;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use lineman_client::{Body, Checked, CheckedKind, ClientId, Cluster, Error, OnlineClient};
use lineman_wire::php::Array;
use peers::{Kind, gateway, gateway_of, register, register_that_refuses};

/// PHP's gateways read past what they do not know of it.
const LOGIN: &str = r#"GatewayClientConnect 0 {"secret_key":"k","lineman":5}"#;

fn next(packets: &mpsc::Receiver<String>) -> String {
    packets.recv_timeout(Duration::from_secs(10)).expect("a packet")
}

#[test]
fn messages_reach_every_gateway_on_kept_connections() {
    let ((first, at_first), (second, at_second)) = (gateway(), gateway());
    let mut cluster = Cluster::new(register(&[first, second])).secret_key("k");
    cluster.send_to_all("hello").unwrap();
    cluster.send_to_uid(42, "to 42").unwrap();
    cluster.send_to_group("room", String::from("to all there")).unwrap();
    for packets in [&at_first, &at_second] {
        assert_eq!(next(packets), LOGIN);
        assert_eq!(next(packets), "IsOnline 0 ", "asks whether the key is right");
        assert_eq!(next(packets), "SendToAll 0 hello");
        assert_eq!(next(packets), r#"SendToUid 0 ["42"]to 42"#);
        let group = r#"SendToGroup 0 {"group":["room"],"exclude":null}to all there"#;
        assert_eq!(next(packets), group);
    }
}

#[test]
fn one_client_is_its_gateway_s_business_alone() {
    let (address, packets) = gateway();
    // No register is asked: the id says where the client is.
    let mut cluster = Cluster::new("127.0.0.1:1");
    let client = ClientId::new(Ipv4Addr::LOCALHOST, address.port(), 9);
    cluster.send_to_client(client, "hello").unwrap();
    cluster.close_client_with(client, "bye").unwrap();
    cluster.close_client(client).unwrap();
    assert!(cluster.is_online(client).unwrap());
    assert_eq!(next(&packets), r#"GatewayClientConnect 0 {"secret_key":"","lineman":5}"#);
    assert_eq!(next(&packets), "IsOnline 0 ");
    assert_eq!(next(&packets), "SendToOne 9 hello");
    assert_eq!(next(&packets), "Kick 9 bye");
    assert_eq!(next(&packets), "Kick 9 N;");
    assert_eq!(next(&packets), "IsOnline 9 ");
}

/// A gateway of PHP's hears nothing of types.
#[test]
fn a_message_keeps_its_type_where_that_is_known() {
    for (kind, text, binary) in
        [(Kind::Php, "", ""), (Kind::Ours { part: 0 }, " (text)", " (binary)")]
    {
        let (address, packets) = gateway_of(kind);
        let mut cluster = Cluster::new(register(&[address])).secret_key("k");
        let client = ClientId::new(Ipv4Addr::LOCALHOST, address.port(), 9);
        // Once behind the login, and once on a connection that is there.
        for _ in 0..2 {
            cluster.send_to_client(client, "hi").unwrap();
            cluster.send_to_all(vec![b'x']).unwrap();
            cluster.close_client_with(client, Body::Scalar("bye".into())).unwrap();
        }
        let said = [
            format!("SendToOne 9 hi{text}"),
            format!("SendToAll 0 x{binary}"),
            "Kick 9 bye".to_owned(),
        ];
        let heard = std::iter::repeat_with(|| next(&packets)).skip(2).take(6);
        assert_eq!(
            heard.collect::<Vec<_>>(),
            said.iter().cycle().take(6).cloned().collect::<Vec<_>>()
        );
    }
}

#[test]
fn counts_are_sums() {
    let ((first, _first), (second, _second)) = (gateway(), gateway());
    let mut cluster = Cluster::new(register(&[first, second])).secret_key("k");
    let clients = cluster.client_count().unwrap();
    assert_eq!((clients.value, clients.asked, clients.is_complete()), (14, 2, true));
    assert_eq!(cluster.client_count_in_group("room").unwrap().complete().unwrap(), 14);
}

#[test]
fn a_dead_gateway_is_named_and_the_others_get_the_message() {
    let (alive, packets) = gateway();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut cluster = Cluster::new(register(&[dead, alive])).secret_key("k");
    let error = cluster.send_to_all("hello").unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("1 of 2 gateways are missing: gateway {dead}: "))
    );
    assert!(std::iter::repeat_with(|| next(&packets)).any(|packet| packet == "SendToAll 0 hello"));
}

#[test]
fn a_wrong_key_is_an_error() {
    let (address, _packets) = gateway();
    let mut cluster = Cluster::new(register(&[address])).secret_key("wrong");
    assert!(matches!(cluster.send_to_all("hello"), Err(Error::NoList { .. })));
    let client = ClientId::new(Ipv4Addr::LOCALHOST, address.port(), 9);
    let error = cluster.send_to_client(client, "hello").unwrap_err();
    assert!(matches!(error, Error::Refused { gateway, .. } if gateway == address), "{error}");
    assert!(error.to_string().ends_with("(hint: is the secret key right?)"), "{error}");
}

#[test]
fn everything_can_be_done_to_a_client() {
    let (address, packets) = gateway();
    let mut cluster = Cluster::new(register(&[address])).secret_key("k");
    let client = ClientId::new(Ipv4Addr::LOCALHOST, address.port(), 9);
    let session = BTreeMap::from([("n", 5)]);
    cluster.bind_uid(client, "ada").unwrap();
    cluster.unbind_uid(client).unwrap();
    cluster.join(client, "room").unwrap();
    cluster.leave(client, "room").unwrap();
    cluster.set_session(client, &session).unwrap();
    cluster.update_session(client, &session).unwrap();
    cluster.destroy_client(client).unwrap();
    cluster.ungroup("room").unwrap();
    cluster.send_to_uids(&["ada", "bob"], "to two").unwrap();
    cluster.send_to_groups(&["a", "b"], "to both").unwrap();
    cluster.send_to_clients(&[client], "to some").unwrap();
    cluster.send_to_all_except("to others", &[client]).unwrap();
    cluster.send_to_group_except("room", "to others there", &[client]).unwrap();
    cluster.send_to_groups_except(&["a", "b"], "to others of both", &[client]).unwrap();
    cluster.send_to_client(client, Body::Raw(b"\x81\x02hi"[..].into())).unwrap();
    cluster.send_to_client(client, vec![0x80]).unwrap();
    cluster.send_to_client(client, Array::from_iter([("n", 5)])).unwrap();
    cluster.close_client_with(client, "bye").unwrap();
    let expected = [
        LOGIN,
        "IsOnline 0 ",
        "BindUid 9 ada",
        "UnbindUid 9 ",
        "JoinGroup 9 room",
        "LeaveGroup 9 room",
        r#"SetSession 9 a:1:{s:1:"n";i:5;}"#,
        r#"UpdateSession 9 a:1:{s:1:"n";i:5;}"#,
        "Destroy 9 ",
        "Ungroup 0 room",
        r#"SendToUid 0 ["ada","bob"]to two"#,
        r#"SendToGroup 0 {"group":["a","b"],"exclude":null}to both"#,
        r#"SendToAll 0 {"connections":{"9":9}}to some"#,
        r#"SendToAll 0 {"exclude":{"9":9}}to others"#,
        r#"SendToGroup 0 {"group":["room"],"exclude":{"9":9}}to others there"#,
        r#"SendToGroup 0 {"group":["a","b"],"exclude":{"9":9}}to others of both"#,
        "SendToOne 9 \u{fffd}\u{2}hi",
        "SendToOne 9 \u{fffd}",
        r#"SendToOne 9 a:1:{s:1:"n";i:5;}"#,
        "Kick 9 bye",
    ];
    assert_eq!(expected.map(|_| next(&packets)), expected);
}

#[test]
fn everything_can_be_asked() {
    type Session = BTreeMap<String, u32>;
    let (address, _packets) = gateway();
    let mut cluster = Cluster::new(register(&[address])).secret_key("k");
    let client = ClientId::new(Ipv4Addr::LOCALHOST, address.port(), 9);
    let session = Session::from([("n".to_owned(), 5)]);
    assert_eq!(cluster.uid_by_client_id(client).unwrap().as_deref(), Some("ada"));
    assert_eq!(cluster.session::<Session>(client).unwrap(), Some(session.clone()));
    assert!(cluster.is_uid_online("ada").unwrap().value);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(cluster.online_uids(&["ada", "bob"]).unwrap().value, names(&["ada"]));
    assert_eq!(cluster.client_ids_by_uid("ada").unwrap().value, [client]);
    let ids = cluster.client_ids_by_uids(&["ada", "bob"]).unwrap().value;
    assert_eq!((&*ids["ada"], ids["bob"].len()), (&[client][..], 0));
    let counts = cluster.client_counts_in_groups(&["room", "empty"]).unwrap().value;
    assert_eq!((counts["room"], counts["empty"]), (7, 0));
    assert_eq!(cluster.client_ids().unwrap().value, [client]);
    assert_eq!(cluster.client_ids_in_group("room").unwrap().value, [client]);
    assert_eq!(cluster.client_ids_by_group().unwrap().value["room"], [client]);
    assert_eq!(cluster.uids().unwrap().value, names(&["ada"]));
    assert_eq!(cluster.client_ids_in_groups(&["room", "x"]).unwrap().value, [client]);
    assert_eq!(cluster.uids_in_group("room").unwrap().value, names(&["ada"]));
    assert_eq!(cluster.uids_in_groups(&["room", "x"]).unwrap().value, names(&["ada"]));
    assert_eq!(cluster.uids_by_group().unwrap().value["room"], names(&["ada"]));
    assert_eq!(cluster.groups().unwrap().value, names(&["room"]));
    assert_eq!(cluster.sessions::<Session>().unwrap().value[&client], session);
    assert_eq!(cluster.sessions_in_group::<Session>("room").unwrap().value[&client], session);
    let stored = cluster.stored_sessions_in_group("room").unwrap().value;
    assert_eq!(stored[&client], r#"a:1:{s:1:"n";i:5;}"#);
    assert_eq!(cluster.stored_sessions().unwrap().value, stored);
    assert_eq!(cluster.stored_session(client).unwrap().as_ref(), Some(&stored[&client]));
    let ada = OnlineClient { id: client, uid: Some("ada".into()), groups: vec!["room".into()] };
    assert_eq!(cluster.clients().unwrap().value, [ada]);
}

#[test]
fn a_long_answer_of_a_gateway_of_ours_comes_in_parts() {
    let (address, packets) = gateway_of(Kind::Ours { part: 0 });
    let mut cluster = Cluster::new(register(&[address])).secret_key("k");
    let ids = cluster.client_ids_by_uid("ada").unwrap().complete().unwrap();
    let ids: Vec<_> = ids.into_iter().map(|id| id.connection_id).collect();
    assert_eq!(ids, [9, 9, 9], "three parts of one client each");
    let asked: Vec<_> = (0..5).map(|_| next(&packets)).collect();
    assert_eq!(asked[..2], [LOGIN, "IsOnline 0 "]);
    assert_eq!(asked[2..5], ["Page 0 ada\u{f}", "Page 1 ada\u{f}", "Page 2 ada\u{f}"]);
    // A short one comes whole.
    assert_eq!(cluster.client_count().unwrap().complete().unwrap(), 7);
    assert_eq!(next(&packets), "GetClientCountByGroup 0 ");
}

#[test]
fn an_answer_without_an_end_is_given_up() {
    let (endless, _packets) = gateway_of(Kind::Ours { part: 8 * 1024 * 1024 });
    let cluster = Cluster::new(register(&[endless])).secret_key("k");
    let missing = cluster.timeout(Duration::from_mins(1)).client_ids().unwrap().missing;
    let limit = 64 * 1024 * 1024;
    assert!(
        matches!(missing[0].reason, Error::AnswerTooLong { gateway, limit: l } if (gateway, l) == (endless, limit)),
        "{missing:?}"
    );
}

#[test]
fn who_refuses_says_why() {
    let (address, _packets) = gateway_of(Kind::Refuses);
    let register = register_that_refuses();
    let mut cluster = Cluster::new(&register).secret_key("k").cluster_name("a");
    let error = cluster.client_count().unwrap_err().to_string();
    let reason = r#"it belongs to cluster "b", not "a""#;
    assert_eq!(error, format!("register {register} refuses: {reason}"));
    let error = cluster.is_online(ClientId::new(Ipv4Addr::LOCALHOST, address.port(), 9));
    let said = error.unwrap_err().to_string();
    assert_eq!(said, format!("gateway {address} refuses: {reason}"));
    let said = |checked: &Checked| checked.outcome.as_ref().unwrap_err().to_string();
    let checked: Vec<_> = cluster.check(&[address]).iter().map(said).collect();
    assert!(checked.iter().all(|error| error.ends_with(reason)), "{checked:?}");
}

/// Takes connections, and says nothing.
fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn what_is_known_comes_with_what_is_missing() {
    let ((first, _first), (second, _second), mute) = (gateway(), gateway(), silent());
    let mute = (mute.local_addr().unwrap(), mute);
    let dead = silent().local_addr().unwrap();
    let mut cluster = Cluster::new(register(&[dead, first, mute.0, second])).secret_key("k");
    cluster = cluster.answer_limit(Duration::from_millis(100));
    let clients = cluster.client_count().unwrap();
    assert_eq!((clients.value, clients.asked, clients.missing.len()), (14, 4, 2));
    for missing in &clients.missing {
        let (gateway, reason) = (missing.gateway, &missing.reason);
        assert!(reason.to_string().starts_with(&format!("gateway {gateway}")), "{reason}");
        match reason {
            Error::Timeout { .. } => assert_eq!(gateway, mute.0),
            Error::Gateway { .. } => assert_eq!(gateway, dead),
            other => panic!("{other}"),
        }
    }
    assert!(clients.complete().unwrap_err().to_string().starts_with("2 of 4 gateways are missing"));
    // It is known now: nothing waits for it.
    let missing = cluster.answer_limit(Duration::from_hours(1)).client_count().unwrap().missing;
    let silent = missing.iter().find(|missing| missing.gateway == mute.0).unwrap();
    assert!(matches!(silent.reason, Error::Silent { .. }), "{}", silent.reason);
}

#[test]
fn registers_are_one_another_s_reserve() {
    let ((first, _first), (second, _second), mute) = (gateway(), gateway(), silent());
    let dead = silent().local_addr().unwrap().to_string();
    let limit = Duration::from_millis(200);
    let mut cluster = Cluster::new(mute.local_addr().unwrap().to_string()).answer_limit(limit);
    cluster = cluster.register(&dead).secret_key("k");
    let error = cluster.gateways().unwrap_err().to_string();
    assert!(error.starts_with("no register gave a list of gateways: register "), "{error}");
    assert!(error.contains("did not answer within 0.2 s") && error.contains(&dead), "{error}");
    let mut cluster = cluster.register(register(&[second])).register(register(&[first, second]));
    let mut both = [first, second];
    both.sort_unstable();
    assert_eq!(cluster.gateways().unwrap(), both);
    assert_eq!(cluster.client_count().unwrap().complete().unwrap(), 14);
}

#[test]
fn names_that_gateways_refuse_are_refused() {
    let mut cluster = Cluster::new("127.0.0.1:1");
    assert!(matches!(cluster.send_to_group("", "text"), Err(Error::EmptyName)));
    assert!(matches!(cluster.send_to_uid(0, "text"), Err(Error::EmptyName)));
}

#[test]
fn a_check_says_what_each_address_did() {
    let ((first, _first), (second, _second), mute) = (gateway(), gateway(), silent());
    let (both, one) = (register(&[first, second]), register(&[first]));
    let dead = silent().local_addr().unwrap();
    let mut cluster = Cluster::new(&both).register(&one).register("no-port").secret_key("k");
    cluster = cluster.answer_limit(Duration::from_millis(200));
    let mute = mute.local_addr().unwrap();
    let checked = cluster.check(&[dead, mute]);
    let said = |role: CheckedKind, address: &str| {
        let at = |checked: &&Checked| (checked.role, &*checked.address) == (role, address);
        match &checked.iter().find(at).unwrap().outcome {
            Ok(list) => list.len().to_string(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(checked.len(), 7);
    let registers = [&both, &one].map(|register| said(CheckedKind::Register, register));
    assert!(registers[0].ends_with(&listed(&[dead, mute])), "{registers:?}");
    assert!(registers[1].ends_with(&listed(&[second, dead, mute])), "{registers:?}");
    assert!(said(CheckedKind::Register, "no-port").contains("the name cannot be resolved"));
    assert_eq!(said(CheckedKind::Gateway, &first.to_string()), "0");
    assert!(said(CheckedKind::Gateway, &dead.to_string()).contains("refused"));
    assert!(said(CheckedKind::Gateway, &mute.to_string()).ends_with("did not answer within 0.2 s"));

    let wrong = Cluster::new("no-port").secret_key("wrong").check(&[first]);
    assert!(matches!(wrong[1].outcome, Err(Error::Refused { .. })), "{wrong:?}");
}

fn listed(gateways: &[SocketAddr]) -> String {
    let mut gateways = gateways.to_vec();
    gateways.sort_unstable();
    let names: Vec<_> = gateways.iter().map(ToString::to_string).collect();
    format!("does not list {}", names.join(", "))
}
