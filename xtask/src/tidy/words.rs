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

/// Returns where a word of the list stands.
pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| is_checked(&file.path)) {
        let found = in_text(&file.text).into_iter();
        problems.extend(found.map(|(line, text)| Problem { path: file.path.clone(), line, text }));
    }
    problems
}

fn is_checked(path: &str) -> bool {
    let kind = Path::new(path).extension();
    path != HERE && kind.is_some_and(|kind| kind == "rs" || kind == "md")
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
        let paths: Vec<String> = check(&files).into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["a.rs", "b/c.md"]);
    }
}
