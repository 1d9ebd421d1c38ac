//! The siege: plays attacks, one after the other, against a program of its own on loopback, beside
//! innocent clients whose round trips are measured, and prints what each attack cost them.
//!
//! `cargo xtask siege` builds and runs it; `tests/tests/siege.rs` runs the short form.

mod target;
mod ledger;
mod innocents;
mod attack;
mod attacks;
mod outcome;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use lineman_testkit::LIMIT;
use lineman_tests::audience::raise_open_files;
use lineman_tests::certificates::{Authority, Pair};
use rustix::process::{getpriority_process, setpriority_process};
use tokio::time::{sleep, timeout};

use crate::attack::{Attack, Effort, Siege};
use crate::innocents::Innocents;
use crate::ledger::Phase;
use crate::outcome::{Outcome, Seen};
use crate::target::Target;

/// The niceness that takes the least from others.
const LOWEST_PRIORITY: i32 = 19;

/// Attacks a server of ours, bounded and on loopback, and shows what innocent clients notice.
#[derive(Debug, Parser)]
#[command(name = "siege")]
struct Arguments {
    /// How many minutes all attacks together take
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    minutes: f64,
    /// Play the attacks whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Say which attacks there are, and end
    #[arg(long)]
    list: bool,
    /// Play what CI does: a second and a tenth of the crowd for each attack; times are not judged
    #[arg(long, conflicts_with = "minutes")]
    short: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut attacks: Vec<&Attack> = attacks::ALL.iter().collect();
    attacks.retain(|attack| is_chosen(attack, &arguments));
    ensure!(!attacks.is_empty(), "no attack has such a name: `--list` says which there are");
    if arguments.list {
        list(&attacks);
        return Ok(ExitCode::SUCCESS);
    }
    tokio::select! {
        withstood = all(&attacks, &arguments) => {
            Ok(if withstood? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        // What is dropped here ends the program under attack, which is a daemon.
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Ok(ExitCode::from(130))
        }
    }
}

#[expect(clippy::print_stdout, reason = "the list is what was asked for")]
fn list(attacks: &[&Attack]) {
    for attack in attacks {
        println!("{:18} {}", attack.name, attack.what);
    }
}

/// Plays attacks, and prints a row for each; returns whether all were withstood.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
async fn all(attacks: &[&Attack], arguments: &Arguments) -> Result<bool> {
    raise_open_files()?;
    let authority = Arc::new(Authority::new().await?);
    let pair = authority.sign("localhost").await?;
    let effort = effort(arguments, attacks.len())?;
    println!("{}", outcome::HEAD);
    let mut withstood = true;
    for attack in attacks {
        let outcome = Box::pin(played(attack, effort, &authority, &pair)).await;
        let outcome = outcome.unwrap_or_else(|error| Outcome::none(attack, &error));
        println!("{outcome}");
        withstood &= outcome.is_good();
    }
    Ok(withstood)
}

fn is_chosen(attack: &Attack, arguments: &Arguments) -> bool {
    let named = arguments.only.as_deref().is_none_or(|name| attack.name.contains(name));
    // One that is asked for by its name is played in either form.
    let all = !arguments.short || arguments.only.is_some();
    named && (attack.in_short || all)
}

fn effort(arguments: &Arguments, attacks: usize) -> Result<Effort> {
    if arguments.short {
        return Ok(Effort::SHORT);
    }
    let each = Duration::try_from_secs_f64(arguments.minutes * 60.0)? / u32::try_from(attacks)?;
    Ok(Effort::within(each))
}

/// While it lives, this thread takes what time the cores have left. Attackers have machines of their own: at the
/// same priority as the servers and the innocent clients, what they compute would count as a delay of the server.
struct Background {
    /// The priority before.
    priority: i32,
}

impl Background {
    fn begin() -> Result<Self> {
        let priority = getpriority_process(None)?;
        setpriority_process(None, LOWEST_PRIORITY)?;
        Ok(Self { priority })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Refused without privileges: then the next target begins at the lowest priority, too, and all have the same.
        let _refused = setpriority_process(None, self.priority);
    }
}

async fn played(
    attack: &Attack,
    effort: Effort,
    authority: &Arc<Authority>,
    pair: &Pair,
) -> Result<Outcome> {
    let target = Target::started(pair).await?;
    let innocents = Innocents::beside(&target, authority).await?;
    sleep(effort.around).await;
    let before = target.memory().await?;
    innocents.enter(Phase::Attack);
    let siege = Siege { target, authority: Arc::clone(authority), effort };
    // An attack may take longer than it has been given, but not for ever.
    let background = Background::begin()?;
    let played = timeout(effort.time + 2 * LIMIT, (attack.play)(&siege)).await;
    let played = played.unwrap_or_else(|_| Err(anyhow::anyhow!("the attack does not end")));
    drop(background);
    innocents.enter(Phase::After);
    sleep(effort.around).await;
    let after = siege.target.memory_returned(&before).await;
    let ledger = innocents.part().await?;
    let deaths = siege.target.deaths().await;
    let lost_events = siege.target.lost_events().await;
    let seen = Seen { ledger, played, deaths, lost_events, before, after };
    let outcome = Outcome::of(attack, effort, &seen);
    if outcome.is_good() {
        siege.target.forget_log();
    }
    Ok(outcome)
}
