//! What a stop or reload does, as it goes on: on a terminal a line for each slot that is written over,
//! elsewhere a line for each piece of news. Called by `steps`; it decides nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::control::report::{Progress, Step};
use crate::terminal::table::{self, Align, Table};
use crate::terminal::{Printer, screen, units};

/// How often a drain is mentioned when nothing changes but the time.
const MENTION_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) enum Display {
    /// A block of lines that is written over.
    Block {
        slots: SlotLines,
        /// How many lines stand there now.
        drawn: usize,
    },
    Plain(Mentioned),
}

impl Display {
    /// Returns the display that suits stderr.
    pub(super) fn new() -> Self {
        match screen::movable_stderr() {
            Some(_) => Self::Block { slots: SlotLines::default(), drawn: 0 },
            None => Self::Plain(Mentioned::default()),
        }
    }

    pub(super) fn step(&mut self, progress: &Progress) {
        match self {
            Self::Block { slots, drawn } => {
                slots.take(progress);
                *drawn = draw(slots, *drawn, "");
            }
            Self::Plain(mentioned) => {
                if mentioned.is_news(progress, Instant::now()) {
                    Printer::note(&line(progress));
                }
            }
        }
    }

    /// Shows something the person should know.
    pub(super) fn note(&mut self, text: &str) {
        match self {
            Self::Block { slots, drawn } => *drawn = draw(slots, *drawn, text),
            Self::Plain(_) => Printer::note(text),
        }
    }
}

/// Writes the block over the one that stands there, with a note above it that stays; returns how many
/// lines it has.
fn draw(slots: &SlotLines, drawn: usize, note: &str) -> usize {
    // Looked at each time: a window changes its size.
    let Some(size) = screen::movable_stderr() else { return drawn };
    let lines = slots.block(size);
    Printer::redraw(drawn, note, &lines);
    lines.len()
}

/// What the slots do, in the order in which they were heard of.
#[derive(Debug, Default)]
pub(super) struct SlotLines(Vec<SlotLine>);

#[derive(Debug)]
struct SlotLine {
    name: String,
    /// The process that goes, or went.
    leaving: Option<Progress>,
    arriving: Option<Progress>,
}

impl SlotLines {
    fn take(&mut self, progress: &Progress) {
        let known = self.0.iter().position(|slot| slot.name == progress.slot);
        let at = known.unwrap_or_else(|| {
            let name = progress.slot.clone();
            self.0.push(SlotLine { name, leaving: None, arriving: None });
            self.0.len() - 1
        });
        let Some(slot) = self.0.get_mut(at) else { return };
        let is_of = |known: &Option<Progress>| {
            known.as_ref().is_some_and(|known| known.pid == progress.pid)
        };
        let arrives = matches!(progress.step, Step::Starting | Step::Ready);
        // A successor that fails ends while it is one.
        if arrives || (is_of(&slot.arriving) && !is_of(&slot.leaving)) {
            slot.arriving = Some(progress.clone());
        } else {
            slot.leaving = Some(progress.clone());
        }
    }

    /// Returns the lines for a terminal of this size. None is longer than the terminal is wide, as one
    /// that wraps could not be written over; when there are too many, those that are done are left out.
    fn block(&self, size: screen::Size) -> Vec<String> {
        let room = size.rows.saturating_sub(2).max(1);
        let mut shown: Vec<&SlotLine> = self.0.iter().collect();
        let mut hidden = 0;
        if shown.len() > room {
            // Stable: among equals the order stays.
            shown.sort_by_key(|slot| slot.is_done());
            hidden = shown.len() - (room - 1);
            shown.truncate(room - 1);
        }
        let room = size.columns.saturating_sub(1);
        let is_narrow = |lines: &[String]| lines.iter().any(|line| line.chars().count() > room);
        let mut lines = lines(&shown, Detail::All, usize::MAX);
        if is_narrow(&lines) {
            lines = self::lines(&shown, Detail::Least, table::name_room(room));
        }
        if hidden > 0 {
            lines.push(format!("and {}", units::plural(hidden, "other slot", "other slots")));
        }
        for line in &mut lines {
            *line = cut(line, size.columns);
        }
        lines
    }
}

/// How much is told of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    All,
    /// What one waits for: no process's number, and few words.
    Least,
}

