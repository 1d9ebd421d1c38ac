//! What a process inherits of signals and timers from what started it, and how it begins afresh.
//! Called by `lineman-master` before it takes signals, and before each process it starts.

#![expect(unsafe_code, reason = "std and rustix have no signal dispositions, masks or timers")]

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

/// The highest signal of Linux.
const LAST: i32 = 64;

/// Signals that stay ignored: `nohup` means it, a shell means it for what it runs in the background, and
/// the language's runtime ignores a closed pipe.
const STAY_IGNORED: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGPIPE];

/// Begins afresh: unblocks every signal, gives ignored ones their usual meaning back, but for SIGHUP,
/// SIGINT, SIGQUIT and SIGPIPE, and stops the timers that go on across exec and would end the process
/// (`alarm(2)`, `setitimer(2)`).
///
/// Without it, a parent that blocks SIGTERM has a process that cannot be stopped, and one that ignores
/// SIGCHLD has a master that does not hear how its processes end.
///
/// # Errors
/// When the kernel refuses it.
pub fn begin_afresh() -> io::Result<()> {
    unblock_all()?;
    for signal in (1..=LAST).filter(|signal| !STAY_IGNORED.contains(signal)) {
        if is_ignored(signal) {
            // SAFETY: no handler of ours is named, and none was there to be replaced.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    // SAFETY: all zeros is a timer that is not set.
    let off: libc::itimerval = unsafe { MaybeUninit::zeroed().assume_init() };
    for timer in [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF] {
        // SAFETY: `off` lives through the call, and the old value is not asked for.
        if unsafe { libc::setitimer(timer, &raw const off, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Has the process of `command` begin with no signal blocked, whatever this thread blocks.
pub fn unblock_in(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; this is one, and it
    // allocates nothing.
    unsafe { command.pre_exec(unblock_all) };
}

/// Blocks every signal of this thread, for an execution: none then meets a program that has no handler yet.
///
/// # Errors
/// When the kernel refuses it.
pub fn block_all() -> io::Result<()> {
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?)
}

/// Unblocks every signal of this thread.
///
/// # Errors
/// When the kernel refuses it.
pub fn unblock_all() -> io::Result<()> {
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
}

fn is_ignored(signal: i32) -> bool {
    let mut found = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is set, and what is there is written to `found` when the call succeeds. The
    // numbers that are no signals, or the C library's own, are refused.
    let known = unsafe { libc::sigaction(signal, ptr::null(), found.as_mut_ptr()) } == 0;
    // SAFETY: it was written, as just asked.
    known && unsafe { found.assume_init() }.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_blocked_ignored_or_ticking_is_no_more() {
        let an_hour = libc::itimerval {
            it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
            it_value: libc::timeval { tv_sec: 3600, tv_usec: 0 },
        };
        // SAFETY: the signals have no handler, and the timer does not end before the test.
        unsafe {
            libc::signal(libc::SIGWINCH, libc::SIG_IGN);
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            libc::setitimer(libc::ITIMER_REAL, &raw const an_hour, ptr::null_mut());
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None).unwrap();
        let mut deaf = Command::new("cat");
        unblock_in(deaf.arg("/proc/self/status"));
        let status = String::from_utf8(deaf.output().unwrap().stdout).unwrap();
        assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");

        begin_afresh().unwrap();
        assert!(is_ignored(libc::SIGHUP) && is_ignored(libc::SIGPIPE));
        assert!(!is_ignored(libc::SIGWINCH));
        assert_eq!(SigSet::thread_get_mask().unwrap(), SigSet::empty());
        let mut left = MaybeUninit::<libc::itimerval>::zeroed();
        // SAFETY: the call writes to `left`, which was all zeros before.
        let left = unsafe {
            libc::getitimer(libc::ITIMER_REAL, left.as_mut_ptr());
            left.assume_init()
        };
        assert_eq!(left.it_value.tv_sec, 0);
        // SAFETY: as above.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
    }
}
