//! A machine is cut off from the others, in one direction or both, while all clients stay connected: which of them
//! handlers hear wrong things of, and when messages get everywhere again.

use std::time::Duration;

use anyhow::{Context, Result};
use lineman_testkit::Client;
use lineman_tests::machines::{Cut, Machine, Site};
use tokio::time::{Instant, sleep, timeout};

use crate::pairs::Pairs;
use crate::users::{Habit, Users};
use crate::{cluster, say};

/// Users of each machine.
const EACH: usize = 10;

/// Below the time in which a link that is dead is given up, above it, and above all times by which silence is judged.
const SECONDS: [u64; 3] = [5, 20, 100];

/// How long handlers have to hear what is so, after a cut is mended and after all have left.
const SETTLED: Duration = Duration::from_secs(10);

/// How long a message may take to get everywhere again.
const REACH: Duration = Duration::from_mins(1);

pub(crate) async fn measure(machines: u8) -> Result<()> {
    say(&format!(
        "\nPartition: machine {machines} cut off from the others, {EACH} users on each machine\n"
    ));
    say(
        "| cut | s | connections that ended | all reach all again after s | wrong pairs after that | wrong pairs at the end |",
    );
    say("|---|---|---|---|---|---|");
    for (name, cut) in [
        ("both directions", Cut::Both),
        ("what it sends", Cut::Sent),
        ("what it receives", Cut::Received),
    ] {
        for seconds in SECONDS {
            let row = one(machines, cut, seconds)
                .await
                .with_context(|| format!("{name}, {seconds} s"))?;
            say(&format!("| {name} | {seconds} | {row} |"));
        }
    }
    Ok(())
}

async fn one(machines: u8, cut: Cut, seconds: u64) -> Result<String> {
    let mut site = cluster(machines).await?;
    let gateways: Vec<_> = site.machines().map(Machine::address).collect();
    let mut users = Users::at(&gateways, EACH, |_, _| Habit::Stays).await?;
    let before = users.connections();
    site.machine(machines)?.cut(cut)?;
    sleep(Duration::from_secs(seconds)).await;
    site.machine(machines)?.heal()?;
    let healed = Instant::now();
    let reached = timeout(REACH, all_reach_all(&site)).await;
    let reached = match reached {
        Ok(reached) => reached.map(|()| format!("{:.1}", healed.elapsed().as_secs_f64()))?,
        Err(_) => format!("not within {}", REACH.as_secs()),
    };
    sleep(SETTLED).await;
    let ended = users.connections() - before;
    let meanwhile = Pairs::of(&site, &users.connected())?;
    users.leave().await?;
    sleep(SETTLED).await;
    let end = Pairs::of(&site, &users.connected())?;
    Ok(format!("{ended} | {reached} | {meanwhile} | {end}"))
}

/// Waits until what a new client of each machine says is heard by one of each machine.
async fn all_reach_all(site: &Site) -> Result<()> {
    let mut clients = Vec::new();
    for machine in site.machines() {
        clients.push(machine.client().await?);
    }
    for speaker in 0..clients.len() {
        let said = format!("reach {speaker}");
        loop {
            clients[speaker].send_text(&said).await?;
            if all_hear(&mut clients, &said).await? {
                break;
            }
        }
    }
    Ok(())
}

async fn all_hear(clients: &mut [Client], said: &str) -> Result<bool> {
    for client in clients {
        let heard = async {
            while client.text().await? != said {}
            anyhow::Ok(())
        };
        match timeout(Duration::from_millis(200), heard).await {
            Ok(heard) => heard?,
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}
