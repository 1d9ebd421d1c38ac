//! An echo server with knobs, for the black-box tests. Every knob is an environment variable:
//!
//! - `ECHO_LISTEN`: the address; `ECHO_COUNT`: processes (1);
//! - `ECHO_MESSAGE_MS`, `ECHO_HANDSHAKE_MS`, `ECHO_DRAIN_MS`: the limits of that name;
//! - `ECHO_MESSAGE_BYTES`: the longest message, in one frame or in many;
//! - `ECHO_CONNECTIONS`, `ECHO_PER_ADDRESS`, `ECHO_ARRIVALS`, `ECHO_MESSAGES`, `ECHO_BYTES`: bounds of
//!   connections, and of connections, messages and bytes each second; `ECHO_EXCESS_CLOSES`: if it is set,
//!   who sends more is closed;
//! - `ECHO_DEFLATE_FROM`: messages of so many bytes and more are compressed, if the client likes;
//! - `ECHO_SUBPROTOCOL`: the one it speaks;
//! - `ECHO_CERTIFICATE`, `ECHO_KEY`: files for TLS;
//! - `ECHO_BROKEN_IF`: while this file exists, `echo` fails to start and says why from the file;
//!   if that is `wait`, it waits until the file is gone; `ECHO_BROKEN_SLOT`: the slot of this number
//!   alone does;
//! - `ECHO_FRAGILE_IF`: adds a service `fragile`, which fails to start while this file exists;
//! - `ECHO_GIVE_UP_AFTER`: after how many failures of a slot the program ends itself;
//! - `ECHO_DELAY_MS`: the drain delay; `ECHO_BUDGET`: the budget of a process in bytes;
//! - `ECHO_GROWN_IF`: while this file exists, the program describes one process of `echo` more, and a
//!   service `another`;
//! - `ECHO_ENDLESS`: if it is set, every limit of time is `Duration::MAX`; if it is `delay`, the drain
//!   delay as well;
//! - `ECHO_ASKS_WHEN`: at the exit of a worker the master starts a process that ends with 7, asks when
//!   this file exists how it ended, and writes that beside it, as `NAME.answer`;
//! - `ECHO_WATCHDOG_MS`: the watchdog's limit; `ECHO_WATCHDOG_RESTARTS`: it restarts;
//! - `ECHO_BLOCK_WHILE`: as long as this file exists, the message `block` blocks the loop;
//!   `ECHO_BLOCK_START_WHILE`: as long as this one does, `on_start` does;
//! - `ECHO_NOTES`: the file in which what takes `ECHO_WORK_MS` notes its beginning and its end: the
//!   message `work`, `on_close`, and what the messages `timer` and `blocking` begin; and `on_stop`.
//!
//! A message is echoed, but for `who` (the process answers with its pid), `slowly` (echoed after a
//! handler has waited), `fail` and `panic` (the handler does), `print` (a line on stdout), `close`
//! (with 4002 and a reason), `ping` (the peer is pinged, and told when its pong comes), `orphan FILE`
//! (a process that reads the file loses its parent), and `watch`: echoed, and from then on the
//! connection is told why each other one has ended.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use lineman::Watchdog;
use lineman::connection::{CloseReason, Excess, Limits, Rate};
use lineman::prelude::*;
use lineman::tls::Tls;
use lineman::websocket::Deflate;

const PING: &str = "are you there?";

thread_local! {
    static WATCHERS: RefCell<Vec<Connection<WebSocket>>> = const { RefCell::new(Vec::new()) };
}

