//! Every state of a connection against every event, and every two states at once: each pair goes on
//! or ends as its line in a table says, and nothing waits for ever.
//!
//! A story tells what came of a pair: what the handlers heard (`held` is what a rate held up), why and
//! when the connection ended, and what a WebSocket's peer was told. It begins at the event. The slash
//! stands where the state is lifted, ten minutes later: a pause is resumed, a busy handler goes on, a
//! peer that did not read does. What was heard before the event stands before a semicolon. Behind each event but those that end or are silent the peer says
//! `probe`. A story without `gone` goes on.

mod scene;
mod speech;
mod two;

use std::time::Duration;

use lineman_wire::text::Text;

use super::*;
use scene::Scene;
use speech::Speech;

/// What a connection is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Paused by our code.
    Paused,
    /// Has exceeded its rate, and is not read for 99 s; a line waits.
    Throttled,
    /// Its handler waits.
    Busy,
    /// Our side was ended, the peer's was not.
    HalfClosed,
    /// As before, but the peer does not read what was sent before the end.
    Ending,
    /// A handler that waits has asked for another protocol.
    Changing,
    /// A handler that waits has asked for TLS.
    Securing,
    /// Not read, as the process holds too much.
    OverBudget,
    /// Closed by our code; the peer's answer, or its end, is awaited.
    Closing,
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// The peer says `more`.
    Bytes,
    /// The peer ends its side.
    End,
    /// A pause ends; one that was short if there was none.
    Resume,
    /// The send queue was full and drains.
    Drain,
    /// The peer does not finish a message that it has begun.
    Deadline,
    /// The peer says nothing while it should.
    Heartbeat,
    /// The process stops.
    Stop,
    /// The process is replaced, and waits for its connections.
    Reload,
}

use self::Event::{Bytes as More, Deadline, Drain, End, Heartbeat, Reload, Resume, Stop};
use self::State::{
    Busy, Changing, Closing, Ending, HalfClosed, OverBudget, Paused, Securing, Throttled,
};

/// Time for everything that ends by itself, the rate's delay and heartbeats included.
const LONG: Duration = Duration::from_secs(605);

/// Time for what a state held up; the next heartbeat is later.
const SHORT: Duration = Duration::from_secs(20);

