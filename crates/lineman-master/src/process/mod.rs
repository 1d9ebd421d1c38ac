//! A worker process: adopts what the master handed over, runs one slot's service, and leaves in order.
//!
//! Called by `App::run` in processes the master started. It never signals a process, and what it knows
//! of the master is a socket.

mod handed;
mod inherited;
mod conversation;
mod lag;
mod leave;
mod orphaned;
mod panics;
mod watchdog;
#[cfg(test)]
mod idle;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use lineman_wire::briefing::bounded;
use lineman_wire::handover::MoveOrder;
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};

use crate::control::frame::{self, Inbox, Outbox};
use crate::control::message::{FromWorker, ToWorker};
use crate::control::{ExitCode, environment};
use crate::error::chain;
use crate::program::{Inside, Program, StartManner};
use crate::service::sketch::Sketch;
use crate::terminal::{Printer, log};
use crate::{BoxError, Error, Result, os};
use conversation::{Conversation, FirstWords, LeaveOrder};
pub use handed::handed_over;
use inherited::Inheritance;
use lag::{LoopBeat, Meter};
use leave::CutOff;

/// How long a worker that ends tries to get its last message to the master.
const LAST_WORD_LIMIT: Duration = Duration::from_millis(500);

/// Returns whether the master started this process to be a worker.
///
/// The environment alone does not tell: a program that a worker starts inherits it, but not the
/// socket that the master has made. Its arguments do not tell either, as they are the program's own.
pub fn is_worker() -> bool {
    let master = std::env::var(environment::MASTER.name).ok().and_then(|pid| pid.parse().ok());
    std::env::var_os(environment::SLOT.name).is_some()
        && master.is_some()
        && os::maker_of_socket(environment::CONTROL_DESCRIPTOR) == master
}

/// Plays the slot that the environment names, until the master or the service ends it.
///
/// # Errors
/// When the runtime cannot be started; what goes wrong later is logged, and ends the process.
pub fn run(program: Box<dyn Program>) -> Result {
    let inheritance = Inheritance::take().unwrap_or_else(|error| {
        Printer::error(&chain(&error));
        end(ExitCode::Usage)
    });
    if !os::environment::forget(&environment::FOR_A_WORKER) {
        // A test's process, say.
        tracing::debug!("programs that this one starts inherit what the master has told it");
    }
    log::start(&inheritance.slot(), inheritance.format());
    show_name();
    if let Err(error) = os::raise_open_files() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(program.blocking_threads())
        .build()
        .map_err(|source| Error::Os { action: "start the runtime", source })?;
    let outcome = LocalSet::new().block_on(&runtime, work(program, inheritance));
    // A blocking task of the user's must not hold up the exit.
    runtime.shutdown_background();
    let Err(error) = outcome else { return Ok(()) };
    tracing::error!(reason = chain(&*error), "cannot run");
    end(ExitCode::Failed)
}

/// Has `ps` and `pkill` know the process by the program's name. The kernel takes the name of the file it
/// executes, and that is a number where the path leads elsewhere (`master/executable.rs`).
fn show_name() {
    let path = std::env::args_os().next().map(PathBuf::from);
    let Some(name) = path.as_deref().and_then(Path::file_name) else { return };
    if let Err(error) = fs::write("/proc/self/comm", name.as_encoded_bytes()) {
        tracing::debug!(%error, "the process keeps the name the kernel gave it");
    }
}

#[expect(clippy::exit, reason = "the error is said; `main` would print it once more")]
fn end(code: ExitCode) -> ! {
    std::process::exit(code.number())
}

/// Runs the slot, and tells the master when that fails.
async fn work(program: Box<dyn Program>, inheritance: Inheritance) -> Result {
    let _ignored = ignore_terminal_signals()?;
    leave_reloads_to_the_master()?;
    let (stream, inheritance) = inheritance.control()?;
    match stream.try_clone() {
        Ok(control) => orphaned::watch(control.into()),
        Err(error) => tracing::warn!(%error, "no watch on the master"),
    }
    let stream = UnixStream::from_std(stream)
        .map_err(|source| Error::Os { action: "use the control socket", source })?;
    let (inbox, outbox) = frame::halves::<ToWorker, FromWorker>(stream);
    panics::report_to(outbox.clone());
    let pump = spawn_local(outbox.clone().pump());
    let outcome = serve(program, inheritance, inbox, &outbox).await;
    if let Err(error) = &outcome {
        say(&outbox, &FromWorker::Failed { reason: chain(&**error) });
    }
    pump.abort();
    if let Err(error) = outbox.flush_within(LAST_WORD_LIMIT) {
        tracing::debug!(%error, "the master did not take the last word");
    }
    outcome
}

