//! Aligned columns for the terminal; a pure function from cells to lines.

/// What stands between two columns.
const GAP: &str = "  ";

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table under construction.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Returns an empty table with these columns.
    pub(crate) fn new<T: AsRef<str>>(columns: &[(T, Align)]) -> Self {
        let columns = columns.iter().map(|(name, align)| (name.as_ref().to_owned(), *align));
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row; cells beyond the columns are dropped, missing ones are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().take(self.columns.len()).collect());
    }

    /// Returns the table so that its lines fit into `width` characters: long names in the first column
    /// are shortened, then the columns `expendable` go, the first ones first; when all of them are not
    /// enough, it stays wider.
    pub(crate) fn fit(mut self, width: usize, expendable: &[&str]) -> Self {
        if self.width() > width {
            for name in self.rows.iter_mut().filter_map(|row| row.first_mut()) {
                *name = shortened(name, name_room(width));
            }
        }
        for name in expendable {
            if self.width() <= width {
                break;
            }
            self.drop_column(name);
        }
        self
    }

    fn width(&self) -> usize {
        let widths = self.widths();
        widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
    }

    fn drop_column(&mut self, name: &str) {
        if let Some(at) = self.columns.iter().position(|(column, _)| column == name) {
            self.drop_column_at(at);
        }
    }

    fn drop_column_at(&mut self, at: usize) {
        self.columns.remove(at);
        for row in self.rows.iter_mut().filter(|row| row.len() > at) {
            row.remove(at);
        }
    }

    /// Returns the lines: the header, then the rows, two blanks between columns.
    pub(crate) fn lines(&self) -> Vec<String> {
        let widths = self.widths();
        let header = self.columns.iter().map(|(name, _)| name.as_str());
        let mut lines = vec![self.line(header, &widths)];
        for row in &self.rows {
            lines.push(self.line(row.iter().map(String::as_str), &widths));
        }
        lines
    }

    /// Returns the rows without the header and without empty columns.
    pub(crate) fn rows_only(mut self) -> Vec<String> {
        for (name, _) in &mut self.columns {
            name.clear();
        }
        while let Some(at) = self.widths().iter().position(|width| *width == 0) {
            self.drop_column_at(at);
        }
        self.lines().split_off(1)
    }

    /// Returns the lines as one text.
    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }

    fn widths(&self) -> Vec<usize> {
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        self.columns
            .iter()
            .enumerate()
            .map(|(column, (name, _))| {
                cells(column).map(|cell| width(cell)).max().unwrap_or(0).max(width(name))
            })
            .collect()
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width_wanted), (_, align)) in cells.zip(widths).zip(&self.columns) {
            if !line.is_empty() {
                line.push_str(GAP);
            }
            let padding = " ".repeat(width_wanted.saturating_sub(width(cell)));
            match align {
                Align::Left => line.extend([cell, &padding]),
                Align::Right => line.extend([&padding, cell]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Returns how long a name may be on a terminal that is too narrow for everything: a quarter of it, and
/// always enough for most names.
pub(crate) fn name_room(width: usize) -> usize {
    (width / 4).max(16)
}

/// Returns a name of a slot in `room` characters; what is left out is in its middle, as its number is
/// at its end.
pub(crate) fn shortened(name: &str, room: usize) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= room {
        return name.to_owned();
    }
    let kept = room.saturating_sub(1);
    let (head, tail) = (kept - kept / 3, letters.len() - kept / 3);
    let head = letters.iter().take(head);
    head.chain(&['\u{2026}']).chain(letters.iter().skip(tail)).collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table =
            Table::new(&[("slot", Align::Left), ("pid", Align::Right), ("state", Align::Left)]);
        table.row(["chat/0".to_owned(), "7".to_owned(), "ready".to_owned()]);
        table.row(["x/10".to_owned(), "12345".to_owned()]);
        assert_eq!(
            table.text(),
            "slot      pid  state\n\
             chat/0      7  ready\n\
             x/10    12345"
        );
    }

    #[test]
    fn a_table_gives_up_columns_until_it_fits() {
        let mut table = Table::new(&[("a", Align::Left), ("bb", Align::Right), ("c", Align::Left)]);
        table.row(["1".to_owned(), "2".to_owned(), "333".to_owned()]);
        table.row(["1".to_owned()]);
        let fit = |width| table.clone().fit(width, &["bb", "c"]).text();
        assert_eq!(fit(10), "a  bb  c\n1   2  333\n1");
        assert_eq!(fit(9), "a  c\n1  333\n1");
        assert_eq!(fit(5), "a\n1\n1");
        assert_eq!(fit(0), "a\n1\n1");
    }

    #[test]
    fn long_names_give_way_before_columns_do() {
        let name = format!("{}/12", "long-name-of-a-service".repeat(2));
        let mut table = Table::new(&[("slot", Align::Left), ("pid", Align::Right)]);
        table.row([name.clone(), "7".to_owned()]);
        table.row(["echo/0".to_owned(), "8".to_owned()]);
        let fit = |width| table.clone().fit(width, &["pid"]).lines().split_off(1);
        assert_eq!(fit(80), [format!("{name}    7"), format!("{:47}    8", "echo/0")]);
        assert_eq!(fit(40), ["long-name-\u{2026}ce/12    7", "echo/0              8"]);
        assert_eq!(shortened("echo/0", 6), "echo/0");
        assert_eq!(shortened("echo/10", 6), "echo\u{2026}0");
        assert_eq!(shortened("echo/10", 1), "\u{2026}");
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(Table::new(&[("a", Align::Left), ("b", Align::Right)]).text(), "a  b");
    }
}
