//! What a cluster uses: time of the processor, memory, frames.

use std::time::Duration;

use anyhow::{Context, Result};
use lineman_testkit::Process;
use lineman_tests::machines::Site;

/// The processes of all machines.
#[derive(Debug)]
pub(crate) struct Processes(Vec<Process>);

/// What they have used, and what has crossed their cables.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) processor: Duration,
    /// Frames that the machines have sent each other.
    pub(crate) frames: f64,
    pub(crate) bytes: f64,
}

impl Processes {
    pub(crate) fn of(site: &Site) -> Result<Self> {
        let mut all = Vec::new();
        for machine in site.machines() {
            all.extend(machine.program()?.processes());
        }
        Ok(Self(all))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the memory that a process holds, the mean and the most of all.
    pub(crate) fn memory(&self) -> Result<(u64, u64)> {
        let held = self.0.iter().map(Process::resident_bytes).collect::<Result<Vec<_>>>()?;
        let most = held.iter().copied().max().unwrap_or(0);
        Ok((held.iter().sum::<u64>() / held.len().max(1) as u64, most))
    }

    /// Returns what was used up to now.
    pub(crate) fn used(&self, site: &Site) -> Result<Used> {
        let mut used = Used::default();
        for process in &self.0 {
            used.processor += processor_time(process.pid())?;
        }
        for machine in site.machines() {
            let traffic = machine.traffic()?;
            used.frames += float(traffic.sent);
            used.bytes += float(traffic.sent_bytes);
        }
        Ok(used)
    }
}

impl Used {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            processor: self.processor.saturating_sub(before.processor),
            frames: self.frames - before.frames,
            bytes: self.bytes - before.bytes,
        }
    }

    /// Returns what is left without what a cluster uses that nothing is asked of.
    pub(crate) fn without(self, idle: Self, times: f64) -> Self {
        Self {
            processor: self.processor.saturating_sub(idle.processor.mul_f64(times)),
            frames: (self.frames - idle.frames * times).max(0.0),
            bytes: (self.bytes - idle.bytes * times).max(0.0),
        }
    }
}

/// Returns a number as one that can be divided; counters of a namespace that is as young as its measurement fit.
pub(crate) fn float(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Returns how long the threads of a process have run.
fn processor_time(pid: i32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let run = text.split(' ').next().context("a number")?;
        nanoseconds += run.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
