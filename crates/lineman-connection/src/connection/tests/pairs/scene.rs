//! One connection that is brought into states and meets events, with everything that came of it in
//! words. It asserts nothing but that what was sent arrives; the tables say what should come of it.

use std::cell::Cell;
use std::time::Duration;

use lineman_wire::framed::Framed;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::*;
use super::speech::Speech;
use super::{Event, State};
use crate::connection::entry::AnyEntry as _;
use crate::tls::tests::Files;

/// More than a Unix socket's buffer and the send queue's bound.
const MUCH: usize = 2 * 1024 * 1024;

/// Bytes that are free of the rate: enough for all that comes before a state is entered.
const BURST: usize = 400;

/// How long the excess of [`State::Throttled`] delays.
const DELAY: usize = 99;

/// What happened, in words; each time that something is lifted begins a new list of them.
struct Notes {
    words: RefCell<Vec<Vec<String>>>,
    since: Cell<Instant>,
    /// Everything that the connection took to send.
    sent: RefCell<BytesMut>,
    /// What a busy handler waits for.
    gate: Notify,
}

impl Notes {
    fn add(&self, word: impl Into<String>) {
        if let Some(last) = self.words.borrow_mut().last_mut() {
            last.push(word.into());
        }
    }

    fn turn_page(&self) {
        self.words.borrow_mut().push(Vec::new());
        self.since.set(Instant::now());
    }
}

/// A connection with its peer, and what happens on it.
pub(super) struct Scene<D: Speech> {
    table: Table,
    connection: Connection<D>,
    peer: UnixStream,
    notes: Rc<Notes>,
    /// How much of what was sent the peer has read.
    read: usize,
    /// The peer speaks the other protocol from here on.
    changed: bool,
    /// The peer asks for TLS, and means to go on without.
    secured: bool,
}

impl<D: Speech> Scene<D> {
    pub(super) async fn open(table: &Table, limits: &Limits, with_tls: bool) -> Self {
        let notes = Rc::new(Notes {
            words: RefCell::new(vec![vec![]]),
            since: Cell::new(Instant::now()),
            sent: RefCell::default(),
            gate: Notify::new(),
        });
        let next = Rc::new(handlers::<Framed>(&notes, None));
        let next = Rc::new(Serve::peers(Framed::default, next).limits(limits.clone()));
        let (kept, drained) = (Rc::new(RefCell::new(None)), Rc::clone(&notes));
        let keep = Rc::clone(&kept);
        let first = Handlers {
            connect: Some(boxed(async move |connection: Connection<D>| {
                keep.replace(Some(connection));
                Ok(())
            })),
            drain: Some(Box::new(move |_| drained.add("drained"))),
            ..handlers(&notes, Some(next))
        };
        let files = with_tls.then(Files::new);
        let tls = files.as_ref().map(|files| files.tls("server"));
        let front = Front { tls_on_demand: tls, limits: limits.clone(), ..Front::default() };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("a path");
        let serve_it = Serve::peers(D::make, Rc::new(first)).front(front);
        table.listen(listener, serve_it).expect("a place in the table");
        let mut peer = UnixStream::connect(&path).await.expect("connected");
        peer.write_all(D::OPENING.as_bytes()).await.expect("written");
        settle().await;
        let mut answer = vec![0; 1024];
        let answered = peer.try_read(&mut answer).unwrap_or_default();
        assert_eq!(answered > 0, D::HANDSHAKE);
        let connection = kept.take().expect("it is open");
        let table = table.clone();
        Self { table, connection, peer, notes, read: 0, changed: false, secured: false }
    }

