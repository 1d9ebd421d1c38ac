//! What `lineman-master` needs of this program and of what serves in its workers, over `App`, the
//! connection table and the slot's service. The only place where the master's half meets the
//! connections' half.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use lineman_connection::BLOCKING_THREADS;
use lineman_master::master::hooks::Hooks;
use lineman_master::program::{Inherited, Inside, Program, StartManner};
use lineman_os::procfs;
use lineman_wire::briefing::Predecessor;
use lineman_wire::chain;
use lineman_wire::handover::{HandedOver, MoveOrder, RecordFormats};
use lineman_wire::ticket_keys::TicketKeys;

use crate::activity::{self, Activity, Current};
use crate::config::Config;
use crate::connection::handover::{FORMATS, Party, give, take};
use crate::connection::{CloseReason, Row, Stats, Table};
use crate::service::{
    ClusterPeer, Complaints, Context, Description, LocalFuture, Reload, Running, Service,
};
use crate::tls::FromMaster;
use crate::{App, Error, Result, work};

impl Program for App {
    fn config(&self) -> &Config {
        &self.config
    }

    fn descriptions(&self) -> Vec<Description> {
        self.services.iter().map(|service| service.description()).collect()
    }

    fn hooks(&self) -> Rc<Hooks> {
        Rc::clone(&self.hooks)
    }

    fn problems(&self) -> Vec<String> {
        let problems = self.services.iter().filter_map(|service| {
            let error = service.check().err()?;
            Some(format!("{}: {}", service.description().name, chain(&*error)))
        });
        problems.collect()
    }

    fn peers(&self) -> Vec<ClusterPeer> {
        let mut peers: Vec<ClusterPeer> = Vec::new();
        for peer in self.services.iter().flat_map(|service| service.peers()) {
            let said = |known: &ClusterPeer| {
                (known.role, &known.address, &known.outcome)
                    == (peer.role, &peer.address, &peer.outcome)
            };
            if !peers.iter().any(said) {
                peers.push(peer);
            }
        }
        peers.sort_by(|one, other| other.role.cmp(one.role));
        peers
    }

    fn formats(&self) -> RecordFormats {
        FORMATS
    }

    fn blocking_threads(&self) -> usize {
        BLOCKING_THREADS
    }

    fn inside(self: Box<Self>, inherited: Inherited) -> Result<Rc<dyn Inside>> {
        let Inherited { slot, listeners, self_signed } = inherited;
        if let Some((certificate, key)) = self_signed {
            FromMaster::of_this_process().use_self_signed(certificate, key);
        }
        let table = Table::new()?;
        let processes = self.services.iter().map(|service| service.description().count).sum();
        table.set_budget(self.budget.unwrap_or_else(|| default_budget(processes)));
        let mut services = self.services.into_iter();
        let service = services.find(|service| service.description().name == slot.service);
        let service = service.ok_or_else(|| Error::Configuration {
            service: slot.service.clone(),
            problem: "the program describes no service of this name".to_owned(),
        })?;
        let context = Context {
            service: slot.service,
            index: slot.index,
            generation: slot.generation,
            listeners,
            table: table.clone(),
            predecessor: None,
        };
        let party = Party {
            service: context.service.clone(),
            index: context.index,
            generation: context.generation,
        };
        let hands_over = service.description().reload == Reload::HandOver;
        let waiting = RefCell::new(Some((service, context)));
        Ok(Rc::new(Serving { table, party, hands_over, waiting, running: Rc::default() }))
    }
}

/// What a process may hold unless [`App::budget`] says: the kernel's buffers of the same connections, and what
/// the program itself keeps, need the rest.
fn default_budget(processes: usize) -> usize {
    const LEAST: usize = 32 * 1024 * 1024;
    let memory = procfs::memory_limit().and_then(|bytes| usize::try_from(bytes).ok());
    let share = memory.unwrap_or_default() / 4 / processes.max(1);
    share.max(LEAST)
}

/// A worker's table and the service of its slot.
struct Serving {
    table: Table,
    /// What it is to the other end of a handover.
    party: Party,
    hands_over: bool,
    /// The service until it is started.
    waiting: RefCell<Option<(Box<dyn Service>, Context)>>,
    /// And from when it has started.
    running: Rc<OnceCell<Rc<dyn Running>>>,
}

impl Serving {
    /// Runs what the service does at some point of its life; nothing before it has started.
    fn watched(&self, call: impl FnOnce(&dyn Running) -> LocalFuture<()>) -> LocalFuture<()> {
        match self.running.get() {
            Some(running) => Box::pin(activity::watched(Activity::Service, 0, call(&**running))),
            None => Box::pin(async {}),
        }
    }
}

