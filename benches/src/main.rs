//! `cargo xtask bench echo|chat|instructions|handover`: our server and a floor program, measured in one run.
//!
//! Absolute figures of a shared machine mean nothing, so what counts is the ratio: the servers take
//! turns, each pinned to one core and the load to another. Instructions are the same on every machine.

mod contest;
mod instructions;
mod floor;
mod handover;
mod load;
mod peer;
mod report;

use std::net::SocketAddr;

use clap::{Parser, Subcommand, ValueEnum};

/// Measures Lineman beside a floor: a bare poll loop with the same codec and no framework.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// 64-byte messages echoed, with one and with sixteen in flight on each connection.
    Echo {
        #[command(flatten)]
        effort: Effort,
        /// How many connections there are.
        #[arg(long, default_value_t = 200)]
        connections: usize,
    },
    /// 100 connections in 10 rooms: each message goes to the ten members of its sender's room.
    Chat(Effort),
    /// Counts the instructions of an echo with callgrind, which has to be installed.
    Instructions,
    /// Hands many connections over in a reload: what clients notice, and what it costs.
    Handover(handover::HandoverArguments),
    /// Runs a floor program until it is killed; the others start it.
    #[command(hide = true)]
    Floor { kind: Kind, listen: SocketAddr },
    /// Takes so many descriptors; `handover` starts it.
    #[command(hide = true)]
    MoveFloor { count: usize },
}

#[derive(Debug, Clone, clap::Args)]
struct Effort {
    /// How many times each server is measured, in turns.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How long one measurement takes, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

/// What a server does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Sends it back.
    Echo,
    /// Sends it to everyone in the sender's room.
    Chat,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().bench {
        Bench::Echo { effort, connections } => contest::echo(&effort, connections),
        Bench::Chat(effort) => contest::chat(&effort),
        Bench::Instructions => instructions::echo(),
        Bench::Handover(arguments) => handover::run(&arguments),
        Bench::MoveFloor { count } => handover::floor::receive(count),
        Bench::Floor { kind, listen } => floor::run(kind, listen),
    }
}
