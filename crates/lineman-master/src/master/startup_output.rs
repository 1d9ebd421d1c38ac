//! What a worker's process says on stderr before it is one: the loader's errors, a panic or a message
//! of the program's `main`. It goes where the log goes, and its end is kept for the callers that wait.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use crate::terminal::log;
use crate::terminal::plain::is_unshown;

/// The most that is kept: the end of it, where the reason stands.
const KEPT: usize = 2000;

#[derive(Debug)]
pub(super) struct StartupOutput {
    /// The pipe; `None` from its end on.
    pipe: Option<Receiver>,
    kept: Vec<u8>,
}

/// The ends that a process is given.
#[derive(Debug)]
pub(super) struct Ends {
    /// Its stderr until it is a worker.
    pub(super) startup: OwnedFd,
    /// Its stderr afterwards.
    pub(super) later: OwnedFd,
}

impl StartupOutput {
    /// Returns both sides for a process whose stderr will be `later`.
    pub(super) fn new(later: OwnedFd) -> io::Result<(Self, Ends)> {
        let (ours, startup) = pipe_with(PipeFlags::CLOEXEC)?;
        let pipe = Receiver::from_owned_fd(ours)?;
        let ours = Self { pipe: Some(pipe), kept: Vec::new() };
        Ok((ours, Ends { startup, later }))
    }

    /// Returns that of a process that is a worker already.
    pub(super) fn of_worker() -> Self {
        Self { pipe: None, kept: Vec::new() }
    }

    /// Passes everything on; ends when the process is a worker, or is gone.
    pub(super) async fn pass_on(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = pipe.read(&mut bytes).await {
            let said = &bytes[..read];
            log::pass_on(said);
            self.kept.extend_from_slice(said);
            let superfluous = self.kept.len().saturating_sub(KEPT);
            self.kept.drain(..superfluous);
        }
        self.pipe = None;
    }

    /// Returns the end of what was said, in one line.
    pub(super) fn said(&self) -> Option<String> {
        // It may be anything, and ends on a person's terminal.
        let text = String::from_utf8_lossy(&self.kept);
        let text = text.replace(|letter: char| is_unshown(letter) && letter != '\n', "\u{fffd}");
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let line = lines.collect::<Vec<_>>().join("; ");
        (!line.is_empty()).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[tokio::test]
    async fn the_end_of_what_was_said_is_kept_in_one_line() {
        let nowhere = File::options().write(true).open("/dev/null").unwrap();
        let (mut output, ends) = StartupOutput::new(nowhere.into()).unwrap();
        rustix::io::write(&ends.startup, &[b'x'; 3000]).unwrap();
        rustix::io::write(&ends.startup, b"\n  no such \x1b[31mlibrary\n\nso it ends\n").unwrap();
        drop(ends);
        output.pass_on().await;
        let said = output.said().unwrap();
        assert!(said.ends_with("x; no such \u{fffd}[31mlibrary; so it ends"), "{said}");
        assert!(said.chars().count() <= KEPT, "{}", said.len());
    }

    #[tokio::test]
    async fn silence_is_nothing() {
        let nowhere = File::options().write(true).open("/dev/null").unwrap();
        let (mut output, ends) = StartupOutput::new(nowhere.into()).unwrap();
        drop(ends);
        output.pass_on().await;
        assert_eq!(output.said(), None);
    }
}
