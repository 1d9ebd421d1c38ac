//! Many silent clients of one server, held by a process of their own: this process's open files are
//! for the other tests.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lineman_testkit::within;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::programs::{Server, built};

/// How many of them connect at a time: few enough for any backlog.
pub const SIDE_BY_SIDE: usize = 100;

/// What a process has open beside its connections, with room for a few more of these.
const BESIDE: u64 = 100;

/// An audience; it leaves when this is dropped.
#[derive(Debug)]
pub struct Audience(Child);

impl Audience {
    /// Connects so many clients.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn seated(server: &Server, count: usize) -> Result<Self> {
        let mut child = Command::new(built("audience", "lineman-tests")?)
            .args([server.port.address(), count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("a stdout")?).lines();
        let said = within("the audience to be seated", lines.next_line()).await??;
        ensure!(said.as_deref() == Some("seated"), "the audience was not seated");
        Ok(Self(child))
    }

    /// Has them all go at once.
    ///
    /// # Errors
    /// When they are gone already.
    pub async fn leaves(mut self) -> Result<()> {
        self.0.kill().await.context("nobody is left")
    }
}

/// Returns how many connections, up to `wanted`, one process can hold: a process that may raise the
/// limit raises it for the processes that are started from now on.
///
/// # Errors
/// When the system does not tell the limit.
pub fn room_for(wanted: usize) -> Result<usize> {
    let needed = wanted as u64 + BESIDE;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        let raised = Rlimit { current: limit.current, maximum: Some(needed) };
        // Root may on most machines; elsewhere the limit is what it is.
        if setrlimit(Resource::Nofile, raised).is_err() {}
    }
    let room = getrlimit(Resource::Nofile).maximum.map_or(needed, |maximum| maximum.min(needed));
    Ok(usize::try_from(room.saturating_sub(BESIDE))?)
}

/// Raises this process's limit of open files to the most that it may be.
///
/// # Errors
/// When that is refused.
pub fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(())
}
