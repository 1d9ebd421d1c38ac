//! What our own ends of a link say of uids and groups: which names a command is for, and when they are known.

use lineman_wire::link::{
    Audience, Body, Command, Condition, Control, Event, Field, Name, NameKey, Order, Packet, Query,
    Reply, Request, Select,
};
use lineman_wire::php;

#[test]
fn a_stamped_query_is_another_one_and_its_answer_says_what_it_has_seen() {
    let select = Query::Select(Select { fields: vec![Field::Uid], conditions: Vec::new() });
    let page = Query::Page { after: 9, query: Box::new(select.clone()) };
    for query in [Query::IsOnline { connection_id: 7 }, select, page] {
        let stamped = Query::Stamped(Box::new(query));
        assert_eq!(Query::try_from(Packet::from(stamped.clone())).unwrap(), stamped);
        let nested = Query::Stamped(Box::new(stamped.clone()));
        assert!(Query::try_from(Packet::from(nested)).is_err());
        let paged = Query::Page { after: 1, query: Box::new(stamped) };
        assert!(Query::try_from(Packet::from(paged)).is_err());
    }
    assert!(Query::try_from(Packet::new(Command::Stamped, 1)).is_err());
    let reply = Reply::from(&php::Value::from(5));
    assert_eq!(Reply::stamped(1 << 40, &reply).into_stamped(), Some((1 << 40, reply)));
    assert_eq!(Reply { payload: "1234567".into() }.into_stamped(), None);
}

#[test]
fn settling_is_one_pair_of_commands_both_ways() {
    for (control, event) in [
        (Control::Settle(7), Event::Settle(7)),
        (Control::Settled(u32::MAX), Event::Settled(u32::MAX)),
    ] {
        let packet = Packet::from(control.clone());
        assert_eq!(packet, Packet::from(event.clone()));
        assert!(
            matches!(Request::try_from(packet.clone()), Ok(Request::Control(c)) if c == control)
        );
        assert_eq!(Event::try_from(packet).unwrap(), event);
    }
}

#[test]
fn commands_and_questions_say_which_names_they_are_for() {
    let (uid, group) = (NameKey::of_uid(b"42"), NameKey::of_group(b"g"));
    let message = Body::from("text");
    let uids = vec![Name::from(42), Name::from("u")];
    let send = Order::SendToUid { uids: uids.clone(), message: message.clone() };
    assert_eq!(send.names(), Some(vec![uid, NameKey::of_uid(b"u")]));
    let groups = vec![Name::from("g")];
    let to_group =
        |groups| Order::SendToGroup { groups, exclude: vec![1], message: message.clone() };
    assert_eq!(to_group(groups.clone()).names(), Some(vec![group]));
    assert_eq!(Order::Ungroup { group: "g".into() }.names(), Some(vec![group]));
    let to_all = Order::SendToAll { audience: Audience::All, message };
    assert_eq!((to_all.names(), to_all.claim(), send.claim()), (None, None, None));
    assert_eq!(Order::BindUid { connection_id: 1, uid: "42".into() }.claim(), Some(uid));
    assert_eq!(Order::JoinGroup { connection_id: 1, group: "g".into() }.claim(), Some(group));

    let select = |conditions| Query::Select(Select { fields: vec![Field::Uid], conditions });
    let both = select(vec![Condition::Groups(groups.clone()), Condition::Uids(uids)]);
    assert_eq!(both.names(), Some(vec![group, uid, NameKey::of_uid(b"u")]));
    let page =
        Query::Page { after: 1, query: Box::new(select(vec![Condition::Groups(groups.clone())])) };
    assert_eq!(page.names(), Some(vec![group]));
    let clients = select(vec![Condition::Groups(groups), Condition::Connections(vec![1])]);
    assert_eq!((clients.names(), select(Vec::new()).names()), (None, None));
    let count = |group: &'static str| Query::ClientCountByGroup { group: group.into() };
    assert_eq!((count("g").names(), count("").names()), (Some(vec![group]), None));
}
