//! A roll: every machine's program is reloaded, then stopped and started again, one machine after the other, while users talk
//! across machines.

use std::time::Duration;

use anyhow::Result;
use lineman_tests::machines::Machine;
use tokio::time::sleep;

use crate::talk::Talk;
use crate::{cluster, say};

/// Users of each machine.
const EACH: usize = 10;

/// From one machine to the next one.
const PAUSE: Duration = Duration::from_secs(3);

/// How long the last messages may take.
const SETTLED: Duration = Duration::from_secs(5);

pub(crate) async fn measure(machines: u8) -> Result<()> {
    let mut site = cluster(machines).await?;
    let gateways: Vec<_> = site.machines().map(Machine::address).collect();
    let talk = Talk::at(&gateways, EACH).await?;
    sleep(PAUSE).await;
    let mut steps = vec!["nothing happens".to_owned()];
    for number in 1..=machines {
        talk.ledger.borrow_mut().begin();
        steps.push(format!("reload of machine {number}"));
        site.machine(number)?.program()?.reload().await?;
        sleep(PAUSE).await;
    }
    for number in 1..=machines {
        talk.ledger.borrow_mut().begin();
        steps.push(format!("stop and start of machine {number}"));
        let program = site.machine(number)?.program()?;
        program.stop().await?;
        program.start().await?;
        sleep(PAUSE).await;
    }
    talk.hush();
    sleep(SETTLED).await;

    say(&format!("\nRoll of {machines} machines, {EACH} users each, ten messages a second each\n"));
    say(
        "| step | messages | an end's connection ended meanwhile | repeated | lost between connected users |",
    );
    say("|---|---|---|---|---|");
    let mut lost = 0;
    for (step, count) in steps.iter().zip(talk.ledger.borrow().counts()) {
        lost += count.lost;
        say(&format!(
            "| {step} | {} | {} | {} | {} |",
            count.sent, count.between, count.repeated, count.lost
        ));
    }
    say(&format!("| all | | | | {lost} |"));
    Ok(())
}
