//! One table gives its connections to another, over a real socket pair: the taking process is a thread here.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::JoinHandle;

use lineman_wire::handover::{HandedOver, MoveLimits, MoveOrder};

use super::*;
use crate::connection::handover::{GivenUp, Party, give, take};

/// What both ends are told.
fn order() -> MoveOrder {
    let limits = MoveLimits { quiet: Duration::from_secs(5), ..MoveLimits::new() };
    MoveOrder { nonce: [7; 16], limits }
}

fn party(generation: u64) -> Party {
    Party { service: "text".to_owned(), index: 0, generation }
}

/// What came of the taking process.
struct Took {
    outcome: Result<u64, GivenUp>,
    state: Vec<u8>,
}

/// A process that takes over, as a thread.
struct Successor {
    thread: JoinHandle<Took>,
    /// Tells it to end.
    end: tokio::sync::oneshot::Sender<()>,
    socket: OwnedFd,
}

/// Starts a process that serves lines at the same listener, once it has taken over.
fn successor(listener: &std::net::TcpListener) -> Successor {
    successor_with(listener, |log| Serve::peers(Text::default, Rc::new(echoing(log))))
}

fn successor_with<D: Driver>(
    listener: &std::net::TcpListener,
    make: impl FnOnce(&Log) -> Serve<D> + Send + 'static,
) -> Successor {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let listener = listener.try_clone().expect("a descriptor");
    let (end, ended) = tokio::sync::oneshot::channel();
    let (ready, is_ready) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let (took, result) = mpsc::channel();
        with_table(async |table| {
            table.stand_still();
            let log = Log::default();
            table.listen(listener, make(&log)).expect("a place in the table");
            ready.send(()).expect("awaited");
            let mut state = Vec::new();
            let restore = |saved: &[u8]| {
                state.extend_from_slice(saved);
                if saved == b"wrong" { Err("not understood".into()) } else { Ok(()) }
            };
            let outcome = take(&table, theirs.into(), &party(2), &order(), restore).await;
            if outcome.is_ok() {
                ended.await.ok();
            }
            took.send(Took { outcome, state }).expect("awaited");
        });
        result.recv().expect("a result")
    });
    is_ready.recv().expect("it listens");
    Successor { thread, end, socket: ours.into() }
}

impl Successor {
    async fn give_to(
        self,
        table: &Table,
        state: &[u8],
    ) -> (Result<HandedOver, GivenUp>, JoinHandle<Took>, tokio::sync::oneshot::Sender<()>) {
        let given = give(table, self.socket, &party(1), &order(), || Ok(state.to_vec())).await;
        (given, self.thread, self.end)
    }
}

fn listener() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port")
}

/// Listens as a process that has served from the start.
fn listen<D: Driver>(table: &Table, listener: &std::net::TcpListener, serve: Serve<D>) {
    table.listen(listener.try_clone().expect("a descriptor"), serve).expect("a place");
}

#[test]
fn connections_go_on_in_the_successor_in_the_middle_of_a_line() {
    with_table(async |table| {
        let (log, listener) = (Log::default(), listener());
        let address = listener.local_addr().expect("an address");
        listen(&table, &listener, Serve::peers(Text::default, Rc::new(echoing(&log))));
        let mut peers = Vec::new();
        for number in 0..300 {
            let mut peer = connect(address).await;
            say(&mut peer, format!("first {number}\nsecond ")).await;
            hear(&mut peer, format!("first {number}\n")).await;
            peers.push(peer);
        }
        table.flushed().await;
        let (given, thread, end) = successor(&listener).give_to(&table, b"state").await;
        let report = given.expect("it comes to the commit");
        assert_eq!((report.moved, report.left.len()), (300, 0));
        assert_eq!(report.bytes, 300 * 7);
        assert!(table.is_empty() && !table.is_accepting());
        for (number, peer) in peers.iter_mut().enumerate() {
            say(peer, format!("{number}\n")).await;
            hear(peer, format!("second {number}\n")).await;
        }
        // One more comes to the successor, by the same listener.
        let mut peer = connect(address).await;
        say(&mut peer, "new\n").await;
        hear(&mut peer, "new\n").await;
        drop(peers);
        drop(peer);
        end.send(()).expect("it lives");
        let took = tokio::task::spawn_blocking(|| thread.join()).await.expect("joined");
        let took = took.expect("no panic");
        assert_eq!((took.outcome, &took.state[..]), (Ok(300), &b"state"[..]));
        assert!(log.lines().is_empty(), "no handler here heard of an end: {:?}", log.lines());
    });
}

