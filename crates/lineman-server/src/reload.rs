//! What a reload does: the master reads file and environment anew, compares them with what is in force, and either
//! refuses all of it or has everything in force from then on. What is in force is a text that the master hands to its
//! workers (`App::hand_over`), so that no worker reads a file that was edited and not accepted yet.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use lineman::{App, BoxError, Renewed};
use serde::{Deserialize, Serialize};

use crate::configuration::Configuration;
use crate::draft::DraftService;
use crate::file::{Found, SectionValues};
use crate::settings::{Effect, SectionKind, Setting};

/// A configuration that is in force, as it travels from the master to its workers.
#[derive(Serialize, Deserialize)]
struct InForce {
    /// The file, if there is one.
    file: Option<PathBuf>,
    sections: Vec<SectionInForce>,
}

#[derive(Serialize, Deserialize)]
struct SectionInForce {
    kind: String,
    line: Option<usize>,
    values: BTreeMap<String, Found>,
}

/// Returns a configuration as a text.
pub(crate) fn write(configuration: &Configuration) -> String {
    let sections = configuration.all_sections().iter().map(|section| SectionInForce {
        kind: section.kind.name().to_owned(),
        line: section.line(),
        values: section
            .values
            .iter()
            .map(|(key, found)| ((*key).to_owned(), found.clone()))
            .collect(),
    });
    let in_force =
        InForce { file: configuration.file().map(Path::to_path_buf), sections: sections.collect() };
    serde_json::to_string(&in_force).expect("texts and numbers can be written")
}

/// Returns the configuration of a text that [`write`] made. What the table of this program does not have is left out:
/// the text may be that of another version.
///
/// # Errors
/// When it is none.
pub(crate) fn read(text: &str) -> Result<Configuration, String> {
    let InForce { file, sections } = serde_json::from_str(text)
        .map_err(|error| format!("what the master handed over is not understood: {error}"))?;
    let sections = sections.into_iter().filter_map(|SectionInForce { kind, line, values }| {
        let kind = SectionKind::ALL.into_iter().find(|known| known.name() == kind)?;
        let mut section = SectionValues::at_line(kind, line);
        let known =
            values.into_iter().filter_map(|(key, found)| Some((kind.setting(&key)?.key, found)));
        section.values.extend(known);
        Some(section)
    });
    Ok(Configuration::in_force(file, sections.collect()))
}

/// Returns the program that a configuration makes. At a reload its services go by what the master has handed over last.
pub(crate) fn app(configuration: &Configuration) -> App {
    let sections = configuration.all_sections().iter();
    let services = sections.filter(|section| section.kind.is_service());
    services.fold(configuration.bare_app(), |app, section| {
        let name = section.variable_name().to_owned();
        match section.service() {
            Some(service) => {
                let places = configuration.places_of_listeners(section);
                service.add_to(app, places, move || service_in_force(&name))
            }
            None => app,
        }
    })
}

fn service_in_force(name: &str) -> Result<DraftService, BoxError> {
    let text = lineman::handed_over().ok_or("the master has handed nothing over")?;
    let configuration = read(&text)?;
    let mut sections = configuration.all_sections().iter();
    let section =
        sections.find(|section| section.kind.is_service() && section.variable_name() == name);
    let service = section.and_then(SectionValues::service);
    Ok(service.ok_or_else(|| format!("there is no service {name:?} any more"))?)
}

/// Has workers run what is in force by now: at first `configuration`, which was read with this flag.
pub(crate) fn hand_over(configuration: Configuration, flag: Option<PathBuf>) -> App {
    let app = app(&configuration);
    let text = write(&configuration);
    // A relative one is meant from here, wherever the master is by then.
    let flag = flag.map(|path| std::path::absolute(&path).unwrap_or(path));
    let known = Rc::new(RefCell::new(configuration));
    app.hand_over(text, move || {
        let anew = Configuration::load(flag.as_deref());
        let told = compare(&known.borrow(), &anew)?;
        let text = write(&anew);
        known.replace(anew);
        Ok(Renewed { text, told })
    })
}

