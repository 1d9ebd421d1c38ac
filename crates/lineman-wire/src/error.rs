//! How an error is said in one line, for logs and terminals. It changes none.

use std::error::Error;

/// Returns an error and its causes in one line: `cannot start: no such file`.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Our own messages name their source already.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
