//! A cluster that nothing is asked of.

use std::time::Duration;

use anyhow::Result;
use lineman_tests::machines::Site;
use tokio::time::{Instant, sleep};

use crate::load::{Processes, float};
use crate::say;

const WATCHED: Duration = Duration::from_secs(10);

pub(crate) async fn measure(machines: u8) -> Result<()> {
    let site = Site::here(machines)?;
    let begun = Instant::now();
    let site = site.started().await?;
    let linked = begun.elapsed();
    // What starting still has to do is no silence.
    sleep(Duration::from_secs(3)).await;
    let processes = Processes::of(&site)?;
    let before = processes.used(&site)?;
    sleep(WATCHED).await;
    let used = processes.used(&site)?.since(before);
    let (mean, most) = processes.memory()?;
    let mebibytes = |bytes: u64| float(bytes >> 10) / 1024.0;
    let seconds = WATCHED.as_secs_f64();
    say(&format!("\nIdle, {} s\n", WATCHED.as_secs()));
    say(
        "| machines | processes | all up and linked after s | MiB a process, mean, most | % of a core, all | frames a second, all |",
    );
    say("|---|---|---|---|---|---|");
    say(&format!(
        "| {machines} | {} | {:.2} | {:.1}, {:.1} | {:.2} | {:.1} |",
        processes.count(),
        linked.as_secs_f64(),
        mebibytes(mean),
        mebibytes(most),
        100.0 * used.processor.as_secs_f64() / seconds,
        used.frames / seconds,
    ));
    Ok(())
}