fn main() -> Result {
    let grown = fails("ECHO_GROWN_IF").is_some();
    let mut echo = Worker::websocket(std::env::var("ECHO_LISTEN")?)
        .name("echo")
        .count(knob("ECHO_COUNT").unwrap_or(1) + usize::from(grown))
        .limits(limits())
        .on_start(async |slot| match knob::<usize>("ECHO_BROKEN_SLOT") {
            Some(broken) if slot.index != broken => Ok(()),
            _ => {
                while fails("ECHO_BROKEN_IF").is_some_and(|reason| reason == "wait") {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                block_while_there("ECHO_BLOCK_START_WHILE");
                fail_while_there("ECHO_BROKEN_IF")
            }
        })
        .on_message(answer)
        .on_pong(|connection, payload| heard_pong(connection, payload))
        .on_close(async |_, reason| {
            tell_the_watchers(&reason)?;
            work("close").await
        })
        .on_stop(async || note("stopped"));
    if let Some(bytes) = knob("ECHO_DEFLATE_FROM") {
        echo = echo.compression(Deflate::new().min_size(bytes));
    }
    if let Ok(subprotocol) = std::env::var("ECHO_SUBPROTOCOL") {
        echo = echo.subprotocols([subprotocol]);
    }
    if let Ok(certificate) = std::env::var("ECHO_CERTIFICATE") {
        echo = echo.tls(Tls::files(certificate, std::env::var("ECHO_KEY")?));
    }
    if let Some(limit) = knob("ECHO_DRAIN_MS") {
        echo = echo.drain_limit(Duration::from_millis(limit));
    }
    let endless = std::env::var("ECHO_ENDLESS").ok();
    if endless.is_some() {
        echo = echo.drain_limit(Duration::MAX).heartbeat(Duration::MAX);
    }
    let mut app = App::new().name("echo").service(echo);
    if endless.is_some() {
        app = app.ready_limit(Duration::MAX).stop_limit(Duration::MAX).drain_limit(Duration::MAX);
    }
    if endless.is_some_and(|what| what == "delay") {
        app = app.drain_delay(Duration::MAX);
    }
    if let Some(limit) = knob("ECHO_WATCHDOG_MS").map(Duration::from_millis) {
        let restarts = std::env::var_os("ECHO_WATCHDOG_RESTARTS").is_some();
        let watchdog = if restarts { Watchdog::restart(limit) } else { Watchdog::report(limit) };
        app = app.watchdog(watchdog);
    }
    if grown {
        app = app.service(Worker::task("another"));
    }
    if let Some(failures) = knob("ECHO_GIVE_UP_AFTER") {
        app = app.give_up_after(failures);
    }
    if let Some(bytes) = knob("ECHO_BUDGET") {
        app = app.budget(bytes);
    }
    if let Some(delay) = knob("ECHO_DELAY_MS") {
        app = app.drain_delay(Duration::from_millis(delay));
    }
    if std::env::var_os("ECHO_FRAGILE_IF").is_some() {
        let fragile = Worker::task("fragile");
        app = app.service(fragile.on_start(async |_| fail_while_there("ECHO_FRAGILE_IF")));
    }
    if let Some(file) = std::env::var_os("ECHO_ASKS_WHEN").map(PathBuf::from) {
        app = app.on_worker_exit(move |_| ask_later(file.clone()));
    }
    app.run()
}

fn ask_later(file: PathBuf) {
    std::thread::spawn(move || {
        let Ok(mut child) = Command::new("sh").args(["-c", "exit 7"]).spawn() else { return };
        while !file.exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let said = child.wait().map_or_else(|error| error.to_string(), |ended| ended.to_string());
        // A test that waits for it in vain says so.
        drop(std::fs::write(file.with_extension("answer"), said));
    });
}

async fn answer(connection: Connection<WebSocket>, message: Message) -> Result {
    match message.as_text() {
        Some("who") => connection.send(std::process::id().to_string().as_str()),
        Some("slowly") => {
            tokio::time::sleep(Duration::from_millis(200)).await;
            connection.send(message)
        }
        Some("work") => work("message").await,
        Some("timer") => {
            timer::after(Duration::ZERO, async || drop(work("timer").await));
            Ok(())
        }
        Some("blocking") => {
            note("blocking begins")?;
            blocking(|| std::thread::sleep(work_time())).await?;
            note("blocking ends")
        }
        Some("close") => {
            connection.close_with_code(4002, "told to, Jürgen");
            Ok(())
        }
        Some("ping") => connection.ping(PING),
        Some(text) if text.starts_with("orphan ") => {
            leave_an_orphan(text.trim_start_matches("orphan "))?;
            connection.send(message)
        }
        Some("watch") => {
            WATCHERS.with_borrow_mut(|watchers| watchers.push(connection.clone()));
            connection.send(message)
        }
        Some("print") => {
            printed();
            connection.send(message)
        }
        Some("block") => {
            block_while_there("ECHO_BLOCK_WHILE");
            connection.send(message)
        }
        Some("fail") => Err("told to fail".into()),
        Some("panic") => told_to_panic(),
        _ => connection.send(message),
    }
}

/// Notes its beginning and its end, if notes are taken.
async fn work(name: &str) -> Result {
    note(&format!("{name} begins"))?;
    tokio::time::sleep(work_time()).await;
    note(&format!("{name} ends"))
}

fn work_time() -> Duration {
    Duration::from_millis(knob("ECHO_WORK_MS").unwrap_or(0))
}

fn note(line: &str) -> Result {
    let Some(file) = std::env::var_os("ECHO_NOTES") else { return Ok(()) };
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    Ok(file.write_all(format!("{line}\n").as_bytes())?)
}

/// Starts a process that reads `file` to its end, and lets its parent go before it.
fn leave_an_orphan(file: &str) -> Result {
    let mut parent = Command::new("sh");
    parent.args(["-c", r#"cat "$0" & "#, file]).stdin(Stdio::null()).stdout(Stdio::null());
    parent.status()?;
    Ok(())
}

fn heard_pong(connection: &Connection<WebSocket>, payload: &[u8]) {
    // What comes unasked is passed over (RFC 6455, 5.5.3).
    if payload == PING.as_bytes() {
        // A peer that has gone meanwhile needs no answer.
        drop(connection.send("pong"));
    }
}

fn tell_the_watchers(reason: &CloseReason) -> Result {
    WATCHERS.with_borrow_mut(|watchers| {
        watchers.retain(Connection::is_open);
        watchers.iter().try_for_each(|watcher| watcher.send(reason.to_string().as_str()))
    })
}

#[expect(clippy::print_stdout, reason = "where it goes is under test")]
fn printed() {
    println!("printed by {}", std::process::id());
}

#[expect(clippy::panic, reason = "what a panic does is under test")]
fn told_to_panic() -> Result {
    panic!("told to panic")
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    if let Some(millis) = knob("ECHO_MESSAGE_MS") {
        limits.message_time = Duration::from_millis(millis);
    }
    if let Some(millis) = knob("ECHO_HANDSHAKE_MS") {
        limits.handshake_time = Duration::from_millis(millis);
    }
    if let Some(bytes) = knob("ECHO_MESSAGE_BYTES") {
        limits.websocket.max_message_size = bytes;
        limits.websocket.max_frame_size = bytes;
    }
    if let Some(count) = knob("ECHO_CONNECTIONS") {
        limits.connections = count;
    }
    if let Some(count) = knob("ECHO_PER_ADDRESS") {
        limits.connections_per_address = count;
    }
    if std::env::var_os("ECHO_ENDLESS").is_some() {
        limits.handshake_time = Duration::MAX;
        limits.message_time = Duration::MAX;
        limits.close_time = Duration::MAX;
        limits.end_time = Duration::MAX;
    }
    limits.connection_rate = knob("ECHO_ARRIVALS").map(Rate::per_second);
    limits.message_rate = knob("ECHO_MESSAGES").map(Rate::per_second);
    limits.byte_rate = knob("ECHO_BYTES").map(Rate::per_second);
    if std::env::var_os("ECHO_EXCESS_CLOSES").is_some() {
        limits.excess = Excess::Close;
    }
    limits
}

fn block_while_there(knob: &str) {
    while fails(knob).is_some() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn fail_while_there(knob: &str) -> Result {
    fails(knob).map_or(Ok(()), |reason| Err(reason.into()))
}

/// Returns what is in the file that the knob names, if it is there.
fn fails(knob: &str) -> Option<String> {
    std::fs::read_to_string(Path::new(&std::env::var_os(knob)?)).ok()
}

fn knob<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}
