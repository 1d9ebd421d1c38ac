//! The last lines of a log. The file is read from its end, further and further back until enough lines
//! are chosen; all but those are dropped on the way.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};

use crate::terminal::log::lines::Chooser;

/// How far from the end the first look begins: some 500 lines. Each next one reaches further.
const WINDOW: u64 = 64 * 1024;

/// How much further; all looks together read a third more than the last one alone.
const FURTHER: u64 = 4;

/// The end of a log. The file is left where it was read to.
#[derive(Debug)]
pub(super) struct FileEnd {
    pub(super) lines: VecDeque<Vec<u8>>,
    /// A last line that has no end yet.
    pub(super) rest: Vec<u8>,
    /// Knows what the last line was about.
    pub(super) chooser: Chooser,
}

impl FileEnd {
    /// Returns whether nothing is chosen.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.rest.is_empty()
    }

    /// Returns everything that is chosen, the unfinished line too.
    pub(super) fn all(mut self) -> Vec<u8> {
        let mut text: Vec<u8> = self.lines.iter().flatten().copied().collect();
        if !self.rest.is_empty() && self.chooser.takes(&String::from_utf8_lossy(&self.rest)) {
            text.extend_from_slice(&self.rest);
            text.push(b'\n');
        }
        text
    }
}

/// Returns the last `count` lines that are chosen.
pub(super) fn read(file: &mut File, count: usize, chooser: &Chooser) -> io::Result<FileEnd> {
    let size = file.metadata()?.len();
    let mut window = WINDOW;
    loop {
        let begin = size.saturating_sub(window);
        let end = read_from(file, begin, count, chooser.clone())?;
        if end.lines.len() >= count || begin == 0 {
            return Ok(end);
        }
        window = window.saturating_mul(FURTHER);
    }
}

fn read_from(
    file: &mut File,
    begin: u64,
    count: usize,
    mut chooser: Chooser,
) -> io::Result<FileEnd> {
    file.seek(SeekFrom::Start(begin))?;
    let mut reader = BufReader::new(file);
    if begin > 0 {
        // The first line began before.
        reader.skip_until(b'\n')?;
    }
    let mut lines = VecDeque::new();
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok(FileEnd { lines, rest: line, chooser });
        }
        if chooser.takes(&String::from_utf8_lossy(&line)) && count > 0 {
            if lines.len() == count {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;

    use super::*;

    fn end_of(text: &str, count: usize, wanted: Option<&str>) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let end = read(&mut file, count, &Chooser::new(wanted.map(str::to_owned))).unwrap();
        assert_eq!(file.stream_position().unwrap(), text.len() as u64);
        String::from_utf8(end.all()).unwrap()
    }

    #[test]
    fn the_last_lines_are_found_however_far_back_they_are() {
        let mut text = String::new();
        for number in 0..20_000 {
            let slot = if number == 3 || number == 19_990 { "rare" } else { "echo" };
            writeln!(text, "2026-03-01T12:00:00Z INFO {slot}/0[7] line {number}").unwrap();
        }
        assert_eq!(end_of(&text, 2, None).lines().count(), 2);
        assert!(end_of(&text, 2, None).ends_with("line 19999\n"));
        let rare = end_of(&text, 5, Some("rare"));
        let rare: Vec<&str> = rare.lines().filter_map(|line| line.split("] ").nth(1)).collect();
        assert_eq!(rare, ["line 3", "line 19990"]);
        assert_eq!(end_of(&text, 100_000, None), text);
        assert_eq!(end_of(&text, 0, None), "");
    }

    #[test]
    fn a_line_without_an_end_is_shown() {
        assert_eq!(end_of("one\ntwo\nthr", 1, None), "two\nthr\n");
        assert_eq!(end_of("", 1, None), "");
    }
}
