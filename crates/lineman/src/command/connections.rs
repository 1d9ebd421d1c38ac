//! `connections`: one line for each, printed slice by slice as the workers give them.

use serde::Serialize;

use super::arguments::Connections;
use super::{Failure, Outcome, ask, cut_off};
use crate::control::folder::RuntimeFolder;
use crate::control::request::{Answer, Request};
use crate::control::{ExitCode, Row};
use crate::terminal::{Printer, units};

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    slot: &'a str,
    pid: u32,
    #[serde(flatten)]
    row: &'a Row,
}

/// Runs `connections`.
pub(super) fn connections(folder: &RuntimeFolder, how: &Connections) -> Outcome {
    let mut call = ask(folder, &Request::Connections { service: how.service.clone() })?;
    if !how.format.json {
        Printer::data(&HEADER.line());
    }
    while let Some(answer) = call.next()? {
        match answer {
            Answer::Rows { rows, .. } if rows.is_empty() => {}
            Answer::Rows { slot, pid, rows } if how.format.json => {
                Printer::data(&json(&slot, pid, &rows).map_err(std::io::Error::from)?);
            }
            Answer::Rows { slot, rows, .. } => {
                let lines: Vec<String> =
                    rows.iter().map(|row| Cells::of(&slot, row).line()).collect();
                Printer::data(&lines.join("\n"));
            }
            Answer::Note { text } => Printer::note(&text),
            Answer::Done { code: ExitCode::Ok, .. } => return Ok(ExitCode::Ok),
            Answer::Done { code, text } => return Err(Failure::new(code, text)),
            _ => {}
        }
    }
    Err(cut_off())
}

fn json(slot: &str, pid: u32, rows: &[Row]) -> serde_json::Result<String> {
    let lines: Result<Vec<String>, _> =
        rows.iter().map(|row| serde_json::to_string(&Line { slot, pid, row })).collect();
    Ok(lines?.join("\n"))
}

/// The cells of one line. Widths are fixed, as the rows come in slices: a table as wide as its widest
/// cell would have to wait for the last one.
struct Cells<T> {
    slot: T,
    id: T,
    peer: T,
    protocol: T,
    state: T,
    bytes_in: T,
    bytes_out: T,
    receive_queue: T,
    send_queue: T,
}

const HEADER: Cells<&str> = Cells {
    slot: "slot",
    id: "id",
    peer: "peer",
    protocol: "protocol",
    state: "state",
    bytes_in: "in",
    bytes_out: "out",
    receive_queue: "recvq",
    send_queue: "sendq",
};

impl Cells<String> {
    fn of(slot: &str, row: &Row) -> Self {
        Self {
            slot: slot.to_owned(),
            id: row.id.to_string(),
            peer: row.peer.clone(),
            protocol: row.protocol.clone(),
            state: row.state.clone(),
            bytes_in: units::bytes(row.bytes_in),
            bytes_out: units::bytes(row.bytes_out),
            receive_queue: units::bytes(row.receive_queue),
            send_queue: units::bytes(row.send_queue),
        }
    }
}

impl<T: std::fmt::Display> Cells<T> {
    fn line(&self) -> String {
        let Self { slot, id, peer, protocol, state, .. } = self;
        let Self { bytes_in, bytes_out, receive_queue, send_queue, .. } = self;
        format!(
            "{slot:<16} {id:>8} {peer:<22} {protocol:<10} {state:<9} \
             {bytes_in:>6} {bytes_out:>6} {receive_queue:>6} {send_queue:>6}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            id: 7,
            protocol: "websocket".to_owned(),
            state: "open".to_owned(),
            local: "127.0.0.1:2346".to_owned(),
            peer: "127.0.0.1:50000".to_owned(),
            messages_in: 3,
            messages_out: 0,
            bytes_in: 1536,
            bytes_out: 0,
            receive_queue: 0,
            send_queue: 0,
        }
    }

    #[test]
    fn lines_are_aligned_with_the_header() {
        let (header, line) = (HEADER.line(), Cells::of("echo/0", &row()).line());
        assert_eq!(header.find("peer"), line.find("127.0.0.1:50000"));
        assert_eq!(header.len(), line.len());
    }

    #[test]
    fn json_is_one_flat_object_a_line() {
        let text = json("echo/0", 42, &[row(), row()]).unwrap();
        let first = text.lines().next().unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(first.starts_with(r#"{"slot":"echo/0","pid":42,"id":7,"protocol":"websocket""#));
    }
}
