//! What a program says of a service in a few words: a worker tells its master, whose own program may
//! be older. Compares; changes nothing.

use serde::{Deserialize, Serialize};

use super::Description;

/// What of a service the master settles at the start, and a reload cannot change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sketch {
    name: String,
    count: usize,
    /// The addresses, as they were described.
    listen: Vec<String>,
}

impl Sketch {
    /// Returns that of a service.
    pub(crate) fn of(description: &Description) -> Self {
        let listen = description.listeners.iter().map(|listen| listen.address.clone()).collect();
        Self { name: description.name.clone(), count: description.count, listen }
    }
}

/// Returns what a program that describes `wanted` would run otherwise than one that runs `had`: a line
/// for people each.
pub(crate) fn differences(had: &[Sketch], wanted: &[Sketch]) -> Vec<String> {
    let named = |all: &[Sketch], name: &str| all.iter().find(|one| one.name == name).cloned();
    let mut lines = Vec::new();
    for new in wanted {
        let name = &new.name;
        let Some(old) = named(had, name) else {
            lines.push(format!("{name}: the program has this service now: `restart` to start it"));
            continue;
        };
        let mut changed = |wants: String, has: String| {
            let text = format!("{name}: the program now wants {wants} and has {has}");
            lines.push(format!("{text}: `restart` to apply it"));
        };
        if new.count != old.count {
            let word = if new.count == 1 { "process" } else { "processes" };
            changed(format!("{} {word}", new.count), old.count.to_string());
        }
        if new.listen != old.listen {
            let addresses = |listen: &[String]| match listen {
                [] => "no address".to_owned(),
                some => some.join(", "),
            };
            changed(addresses(&new.listen), addresses(&old.listen));
        }
    }
    let gone = had.iter().filter(|old| named(wanted, &old.name).is_none());
    lines.extend(gone.map(|old| {
        format!("{}: the program has this service no more: `restart` to end it", old.name)
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(name: &str, count: usize, listen: &[&str]) -> Sketch {
        let listen = listen.iter().map(|&address| address.to_owned()).collect();
        Sketch { name: name.to_owned(), count, listen }
    }

    #[test]
    fn each_difference_has_a_line_that_says_what_to_do() {
        let had = [sketch("web", 2, &["[::]:80"]), sketch("old", 1, &[]), sketch("same", 1, &[])];
        assert_eq!(differences(&had, &had), Vec::<String>::new());
        let wanted = [
            sketch("web", 4, &["[::]:80", "[::]:81"]),
            sketch("same", 1, &[]),
            sketch("new", 1, &[]),
        ];
        assert_eq!(
            differences(&had, &wanted),
            [
                "web: the program now wants 4 processes and has 2: `restart` to apply it",
                "web: the program now wants [::]:80, [::]:81 and has [::]:80: `restart` to apply it",
                "new: the program has this service now: `restart` to start it",
                "old: the program has this service no more: `restart` to end it",
            ]
        );
    }
}