    /// Brings it into a state. With `rest`, a message of the peer's has begun and does not go on.
    pub(super) async fn begin(&mut self, state: State, rest: bool) {
        let unfinished = if rest { "unfinished" } else { "" };
        match state {
            State::Throttled => {
                let free = BURST - D::OPENING.len();
                let length = DELAY + free - D::OVERHEAD + usize::from(rest);
                let mut bytes = self.said(&"x".repeat(length));
                bytes.truncate(bytes.len() - usize::from(rest));
                self.write(&bytes).await;
            }
            State::Busy => self.say_with("wait", unfinished).await,
            State::Changing => {
                let asked = self.said("change");
                self.changed = true;
                self.write(&asked).await;
                self.begin_to_say(unfinished).await;
            }
            State::Securing => {
                self.secured = true;
                self.say_with("secure", unfinished).await;
            }
            State::Paused
            | State::OverBudget
            | State::HalfClosed
            | State::Ending
            | State::Closing => {
                self.begin_to_say(unfinished).await;
                self.ask_for(state).await;
            }
        }
        settle().await;
    }

    async fn ask_for(&mut self, state: State) {
        if let State::Ending = state {
            self.send_much().await;
        }
        match state {
            State::Paused => self.connection.pause(),
            State::OverBudget => assert!(self.connection.entry().over_budget(), "it was read"),
            State::HalfClosed | State::Ending => self.connection.end(),
            _ => self.connection.close(CloseReason::Local),
        }
    }

    /// The clock of what happens starts here.
    pub(super) fn watch(&self) {
        self.notes.turn_page();
        let (table, notes) = (self.table.clone(), Rc::clone(&self.notes));
        tokio::task::spawn_local(async move {
            table.emptied().await;
            let gone = notes.since.get().elapsed() + Duration::from_millis(500);
            notes.add(format!("gone in {} s", gone.as_secs()));
        });
    }

    pub(super) async fn meet(&mut self, event: Event) {
        match event {
            Event::Bytes => self.say("more").await,
            Event::End => self.peer.shutdown().await.unwrap_or_default(),
            Event::Resume => {
                if !self.connection.is_paused() {
                    self.connection.pause();
                }
                settle().await;
                self.connection.resume();
            }
            Event::Drain => {
                self.send_much().await;
                self.read_all().await;
            }
            Event::Stop => {
                self.table.close_all(&CloseReason::GoingAway);
            }
            Event::Reload => self.table.stop_accepting(),
            Event::Deadline | Event::Heartbeat => {}
        }
        settle().await;
        if matches!(event, Event::Bytes | Event::Resume | Event::Drain | Event::Reload) {
            self.probe().await;
        }
    }

    /// Says something that has to be heard, if not now then once nothing holds it.
    pub(super) async fn probe(&mut self) {
        // Behind a wish for TLS any line is an attack.
        if !self.secured {
            self.say("probe").await;
        }
    }

    /// Ends a state, where the test can; time ends the others.
    pub(super) async fn lift(&mut self, state: State) {
        self.notes.turn_page();
        match state {
            State::Paused => self.connection.resume(),
            State::OverBudget => Rc::clone(self.connection.entry()).within_budget(),
            State::Busy | State::Changing | State::Securing => self.notes.gate.notify_one(),
            State::Ending => self.read_all().await,
            State::Throttled | State::HalfClosed | State::Closing => {}
        }
        settle().await;
    }

    /// Returns what happened, and what the peer was told at the end.
    pub(super) async fn story(mut self) -> String {
        let told = if self.table.is_empty() {
            let mut got = Vec::new();
            // What was thrown away unread makes the end a broken one.
            self.peer.read_to_end(&mut got).await.unwrap_or_default();
            self.check(&got);
            close_code(got.get(self.unread()..).unwrap_or_default())
        } else {
            self.read_all().await;
            None
        };
        let words = self.notes.words.borrow();
        let pages = words.iter().map(|words| match words[..] {
            [] => "-".to_owned(),
            _ => words.join(", "),
        });
        let pages = pages.collect::<Vec<_>>();
        let story = match &pages[..] {
            [before, rest @ ..] if before == "-" => rest.join(" / "),
            [before, rest @ ..] => format!("{before}; {}", rest.join(" / ")),
            [] => String::new(),
        };
        told.map_or_else(|| story.clone(), |code| format!("{story} (told {code})"))
    }

    fn said(&self, text: &str) -> BytesMut {
        if self.changed { Framed::said(text) } else { D::said(text) }
    }

