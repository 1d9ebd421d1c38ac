//! The master process: binds the sockets, starts the workers, watches, reloads and stops them. Called
//! by `command` for `start`; it never touches a client's byte, runs no handler, and is the only place
//! that signals processes.
//!
//! One loop (`supervisor`) takes events from one queue (`event`), tells the machine (`machine`) what
//! happened and when, and carries out the actions that come back:
//!
//! | part | has | is |
//! |---|---|---|
//! | `Supervisor` | processes, sockets, log files, hooks | the loop; decides nothing |
//! | `Machine` | the slots, and the phase: starting, up or stopping | pure: no process, socket or clock |
//! | `Slots` | every slot behind a `SlotId`, every service behind a `ServiceId` | values; never grows |
//! | `Starting` | the slots still to be started, a reload that waits for them | a machine |
//! | `Reloads` | the rounds under way and the next one | a machine |
//! | `Stop` | the groups that were told, the limits | a machine |
//! | `Loan`, `Failures` | listeners lent by a slot; its crashes and back-off | values of a slot |
//!
//! A `Start` or `Lend` has an outcome, which the supervisor gives back to the machine at once. What
//! takes time comes back as an event: a process gets ready, or ends. Each turn of the loop is
//! `Machine::advance` for what is due, then `Machine::tend_listeners` for what the slots are now.

mod supervisor;
mod machine;
mod crash;
mod life_sign;
mod briefing;
mod event;
mod slot;
mod spawn;
mod attend;
mod startup_output;
pub(crate) mod executable;
mod listeners;
pub(crate) mod places;
mod lending;
pub(crate) mod log_file;
mod socket_file;
pub(crate) mod activation;
mod start;
mod reload;
mod drain_limits;
mod stop;
mod status;
mod tls;
pub(crate) mod upgrade;
mod exit;
pub mod hooks;
mod notify;
pub(crate) mod health;
mod orphans;
mod bind_retry;
mod runtime_files;
mod open_files;
mod backoff;
#[cfg(test)]
mod test_master;

use std::cell::RefCell;
use std::collections::HashSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use crate::Error;
use crate::config::Config;
use crate::control::ExitCode;
use crate::control::answers::Answers;
use crate::control::folder::RuntimeFolder;
use crate::control::lock::{self, Holder, Lock, NotTaken};
use crate::control::server;
use crate::error::chain;
use crate::os::identity::Identity;
use crate::service::{Description, Ports, Traffic};
use crate::terminal::log::{self, MASTER};
use activation::Given;
use bind_retry::Unbound;
use event::ProgramEnd;
pub use exit::ExitReason;
use hooks::Hooks;
pub use hooks::WorkerExit;
use listeners::Listener;
use log_file::{LogFiles, Wanted};
use open_files::Room;
use supervisor::Supervisor;

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) services: Vec<Description>,
    /// The user and group that the processes of each run as, if not those of the master.
    pub(crate) identities: Vec<Option<Identity>>,
    /// What it wants to hear of.
    pub(crate) hooks: Rc<Hooks>,
    pub(crate) folder: RuntimeFolder,
    /// Where log and printed output go.
    pub(crate) log: Wanted,
    /// The file workers are started from.
    pub(crate) program: PathBuf,
    /// What workers are started with.
    pub(crate) workers: WorkerArguments,
    /// Whether all TLS uses a certificate made at the start, for development.
    pub(crate) self_signed: bool,
    /// The sockets a service manager handed over.
    pub(crate) given: Vec<Given>,
}

/// The arguments of a worker's process; what it is to do is in its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerArguments {
    /// Its slot, for people who look at `ps`.
    Slot,
    /// Those of this process: the program's own flags are among them.
    Same,
}

impl Plan {
    /// Checks that the program can run and returns its plan.
    pub(crate) fn new(
        config: Config,
        services: Vec<Description>,
        hooks: Rc<Hooks>,
        folder: RuntimeFolder,
    ) -> Result<Self, Error> {
        config.check_name()?;
        check(&services)?;
        places::distinct(&services, &config)?;
        let identities = services.iter().map(|service| identity(&config, service));
        Ok(Self {
            identities: identities.collect::<Result<_, _>>()?,
            config,
            hooks,
            services,
            folder,
            log: Wanted::default(),
            program: executable::resolve()?,
            workers: WorkerArguments::Slot,
            self_signed: false,
            given: Vec::new(),
        })
    }
}

impl Plan {
    /// Returns the same without a certificate that is made, and without what a service manager handed over.
    fn without_certificate(&self) -> Self {
        Self {
            config: self.config.clone(),
            services: self.services.clone(),
            identities: self.identities.clone(),
            hooks: Rc::clone(&self.hooks),
            folder: self.folder.clone(),
            log: self.log.clone(),
            program: self.program.clone(),
            workers: self.workers,
            self_signed: false,
            given: Vec::new(),
        }
    }
}

