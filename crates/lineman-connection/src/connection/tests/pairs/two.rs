//! Two states at once, lifted in both orders, with a peer that goes on or ends.

use super::*;

/// In the order in which they are entered. A connection that is not read, as it is paused, throttled or
/// over the budget, hears no wish that makes its handler busy and exceeds no rate, and a handler is busy
/// with one thing at a time.
///
/// The stories: the peer says `probe`, and the first state is lifted first, or the second; the peer
/// ends, and again. There are ten minutes between two slashes.
const TWO: &[(State, State, [&str; 4])] = &[
    (
        Busy,
        Throttled,
        [
            "- / held, probe / -",
            "- / - / held, probe",
            "- / held, closed by peer, gone in 0 s / -",
            "- / - / held, closed by peer, gone in 0 s",
        ],
    ),
    (
        Busy,
        HalfClosed,
        [
            "gone in 5 s / closed by us / -",
            "gone in 5 s / - / closed by us",
            "gone in 5 s / closed by us / -",
            "gone in 5 s / - / closed by us",
        ],
    ),
    (
        Busy,
        Ending,
        [
            "gone in 2 s / closed by us / -",
            "gone in 2 s / - / closed by us",
            "gone in 2 s / closed by us / -",
            "gone in 2 s / - / closed by us",
        ],
    ),
    (
        Busy,
        Paused,
        [
            "- / - / probe",
            "- / - / probe",
            "- / - / closed by peer, gone in 0 s",
            "- / - / closed by peer, gone in 0 s",
        ],
    ),
    (
        Changing,
        Throttled,
        [
            "- / held, probe / -",
            "- / - / held, probe",
            "- / held, closed by peer, gone in 0 s / -",
            "- / - / held, closed by peer, gone in 0 s",
        ],
    ),
    (
        Changing,
        HalfClosed,
        [
            "gone in 5 s / closed by us / -",
            "gone in 5 s / - / closed by us",
            "gone in 5 s / closed by us / -",
            "gone in 5 s / - / closed by us",
        ],
    ),
    (
        Changing,
        Ending,
        [
            "gone in 2 s / closed by us / -",
            "gone in 2 s / - / closed by us",
            "gone in 2 s / closed by us / -",
            "gone in 2 s / - / closed by us",
        ],
    ),
    (
        Changing,
        Paused,
        [
            "- / - / probe",
            "- / - / probe",
            "- / - / closed by peer, gone in 0 s",
            "- / - / closed by peer, gone in 0 s",
        ],
    ),
    (
        Throttled,
        HalfClosed,
        [
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
        ],
    ),
    (
        Throttled,
        Ending,
        [
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
        ],
    ),
    (
        Throttled,
        Paused,
        [
            "- / - / held, probe",
            "- / held, probe / -",
            "- / - / held, closed by peer, gone in 0 s",
            "- / held, closed by peer, gone in 0 s / -",
        ],
    ),
    (
        HalfClosed,
        Busy,
        [
            "gone in 5 s / - / closed by us",
            "gone in 5 s / closed by us / -",
            "gone in 5 s / - / closed by us",
            "gone in 5 s / closed by us / -",
        ],
    ),
    (
        HalfClosed,
        Changing,
        [
            "gone in 5 s / - / closed by us",
            "gone in 5 s / closed by us / -",
            "gone in 5 s / - / closed by us",
            "gone in 5 s / closed by us / -",
        ],
    ),
    (
        HalfClosed,
        Throttled,
        [
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
        ],
    ),
    (
        HalfClosed,
        Paused,
        [
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
        ],
    ),
    (
        Ending,
        Busy,
        [
            "gone in 2 s / - / closed by us",
            "gone in 2 s / closed by us / -",
            "gone in 2 s / - / closed by us",
            "gone in 2 s / closed by us / -",
        ],
    ),
    (
        Ending,
        Changing,
        [
            "gone in 2 s / - / closed by us",
            "gone in 2 s / closed by us / -",
            "gone in 2 s / - / closed by us",
            "gone in 2 s / closed by us / -",
        ],
    ),
    (
        Ending,
        Throttled,
        [
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
        ],
    ),
    (
        Ending,
        Paused,
        [
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
        ],
    ),
    (
        Paused,
        HalfClosed,
        [
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
        ],
    ),
    (
        Paused,
        Ending,
        [
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
        ],
    ),
    (
        Busy,
        OverBudget,
        [
            "- / - / probe",
            "- / - / probe",
            "- / - / closed by peer, gone in 0 s",
            "- / - / closed by peer, gone in 0 s",
        ],
    ),
    (
        Changing,
        OverBudget,
        [
            "- / probe / -",
            "- / - / probe",
            "- / closed by peer, gone in 0 s / -",
            "- / - / closed by peer, gone in 0 s",
        ],
    ),
    (
        Throttled,
        OverBudget,
        [
            "held, probe / - / -",
            "held, probe / - / -",
            "held, closed by peer, gone in 99 s / - / -",
            "held, closed by peer, gone in 99 s / - / -",
        ],
    ),
    (
        HalfClosed,
        OverBudget,
        [
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
        ],
    ),
    (
        Ending,
        OverBudget,
        [
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
        ],
    ),
    (
        Paused,
        OverBudget,
        [
            "- / - / probe",
            "- / - / probe",
            "- / - / closed by peer, gone in 0 s",
            "- / - / closed by peer, gone in 0 s",
        ],
    ),
    (
        OverBudget,
        HalfClosed,
        [
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
            "closed by us, gone in 5 s / - / -",
        ],
    ),
    (
        OverBudget,
        Ending,
        [
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
            "closed by us, gone in 2 s / - / -",
        ],
    ),
    (
        OverBudget,
        Paused,
        [
            "- / - / probe",
            "- / - / probe",
            "- / - / closed by peer, gone in 0 s",
            "- / - / closed by peer, gone in 0 s",
        ],
    ),
];

async fn play(table: Table, states: [State; 2], ends: bool, lifted: [State; 2]) -> String {
    let event = if ends { End } else { More };
    let mut scene = Scene::<Text>::open(&table, &scene::limits(&states, event), false).await;
    for state in states {
        scene.begin(state, false).await;
    }
    scene.watch();
    if ends {
        scene.meet(End).await;
    } else {
        scene.probe().await;
    }
    tokio::time::sleep(LONG).await;
    for state in lifted {
        scene.lift(state).await;
        tokio::time::sleep(LONG).await;
    }
    scene.story().await
}

#[test]
fn two_states_at_once_are_lifted_in_any_order() {
    agree(TWO.iter().flat_map(|&(first, second, expected)| {
        let cases = [
            (false, [first, second]),
            (false, [second, first]),
            (true, [first, second]),
            (true, [second, first]),
        ];
        cases.into_iter().zip(expected).map(move |((ends, lifted), expected)| {
            let story = told(async |table| play(table, [first, second], ends, lifted).await);
            let peer = if ends { "a peer that ends" } else { "a peer that speaks" };
            let pair = format!("{first:?}, then {second:?}, {peer}, {:?} lifted first", lifted[0]);
            (pair, expected.to_owned(), story)
        })
    }));
}
