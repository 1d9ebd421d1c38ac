//! The columns of the live view: what stands in them, how they sort, which a narrow terminal drops.
//! Pure.

use std::cmp::Ordering;
use std::time::Duration;

use super::sample::{Comparison, ProcessRow, Rates};
use crate::command::status::{errors, shown_state};
use crate::control::Stats;
use crate::terminal::table::{Align, Table};
use crate::terminal::units;

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Slot,
    Pid,
    State,
    Uptime,
    Restarts,
    Connections,
    Messages,
    Bytes,
    Queued,
    Errors,
    Lag,
    Cpu,
    Memory,
}

/// By which column the processes are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sorting {
    /// The column.
    pub(super) column: Column,
    /// Whether it is the other way round: text from Z to A, numbers from the smallest.
    pub(super) reversed: bool,
}

/// What a narrow terminal goes without, the first ones first, unless it is sorted by.
const EXPENDABLE: [Column; 10] = [
    Column::Restarts,
    Column::Errors,
    Column::Queued,
    Column::Uptime,
    Column::Pid,
    Column::Memory,
    Column::State,
    Column::Bytes,
    Column::Messages,
    Column::Lag,
];

impl Column {
    /// All of them, from left to right.
    pub(super) const ALL: [Self; 13] = [
        Self::Slot,
        Self::Pid,
        Self::State,
        Self::Uptime,
        Self::Restarts,
        Self::Connections,
        Self::Messages,
        Self::Bytes,
        Self::Queued,
        Self::Errors,
        Self::Lag,
        Self::Cpu,
        Self::Memory,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::Pid => "pid",
            Self::State => "state",
            Self::Uptime => "uptime",
            Self::Restarts => "restarts",
            Self::Connections => "conns",
            Self::Messages => "msgs/s",
            Self::Bytes => "bytes/s",
            Self::Queued => "queued",
            Self::Errors => "errors",
            Self::Lag => "lag p99",
            Self::Cpu => "cpu",
            Self::Memory => "mem",
        }
    }

    /// Returns the key that sorts by it: its first letter, or the capital where that is taken; `P` and
    /// `M` are those of `top`.
    const fn letter(self) -> char {
        match self {
            Self::Slot => 's',
            Self::Pid => 'p',
            Self::State => 't',
            Self::Uptime => 'u',
            Self::Restarts => 'R',
            Self::Connections => 'c',
            Self::Messages => 'm',
            Self::Bytes => 'b',
            Self::Queued => 'Q',
            Self::Errors => 'e',
            Self::Lag => 'l',
            Self::Cpu => 'P',
            Self::Memory => 'M',
        }
    }

    /// Returns the column of this key.
    pub(super) fn of_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.letter() == letter)
    }

    /// Returns what the help says of the letters, in lines that fit 80 columns.
    pub(super) fn letters() -> [String; 2] {
        let told = Self::ALL.map(|column| format!("{} {}", column.letter(), column.name()));
        let (first, second) = told.split_at(7);
        [first, second].map(|half| half.join("   "))
    }

    const fn is_text(self) -> bool {
        matches!(self, Self::Slot | Self::State)
    }

    /// Returns the column this many places to the right, or to the left; the last one is followed by
    /// the first.
    pub(super) fn neighbour(self, steps: isize) -> Self {
        let count = Self::ALL.len();
        let at = Self::ALL.iter().position(|column| *column == self).unwrap_or(0);
        let at = at.checked_add_signed(steps).unwrap_or(count - 1) % count;
        Self::ALL.get(at).copied().unwrap_or(self)
    }

    fn cell(self, line: &ProcessRow<'_>) -> String {
        let slot = line.slot;
        let of_stats = |show: fn(&Stats) -> String| slot.stats.as_ref().map(show);
        let of_rates = |show: fn(&Rates) -> String| line.rates.as_ref().map(show);
        let cell = match self {
            Self::Slot => Some(slot.name.clone()),
            Self::Pid => slot.pid.map(|pid| pid.to_string()),
            Self::State => Some(shown_state(slot)),
            Self::Uptime => slot.uptime_ms.map(|time| units::duration(Duration::from_millis(time))),
            Self::Restarts => Some(slot.restarts.to_string()),
            Self::Connections => of_stats(|stats| units::count(stats.connections)),
            Self::Messages => of_rates(messages),
            Self::Bytes => of_rates(bytes),
            Self::Queued => of_stats(|stats| units::bytes(stats.queued_bytes)),
            Self::Errors => of_stats(|stats| units::count(errors(stats))),
            Self::Lag => slot.lag_p99_us.map(units::micros),
            Self::Cpu => of_rates(cpu),
            Self::Memory => slot.memory_bytes.map(units::bytes),
        };
        cell.unwrap_or_else(|| "-".to_owned())
    }

    fn sum(self, compared: &Comparison<'_>) -> String {
        let totals = &compared.status.totals;
        let of_rates = |show: fn(&Rates) -> String| {
            compared.rates.as_ref().map_or_else(|| "-".to_owned(), show)
        };
        match self {
            Self::Slot => "total".to_owned(),
            Self::Pid | Self::State | Self::Uptime => String::new(),
            Self::Restarts => {
                compared.lines.iter().map(|line| line.slot.restarts).sum::<u64>().to_string()
            }
            Self::Connections => units::count(totals.stats.connections),
            Self::Messages => of_rates(messages),
            Self::Bytes => of_rates(bytes),
            Self::Queued => units::bytes(totals.stats.queued_bytes),
            Self::Errors => units::count(errors(&totals.stats)),
            // The worst of them: lags have no sum.
            Self::Lag => units::micros(totals.lag_p99_us),
            Self::Cpu => of_rates(cpu),
            Self::Memory => units::bytes(totals.memory_bytes),
        }
    }

    /// Returns what numbers are sorted by; what is unknown is below everything.
    #[expect(clippy::cast_precision_loss, reason = "an order of size needs no fifteen digits")]
    fn number(self, line: &ProcessRow<'_>) -> f64 {
        let slot = line.slot;
        let whole = match self {
            Self::Slot | Self::State => None,
            Self::Pid => slot.pid.map(u64::from),
            Self::Uptime => slot.uptime_ms,
            Self::Restarts => Some(slot.restarts),
            Self::Connections => slot.stats.map(|stats| stats.connections),
            Self::Queued => slot.stats.map(|stats| stats.queued_bytes),
            Self::Errors => slot.stats.map(|stats| errors(&stats)),
            Self::Lag => slot.lag_p99_us,
            Self::Memory => slot.memory_bytes,
            Self::Messages | Self::Bytes | Self::Cpu => {
                let rate = line.rates.map(|rates| match self {
                    Self::Messages => rates.messages_in + rates.messages_out,
                    Self::Bytes => rates.bytes_in + rates.bytes_out,
                    _ => rates.cpu_percent,
                });
                return rate.unwrap_or(f64::NEG_INFINITY);
            }
        };
        whole.map_or(f64::NEG_INFINITY, |number| number as f64)
    }
}

