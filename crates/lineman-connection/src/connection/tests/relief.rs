//! What is held, refused and closed as the budget fills, and for how long: beside connections, shares of a
//! known size stand for what else the process holds.

use std::sync::Arc;

use super::*;
use crate::connection::Share;
use crate::tls::tests::Files;

const KIBI: usize = 1024;

/// What counts is the length, so one piece of memory is enough for all.
static ZEROS: [u8; 16_000_000] = [0; 16_000_000];

/// Something outside of the table that holds so much.
fn share(table: &Table, size: usize) -> (Arc<Share>, Bytes) {
    let share = table.holder();
    let held = share.count(Bytes::from_static(&ZEROS[..size]));
    (share, held)
}

fn shares(table: &Table, count: usize, size: usize) -> Vec<(Arc<Share>, Bytes)> {
    (0..count).map(|_| share(table, size)).collect()
}

/// Has the table look.
async fn turn(table: &Table) {
    table.before_flush(|| {});
    settle().await;
}

async fn turn_for(table: &Table, time: Duration) {
    tokio::time::sleep(time).await;
    turn(table).await;
}

/// Waits until the table has read everything.
async fn read_all() {
    for _ in 0..50 {
        settle().await;
    }
}

fn bytes(table: &Table) -> usize {
    usize::try_from(table.stats().held_bytes).expect("they are in memory")
}

fn going(shares: &[(Arc<Share>, Bytes)]) -> usize {
    shares.iter().filter(|(share, _)| share.is_going()).count()
}

fn lines(table: &Table, log: &Log) -> SocketAddr {
    serve(table, Serve::peers(Text::default, Rc::new(echoing(log))))
}

#[test]
fn no_more_are_closed_than_what_they_give_back_later_makes_necessary() {
    with_table_and_paused_clock(async |table| {
        let ten = shares(&table, 10, 100 * KIBI);
        table.set_budget(1000 * KIBI);
        turn(&table).await;
        assert_eq!((going(&ten), table.stats().budget_closed), (3, 3));
        // Those have not given back anything, and what comes is less than they will.
        let more = shares(&table, 4, 10 * KIBI);
        turn(&table).await;
        assert_eq!((going(&ten), going(&more)), (3, 0));
        let still_more = share(&table, 60 * KIBI);
        turn(&table).await;
        assert_eq!((going(&ten), table.stats().budget_closed), (4, 4));
        drop((ten, more, still_more));
    });
}

#[test]
fn a_crowd_that_comes_back_is_closed_after_five_seconds_again() {
    with_table_and_paused_clock(async |table| {
        table.set_budget(1000 * KIBI);
        let (large, other) = (share(&table, 700 * KIBI), share(&table, 100 * KIBI));
        turn(&table).await;
        assert!(table.refuses_new());
        // It is neither calm nor crowded, for long enough that nothing watches it any more.
        drop(other);
        turn_for(&table, Duration::from_secs(2)).await;
        assert!(!table.refuses_new());
        let other = share(&table, 60 * KIBI);
        turn_for(&table, Duration::from_secs(2)).await;
        assert!(table.refuses_new() && !large.0.is_going());
        turn_for(&table, Duration::from_secs(10)).await;
        assert!(large.0.is_going() && !other.0.is_going());
    });
}

#[test]
fn what_is_held_elsewhere_is_looked_at_without_a_turn_of_the_tables() {
    with_table_and_paused_clock(async |table| {
        table.set_budget(1000 * KIBI);
        settle().await;
        let large = share(&table, 1100 * KIBI);
        settle().await;
        assert!(large.0.is_going());
    });
}

#[test]
fn half_open_ones_are_not_held_and_go_first_and_at_once() {
    with_table_and_paused_clock(async |table| {
        let files = Files::new();
        let log = Log::default();
        let front = Front { tls: Some(files.tls("server")), ..Front::default() };
        let secure = Serve::peers(Text::default, Rc::new(echoing(&Log::default()))).front(front);
        let (secure, plain) = (serve(&table, secure), lines(&table, &log));
        let mut strangers = Vec::new();
        for _ in 0..20 {
            let mut stranger = connect(secure).await;
            say(&mut stranger, [0x16, 3, 1, 2, 0]).await;
            strangers.push(stranger);
        }
        settle().await;
        let held = bytes(&table);
        assert!(held > 20 * 16 * KIBI, "{held}");
        table.set_budget(held * 3 / 2);
        turn(&table).await;
        assert_eq!((table.stats().budget_held, table.stats().budget_closed), (0, 0));
        table.set_budget(usize::MAX);
        let mut honest = connect(plain).await;
        say(&mut honest, vec![b'x'; 100 * KIBI]).await;
        read_all().await;
        table.set_budget(bytes(&table));
        turn(&table).await;
        let closed = table.stats().budget_closed;
        assert!((1..12).contains(&closed), "{closed}");
        assert_eq!(table.len(), 21 - usize::try_from(closed).expect("few"), "they linger nowhere");
        assert_eq!(log.lines(), Vec::<String>::new(), "the large one stays");
    });
}

