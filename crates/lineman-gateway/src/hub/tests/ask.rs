//! Questions to a cluster whose gateways give prepared answers, or none.

use super::*;

fn run<T>(future: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(future).expect("prepared answers need no wait")
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
    let clients = run(hub.client_ids_by_uid("u-1")).unwrap();
    assert_eq!(clients, [client(1, 1), client(1, 2), client(2, 7)]);

    let hub = asked([Ok(Value::from(3)), Ok(Value::from(4))], &[1, 2]);
    assert_eq!(run(hub.client_count()).unwrap(), 7);
}

#[test]
fn a_long_answer_is_asked_for_part_by_part() {
    let (hub, cluster, _) = with_full(&[1], &[]);
    let page = |next, ids: &[i32]| Reply::page(next, &Reply::from(&list(ids.iter().copied())));
    cluster.pages.borrow_mut().extend([page(2, &[1, 2]), page(7, &[7]), page(0, &[])]);
    let clients = run(hub.client_ids_by_uid("u-1")).unwrap();
    assert_eq!(clients, [client(1, 1), client(1, 2), client(1, 7)]);
    // A part that does not lead on would be asked for for ever.
    cluster.pages.borrow_mut().extend([page(2, &[1, 2]), page(2, &[1, 2]), page(0, &[])]);
    let error = run(hub.client_ids_by_uid("u-1")).unwrap_err();
    assert!(matches!(error, HubError::UnexpectedReply { .. }), "{error}");
    cluster.pages.take();
    let long = Reply { payload: vec![0; MAX_REPLY].into() };
    cluster.pages.borrow_mut().extend([page(2, &[1, 2]), Reply::page(3, &long)]);
    let error = run(hub.client_ids_by_uid("u-1")).unwrap_err();
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
    assert_eq!(run(hub.client_count_in_group("room")).unwrap(), 7);
    assert!(matches!(run(hub.client_count_in_group("")), Err(HubError::EmptyName)));

    let groups = |ids: &[u32]| Ok(rows("groups", ids.iter().map(|&id| (id, Value::Null))));
    let hub = asked([groups(&[1, 2]), groups(&[7])], &[1, 2]);
    assert_eq!(run(hub.client_ids()).unwrap(), [client(1, 1), client(1, 2), client(2, 7)]);

    let uids = |ids: &[u32]| Ok(rows("uid", ids.iter().map(|&id| (id, Value::from("u")))));
    let hub = asked([uids(&[2]), uids(&[])], &[1, 2]);
    assert_eq!(run(hub.client_ids_in_group("room")).unwrap(), [client(1, 2)]);
    assert!(matches!(run(hub.client_ids_in_group("0")), Err(HubError::EmptyName)));

    let hub = asked([uids(&[2]), uids(&[3])], &[1, 2]);
    let uids = run(hub.uids_in_group("room")).unwrap();
    assert_eq!(uids.into_iter().collect::<Vec<_>>(), ["u"]);
    assert!(matches!(run(hub.uids_in_group("")), Err(HubError::EmptyName)));
}

#[test]
fn uids_are_looked_up_both_ways() {
    let hub = asked([Ok(list([])), Ok(list([5])), Ok(list([])), Ok(list([]))], &[1, 2]);
    assert!(run(hub.is_uid_online("ada")).unwrap(), "on the second gateway");
    assert!(!run(hub.is_uid_online("bob")).unwrap());

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
    let read: BTreeMap<ClientId, Session> = run(hub.sessions_in_group("room")).unwrap();
    assert_eq!(read[&client(1, 3)]["n"], 5);
    let none = run(hub.sessions_in_group::<Session>(""));
    assert!(matches!(none, Err(HubError::EmptyName)));
}

#[test]
fn a_gateway_that_does_not_answer_is_named() {
    let hub = asked([Ok(Value::from(3)), Err(())], &[1, 2]);
    let error = run(hub.client_count()).unwrap_err();
    assert_eq!(error.to_string(), "gateway 127.0.0.1:2 did not answer within 5 s");
}

#[test]
fn an_answer_of_another_kind_is_an_error() {
    let hub = asked([Ok(Value::from("text"))], &[1]);
    assert!(matches!(run(hub.client_count()), Err(HubError::UnexpectedReply { .. })));
}

#[test]
fn sessions_are_read_as_their_type() {
    type Session = BTreeMap<String, u32>;
    let bytes = php::to_vec(&Session::from([("n".to_owned(), 5)])).unwrap();
    let sessions = Array::from_iter([(3, Value::from(&bytes[..])), (4, Value::from(""))]);
    let hub = asked([Ok(Value::Array(sessions))], &[1]);
    let read: BTreeMap<ClientId, Session> = run(hub.sessions()).unwrap();
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
    assert_eq!(run(hub.uids()).unwrap().into_iter().collect::<Vec<_>>(), ["7"]);

    let hub = asked([Ok(list([42]))], &[1]);
    assert_eq!(run(hub.groups()).unwrap().into_iter().collect::<Vec<_>>(), ["42"]);
}
