//! `connections`: one line for each, printed slice by slice as the workers give them.

use std::time::Duration;

use serde::Serialize;

use super::arguments::Connections;
use super::{Failure, Outcome, ask};
use crate::control::folder::RuntimeFolder;
use crate::control::request::{Answer, Request};
use crate::control::{ExitCode, Row};
use crate::terminal::table::{self, Align};
use crate::terminal::{Printer, screen, units};

/// One line of `--json`.
#[derive(Serialize)]
struct JsonRow<'a> {
    slot: &'a str,
    pid: u32,
    #[serde(flatten)]
    row: &'a Row,
}

/// Runs `connections`.
pub(super) fn connections(folder: &RuntimeFolder, how: &Connections) -> Outcome {
    let mut call = ask(folder, &Request::Connections { service: how.service.clone() })?;
    let width = screen::stdout().map(|size| size.columns);
    let mut layout = Layout::new(width, 0);
    let mut headed = how.format.json;
    while let Some(answer) = call.next()? {
        // Not above an error.
        let lists = matches!(answer, Answer::Rows { .. } | Answer::Done { code: ExitCode::Ok, .. });
        if lists && !std::mem::replace(&mut headed, true) {
            if let Answer::Rows { longest, .. } = &answer {
                layout = Layout::new(width, *longest);
            }
            Printer::data(&layout.header());
        }
        match answer {
            Answer::Rows { rows, .. } if rows.is_empty() => {}
            Answer::Rows { slot, pid, rows, .. } => {
                let text = if how.format.json {
                    json(&slot, pid, &rows).map_err(std::io::Error::from)?
                } else {
                    layout.text(&slot, &rows)
                };
                // `connections | head` has seen enough: the rest is not asked for.
                if !Printer::stream(&text) {
                    return Ok(ExitCode::Ok);
                }
            }
            Answer::Note { text } => Printer::note(&text),
            Answer::Done { code: ExitCode::Ok, .. } => return Ok(ExitCode::Ok),
            Answer::Done { code, text } => return Err(Failure::new(code, text)),
            _ => {}
        }
    }
    let text = "the list ends here: the master ended, or waited too long for it to be read";
    Err(Failure::new(ExitCode::Failed, text))
}

fn json(slot: &str, pid: u32, rows: &[Row]) -> serde_json::Result<String> {
    let lines: Result<Vec<String>, _> =
        rows.iter().map(|row| serde_json::to_string(&JsonRow { slot, pid, row })).collect();
    Ok(lines?.join("\n"))
}

/// The columns with their widths. All but the first are fixed, as the rows come in slices: a table as wide as its
/// widest cell would have to wait for the last one.
const COLUMNS: [(&str, usize, Align); 13] = [
    ("slot", 16, Align::Left),
    ("id", 8, Align::Right),
    ("peer", 22, Align::Left),
    ("protocol", 10, Align::Left),
    ("tls", 4, Align::Left),
    ("state", 9, Align::Left),
    ("age", 7, Align::Right),
    ("msgs in", 7, Align::Right),
    ("out", 6, Align::Right),
    ("bytes in", 8, Align::Right),
    ("out", 6, Align::Right),
    ("recvq", 6, Align::Right),
    ("sendq", 6, Align::Right),
];

/// What a narrow terminal goes without, by position, the first ones first.
const EXPENDABLE: [usize; 9] = [4, 11, 8, 7, 3, 6, 1, 10, 9];

/// Which columns are shown, and how wide that of the slots is.
struct Layout {
    shown: Vec<usize>,
    slot: usize,
}

impl Layout {
    /// Returns what fits into this width when the names of slots have up to `longest` characters;
    /// everything, in full length, without one.
    fn new(width: Option<usize>, longest: usize) -> Self {
        let most = width.map_or(usize::MAX, table::name_room);
        let slot = longest.min(most).max(COLUMNS[0].1);
        let mut layout = Self { shown: (0..COLUMNS.len()).collect(), slot };
        for expendable in EXPENDABLE {
            let wide: usize = layout.shown.iter().map(|at| layout.width(*at) + 1).sum();
            if width.is_none_or(|width| wide <= width + 1) {
                break;
            }
            layout.shown.retain(|at| *at != expendable);
        }
        layout
    }

    fn width(&self, at: usize) -> usize {
        if at == 0 { self.slot } else { COLUMNS[at].1 }
    }

    fn header(&self) -> String {
        self.line(&COLUMNS.map(|(name, _, _)| name.to_owned()))
    }

    fn text(&self, slot: &str, rows: &[Row]) -> String {
        let slot = table::shortened(slot, self.slot);
        let lines: Vec<String> = rows.iter().map(|row| self.line(&cells(&slot, row))).collect();
        lines.join("\n")
    }

    fn line(&self, cells: &[String; COLUMNS.len()]) -> String {
        let cell = |at: &usize| {
            let ((_, _, align), width, cell) = (COLUMNS[*at], self.width(*at), &cells[*at]);
            match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            }
        };
        self.shown.iter().map(cell).collect::<Vec<_>>().join(" ")
    }
}

fn cells(slot: &str, row: &Row) -> [String; COLUMNS.len()] {
    [
        slot.to_owned(),
        row.id.to_string(),
        row.peer.clone(),
        row.protocol.clone(),
        row.tls.clone().unwrap_or_else(|| "-".to_owned()),
        row.state.clone(),
        row.age_ms
            .map_or_else(|| "-".to_owned(), |age| units::duration(Duration::from_millis(age))),
        units::count(row.messages_in),
        units::count(row.messages_out),
        units::bytes(row.bytes_in),
        units::bytes(row.bytes_out),
        units::bytes(row.receive_queue),
        units::bytes(row.send_queue),
    ]
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
            tls: Some("1.3".to_owned()),
            age_ms: Some(184_000),
        }
    }

    #[test]
    fn lines_are_aligned_with_the_header_at_every_width() {
        for width in [None, Some(132), Some(100), Some(80), Some(60)] {
            let layout = Layout::new(width, 6);
            let (header, line) = (layout.header(), layout.line(&cells("echo/0", &row())));
            assert_eq!(header.find("peer"), line.find("127.0.0.1:50000"));
            assert_eq!(header.len(), line.len());
            assert!(width.is_none_or(|width| line.len() <= width), "{width:?}: {line:?}");
        }
        assert!(Layout::new(None, 6).header().contains("tls"));
        assert!(Layout::new(Some(80), 6).header().contains("sendq"));
    }

    #[test]
    fn a_long_name_is_whole_in_a_pipe_and_fits_a_terminal() {
        let name = format!("{}/12", "name".repeat(10));
        for (width, wanted) in [(None, &*name), (Some(80), "namenamenamen\u{2026}ame/12 ")] {
            let layout = Layout::new(width, name.len());
            let (header, line) = (layout.header(), layout.text(&name, &[row()]));
            assert!(line.starts_with(wanted), "{line:?}");
            assert_eq!(header.chars().count(), line.chars().count());
            assert!(width.is_none_or(|width| line.chars().count() <= width), "{line:?}");
        }
    }

    #[test]
    fn json_is_one_flat_object_a_line() {
        let text = json("echo/0", 42, &[row(), row()]).unwrap();
        let first = text.lines().next().unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(first.starts_with(r#"{"slot":"echo/0","pid":42,"id":7,"protocol":"websocket""#));
    }
}