impl Default for Sorting {
    fn default() -> Self {
        Self { column: Column::Slot, reversed: false }
    }
}

impl Sorting {
    fn order(self, one: &ProcessRow<'_>, other: &ProcessRow<'_>) -> Ordering {
        let order = match self.column {
            Column::Slot => {
                let key = |line: &ProcessRow<'_>| (line.slot.service.clone(), line.slot.index);
                key(one).cmp(&key(other))
            }
            Column::State => shown_state(one.slot).cmp(&shown_state(other.slot)),
            // The largest is what one looks for.
            column => column.number(other).total_cmp(&column.number(one)),
        };
        if self.reversed { order.reverse() } else { order }
    }

    /// Sorts the processes; those that are equal stay in the master's order.
    pub(super) fn sort(self, lines: &mut [ProcessRow<'_>]) {
        lines.sort_by(|one, other| self.order(one, other));
    }

    fn title(self, column: Column) -> String {
        let rising = column.is_text() != self.reversed;
        let mark = match (column == self.column, rising) {
            (false, _) => "",
            (true, true) => "\u{25b2}",
            (true, false) => "\u{25bc}",
        };
        format!("{}{mark}", column.name())
    }

    /// Returns the lines of the table: the header, a line for each process in its order, the sums.
    pub(super) fn table(self, compared: &Comparison<'_>, width: usize) -> Vec<String> {
        let columns = Column::ALL.map(|column| {
            let align = if column.is_text() { Align::Left } else { Align::Right };
            (self.title(column), align)
        });
        let mut table = Table::new(&columns);
        for line in &compared.lines {
            table.row(Column::ALL.map(|column| column.cell(line)));
        }
        table.row(Column::ALL.map(|column| column.sum(compared)));
        let expendable = EXPENDABLE.iter().filter(|column| **column != self.column);
        let expendable: Vec<&str> = expendable.map(|column| column.name()).collect();
        table.fit(width, &expendable).lines()
    }
}

fn messages(rates: &Rates) -> String {
    format!(
        "{}/{}",
        units::count(whole(rates.messages_in)),
        units::count(whole(rates.messages_out))
    )
}

fn bytes(rates: &Rates) -> String {
    format!("{}/{}", units::bytes(whole(rates.bytes_in)), units::bytes(whole(rates.bytes_out)))
}

fn cpu(rates: &Rates) -> String {
    format!("{:.0}%", rates.cpu_percent)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, and rates are not negative"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::{counted, sample, slot};
    use super::*;
    use std::time::Instant;

    fn order(sorting: Sorting) -> Vec<usize> {
        let slots = vec![
            slot(0, 30, Some(counted(0, 0))),
            slot(10, 10, None),
            slot(2, 20, Some(counted(0, 0))),
        ];
        let last = sample(Instant::now(), slots);
        let mut lines = Comparison::new(None, &last).lines;
        sorting.sort(&mut lines);
        lines.iter().map(|line| line.slot.index).collect()
    }

    #[test]
    fn numbers_come_largest_first_and_what_is_unknown_last() {
        let by = |column, reversed| order(Sorting { column, reversed });
        assert_eq!(by(Column::Pid, false), [0, 2, 10]);
        assert_eq!(by(Column::Pid, true), [10, 2, 0]);
        assert_eq!(by(Column::Connections, false), [0, 2, 10]);
        assert_eq!(by(Column::Slot, false), [0, 2, 10], "a slot's number is a number");
        assert_eq!(by(Column::State, false), [10, 0, 2], "busy before ready");
    }

    #[test]
    fn each_column_has_a_key_of_its_own() {
        for column in Column::ALL {
            assert_eq!(Column::of_letter(column.letter()), Some(column));
            assert!(!"qrh?".contains(column.letter()), "{column:?}: the key does something else");
        }
    }

    #[test]
    fn columns_go_round() {
        assert_eq!(Column::Slot.neighbour(1), Column::Pid);
        assert_eq!(Column::Slot.neighbour(-1), Column::Memory);
        assert_eq!(Column::Memory.neighbour(1), Column::Slot);
    }

    #[test]
    fn the_column_that_is_sorted_by_stays_on_a_narrow_terminal() {
        let last = sample(Instant::now(), vec![slot(0, 30, Some(counted(0, 0)))]);
        let compared = Comparison::new(None, &last);
        for column in Column::ALL {
            let sorting = Sorting { column, reversed: false };
            let header = sorting.table(&compared, 60).remove(0);
            assert!(header.contains(&sorting.title(column)), "{column:?} is not in {header}");
        }
    }
}
