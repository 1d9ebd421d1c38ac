//! What people and scripts see: the printer, tables, units, log lines. Used by `command`, and for its
//! log by `master` and `process`. Nothing else writes to stdout or stderr, but the live view, which
//! has the terminal to itself.

mod printer;
pub(crate) mod screen;
pub(crate) mod table;
pub(crate) mod units;
pub(crate) mod plain;
pub(crate) mod log;

pub(crate) use printer::Printer;