impl Inside for Serving {
    fn run(&self) -> LocalFuture<()> {
        let table = self.table.clone();
        Box::pin(async move { table.run().await })
    }

    fn start(&self, predecessor: Option<Predecessor>, manner: StartManner) -> LocalFuture<Result> {
        if manner == StartManner::Dormant {
            self.table.stand_still();
        }
        let waiting = self.waiting.take();
        let cell = Rc::clone(&self.running);
        Box::pin(async move {
            let Some((service, context)) = waiting else { return Ok(()) };
            let context = Context { predecessor, ..context };
            let running = activity::watched(Activity::Start, 0, service.start(context)).await?;
            cell.get_or_init(|| running);
            Ok(())
        })
    }

    fn record_formats(&self) -> Option<RecordFormats> {
        self.hands_over.then_some(FORMATS)
    }

    fn hand_over(
        &self,
        socket: OwnedFd,
        order: MoveOrder,
    ) -> LocalFuture<Result<HandedOver, String>> {
        let (table, party) = (self.table.clone(), self.party.clone());
        let running = Rc::clone(&self.running);
        Box::pin(async move {
            let running = running.get().ok_or("the service has not started")?;
            let report = give(&table, socket, &party, &order, || running.save()).await;
            let report = report.map_err(|error| error.to_string())?;
            running.gave();
            Ok(report)
        })
    }

    fn take_over(&self, socket: OwnedFd, order: MoveOrder) -> LocalFuture<Result<(), String>> {
        let (table, party) = (self.table.clone(), self.party.clone());
        let running = Rc::clone(&self.running);
        Box::pin(async move {
            let running = running.get().ok_or("the service has not started")?;
            let restore = |state: &[u8]| running.restore(state);
            let taken = take(&table, socket, &party, &order, restore).await;
            let taken = taken.map_err(|error| error.to_string())?;
            running.took_over();
            tracing::info!(connections = taken, "took over from the process before");
            Ok(())
        })
    }

    fn current_call(&self) -> fn() -> Option<String> {
        || Current::look().map(|now| now.to_string())
    }

    fn connections(&self) -> usize {
        self.table.len()
    }

    fn status(&self) -> (Stats, BTreeMap<String, u64>) {
        let gauges = self.running.get().map(|running| running.gauges()).unwrap_or_default();
        let gauges = gauges.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        (self.table.stats(), gauges)
    }

    fn condition(&self) -> Complaints {
        self.running.get().map(|running| running.condition()).unwrap_or_default()
    }

    fn briefing(&self) -> Option<String> {
        self.running.get().and_then(|running| running.briefing())
    }

    fn rows(&self, from: usize, limit: usize) -> (Vec<Row>, Option<usize>) {
        self.table.rows(from, limit)
    }

    fn use_ticket_keys(&self, keys: TicketKeys) {
        FromMaster::of_this_process().use_ticket_keys(keys);
    }

    fn reload(&self) -> LocalFuture<()> {
        FromMaster::of_this_process().reload();
        let (under_way, reload) = (work::begin(), self.watched(|running| running.reload()));
        Box::pin(async move {
            let _under_way = under_way;
            reload.await;
        })
    }

    fn borrow_listener(&self, lender: &str, socket: OwnedFd) -> io::Result<()> {
        self.table.borrow_listener(lender, socket)
    }

    fn return_listeners(&self, lender: &str) {
        self.table.return_listeners(lender);
    }

    fn stop_accepting(&self) {
        self.table.stop_accepting();
    }

    fn drain(&self) -> LocalFuture<()> {
        match self.running.get() {
            Some(running) => running.drain(&self.table),
            None => self.finished(),
        }
    }

    fn close_all(&self) -> usize {
        if let Some(running) = self.running.get() {
            running.closing();
        }
        self.table.close_all(&CloseReason::GoingAway)
    }

    fn finished(&self) -> LocalFuture<()> {
        let table = self.table.clone();
        Box::pin(async move { table.finished().await })
    }

    fn unfinished(&self) -> usize {
        self.table.unfinished()
    }

    fn close_for_restart(&self, most: usize) -> usize {
        if most < usize::MAX {
            return self.table.close_some(&CloseReason::Replaced, most);
        }
        if let Some(running) = self.running.get() {
            running.closing();
        }
        self.table.close_all(&CloseReason::Replaced)
    }

    fn abort_all(&self) -> usize {
        self.table.abort_all()
    }

    fn stopped(&self) -> LocalFuture<()> {
        self.watched(|running| running.stopped())
    }
}
