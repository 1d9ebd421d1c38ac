//! The files of log and printed output: opened by the master, handed to every worker, and opened
//! again when they were moved away or deleted. A file that cannot be opened again stops nothing.

mod open;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::spawn::{WorkerProcess, WorkerProcesses};
use crate::Error;
use crate::control::environment;
use crate::control::message::ToWorker;
use crate::error::chain;
use crate::terminal::log::{self, Format, Streams};
pub(crate) use open::{check, open};

/// How often the paths are looked at. What tools that rotate do takes longer than this, and a `stat`
/// takes a microsecond.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where log and printed output shall go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) format: Format,
    /// The log's file; `None` is stderr.
    pub(crate) log: Option<PathBuf>,
    /// The size from which a file is moved away; 0 is without limit.
    pub(crate) max_size: u64,
    /// The file of what the program prints; `None` is the log's file, or stdout if there is none.
    pub(crate) stdout: Option<PathBuf>,
}

impl Wanted {
    /// Returns why its files could not be opened, as far as that can be seen without creating any.
    pub(crate) fn problems(&self) -> Vec<String> {
        let files = [&self.log, &self.stdout].into_iter().flatten();
        files.filter_map(|path| check(path).err()).map(|error| chain(&error)).collect()
    }

    /// Opens what a daemon has as stdout and stderr; both are the log's file as a rule.
    pub(crate) fn streams(&self) -> Result<(Stdio, Stdio), Error> {
        let opened = |path: &Option<PathBuf>| match path {
            Some(path) => open(path).map(Stdio::from),
            None => Ok(Stdio::null()),
        };
        Ok((opened(self.stdout.as_ref().map_or(&self.log, |_| &self.stdout))?, opened(&self.log)?))
    }
}

#[derive(Debug)]
pub(super) struct LogFiles {
    format: Format,
    max_size: u64,
    files: Vec<OpenFile>,
    next_look: Instant,
}

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    file: File,
    streams: Streams,
    /// Which of the master's own streams it is: all of them in a daemon, none in a terminal.
    own: Option<Streams>,
    /// Why it could not be opened again, if that was so the last time.
    problem: Option<String>,
}

impl LogFiles {
    /// Opens the files that are wanted; from now on the lines of the master's log go there.
    pub(super) fn open(wanted: &Wanted) -> Result<Self, Error> {
        let mut files: Vec<OpenFile> = Vec::new();
        let Wanted { format, log, max_size, stdout } = wanted;
        if let Some(path) = log {
            let streams = if stdout.is_some() { Streams::Stderr } else { Streams::Both };
            let log = OpenFile::open(path.clone(), streams)?;
            log.receive_our_lines();
            files.push(log);
        }
        if let Some(path) = stdout {
            let printed = OpenFile::open(path.clone(), Streams::Stdout)?;
            match files.iter_mut().find(|log| is_same(&log.file, &printed.file)) {
                // One file is opened and moved away once, however it is named.
                Some(log) => log.streams = Streams::Both,
                None => files.push(printed),
            }
        }
        let next_look = Instant::now() + LOOK_EVERY;
        Ok(Self { format: *format, max_size: *max_size, files, next_look })
    }

    /// Gives a worker that is about to start its stdout and the log's form.
    pub(super) fn put_on(&self, command: &mut Command) -> io::Result<()> {
        command.env(environment::FORMAT.name, self.format.name());
        let stdout = self.files.iter().find(|file| file.streams != Streams::Stderr);
        if let Some(OpenFile { file, .. }) = stdout {
            command.stdout(file.try_clone()?);
        }
        Ok(())
    }

    /// Returns what a worker has as stderr.
    pub(super) fn stderr(&self) -> io::Result<OwnedFd> {
        match self.files.iter().find(|file| file.streams != Streams::Stdout) {
            Some(log) => Ok(log.file.try_clone()?.into()),
            None => io::stderr().as_fd().try_clone_to_owned(),
        }
    }

    /// Returns the path of the log; `None` when it goes to stderr.
    pub(super) fn path(&self) -> Option<String> {
        let log = self.files.iter().find(|file| file.streams != Streams::Stdout);
        log.map(|log| log.path.display().to_string())
    }

    /// Returns when the paths are to be looked at again, if there are any.
    pub(super) fn next_look(&self) -> Option<Instant> {
        (!self.files.is_empty()).then_some(self.next_look)
    }

