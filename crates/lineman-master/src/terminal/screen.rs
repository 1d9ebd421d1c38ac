//! What is known of the terminal behind stdout and stderr. Called by `command`; it prints nothing.

use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd;

/// The size that is assumed when a terminal does not tell.
const USUAL: Size = Size { columns: 80, rows: 24 };

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// How long a line is.
    pub(crate) columns: usize,
    /// How many lines there are.
    pub(crate) rows: usize,
}

/// Returns the size of the terminal that stdout is; `None` when it is none.
pub(crate) fn stdout() -> Option<Size> {
    io::stdout().is_terminal().then(|| size(io::stdout()))
}

/// Returns the size of the terminal that stderr is; `None` when it is none, or one that cannot move
/// its cursor.
pub(crate) fn movable_stderr() -> Option<Size> {
    let dumb = std::env::var_os("TERM").is_none_or(|kind| kind.is_empty() || kind == "dumb");
    (io::stderr().is_terminal() && !dumb).then(|| size(io::stderr()))
}

fn size(terminal: impl AsFd) -> Size {
    let Ok(told) = rustix::termios::tcgetwinsize(terminal) else { return USUAL };
    let or = |told: u16, usual: usize| if told == 0 { usual } else { usize::from(told) };
    Size { columns: or(told.ws_col, USUAL.columns), rows: or(told.ws_row, USUAL.rows) }
}
