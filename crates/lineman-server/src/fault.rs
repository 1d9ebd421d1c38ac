//! What is wrong with a configuration: each fault with its place, its key, and what would be right.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// How many faults are shown: a reader mends some and looks again.
pub(crate) const MOST: usize = 50;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ValueOrigin {
    /// The line of the file.
    Line(usize),
    /// The environment variable.
    Variable(String),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigFault {
    /// `None` for the file or the environment as a whole.
    pub(crate) origin: Option<ValueOrigin>,
    /// The key with its section; empty where no key is concerned.
    pub(crate) key: String,
    pub(crate) text: String,
}

impl ConfigFault {
    pub(crate) fn at(
        origin: &ValueOrigin,
        key: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self { origin: Some(origin.clone()), key: key.into(), text: text.into() }
    }

    pub(crate) fn of_all(text: impl Into<String>) -> Self {
        Self { origin: None, key: String::new(), text: text.into() }
    }

    /// Returns it as a line: `lineman.toml:12: gateway.ping_interval: …`.
    pub(crate) fn line(&self, file: Option<&Path>) -> String {
        let place = match (&self.origin, file) {
            (Some(origin), file) => format!("{}: ", place(origin, file)),
            (None, Some(file)) => format!("{}: ", file.display()),
            (None, None) => String::new(),
        };
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        format!("{place}{key}{}", self.text)
    }
}

/// Names a place of this file, or of the environment.
pub(crate) fn place(origin: &ValueOrigin, file: Option<&Path>) -> String {
    match origin {
        ValueOrigin::Line(line) => {
            format!("{}:{line}", file.map(|file| file.display().to_string()).unwrap_or_default())
        }
        ValueOrigin::Variable(name) => name.clone(),
    }
}

/// Returns the lines of the faults, those of the file in its order; of more than [`MOST`] some.
pub(crate) fn lines(mut faults: Vec<ConfigFault>, file: Option<&Path>) -> Vec<String> {
    faults.sort_by(|one, other| one.origin.cmp(&other.origin));
    let mut lines: Vec<String> = faults.iter().map(|fault| fault.line(file)).collect();
    lines.dedup();
    if lines.len() > MOST {
        lines.truncate(MOST);
        let more = "more is wrong, which is not shown: is it a file of settings?";
        lines.push(ConfigFault::of_all(more).line(file));
    }
    lines
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.line(None))
    }
}

/// Returns the name that a misspelt one may stand for, as a hint.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let rated = known.into_iter().map(|known| (strsim::jaro_winkler(name, known), known));
    let best = rated.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    Some(best.1).filter(|_| best.0 > 0.8)
}
