//! Taking variables out of the environment, so that programs which this process starts do not get them.

#![expect(unsafe_code, reason = "the environment is shared with C code that takes no lock")]

use std::fs;

/// Takes these variables out of the environment; returns whether it did. A process that has other
/// threads keeps them: C code on one of these may be reading the environment.
pub fn forget(names: &[&str]) -> bool {
    let threads = fs::read_dir("/proc/self/task").map_or(usize::MAX, Iterator::count);
    if threads != 1 {
        return false;
    }
    for name in names {
        // SAFETY: there is no other thread that could read the environment meanwhile, as just asked,
        // and no other that could start one.
        unsafe { std::env::remove_var(name) };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_other_threads_keeps_its_environment() {
        // The harness is one, this test's is another.
        assert!(std::env::var_os("PATH").is_some());
        assert!(!forget(&["PATH"]));
        assert!(std::env::var_os("PATH").is_some());
    }
}
