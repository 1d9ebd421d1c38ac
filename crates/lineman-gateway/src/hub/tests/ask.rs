//! Questions to a cluster whose gateways give prepared answers, or none.

use super::*;

fn run<T>(future: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(future).expect("prepared answers need no wait")
}

/// Returns what all gateways have answered.
fn all<T: fmt::Debug>(question: impl Future<Output = Result<Answers<T>, HubError>>) -> T {
    run(question).unwrap().complete().expect("all answers")
}

/// Returns why the only gateway that was asked is missing.
fn refused<T: fmt::Debug>(
    question: impl Future<Output = Result<Answers<T>, HubError>>,
) -> HubError {
    let mut missing = run(question).unwrap().missing;
    assert_eq!(missing.len(), 1);
    missing.remove(0).reason
}

fn asked(answers: impl IntoIterator<Item = Result<Value, ()>>, gateways: &[u16]) -> Hub {
    let (hub, cluster, _) = with_full(gateways, &[]);
    cluster.answers.borrow_mut().extend(answers);
    hub
}

fn list(values: impl IntoIterator<Item = i32>) -> Value {
    Value::Array(values.into_iter().map(Value::from).collect())
}

#[test]
fn answers_of_all_gateways_are_put_together() {
    let hub = asked([Ok(list([1, 2])), Ok(list([7]))], &[1, 2]);
    let clients = all(hub.client_ids_by_uid("u-1"));
    assert_eq!(clients, [client(1, 1), client(1, 2), client(2, 7)]);

    let hub = asked([Ok(Value::from(3)), Ok(Value::from(4))], &[1, 2]);
    assert_eq!(all(hub.client_count()), 7);
}

#[test]
fn a_long_answer_is_asked_for_part_by_part() {
    let (hub, cluster, _) = with_full(&[1], &[]);
    let page = |next, ids: &[i32]| Reply::page(next, &Reply::from(&list(ids.iter().copied())));
    cluster.pages.borrow_mut().extend([page(2, &[1, 2]), page(7, &[7]), page(0, &[])]);
    let clients = all(hub.client_ids_by_uid("u-1"));
    assert_eq!(clients, [client(1, 1), client(1, 2), client(1, 7)]);
    // A part that does not lead on would be asked for for ever.
    cluster.pages.borrow_mut().extend([page(2, &[1, 2]), page(2, &[1, 2]), page(0, &[])]);
    let error = refused(hub.client_ids_by_uid("u-1"));
    assert!(matches!(error, HubError::Reply { .. }), "{error}");
    cluster.pages.take();
    let long = Reply { payload: vec![0; MAX_REPLY].into() };
    cluster.pages.borrow_mut().extend([page(2, &[1, 2]), Reply::page(3, &long)]);
    let error = refused(hub.client_ids_by_uid("u-1"));
    assert!(matches!(error, HubError::AnswerTooLong { .. }), "{error}");
}

/// Rows of a `Select` for one field, by connection id.
fn rows(field: &str, rows: impl IntoIterator<Item = (u32, Value)>) -> Value {
    let row = |(id, value)| (id, Value::Array(Array::from_iter([(field, value)])));
    Value::Array(rows.into_iter().map(row).collect())
}

#[test]
fn clients_are_counted_and_listed() {
    let two = || [Ok(Value::from(3)), Ok(Value::from(4))];
    let hub = asked(two(), &[1, 2]);
    assert_eq!(all(hub.client_count_in_group("room")), 7);
    assert!(matches!(run(hub.client_count_in_group("")), Err(HubError::EmptyName)));

    let groups = |ids: &[u32]| Ok(rows("groups", ids.iter().map(|&id| (id, Value::Null))));
    let hub = asked([groups(&[1, 2]), groups(&[7])], &[1, 2]);
    assert_eq!(all(hub.client_ids()), [client(1, 1), client(1, 2), client(2, 7)]);

    let uids = |ids: &[u32]| Ok(rows("uid", ids.iter().map(|&id| (id, Value::from("u")))));
    let hub = asked([uids(&[2]), uids(&[])], &[1, 2]);
    assert_eq!(all(hub.client_ids_in_group("room")), [client(1, 2)]);
    assert!(matches!(run(hub.client_ids_in_group("0")), Err(HubError::EmptyName)));

    let hub = asked([uids(&[2]), uids(&[3])], &[1, 2]);
    let found = all(hub.uids_in_group("room"));
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["u"]);
    assert!(matches!(run(hub.uids_in_group("")), Err(HubError::EmptyName)));

    let hub = asked([uids(&[2]), uids(&[3])], &[1, 2]);
    assert_eq!(all(hub.client_ids_in_groups(&["a", "b"])), [client(1, 2), client(2, 3)]);
    assert!(matches!(run(hub.client_ids_in_groups(&["a", "0"])), Err(HubError::EmptyName)));
    let hub = asked([uids(&[2]), uids(&[3])], &[1, 2]);
    assert_eq!(all(hub.uids_in_groups(&["a", "b"])).len(), 1);
    assert!(matches!(run(hub.uids_in_groups(&["", "a"])), Err(HubError::EmptyName)));
}

