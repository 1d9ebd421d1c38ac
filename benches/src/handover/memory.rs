//! What the processes of a master take of memory: proportional set size, so that a page of two counts once.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};

const LOOK: Duration = Duration::from_millis(20);

/// Returns what the children of a process take, in MiB.
pub(super) fn of_children(parent: u32) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // A process that ends meanwhile takes nothing.
        let Ok(status) = fs::read_to_string(path.join("stat")) else { continue };
        let behind_name = status.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let its_parent = behind_name.split(' ').nth(1).and_then(|number| number.parse().ok());
        if its_parent != Some(parent) {
            continue;
        }
        let Ok(sums) = fs::read_to_string(path.join("smaps_rollup")) else { continue };
        let Some(line) = sums.lines().find_map(|line| line.strip_prefix("Pss:")) else { continue };
        let kib = line.trim().strip_suffix(" kB").context("no size")?;
        sum += kib.parse::<f64>()? / 1024.0;
    }
    Ok(sum)
}

/// Looks again and again, for the most.
pub(super) struct Watch {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<f64>>,
}

impl Watch {
    pub(super) fn begin(parent: u32) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut most = of_children(parent)?;
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK);
                most = most.max(of_children(parent)?);
            }
            Ok(most)
        });
        Self { is_over, thread }
    }

    pub(super) fn end(self) -> anyhow::Result<f64> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the watch on memory has failed"))?
    }
}
