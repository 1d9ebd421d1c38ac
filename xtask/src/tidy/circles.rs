//! Arrows one way: the top-level modules of a crate import each other without circles, tests aside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Problem;
use super::files::File;
use super::rules::{crate_paths, words};
use super::source::{code, of_crate, without_tests};

/// A crate's modules, and one import for each of their arrows: file and line.
#[derive(Debug, Default)]
struct Graph<'a> {
    modules: BTreeSet<&'a str>,
    arrows: BTreeMap<(&'a str, &'a str), (&'a str, usize)>,
}

/// Returns the circles among the modules of each crate.
pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let mut crates: BTreeMap<&str, Vec<(&str, &File)>> = BTreeMap::new();
    for file in files {
        if let Some((name, within)) = of_crate(&file.path) {
            crates.entry(name).or_default().push((within, file));
        }
    }
    let mut problems = Vec::new();
    for (name, files) in crates {
        let graph = Graph::of(&files);
        problems.extend(graph.knots().iter().filter_map(|knot| graph.problem(name, knot)));
    }
    problems
}

impl<'a> Graph<'a> {
    /// Reads the files of one crate, each with its path below `src`.
    fn of(files: &[(&'a str, &'a File)]) -> Self {
        let modules = files.iter().filter_map(|(within, _)| module_path(within).first().copied());
        let mut graph = Self { modules: modules.collect(), arrows: BTreeMap::new() };
        let exports = graph.exports(files);
        for (within, file) in files {
            let path = module_path(within);
            let Some(&from) = path.first() else { continue };
            let code = without_tests(&code(&file.text));
            // So many steps up is the crate's root.
            let code = code.replace(&"super::".repeat(path.len()), "crate::");
            for (line, name) in crate_paths(&code) {
                let module = graph.modules.get(name.as_str()).copied();
                let to = module.or_else(|| exports.get(&name).copied());
                if let Some(to) = to.filter(|to| *to != from) {
                    graph.arrows.entry((from, to)).or_insert((file.path.as_str(), line));
                }
            }
        }
        graph
    }

    /// Returns the modules behind the names that the crate's root re-exports.
    fn exports(&self, files: &[(&'a str, &'a File)]) -> BTreeMap<String, &'a str> {
        let mut exports = BTreeMap::new();
        let Some((_, root)) = files.iter().find(|(within, _)| *within == "lib.rs") else {
            return exports;
        };
        let code = without_tests(&code(&root.text));
        // At the beginning of a line: what an inline module re-exports is not the root's.
        let uses = code.split("\npub use ").skip(1).filter_map(|item| item.split(';').next());
        for (module, names) in uses.filter_map(|item| item.split_once("::")) {
            let Some(&module) = self.modules.get(module) else { continue };
            let names = names.split([',', '{', '}']).filter_map(|name| words(name.trim()).last());
            exports.extend(names.map(|name| (name.to_owned(), module)));
        }
        exports
    }

    /// Returns the modules that a module imports.
    fn from(&self, module: &'a str) -> impl Iterator<Item = &'a str> {
        let arrows = self.arrows.keys().filter(move |(from, _)| *from == module);
        arrows.map(|(_, to)| *to)
    }

    /// Returns the shortest way along the arrows from a module back to itself, which ends it.
    fn circle(&self, module: &'a str) -> Option<Vec<&'a str>> {
        let mut seen = BTreeSet::new();
        let mut ways = VecDeque::from([vec![module]]);
        while let Some(way) = ways.pop_front() {
            let last = way.last().copied().unwrap_or(module);
            for next in self.from(last) {
                let way: Vec<&str> = way.iter().copied().chain([next]).collect();
                if next == module {
                    return Some(way);
                }
                if seen.insert(next) {
                    ways.push_back(way);
                }
            }
        }
        None
    }

    /// Returns all modules that can be reached along the arrows.
    fn reached(&self, module: &'a str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut left = vec![module];
        while let Some(module) = left.pop() {
            left.extend(self.from(module).filter(|next| reached.insert(*next)));
        }
        reached
    }

    /// Returns the sets of modules each of which reaches every other.
    fn knots(&self) -> BTreeSet<BTreeSet<&'a str>> {
        let ways: BTreeMap<&str, BTreeSet<&'a str>> =
            self.modules.iter().map(|module| (*module, self.reached(module))).collect();
        let tied = ways.iter().map(|(module, ahead)| {
            let back = |other: &&&str| ways.get(**other).is_some_and(|ways| ways.contains(module));
            ahead.iter().filter(back).copied().collect()
        });
        tied.filter(|knot: &BTreeSet<&str>| !knot.is_empty()).collect()
    }

    /// Says what the shortest circle of a knot is, and where each of its arrows comes from.
    fn problem(&self, name: &str, knot: &BTreeSet<&'a str>) -> Option<Problem> {
        let circle = knot.iter().filter_map(|module| self.circle(module)).min_by_key(Vec::len)?;
        let tied: Vec<&str> = knot.iter().copied().collect();
        let (circle_text, tied) = (circle.join(" -> "), tied.join(", "));
        let mut text = format!("{name}: a circle of modules: {circle_text} (all in one: {tied})");
        let arrows = circle.iter().zip(circle.iter().skip(1));
        let places = arrows.filter_map(|(from, to)| {
            let (path, line) = self.arrows.get(&(*from, *to))?;
            Some((*path, *line, format!("\n  {from} -> {to}: {path}:{line}")))
        });
        let places: Vec<_> = places.collect();
        text.extend(places.iter().map(|(_, _, shown)| shown.as_str()));
        let (path, line, _) = places.first()?;
        Some(Problem { path: (*path).to_owned(), line: *line, text })
    }
}