/// Starts the service, serves until the master orders to leave or is gone, and leaves.
async fn serve(
    program: Box<dyn Program>,
    mut inheritance: Inheritance,
    inbox: Inbox<ToWorker>,
    outbox: &Outbox<FromWorker>,
) -> Result {
    let slot = inheritance.slot();
    let handover = inheritance.handover();
    let watchdog = program.config().watchdog;
    let services = program.descriptions();
    let inherited = inheritance.claim(&services)?;
    let services = services.iter().map(Sketch::of).collect();
    let generation = inherited.slot.generation;
    let inside = program.inside(inherited)?;
    let heartbeat = LoopBeat::default();
    let meter = Meter::start(heartbeat.clone());
    let mut conversation = Conversation::new(inbox, outbox.clone(), Rc::clone(&inside), meter);
    let mut loop_task = spawn_local(inside.run());

    let leaves = |order| tracing::info!(%slot, %order, "leaving before it was ready");
    let FirstWords { predecessor, take_over } = match conversation.first_words().await {
        Ok(words) => words,
        Err(order) => {
            leaves(order);
            return Ok(());
        }
    };
    // Before any code of the program: its `on_start` may block as well.
    if let Some(limit) = watchdog.limit {
        watchdog::watch(heartbeat, limit, inside.current_call(), outbox.clone());
    }
    let formats = inside.record_formats();
    let take_over = take_over.zip(handover).filter(|_| formats.is_some());
    let dormant = take_over.is_some();
    let manner = if dormant { StartManner::Dormant } else { StartManner::Fresh };
    tokio::select! {
        started = inside.start(predecessor, manner) => started?,
        order = conversation.next_order() => {
            leaves(order);
            return Ok(());
        }
        _ = &mut loop_task => return Err(table_stopped()),
    }
    tracing::info!(generation, "ready");
    let briefing = bounded(inside.briefing());
    say(outbox, &FromWorker::Ready { services, briefing, formats, dormant });
    let serve = async {
        match take_over {
            Some((order, socket)) => taken_over(&*inside, order, socket, &mut conversation).await,
            None => Ok(conversation.next_order().await),
        }
    };
    let order = tokio::select! {
        order = serve => order?,
        _ = &mut loop_task => return Err(table_stopped()),
    };
    if let LeaveOrder::Orphaned = order {
        tracing::error!("the master is gone");
    }
    tracing::info!(%order, connections = inside.connections(), "leaving");
    let CutOff { connections: cut, handlers: unfinished } =
        leave::leave(order, &*inside, &mut conversation).await;
    tracing::info!(cut, unfinished, "left");
    say(outbox, &FromWorker::Leaving { cut, unfinished });
    Ok(())
}

/// Takes over, and serves until the order to leave.
///
/// One that comes before the commit does not decide whether there is one: the process before has the same
/// order, and has given up or has given all that this process then closes in order.
async fn taken_over(
    inside: &dyn Inside,
    order: MoveOrder,
    socket: OwnedFd,
    conversation: &mut Conversation,
) -> Result<LeaveOrder> {
    let mut taking = inside.take_over(socket, order);
    let (taken, leave) = tokio::select! {
        biased;
        taken = &mut taking => (taken, None),
        leave = conversation.next_order() => (taking.await, Some(leave)),
    };
    taken.map_err(|reason| format!("did not take over: {reason}"))?;
    tracing::info!(connections = inside.connections(), "took over");
    conversation.say(&FromWorker::TookOver);
    match leave {
        Some(leave) => Ok(leave),
        None => Ok(conversation.next_order().await),
    }
}

fn table_stopped() -> BoxError {
    "the connection table has stopped".into()
}

/// Says something to the master; if the master is gone, the control task sees it by itself.
fn say(outbox: &Outbox<FromWorker>, message: &FromWorker) {
    if let Err(error) = outbox.send(message) {
        tracing::debug!(%error, "the master was not told");
    }
}

/// Takes the signals that the terminal sends to the whole group and does nothing on them: the master
/// gets them too, and decides. They are handled, not ignored, so that programs which a worker starts
/// get them as usual.
fn ignore_terminal_signals() -> Result<[Signal; 4], Error> {
    let take = |kind| signal(kind).map_err(|source| Error::Os { action: "take signals", source });
    Ok([
        take(SignalKind::interrupt())?,
        take(SignalKind::terminate())?,
        take(SignalKind::hangup())?,
        take(SignalKind::quit())?,
    ])
}

/// Takes the signals that have the master reload, and says so: a signal to every process of this
/// name means no harm, and their usual meaning is to end the process with all its connections.
fn leave_reloads_to_the_master() -> Result<(), Error> {
    let signals = [
        (SignalKind::user_defined1(), "SIGUSR1", "reload"),
        (SignalKind::user_defined2(), "SIGUSR2", "reload -g"),
    ];
    for (kind, name, verb) in signals {
        let mut stream =
            signal(kind).map_err(|source| Error::Os { action: "take signals", source })?;
        // Ends with the process; once is enough to say.
        spawn_local(async move {
            if stream.recv().await.is_some() {
                tracing::info!(
                    "{name} is for the master alone, and ignored here: `{verb}` asks it"
                );
            }
        });
    }
    Ok(())
}
