//! `cargo xtask tidy`: the repository's rules that no compiler knows, as a command and as a test.

mod files;
mod source;
mod rules;
mod names;
mod words;
mod circles;
mod drawing;

use anyhow::{Result, bail};

use crate::step::{repository, say};

/// A rule that a file breaks.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    /// The file, relative to the repository.
    path: String,
    /// The line, counted from 1.
    line: usize,
    /// What is wrong and what to do.
    text: String,
}

/// Checks every file; says what is wrong, a line each.
pub(crate) fn run() -> Result<()> {
    let problems = problems()?;
    for Problem { path, line, text } in &problems {
        say(&format!("{path}:{line}: {text}"));
    }
    match problems.len() {
        0 => Ok(()),
        1 => bail!("one rule is broken"),
        count => bail!("{count} rules are broken"),
    }
}

fn problems() -> Result<Vec<Problem>> {
    let files = files::read(&repository())?;
    let mut problems: Vec<Problem> = files.iter().flat_map(rules::check).collect();
    problems.extend(names::check(&files));
    problems.extend(words::check(&files));
    problems.extend(circles::check(&files));
    problems.extend(drawing::check(&files));
    Ok(problems)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_keeps_its_rules() {
        let problems = super::problems().unwrap();
        assert!(problems.is_empty(), "{problems:#?}");
    }
}
