//! What the command line asks of the master and what it is answered: one line of JSON, then lines of
//! JSON back, the last of which is `done`.

use serde::{Deserialize, Serialize};

use super::report::{Progress, StartReport, StatusReport};
use super::{ExitCode, Row};

/// What the command line asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(crate) enum Request {
    Stop {
        /// How to treat the connections.
        manner: Manner,
        /// How long a drain may take; `None` is the program's own limit.
        timeout_ms: Option<u64>,
    },
    Reload {
        /// A service or slot; `None` for all.
        #[serde(default)]
        service: Option<String>,
        /// How to treat the connections of the processes that are replaced.
        manner: Manner,
        /// How long each drain may take; `None` is the manner's own limit.
        timeout_ms: Option<u64>,
        /// How many connections that cannot move are closed a second; `None` waits for them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drain_rate: Option<u32>,
        /// Which executable the successors are started from.
        #[serde(default)]
        to: ReloadTo,
    },
    /// Execute the new program in the master's place. The end of the answers without the last one means that it
    /// was executed.
    Upgrade,
    /// End with what came of the last upgrade.
    Upgraded,
    /// Answer with [`Answer::Status`].
    Status,
    /// End with the answer to a probe: `ok`, or `failed` and why.
    Health { probe: Probe },
    /// Answer with [`Answer::Rows`].
    Connections {
        /// A service or slot; `None` for all.
        service: Option<String>,
    },
}

/// Which executable a reload goes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReloadTo {
    /// What the program's path leads to.
    #[default]
    Newest,
    /// The one that each slot ran before the one it runs.
    Before,
}

/// What a health probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Probe {
    /// Whether the master's loop answers.
    Live,
    /// Whether every service has a ready process, and the program was not told to stop.
    Ready,
}

/// How the connections of a process that ends are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Manner {
    /// As the verb does without flags: a stop closes them, a reload gives them the drain limit.
    Plain,
    /// With `-g`: wait until they end by themselves, with a limit.
    Graceful,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    Progress(Progress),
    /// Something the person should know.
    Note {
        /// For people, in one line.
        text: String,
    },
    /// Everything is up.
    Started(StartReport),
    Status(Box<StatusReport>),
    /// A slice of one process's connections.
    Rows {
        slot: String,
        pid: u32,
        rows: Vec<Row>,
        /// How many characters the longest name of a slot in this list has.
        #[serde(default)]
        longest: usize,
    },
    Done {
        code: ExitCode,
        /// What to say: the result, or what failed.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_flat_object() {
        let request = Request::Stop { manner: Manner::Graceful, timeout_ms: Some(1500) };
        let text = r#"{"request":"stop","manner":"graceful","timeout_ms":1500}"#;
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
        assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
    }

    #[test]
    fn an_answer_names_itself() {
        let answer = Answer::Done { code: ExitCode::NotRunning, text: "x".to_owned() };
        let text = r#"{"answer":"done","code":"not_running","text":"x"}"#;
        assert_eq!(serde_json::to_string(&answer).unwrap(), text);
        assert_eq!(serde_json::from_str::<Answer>(text).unwrap(), answer);
    }
}
