//! A program with a verb of its own beside Lineman's: `migrate` prints a line; the others are a text
//! server that echoes, at the address that `VERBS_LISTEN` names.

use clap::{Parser, Subcommand};
use lineman::prelude::*;

/// Echoes lines, and keeps a database
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring the database up to date
    Migrate,
    #[command(flatten)]
    Lineman(lineman::cli::Verb),
}

#[expect(clippy::print_stdout, reason = "it is a command line")]
fn main() -> Result {
    match Options::parse().verb {
        Verb::Migrate => {
            println!("migrated");
            Ok(())
        }
        Verb::Lineman(verb) => {
            let worker = Worker::text(std::env::var("VERBS_LISTEN")?)
                .on_message(async |connection, line| connection.send(line));
            App::new().name("verbs").service(worker).run_command(verb.into())
        }
    }
}
