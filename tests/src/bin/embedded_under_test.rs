//! A program with flags of its own beside Lineman's: a text server that answers each line with what
//! `--greeting` says, at the address that `--listen` names.

use clap::{CommandFactory as _, Parser};
use lineman::prelude::*;

/// Answers each line with a greeting
#[derive(Parser)]
#[command(after_help = lineman::cli::after_help("embedded"))]
struct Options {
    /// What to answer
    #[arg(long)]
    greeting: String,
    /// Where to listen
    #[arg(long)]
    listen: String,
    #[command(flatten)]
    lineman: lineman::cli::Arguments,
}

fn main() -> Result {
    let Options { greeting, listen, lineman } = Options::parse();
    let worker = Worker::text(listen)
        .on_message(async move |connection, _line| connection.send(greeting.clone()));
    App::new().name("embedded").service(worker).run_command(lineman.within(Options::command()))
}
