//! For the tests of `process`: a worker's inside without a connection, whose service never drains.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, pending, ready};
use lineman_wire::Result;
use lineman_wire::briefing::Predecessor;
use lineman_wire::stats::{Complaints, Row, Stats};
use lineman_wire::ticket_keys::TicketKeys;

use crate::program::Inside;

pub(super) struct Idle;

impl Inside for Idle {
    fn run(&self) -> LocalBoxFuture<'static, ()> {
        pending().boxed_local()
    }

    fn start(&self, _predecessor: Option<Predecessor>) -> LocalBoxFuture<'static, Result> {
        ready(Ok(())).boxed_local()
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

    fn abort_all(&self) -> usize {
        0
    }

    fn stopped(&self) -> LocalBoxFuture<'static, ()> {
        ready(()).boxed_local()
    }
}