fn lines(slots: &[&SlotLine], detail: Detail, name_room: usize) -> Vec<String> {
    let columns = ["slot", "pid", "state", "connections left", "time left", "successor"];
    let mut table = Table::new(&columns.map(|name| (name, Align::Left)));
    for slot in slots {
        let mut cells = slot.cells(detail);
        cells[0] = table::shortened(&cells[0], name_room);
        table.row(cells);
    }
    // The cells speak for themselves.
    table.rows_only()
}

impl SlotLine {
    fn is_done(&self) -> bool {
        let ended = |progress: &Progress| matches!(progress.step, Step::Ended | Step::Killed);
        let serves = |progress: &Progress| progress.step == Step::Ready;
        self.leaving.as_ref().is_some_and(ended)
            && self.arriving.as_ref().is_none_or(|arriving| serves(arriving) || ended(arriving))
    }

    fn cells(&self, detail: Detail) -> [String; 6] {
        let Self { name, leaving, arriving } = self;
        let is_all = detail == Detail::All;
        let pid = |progress: &Progress| {
            if is_all { format!("pid {}", progress.pid) } else { String::new() }
        };
        let left = |count| if is_all { connections_left(count) } else { format!("{count} left") };
        let successor = |new: &Progress| match detail {
            Detail::All => format!("pid {} {}", new.pid, state(new.step)),
            Detail::Least => format!("new {}", state(new.step)),
        };
        let old = leaving.as_ref();
        [
            name.clone(),
            old.map(pid).unwrap_or_default(),
            old.map(|progress| state(progress.step).to_owned()).unwrap_or_default(),
            old.and_then(|progress| progress.left).map(left).unwrap_or_default(),
            old.and_then(|progress| progress.remaining_ms).map(time_left).unwrap_or_default(),
            arriving.as_ref().map(successor).unwrap_or_default(),
        ]
    }
}

fn cut(line: &str, columns: usize) -> String {
    // The last column stays free: some terminals wrap as soon as it is written.
    let columns = columns.saturating_sub(1);
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(columns.saturating_sub(1)).collect();
    cut.push('\u{2026}');
    cut
}

/// What was said of each process last: a drain reports several times a second.
#[derive(Debug, Default)]
pub(super) struct Mentioned {
    last: HashMap<u32, (Step, Option<usize>, Instant)>,
}

impl Mentioned {
    fn is_news(&mut self, progress: &Progress, now: Instant) -> bool {
        let Progress { pid, step, left, .. } = progress;
        let old = self.last.get(pid).is_some_and(|(was, had, at)| {
            let same = (was, had) == (step, left) || (*step == Step::Draining && left.is_none());
            // Several people leave at once as a rule: one line a second tells that as well.
            let lately = now.duration_since(*at) < Duration::from_secs(1) && *left != Some(0);
            (was == step) && (lately || (same && now.duration_since(*at) < MENTION_EVERY))
        });
        if !old {
            self.last.insert(*pid, (*step, *left, now));
        }
        !old
    }
}

fn line(progress: &Progress) -> String {
    let Progress { slot, pid, step, left, remaining_ms } = progress;
    let left = left.map_or_else(String::new, |left| format!(", {}", connections_left(left)));
    let time = remaining_ms.map_or_else(String::new, |time| format!(", {}", time_left(time)));
    let state = match step {
        Step::Starting => "started as the successor",
        step => state(*step),
    };
    format!("{slot} (pid {pid}): {state}{left}{time}")
}

fn state(step: Step) -> &'static str {
    match step {
        Step::Starting => "starts",
        Step::Ready => "serves",
        Step::Draining => "draining",
        Step::Stopping => "stopping",
        Step::Ended => "ended",
        Step::Killed => "killed: it did not end in time",
    }
}

fn connections_left(left: usize) -> String {
    format!("{} left", units::plural(left, "connection", "connections"))
}

