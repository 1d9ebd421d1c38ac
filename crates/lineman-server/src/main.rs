//! The program `lineman`: gateways and registers as a file describes them, for applications in PHP or any other
//! language, without a line of Rust.
//!
//! To be read in this order: `settings` is the table that everything goes by; `file` and `environment` read values,
//! `relations` compares them, `ports` gives gateways ports, `configuration` has them together; a `draft` is what a service is made of; `reload`
//! is how a running program gets other ones; `document` writes the example and the page. Verbs beside those of the framework are here.

mod cluster;
mod configuration;
mod document;
mod draft;
mod environment;
mod fault;
mod file;
mod import;
mod init;
mod pages;
mod placed;
mod ports;
mod relations;
mod reload;
mod settings;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use lineman::App;
use lineman::cli;

use cluster::CommandEnd;
use configuration::Configuration;

const ABOUT: &str = "Gateways and registers for long-lived connections, from a file";

const LONG_ABOUT: &str = "Gateways and registers for long-lived connections, from a file\n\n\
    The application behind them is written in Rust with Lineman, or in PHP for GatewayWorker.";

const RUNTIME_DIR_HELP: &str = "Folder of pid file, lock and control socket [default: the file's \
    `runtime_dir`, else /run/NAME for root, else $XDG_RUNTIME_DIR/NAME or /tmp/lineman-UID/NAME]";

/// What is shown of the verbs beside those of the framework.
const EXAMPLES: [(&str, &str); 2] = [
    ("send --uid 42 'hello'", "a message to the clients of a uid"),
    ("online --json", "count the cluster's clients, for scripts"),
];

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "lineman",
    bin_name = "lineman",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = cli::after_help_with("lineman", &EXAMPLES, &CommandEnd::CODES)
)]
struct Invocation {
    /// The file of settings [default: lineman.toml here, then /etc/lineman/lineman.toml]
    #[arg(long, global = true, value_name = "FILE", env = environment::CONFIG, hide_env_values = true)]
    config: Option<PathBuf>,
    /// Folder of pid file, lock and control socket.
    #[arg(long, global = true, value_name = "DIR", help = RUNTIME_DIR_HELP)]
    runtime_dir: Option<PathBuf>,
    #[command(subcommand)]
    verb: ServerVerb,
}

/// What to do. A verb of its own is one entry here and one arm in `run`.
#[derive(Debug, Subcommand)]
enum ServerVerb {
    /// Write a file with every setting, explained, that `start` can run
    Init(init::Init),
    /// Write such a file from the start files of an application in PHP
    Import(import::Import),
    /// Print the table of all settings, in Markdown
    #[command(hide = true)]
    Settings,
    /// Write the manual's pages into a folder
    #[command(hide = true)]
    Manual {
        /// The folder
        folder: PathBuf,
    },
    #[command(flatten)]
    Cluster(cluster::ClusterVerb),
    #[command(flatten)]
    Lineman(cli::Verb),
}

fn main() -> ExitCode {
    let line = Invocation::parse();
    match run(line) {
        Ok(ending) => ending.code(),
        Err(problems) => {
            for problem in problems {
                say(&format!("error: {problem}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// Does what the command line says; returns what stands in its way, a line each.
fn run(line: Invocation) -> Result<CommandEnd, Vec<String>> {
    let Invocation { config, runtime_dir, verb } = line;
    let verb = match verb {
        ServerVerb::Init(how) => {
            init::init(&how, config).map_err(|problem| vec![problem])?;
            return Ok(CommandEnd::Done);
        }
        ServerVerb::Import(how) => {
            import::import(&how, config)?;
            return Ok(CommandEnd::Done);
        }
        ServerVerb::Manual { folder } => {
            let wrong = |error| vec![format!("cannot write to {}: {error}", folder.display())];
            clap_mangen::generate_to(Invocation::command(), &folder).map_err(wrong)?;
            return Ok(CommandEnd::Done);
        }
        ServerVerb::Settings => {
            print(&document::page());
            return Ok(CommandEnd::Done);
        }
        ServerVerb::Cluster(verb) => return cluster::run(&verb, config.as_deref()),
        ServerVerb::Lineman(verb) => verb,
    };
    let app = app(config, &verb)?;
    let arguments = cli::Arguments::from(verb).in_folder(runtime_dir).within(Invocation::command());
    app.run_command(arguments).map_err(|error| vec![error.to_string()])?;
    Ok(CommandEnd::Done)
}

/// Returns the program for a verb: whole for those that start it, and for the others what finds it, whatever has
/// become of the file since.
fn app(config: Option<PathBuf>, verb: &cli::Verb) -> Result<App, Vec<String>> {
    if let Some(text) = lineman::handed_over() {
        return Ok(reload::app(&reload::read(&text).map_err(|problem| vec![problem])?));
    }
    let configuration = Configuration::load(config.as_deref());
    let starts = matches!(verb, cli::Verb::Start(_) | cli::Verb::Restart(_) | cli::Verb::Check(_));
    if !starts {
        return Ok(configuration.bare_app());
    }
    let problems = configuration.problems();
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(reload::hand_over(configuration, config))
}

/// Writes data to stdout; a reader that has gone needs none.
fn print(text: &str) {
    if std::io::stdout().write_all(text.as_bytes()).is_err() {}
}

/// Writes a line to stderr; there is nowhere else to say that it failed.
fn say(line: &str) {
    if writeln!(std::io::stderr(), "{line}").is_err() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Invocation::command().debug_assert();
    }
}