/// Returns the modules that lead to a file, the outermost first; none for the root.
fn module_path(within: &str) -> Vec<&str> {
    let mut path: Vec<&str> = within.trim_end_matches(".rs").split('/').collect();
    if path.last().is_some_and(|last| ["mod", "lib", "main"].contains(last)) {
        path.pop();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = files
            .iter()
            .map(|(path, text)| File { path: format!("crates/a/src/{path}"), text: (*text).into() })
            .collect();
        check(&files).into_iter().map(|problem| problem.text).collect()
    }

    const TABLE: (&str, &str) = ("table/mod.rs", "use crate::timer::Timer;\n");

    #[test]
    fn a_circle_is_told_with_an_import_for_each_arrow() {
        let timer = ("timer.rs", "//! Head.\nuse crate::{error::Error, log};\n");
        let log = ("log/sink.rs", "fn f() { crate::table::g() }\n");
        let error = ("error.rs", "");
        assert_eq!(
            found(&[TABLE, timer, log, error]),
            [
                "a: a circle of modules: log -> table -> timer -> log (all in one: log, table, timer)\n  \
              log -> table: crates/a/src/log/sink.rs:1\n  \
              table -> timer: crates/a/src/table/mod.rs:1\n  \
              timer -> log: crates/a/src/timer.rs:2"
            ]
        );
        assert_eq!(found(&[TABLE, timer, error]), Vec::<String>::new());
    }

    #[test]
    fn arrows_by_super_and_by_the_root_count() {
        let circle = "a: a circle of modules: table -> timer -> table";
        let root =
            ("lib.rs", "mod cli {\n  use x::y;\n}\npub use table::{Table, Entry as Line};\n");
        for timer in [
            ("timer.rs", "use super::table::Table;\n"),
            ("timer/every.rs", "use super::super::table::Table;\n"),
            ("timer.rs", "use crate::Table;\n"),
            ("timer.rs", "use crate::{Line, other};\n"),
        ] {
            let found = found(&[root, TABLE, timer]);
            assert_eq!(found.len(), 1, "{timer:?}");
            assert!(found[0].starts_with(circle), "{found:?}");
        }
        let inside = ("timer/every.rs", "use super::table::Table;\nuse crate::timer::x;\n");
        assert_eq!(found(&[root, TABLE, inside]), Vec::<String>::new());
    }

    #[test]
    fn what_tests_import_makes_no_circle() {
        let tested = "#[cfg(test)]\nmod tests {\n  use crate::table::Table;\n}\n";
        let files = [TABLE, ("timer.rs", tested), ("timer/tests.rs", "use crate::table::Table;\n")];
        assert_eq!(found(&files), Vec::<String>::new());
    }
}