#[test]
fn what_happens_after_the_copy_moves_as_well() {
    with_table(async |table| {
        let (log, listener) = (Log::default(), listener());
        let address = listener.local_addr().expect("an address");
        let says = log.clone();
        let busy = Handlers {
            message: Some(messages(async move |connection: Connection<Text>, line: String| {
                if line == "wait" {
                    says.add("at work");
                    std::future::pending::<()>().await;
                }
                connection.send(line)
            })),
            ..echoing(&log)
        };
        listen(&table, &listener, Serve::peers(Text::default, Rc::new(busy)));
        let (mut idle, mut leaves) = (connect(address).await, connect(address).await);
        let (mut talks, mut waits) = (connect(address).await, connect(address).await);
        for peer in [&mut idle, &mut leaves, &mut talks, &mut waits] {
            say(peer, "hello\n").await;
            hear(peer, "hello\n").await;
        }
        let Successor { thread, end, socket } = successor(&listener);
        let mut giver = crate::connection::handover::Giver::new(&table, socket).expect("a pair");
        giver.agree(&party(1), &order()).await.expect("agreed");
        giver.copy_ahead().await.expect("copied");
        // One talks, one leaves, one comes, and one has its handler at work.
        say(&mut talks, "again\nhalf a ").await;
        hear(&mut talks, "again\n").await;
        drop(leaves);
        let mut comes = connect(address).await;
        say(&mut comes, "here\n").await;
        hear(&mut comes, "here\n").await;
        say(&mut waits, "wait\n").await;
        log.until("closed by peer").await;
        log.until("at work").await;
        table.end_turn();
        tokio::task::yield_now().await;
        let report = giver.finish(&order(), || Ok(Vec::new())).expect("committed");
        assert_eq!(report.moved, 3);
        assert_eq!(
            report.left.into_iter().collect::<Vec<_>>(),
            [("its handler is at work".to_owned(), 1)]
        );
        say(&mut talks, "line\n").await;
        hear(&mut talks, "half a line\n").await;
        for peer in [&mut idle, &mut comes] {
            say(peer, "still\n").await;
            hear(peer, "still\n").await;
        }
        assert_eq!(table.len(), 1);
        end.send(()).expect("it lives");
        drop((idle, talks, comes));
        let took = tokio::task::spawn_blocking(|| thread.join()).await.expect("joined");
        assert_eq!(took.expect("no panic").outcome, Ok(3));
    });
}

#[test]
fn a_connection_whose_handler_is_at_work_follows_the_others() {
    with_table(async |table| {
        let (log, gate, listener) =
            (Log::default(), Rc::new(tokio::sync::Notify::new()), listener());
        let address = listener.local_addr().expect("an address");
        let (says, opens) = (log.clone(), Rc::clone(&gate));
        let waiting = Handlers {
            message: Some(messages(async move |connection: Connection<Text>, line: String| {
                says.add("at work");
                opens.notified().await;
                connection.send(line)
            })),
            ..echoing(&log)
        };
        listen(&table, &listener, Serve::peers(Text::default, Rc::new(waiting)));
        let mut peer = connect(address).await;
        say(&mut peer, "one\ntwo\nthr").await;
        log.until("at work").await;
        let (given, thread, end) = successor(&listener).give_to(&table, b"").await;
        let report = given.expect("committed");
        assert_eq!((report.moved, report.left.values().sum::<u64>(), table.len()), (0, 1, 1));
        gate.notify_one();
        hear(&mut peer, "one\n").await;
        // The next line is behind it, here or there already.
        gate.notify_one();
        hear(&mut peer, "two\n").await;
        table.finished().await;
        say(&mut peer, "ee\n").await;
        hear(&mut peer, "three\n").await;
        assert!(log.lines().iter().all(|line| line == "at work"), "{:?}", log.lines());
        end.send(()).expect("it lives");
        drop(peer);
        let took = tokio::task::spawn_blocking(|| thread.join()).await.expect("joined");
        assert_eq!(took.expect("no panic").outcome, Ok(0));
    });
}

#[test]
fn the_giving_process_goes_on_whatever_the_other_one_says() {
    with_table(async |table| {
        let (log, listener) = (Log::default(), listener());
        let address = listener.local_addr().expect("an address");
        listen(&table, &listener, Serve::peers(Text::default, Rc::new(echoing(&log))));
        let mut peer = connect(address).await;
        say(&mut peer, "one\ntw").await;
        hear(&mut peer, "one\n").await;
        // It does not understand the service's state.
        let (given, thread, _end) = successor(&listener).give_to(&table, b"wrong").await;
        let error = given.expect_err("refused");
        assert_eq!(error.to_string(), "the other process refuses: not understood");
        let took = tokio::task::spawn_blocking(|| thread.join()).await.expect("joined");
        assert!(took.expect("no panic").outcome.is_err());
        // It is gone at once.
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        drop(theirs);
        give(&table, ours.into(), &party(1), &order(), || Ok(Vec::new())).await.expect_err("gone");
        // It says nothing.
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        let limits = MoveLimits { whole: Duration::from_millis(20), ..MoveLimits::new() };
        let impatient = MoveOrder { limits, ..order() };
        let error = give(&table, ours.into(), &party(1), &impatient, || Ok(Vec::new())).await;
        assert_eq!(error.expect_err("silent").to_string(), "it took longer than it may");
        say(&mut peer, "o\n").await;
        hear(&mut peer, "two\n").await;
        let mut other = connect(address).await;
        say(&mut other, "new\n").await;
        hear(&mut other, "new\n").await;
        assert_eq!((table.len(), log.lines().len()), (2, 0));
    });
}

#[test]
fn a_process_that_stands_still_waits_no_longer_than_it_may() {
    with_table(async |table| {
        let (log, listener) = (Log::default(), listener());
        let address = listener.local_addr().expect("an address");
        listen(&table, &listener, Serve::peers(Text::default, Rc::new(echoing(&log))));
        let mut peer = connect(address).await;
        say(&mut peer, "one\n").await;
        hear(&mut peer, "one\n").await;
        let Successor { thread, end, socket } = successor(&listener);
        let mut giver = crate::connection::handover::Giver::new(&table, socket).expect("a pair");
        giver.agree(&party(1), &order()).await.expect("agreed");
        // A process that is stopped here takes nothing any more.
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        giver.replace_pair(ours.into());
        let limits = MoveLimits { quiet: Duration::from_millis(30), ..MoveLimits::new() };
        let error = giver.finish(&MoveOrder { limits, ..order() }, || Ok(Vec::new()));
        let said = "nothing moved for as long as it may stand still for that";
        assert_eq!(error.expect_err("given up").to_string(), said);
        say(&mut peer, "two\n").await;
        hear(&mut peer, "two\n").await;
        drop(end);
        thread.join().expect("no panic").outcome.expect_err("it was left");
    });
}
