//! The rules, one function each.

use std::path::Path;

use super::Problem;
use super::files::File;
use super::source::code;

/// A file past this usually holds two things.
const LONGEST_FILE: usize = 500;

/// Modules that must not know each other: the folder, and what nothing in it may reach through `crate::`:
/// modules, and what the crate's root re-exports of them.
const STRANGERS: [(&str, &[&str]); 3] = [
    ("crates/lineman-master/src/process", &["master", "command"]),
    // A gateway runs no user code, a business owns no client's socket.
    (
        "crates/lineman-gateway/src/gateway",
        &[
            "events",
            "Events",
            "hub",
            "Answers",
            "Hub",
            "HubError",
            "IntoMessage",
            "Json",
            "business",
            "Business",
            "cluster",
            "mesh",
        ],
    ),
    (
        "crates/lineman-gateway/src/business",
        &["gateway", "Gateway", "MessageType", "Prefer", "Router", "SlowClient"],
    ),
];

/// Who may ask for the path of the command line's socket: its two ends, and those who have it served.
const AT_THE_SOCKET: [&str; 3] = [
    "crates/lineman-master/src/control/",
    "crates/lineman-master/src/master/mod.rs",
    "crates/lineman-master/src/master/runtime_files.rs",
];

/// Calls that end or signal a process; in the framework they are the master's.
const SIGNALLING: [&str; 4] =
    ["kill_process", "kill_process_group", "pidfd_send_signal", "start_kill"];

/// The crates that make up the framework: what they do to processes and sockets has its place.
const FRAMEWORK: [&str; 4] = [
    "crates/lineman/src/",
    "crates/lineman-connection/src/",
    "crates/lineman-master/src/",
    "crates/lineman-os/src/",
];

/// What a crate must not depend on, not even for its tests: for the wire, crates that do I/O or know a
/// clock; for the halves of the framework, each other and what stands above them.
const NOT_FOR: [(&str, &[&str]); 4] = [
    ("lineman-wire", &["tokio", "mio", "socket2", "lineman-os", "lineman"]),
    ("lineman-os", &["lineman-wire", "lineman-connection", "lineman-master", "lineman"]),
    ("lineman-connection", &["lineman-master", "lineman"]),
    ("lineman-master", &["lineman-connection", "lineman"]),
];

/// What is left behind by mistake; cut in two, so that this file may name it.
const LEFTOVERS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Places of somebody's machine.
const MACHINE_PATHS: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Returns what is wrong with a file.
pub(super) fn check(file: &File) -> Vec<Problem> {
    let mut problems = Vec::new();
    nothing_left_behind(file, &mut problems);
    dependencies(file, &mut problems);
    if Path::new(&file.path).extension().is_some_and(|kind| kind == "rs") {
        let code = code(&file.text);
        head(file, &mut problems);
        length(file, &mut problems);
        strangers(file, &code, &mut problems);
        strangers_by_the_root(file, &code, &mut problems);
        only_os_is_unsafe(file, &code, &mut problems);
        only_master_signals(file, &code, &mut problems);
        only_control_speaks(file, &code, &mut problems);
    }
    problems
}

fn report(problems: &mut Vec<Problem>, file: &File, line: usize, text: String) {
    problems.push(Problem { path: file.path.clone(), line, text });
}

fn head(file: &File, problems: &mut Vec<Problem>) {
    if !file.text.starts_with("//!") {
        let text = "begin the file with `//!`: what it is, who calls it, what it never does";
        report(problems, file, 1, text.to_owned());
    }
}

fn length(file: &File, problems: &mut Vec<Problem>) {
    let lines = file.text.lines().count();
    if lines > LONGEST_FILE {
        let text = format!("{lines} lines, and {LONGEST_FILE} are the limit: look for the seam");
        report(problems, file, lines, text);
    }
}

fn nothing_left_behind(file: &File, problems: &mut Vec<Problem>) {
    for (number, line) in (1..).zip(file.text.lines()) {
        for leftover in LEFTOVERS {
            if words(line).any(|word| word == leftover) {
                let text = format!("{leftover}: do it, or open an issue");
                report(problems, file, number, text);
            }
        }
        for place in MACHINE_PATHS {
            if line.contains(place) {
                let text = format!("{place}… is a path of one machine");
                report(problems, file, number, text);
            }
        }
    }
}

