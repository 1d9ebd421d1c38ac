//! Questions to the whole cluster, before and after a machine has lost power.

use std::time::Duration;

use anyhow::{Context, Result};
use lineman_testkit::Client;
use tokio::time::{Instant, sleep_until, timeout};

use crate::{cluster, say};

/// Seconds after the cut at which it is asked.
const AFTER: [u64; 5] = [1, 5, 15, 30, 60];

const LIMIT: Duration = Duration::from_secs(20);

pub(crate) async fn measure(machines: u8) -> Result<()> {
    let mut site = cluster(machines).await?;
    let mut others = Vec::new();
    let mut asker = loop {
        let mut client = site.machine(1)?.client().await?;
        client.send_text("/where").await?;
        // One whose business outlives the cut.
        if !client.next_text().await?.ends_with(&format!(".{machines}")) {
            break client;
        }
        // It stays, so the next one is given to another business.
        others.push(client);
    };
    let _present = [site.machine(2)?.client().await?, site.machine(machines)?.client().await?];
    say(&format!("\nQuestions: client_count() of {machines} machines, of which one loses power\n"));
    say("| asked | answered after ms | answer |");
    say("|---|---|---|");
    say(&format!("| before | {} |", asked(&mut asker).await?));
    let cut = Instant::now();
    site.machine(machines)?.power_off().await?;
    for seconds in AFTER {
        sleep_until(cut + Duration::from_secs(seconds)).await;
        say(&format!("| {seconds} s after the cut | {} |", asked(&mut asker).await?));
    }
    Ok(())
}

async fn asked(client: &mut Client) -> Result<String> {
    let begun = Instant::now();
    client.send_text("/count").await?;
    let answer = timeout(LIMIT, async {
        loop {
            let text = client.text().await?;
            if let Some(answer) = text.strip_prefix("/count ") {
                return anyhow::Ok(answer.replace('\n', "; "));
            }
        }
    });
    let answer = answer.await.context("no answer at all")??;
    Ok(format!("{} | {answer}", begun.elapsed().as_millis()))
}
