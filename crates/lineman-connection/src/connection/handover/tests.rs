//! What a taking process refuses: whatever the other end says wrong, it says why, serves nothing and stands still.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use lineman_wire::handover::{MoveLimits, MoveOrder};
use lineman_wire::text::Text;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::pair::{Frame, PairEnd};
use super::words::{FrameKind, HowMany, Introduction, NotAgreed, Numbers, Records, Sums, read};
use super::{Party, take};
use crate::connection::record::Record;
use crate::connection::{Handlers, Serve, Table};

/// A line's connection, with its length before it.
const LINES: &[u8] = include_bytes!("../../../../../fuzz/seeds/handover_records/text_open_345");

const NONCE: [u8; 16] = [3; 16];

fn party() -> Party {
    Party { service: "text".to_owned(), index: 0, generation: 2 }
}

/// Says hello as the right process does, or as another one, and then these frames; returns why it is refused.
fn refusal(hello: impl FnOnce(&Table) -> Frame, frames: Vec<Frame>) -> String {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let table = Table::new().expect("a table");
        table.stand_still();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let serve = Serve::peers(Text::default, Rc::new(Handlers::default()));
        table.listen(listener, serve).expect("a place");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let mut pair = PairEnd::new(ours.into()).expect("an end");
        let (hello, party) = (hello(&table), party());
        let order = MoveOrder { nonce: NONCE, limits: MoveLimits::new() };
        let says = async {
            pair.send(hello).await.expect("sent");
            for frame in frames {
                // It may have refused before.
                pair.send(frame).await.ok();
            }
            loop {
                let frame = pair.receive().await.expect("a frame").expect("an answer");
                if FrameKind::of(&frame) == Some(FrameKind::Refuse) {
                    let NotAgreed { reason } = read(&frame).expect("a reason");
                    return reason;
                }
            }
        };
        let taking = take(&table, theirs.into(), &party, &order, |_| Ok(()));
        let (taken, told) = tokio::join!(taking, says);
        let error = taken.expect_err("refused").to_string();
        assert_eq!(told, error, "the other process hears why");
        assert!(table.is_still());
        error
    })
}

fn hello(table: &Table) -> Frame {
    FrameKind::Hello.frame(&Introduction::of(table, &party(), &NONCE)).expect("a frame")
}

/// Returns why it refuses these frames of the right process.
fn refused(frames: Vec<Frame>) -> String {
    refusal(hello, frames)
}

fn records(kind: FrameKind, body: &[u8], descriptors: Vec<OwnedFd>) -> Frame {
    Frame { kind: kind as u8, body: body.to_vec().into(), descriptors }
}

/// A connection's socket, and what has to live for that.
fn connected() -> (OwnedFd, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let stream = TcpStream::connect(listener.local_addr().expect("an address"));
    (stream.expect("connected").into(), listener)
}

/// Returns the record after a change, with its length before it.
fn changed(change: impl FnOnce(&mut Record)) -> Vec<u8> {
    let bytes = Records::split_first(&mut &LINES[..]).expect("a record");
    let mut record: Record = rmp_serde::from_slice(bytes).expect("understood");
    change(&mut record);
    let mut records = Records::default();
    let write = |bytes: &mut Vec<u8>| rmp_serde::encode::write_named(bytes, &record);
    records.add(write).expect("written");
    records.take().to_vec()
}