fn dependencies(file: &File, problems: &mut Vec<Problem>) {
    let path = file.path.strip_prefix("crates/").and_then(|path| path.strip_suffix("/Cargo.toml"));
    let Some((package, strangers)) = NOT_FOR.iter().find(|(package, _)| path == Some(package))
    else {
        return;
    };
    for (number, line) in (1..).zip(file.text.lines()) {
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
        if strangers.contains(&name) {
            report(problems, file, number, format!("{package} must not depend on {name}"));
        }
    }
}

fn strangers(file: &File, code: &str, problems: &mut Vec<Problem>) {
    for (folder, strangers) in STRANGERS {
        let inside =
            file.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(['/', '.']));
        if !inside {
            continue;
        }
        for (line, name) in crate_paths(code) {
            if strangers.contains(&name.as_str()) {
                report(problems, file, line, format!("{folder} must not know `{name}`"));
            }
        }
    }
}

/// What a crate's root re-exports of a stranger is a stranger, too.
fn strangers_by_the_root(file: &File, code: &str, problems: &mut Vec<Problem>) {
    let Some(sources) = file.path.strip_suffix("lib.rs") else { return };
    let known = STRANGERS.iter().filter(|(folder, _)| folder.starts_with(sources));
    for (folder, strangers) in known {
        for (at, prefix) in code.match_indices("\npub use ") {
            let statement = code[at + prefix.len()..].split(';').next().unwrap_or_default();
            let Some((module, names)) = statement.split_once("::") else { continue };
            if !strangers.contains(&module) {
                continue;
            }
            let names = names.split([',', '{', '}']).filter_map(|name| words(name.trim()).last());
            for name in names.filter(|name| !name.is_empty() && !strangers.contains(name)) {
                let line = code[..=at].lines().count() + 1;
                let text = format!("{folder} must not know `{name}`: add it to tidy's STRANGERS");
                report(problems, file, line, text);
            }
        }
    }
}

fn only_os_is_unsafe(file: &File, code: &str, problems: &mut Vec<Problem>) {
    if file.path.starts_with("crates/lineman-os/src/") {
        return;
    }
    for (number, line) in (1..).zip(code.lines()) {
        if words(line).any(|word| word == "unsafe") {
            let text = "unsafe code belongs to crates/lineman-os/src";
            report(problems, file, number, text.to_owned());
        }
    }
}

fn only_master_signals(file: &File, code: &str, problems: &mut Vec<Problem>) {
    if !is_framework(file) || file.path.starts_with("crates/lineman-master/src/master") {
        return;
    }
    for (number, line) in (1..).zip(code.lines()) {
        if words(line).any(|word| SIGNALLING.contains(&word)) {
            let text = "only crates/lineman-master/src/master signals processes";
            report(problems, file, number, text.to_owned());
        }
    }
}

fn only_control_speaks(file: &File, code: &str, problems: &mut Vec<Problem>) {
    if !is_framework(file) || AT_THE_SOCKET.iter().any(|place| file.path.starts_with(place)) {
        return;
    }
    for (number, line) in (1..).zip(code.lines()) {
        if line.contains(".socket()") {
            let text = "only crates/lineman-master/src/control speaks with the command line";
            report(problems, file, number, text.to_owned());
        }
    }
}

fn is_framework(file: &File) -> bool {
    FRAMEWORK.iter().any(|folder| file.path.starts_with(folder))
}

pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character: char| !character.is_alphanumeric() && character != '_')
}

/// Returns the modules that code reaches through `crate::`, with their lines.
pub(super) fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let line = code[..at].lines().count().max(1);
        let behind = code[at + prefix.len()..].trim_start();
        match behind.strip_prefix('{') {
            Some(list) => paths.extend(top_level(list).map(|entry| (line, first_word(entry)))),
            None => paths.push((line, first_word(behind))),
        }
    }
    paths
}

pub(super) fn first_word(text: &str) -> String {
    words(text.trim_start()).next().unwrap_or_default().to_owned()
}

