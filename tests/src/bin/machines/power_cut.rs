//! A machine loses power: how long users are without service, and what handlers hear of those it held.

use std::time::Duration;

use anyhow::Result;
use lineman_tests::machines::Machine;
use tokio::time::{Instant, sleep};

use crate::pairs::Pairs;
use crate::users::{Habit, Pause, User, Users};
use crate::{cluster, say};

/// Users of each machine.
const EACH: usize = 20;

/// How long they are watched after the cut; twice the longest pause that is aimed at.
const WATCHED: Duration = Duration::from_mins(1);

/// How long handlers have at the end to hear that all are gone.
const SETTLED: Duration = Duration::from_secs(40);

pub(crate) async fn measure(machines: u8) -> Result<()> {
    let mut site = cluster(machines).await?;
    let gateways: Vec<_> = site.machines().map(Machine::address).collect();
    // Nothing says to users of the machine that dies that it is gone, so those always look for another one.
    let habit = |home, number| {
        if home == machines || number % 2 == 0 { Habit::Reconnects } else { Habit::Stays }
    };
    let mut users = Users::at(&gateways, EACH, habit).await?;
    sleep(Duration::from_secs(2)).await;
    let cut = Instant::now();
    site.machine(machines)?.power_off().await?;
    sleep(WATCHED).await;
    let end = Instant::now();

    say(&format!(
        "\nPower cut, 1 of {machines} machines, {EACH} users each, {} s watched\n",
        WATCHED.as_secs()
    ));
    say("| users | all | interrupted | p50 s | max s | unserved at the end | reconnects |");
    say("|---|---|---|---|---|---|---|");
    let dead = |user: &&User| user.home == machines;
    row("of the machine that lost power", users.all.iter().filter(dead), cut, end);
    for (name, habit) in [
        ("of the others, that reconnect after 5 s without an answer", Habit::Reconnects),
        ("of the others, that stay", Habit::Stays),
    ] {
        row(name, users.all.iter().filter(|user| !dead(user) && user.habit == habit), cut, end);
    }
    row("all", users.all.iter(), cut, end);
    users.leave().await?;
    sleep(SETTLED).await;
    say(&format!(
        "\nwrong pairs of on_connect and on_close: {}",
        Pairs::of(&site, &users.connected())?
    ));
    Ok(())
}

fn row<'a>(name: &str, users: impl Iterator<Item = &'a User>, cut: Instant, end: Instant) {
    let (mut count, mut reconnects, mut pauses) = (0, 0, Vec::new());
    for user in users {
        count += 1;
        reconnects += user.reconnects();
        pauses.extend(user.pause(cut, end));
    }
    pauses.sort_by_key(|pause: &Pause| pause.time);
    let shown = |pause: Option<&Pause>| {
        pause.map_or("-".to_owned(), |pause| format!("{:.1}", pause.time.as_secs_f64()))
    };
    let unserved = pauses.iter().filter(|pause| !pause.ended).count();
    say(&format!(
        "| {name} | {count} | {} | {} | {} | {unserved} | {reconnects} |",
        pauses.len(),
        shown(pauses.get(pauses.len() / 2)),
        shown(pauses.last()),
    ));
}
