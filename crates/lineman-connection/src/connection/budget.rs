//! The budget: how many bytes the process may hold that are unfinished or unsent. They are counted where
//! buffers grow and shrink; the table looks at the sum once a turn, and its `relief` acts on it.
//!
//! What one connection holds alone is charged by its entry. A payload that several queues may hold counts
//! by itself, once, until its last holder drops it. No I/O and no clock.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Waker};

use bytes::Bytes;
use futures_util::task::AtomicWaker;

/// What a payload costs beside its bytes: a piece of a byte each would cost a hundred times its size.
const PER_PAYLOAD: usize = 128;

/// Payloads that were shared last: a loop over a room sends each of its clients one of these.
const RECENT: usize = 8;

/// How full the budget is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Everything goes on.
    Calm,
    /// Half: the largest holders are not read.
    Tight,
    /// Three quarters: new connections and requests are refused.
    Crowded,
    /// Used up: the largest holders are closed.
    Spent,
}

/// The sum of the process; the threads of HTTP services write it too.
#[derive(Debug)]
pub(crate) struct Account {
    used: AtomicUsize,
    most: AtomicUsize,
    /// Bodies of requests that wait for a calmer time.
    waiting: Mutex<Waiters>,
    /// The loop that acts on the sum: most of what hyper holds comes and goes without a turn of it.
    watcher: Mutex<Option<Waker>>,
}

/// Tasks that wait, each by its ticket.
#[derive(Debug, Default)]
struct Waiters {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Default for Account {
    /// Returns one without a bound.
    fn default() -> Self {
        let most = AtomicUsize::new(usize::MAX);
        let (waiting, watcher) = (Mutex::default(), Mutex::default());
        Self { used: AtomicUsize::new(0), most, waiting, watcher }
    }
}

impl Account {
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        self.moved(before, before.saturating_add(bytes));
    }

    fn subtract(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.moved(before, before.saturating_sub(bytes));
    }

    /// Wakes those concerned if the sum has come to another level, or back to where it is calm.
    fn moved(&self, before: usize, now: usize) {
        let is_calm = |used: usize| used < self.calm_below();
        if self.level_of(before) == self.level_of(now) && is_calm(before) == is_calm(now) {
            return;
        }
        if is_calm(now) {
            self.wake();
        }
        if let Some(watcher) = &*self.watcher.lock().unwrap_or_else(PoisonError::into_inner) {
            watcher.wake_by_ref();
        }
    }

    /// Sets what is woken when the sum has come to another level.
    pub(super) fn watch(&self, watcher: &Waker) {
        let mut kept = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(watcher.clone());
    }

    /// Returns whether nothing more is wanted.
    pub(super) fn is_spent(&self) -> bool {
        self.used() >= self.most()
    }

    pub(crate) fn level(&self) -> Level {
        self.level_of(self.used())
    }

    /// Returns the sum below which what was begun is over: less than a level, so that it does not flap.
    fn calm_below(&self) -> usize {
        self.most() / 16 * 7
    }

    fn level_of(&self, used: usize) -> Level {
        let levels = [Level::Spent, Level::Crowded, Level::Tight];
        levels.into_iter().find(|&level| used >= self.border(level)).unwrap_or(Level::Calm)
    }

    /// Returns the sum at which a level begins.
    pub(super) fn border(&self, level: Level) -> usize {
        let most = self.most();
        match level {
            Level::Calm => 0,
            Level::Tight => most / 2,
            Level::Crowded => most / 4 * 3,
            Level::Spent => most,
        }
    }

    /// Returns a ticket to wait with.
    pub(crate) fn ticket(&self) -> u64 {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.next += 1;
        waiting.next
    }

    /// Has the task woken when it is calm.
    pub(crate) fn wait(&self, ticket: u64, context: &Context<'_>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.wakers.insert(ticket, context.waker().clone());
    }

    /// What had the ticket waits no more.
    pub(crate) fn leave(&self, ticket: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.wakers.remove(&ticket);
    }

    fn wake(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        wakers.into_values().for_each(Waker::wake);
    }
}

/// The share of what is outside of the table: what one HTTP connection holds of its requests' bodies and its answers.
#[derive(Debug)]
pub(crate) struct Share {
    account: Arc<Account>,
    size: AtomicUsize,
    cut: AtomicBool,
    waker: AtomicWaker,
}

