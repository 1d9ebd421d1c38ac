//! Draws the live view. Pure: two looks, a size and what the keys have set make a picture.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};

use super::columns::Column;
use super::keys::Controls;
use super::sample::{Comparison, Sample};
use crate::command::status::{remarks, sums, title};

/// Lines above the rows of processes: the title, the sums, a blank, the header.
const ABOVE: usize = 4;

/// Lines below them: the totals and the keys.
const BELOW: usize = 2;

const KEYS: &str = "q quit   letters, left/right sort   r reverse   up/down scroll   ? help";

const HELP: [&str; 14] = [
    "left, right      sort by the column to the left or right",
    "r                reverse the order",
    "up, down         scroll by a line; page up and page down by ten",
    "home, end        the first line, the last line",
    "?                this help",
    "q, Esc, Ctrl-C   leave; the program runs on",
    "",
    "msgs/s, bytes/s  in/out, of each second since the last look",
    "queued           bytes that wait to be sent",
    "errors           handlers that failed, and peers that broke the protocol",
    "lag p99          how late the loop was in the last minute; 99 of 100 looks were better",
    "cpu              of one core",
    "busy             the process has not answered within a second",
    "A narrow terminal leaves out columns, but not the one that is sorted by.",
];

const LETTERS: &str = "A letter sorts by its column, and once more the other way round:";

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    /// The look before the last one.
    pub(super) before: Option<&'a Sample>,
    /// The last look.
    pub(super) last: &'a Sample,
    /// Why there is no newer one.
    pub(super) silence: Option<&'a str>,
    /// What the keys have set.
    pub(super) controls: &'a Controls,
}

