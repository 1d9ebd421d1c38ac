//! Every message between processes goes the way it goes in service and comes out as it went in: between
//! master and worker in frames, between master and command line in lines.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::pending;
use std::time::Duration;

use lineman_wire::briefing::Predecessor;
use lineman_wire::handover::{HandedOver, MoveLimits, MoveOrder, RecordFormats};
use lineman_wire::ticket_keys::{NAME, TicketKey, TicketKeys};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::client::Call;
use super::folder::{Choice, RuntimeFolder};
use super::message::{FromWorker, Handed, ToWorker};
use super::report::{
    Lag, ListenReport, Progress, ServiceReport, SlotReport, StartReport, StatusReport, Step, Totals,
};
use super::request::{Answer, Manner, Probe, ReloadTo, Request};
use super::server::{Asked, listen, serve};
use super::{Complaints, ExitCode, Row, Stats, frame};
use crate::service::sketch::Sketch;
use crate::terminal::log::Streams;

/// Returns a value of each variant; a variant without one does not compile.
macro_rules! samples {
    ($kind:ident { $($variant:ident $fields:tt,)* }) => {{
        let _: fn($kind) = |sample| match sample {
            $($kind::$variant { .. } => {})*
        };
        vec![$($kind::$variant $fields),*]
    }};
}

/// Sends each message through a socket pair, as the two ends of one do.
async fn cross<M: Serialize + DeserializeOwned + PartialEq + Debug>(messages: Vec<M>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (_, outbox) = frame::halves::<M, M>(ours);
    let (mut inbox, _theirs) = frame::halves::<M, M>(theirs);
    for message in messages {
        outbox.send(&message).unwrap();
        assert_eq!(inbox.next().await.unwrap(), Some(message));
    }
}

#[tokio::test]
async fn all_that_a_worker_is_told_arrives() {
    let (limit, stop_limit) = (Duration::from_millis(1500), Duration::MAX);
    let key = |byte| TicketKey { name: [byte; NAME], key: [byte; 32] };
    let mut keys = TicketKeys::first(key(1));
    keys.rotate(key(2));
    let predecessor = Predecessor { briefing: "a\"b".to_owned(), serves: true };
    let order = MoveOrder { nonce: [7; 16], limits: MoveLimits::new() };
    let mut messages = samples!(ToWorker {
        Status { token: u64::MAX },
        Connections { token: 7, from: 512, limit: 1024 },
        TicketKeys { keys, predecessor: Some(predecessor), take_over: Some(order.clone()) },
        HandOver { order },
        Reload { handed: Some(Handed("{}".to_owned())) },
        Borrow { lender: "echo/1".to_owned() },
        Return { lender: "echo/1".to_owned() },
        Log { streams: Streams::Both },
        Drain { limit, stop_limit, rate: Some(200) },
        Stop { stop_limit },
    });
    let streams = samples!(Streams { Both {}, Stderr {}, Stdout {}, });
    messages.extend(streams.into_iter().map(|streams| ToWorker::Log { streams }));
    cross(messages).await;
}

#[tokio::test]
async fn all_that_a_worker_says_arrives() {
    let sketch = r#"{"name":"echo","count":2,"listen":["127.0.0.1:0"]}"#;
    let sketch: Sketch = serde_json::from_str(sketch).unwrap();
    let formats = Some(RecordFormats { oldest: 1, newest: 2 });
    let left = BTreeMap::from([("a handler is at work".to_owned(), 2)]);
    let (pause, ahead) = (Duration::from_millis(3), Duration::from_secs(1));
    let report = HandedOver { moved: 7, left, pause, ahead, bytes: u64::MAX };
    cross(samples!(FromWorker {
        Ready { services: vec![sketch], briefing: Some("a\"b".to_owned()), formats, dormant: true },
        TookOver {},
        HandedOver { report },
        HandoverFailed { reason: "refused".to_owned() },
        Failed { reason: "cannot listen: \"Grüße\"\n".to_owned() },
        Status { token: u64::MAX, stats: Box::new(stats()), gauges: gauges(), lag: LAG, condition: condition(), briefing: None },
        Rows { token: 7, rows: vec![row()], next: Some(512) },
        Draining { left: 3 },
        Leaving { cut: 4, unfinished: 2 },
        Stuck { still: Duration::from_micros(1_500_001), doing: "on_message".to_owned() },
        Panicked { message: "told to".to_owned(), location: "a.rs:1:2".to_owned() },
    }))
    .await;
}

#[tokio::test]
async fn all_that_the_command_line_asks_arrives() {
    let manners = samples!(Manner { Plain {}, Graceful {}, });
    let probes = samples!(Probe { Live {}, Ready {}, });
    let mut requests = samples!(Request {
        Stop { manner: Manner::Plain, timeout_ms: None },
        Reload { service: Some("echo/1".to_owned()), manner: Manner::Plain, timeout_ms: Some(1), drain_rate: Some(200), to: ReloadTo::Before },
        Upgrade {},
        Upgraded {},
        Status {},
        Health { probe: Probe::Live },
        Connections { service: None },
    });
    for manner in manners {
        requests.push(Request::Stop { manner, timeout_ms: Some(u64::MAX) });
        let (service, to) = (None, ReloadTo::Newest);
        requests.push(Request::Reload { service, manner, timeout_ms: None, drain_rate: None, to });
    }
    requests.extend(probes.into_iter().map(|probe| Request::Health { probe }));
    requests.push(Request::Connections { service: Some("echo".to_owned()) });
    for request in requests {
        let (asked, _) = ask(request.clone(), answers(ExitCode::Ok)).await;
        assert_eq!(asked, request);
    }
}

