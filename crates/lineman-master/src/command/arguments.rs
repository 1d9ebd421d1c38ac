//! The verbs and flags of the command line, as data for clap, and the help text. Public as
//! `lineman::cli`, for programs with flags of their own.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use super::duration;
use super::log_flags::LogFlags;
use super::logs::Logs;
use crate::control::ExitCode;
use crate::control::environment;
use crate::control::request::{Manner, Probe, ReloadTo};

/// A text of its own, for what reads well in documentation has marks that a terminal would show.
const RUNTIME_DIR_HELP: &str = "Folder of pid file, lock and control socket [default: \
    /run/NAME for root, else $XDG_RUNTIME_DIR/NAME or /tmp/lineman-UID/NAME]";

/// What waits for what when reloads meet.
const RELOAD_HELP: &str = "The old processes get the drain limit for their connections (30s unless \
    the program says otherwise), an hour with -g, or what --timeout says.\n\n\
    A reload that finds another one at work on the same processes follows it, and hurries it: what \
    drains there gets no longer than this one gives, and the first one's caller is told. Reloads that \
    wait for their turn become one, with the longest of their limits. Reloads of different services \
    go on side by side. During a start, a reload waits until everything is up.\n\n\
    A service whose connections can move hands them to its new processes, in one moment for each \
    process: what has moved, and what could not, is told. Until that moment the old process can go on, \
    and does if anything fails.\n\n\
    With --back each process is replaced by one from the binary that its slot ran before, which the \
    master holds open, whatever is at its path now; connections move to it just so. Asked again, it goes \
    forward to the newer one.";

/// What an upgrade is and is not.
const UPGRADE_HELP: &str = "The master executes the program's file again in its own place: its process id, its \
    processes, their connections and its sockets stay. The new program is run beside it first, and \
    asked whether it can go on; if not, nothing changes. One that then cannot all the same executes the \
    one before. Everything must be up, and the services must be the same: `restart` changes those.\n\n\
    The processes go on with the program they run. `reload` replaces them, as --reload does when the \
    master is upgraded.";

/// The command line of a program that has no flags of its own.
#[derive(Debug, Parser)]
#[command(
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(super) struct CommandLine {
    #[command(flatten)]
    pub(super) arguments: Arguments,
}

#[cfg_attr(
    doc,
    doc = r#"
Lineman's verbs and flags, to stand beside a program's own.

Flatten it into a parser of clap's and give it to `App::run_command`.
The master starts its workers with the same arguments, so that the program's own flags are there
in every process. The page of the module `cli` shows how.
"#
)]
#[cfg_attr(not(doc), expect(missing_docs, reason = "clap would put it into the help of programs"))]
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder of pid file, lock and control socket.
    #[arg(long, global = true, value_name = "DIR", help = RUNTIME_DIR_HELP)]
    pub(super) runtime_dir: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(super) verb: Verb,
    /// The whole command line that these stand in.
    #[arg(skip)]
    whole: Option<Box<clap::Command>>,
}

impl Arguments {
    /// Says what they are a part of, so that `completions` knows the program's own flags too:
    /// `lineman.within(Options::command())`. Default: `completions` prints Lineman's verbs and flags.
    #[must_use]
    pub fn within(self, command: clap::Command) -> Self {
        Self { whole: Some(Box::new(command)), ..self }
    }

    /// Chooses the folder of pid file, lock and control socket, as the flag `--runtime-dir` does: for a program that
    /// has that flag itself, beside verbs of its own. `None` leaves it as it is.
    #[must_use]
    pub fn in_folder(self, folder: Option<PathBuf>) -> Self {
        Self { runtime_dir: folder.or(self.runtime_dir), ..self }
    }

    /// Returns the command line as a whole for the program `name`.
    pub(super) fn whole(&self, name: &str) -> clap::Command {
        self.whole.as_ref().map_or_else(|| command(name), |whole| (**whole).clone())
    }
}

#[cfg_attr(
    doc,
    doc = r#"
What to do: for programs that have verbs of their own beside these.