/// Runs the program until it is stopped. The start is reported to `report`: `started`, then `done`,
/// or `done` with what failed, after everything has been torn down.
pub(crate) fn run(plan: &Plan, report: &Answers) -> ExitCode {
    let (code, failure) = match hold(plan, report) {
        Ok(ProgramEnd { code, failure }) => (code, failure),
        Err(NoMaster { code, reason }) => (code, Some(reason)),
    };
    if let Some(reason) = failure {
        report.done(code, reason);
    }
    code
}

/// Why there is no master.
#[derive(Debug)]
struct NoMaster {
    code: ExitCode,
    reason: String,
}

impl From<Error> for NoMaster {
    fn from(error: Error) -> Self {
        Self { code: ExitCode::Failed, reason: chain(&error) }
    }
}

impl From<Unbound> for NoMaster {
    fn from(unbound: Unbound) -> Self {
        Self { code: ExitCode::Failed, reason: unbound.to_string() }
    }
}

/// Holds the lock and the sockets while the loop runs; both are gone when this returns.
fn hold(plan: &Plan, report: &Answers) -> Result<ProgramEnd, NoMaster> {
    plan.folder.create()?;
    let log = plan.log.log.clone().map(lock::LogPath);
    let holder = Holder { log, ..Holder::this(&plan.program) };
    let mut lock = Lock::take(&plan.folder.lock(), &holder).map_err(refused)?;
    let log_files = LogFiles::open(&plan.log)?;
    log::start(MASTER, plan.log.format);
    log::panics::log_all();
    Room::make().tell(report);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Os { action: "start the runtime", source })?;
    let verdict = runtime.block_on(supervise(plan, log_files, holder, &mut lock, report));
    let socket = plan.folder.socket();
    // Without the lock it is another master's.
    if lock.is_ours()
        && let Err(error) = std::fs::remove_file(&socket)
    {
        tracing::debug!(path = %socket.display(), %error, "cannot remove the control socket");
    }
    verdict
}

/// The listeners of each slot of each service.
type Sockets = Vec<Vec<Vec<Listener>>>;

fn bind(plan: &Plan) -> Result<Sockets, Unbound> {
    let given = activation::assign(&plan.given, &plan.services)?;
    let bind = |(description, given): (&Description, _)| {
        listeners::bind_service(description, given)
            .map_err(|error| Unbound { service: Some(description.name.clone()), error })
    };
    plan.services.iter().zip(given).map(bind).collect()
}

async fn supervise(
    plan: &Plan,
    log_files: LogFiles,
    holder: Holder,
    lock: &mut Lock,
    report: &Answers,
) -> Result<ProgramEnd, NoMaster> {
    let (events, mut queue) = event::queue();
    event::take_signals(&events)?;
    let sockets =
        bind_retry::bind_when_free(lock.left_by(), report, &mut queue, || bind(plan)).await?;
    listeners::note_backlog(&plan.services);
    let health = health::bind(&plan.config)?;
    let listener = server::listen(&plan.folder.socket())?;
    let files = RuntimeDescriptors::new(lock, &listener)?;
    let supervisor =
        Supervisor::new(plan, sockets, log_files, (holder.clone(), files), report.clone(), events)?;
    Ok(serve_until_the_end(plan, supervisor, queue, (listener, health), &holder, lock).await)
}

