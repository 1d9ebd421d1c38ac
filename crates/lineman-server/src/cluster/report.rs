//! What a command prints and how it ends: what is known, and which gateways are missing in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use lineman_client::{Answers, Error, Incomplete, Missing};
use serde_json::{Map, Value, json};

use super::CommandFailure;
use crate::{print, say};

/// How a command to a cluster ends where it does not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandEnd {
    /// It is done; to a question the answer is yes.
    Done,
    /// Gateways are missing: the others were told, or have answered.
    Partial,
    /// The answer is no.
    No,
}

impl CommandEnd {
    /// The codes beside those of all commands, for the help text.
    pub(crate) const CODES: [(u8, &'static str); 2] = [
        (8, "send, online, kick, sessions: done, but for gateways that are named"),
        (9, "online: no, not connected"),
    ];

    /// Returns what the process exits with.
    pub(crate) fn code(self) -> ExitCode {
        match self {
            Self::Done => ExitCode::SUCCESS,
            Self::Partial => ExitCode::from(8),
            Self::No => ExitCode::from(9),
        }
    }
}

/// Collects what came of a command.
#[derive(Debug, Default)]
pub(super) struct CommandReport {
    /// What people read.
    text: String,
    /// What scripts read.
    known: Map<String, Value>,
    missing: BTreeMap<SocketAddr, String>,
    /// Whether a gateway has done its part.
    any: bool,
    /// The answer to a question, if it is one.
    yes: Option<bool>,
}

impl CommandReport {
    /// Takes what is known of an answer, and remembers what is missing.
    pub(super) fn known<T>(&mut self, answers: Answers<T>) -> T {
        let Answers { value, missing, asked } = answers;
        self.any |= missing.len() < asked || asked == 0;
        self.miss(missing);
        value
    }

    /// Takes the outcome of something that was sent, to one gateway or to all.
    ///
    /// # Errors
    /// It failed for another reason than a gateway's.
    pub(super) fn sent(&mut self, outcome: Result<(), Error>) -> Result<(), CommandFailure> {
        self.asked(outcome).map(|_| ())
    }

    /// Takes the outcome of a call to one gateway or to all; `None` if gateways are missing.
    ///
    /// # Errors
    /// It failed for another reason than a gateway's.
    pub(super) fn asked<T>(
        &mut self,
        outcome: Result<T, Error>,
    ) -> Result<Option<T>, CommandFailure> {
        match outcome {
            Ok(value) => {
                self.any = true;
                return Ok(Some(value));
            }
            Err(Error::Incomplete(Incomplete { missing, asked })) => {
                self.any |= missing.len() < asked;
                self.miss(missing);
            }
            Err(reason) => match reason.gateway() {
                Some(gateway) => self.miss(vec![Missing { gateway, reason }]),
                None => return Err(reason.into()),
            },
        }
        Ok(None)
    }

    fn miss(&mut self, missing: Vec<Missing<Error>>) {
        for Missing { gateway, reason } in missing {
            // The first reason says why; later ones say that it was not tried again.
            self.missing.entry(gateway).or_insert_with(|| reason.to_string());
        }
    }

    /// Adds a line for people.
    pub(super) fn line(&mut self, line: &str) {
        // Writing to a String cannot fail.
        if writeln!(self.text, "{line}").is_err() {}
    }

    /// Adds a field for scripts.
    pub(super) fn field(&mut self, name: &str, value: impl Into<Value>) {
        self.known.insert(name.to_owned(), value.into());
    }

    /// Says that the answer to a question is no, or yes if no other one was no.
    pub(super) fn answer(&mut self, yes: bool) {
        self.yes = Some(self.yes.unwrap_or(true) && yes);
    }

    /// Returns the answer to the question; `None` if it is not known, for gateways are missing.
    pub(super) fn verdict(&self) -> Option<bool> {
        self.yes.filter(|yes| *yes || self.missing.is_empty())
    }

    /// Returns whether gateways are missing.
    pub(super) fn is_partial(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Prints all of it.
    ///
    /// # Errors
    /// No gateway has done its part; why, a line each.
    pub(super) fn finish(mut self, json: bool) -> Result<CommandEnd, Vec<String>> {
        if !self.any && !self.missing.is_empty() {
            return Err(self.missing.into_values().collect());
        }
        let ending = match self.verdict() {
            Some(false) => CommandEnd::No,
            None if self.is_partial() => CommandEnd::Partial,
            // A client that is connected is so, whatever gateways that are missing would say.
            Some(true) | None => CommandEnd::Done,
        };
        for reason in self.missing.values() {
            say(&format!("missing: {reason}"));
        }
        if json {
            let missing = self.missing.iter();
            let missing =
                missing.map(|(gateway, reason)| json!({ "gateway": gateway, "reason": reason }));
            let missing: Vec<Value> = missing.collect();
            self.field("missing", missing);
            print(&format!("{}\n", Value::Object(self.known)));
        } else {
            print(&self.text);
        }
        Ok(ending)
    }
}

/// Returns a name or a text of someone else's as it can be shown in a terminal.
pub(super) fn shown(text: &str) -> String {
    let escape = |letter: char| match letter {
        '"' | '\'' => letter.to_string(),
        letter => letter.escape_debug().to_string(),
    };
    text.chars().map(escape).collect()
}

/// Returns `1 client`, `2 clients`.
pub(super) fn clients(count: usize) -> String {
    let mark = if count == 1 { "" } else { "s" };
    format!("{count} client{mark}")
}
