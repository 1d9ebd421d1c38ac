//! One word per thing: no two types of the crates have the same name, but for those on a list.

use std::collections::BTreeMap;

use super::Problem;
use super::files::File;
use super::rules::first_word;
use super::source::{code, of_crate, without_tests};

/// This file, for what is wrong with its lists.
const HERE: &str = "xtask/src/tidy/names.rs";

/// Names that several types have on purpose: the name, how many there are, and why.
const MEANT: [(&str, usize, &str); 3] = [
    ("Answers", 4, "of a cluster's gateways, with the errors of two crates; and of a master"),
    ("Cluster", 2, "as a business reaches it, and as a program outside does"),
    ("Error", 14, "one for each crate and each codec"),
];

/// Names that mean several things and are to be told apart: the name, and how many there are. This list
/// only gets shorter.
const TO_BE_TOLD_APART: [(&str, usize); 46] = [
    ("Accept", 2),
    ("Answer", 2),
    ("Asked", 2),
    ("Body", 2),
    ("Check", 2),
    ("Client", 2),
    ("Connections", 2),
    ("Core", 2),
    ("Event", 3),
    ("Failure", 2),
    ("Format", 2),
    ("Gateway", 2),
    ("Header", 4),
    ("IdSet", 2),
    ("Inner", 3),
    ("Key", 2),
    ("Limits", 4),
    ("Link", 2),
    ("LinkId", 2),
    ("Listener", 2),
    ("Outbox", 2),
    ("Outcome", 2),
    ("Outgoing", 2),
    ("Phase", 3),
    ("Place", 3),
    ("Plain", 2),
    ("Pool", 2),
    ("Progress", 2),
    ("Reader", 2),
    ("Received", 2),
    ("Reload", 2),
    ("Request", 4),
    ("Role", 2),
    ("Service", 2),
    ("Session", 2),
    ("Shared", 2),
    ("Side", 2),
    ("Slot", 2),
    ("Socket", 2),
    ("State", 3),
    ("Step", 2),
    ("Stream", 2),
    ("Table", 2),
    ("Unfinished", 2),
    ("Version", 2),
    ("Work", 2),
];

/// The crate whose types mirror what programs report, and share no code with them.
const MIRROR: &str = "lineman-testkit";

/// What a definition begins with.
const KINDS: [&str; 5] = ["struct", "enum", "union", "trait", "type"];

/// Where a type is defined.
type Place = (String, usize);

/// Returns what is wrong with the names of all types.
pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let meant = MEANT.iter().map(|(name, count, _)| (*name, *count));
    let allowed = meant.chain(TO_BE_TOLD_APART).collect();
    against(files, &allowed)
}

fn against(files: &[File], allowed: &BTreeMap<&str, usize>) -> Vec<Problem> {
    let mut places: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    let counts = |file: &&File| of_crate(&file.path).is_some_and(|(name, _)| name != MIRROR);
    for file in files.iter().filter(counts) {
        for (line, name) in definitions(&without_tests(&code(&file.text))) {
            places.entry(name).or_default().push((file.path.clone(), line));
        }
    }
    let mut problems = Vec::new();
    for (name, found) in &places {
        let most = allowed.get(name.as_str()).copied().unwrap_or(1);
        if let Some((path, line)) = found.get(most) {
            let others = found.iter().filter(|(other, _)| other != path);
            let others: Vec<_> = others.map(|(path, line)| format!("{path}:{line}")).collect();
            let text = format!("one word per thing: `{name}` is a type in {}", others.join(", "));
            problems.push(Problem { path: path.clone(), line: *line, text });
        }
    }
    for (name, most) in allowed {
        let count = places.get(*name).map_or(0, Vec::len);
        if count < *most {
            let text =
                format!("{count} types are called `{name}`, and {most} are allowed: lower it");
            problems.push(Problem { path: HERE.to_owned(), line: 1, text });
        }
    }
    problems
}

/// Returns the types that code defines outside functions and `impl` blocks, with their lines.
fn definitions(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // For each open brace whether a definition within it counts.
    let mut open: Vec<bool> = Vec::new();
    for (number, line) in (1..).zip(code.lines()) {
        let words = without_visibility(line.trim_start());
        let (kind, rest) = words.split_once(' ').unwrap_or_default();
        if open.iter().all(|&counts| counts) && KINDS.contains(&kind) {
            found.push((number, first_word(rest)));
        }
        for (at, character) in line.char_indices() {
            match character {
                '{' => {
                    let is_macro = line[..at].trim_end().ends_with('!');
                    open.push(is_macro || words.starts_with("mod "));
                }
                '}' => drop(open.pop()),
                _ => {}
            }
        }
    }
    found
}

/// Returns an item without the `pub` or `pub(…)` before it.
fn without_visibility(item: &str) -> &str {
    let Some(rest) = item.strip_prefix("pub") else { return item };
    let end = if rest.starts_with('(') { rest.find(')').map_or(0, |at| at + 1) } else { 0 };
    rest[end..].trim_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    fn found(files: &[File], allowed: &[(&str, usize)]) -> Vec<String> {
        let problems = against(files, &allowed.iter().copied().collect());
        problems
            .into_iter()
            .map(|Problem { path, line, text }| format!("{path}:{line}: {text}"))
            .collect()
    }

    #[test]
    fn a_type_is_found_in_every_form() {
        let text = "struct A;\npub(crate) enum B {\n  Struct { c: u8 },\n}\npub trait D {\n  type E;\n}\n\
                    type F = A;\npin! {\n  pub struct G { h: u8 }\n}\nfn i() {\n  struct J;\n}\n\
                    mod k {\n  pub struct L;\n}\nimpl D for A {\n  type E = u8;\n}\nlet typed = 1;\n";
        let names: Vec<_> = definitions(text).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["A", "B", "D", "F", "G", "L"]);
    }

    #[test]
    fn a_name_has_one_type() {
        let one = file("crates/a/src/b.rs", "struct Place;\n");
        let other = file("crates/c/src/d.rs", "\nenum Place {}\n");
        let text = "one word per thing: `Place` is a type in crates/a/src/b.rs:1";
        let files = [one, other];
        assert_eq!(found(&files, &[]), [format!("crates/c/src/d.rs:2: {text}")]);
        assert_eq!(found(&files, &[("Place", 2)]), Vec::<String>::new());
        assert_eq!(found(&files[..1], &[]), Vec::<String>::new());
        let left = "1 types are called `Place`, and 2 are allowed: lower it";
        assert_eq!(found(&files[..1], &[("Place", 2)]), [format!("{HERE}:1: {left}")]);
    }

    #[test]
    fn tests_may_use_any_name() {
        let files = [
            file("crates/a/src/b.rs", "struct Log;\n#[cfg(test)]\nmod tests {\n struct Log;\n}\n"),
            file("crates/a/src/c/tests.rs", "struct Log;\n"),
            file("crates/a/tests/d.rs", "struct Log;\n"),
            file("tests/src/e.rs", "struct Log;\n"),
        ];
        assert_eq!(found(&files, &[]), Vec::<String>::new());
    }
}
