//! The order of events, and what becomes of clients whose link is lost.

use std::net::Ipv4Addr;

use super::*;

const LINK: LinkId = 1;

type Session = std::collections::BTreeMap<String, i64>;

/// Clients, and what became of their events, in the order in which they ended.
struct Test {
    clients: ServedClients<Session>,
    log: Vec<String>,
}

fn gateway() -> SocketAddr {
    gateway_of(id(0))
}

fn id(number: u32) -> ClientId {
    ClientId::new(Ipv4Addr::LOCALHOST, 2900, number)
}

fn client(number: u32) -> link::Client {
    let session = Bytes::new();
    link::Client {
        id: id(number),
        ip: Ipv4Addr::LOCALHOST.into(),
        port: 4,
        gateway_port: 7,
        session,
        form: SessionForm::Whole,
    }
}

fn event(number: u32, work: Work) -> ClientEvent {
    ClientEvent { link: LINK, client: client(number), work, weight: 1 }
}

fn text(event: &ClientEvent) -> String {
    let what = match &event.work {
        Work::Connect => "connect".to_owned(),
        Work::Return => "return".to_owned(),
        Work::WebSocketConnect(_) => "open".to_owned(),
        Work::Message(message) => message.as_text().unwrap_or_default().to_owned(),
        Work::Close => "close".to_owned(),
        Work::Lost => "lost".to_owned(),
    };
    format!("{}:{what}", event.client.id.connection_id)
}

/// Whatever happened: what is idle is counted so.
impl Drop for Test {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.clients.is_idle());
        }
    }
}

impl Test {
    fn new() -> Self {
        Self { clients: ServedClients::new(), log: Vec::new() }
    }

    fn message(&mut self, client: u32, text: &str) -> Option<ClientEvent> {
        self.clients.arrive(event(client, Work::Message(text.into())))
    }

    /// Runs an event to its end; returns the one that follows.
    fn run(&mut self, event: &ClientEvent) -> Option<ClientEvent> {
        let id = event.client.id;
        match self.clients.begin(event) {
            Begin::Run(_) if event.work.is_last() => {
                self.log.push(text(event));
                self.clients.end(id, Outcome::Closed).unwrap();
            }
            Begin::Run(session) => {
                self.log.push(text(event));
                self.clients.end(id, Outcome::Handled(session)).unwrap();
            }
            Begin::Skip => self.log.push(format!("{} skipped", text(event))),
            Begin::Unreadable(error) => panic!("{error}"),
        }
        let next = self.clients.next(id);
        for dropped in &next.dropped {
            self.log.push(format!("{} dropped", text(dropped)));
        }
        next.event
    }

    fn run_all(&mut self, event: Option<ClientEvent>) {
        let mut next = event;
        while let Some(event) = next {
            next = self.run(&event);
        }
    }

    /// Begins an event whose handler waits.
    fn wait(&mut self, event: &ClientEvent) {
        assert!(matches!(self.clients.begin(event), Begin::Run(_)));
    }

    fn check(&self, expected: &[&str]) {
        assert_eq!(self.log, expected);
    }
}

#[test]
fn events_of_one_client_come_one_at_a_time_and_in_order() {
    let mut test = Test::new();
    let first = test.message(1, "a").expect("begins at once");
    test.wait(&first);
    assert!(test.message(1, "b").is_none());
    assert!(test.message(1, "c").is_none());
    assert!(test.clients.arrive(event(1, Work::Close)).is_none());
    assert_eq!((test.clients.waiting(), test.clients.is_idle()), (3, false));
    test.run_all(Some(first));
    test.check(&["1:a", "1:b", "1:c", "1:close"]);
    assert!(test.clients.is_idle());
    assert_eq!(test.clients.len(), 0);
}

#[test]
fn clients_interleave() {
    let mut test = Test::new();
    let first = test.message(1, "slow").expect("begins");
    test.wait(&first);
    let second = test.message(2, "fast");
    test.run_all(second);
    test.run_all(Some(first));
    test.check(&["2:fast", "1:slow"]);
}

#[test]
fn a_client_that_failed_gets_nothing_but_its_last_event() {
    let mut test = Test::new();
    let first = test.message(1, "bad").expect("begins");
    test.wait(&first);
    test.message(1, "b");
    test.clients.end(id(1), Outcome::Failed(Bytes::new())).unwrap();
    let next = test.clients.next(id(1)).event;
    test.run_all(next);
    let close = test.clients.arrive(event(1, Work::Close));
    test.run_all(close);
    test.check(&["1:b skipped", "1:close"]);
}

#[test]
fn a_dead_gateway_gives_each_client_its_last_event_once() {
    let mut test = Test::new();
    let (first, second) = (test.message(1, "a"), test.message(2, "b"));
    test.run_all(first);
    let second = second.expect("begins");
    test.wait(&second);
    test.clients.hold(gateway());
    // What waited when the link was lost is handled before the last event.
    test.message(2, "c");
    let busy = test.run(&second);
    assert!(busy.is_none(), "held");
    assert!(test.clients.arrive(event(3, Work::Connect)).is_some_and(|event| {
        test.run_all(Some(event));
        true
    }));
    let begun = test.clients.close_all(gateway(), LINK).begun;
    assert_eq!(begun.len(), 3);
    for event in begun {
        test.run_all(Some(event));
    }
    test.log.sort();
    test.check(&["1:a", "1:lost", "2:b", "2:c", "2:lost", "3:connect", "3:lost"]);
    assert_eq!((test.clients.len(), test.clients.is_idle()), (0, true));
}

#[test]
fn clients_that_were_given_to_others_are_forgotten_without_an_event() {
    let mut test = Test::new();
    let first = test.message(1, "a");
    test.run_all(first);
    let second = test.message(2, "b").expect("begins");
    test.wait(&second);
    test.message(2, "c");
    test.clients.hold(gateway());
    assert_eq!(test.clients.forget(gateway()).dropped.len(), 1);
    test.run_all(Some(second));
    test.check(&["1:a", "2:b"]);
    assert_eq!((test.clients.len(), test.clients.is_idle()), (0, true));
}

#[test]
fn a_client_that_comes_back_while_its_handler_runs_is_ours_again() {
    let mut test = Test::new();
    let first = test.message(1, "a").expect("begins");
    test.wait(&first);
    test.clients.hold(gateway());
    test.clients.forget(gateway());
    test.clients.adopt(&client(1));
    assert!(test.message(1, "b").is_none());
    test.run_all(Some(first));
    test.check(&["1:a", "1:b"]);
    assert_eq!(test.clients.len(), 1);
}

#[test]
fn clients_are_held_however_often_their_link_is_lost() {
    let mut test = Test::new();
    let first = test.message(1, "a");
    test.run_all(first);
    test.clients.hold(gateway());
    test.clients.hold(gateway());
    test.clients.hold(SocketAddr::from(([127, 0, 0, 2], 2900)));
    assert!(test.message(1, "b").is_none(), "it is not known whether the gateway is dead");
    assert_eq!(test.clients.waiting(), 1);
    for event in test.clients.close_all(gateway(), LINK).begun {
        test.run_all(Some(event));
    }
    test.check(&["1:a", "1:b", "1:lost"]);
}