/// Returns what a reload puts in force, a line for each setting that has changed.
///
/// # Errors
/// What refuses the reload, a line each: what is wrong, or what needs a restart.
fn compare(known: &Configuration, anew: &Configuration) -> Result<Vec<String>, Vec<String>> {
    let problems = anew.problems();
    if !problems.is_empty() {
        return Err(problems);
    }
    let (mut told, mut refused) = (Vec::new(), Vec::new());
    for section in known.all_sections() {
        let Some(now) = anew.like(section) else {
            // The common part of a file needs no section of its own.
            if section.kind.is_service() {
                let name = section.variable_name();
                refused.push(format!(
                    "the service {name:?} is not there any more: that needs a restart"
                ));
            } else {
                compare_sections(
                    section,
                    &SectionValues::at_line(section.kind, None),
                    anew,
                    &mut told,
                    &mut refused,
                );
            }
            continue;
        };
        compare_sections(section, now, anew, &mut told, &mut refused);
    }
    for section in anew.all_sections().iter().filter(|section| known.like(section).is_none()) {
        if section.kind.is_service() {
            let (place, name) = (anew.place(&section.origin), section.variable_name());
            refused.push(format!("{place}: the service {name:?} is new: that needs a restart"));
        } else {
            compare_sections(
                &SectionValues::at_line(section.kind, None),
                section,
                anew,
                &mut told,
                &mut refused,
            );
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    // What was lacking before goes on to be: certificates beside `start --self-signed`, say.
    let before = app(known).problems();
    let mut lacking = app(anew).problems();
    lacking.retain(|problem| !before.contains(problem));
    if !lacking.is_empty() {
        return Err(lacking);
    }
    if told.is_empty() {
        told.push("no setting has changed".to_owned());
    }
    Ok(told)
}

fn compare_sections(
    before: &SectionValues,
    now: &SectionValues,
    anew: &Configuration,
    told: &mut Vec<String>,
    refused: &mut Vec<String>,
) {
    // What it says is in the sections of the services.
    if before.kind == SectionKind::Cluster {
        return;
    }
    for setting in before.kind.settings() {
        let (old, new) = (before.values.get(setting.key), now.values.get(setting.key));
        if old.map(|found| &found.value) == new.map(|found| &found.value) {
            continue;
        }
        let change =
            format!("{}.{}: {}", now.variable_name(), setting.key, change(setting, old, new));
        match setting.effect {
            Effect::InPlace => told.push(change),
            Effect::WhereSet if old.is_some() && new.is_some() => told.push(change),
            Effect::WhereSet | Effect::Restart => {
                let origin = new.map_or(&now.origin, |found| &found.origin);
                refused.push(format!("{}: {change}: that needs a restart", anew.place(origin)));
            }
        }
    }
}

/// Says what becomes of a value.
fn change(setting: &Setting, old: Option<&Found>, new: Option<&Found>) -> String {
    if setting.is_secret() {
        return "it has changed".to_owned();
    }
    let shown = |found: Option<&Found>| match found {
        Some(found) => setting.takes.shown(&found.value),
        None if setting.default.is_empty() => "none".to_owned(),
        None => setting.default.to_owned(),
    };
    format!("{} → {}", shown(old), shown(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(text: &str) -> Configuration {
        Configuration::of_text(text)
    }

    const BEFORE: &str = "[cluster]\nsecret_key = \"abc\"\n[[gateway]]\nlisten = \"text://127.0.0.1:1\"\nping_interval = 25\n";

    #[track_caller]
    fn check(after: &str, expected: Result<&[&str], &[&str]>) {
        let outcome = compare(&configuration(BEFORE), &configuration(after));
        let outcome = outcome.as_ref().map(Vec::as_slice).map_err(Vec::as_slice);
        let of = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let (right, wrong) = (expected.map(of), expected.map_err(of));
        match outcome {
            Ok(told) => assert_eq!(Ok(told.to_vec()), right.map_err(|_| ())),
            Err(refused) => assert_eq!(Err(refused.to_vec()), wrong.map(|_| ())),
        }
    }

    #[test]
    fn what_can_change_does_and_is_told() {
        check(BEFORE, Ok(&["no setting has changed"]));
        let same = BEFORE.replace("= 25", "= \"25s\"");
        check(&same, Ok(&["no setting has changed"]));
        let after = format!("{}ping_data = \"x\"\n", BEFORE.replace("25", "\"1m\""));
        check(&after, Ok(&["gateway.ping_interval: 25s → 1m", "gateway.ping_data: \"\" → \"x\""]));
        check(
            &BEFORE.replace("ping_interval = 25", ""),
            Ok(&["gateway.ping_interval: 25s → \"0s\""]),
        );
    }

    #[test]
    fn what_needs_a_restart_refuses_all_of_it() {
        let after = BEFORE.replace(":1\"", ":2\"").replace("25", "30").replace("abc", "xyz");
        check(
            &after,
            Err(&[
                "lineman.toml:4: gateway.listen: \"text://127.0.0.1:1\" → \"text://127.0.0.1:2\": that needs a restart",
                "lineman.toml:2: gateway.secret_key: it has changed: that needs a restart",
            ]),
        );
        check(
            &BEFORE.replace("[[gateway]]", "[[gateway]]\nname = \"other\""),
            Err(&[
                "the service \"gateway\" is not there any more: that needs a restart",
                "lineman.toml:3: the service \"other\" is new: that needs a restart",
            ]),
        );
        let headers = format!("{}allow.networks = []\n", BEFORE.replace("text:", "ws:"));
        let demanding = headers.replace("allow.networks = []", "allow.headers = \"X-Key: s3cret\"");
        let outcome = compare(&configuration(&headers), &configuration(&demanding));
        let told = outcome.unwrap().join("\n");
        assert!(told.contains("allow.headers: it has changed") && !told.contains("s3cret"));
        check("x", Err(&["lineman.toml:1: it is no TOML: key with no value, expected `=`"]));
    }

    #[test]
    fn what_is_in_force_travels_whole() {
        let before = configuration(BEFORE);
        let after = read(&write(&before)).unwrap();
        assert_eq!(write(&after), write(&before));
        assert_eq!(compare(&before, &after), Ok(vec!["no setting has changed".to_owned()]));
        assert!(!format!("{before:?}").contains("abc"));
    }
}