/// A message has 8 s, the end of our side 5 s, an answer to a farewell 2 s, a peer that takes nothing of
/// what was said before an end 2 s, a handshake 10 s; the peer's end is awaited for 1 s after the last
/// word; silence is a fault after 30 s.
const TEXT: &[(State, Event, &str)] = &[
    (Paused, More, "- / more, probe"),
    (Paused, End, "- / closed by peer, gone in 0 s"),
    (Paused, Resume, "probe / -"),
    (Paused, Drain, "drained / probe"),
    (Paused, Deadline, "- / message not finished in time, gone in 9 s"),
    (Paused, Heartbeat, "- / probe"),
    (Paused, Stop, "server going away, gone in 1 s / -"),
    (Paused, Reload, "- / probe"),
    //
    (Throttled, More, "held, more, probe / -"),
    (Throttled, End, "held, closed by peer, gone in 99 s / -"),
    (Throttled, Resume, "held, probe / -"),
    (Throttled, Drain, "drained, held, probe / -"),
    (Throttled, Deadline, "message not finished in time, gone in 108 s / -"),
    (Throttled, Heartbeat, "held, no answer to heartbeat, gone in 152 s / -"),
    (Throttled, Stop, "server going away, gone in 1 s / -"),
    (Throttled, Reload, "held, probe / -"),
    //
    (Busy, More, "- / more, probe"),
    (Busy, End, "- / closed by peer, gone in 0 s"),
    (Busy, Resume, "- / probe"),
    (Busy, Drain, "drained / probe"),
    (Busy, Deadline, "- / message not finished in time, gone in 9 s"),
    (Busy, Heartbeat, "- / probe"),
    (Busy, Stop, "gone in 1 s / server going away"),
    (Busy, Reload, "- / probe"),
    //
    (HalfClosed, More, "more, probe, closed by us, gone in 5 s / -"),
    (HalfClosed, End, "closed by us, gone in 0 s / -"),
    (HalfClosed, Resume, "probe, closed by us, gone in 5 s / -"),
    (HalfClosed, Drain, "probe, closed by us, gone in 5 s / -"),
    (HalfClosed, Deadline, "closed by us, gone in 5 s / -"),
    (HalfClosed, Heartbeat, "closed by us, gone in 5 s / -"),
    (HalfClosed, Stop, "server going away, gone in 1 s / -"),
    (HalfClosed, Reload, "probe, closed by us, gone in 5 s / -"),
    //
    (Ending, More, "more, probe, closed by us, gone in 2 s / -"),
    (Ending, End, "closed by peer, gone in 2 s / -"),
    (Ending, Resume, "probe, closed by us, gone in 2 s / -"),
    (Ending, Drain, "drained, probe, closed by us, gone in 5 s / -"),
    (Ending, Deadline, "closed by us, gone in 2 s / -"),
    (Ending, Heartbeat, "closed by us, gone in 2 s / -"),
    (Ending, Stop, "server going away, gone in 2 s / -"),
    (Ending, Reload, "probe, closed by us, gone in 2 s / -"),
    //
    (Changing, More, "- / more, probe"),
    (Changing, End, "- / closed by peer, gone in 0 s"),
    (Changing, Resume, "- / probe"),
    (Changing, Drain, "drained / probe"),
    (Changing, Deadline, "- / message not finished in time, gone in 9 s"),
    (Changing, Heartbeat, "- / probe"),
    (Changing, Stop, "gone in 1 s / server going away"),
    (Changing, Reload, "- / probe"),
    //
    (Securing, More, "- / TLS, gone in 1 s"),
    (Securing, End, "- / closed by peer, gone in 0 s"),
    (Securing, Resume, "- / handshake timed out, gone in 11 s"),
    (Securing, Drain, "drained / handshake timed out, gone in 11 s"),
    (Securing, Deadline, "- / TLS, gone in 1 s"),
    (Securing, Heartbeat, "- / handshake timed out, gone in 11 s"),
    (Securing, Stop, "gone in 1 s / server going away"),
    (Securing, Reload, "- / handshake timed out, gone in 11 s"),
    //
    (Closing, More, "closed by us; gone in 1 s / -"),
    (Closing, End, "closed by us; gone in 0 s / -"),
    (Closing, Resume, "closed by us; gone in 1 s / -"),
    (Closing, Drain, "closed by us; gone in 1 s / -"),
    (Closing, Deadline, "closed by us; gone in 1 s / -"),
    (Closing, Heartbeat, "closed by us; gone in 1 s / -"),
    (Closing, Stop, "closed by us; gone in 1 s / -"),
    (Closing, Reload, "closed by us; gone in 1 s / -"),
    (OverBudget, More, "- / more, probe"),
    (OverBudget, End, "- / closed by peer, gone in 0 s"),
    (OverBudget, Resume, "- / probe"),
    (OverBudget, Drain, "drained, probe / -"),
    (OverBudget, Deadline, "the server holds too much, gone in 9 s / -"),
    (OverBudget, Heartbeat, "no answer to heartbeat, gone in 61 s / -"),
    (OverBudget, Stop, "server going away, gone in 1 s / -"),
    (OverBudget, Reload, "- / probe"),
];