fn time_left(millis: u64) -> String {
    format!("{} at most", units::duration(Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::screen::Size;

    fn step(slot: usize, pid: u32, step: Step) -> Progress {
        Progress { slot: format!("echo/{slot}"), pid, step, left: None, remaining_ms: None }
    }

    fn draining(left: usize) -> Progress {
        Progress { left: Some(left), remaining_ms: Some(24_000), ..step(0, 7, Step::Draining) }
    }

    fn block(steps: &[Progress], columns: usize, rows: usize) -> Vec<String> {
        let mut slots = SlotLines::default();
        for step in steps {
            slots.take(step);
        }
        slots.block(Size { columns, rows })
    }

    #[test]
    fn a_slot_has_one_line_whatever_happens_in_it() {
        let mut steps = vec![step(0, 9, Step::Starting), step(0, 9, Step::Ready), draining(3)];
        let expected = "echo/0  pid 7  draining  3 connections left  24s at most  pid 9 serves";
        assert_eq!(block(&steps, 80, 24), [expected]);
        steps.extend([step(0, 7, Step::Ended), step(1, 8, Step::Stopping)]);
        assert_eq!(
            block(&steps, 80, 24),
            ["echo/0  pid 7  ended     pid 9 serves", "echo/1  pid 8  stopping"]
        );
    }

    #[test]
    fn a_successor_that_fails_is_not_taken_for_the_one_that_serves() {
        let steps = [step(0, 9, Step::Starting), step(0, 9, Step::Ended)];
        assert_eq!(block(&steps, 80, 24), ["echo/0  pid 9 ended"]);
    }

    #[test]
    fn no_line_reaches_the_edge() {
        for columns in [1, 10, 30, 80] {
            for line in block(&[draining(3)], columns, 24) {
                assert!(line.chars().count() < columns.max(2), "{line:?} on {columns}");
            }
        }
        assert_eq!(block(&[draining(3)], 21, 24), ["echo/0  draining  3\u{2026}"]);
    }

    #[test]
    fn a_narrow_terminal_shows_what_one_waits_for() {
        let steps = [step(0, 9, Step::Ready), draining(3)];
        assert_eq!(block(&steps, 40, 24), ["echo/0  draining  3 left  24s at most \u{2026}"]);
        let long = |mut progress: Progress| {
            progress.slot = format!("{}/12", "name".repeat(10));
            progress
        };
        let steps = steps.map(long);
        let [ref line] = block(&steps, 80, 24)[..] else { panic!("one line") };
        assert!(line.ends_with("  draining  3 left  24s at most  new serves"), "{line:?}");
        assert!(line.starts_with("namename") && line.contains("\u{2026}"), "{line:?}");
        let [ref line] = block(&steps, 200, 24)[..] else { panic!("one line") };
        assert!(line.contains("  3 connections left  "), "{line:?}");
    }

    #[test]
    fn sixty_four_slots_stay_on_a_terminal() {
        let drained = |slot| Progress { left: Some(3), ..step(slot, 7, Step::Draining) };
        let steps: Vec<Progress> = (0..64).map(drained).collect();
        for columns in [40, 80, 200] {
            let lines = block(&steps, columns, 24);
            assert_eq!(lines.len(), 22);
            assert!(lines[0].contains("3 ") && lines[0].contains("left"), "{lines:?}");
            assert_eq!(lines[21], "and 43 other slots");
        }
    }

    #[test]
    fn what_is_done_gives_way_when_there_are_too_many() {
        let mut steps = vec![step(0, 100, Step::Ended)];
        steps.extend((1..10).map(|slot| step(slot, 7, Step::Stopping)));
        let lines = block(&steps, 80, 8);
        assert_eq!(lines.len(), 6);
        assert!(lines[0].starts_with("echo/1 "), "{lines:?}");
        assert_eq!(lines[5], "and 5 other slots");
    }

    #[test]
    fn a_drain_is_one_line() {
        let expected = "echo/0 (pid 7): draining, 1 connection left, 24s at most";
        assert_eq!(line(&draining(1)), expected);
    }

    #[test]
    fn a_drain_is_mentioned_once_a_second_and_less_when_nothing_changes() {
        let (start, mut mentioned) = (Instant::now(), Mentioned::default());
        let at = |millis| start + Duration::from_millis(millis);
        assert!(mentioned.is_news(&draining(5), at(0)));
        assert!(!mentioned.is_news(&draining(4), at(250)));
        assert!(mentioned.is_news(&draining(3), at(1250)));
        assert!(!mentioned.is_news(&draining(3), at(2500)));
        assert!(mentioned.is_news(&draining(3), at(6500)));
    }
}
