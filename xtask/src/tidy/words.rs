//! Words that are not used, in code or in prose: each has a plain one in its place.

use std::path::Path;

use super::Problem;
use super::files::File;

/// This file, which has to name them.
const HERE: &str = "xtask/src/tidy/words.rs";

/// The word, and what to say.
const WORDS: [(&str, &str); 9] = [
    ("kindred", "the related thing's name"),
    ("bearers", "what they carry or hold"),
    ("births", "arrivals or starts"),
    ("lodge", "keep, store or register"),
    ("bury", "reap or remove"),
    ("buried", "reaped or removed"),
    ("buries", "reaps or removes"),
    ("patience", "a limit"),
    ("whoever", "the thing's own name"),
];

/// Paths in which they still stand: files, and folders with all that is in them. This list only gets
/// shorter.
const STILL_IN: [&str; 0] = [];

/// Returns where a word of the list stands.
pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut stale: Vec<&str> = STILL_IN.to_vec();
    let written = files.iter().filter(|file| is_checked(&file.path));
    for file in written {
        let found = in_text(&file.text);
        let allowed = STILL_IN.iter().find(|path| is_within(&file.path, path));
        match allowed {
            Some(path) if !found.is_empty() => stale.retain(|other| other != path),
            Some(_) => {}
            None => problems.extend(found.into_iter().map(|(line, text)| {
                let path = file.path.clone();
                Problem { path, line, text }
            })),
        }
    }
    problems.extend(stale.into_iter().map(|path| {
        let text = format!("no word of the list stands in {path} any more: take it off STILL_IN");
        Problem { path: HERE.to_owned(), line: 1, text }
    }));
    problems
}

fn is_checked(path: &str) -> bool {
    let kind = Path::new(path).extension();
    path != HERE && kind.is_some_and(|kind| kind == "rs" || kind == "md")
}

/// Returns whether a file is `path` or lies in it.
fn is_within(file: &str, path: &str) -> bool {
    file.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns each word of the list with its line, and what to say for it.
fn in_text(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for part in parts(line) {
            let known = WORDS.iter().find(|(word, _)| part.eq_ignore_ascii_case(word));
            found.extend(known.map(|(word, instead)| {
                (number, format!("`{word}` is not used here: say {instead}"))
            }));
        }
    }
    found
}

/// Splits a line into words, and names into theirs: at `_`, and before each capital after a small letter.
fn parts(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character: char| !character.is_alphanumeric()).flat_map(|name| {
        let mut rest = name;
        std::iter::from_fn(move || {
            let pairs = rest.char_indices().skip(1).zip(rest.chars());
            let mut ends =
                pairs.filter(|((_, next), one)| one.is_lowercase() && next.is_uppercase());
            let end = ends.next().map_or(rest.len(), |((at, _), _)| at);
            let part;
            (part, rest) = rest.split_at(end);
            (!part.is_empty()).then_some(part)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_lines(text: &str, expected: &[usize]) {
        let lines: Vec<usize> = in_text(text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, expected, "{text}");
    }

    #[test]
    fn a_word_is_found_in_prose_and_in_names() {
        check_lines("a limit\nno Patience, please", &[2]);
        check_lines("let long_patience = 1;", &[1]);
        check_lines("struct PatienceOf;\nstruct HisPatience;", &[1, 2]);
        check_lines("const PATIENCE: u8 = 1;", &[1]);
        check_lines("mod patience;", &[1]);
    }

    #[test]
    fn other_words_that_look_like_it_stay() {
        check_lines("patiently, impatience, a lodger, rebirths, a bearer", &[]);
    }

    #[test]
    fn rust_and_markdown_are_checked() {
        let file = |path: &str| File { path: path.to_owned(), text: "no patience\n".to_owned() };
        let files = [file("a.rs"), file("b/c.md"), file("d.css"), file(HERE)];
        let problems = check(&files).into_iter().filter(|problem| problem.path != HERE);
        let paths: Vec<String> = problems.map(|problem| problem.path).collect();
        assert_eq!(paths, ["a.rs", "b/c.md"]);
    }

    #[test]
    fn a_path_covers_itself_and_what_lies_in_it() {
        assert!(is_within("a/b.rs", "a/b.rs"));
        assert!(is_within("a/b.rs", "a"));
        assert!(!is_within("ab.rs", "a"));
    }
}
