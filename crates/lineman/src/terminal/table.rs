//! Aligned columns for the terminal; a pure function from cells to lines.

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
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Returns an empty table with these columns.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; cells beyond the columns are dropped, missing ones are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().take(self.columns.len()).collect());
    }

    /// Returns the lines: the header, then the rows, two blanks between columns.
    pub(crate) fn lines(&self) -> Vec<String> {
        let widths = self.widths();
        let header = self.columns.iter().map(|(name, _)| *name);
        let mut lines = vec![self.line(header, &widths)];
        for row in &self.rows {
            lines.push(self.line(row.iter().map(String::as_str), &widths));
        }
        lines
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
                line.push_str("  ");
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
    fn an_empty_table_is_its_header() {
        assert_eq!(Table::new(&[("a", Align::Left), ("b", Align::Right)]).text(), "a  b");
    }
}
