//! The drawing of the crates in `ARCHITECTURE.md` says what their manifests say.
//!
//! It is a block fenced as `crates`, with a line for each crate: `lineman -> lineman-wire`, those it
//! depends on after the arrow, or the name alone. Dependencies of tests do not count.

use std::collections::{BTreeMap, BTreeSet};

use super::Problem;
use super::files::File;

/// Where the drawing is.
const PAGE: &str = "ARCHITECTURE.md";

/// What opens the block.
const FENCE: &str = "```crates";

/// The crates, and those that each depends on.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Compares the drawing with the manifests.
pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else { return Vec::new() };
    let Some((line, drawn)) = drawn(&page.text) else {
        let text = format!("the drawing of the crates is missing: a block that {FENCE} opens");
        return vec![Problem { path: PAGE.to_owned(), line: 1, text }];
    };
    let built = built(files);
    let names: BTreeSet<&String> = drawn.keys().chain(built.keys()).collect();
    let differing = names.into_iter().filter(|name| drawn.get(*name) != built.get(*name));
    let problems = differing.map(|name| {
        let text = match built.get(name) {
            Some(crates) => format!("the line of {name} has to be `{}`", line_of(name, crates)),
            None => format!("there is no crate {name}"),
        };
        Problem { path: PAGE.to_owned(), line, text }
    });
    problems.collect()
}

fn line_of(name: &str, crates: &BTreeSet<String>) -> String {
    let crates: Vec<&str> = crates.iter().map(String::as_str).collect();
    if crates.is_empty() { name.to_owned() } else { format!("{name} -> {}", crates.join(", ")) }
}

/// Returns the drawing, and the line it begins at.
fn drawn(page: &str) -> Option<(usize, Graph)> {
    let at = page.lines().position(|line| line == FENCE)?;
    let lines = page.lines().skip(at + 1).take_while(|line| *line != "```");
    let arrows = lines.map(|line| {
        let (name, crates) = line.split_once("->").unwrap_or((line, ""));
        let crates = crates.split(',').map(|name| name.trim().to_owned());
        (name.trim().to_owned(), crates.filter(|name| !name.is_empty()).collect())
    });
    Some((at + 1, arrows.collect()))
}

/// Returns what the manifests say.
fn built(files: &[File]) -> Graph {
    let manifests = files.iter().filter_map(|file| {
        let name = file.path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
        Some((name, file))
    });
    let manifests: BTreeMap<&str, &File> = manifests.collect();
    let dependencies = |file: &File| {
        let lines = file.text.lines().skip_while(|line| *line != "[dependencies]").skip(1);
        let lines = lines.take_while(|line| !line.starts_with('['));
        let names = lines.filter_map(|line| line.split(['.', '=', ' ']).next());
        names.filter(|name| manifests.contains_key(name)).map(str::to_owned).collect()
    };
    manifests.iter().map(|(name, file)| ((*name).to_owned(), dependencies(file))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(block: &str) -> Vec<String> {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let top = "[dependencies]\nbase.workspace = true\nserde = \"1\"\n\n[dev-dependencies]\n\
                   side.workspace = true\n";
        let files = [
            file(PAGE, &format!("# Page\n\n{block}\nMore.\n")),
            file("crates/base/Cargo.toml", "[dependencies]\nserde = \"1\"\n"),
            file("crates/side/Cargo.toml", "[dependencies]\nbase = { path = \"../base\" }\n"),
            file("crates/top/Cargo.toml", top),
        ];
        check(&files).into_iter().map(|found| format!("{}: {}", found.line, found.text)).collect()
    }

    #[test]
    fn the_drawing_is_as_it_is_built() {
        let block = "```crates\nbase\nside -> base\ntop -> base\n```";
        assert_eq!(found(block), Vec::<String>::new());
    }

    #[test]
    fn each_difference_says_how_the_line_should_be() {
        let block = "```crates\nbase -> top\ntop  ->  side, base\nold -> base\n```";
        assert_eq!(
            found(block),
            [
                "3: the line of base has to be `base`",
                "3: there is no crate old",
                "3: the line of side has to be `side -> base`",
                "3: the line of top has to be `top -> base`",
            ]
        );
    }
}