#[test]
fn uids_are_looked_up_both_ways() {
    let hub = asked([Ok(list([])), Ok(list([5])), Ok(list([])), Ok(list([]))], &[1, 2]);
    assert!(all(hub.is_uid_online("ada")), "on the second gateway");
    assert!(!all(hub.is_uid_online("bob")));

    let uid = |value: Value| Ok(rows("uid", [(3, value)]));
    let answers = [uid(Value::from("ada")), uid(Value::from(7)), uid(Value::Null), Ok(list([]))];
    let hub = asked(answers, &[1]);
    let uid = || run(hub.uid_by_client_id(client(1, 3))).unwrap();
    assert_eq!((uid().as_deref(), uid().as_deref()), (Some("ada"), Some("7")));
    assert_eq!((uid(), uid()), (None, None), "no uid, and no such client");
    assert_eq!(run(hub.uid_by_client_id(client(9, 3))).unwrap(), None, "no such gateway");

    let hub = asked([Ok(Value::from(1)), Ok(Value::from(0))], &[1]);
    assert!(run(hub.is_online(client(1, 3))).unwrap());
    assert!(!run(hub.is_online(client(1, 3))).unwrap());
    assert!(!run(hub.is_online(client(9, 3))).unwrap(), "no such gateway");
}

#[test]
fn sessions_of_a_group_are_read_as_their_type() {
    type Session = BTreeMap<String, u32>;
    let bytes = php::to_vec(&Session::from([("n".to_owned(), 5)])).unwrap();
    let sessions = Array::from_iter([(3, Value::from(&bytes[..]))]);
    let hub = asked([Ok(Value::Array(sessions))], &[1]);
    let read: BTreeMap<ClientId, Session> = all(hub.sessions_in_group("room"));
    assert_eq!(read[&client(1, 3)]["n"], 5);
    let none = run(hub.sessions_in_group::<Session>(""));
    assert!(matches!(none, Err(HubError::EmptyName)));
}

#[test]
fn a_gateway_that_does_not_answer_is_named() {
    let hub = asked([Ok(Value::from(3)), Err(())], &[1, 2]);
    let answers = run(hub.client_count()).unwrap();
    assert_eq!((answers.value, answers.asked, answers.missing.len()), (3, 2, 1));
    assert_eq!(answers.missing[0].gateway, gateway(2));
    assert_eq!(hub.unanswered(), 1);
    let error = HubError::from(answers.complete().unwrap_err());
    let named = "1 of 2 gateways are missing: gateway 127.0.0.1:2 did not answer within 5 s";
    assert_eq!(error.to_string(), named);
}

#[test]
fn who_is_online_is_known_whatever_is_missing() {
    let hub = asked([Ok(list([5])), Err(()), Ok(list([])), Err(())], &[1, 2]);
    assert!(all(hub.is_uid_online("ada")));
    let bob = run(hub.is_uid_online("bob")).unwrap();
    assert!(!bob.value && !bob.is_complete());
}

#[test]
fn a_gateway_without_a_link_is_missing() {
    let (hub, cluster, _) = with_full(&[1], &[]);
    cluster.known.borrow_mut().extend([gateway(1), gateway(2)]);
    cluster.answers.borrow_mut().push_back(Ok(Value::from(3)));
    let answers = run(hub.client_count()).unwrap();
    assert_eq!((answers.value, answers.missing[0].gateway), (3, gateway(2)));
    assert!(matches!(answers.missing[0].reason, HubError::Unlinked { .. }));
    let one = run(hub.is_online(client(2, 5))).unwrap_err();
    assert!(matches!(one, HubError::Unlinked { .. }), "it may be online");
}