impl Share {
    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    pub(super) fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// Has its connection closed.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Returns whether its connection is being closed for the budget.
    pub(super) fn is_going(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Returns whether its connection is to be closed; has the task woken when it is.
    pub(crate) fn is_cut(&self, context: &Context<'_>) -> bool {
        self.waker.register(context.waker());
        self.cut.load(Ordering::Relaxed)
    }

    /// Returns the bytes as a payload that counts for this holder until it is dropped.
    pub(crate) fn count(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let memory = bytes.len();
        self.size.fetch_add(memory + PER_PAYLOAD, Ordering::Relaxed);
        count(&self.account, Some(Arc::clone(self)), bytes, memory)
    }
}

/// Bytes that count until they are dropped.
struct Payload {
    bytes: Bytes,
    size: usize,
    account: Arc<Account>,
    holder: Option<Arc<Share>>,
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        // The table looks when the sum has changed: the share is to be right by then.
        if let Some(holder) = &self.holder {
            holder.size.fetch_sub(self.size, Ordering::Relaxed);
        }
        self.account.subtract(self.size);
    }
}

/// Returns the bytes as a payload that counts with all its memory until it is dropped.
pub(super) fn count(
    account: &Arc<Account>,
    holder: Option<Arc<Share>>,
    bytes: Bytes,
    memory: usize,
) -> Bytes {
    let size = memory + PER_PAYLOAD;
    account.add(size);
    Bytes::from_owner(Payload { bytes, size, account: Arc::clone(account), holder })
}

/// The budget of a table.
pub(super) struct Budget {
    pub(super) account: Arc<Account>,
    /// Payloads as they came, and as they count. Emptied at the end of a turn.
    recent: RefCell<Vec<(Bytes, Bytes)>>,
    /// The sum at which the table looks again.
    next: Cell<usize>,
    holders: RefCell<Vec<Weak<Share>>>,
    /// Whether anything was done about the sum since it was calm.
    pub(super) is_acting: Cell<bool>,
    /// Whether a task watches how long it stays crowded.
    pub(super) is_watched: Cell<bool>,
}

impl Budget {
    /// Returns one without a bound.
    pub(super) fn new() -> Self {
        Self {
            account: Arc::default(),
            recent: RefCell::default(),
            next: Cell::new(usize::MAX),
            holders: RefCell::default(),
            is_acting: Cell::new(false),
            is_watched: Cell::new(false),
        }
    }

    pub(super) fn set(&self, most: usize) {
        self.account.most.store(most, Ordering::Relaxed);
        self.next.set(most / 2);
    }

    /// A connection holds other bytes alone than before.
    pub(super) fn change(&self, before: u32, now: u32) {
        if now > before {
            self.account.add((now - before) as usize);
        } else {
            self.account.subtract((before - now) as usize);
        }
    }

    /// Returns a payload that counts once, in however many queues it is.
    pub(super) fn share(&self, bytes: Bytes) -> Bytes {
        let mut recent = self.recent.borrow_mut();
        let is_same = |seen: &Bytes| seen.as_ptr() == bytes.as_ptr() && seen.len() == bytes.len();
        if let Some((_, counted)) = recent.iter().find(|(seen, _)| is_same(seen)) {
            return counted.clone();
        }
        let counted = count(&self.account, None, bytes.clone(), bytes.len());
        if recent.len() == RECENT {
            recent.remove(0);
        }
        recent.push((bytes, counted.clone()));
        counted
    }

    /// A turn is over: what was shared in it is held by the queues alone.
    pub(super) fn end_turn(&self) {
        let mut recent = self.recent.borrow_mut();
        if !recent.is_empty() {
            recent.clear();
        }
    }

    /// Returns a holder for what is outside of the table.
    pub(super) fn holder(&self) -> Arc<Share> {
        let account = Arc::clone(&self.account);
        let (size, cut) = (AtomicUsize::new(0), AtomicBool::new(false));
        let holder = Arc::new(Share { account, size, cut, waker: AtomicWaker::new() });
        let mut holders = self.holders.borrow_mut();
        if holders.len() == holders.capacity() {
            holders.retain(|holder| holder.strong_count() > 0);
        }
        holders.push(Arc::downgrade(&holder));
        holder
    }

