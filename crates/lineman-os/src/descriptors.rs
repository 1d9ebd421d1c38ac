//! Descriptors by number: those a parent process handed over.

#![expect(unsafe_code, reason = "a descriptor inherited across exec exists only as a number")]

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process::Stdio;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::sockopt::socket_peercred;

/// Takes possession of an inherited descriptor and marks it close-on-exec.
///
/// # Errors
/// `EBADF` when the number is not open: it was not handed over.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the borrow lasts for this one call, which only asks whether the number is open; a
    // closed number is an answer (EBADF), not undefined behaviour.
    let flags = fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) })?;
    if flags.contains(FdFlags::CLOEXEC) {
        // What was inherited across exec cannot carry this flag: code of this process opened it.
        return Err(io::Error::from(rustix::io::Errno::BADF));
    }
    // SAFETY: the number is open, as just asked, and came through exec, so no value of this process
    // owns it; setting close-on-exec below makes a second adoption fail.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
    Ok(descriptor)
}

/// Returns the process that made the socket pair an inherited descriptor is one end of; `None` when
/// the number is not open, no socket, or was opened by this process.
pub fn maker_of_socket(number: RawFd) -> Option<u32> {
    // SAFETY: borrowed for this one function, which only asks; a closed number answers EBADF.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    if fcntl_getfd(descriptor).ok()?.contains(FdFlags::CLOEXEC) {
        return None;
    }
    let maker = socket_peercred(descriptor).ok()?;
    u32::try_from(maker.pid.as_raw_pid()).ok()
}

/// Marks every descriptor beyond stderr close-on-exec, so that what a shell or a test harness leaked
/// into this process ends with it and is not held open by workers or a daemon. Where there is no `/proc`, as in a root
/// folder that holds a single program, that is those below 4096.
///
/// # Errors
/// When `/proc/self/fd` is there and cannot be read, or a descriptor not be changed.
pub fn close_inherited_on_exec() -> io::Result<()> {
    let entries = match fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return (3..4096).try_for_each(close_on_exec);
        }
        Err(error) => return Err(error),
    };
    for entry in entries {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        if let Some(number) = number.filter(|number| *number > 2) {
            close_on_exec(number)?;
        }
    }
    Ok(())
}

/// Marks a descriptor close-on-exec, if it is open.
fn close_on_exec(number: RawFd) -> io::Result<()> {
    // SAFETY: borrowed for this one call; a number that is not open answers EBADF.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    match fcntl_setfd(descriptor, FdFlags::CLOEXEC) {
        Ok(()) | Err(rustix::io::Errno::BADF) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns a stdin in which nothing is: `/dev/null`, or an empty file in memory where the root folder has none, as one
/// that holds a single program.
///
/// # Errors
/// When the kernel gives neither.
pub fn empty_stdin() -> io::Result<Stdio> {
    match fs::File::open("/dev/null") {
        Ok(nothing) => Ok(nothing.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(memfd_create("stdin", MemfdFlags::CLOEXEC)?.into())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_not_open_is_refused() {
        let error = adopt(1_000_000).expect_err("not open");
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()));
    }

    #[test]
    fn a_descriptor_of_this_process_is_not_adopted() {
        use std::os::fd::AsRawFd as _;
        let file = fs::File::open("/dev/null").unwrap();
        adopt(file.as_raw_fd()).expect_err("it has an owner");
    }

    #[test]
    fn a_descriptor_is_marked_if_it_is_open() {
        use std::os::fd::AsRawFd as _;
        let inherited = rustix::io::dup(fs::File::open("/dev/null").unwrap()).unwrap();
        assert_eq!(fcntl_getfd(&inherited).unwrap(), FdFlags::empty());
        close_on_exec(inherited.as_raw_fd()).unwrap();
        assert_eq!(fcntl_getfd(&inherited).unwrap(), FdFlags::CLOEXEC);
        close_on_exec(1_000_000).expect("that one is not open has an answer");
    }
}