#[test]
fn many_names_are_asked_for_at_once() {
    let by_name = |entries: &[(&str, Value)]| {
        let entries = entries.iter().map(|(name, value)| (*name, value.clone()));
        Ok(Value::Array(entries.collect::<Array>()))
    };
    let first = by_name(&[("ada", list([1, 2])), ("7", list([]))]);
    let second = by_name(&[("ada", list([])), ("7", list([3]))]);
    let hub = asked([first.clone(), second.clone(), first, second], &[1, 2]);
    let ids = all(hub.client_ids_by_uids(&["ada", "7", "bob"]));
    assert_eq!(ids["ada"], [client(1, 1), client(1, 2)]);
    assert_eq!((&*ids["7"], ids["bob"].len()), (&[client(2, 3)][..], 0));
    let online = all(hub.online_uids(&["ada", "7", "bob"]));
    assert_eq!(online.into_iter().collect::<Vec<_>>(), ["7", "ada"]);

    let counts = |count: i32| by_name(&[("room", Value::from(count))]);
    let hub = asked([counts(3), counts(4)], &[1, 2]);
    let counts = all(hub.client_counts_in_groups(&["room", "empty"]));
    assert_eq!((counts["room"], counts["empty"]), (7, 0));
}

#[test]
fn groups_are_listed_with_who_is_in_them() {
    let fields = |groups: Value, uid: Value| {
        Value::Array(Array::from_iter([("groups", groups), ("uid", uid)]))
    };
    let two = Value::Array(Array::from_iter([("a", Value::from("a")), ("7", Value::from(7))]));
    // One without a group, and one without a uid: what is behind them is read all the same.
    let rows = [
        (1, fields(Value::Null, Value::from("ada"))),
        (2, fields(two.clone(), Value::Null)),
        (3, fields(two, Value::from("bob"))),
    ];
    let rows = || Ok(Value::Array(Array::from_iter(rows.clone())));
    let hub = asked([rows(), rows()], &[1]);
    let clients = all(hub.client_ids_by_group());
    assert_eq!(clients["a"], [client(1, 2), client(1, 3)]);
    let uids = all(hub.uids_by_group());
    assert_eq!(uids.keys().collect::<Vec<_>>(), ["7", "a"]);
    assert_eq!(uids["7"].iter().collect::<Vec<_>>(), ["bob"]);
}

#[test]
fn an_answer_of_another_kind_is_an_error() {
    let hub = asked([Ok(Value::from("text"))], &[1]);
    assert!(matches!(refused(hub.client_count()), HubError::Reply { .. }));
}

#[test]
fn sessions_are_read_as_their_type() {
    type Session = BTreeMap<String, u32>;
    let bytes = php::to_vec(&Session::from([("n".to_owned(), 5)])).unwrap();
    let sessions = Array::from_iter([(3, Value::from(&bytes[..])), (4, Value::from(""))]);
    let hub = asked([Ok(Value::Array(sessions))], &[1]);
    let read: BTreeMap<ClientId, Session> = all(hub.sessions());
    assert_eq!(read[&client(1, 3)]["n"], 5);
    assert!(read[&client(1, 4)].is_empty());

    let hub = asked([Ok(Value::Null), Ok(list([]))], &[1]);
    assert_eq!(run(hub.session::<Session>(client(1, 3))).unwrap(), None);
    assert_eq!(run(hub.session::<Session>(client(1, 3))).unwrap(), Some(Session::new()));
    assert_eq!(run(hub.session::<Session>(client(9, 3))).unwrap(), None, "no such gateway");
}

#[test]
fn uids_and_groups_are_text_even_if_they_look_like_numbers() {
    let fields = |uid: Value| Value::Array(Array::from_iter([("uid", uid)]));
    let selected = Array::from_iter([(1, fields(Value::from("7"))), (2, fields(Value::Null))]);
    let hub = asked([Ok(Value::Array(selected))], &[1]);
    assert_eq!(all(hub.uids()).into_iter().collect::<Vec<_>>(), ["7"]);

    let hub = asked([Ok(list([42]))], &[1]);
    assert_eq!(all(hub.groups()).into_iter().collect::<Vec<_>>(), ["42"]);
}