    pub(super) fn holders(&self) -> Vec<Arc<Share>> {
        self.holders.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Returns the level if the sum has come to where it is to be looked at; the next such place is one
    /// part in 32 further on, so that a scan is paid for by what came.
    pub(super) fn crossed(&self) -> Option<Level> {
        let (used, most) = (self.account.used(), self.account.most());
        if used >= self.next.get() {
            self.look_again();
            return Some(self.account.level());
        }
        if !self.is_acting.get() {
            return None;
        }
        // What was given back may come again. Two steps, so that bytes that come and go cost no scans.
        if self.next.get() - used > most / 16 {
            self.look_again();
        }
        (used < self.account.calm_below()).then_some(Level::Calm)
    }

    /// Has the sum looked at one step above what it is now, or at the next level.
    pub(super) fn look_again(&self) {
        let used = self.account.used();
        let step = used.saturating_add(self.account.most() / 32);
        let levels = [Level::Crowded, Level::Spent].map(|level| self.account.border(level));
        let border = levels.into_iter().find(|&border| border > used);
        let next = border.map_or(step, |border| step.min(border));
        self.next.set(next.max(self.account.border(Level::Tight)));
    }

    /// It is calm again: whatever waited goes on.
    pub(super) fn calm(&self) {
        self.is_acting.set(false);
        self.next.set(self.account.border(Level::Tight));
        self.account.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(most: usize) -> Budget {
        let budget = Budget::new();
        budget.set(most);
        budget
    }

    #[test]
    fn each_level_is_met_once_and_each_thirty_second_part_beyond_it() {
        let budget = budget(3200);
        let mut seen = Vec::new();
        for used in (0..3400).step_by(10) {
            if let Some(level) = budget.crossed() {
                seen.push((used, level));
            }
            budget.change(0, 10);
        }
        let first = |level| seen.iter().find(|(_, seen)| *seen == level).map(|&(used, _)| used);
        assert_eq!(first(Level::Tight), Some(1600));
        assert_eq!(first(Level::Crowded), Some(2400));
        assert_eq!(first(Level::Spent), Some(3200));
        assert!(seen.len() <= 20, "{seen:?}");
    }

    #[test]
    fn it_is_calm_some_way_below_the_first_level() {
        let budget = budget(1600);
        budget.change(0, 800);
        assert_eq!(budget.crossed(), Some(Level::Tight));
        budget.is_acting.set(true);
        budget.change(800, 750);
        assert_eq!(budget.crossed(), None);
        budget.change(750, 690);
        assert_eq!(budget.crossed(), Some(Level::Calm));
        budget.calm();
        budget.change(690, 850);
        assert_eq!(budget.crossed(), Some(Level::Tight));
    }

    #[test]
    fn what_comes_back_after_it_was_given_back_is_looked_at_again() {
        let budget = budget(3200);
        budget.change(0, 3300);
        assert_eq!(budget.crossed(), Some(Level::Spent));
        budget.is_acting.set(true);
        for cycle in 0..5 {
            budget.change(1000, 0);
            assert_eq!(budget.crossed(), None, "{cycle}: not calm");
            budget.change(0, 100);
            assert_eq!(budget.crossed(), Some(Level::Crowded), "{cycle}");
            budget.change(0, 800);
            assert_eq!(budget.crossed(), Some(Level::Spent), "{cycle}");
            budget.change(0, 100);
            assert_eq!(budget.crossed(), Some(Level::Spent), "{cycle}: a step more");
            budget.change(100, 0);
            assert_eq!(budget.crossed(), None, "{cycle}");
            budget.change(0, 90);
            assert_eq!(budget.crossed(), None, "{cycle}: it comes and goes");
            budget.change(0, 10);
        }
    }

    #[test]
    fn a_payload_counts_once_for_all_its_holders() {
        let budget = budget(1_000_000);
        let (one, two) = (Bytes::from(vec![1; 1000]), Bytes::from(vec![2; 1000]));
        let mut held = Vec::new();
        for _ in 0..100 {
            held.push(budget.share(one.clone()));
            held.push(budget.share(two.clone()));
        }
        assert_eq!(budget.account.used(), 2 * (1000 + PER_PAYLOAD));
        budget.end_turn();
        held.truncate(1);
        assert_eq!(budget.account.used(), 1000 + PER_PAYLOAD);
        held.clear();
        assert_eq!(budget.account.used(), 0);
    }

    #[test]
    fn a_holder_is_listed_while_it_lives_and_knows_its_size() {
        let budget = budget(1_000_000);
        let holder = budget.holder();
        let bytes = holder.count(Bytes::from(vec![0; 500]));
        assert_eq!((holder.size(), budget.account.used()), (628, 628));
        drop(bytes);
        assert_eq!((holder.size(), budget.account.used()), (0, 0));
        assert_eq!(budget.holders().len(), 1);
        drop(holder);
        assert_eq!(budget.holders().len(), 0);
    }
}