#[test]
fn one_that_holds_nothing_any_more_is_read_while_others_hold_much() {
    with_table_and_paused_clock(async |table| {
        let kept = Rc::default();
        let serve_it = Serve::peers(Text::default, telling(&Log::default(), &kept));
        let mut peer = connect(serve(&table, serve_it)).await;
        settle().await;
        table.set_budget(64_000_000);
        let others = shares(&table, 29, 1_000_000);
        kept.borrow()[0].send_encoded(Bytes::from_static(&ZEROS)).expect("room");
        turn(&table).await;
        assert_eq!(table.stats().budget_held, 1);
        peer.read_exact(&mut vec![0; ZEROS.len()]).await.expect("all of it");
        say(&mut peer, "a\n").await;
        hear(&mut peer, "a\n").await;
        assert!(table.stats().held_bytes > 29_000_000, "it is not calm");
        assert_eq!(going(&others), 0);
    });
}

#[test]
fn many_that_hold_little_make_room_too_the_oldest_first() {
    with_table_and_paused_clock(async |table| {
        let log = Log::default();
        let address = lines(&table, &log);
        let mut peers = Vec::new();
        for _ in 0..100 {
            let mut peer = connect(address).await;
            say(&mut peer, vec![b'x'; 3000]).await;
            settle().await;
            peers.push(peer);
        }
        table.set_budget(380_000);
        turn(&table).await;
        assert!(table.refuses_new());
        turn_for(&table, Duration::from_secs(7)).await;
        assert!(!table.refuses_new());
        let closed = log.lines().len();
        assert!((30..60).contains(&closed), "{closed}");
        for (number, peer) in peers.iter_mut().enumerate() {
            let is_gone = peer.try_read(&mut [0]).is_ok_and(|count| count == 0);
            assert_eq!(is_gone, number < closed, "{number}");
        }
    });
}

#[test]
fn what_links_hold_costs_no_client_its_connection() {
    with_table_and_paused_clock(async |table| {
        let log = Log::default();
        let link = Serve::links(Text::default, Rc::new(echoing(&Log::default())));
        let (link, client) = (serve(&table, link), lines(&table, &log));
        let (mut link, mut client) = (connect(link).await, connect(client).await);
        say(&mut link, vec![b'x'; 300 * KIBI]).await;
        say(&mut client, vec![b'x'; 100 * KIBI]).await;
        read_all().await;
        table.set_budget(bytes(&table));
        turn(&table).await;
        assert!(table.refuses_new());
        turn_for(&table, Duration::from_secs(20)).await;
        assert_eq!((log.lines(), table.stats().budget_closed), (Vec::<String>::new(), 0));
    });
}

/// Returns handlers that keep the connection, and log what they are told of its queue.
fn telling(log: &Log, kept: &Rc<RefCell<Vec<Connection<Text>>>>) -> Rc<Handlers<Text>> {
    let (full, drained, keep) = (log.clone(), log.clone(), Rc::clone(kept));
    Rc::new(Handlers {
        connect: Some(boxed(async move |connection: Connection<Text>| {
            keep.borrow_mut().push(connection);
            Ok(())
        })),
        full: Some(Box::new(move |_| full.add("full"))),
        drain: Some(Box::new(move |_| drained.add("drained"))),
        ..echoing(&Log::default())
    })
}

#[test]
fn where_the_budget_is_used_up_a_link_sends_and_others_are_told_that_they_are_full() {
    with_table_and_paused_clock(async |table| {
        let (of_link, of_peer) = (Log::default(), Log::default());
        let kept = Rc::default();
        let link = serve(&table, Serve::links(Text::default, telling(&of_link, &kept)));
        let limits = Limits { send_queue: usize::MAX, ..Limits::default() };
        let serve_it = Serve::peers(Text::default, telling(&of_peer, &kept)).limits(limits);
        let peers = serve(&table, serve_it);
        let mut link_peer = connect(link).await;
        settle().await;
        let mut peer = connect(peers).await;
        settle().await;
        let [link, connection] = kept.take().try_into().expect("both are open");
        table.set_budget(1000 * KIBI);
        let other = share(&table, 1000 * KIBI);
        for connection in [&link, &connection] {
            connection.send("first").expect("nothing waits");
            connection.send("second").expect("a link goes on, and of the other nothing waits then");
        }
        hear(&mut link_peer, "first\nsecond\n").await;
        hear(&mut peer, "first\nsecond\n").await;
        settle().await;
        assert_eq!(of_peer.lines(), Vec::<String>::new());
        // More than the kernel takes of a peer that does not read.
        connection.send("z".repeat(16_000_000)).expect("nothing waits");
        for _ in 0..2 {
            let full = connection.send("third").expect_err("used up");
            assert_eq!(full.downcast_ref(), Some(&SendError::Full));
        }
        link.send("third").expect("a link goes on");
        assert_eq!((of_link.lines(), of_peer.lines()), (Vec::new(), vec!["full".to_owned()]));
        drop(other);
    });
}
