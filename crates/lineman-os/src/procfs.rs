//! Facts from `/proc`: load, memory, CPU time, start time. For `status`, and for the budget of a worker;
//! what is missing is `None`.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The kernel's clock ticks per second in `/proc/<pid>/stat`: fixed at 100 for user space on Linux.
const TICKS_PER_SECOND: u64 = 100;

/// What a process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in bytes.
    pub memory: u64,
    /// CPU time, user and system.
    pub cpu: Duration,
}

/// Returns the load averages of 1, 5 and 15 minutes.
pub fn load() -> Option<[f64; 3]> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?])
}

/// Returns what the process uses now; `None` when there is none.
pub fn usage(pid: u32) -> Option<Usage> {
    usage_from(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Returns whether the process was stopped by a signal (SIGSTOP, Ctrl-Z) and has not been continued.
pub fn is_suspended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// Returns whether this process ignores SIGHUP, as `nohup` has it do.
pub fn ignores_hangup() -> bool {
    ignores_hangup_in(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn ignores_hangup_in(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is signal 1.
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// Returns whether some process listens at the Unix socket `path`, which needs no rights to see.
pub fn is_listened_at(path: &Path) -> bool {
    let sockets = fs::read("/proc/net/unix").unwrap_or_default();
    let end = [b" ", path.as_os_str().as_bytes()].concat();
    sockets.split(|&byte| byte == b'\n').any(|line| line.ends_with(&end))
}

/// Returns whether this process may listen at a port, as far as the number matters: the low ones take a
/// right of their own.
pub fn may_listen_at(port: u16) -> bool {
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let first = fs::read_to_string(path).ok().and_then(|first| first.trim().parse().ok());
    let is_low = port != 0 && port < first.unwrap_or(1024);
    !is_low || has_low_ports(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// Returns whether these are the rights of a process that has `CAP_NET_BIND_SERVICE`.
fn has_low_ports(status: &str) -> bool {
    const NUMBER: u32 = 10;
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let rights = rights.and_then(|rights| u64::from_str_radix(rights.trim(), 16).ok());
    rights.is_some_and(|rights| rights >> NUMBER & 1 == 1)
}

/// Returns the most connections a listener keeps waiting, whatever backlog it asks for.
pub fn backlog_limit() -> Option<u32> {
    fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

/// Returns how much memory this process and its kin may use, in bytes: the machine's, or the limit of a
/// control group they are in, if that is smaller.
pub fn memory_limit() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_in(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_groups = limit_files(&groups).into_iter().filter_map(|file| {
        // "max" is version 2's word for no limit; version 1 says a number above the machine's.
        fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()
    });
    of_groups.chain(machine).min()
}

fn total_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Returns the files that may hold a limit: of each group in `/proc/self/cgroup`, and of those around it.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            some if some.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let within = Path::new(path.trim_start_matches('/'));
        files.extend(within.ancestors().map(|group| Path::new(root).join(group).join(name)));
    }
    files
}

fn usage_from(stat: &str) -> Option<Usage> {
    // The second field is the program's name in parentheses and may hold blanks and parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = field(14)? + field(15)?;
    let page = rustix::param::page_size() as u64;
    Some(Usage {
        memory: field(24)? * page,
        cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 12 34 0 0 20 0 1 0 555 1000 3 9 1";
        let usage = usage_from(stat).unwrap();
        assert_eq!(usage.cpu, Duration::from_millis(460));
        assert_eq!(usage.memory, 3 * rustix::param::page_size() as u64);
    }

    #[test]
    fn the_first_signal_is_the_lowest_bit() {
        assert!(ignores_hangup_in("Name:\tx\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hangup_in("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
        assert!(!ignores_hangup_in(""));
    }

    #[test]
    fn the_limits_of_a_group_and_of_those_around_it_count() {
        let files = |groups: &str| -> Vec<String> {
            limit_files(groups).iter().map(|file| file.display().to_string()).collect()
        };
        assert_eq!(
            files("0::/a/b\n"),
            [
                "/sys/fs/cgroup/a/b/memory.max",
                "/sys/fs/cgroup/a/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            files("5:cpu:/x\n4:hugetlb,memory:/\n"),
            ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
        assert_eq!(files("nonsense\n"), [""; 0]);
        assert_eq!(total_in("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16 * 1024));
        assert!(memory_limit().unwrap() > 0);
    }

    #[test]
    fn the_right_to_low_ports_is_the_eleventh() {
        assert!(has_low_ports("Name:\tx\nCapEff:\t0000000000000400\n"));
        assert!(!has_low_ports("CapPrm:\t0000000000000400\nCapEff:\t000001fffffffbff\n"));
        assert!(may_listen_at(0) && may_listen_at(65535));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(usage(std::process::id()).unwrap().memory > 0);
    }
}
