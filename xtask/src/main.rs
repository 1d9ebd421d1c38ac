//! Every command a developer types. `cargo xtask --help` lists them; CI runs `cargo xtask test`.

mod bench;
mod check;
mod conformance;
mod package;
mod packages;
mod peers;
mod siege;
mod step;
mod test;
mod tidy;

use clap::{Parser, Subcommand};

/// Builds, tests and measures Lineman.
///
/// A fresh machine needs a Rust toolchain; what else a command needs it installs itself, or says how.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "Examples:
  cargo xtask test                      all that CI runs
  cargo xtask test -- --test traffic    one folder of tests
  cargo xtask check && git commit       before a commit
  cargo xtask conformance --all         all 517 WebSocket cases, both sides
  cargo xtask bench echo --runs 5       our echo server beside its floor
  cargo xtask bench instructions        what an echo takes, whatever else runs
  cargo xtask bench cluster --machines 6  what a power cut, a partition and a send cost
  cargo xtask siege --minutes 30        every attack, and what innocent clients notice"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what the tests need, check, build the programs, run every test
    ///
    /// The tests need Debian's chromium, chromium-driver, curl, openssl, python3, python3-venv, nodejs,
    /// npm, systemd and iproute2. As root on Debian or Ubuntu they are installed if missing; otherwise the command to
    /// type is printed. The peers that tests/peers names come by pip and npm, into target. Formatting
    /// and clippy are checked where the toolchain has them.
    Test(test::Arguments),
    /// Check formatting, lints and documentation; runs no test
    Check,
    /// Check the repository's own rules, those that no compiler knows
    ///
    /// Heads and lengths of files, who may import whom, circles of modules, names of types, where unsafe
    /// code is, what must not be committed. `cargo test` runs the same rules.
    Tidy,
    /// Run Autobahn's WebSocket cases against our server and our client
    ///
    /// Any difference to tests/expected/autobahn-*.txt fails. `test` runs most of them.
    Conformance(conformance::Arguments),
    /// Measure Lineman beside a floor program, in turns in one run
    ///
    /// What counts is the ratio: absolute figures of a shared machine mean nothing. `instructions` are
    /// exact; they take Debian's valgrind, which is installed as what `test` needs is. `cluster` has no floor: its
    /// machines are network namespaces, which take root and Debian's iproute2.
    Bench(bench::Arguments),
    /// Attack our servers beside innocent clients, and print what those noticed
    ///
    /// On loopback, bounded in connections, bytes and time: `--minutes N` is for all attacks together (5),
    /// `--only NAME` plays those with this in their names, `--list` says which there are. Delays are judged
    /// as ratios to those in quiet. `--short` is what `test` plays.
    Siege(siege::Arguments),
    /// Make what the program `lineman` is installed by: an archive, .deb, .rpm, the folder of an image
    ///
    /// The program is linked statically, for musl's target of Rust, which rustup fetches if it is missing.
    Package(package::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Test(arguments) => test::run(&arguments),
        Command::Check => check::command(),
        Command::Tidy => tidy::run(),
        Command::Conformance(arguments) => conformance::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Siege(arguments) => siege::run(&arguments),
        Command::Package(arguments) => package::package(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn arguments_behind_two_dashes_are_for_cargo() {
        let parsed = Arguments::try_parse_from(["xtask", "test", "--", "--test", "traffic"]);
        let Command::Test(arguments) = parsed.unwrap().command else { panic!("another command") };
        assert_eq!(arguments.cargo_test, ["--test", "traffic"]);
    }
}