#[test]
fn descriptors_that_are_no_connections_sockets() {
    let no_socket = "a descriptor is no socket";
    let no_connection = "a descriptor is no connection's socket";
    let other_family = "a descriptor is a socket of another family than its record says";
    let (reads, _writes) = std::io::pipe().expect("a pipe");
    let file = std::fs::File::open("/dev/null").expect("a file");
    let (listener, udp) = (TcpListener::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
    let (unix, _other) = UnixStream::pair().expect("a pair");
    let cases: [(OwnedFd, &str); 5] = [
        (reads.into(), no_socket),
        (file.into(), no_socket),
        (listener.expect("a port").into(), no_connection),
        (udp.expect("a port").into(), no_connection),
        (unix.into(), other_family),
    ];
    for (descriptor, why) in cases {
        assert_eq!(refused(vec![records(FrameKind::Take, LINES, vec![descriptor])]), why);
    }
}

#[test]
fn more_or_fewer_descriptors_than_records() {
    let none = refused(vec![records(FrameKind::Take, LINES, Vec::new())]);
    assert_eq!(none, "a record came without a descriptor");
    let ((one, _first), (other, _second)) = (connected(), connected());
    let two = refused(vec![records(FrameKind::Take, LINES, vec![one, other])]);
    assert_eq!(two, "a descriptor came without a record");
    let (one, _listener) = connected();
    let again = refused(vec![records(FrameKind::Again, LINES, vec![one])]);
    assert_eq!(again, "a frame has descriptors that it should not have");
}

#[test]
fn records_that_are_not_what_they_say() {
    let take = |bytes: &[u8]| {
        let (one, _listener) = connected();
        refused(vec![records(FrameKind::Take, bytes, vec![one])])
    };
    let elsewhere = changed(|record| record.listener = 7);
    assert_eq!(take(&elsewhere), "a record is of a listener that is not here");
    let other = changed(|record| record.protocol = "framed".to_owned());
    let why = "a record is of the protocol framed, and its listener of text";
    assert_eq!(take(&other), why);
    assert_eq!(take(&LINES[..LINES.len() - 1]), "a record's length is wrong");
    assert_eq!(take(&[0, 0, 0]), "a record's length is wrong");
    let garbage = take(&[0, 0, 0, 2, 0xC1, 0xC1]);
    assert!(garbage.starts_with("a record is not understood: "), "{garbage}");
    let ((one, _first), (other, _second)) = (connected(), connected());
    let twice = refused(vec![records(FrameKind::Take, &LINES.repeat(2), vec![one, other])]);
    assert_eq!(twice, "a connection was given twice");
}

#[test]
fn words_that_are_out_of_turn() {
    let unknown = "a connection is spoken of that was not given";
    assert_eq!(refused(vec![records(FrameKind::Again, LINES, Vec::new())]), unknown);
    let gone = FrameKind::Gone.frame(&Numbers { numbers: vec![4] }).expect("a frame");
    assert_eq!(refused(vec![gone]), unknown);
    let sums = Sums { connections: 1, state: 2, next_number: 3 };
    let end = FrameKind::End.frame(&sums).expect("a frame");
    let why = "0 of 1 connections came, and 0 of 2 bytes of the service's state";
    assert_eq!(refused(vec![end]), why);
    let commit = FrameKind::Commit.frame(&()).expect("a frame");
    assert_eq!(refused(vec![commit]), "Some(Commit) came out of turn");
    let nothing = Frame { kind: 99, ..Frame::default() };
    assert_eq!(refused(vec![nothing]), "None came out of turn");
    let wrong = FrameKind::End.frame(&HowMany { count: 1 }).expect("a frame");
    let why = refused(vec![wrong]);
    assert!(why.starts_with("a frame is not understood: "), "{why}");
}

#[test]
fn processes_that_are_not_the_one_before() {
    let stranger = |table: &Table| {
        let other = Introduction::of(table, &party(), &[4; 16]);
        FrameKind::Hello.frame(&other).expect("a frame")
    };
    assert_eq!(refusal(stranger, Vec::new()), "a stranger is at the other end");
    let neighbour = |table: &Table| {
        let other = Party { index: 1, ..party() };
        FrameKind::Hello.frame(&Introduction::of(table, &other, &NONCE)).expect("a frame")
    };
    assert_eq!(refusal(neighbour, Vec::new()), "text/1 is at the other end");
    let newer = |table: &Table| {
        let other = Introduction::of(table, &party(), &NONCE).with_formats(7, 9);
        FrameKind::Hello.frame(&other).expect("a frame")
    };
    let why = refusal(newer, Vec::new());
    assert!(why.starts_with("no record is of a form that both know: "), "{why}");
    let silent = |_: &Table| FrameKind::Commit.frame(&()).expect("a frame");
    assert_eq!(refusal(silent, Vec::new()), "a stranger is at the other end");
}