    async fn say(&mut self, text: &str) {
        let bytes = self.said(text);
        self.write(&bytes).await;
    }

    async fn say_with(&mut self, text: &str, unfinished: &str) {
        self.say(text).await;
        self.begin_to_say(unfinished).await;
    }

    /// Says all of it but the last byte.
    async fn begin_to_say(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let bytes = self.said(text);
        self.write(&bytes[..bytes.len() - 1]).await;
        settle().await;
    }

    /// A connection that is gone takes nothing more.
    async fn write(&mut self, bytes: &[u8]) {
        self.peer.write_all(bytes).await.unwrap_or_default();
    }

    /// Fills the send queue, where anything can still be sent.
    async fn send_much(&self) {
        let text = "y".repeat(MUCH);
        if self.connection.send(D::message(&text)).is_ok() {
            self.notes.sent.borrow_mut().extend_from_slice(&D::sent(&text));
        }
        settle().await;
    }

    fn unread(&self) -> usize {
        self.notes.sent.borrow().len() - self.read
    }

    /// Reads what was sent, as far as it comes.
    async fn read_all(&mut self) {
        let mut got = Vec::new();
        while got.len() < self.unread() {
            let left = u64::try_from(self.unread() - got.len()).unwrap_or_default();
            match (&mut self.peer).take(left).read_to_end(&mut got).await {
                Ok(count) if count > 0 => {}
                Ok(_) | Err(_) => break,
            }
        }
        self.check(&got);
        self.read += got.len();
    }

    fn check(&self, got: &[u8]) {
        let sent = self.notes.sent.borrow();
        let expected = &sent[self.read..];
        let common = expected.len().min(got.len());
        assert!(expected[..common] == got[..common], "what is sent arrives as it is");
        let whole = self.table.is_empty() || common == expected.len();
        assert!(whole, "{common} of {} bytes arrived", expected.len());
    }
}

/// Returns the code of a close frame behind pings.
fn close_code(bytes: &[u8]) -> Option<u16> {
    match bytes {
        [0x89, 0, rest @ ..] => close_code(rest),
        [0x88, _, high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

/// The bounds of a case: short ones, and each of another length, so that a story tells which was met.
pub(super) fn limits(states: &[State], event: Event) -> Limits {
    let burst = u32::try_from(BURST).expect("small");
    let rate = Rate::per_second(1).burst(burst);
    Limits {
        close_time: Duration::from_secs(2),
        send_stall: Duration::from_secs(2),
        end_time: Duration::from_secs(5),
        message_time: Duration::from_secs(8),
        handshake_time: Duration::from_secs(10),
        heartbeat: (event == Event::Heartbeat).then_some(Duration::from_secs(30)),
        byte_rate: states.contains(&State::Throttled).then_some(rate),
        ..Limits::default()
    }
}

/// Handlers that note what they hear and answer it.
fn handlers<E: Speech>(notes: &Rc<Notes>, next: Option<Rc<Serve<Framed>>>) -> Handlers<E> {
    let (heard, closed) = (Rc::clone(notes), Rc::clone(notes));
    Handlers {
        message: Some(messages(async move |connection: Connection<E>, message| {
            let text = E::text(message);
            match (text.as_str(), &next) {
                ("wait", _) => {}
                ("change", Some(next)) => connection.change_protocol(next),
                ("secure", _) => connection.start_tls()?,
                _ => {
                    heard.add(if text.starts_with('x') { "held" } else { &text });
                    if connection.send(E::message(&text)).is_ok() {
                        heard.sent.borrow_mut().extend_from_slice(&E::sent(&text));
                    }
                    return Ok(());
                }
            }
            heard.gate.notified().await;
            Ok(())
        })),
        close: Some(boxed_with(async move |_: Connection<E>, reason: CloseReason| {
            // What exactly was wrong with TLS is told elsewhere.
            let reason = reason.to_string();
            closed.add(reason.split(':').next().unwrap_or_default());
            Ok(())
        })),
        ..Handlers::default()
    }
}
