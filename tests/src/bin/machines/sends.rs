//! What a send costs the cluster: frames between machines, and time of the processors.

use std::time::Duration;

use anyhow::{Result, ensure};
use lineman_testkit::Client;
use lineman_tests::machines::Site;
use tokio::time::{Instant, sleep};

use crate::load::Processes;
use crate::{cluster, say};

/// One after the other: each has arrived before the next.
const SENDS: u32 = 1000;

const QUIET: Duration = Duration::from_secs(3);

pub(crate) async fn measure(machines: u8) -> Result<()> {
    let mut site = cluster(machines).await?;
    let mut sender = on_its_machine(&mut site, 1).await?;
    let mut near = site.machine(1)?.client().await?;
    let mut far = site.machine(2)?.client().await?;
    let mut third = site.machine(3)?.client().await?;
    bound(&mut near, "/uid near").await?;
    bound(&mut far, "/uid far").await?;
    for member in [&mut near, &mut far, &mut third] {
        bound(member, "/join three").await?;
    }
    // Whatever is told about names is told by then.
    sleep(QUIET).await;

    say(&format!("\nSends, {SENDS} of each, one after the other\n"));
    say(
        "| machines | to | frames a send | bytes a send | machines that heard of it | µs of processor a send, all processes |",
    );
    say("|---|---|---|---|---|---|");
    row(&site, "nobody: back to the sender", &mut sender, "/me", &mut []).await?;
    row(&site, "a uid on the sender's machine", &mut sender, "/to near", &mut [&mut near]).await?;
    row(&site, "a uid on another machine", &mut sender, "/to far", &mut [&mut far]).await?;
    row(&site, "a uid that is nowhere, and back", &mut sender, "/to gone", &mut []).await?;
    let group = &mut [&mut near, &mut far, &mut third];
    row(&site, "a group of three, on three machines", &mut sender, "/group three", group).await
}

async fn row(
    site: &Site,
    to: &str,
    sender: &mut Client,
    order: &str,
    receivers: &mut [&mut Client],
) -> Result<()> {
    let processes = Processes::of(site)?;
    let before = processes.used(site)?;
    sleep(QUIET).await;
    let idle = processes.used(site)?.since(before);
    let heard = received(site)?;
    let (before, begun) = (processes.used(site)?, Instant::now());
    for number in 0..SENDS {
        sender.send_text(format!("{order} {number}")).await?;
        if receivers.is_empty() {
            // What goes nowhere is over when what is said behind it comes back.
            if order != "/me" {
                sender.send_text("/me").await?;
            }
            sender.next_text().await?;
        }
        for receiver in &mut *receivers {
            receiver.next_text().await?;
        }
    }
    let times = begun.elapsed().as_secs_f64() / QUIET.as_secs_f64();
    let used = processes.used(site)?.since(before).without(idle, times);
    let each = f64::from(SENDS);
    // Every tenth send would be enough to be told apart from what links say in silence.
    let many = u64::from(SENDS / 10);
    let concerned =
        received(site)?.iter().zip(heard).filter(|(after, before)| **after - before > many).count();
    say(&format!(
        "| {} | {to} | {:.1} | {:.0} | {concerned} | {:.0} |",
        site.machines().count(),
        used.frames / each,
        used.bytes / each,
        used.processor.as_secs_f64() * 1e6 / each,
    ));
    Ok(())
}

/// Returns how many frames each machine has got.
fn received(site: &Site) -> Result<Vec<u64>> {
    site.machines().map(|machine| Ok(machine.traffic()?.received)).collect()
}

/// Connects a client whose events are handled on its own machine, so that its own way there is no part of the cost.
async fn on_its_machine(site: &mut Site, number: u8) -> Result<Client> {
    let machine = site.machine(number)?;
    let here = format!("/where {}", machine.lan_address());
    // The others stay for so long, so the next one is given to another business.
    let mut clients = Vec::new();
    loop {
        let mut client = machine.client().await?;
        client.send_text("/where").await?;
        if client.next_text().await? == here {
            return Ok(client);
        }
        clients.push(client);
        ensure!(clients.len() < 1000, "no client is handled on its own machine");
    }
}

/// Has a client ask for a name, and waits until it has it.
async fn bound(client: &mut Client, order: &str) -> Result<()> {
    client.send_text(order).await?;
    client.next_text().await?;
    Ok(())
}