    /// Moves files away that have grown too long, opens those again that are no longer where they
    /// were, and hands them to the workers.
    pub(super) fn tend(&mut self, now: Instant, workers: &WorkerProcesses) {
        if self.next_look > now {
            return;
        }
        self.next_look = now + LOOK_EVERY;
        let max_size = self.max_size;
        for file in &mut self.files {
            let path = file.path.display().to_string();
            if let Err(Some(problem)) = file.rotate(max_size) {
                tracing::warn!(path, problem, "the log file grows beyond its limit");
            }
            if !file.is_elsewhere() {
                continue;
            }
            match file.open_again() {
                Ok(()) => {
                    // First of all: the line below is true when it is read.
                    for worker in workers.values() {
                        file.hand_to(worker);
                    }
                    tracing::info!(path, "log file reopened: the old one was moved or deleted");
                }
                Err(None) => {}
                Err(Some(problem)) => {
                    tracing::warn!(path, problem, "log file not reopened: the old one is used");
                }
            }
        }
    }

    /// Has the paths looked at in this turn of the loop: a person who reloads may have moved them.
    pub(super) fn look_now(&mut self) {
        self.next_look = Instant::now();
    }
}

impl OpenFile {
    fn open(path: PathBuf, streams: Streams) -> Result<Self, Error> {
        let file = open(&path)?;
        let is = |stream: &dyn AsFd| is_same(&file, stream);
        let own = match (is(&io::stdout()), is(&io::stderr())) {
            (true, true) => Some(Streams::Both),
            (true, false) => Some(Streams::Stdout),
            (false, true) => Some(Streams::Stderr),
            (false, false) => None,
        };
        Ok(Self { path, file, streams, own, problem: None })
    }

    fn is_elsewhere(&self) -> bool {
        let there = fs::metadata(&self.path).map(|facts| (facts.dev(), facts.ino()));
        let ours = self.file.metadata().map(|facts| (facts.dev(), facts.ino()));
        !matches!((there, ours), (Ok(there), Ok(ours)) if there == ours)
    }

    /// Moves the file away if it has grown beyond `limit`, over what was moved before.
    fn rotate(&mut self, limit: u64) -> Result<(), Option<String>> {
        let facts = self.file.metadata().map_err(|_| None)?;
        // What others have moved is theirs: a new file there must not take the place of it.
        if limit == 0 || !facts.is_file() || facts.len() < limit || self.is_elsewhere() {
            return Ok(());
        }
        // What a link names, and not the link.
        let moved = fs::canonicalize(&self.path).and_then(|path| {
            let mut old = path.clone().into_os_string();
            old.push(".1");
            fs::rename(&path, old)
        });
        moved.map_err(|error| self.note(format!("cannot move it to .1: {error}")))
    }

    /// Keeps a problem; it is returned when it is news.
    fn note(&mut self, problem: String) -> Option<String> {
        let news = self.problem.as_ref() != Some(&problem);
        self.problem = Some(problem.clone());
        news.then_some(problem)
    }

    /// Sends the lines of this process there, if it is the log and not a stream of ours already.
    fn receive_our_lines(&self) {
        if self.streams == Streams::Stdout
            || matches!(self.own, Some(own) if own != Streams::Stdout)
        {
            return;
        }
        match self.file.try_clone() {
            Ok(file) => log::write_to(file),
            Err(error) => tracing::warn!(%error, "the log goes on to the old file"),
        }
    }

    /// Opens it again; the reason is returned when that is news.
    fn open_again(&mut self) -> Result<(), Option<String>> {
        match open(&self.path) {
            Ok(file) => {
                self.file = file;
                self.problem = None;
                if let Some(own) = self.own
                    && let Err(error) = log::adopt(self.file.as_fd(), own)
                {
                    // The workers are handed the new one all the same.
                    tracing::warn!(%error, "what the master prints goes on to the old file");
                }
                self.receive_our_lines();
                Ok(())
            }
            Err(error) => Err(self.note(chain(&error))),
        }
    }

    fn hand_to(&self, worker: &WorkerProcess) {
        let message = ToWorker::Log { streams: self.streams };
        let told = self.file.try_clone().and_then(|file| {
            worker.outbox.send_with(&message, file.into()).map_err(io::Error::other)
        });
        if let Err(error) = told {
            // It goes on with the old file.
            tracing::warn!(pid = worker.pid, %error, "a worker did not get the log file");
        }
    }
}

fn is_same(file: &File, stream: &dyn AsFd) -> bool {
    match (rustix::fs::fstat(file), rustix::fs::fstat(stream.as_fd())) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_is_moved_away_once_and_never_over_what_others_moved() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("x.log"), folder.path().join("x.log.1"));
        let mut log = OpenFile::open(path.clone(), Streams::Both).unwrap();
        log.file.write_all(b"a line\n").unwrap();
        log.rotate(100).unwrap();
        assert!(path.exists() && !old.exists(), "it is short");
        log.rotate(0).unwrap();
        assert!(path.exists(), "without a limit");
        log.rotate(7).unwrap();
        assert!(!path.exists());
        // Whether we moved it or another program, and whichever has begun the new one.
        fs::write(&path, "").unwrap();
        log.rotate(7).unwrap();
        assert_eq!(fs::read(&old).unwrap(), b"a line\n");
        assert!(path.exists());
    }
}
