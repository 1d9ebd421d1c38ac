//! A program that tells about its processes, with knobs that are environment variables:
//!
//! - `PROCESSES_LISTEN`: the address; `PROCESSES_PER_CORE`: processes for each core;
//! - `PROCESSES_USER`, `PROCESSES_GROUP`: who the processes of the service run as;
//!   `PROCESSES_APP_USER`, `PROCESSES_APP_GROUP`: who those of the program do;
//! - `PROCESSES_NAME`: the program's name;
//! - `PROCESSES_NOTES`: a file to which the hooks of the master append what they hear.
//!
//! The service `staying` keeps its processes on reload and listens on a second port that it chooses
//! itself. Lines: `who` (user, group, groups, variables of the service), `reloads` (how many it has
//! heard of), `inner` (the address of the second port, which answers `inside` to every line), `inherits`
//! (what a program has that this one starts: its variables of Lineman's, and its descriptors).

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use lineman::prelude::*;

thread_local! {
    static RELOADS: Cell<u32> = const { Cell::new(0) };
    static INNER: RefCell<String> = const { RefCell::new(String::new()) };
    /// What came of listening there once more.
    static AGAIN: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> Result {
    let mut staying = Worker::text(std::env::var("PROCESSES_LISTEN")?)
        .name("staying")
        .env("GREETING", "good morning")
        // Not the one of the user they run as.
        .env("HOME", "/")
        .keep_on_reload()
        .on_start(async |_| listen_inside().await)
        .on_reload(async || {
            RELOADS.set(RELOADS.get() + 1);
            Ok(())
        })
        .on_message(async |connection, line| connection.send(answer(&line)?));
    if let Ok(user) = std::env::var("PROCESSES_USER") {
        staying = staying.user(user);
    }
    if let Ok(group) = std::env::var("PROCESSES_GROUP") {
        staying = staying.group(group);
    }
    if let Ok(each) = std::env::var("PROCESSES_PER_CORE") {
        staying = staying.per_core(each.parse()?);
    }
    let mut app = App::new();
    if let Ok(user) = std::env::var("PROCESSES_APP_USER") {
        app = app.user(user);
    }
    if let Ok(group) = std::env::var("PROCESSES_APP_GROUP") {
        app = app.group(group);
    }
    if let Ok(name) = std::env::var("PROCESSES_NAME") {
        app = app.name(name);
    }
    app.service(staying)
        .on_worker_exit(|exit| {
            note(&format!("{} {} asked: {}", exit.slot, exit.reason, exit.asked));
        })
        .on_master_reload(|| note("reload"))
        .on_master_stop(|| note("stop"))
        .run()
}

async fn listen_inside() -> Result {
    let inner = Worker::text("127.0.0.1:0")
        .on_message(async |connection, _line| connection.send("inside".to_owned()))
        .listen()
        .await?;
    INNER.set(inner.addresses()[0].to_string());
    let again = Worker::text(INNER.with_borrow(Clone::clone)).listen().await;
    AGAIN.set(again.map_or_else(|error| error.to_string(), |_| "listens twice".to_owned()));
    Ok(())
}

fn answer(line: &str) -> Result<String> {
    match line {
        "reloads" => Ok(RELOADS.get().to_string()),
        "inner" => Ok(INNER.with_borrow(Clone::clone)),
        "again" => Ok(AGAIN.with_borrow(Clone::clone)),
        "inherits" => {
            // `ls` has opened the folder itself.
            let words = "env | sed -n 's/^\\(LINEMAN_[A-Z_]*\\)=.*/\\1/p'; ls /proc/self/fd";
            let found = Command::new("sh").args(["-c", words]).output()?;
            let words = String::from_utf8(found.stdout)?;
            Ok(words.split_whitespace().collect::<Vec<_>>().join(" "))
        }
        _ => {
            let status = fs::read_to_string("/proc/self/status")?;
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
            };
            let own = format!("{} at {}", std::env::var("GREETING")?, std::env::var("HOME")?);
            Ok(format!("{} | {} | {} | {own}", field("Uid:"), field("Gid:"), field("Groups:")))
        }
    }
}

fn note(line: &str) {
    let Some(path) = std::env::var_os("PROCESSES_NOTES").map(PathBuf::from) else { return };
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    // A test that finds nothing says so.
    if file.and_then(|mut file| writeln!(file, "{line}")).is_err() {}
}