/// Splits `a::{b, c}, d}…` into `a::{b, c}` and `d`.
fn top_level(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let mut start = 0;
    let mut entries = Vec::new();
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                entries.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                entries.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    entries.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&file)
            .into_iter()
            .map(|problem| format!("{}: {}", problem.line, problem.text))
            .collect()
    }

    fn check_problem(path: &str, text: &str, expected: &str) {
        let found = problems(path, text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(expected), "{found:?}");
    }

    #[test]
    fn a_file_has_a_head_and_an_end() {
        assert_eq!(problems("a.rs", "//! Head.\n"), Vec::<String>::new());
        check_problem("a.rs", "fn main() {}\n", "1: begin the file");
        check_problem("a.rs", &format!("//! Head.\n{}", "\n".repeat(500)), "501: 501 lines");
    }

    #[test]
    fn nothing_is_left_behind() {
        check_problem("a.md", &format!("one\nsay {} two\n", LEFTOVERS[0]), "2: ");
        check_problem("a.md", &format!("see {}x\n", MACHINE_PATHS[0]), "1: ");
        assert_eq!(problems("a.md", "todo: a mastodon\n"), Vec::<String>::new());
    }

    #[test]
    fn signals_are_the_masters() {
        let text = "//! Head.\nuse rustix::process::kill_process;\n";
        check_problem(
            "crates/lineman-master/src/command/stop.rs",
            text,
            "2: only crates/lineman-master/src/master",
        );
        check_problem("crates/lineman/src/app.rs", text, "2: only crates/lineman-master");
        assert_eq!(
            problems("crates/lineman-master/src/master/stop.rs", text),
            Vec::<String>::new()
        );
    }

    #[test]
    fn strangers_are_found_in_every_form_of_path() {
        let path = "crates/lineman-master/src/process/mod.rs";
        let known = "2: crates/lineman-master/src/process must not know `master`";
        check_problem(path, "//! Head.\nuse crate::master::Plan;\n", known);
        check_problem(path, "//! Head.\nuse crate::{os::{a, b}, master};\n", known);
        check_problem(path, "//! Head.\nfn f(p: &crate::master::Plan) {}\n", known);
        let fine = "//! Head.\nuse crate::control::master;\n// crate::master\n";
        assert_eq!(problems(path, fine), Vec::<String>::new());
        let elsewhere = "//! Head.\nuse crate::master::Plan;\n";
        let path = "crates/lineman-master/src/command/mod.rs";
        assert_eq!(problems(path, elsewhere), Vec::<String>::new());
    }

    #[test]
    fn strangers_are_known_by_the_names_of_the_root() {
        let path = "crates/lineman-gateway/src/business/mod.rs";
        let known = "2: crates/lineman-gateway/src/business must not know `SlowClient`";
        check_problem(path, "//! Head.\nuse crate::{Client, SlowClient};\n", known);
        let root = "crates/lineman-gateway/src/lib.rs";
        let fine = "//! Head.\npub use gateway::{Gateway, SlowClient};\npub use app::App;\n";
        assert_eq!(problems(root, fine), Vec::<String>::new());
        let text = "//! Head.\n\npub use gateway::{Gateway, Entry as Line};\n";
        check_problem(root, text, "3: crates/lineman-gateway/src/business must not know `Line`");
    }

    #[test]
    fn the_command_line_is_controls() {
        let text = "//! Head.\nfn f(folder: &Folder) { UnixStream::connect(folder.socket()) }\n";
        check_problem(
            "crates/lineman-master/src/command/stop.rs",
            text,
            "2: only crates/lineman-master/src/control",
        );
        assert_eq!(
            problems("crates/lineman-master/src/control/client.rs", text),
            Vec::<String>::new()
        );
    }

    #[test]
    fn unsafe_code_has_one_place() {
        let text = "//! Head.\nfn f() { unsafe { g() } }\n";
        check_problem("crates/lineman-connection/src/timer.rs", text, "2: unsafe code");
        assert_eq!(problems("crates/lineman-os/src/read.rs", text), Vec::<String>::new());
        let spoken = "//! unsafe\n#![deny(unsafe_code)]\nconst A: &str = \"unsafe\";\n";
        assert_eq!(problems("a.rs", spoken), Vec::<String>::new());
    }

    #[test]
    fn the_halves_do_not_know_each_other() {
        let path = "crates/lineman-master/Cargo.toml";
        let text =
            "[dependencies]\nlineman-os.workspace = true\nlineman-connection.workspace = true\n";
        check_problem(path, text, "3: lineman-master must not depend on lineman-connection");
        let text = "[dev-dependencies]\nlineman = { path = \"../lineman\" }\n";
        check_problem("crates/lineman-connection/Cargo.toml", text, "2: lineman-connection");
        let text = "[dependencies]\nlineman-connection.workspace = true\n";
        assert_eq!(problems("crates/lineman/Cargo.toml", text), Vec::<String>::new());
    }

    #[test]
    fn wire_has_no_sockets() {
        let path = "crates/lineman-wire/Cargo.toml";
        check_problem(path, "[dependencies]\ntokio.workspace = true\n", "2: lineman-wire");
        check_problem(path, "[dependencies]\nmio = \"1\"\n", "2: lineman-wire");
        assert_eq!(
            problems(path, "[dependencies]\nbytes.workspace = true\n"),
            Vec::<String>::new()
        );
    }
}