impl Scene<'_> {
    /// Draws the view; returns how far it can be scrolled.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) -> usize {
        let Rect { width, height, .. } = frame.area();
        let (width, height) = (usize::from(width), usize::from(height));
        let mut compared = Comparison::new(self.before, self.last);
        self.controls.sorting.sort(&mut compared.lines);
        let (mut lines, scrollable) = if self.controls.help {
            (self.help(&compared), 0)
        } else {
            self.body(&compared, width, height)
        };
        let footer = Line::styled(KEYS, Modifier::DIM);
        lines.truncate(height.saturating_sub(1));
        lines.resize(height.saturating_sub(1), Line::default());
        lines.push(footer);
        frame.render_widget(Text::from(lines), frame.area());
        scrollable
    }

    fn help(&self, compared: &Comparison<'_>) -> Vec<Line<'static>> {
        let mut lines = self.head(compared, "");
        lines.extend(HELP.map(Line::raw));
        lines.extend([Line::default(), Line::raw(LETTERS)]);
        lines.extend(Column::letters().map(Line::raw));
        lines
    }

    fn head(&self, compared: &Comparison<'_>, place: &str) -> Vec<Line<'static>> {
        let title = Line::styled(title(compared.status), Modifier::BOLD);
        let second = match self.silence {
            Some(silence) => Line::styled(silence.to_owned(), Modifier::REVERSED),
            None => Line::raw(sums(compared.status) + place),
        };
        vec![title, second, Line::default()]
    }

    fn body(
        &self,
        compared: &Comparison<'_>,
        width: usize,
        height: usize,
    ) -> (Vec<Line<'static>>, usize) {
        let remarks: Vec<String> =
            compared.lines.iter().flat_map(|line| remarks(line.slot)).collect();
        let count = compared.lines.len();
        let room = height.saturating_sub(ABOVE + BELOW);
        // The remarks and a blank before them may have a third, and what the processes leave.
        let reserved = if remarks.is_empty() { 0 } else { (remarks.len() + 1).min(room / 3) };
        let visible = count.min(room - reserved);
        let scrollable = count - visible;
        let from = self.controls.scroll.min(scrollable);
        let place = if scrollable == 0 {
            String::new()
        } else {
            format!(", lines {} to {} of {count}", from + 1, from + visible)
        };
        let mut table = self.controls.sorting.table(compared, width).into_iter();
        let mut lines = self.head(compared, &place);
        lines.extend(table.next().map(|header| Line::styled(header, Modifier::BOLD)));
        let mut rows: Vec<String> = table.collect();
        let total = rows.pop();
        let shown = rows.into_iter().zip(&compared.lines).skip(from).take(visible);
        lines.extend(shown.map(|(row, line)| {
            // By weight and not by colour alone: not everybody sees red, and some have asked for none.
            let weight = if line.slot.has_failed() { Modifier::REVERSED } else { self.weight() };
            Line::styled(row, weight)
        }));
        lines.extend(total.map(|total| Line::styled(total, Modifier::BOLD)));
        if !remarks.is_empty() {
            lines.push(Line::default());
            let style = Style::from(self.weight());
            lines.extend(remarks.into_iter().map(|remark| Line::styled(remark, style)));
        }
        (lines, scrollable)
    }

    /// What is no longer true is dim.
    fn weight(&self) -> Modifier {
        if self.silence.is_some() { Modifier::DIM } else { Modifier::empty() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns::Sorting;
    use super::super::sample::tests::{counted, sample, slot};
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::time::{Duration, Instant};

    fn samples(slots: usize) -> (Sample, Sample) {
        let start = Instant::now();
        let slots_at = |count: u64| {
            (0..slots).map(move |index| {
                let many = count * (index as u64 + 1);
                let mut slot = slot(
                    index,
                    100 + u32::try_from(index).unwrap(),
                    Some(counted(many, many * 1024)),
                );
                slot.cpu_ms = Some(1000 + count);
                slot
            })
        };
        let before = sample(start, slots_at(0).collect());
        let last = sample(start + Duration::from_secs(1), slots_at(500).collect());
        (before, last)
    }

    fn picture(scene: &Scene<'_>, width: u16, height: u16) -> (String, usize) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let mut scrollable = 0;
        terminal.draw(|frame| scrollable = scene.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content.chunks(usize::from(width)).map(|row| {
            let row: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
            row.trim_end().to_owned()
        });
        (rows.collect::<Vec<_>>().join("\n"), scrollable)
    }

    #[test]
    fn at_80_columns_the_rates_are_there() {
        let (before, mut last) = samples(2);
        last.status.slots[1].restarts = 1;
        last.status.slots[1].last_exit = Some("signal 9 (SIGKILL)".to_owned());
        let controls = Controls::default();
        let scene =
            Scene { before: Some(&before), last: &last, silence: None, controls: &controls };
        let (text, scrollable) = picture(&scene, 80, 14);
        assert_eq!(scrollable, 0);
        assert_eq!(
            text,
            "Lineman 1.2.3  chat  pid 42  up  uptime 1h 0m  load 0.50 0.25 0.10\n\
             0 services, 2 processes\n\
             \n\
             slot\u{25b2}           pid  state  uptime  conns  msgs/s   bytes/s  lag p99   cpu  mem\n\
             chat-gateway/0  100  ready   3m 4s      3   500/0   0B/500K    1.2ms   50%  12M\n\
             chat-gateway/1  101  ready   3m 4s      3  1000/0  0B/1000K    1.2ms   50%  12M\n\
             total                                   6  1500/0   0B/1.4M    1.2ms  100%  24M\n\
             \n\
             chat-gateway/1: last exit: signal 9 (SIGKILL)\n\
             \n\n\n\n\
             q quit   letters, left/right sort   r reverse   up/down scroll   ? help"
        );
    }

    #[test]
    fn at_120_columns_nothing_is_left_out() {
        let (before, last) = samples(2);
        let controls = Controls::default();
        let scene =
            Scene { before: Some(&before), last: &last, silence: None, controls: &controls };
        let (text, _) = picture(&scene, 120, 10);
        for name in ["pid", "uptime", "restarts", "queued", "errors", "lag p99", "cpu", "mem"] {
            assert!(text.contains(name), "{name} is not in\n{text}");
        }
    }

    #[test]
    fn many_slots_scroll_and_the_sums_stay() {
        let (before, last) = samples(40);
        let sorting = Sorting { column: Column::Messages, reversed: false };
        let mut controls = Controls { sorting, scroll: 3, help: false };
        let draw = |controls: &Controls| {
            let scene = Scene { before: Some(&before), last: &last, silence: None, controls };
            picture(&scene, 80, 16)
        };
        let (text, scrollable) = draw(&controls);
        assert_eq!(scrollable, 30);
        assert!(text.contains("40 processes, lines 4 to 13 of 40"), "{text}");
        assert!(text.contains("\nchat-gateway/36 "), "the fourth largest: {text}");
        assert!(!text.contains("\nchat-gateway/39 "), "{text}");
        assert!(text.contains("\ntotal "), "{text}");
        controls.scroll = usize::MAX;
        let (text, _) = draw(&controls);
        assert!(text.contains("lines 31 to 40 of 40"), "{text}");
        assert!(text.contains("\nchat-gateway/0 "), "{text}");
    }

    #[test]
    fn long_names_and_large_numbers_leave_the_rates_on_80_columns() {
        let (mut before, mut last) = samples(64);
        for slot in before.status.slots.iter_mut().chain(&mut last.status.slots) {
            slot.name = format!("{}/{}", "name".repeat(10), slot.index);
            slot.pid = slot.pid.map(|pid| pid + 4_000_000);
            slot.uptime_ms = Some(10 * 86_400_000);
        }
        for slot in &mut last.status.slots {
            let stats = slot.stats.as_mut().unwrap();
            (stats.messages_in, stats.messages_out) = (1_000_000_000, 1_000_000_000);
            (stats.bytes_in, stats.bytes_out) = (1023 << 30, 1023 << 30);
            stats.connections = 1_000_000_000;
        }
        let controls = Controls { scroll: 60, ..Controls::default() };
        let scene =
            Scene { before: Some(&before), last: &last, silence: None, controls: &controls };
        let (text, scrollable) = picture(&scene, 80, 24);
        assert_eq!(scrollable, 64 - 18);
        let row = text.lines().find(|line| line.contains("/63 ")).expect(&text);
        for shown in ["namenamenamen\u{2026}ame/63 ", " 1.0G/1.0G ", "1023G/1023G ", " 1.0G "] {
            assert!(row.contains(shown), "{shown} is not in\n{text}");
        }
        let total = text.lines().find(|line| line.starts_with("total")).expect(&text);
        assert!(total.contains("64G/64G"), "{text}");
    }

    #[test]
    fn silence_is_said_and_no_size_breaks_it() {
        let (before, last) = samples(3);
        for help in [false, true] {
            let controls = Controls { help, ..Controls::default() };
            let scene = Scene {
                before: Some(&before),
                last: &last,
                silence: Some("not running: waiting"),
                controls: &controls,
            };
            let (text, _) = picture(&scene, 80, 24);
            assert!(text.contains("\nnot running: waiting\n"), "{text}");
            let letters = ["s slot   p pid", "P cpu   M mem\n"];
            let told = letters.iter().filter(|letters| text.contains(*letters)).count();
            assert_eq!(told, if help { 2 } else { 0 }, "{text}");
            for size in [(1, 1), (10, 2), (20, 5), (300, 3), (3, 300)] {
                picture(&scene, size.0, size.1);
            }
        }
    }
}
