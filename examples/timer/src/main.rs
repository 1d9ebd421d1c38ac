//! Timers: one that repeats, and one that runs once and cancels the first. Listens on nothing.

use std::time::Duration;

use lineman::prelude::*;

fn main() -> Result {
    Worker::task("clock")
        .on_start(async |_slot| {
            let ticks = timer::every(Duration::from_secs(1), async move || {
                tracing::info!("tick");
            });
            timer::after(Duration::from_secs(10), async move || ticks.cancel());
            Ok(())
        })
        .run()
}