#[tokio::test]
async fn all_that_the_command_line_is_answered_arrives() {
    let codes = samples!(ExitCode {
        Ok {}, Failed {}, Usage {}, NotRunning {}, AlreadyRunning {}, Killed {}, Degraded {},
        GaveUp {},
    });
    for code in codes {
        let (_, heard) = ask(Request::Status, answers(code)).await;
        assert_eq!(heard, answers(code));
    }
}

/// Asks a master that answers with these; returns what it was asked, and the answers that arrived.
async fn ask(request: Request, answers: Vec<Answer>) -> (Request, Vec<Answer>) {
    let directory = tempfile::tempdir().unwrap();
    let choice = Choice { wanted: Some(directory.path().to_owned()), ..Choice::default() };
    let folder = RuntimeFolder::resolve("echo", &choice);
    let (sender, mut requests) = mpsc::channel(1);
    let (_successors, none) = mpsc::channel(1);
    let listener = listen(&folder.socket()).unwrap();
    let server = tokio::spawn(serve(listener, none, sender, pending()));
    let caller = tokio::task::spawn_blocking(move || {
        let mut call = Call::new(&folder, &request).unwrap();
        std::iter::from_fn(|| call.next().unwrap()).collect()
    });
    let asked: Asked = requests.recv().await.unwrap();
    for answer in answers {
        asked.answers.give(answer);
    }
    let heard = caller.await.unwrap();
    server.abort();
    (asked.request, heard)
}

/// One of each kind, and one for each step; the last line is the last.
fn answers(code: ExitCode) -> Vec<Answer> {
    let steps =
        samples!(Step { Starting {}, Ready {}, Draining {}, Stopping {}, Ended {}, Killed {}, });
    let mut answers: Vec<Answer> =
        (1..).zip(steps).map(|(pid, step)| Answer::Progress(progress(pid, step))).collect();
    answers.extend(samples!(Answer {
        Progress (Progress { left: None, remaining_ms: None, ..progress(99, Step::Ready) }),
        Note { text: "Grüße".to_owned() },
        Started (StartReport {
            lineman: "0.1.0".to_owned(),
            program: "echo".to_owned(),
            pid: 1,
            services: vec![service()],
            self_signed: Some("ab:cd".to_owned()),
        }),
        Status (Box::new(status())),
        Rows { slot: "echo/0".to_owned(), pid: 2, rows: vec![row(), row()], longest: 6 },
        Done { code, text: "done".to_owned() },
    }));
    answers
}

fn progress(pid: u32, step: Step) -> Progress {
    Progress { slot: "echo/0".to_owned(), pid, step, left: Some(3), remaining_ms: Some(1500) }
}

const LAG: Lag = Lag { p99_us: 900, max_us: 15_000 };

fn stats() -> Stats {
    Stats { connections: 3, bytes_in: u64::MAX, accept_pauses: 1, ..Stats::default() }
}

fn gauges() -> BTreeMap<String, u64> {
    BTreeMap::from([("clients".to_owned(), 3), ("links".to_owned(), u64::MAX)])
}

fn condition() -> Complaints {
    Complaints { remarks: vec!["links 1 of 2".to_owned()], unfit: Some("no business".to_owned()) }
}

fn row() -> Row {
    Row {
        id: u64::MAX,
        protocol: "websocket".to_owned(),
        state: "open".to_owned(),
        local: "[::1]:80".to_owned(),
        peer: "[::1]:4000".to_owned(),
        messages_in: 1,
        messages_out: 2,
        bytes_in: 3,
        bytes_out: 4,
        receive_queue: 5,
        send_queue: 6,
        tls: Some("1.3".to_owned()),
        age_ms: None,
    }
}

fn service() -> ServiceReport {
    let listen = ListenReport {
        label: "clients".to_owned(),
        address: "127.0.0.1:2346".to_owned(),
        scheme: "ws".to_owned(),
        page: true,
    };
    ServiceReport {
        name: "echo".to_owned(),
        kind: "websocket".to_owned(),
        listen: vec![listen],
        processes: 2,
        ready: 1,
        reload: "replace".to_owned(),
    }
}

fn status() -> StatusReport {
    let slot = SlotReport {
        name: "echo/0".to_owned(),
        service: "echo".to_owned(),
        index: 0,
        pid: Some(2),
        state: "ready".to_owned(),
        generation: 3,
        build: Some("9fa2c1b0".to_owned()),
        formats: Some(RecordFormats { oldest: 1, newest: 2 }),
        uptime_ms: Some(4),
        restarts: 5,
        failures: 3,
        next_start_in_ms: Some(12),
        last_exit: Some("signal 9 (SIGKILL)".to_owned()),
        last_exit_ago_ms: Some(6),
        answered: true,
        stats: Some(stats()),
        gauges: gauges(),
        remarks: condition().remarks,
        unfit: condition().unfit,
        memory_bytes: Some(7),
        cpu_ms: Some(8),
        lag_p99_us: Some(9),
        lag_max_us: Some(10),
    };
    StatusReport {
        lineman: "0.1.0".to_owned(),
        program: "echo".to_owned(),
        executable: "/usr/bin/echo".to_owned(),
        pid: 1,
        state: "up".to_owned(),
        started_at: 1_700_000_000,
        uptime_ms: 11,
        load: Some([0.5, 1.25, 2.0]),
        log: Some("/var/log/echo.log".to_owned()),
        services: vec![service()],
        totals: Totals::of(std::slice::from_ref(&slot)),
        slots: vec![slot],
    }
}
