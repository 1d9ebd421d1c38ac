//! Attacks on processes: businesses that stand still, die or are replaced while clients are served.

use std::cell::Cell;
use std::time::Duration;

use anyhow::Result;
use lineman_testkit::{Client, Process};
use tokio::time::{Instant, interval};

use crate::attack::Siege;

const BUSINESSES: [&str; 2] = ["business/0", "business/1"];

/// How often a client orders its business to abort.
const CRASH_PACE: Duration = Duration::from_millis(100);

/// A process that stands still, until this is dropped.
struct Stopped(Process);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.resume();
    }
}

pub(super) async fn stopped(siege: &Siege) -> Result<String> {
    let business = siege.target.server.program.process(BUSINESSES[0]).await?;
    business.suspend();
    let stopped = Stopped(business);
    siege.holds().await;
    drop(stopped);
    Ok(format!("{:.1} s", siege.effort.time.as_secs_f64()))
}

pub(super) async fn killed(siege: &Siege) -> Result<String> {
    let program = &siege.target.server.program;
    let (mut count, end) = (0, siege.end());
    for slot in BUSINESSES.iter().cycle() {
        let killed = program.kill(slot).await?;
        program.replaced(slot, &killed).await?;
        count += 1;
        if Instant::now() > end {
            break;
        }
    }
    Ok(format!("{count} kills"))
}

pub(super) async fn crash_loop(siege: &Siege) -> Result<String> {
    let count = Cell::new(0);
    let attack = async {
        let mut pace = interval(CRASH_PACE);
        loop {
            pace.tick().await;
            // The gateway gives the client to another business; it comes again when it is cut.
            let Ok(mut client) = Client::connect(&siege.target.server.port.ws()).await else {
                continue;
            };
            while client.send_text("abort").await.is_ok() {
                count.set(count.get() + 1);
                pace.tick().await;
            }
        }
    };
    siege.goes_on(attack).await;
    Ok(format!("{} orders to abort", count.get()))
}

pub(super) async fn reloads(siege: &Siege) -> Result<String> {
    let (mut count, end) = (0, siege.end());
    while Instant::now() < end {
        siege.target.server.program.reload_only("business").await?;
        count += 1;
    }
    Ok(format!("{count} reloads"))
}
