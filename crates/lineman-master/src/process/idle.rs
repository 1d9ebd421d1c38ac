//! For the tests of `process`: a worker's inside without a connection, whose service never drains.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, pending, ready};
use lineman_wire::Result;
use lineman_wire::briefing::Predecessor;
use lineman_wire::handover::{HandedOver, MoveOrder, RecordFormats};
use lineman_wire::stats::{Complaints, Row, Stats};
use lineman_wire::ticket_keys::TicketKeys;

use crate::program::{Inside, StartManner};

pub(super) struct Idle;

/// Says what the other end of the socket has said: `commit`, or why there is none.
fn reply(socket: OwnedFd) -> Result<(), String> {
    let mut said = String::new();
    let heard = std::fs::File::from(socket).read_to_string(&mut said);
    heard.map_err(|error| error.to_string())?;
    if said == "commit" { Ok(()) } else { Err(said) }
}

impl Inside for Idle {
    fn run(&self) -> LocalBoxFuture<'static, ()> {
        pending().boxed_local()
    }

    fn start(
        &self,
        _predecessor: Option<Predecessor>,
        _manner: StartManner,
    ) -> LocalBoxFuture<'static, Result> {
        ready(Ok(())).boxed_local()
    }

    fn record_formats(&self) -> Option<RecordFormats> {
        Some(RecordFormats { oldest: 1, newest: 1 })
    }

    fn hand_over(
        &self,
        socket: OwnedFd,
        _order: MoveOrder,
    ) -> LocalBoxFuture<'static, Result<HandedOver, String>> {
        let moved = HandedOver { moved: 3, ..HandedOver::default() };
        async move { reply(socket).map(|()| moved) }.boxed_local()
    }

    fn take_over(
        &self,
        socket: OwnedFd,
        _order: MoveOrder,
    ) -> LocalBoxFuture<'static, Result<(), String>> {
        async move { reply(socket) }.boxed_local()
    }

    fn current_call(&self) -> fn() -> Option<String> {
        || None
    }

    fn connections(&self) -> usize {
        0
    }

    fn status(&self) -> (Stats, BTreeMap<String, u64>) {
        (Stats::default(), BTreeMap::new())
    }

    fn condition(&self) -> Complaints {
        Complaints::default()
    }

    fn briefing(&self) -> Option<String> {
        None
    }

    fn rows(&self, _from: usize, _limit: usize) -> (Vec<Row>, Option<usize>) {
        (Vec::new(), None)
    }

    fn use_ticket_keys(&self, _keys: TicketKeys) {}

    fn reload(&self) -> LocalBoxFuture<'static, ()> {
        ready(()).boxed_local()
    }

    fn borrow_listener(&self, _lender: &str, _socket: OwnedFd) -> io::Result<()> {
        Ok(())
    }

    fn return_listeners(&self, _lender: &str) {}

    fn stop_accepting(&self) {}

    fn drain(&self) -> LocalBoxFuture<'static, ()> {
        pending().boxed_local()
    }

    fn close_all(&self) -> usize {
        0
    }

    fn finished(&self) -> LocalBoxFuture<'static, ()> {
        ready(()).boxed_local()
    }

    fn unfinished(&self) -> usize {
        0
    }

    fn close_for_restart(&self, _most: usize) -> usize {
        0
    }

    fn abort_all(&self) -> usize {
        0
    }

    fn stopped(&self) -> LocalBoxFuture<'static, ()> {
        ready(()).boxed_local()
    }
}
