//! Has the allocator give free memory back to the kernel. A program that chose an allocator of its own has
//! nothing to give here: it does so by itself, or not.
#![expect(unsafe_code, reason = "malloc_trim is glibc's own")]

/// Gives back what glibc keeps for later: it returns by itself only what is at the end of its heap, and one
/// small block there keeps everything before it. Without glibc it does nothing.
#[cfg(target_env = "gnu")]
pub fn give_back_memory() {
    // SAFETY: it takes glibc's own locks, and may be called at any time on any thread.
    unsafe { nix::libc::malloc_trim(0) };
}

/// Does nothing: other C libraries keep little.
#[cfg(not(target_env = "gnu"))]
pub fn give_back_memory() {}
