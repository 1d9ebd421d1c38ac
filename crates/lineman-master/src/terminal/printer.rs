//! The one way to the terminal: data to stdout, everything else to stderr.

use std::io::{self, Write};

/// Writes lines to stdout and stderr.
///
/// A reader that has gone (`status | head`) is no error: the rest is dropped.
#[derive(Debug)]
pub(crate) struct Printer;

impl Printer {
    /// Writes data: what was asked for.
    pub(crate) fn data(text: &str) {
        write(&mut io::stdout().lock(), text);
    }

    /// Writes data of which more follows without end; returns whether it is still read.
    pub(crate) fn stream(text: &str) -> bool {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush()).is_ok()
    }

    /// Writes everything else: steps, hints.
    pub(crate) fn note(text: &str) {
        write(&mut io::stderr().lock(), text);
    }

    /// Writes a block of lines over the one of `drawn` lines above the cursor of stderr's terminal,
    /// with a note before it that stays.
    pub(crate) fn redraw(drawn: usize, note: &str, lines: &[String]) {
        let mut text = String::new();
        if drawn > 0 {
            // Up to the beginning of the old block, and away with everything from there.
            text = format!("\x1b[{drawn}F\x1b[J");
        }
        for line in note.lines().chain(lines.iter().map(String::as_str)) {
            text.extend([line, "\n"]);
        }
        write(&mut io::stderr().lock(), &text);
    }

    /// Writes why a command failed.
    pub(crate) fn error(text: &str) {
        write(&mut io::stderr().lock(), &format!("error: {text}"));
    }
}

fn write(stream: &mut dyn Write, text: &str) {
    let mut bytes = text.as_bytes().to_vec();
    if !text.ends_with('\n') {
        bytes.push(b'\n');
    }
    // There is no one to tell.
    if stream.write_all(&bytes).and_then(|()| stream.flush()).is_err() {}
}
