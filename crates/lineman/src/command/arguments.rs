//! The verbs and flags of the command line, as data for clap, and the help text.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use super::duration;
use crate::control::ExitCode;
use crate::control::environment;
use crate::control::request::Manner;

/// A text of its own, for what reads well in documentation has marks that a terminal would show.
const RUNTIME_DIR_HELP: &str = "Folder of lock, control socket and log [default: \
    $XDG_RUNTIME_DIR/NAME, /run/NAME as root, else /tmp/lineman-UID/NAME]";

/// The parsed command line.
#[derive(Debug, Parser)]
#[command(
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(super) struct Arguments {
    /// Folder of lock, control socket and log.
    #[arg(long, global = true, value_name = "DIR", help = RUNTIME_DIR_HELP)]
    pub(super) runtime_dir: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Start the program, in the foreground or as a daemon
    Start(Start),
    /// Stop it; with -g when its connections are gone
    Stop(Leave),
    /// Stop it if it runs, then start it
    Restart(Restart),
    /// Replace its processes one by one; nobody is refused meanwhile
    Reload(Leave),
    /// Show its services and processes
    Status(Format),
    /// List its connections
    Connections(Connections),
}

/// Flags of `start`.
#[derive(Debug, Args)]
pub(super) struct Start {
    /// Run as a daemon: returns when everything is up, or says why not
    #[arg(short, long)]
    pub(super) daemon: bool,
    /// Do not print the table of services
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Let all TLS use a certificate made now, for development only
    #[arg(long)]
    pub(super) self_signed: bool,
}

/// Flags of `restart`.
#[derive(Debug, Args)]
pub(super) struct Restart {
    /// How to start.
    #[command(flatten)]
    pub(super) start: Start,
    /// How to stop.
    #[command(flatten)]
    pub(super) leave: Leave,
}

/// Flags of `stop` and `reload`.
#[derive(Debug, Args)]
pub(super) struct Leave {
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
pub(super) struct Format {
    /// Print JSON, the stable form for scripts
    #[arg(long)]
    pub(super) json: bool,
}

/// Flags of `connections`.
#[derive(Debug, Args)]
pub(super) struct Connections {
    /// Only those of this service (`echo`) or slot (`echo/0`)
    pub(super) service: Option<String>,
    /// How to print.
    #[command(flatten)]
    pub(super) format: Format,
}

/// Returns the parser for the program `name`.
pub(super) fn command(name: &str) -> clap::Command {
    Arguments::command()
        .name(name.to_owned())
        .bin_name(name.to_owned())
        .about(format!("{name}: start, watch and stop it"))
        .after_help(after_help(name))
        .max_term_width(100)
}

fn after_help(name: &str) -> String {
    let mut text = String::from("Examples:\n");
    let examples = [
        ("start", "run in this terminal; Ctrl-C stops"),
        ("start -d", "run in the background"),
        ("reload", "put a new binary or configuration into service"),
        ("reload -g", "the same, and let every connection end by itself"),
        ("status --json", "for scripts"),
        ("stop -g --timeout 2m", "give connections two minutes to end"),
    ];
    for (arguments, meaning) in examples {
        write_line(&mut text, &format!("{name} {arguments}"), 28, meaning);
    }
    text.push_str("\nExit codes:\n");
    for code in ExitCode::ALL {
        write_line(&mut text, &code.number().to_string(), 3, code.meaning());
    }
    text.push_str("\nEnvironment:\n");
    for variable in environment::FOR_USERS {
        write_line(&mut text, variable.name, 20, variable.help.unwrap_or_default());
    }
    text.push_str(
        "\nSignals to the master: INT, HUP stop; TERM, QUIT stop gracefully; USR1 reload; USR2 reload \
         gracefully.",
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
        Arguments::from_arg_matches(&matches)
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
