//! Which clients a gateway lets in: its allow-list and its connect hook, asked in this order before a client is one.
//!
//! The gateway's shell asks about each new client. It knows nothing of the gateway's logic, counts what it refuses,
//! and has the log tell of it in sums.

mod allow;
mod hook;
mod asking;
mod verdict;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use lineman::connection::Address;
use lineman::timer::{self, Timer};
use lineman::websocket::{Refusal, Request};
use tokio::time::Instant;

pub use allow::Allow;
pub(crate) use asking::Question;
use asking::{HookClient, NoAnswer};
pub use hook::{ConnectHook, HookFailure};
use verdict::HookVerdict;
pub(crate) use verdict::{Binding, Welcome};

use crate::recurrence::Recurrence;

/// What a gateway is told of its new clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct EntranceSettings {
    pub(crate) allow: Allow,
    pub(crate) hook: Option<ConnectHook>,
}

/// What a service's clients have: a request with path and headers, or a connection alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    WithRequest,
    Silent,
}

impl EntranceSettings {
    /// Returns what in it cannot work for clients that come so.
    pub(crate) fn problem(&self, arrival: Arrival, handshake_time: Duration) -> Option<String> {
        if arrival == Arrival::Silent && (self.allow.needs_a_request() || self.hook.is_some()) {
            let problem = "its clients send no request: of `allow` only networks can hold, and there is nothing to \
                           ask a connect hook";
            return Some(problem.to_owned());
        }
        let allow = self.allow.problem().map(|problem| format!("allow: {problem}"));
        let hook = || {
            let problem = self.hook.as_ref()?.problem(handshake_time)?;
            Some(format!("connect hook: {problem}"))
        };
        allow.or_else(hook)
    }
}

/// The entrance of one process.
pub(crate) struct Entrance {
    rules: RefCell<Rc<EntranceRules>>,
    refused: RefCell<Sum>,
    failed: RefCell<Sum>,
    /// Questions that the hook works on, or the one before it.
    under_way: Rc<Cell<usize>>,
}

/// What an entrance goes by.
pub(crate) struct EntranceRules {
    allow: Allow,
    asking: Option<HookClient>,
    failure: HookFailure,
}

/// How often something happened, and why it did last.
#[derive(Default)]
struct Sum {
    recurrence: Recurrence,
    reason: String,
}

impl Sum {
    fn add(&mut self, reason: String) {
        self.recurrence.add();
        self.reason = reason;
    }
}

impl EntranceRules {
    fn new(settings: EntranceSettings, under_way: &Rc<Cell<usize>>) -> std::io::Result<Self> {
        let failure = settings.hook.as_ref().map(|hook| hook.failure).unwrap_or_default();
        let asking = settings.hook.map(|hook| HookClient::new(hook, Rc::clone(under_way)));
        Ok(Self { allow: settings.allow, asking: asking.transpose()?, failure })
    }
}

impl Entrance {
    /// # Errors
    /// When the hook's URL needs authorities that this machine does not have.
    pub(crate) fn new(settings: EntranceSettings) -> std::io::Result<Self> {
        let under_way = Rc::default();
        let rules = EntranceRules::new(settings, &under_way)?;
        let (refused, failed) = (RefCell::default(), RefCell::default());
        Ok(Self { rules: RefCell::new(Rc::new(rules)), refused, failed, under_way })
    }

    /// Returns what these settings make of it, for [`Entrance::replace`].
    ///
    /// # Errors
    /// As [`Entrance::new`].
    pub(crate) fn rules(&self, settings: EntranceSettings) -> std::io::Result<EntranceRules> {
        EntranceRules::new(settings, &self.under_way)
    }

    /// Has the clients to come meet other rules. Those that wait for the hook's answer get it.
    pub(crate) fn replace(&self, rules: EntranceRules) {
        self.rules.replace(Rc::new(rules));
    }

    /// Looks whether a client is allowed; one without a handshake has no request.
    pub(crate) fn check(
        &self,
        peer: &Address,
        request: Option<&Request>,
    ) -> Result<(), Box<Refusal>> {
        self.rules.borrow().allow.check(peer, request).map_err(|why| {
            self.refuse(peer, why.to_string());
            Box::new(why.refusal())
        })
    }

    /// Whether clients have to wait for a hook.
    pub(crate) fn has_hook(&self) -> bool {
        self.rules.borrow().asking.is_some()
    }

    /// Asks the hook about a client, and has `add_headers` put what it says into the client's answer. Returns what is
    /// bound to the client.
    pub(crate) async fn ask(
        &self,
        question: &Question,
        add_headers: impl FnOnce(Vec<(String, String)>) -> lineman::Result,
    ) -> Result<Binding, Box<Refusal>> {
        let rules = Rc::clone(&self.rules.borrow());
        let Some(asking) = &rules.asking else { return Ok(Binding::default()) };
        let problem = match asking.ask(question).await.and_then(verdict::read) {
            Ok(HookVerdict::Accept(Welcome { binding, headers })) => match add_headers(headers) {
                Ok(()) => return Ok(binding),
                Err(error) => NoAnswer::Header(error.to_string()),
            },
            Ok(HookVerdict::Refuse(refusal)) => {
                let why = format!("the connect hook answers {}", refusal.status());
                self.refuse(&question.peer, why);
                return Err(Box::new(refusal));
            }
            Err(problem) => problem,
        };
        tracing::debug!(peer = %question.peer, %problem, "connect hook failed");
        self.failed.borrow_mut().add(problem.to_string());
        self.tell();
        match rules.failure {
            HookFailure::Accept => Ok(Binding::default()),
            HookFailure::Refuse => Err(Box::new(Refusal::new(503))),
        }
    }

    fn refuse(&self, peer: &Address, reason: String) {
        tracing::debug!(%peer, reason, "client refused");
        self.refused.borrow_mut().add(reason);
        self.tell();
    }

    /// Has the log tell of those of whom it has not told, if it is time for that.
    fn tell(&self) {
        let now = Instant::now();
        let mut refused = self.refused.borrow_mut();
        if let Some(count) = refused.recurrence.untold(now) {
            tracing::info!(count, last = refused.reason, "clients refused");
        }
        let mut failed = self.failed.borrow_mut();
        if let Some(count) = failed.recurrence.untold(now) {
            let policy = self.rules.borrow().failure;
            tracing::warn!(count, last = failed.reason, ?policy, "connect hook failed");
        }
    }

    /// Has the log told as long as the process runs.
    pub(crate) fn telling(entrance: &Rc<Self>, period: Duration) -> Timer {
        let entrance = Rc::clone(entrance);
        timer::every(period, async move || entrance.tell())
    }

    /// Returns the numbers for `status`.
    pub(crate) fn gauges(&self) -> BTreeMap<&'static str, u64> {
        let mut gauges =
            BTreeMap::from([("refused_clients", self.refused.borrow().recurrence.count())]);
        if self.has_hook() {
            gauges.insert("hook_failures", self.failed.borrow().recurrence.count());
            gauges.insert("hook_questions", self.under_way.get() as u64);
        }
        gauges
    }
}