/// The end of our side alone is none of its states: a WebSocket closes instead.
const WEBSOCKET: &[(State, Event, &str)] = &[
    (Paused, More, "- / more, probe"),
    (Paused, End, "- / closed by peer, gone in 0 s"),
    (Paused, Resume, "probe / -"),
    (Paused, Drain, "drained / probe"),
    (Paused, Deadline, "- / message not finished in time, gone in 10 s (told 1008)"),
    (Paused, Heartbeat, "- / probe"),
    (Paused, Stop, "server going away, gone in 2 s / - (told 1001)"),
    (Paused, Reload, "- / probe"),
    //
    (Throttled, More, "held, more, probe / -"),
    (Throttled, End, "held, closed by peer, gone in 99 s / -"),
    (Throttled, Resume, "held, probe / -"),
    (Throttled, Drain, "drained, held, probe / -"),
    (Throttled, Deadline, "message not finished in time, gone in 109 s / - (told 1008)"),
    (Throttled, Heartbeat, "held, no answer to heartbeat, gone in 182 s / - (told 1001)"),
    (Throttled, Stop, "server going away, gone in 2 s / - (told 1001)"),
    (Throttled, Reload, "held, probe / -"),
    //
    (Busy, More, "- / more, probe"),
    (Busy, End, "- / closed by peer, gone in 0 s"),
    (Busy, Resume, "- / probe"),
    (Busy, Drain, "drained / probe"),
    (Busy, Deadline, "- / message not finished in time, gone in 10 s (told 1008)"),
    (Busy, Heartbeat, "- / probe"),
    (Busy, Stop, "gone in 2 s / server going away (told 1001)"),
    (Busy, Reload, "- / probe"),
    //
    (Changing, More, "- / more, probe"),
    (Changing, End, "- / closed by peer, gone in 0 s"),
    (Changing, Resume, "- / probe"),
    (Changing, Drain, "drained / probe"),
    (Changing, Deadline, "- / message not finished in time, gone in 9 s"),
    (Changing, Heartbeat, "- / probe"),
    (Changing, Stop, "gone in 2 s / server going away (told 1001)"),
    (Changing, Reload, "- / probe"),
    //
    (Closing, More, "closed by us, gone in 2 s / - (told 1000)"),
    (Closing, End, "closed by us, gone in 0 s / - (told 1000)"),
    (Closing, Resume, "closed by us, gone in 2 s / - (told 1000)"),
    (Closing, Drain, "closed by us, gone in 2 s / - (told 1000)"),
    (Closing, Deadline, "closed by us, gone in 2 s / - (told 1000)"),
    (Closing, Heartbeat, "closed by us, gone in 2 s / - (told 1000)"),
    (Closing, Stop, "closed by us, gone in 2 s / - (told 1000)"),
    (Closing, Reload, "closed by us, gone in 2 s / - (told 1000)"),
    (OverBudget, More, "- / more, probe"),
    (OverBudget, End, "- / closed by peer, gone in 0 s"),
    (OverBudget, Resume, "- / probe"),
    (OverBudget, Drain, "drained, probe / -"),
    (OverBudget, Deadline, "the server holds too much, gone in 10 s / - (told 1013)"),
    (OverBudget, Heartbeat, "no answer to heartbeat, gone in 92 s / - (told 1001)"),
    (OverBudget, Stop, "server going away, gone in 2 s / - (told 1001)"),
    (OverBudget, Reload, "- / probe"),
];

/// Returns the story of a pair, told on a table of its own.
fn told<F: Future<Output = String>>(act: impl FnOnce(Table) -> F) -> String {
    let mut story = String::new();
    with_table_and_paused_clock(async |table| {
        let told = tokio::time::timeout(Duration::from_hours(1), act(table)).await;
        story = told.unwrap_or_else(|_| "waits for ever".to_owned());
    });
    story
}

async fn play<D: Speech>(table: Table, state: State, event: Event) -> String {
    let limits = scene::limits(&[state], event);
    let mut scene = Scene::<D>::open(&table, &limits, state == Securing).await;
    scene.begin(state, event == Deadline).await;
    scene.watch();
    scene.meet(event).await;
    tokio::time::sleep(LONG).await;
    scene.lift(state).await;
    if event == Heartbeat {
        scene.probe().await;
    }
    tokio::time::sleep(SHORT).await;
    scene.story().await
}

/// Fails with all pairs that went another way than they should.
fn agree(stories: impl IntoIterator<Item = (String, String, String)>) {
    let wrong = stories.into_iter().filter(|(_, expected, story)| expected != story);
    let wrong = wrong.map(|(pair, expected, story)| {
        format!("{pair}:\n    expected {expected}\n    but      {story}")
    });
    let wrong = wrong.collect::<Vec<_>>();
    assert!(wrong.is_empty(), "{} of the pairs went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn check<D: Speech>(expectations: &[(State, Event, &str)]) {
    agree(expectations.iter().map(|&(state, event, expected)| {
        let story = told(async |table| play::<D>(table, state, event).await);
        (format!("{state:?} and {event:?}"), expected.to_owned(), story)
    }));
}

#[test]
fn every_state_meets_every_event_on_lines() {
    check::<Text>(TEXT);
}

#[test]
fn every_state_meets_every_event_on_a_websocket() {
    check::<WebSocket>(WEBSOCKET);
}
