//! The upgrade of the master itself: it executes the new program in its own place, with the same process id, so
//! that its workers stay its children and no service manager sees another process. What it knows is in a file in
//! memory, and every descriptor it needs stays open. It decides nothing about workers.
//!
//! The new program is first run beside it and asked whether it understands what it would be given. One that cannot
//! go on in the master's place after all executes the program before, which finds the same file.

mod state;
mod capture;
mod resume;

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::control::environment;
use crate::os;
pub(super) use resume::Resumed;
pub(crate) use resume::{answer_check, resume};
use state::MasterState;
pub(super) use state::{ImageState, ListenerState};

/// What this process was executed for, if a master did.
#[derive(Debug)]
pub(crate) enum ExecutedFor {
    /// To say whether it could take the master's place.
    Check(MasterState),
    /// To take it.
    Resume(LeftState),
}

/// What the program before has left to this one.
#[derive(Debug)]
pub(crate) struct LeftState {
    pub(super) state: MasterState,
    pub(super) descriptors: BTreeMap<RawFd, OwnedFd>,
    /// Where the state is written.
    file: OwnedFd,
    /// Why another program could not go on in this place, if one has tried.
    pub(super) returned: Option<String>,
}

/// Returns whether this process was executed to take a master's place.
pub(crate) fn is_begun() -> bool {
    std::env::var_os(environment::UPGRADE.name).is_some()
}

/// Returns what this process was executed for, and takes it out of its environment.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn take() -> Result<Option<ExecutedFor>, String> {
    let variable = |name: &str| std::env::var(name).ok();
    let number = |name: &str| variable(name)?.parse::<RawFd>().ok();
    let check = number(environment::UPGRADE_CHECK.name);
    let (check, resume) = (check, number(environment::UPGRADE.name));
    let Some(number) = check.or(resume) else { return Ok(None) };
    let returned = variable(environment::UPGRADE_BACK.name);
    os::environment::forget(&[
        environment::UPGRADE.name,
        environment::UPGRADE_CHECK.name,
        environment::UPGRADE_BACK.name,
    ]);
    let failed = |error: io::Error| format!("cannot read what the master before has left: {error}");
    let mut file = File::from(os::adopt(number).map_err(failed)?);
    let mut text = String::new();
    file.rewind().map_err(failed)?;
    file.read_to_string(&mut text).map_err(failed)?;
    let state = MasterState::read(&text)?;
    if check.is_some() {
        return Ok(Some(ExecutedFor::Check(state)));
    }
    let adopt = |number: RawFd| Ok((number, os::adopt(number)?));
    let descriptors = state.descriptors().into_iter().map(adopt).collect::<io::Result<_>>();
    let descriptors = descriptors.map_err(failed)?;
    Ok(Some(ExecutedFor::Resume(LeftState { state, descriptors, file: file.into(), returned })))
}

impl LeftState {
    /// Executes the program before again; returns only when that fails.
    pub(super) fn go_back(&self, program: &Path, reason: &str) -> String {
        if let Some(first) = &self.returned {
            return format!("{first}; and the program before cannot go on either: {reason}");
        }
        let held = self.descriptors.values().chain([&self.file]);
        for descriptor in held {
            if let Err(error) = fcntl_setfd(descriptor, FdFlags::empty()) {
                return format!("{reason}; and cannot go back: {error}");
            }
        }
        let place = format!("/proc/self/fd/{}", self.state.executable);
        let variables = [
            (environment::UPGRADE.name, self.file.as_raw_fd().to_string()),
            (environment::UPGRADE_BACK.name, reason.to_owned()),
        ];
        let error = execute(Path::new(&place), program, &variables);
        format!("{reason}; and cannot go back: {error}")
    }
}

/// Executes a program in the place of this one, with the same arguments, and these variables beside the
/// environment. Signals are blocked meanwhile, and stay so in the new program until it takes them. Returns only
/// when that fails.
fn execute(place: &Path, name: &Path, variables: &[(&str, String)]) -> io::Error {
    let text = |bytes: OsString| CString::new(bytes.into_vec());
    let named = std::iter::once(name.as_os_str().to_owned());
    let arguments = named.chain(std::env::args_os().skip(1)).map(text);
    let is_set =
        |name: &OsString| variables.iter().any(|(set, _)| name.as_bytes() == set.as_bytes());
    let environment = std::env::vars_os().filter(|(name, _)| !is_set(name)).map(|(name, value)| {
        let mut variable = name;
        variable.push("=");
        variable.push(value);
        text(variable)
    });
    let set = variables.iter().map(|(name, value)| text(format!("{name}={value}").into()));
    let environment: Result<Vec<_>, _> = environment.chain(set).collect();
    let (Ok(arguments), Ok(environment), Ok(place)) = (
        arguments.collect::<Result<Vec<_>, _>>(),
        environment,
        CString::new(place.as_os_str().as_bytes()),
    ) else {
        return io::ErrorKind::InvalidInput.into();
    };
    if let Err(error) = os::signals::block_all() {
        return error;
    }
    let Err(error) = nix::unistd::execve(&place, &arguments, &environment);
    if let Err(error) = os::signals::unblock_all() {
        tracing::error!(%error, "signals stay blocked");
    }
    error.into()
}

/// Has a descriptor stay open across an execution; returns its number there, and what closes it if there is none.
fn keep(descriptor: impl std::os::fd::AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::dup(descriptor.as_fd())?)
}