/// Serves the command line and health probes while the loop runs.
async fn serve_until_the_end(
    plan: &Plan,
    supervisor: Supervisor,
    queue: mpsc::Receiver<event::MasterEvent>,
    (listener, health): (UnixListener, Option<std::net::TcpListener>),
    holder: &Holder,
    lock: &mut Lock,
) -> ProgramEnd {
    let (files, events) = (Rc::clone(&supervisor.files), supervisor.events.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let (replace, successors) = mpsc::channel(1);
    let server = tokio::spawn(server::serve(listener, successors, events.clone(), async move {
        // Dropped or sent: both mean the end.
        stopped.await.unwrap_or_default();
    }));
    if let Some(health) = health {
        tokio::spawn(health::serve(health, events.clone()));
    }
    let verdict = tokio::select! {
        verdict = supervisor.run(queue) => verdict,
        never = runtime_files::keep(&plan.folder, lock, holder, &replace, &files) => match never {},
    };
    drop(stop);
    // Callers get their answers before the process ends; one that does not read is dropped by the
    // server's own limit.
    if let Err(error) = server.await {
        tracing::warn!(%error, "the control socket's task failed");
    }
    verdict
}

/// Goes on in the place of the master before, until the program is stopped.
fn go_on(
    plan: &Plan,
    runtime: &tokio::runtime::Runtime,
    log_files: LogFiles,
    (holder, mut lock): (Holder, Lock),
    control: OwnedFd,
    resumed: upgrade::Resumed,
) -> ExitCode {
    let outcome =
        runtime.block_on(go_on_with(plan, log_files, &holder, &mut lock, control, resumed));
    let socket = plan.folder.socket();
    if lock.is_ours()
        && let Err(error) = std::fs::remove_file(&socket)
    {
        tracing::debug!(path = %socket.display(), %error, "cannot remove the control socket");
    }
    match outcome {
        Ok(ProgramEnd { code, .. }) => code,
        Err(problem) => {
            tracing::error!(problem, "the master cannot go on");
            ExitCode::Failed
        }
    }
}

async fn go_on_with(
    plan: &Plan,
    log_files: LogFiles,
    holder: &Holder,
    lock: &mut Lock,
    control: OwnedFd,
    mut resumed: upgrade::Resumed,
) -> Result<ProgramEnd, String> {
    let failed = |error: std::io::Error| error.to_string();
    let (events, queue) = event::queue();
    event::take_signals(&events).map_err(|error| chain(&error))?;
    crate::os::signals::begin_afresh().map_err(failed)?;
    let sockets = resumed.sockets(plan).map_err(failed)?;
    let listener = std::os::unix::net::UnixListener::from(control);
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = UnixListener::from_std(listener).map_err(failed)?;
    let health = health::bind(&plan.config).unwrap_or_else(|problem| {
        tracing::error!(%problem, "no health probes");
        None
    });
    let files = RuntimeDescriptors::new(lock, &listener).map_err(|error| chain(&error))?;
    let (report, _) = Answers::channel();
    let without_certificate = plan.without_certificate();
    let supervisor = Supervisor::new(
        &without_certificate,
        sockets,
        log_files,
        (holder.clone(), files),
        report,
        events,
    );
    let mut supervisor = supervisor.map_err(|error| chain(&error))?;
    let came = resumed.give(&mut supervisor, plan.folder.path()).map_err(failed)?;
    tracing::info!("{came}");
    supervisor.came = Some(came);
    Ok(serve_until_the_end(plan, supervisor, queue, (listener, health), holder, lock).await)
}

/// What of the runtime folder stays open across an upgrade.
#[derive(Debug)]
struct RuntimeDescriptors {
    lock: OwnedFd,
    control: OwnedFd,
}

impl RuntimeDescriptors {
    fn new(lock: &Lock, control: &UnixListener) -> Result<Rc<RefCell<Self>>, Error> {
        let failed = |source| Error::Os { action: "keep the control socket", source };
        let lock = lock.descriptor().map_err(failed)?;
        let control = control.as_fd().try_clone_to_owned().map_err(failed)?;
        Ok(Rc::new(RefCell::new(Self { lock, control })))
    }
}

fn refused(problem: NotTaken) -> NoMaster {
    let reason = match problem {
        NotTaken::Failed(error) => return error.into(),
        NotTaken::Held(Some(holder)) => already_running(&holder),
        NotTaken::Held(None) => "already running".to_owned(),
    };
    NoMaster { code: ExitCode::AlreadyRunning, reason }
}

/// Returns what a second start says.
pub(crate) fn already_running(holder: &Holder) -> String {
    let Holder { pid, program, .. } = holder;
    format!("already running: pid {pid}, {} (`stop` or `reload` it)", program.display())
}

fn identity(config: &Config, service: &Description) -> Result<Option<Identity>, Error> {
    let (user, group) = match &service.user {
        Some(user) => (Some(user), service.group.as_ref()),
        None => (config.user.as_ref(), service.group.as_ref().or(config.group.as_ref())),
    };
    Identity::find(user.map(String::as_str), group.map(String::as_str)).map_err(|error| {
        Error::Configuration { service: service.name.clone(), problem: error.to_string() }
    })
}

fn check(services: &[Description]) -> Result<(), Error> {
    let wrong = |service: &str, problem: &str| {
        let (service, problem) = (service.to_owned(), problem.to_owned());
        Err(Error::Configuration { service, problem })
    };
    if services.is_empty() {
        return wrong("", "the program has no services: add one with `App::service`");
    }
    let mut names = HashSet::new();
    for Description { name, count, listeners, .. } in services {
        for listen in listeners {
            let endpoint = listen.endpoint()?;
            if endpoint.port().is_none() && listen.ports == Ports::PerSlot {
                return wrong(name, "slots cannot have a Unix socket each: give it `host:port`");
            }
            if endpoint.port().is_none() && listen.traffic == Traffic::Datagrams {
                return wrong(name, "datagrams come over UDP alone: give it `host:port`");
            }
        }
        if name.is_empty() || name.contains(|letter: char| letter == '/' || letter.is_control()) {
            return wrong(
                name,
                "a name must not be empty or hold `/`: give it another with `name`",
            );
        }
        if !names.insert(name) {
            return wrong(name, "two services have this name: give one another with `name`");
        }
        if *count == 0 {
            return wrong(name, "a count of 0 runs nothing: it must be 1 or more");
        }
    }
    Ok(())
}