Flatten it into an enum of verbs, and give it to `App::run_command` as
[`Arguments`]. The runtime folder is then chosen by the environment or the program alone.
The page of the module `cli` shows how.
"#
)]
#[cfg_attr(not(doc), expect(missing_docs, reason = "clap would put it into the help of programs"))]
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Verb {
    /// Start the program, in the foreground or as a daemon
    Start(Start),
    /// Stop it; with -g when its connections are gone
    Stop(Leave),
    /// Stop it if it runs, then start it
    Restart(Restart),
    /// Replace its processes one by one; nobody is refused meanwhile
    #[command(after_help = RELOAD_HELP)]
    Reload(Reload),
    /// Put a new binary in the place of the master; its processes and connections stay
    #[command(after_help = UPGRADE_HELP)]
    Upgrade(Upgrade),
    /// Show its services and processes
    Status(Status),
    /// List its connections
    Connections(Connections),
    /// Ask whether it is ready, or live: the exit code is 0, 1, or 3: not running
    Health(Health),
    /// Print the end of its log; with -f what is written from then on
    Logs(Logs),
    /// Say what `start` would run, and whether it could; binds nothing
    Check(Check),
    /// Print the completions of a shell
    Completions(Completions),
}

impl From<Verb> for Arguments {
    /// Does this, in the runtime folder that the environment or the program chooses.
    fn from(verb: Verb) -> Self {
        Self { runtime_dir: None, verb, whole: None }
    }
}

/// Flags of `start`.
#[derive(Debug, Args)]
pub struct Start {
    /// Run as a daemon: returns when everything is up, or says why not
    #[arg(short, long)]
    pub(super) daemon: bool,
    /// Do not print the table of services
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Let all TLS use a certificate made now, for development only
    #[arg(long)]
    pub(super) self_signed: bool,
    /// Where the log goes.
    #[command(flatten)]
    pub(super) log: LogFlags,
}

/// Flags of `restart`.
#[derive(Debug, Args)]
pub struct Restart {
    /// How to start.
    #[command(flatten)]
    pub(super) start: Start,
    /// How to stop.
    #[command(flatten)]
    pub(super) leave: Leave,
}

/// Flags of `reload`.
#[derive(Debug, Args)]
pub struct Reload {
    /// Only the processes of this service (`echo`) or slot (`echo/0`)
    pub(super) service: Option<String>,
    /// How the old processes leave.
    #[command(flatten)]
    pub(super) leave: Leave,
    /// Close so many connections a second that cannot move, with 1012; otherwise they get the limit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) drain_rate: Option<u32>,
    /// Go to the binary that ran before; twice is forward again
    #[arg(long)]
    back: bool,
}

impl Reload {
    /// Returns which executable is wanted.
    pub(super) fn target(&self) -> ReloadTo {
        if self.back { ReloadTo::Before } else { ReloadTo::Newest }
    }
}

/// Flags of `upgrade`.
#[derive(Debug, Args)]
pub struct Upgrade {
    /// Reload when it is done, so that everything runs the new binary
    #[arg(long)]
    pub(super) reload: bool,
}

/// Flags of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Ask every register and gateway that the services need, too
    #[arg(long)]
    pub(super) cluster: bool,
    /// Where the log would go.
    #[command(flatten)]
    pub(super) log: LogFlags,
}

/// Flags of `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    pub(super) shell: Shell,
}

/// Flags of `stop` and `reload`.
#[derive(Debug, Args)]
pub struct Leave {
    /// Wait until connections end by themselves, within a limit
    #[arg(short, long)]
    graceful: bool,
    /// The limit: 30s, 2m, 500ms, 1h; a plain number is seconds
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,
}

impl Leave {
    /// Returns how connections are treated.
    pub(super) fn manner(&self) -> Manner {
        if self.graceful { Manner::Graceful } else { Manner::Plain }
    }

    /// Returns the limit in milliseconds.
    pub(super) fn timeout_ms(&self) -> Option<u64> {
        self.timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Flags of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// How to print.
    #[command(flatten)]
    pub(super) format: Format,
    /// Show it live, with what happens each second; with --json an object a line
    #[arg(short = 'd', long)]
    pub(super) live: bool,
    /// How often to look: 1s, 500ms; a plain number is seconds [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = duration::interval, requires = "live")]
    pub(super) interval: Option<Duration>,
}

/// How `status` and `connections` print.
#[derive(Debug, Args)]
pub struct Format {
    /// Print JSON, the stable form for scripts
    #[arg(long)]
    pub(super) json: bool,
}

/// Flags of `connections`.
#[derive(Debug, Args)]
pub struct Connections {
    /// Only those of this service (`echo`) or slot (`echo/0`)
    pub(super) service: Option<String>,
    /// How to print.
    #[command(flatten)]
    pub(super) format: Format,
}

/// Flags of `health`.
#[derive(Debug, Args)]
pub struct Health {
    /// Whether the master answers at all
    #[arg(long, conflicts_with = "ready")]
    live: bool,
    /// Whether every service has a ready process and no stop has begun [default]
    #[arg(long)]
    ready: bool,
}

impl Health {
    /// Returns what is asked.
    pub(super) fn probe(&self) -> Probe {
        if self.live { Probe::Live } else { Probe::Ready }
    }
}

/// Returns the parser for the program `name`.
pub(super) fn command(name: &str) -> clap::Command {
    CommandLine::command()
        .name(name.to_owned())
        .bin_name(name.to_owned())
        .about(format!("{name}: start, watch and stop it"))
        .after_help(after_help(name))
        .max_term_width(100)
}

/// Returns the names of the environment variables that users set, for a program that says what is none.
pub fn variables() -> impl Iterator<Item = &'static str> {
    environment::FOR_USERS.iter().map(|variable| variable.name)
}

/// Returns whether an environment variable is one of the framework's: one that users set, or that a process of the
/// program sets for another one.
pub fn is_variable(name: &str) -> bool {
    let of_processes = [environment::REPORT.name, environment::ORPHAN_GRACE_MS.name];
    let mut known = variables().chain(environment::FOR_A_WORKER).chain(of_processes);
    known.any(|known| known == name)
}

/// Returns what stands below the help text of a program: examples, exit codes, environment, signals.
pub fn after_help(name: &str) -> String {
    after_help_with(name, &[], &[])
}

/// Returns the same for a program with verbs of its own: with examples of them, and with exit codes beside those of all
/// programs, which are below 8.
pub fn after_help_with(name: &str, examples: &[(&str, &str)], codes: &[(u8, &str)]) -> String {
    let own_examples = examples;
    let mut text = String::from("Examples:\n");
    let examples = [
        ("start", "run in this terminal; Ctrl-C stops"),
        ("start -d", "run in the background"),
        ("reload", "put a new binary or configuration into service"),
        ("reload -g", "the same, and let every connection end by itself"),
        ("reload web", "only the service `web`"),
        ("reload --back", "go back to the binary before"),
        ("upgrade --reload", "put a new binary in the master's place, too"),
        ("status -d", "watch it live"),
        ("status --json", "for scripts"),
        ("stop -g --timeout 2m", "give connections two minutes to end"),
    ];
    for (arguments, meaning) in examples.iter().chain(own_examples) {
        write_line(&mut text, &format!("{name} {arguments}"), 28, meaning);
    }
    text.push_str("\nExit codes:\n");
    for code in ExitCode::ALL {
        write_line(&mut text, &code.number().to_string(), 3, code.meaning());
    }
    for (code, meaning) in codes {
        write_line(&mut text, &code.to_string(), 3, meaning);
    }
    text.push_str("\nEnvironment:\n");
    for variable in environment::FOR_USERS {
        write_line(&mut text, variable.name, 21, variable.help.unwrap_or_default());
    }
    text.push_str(
        "\nSignals to the master: INT, HUP (unless ignored, see nohup) stop, and kill when they come \
         again; TERM, QUIT stop gracefully; USR1 reload; USR2 reload gracefully. Workers leave all \
         of these to the master.",
    );
    text
}

fn write_line(text: &mut String, left: &str, width: usize, right: &str) {
    // Writing to a String cannot fail.
    if writeln!(text, "  {left:width$} {right}").is_err() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        let matches = command("chat").try_get_matches_from(line.split(' '))?;
        Ok(CommandLine::from_arg_matches(&matches)?.arguments)
    }

    #[test]
    fn the_definition_is_consistent() {
        command("chat").debug_assert();
    }

    #[test]
    fn flags_combine() {
        let Verb::Restart(restart) = parse("chat restart -d -g --timeout 2m").unwrap().verb else {
            panic!("another verb")
        };
        assert!(restart.start.daemon);
        assert_eq!(restart.leave.manner(), Manner::Graceful);
        assert_eq!(restart.leave.timeout_ms(), Some(120_000));
    }

    #[test]
    fn a_misspelt_verb_is_corrected_and_exits_with_usage() {
        let error = parse("chat stauts").unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Usage.number());
        assert!(error.to_string().contains("'status'"), "{error}");
    }

    #[test]
    fn the_folder_may_come_before_or_after_the_verb() {
        for line in ["chat --runtime-dir /x stop", "chat stop --runtime-dir /x"] {
            assert_eq!(parse(line).unwrap().runtime_dir, Some(PathBuf::from("/x")));
        }
    }

    #[test]
    fn help_names_every_exit_code() {
        let help = command("chat").render_help().to_string();
        for code in ExitCode::ALL {
            assert!(help.contains(code.meaning()), "{help}");
        }
    }
}
