//! Environment variables that say what the file says, or in its place: `LINEMAN_`, the section or the service's name,
//! and the key, in capitals, `_` for what is neither a letter nor a digit.

use std::ffi::OsString;

use lineman::cli;

use crate::fault::{ConfigFault, ValueOrigin, nearest};
use crate::file::SectionValues;
use crate::settings::{SectionKind, part_of_variable};

const PREFIX: &str = "LINEMAN_";

/// The file, as `--config`.
pub(crate) const CONFIG: &str = "LINEMAN_CONFIG";

/// Returns the variables of this process that may be settings.
pub(crate) fn variables() -> Vec<(String, OsString)> {
    let ours =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let ours = ours.filter(|(name, _)| name.starts_with(PREFIX) && name != CONFIG);
    let mut ours: Vec<_> = ours.filter(|(name, _)| !cli::is_variable(name)).collect();
    ours.sort();
    ours
}

/// Returns whether these alone make a service where there is no file.
pub(crate) fn make_services(variables: &[(String, OsString)]) -> bool {
    let services = [SectionKind::Register, SectionKind::Gateway];
    services.into_iter().any(|kind| variables.iter().any(|(name, _)| *name == listen_of(kind)))
}

fn listen_of(kind: SectionKind) -> String {
    format!("{PREFIX}{}_LISTEN", part_of_variable(kind.name()))
}

/// Adds sections for what the variables describe where there is no file.
pub(crate) fn add_services(variables: &[(String, OsString)], sections: &mut Vec<SectionValues>) {
    for kind in [SectionKind::Register, SectionKind::Gateway] {
        let name = listen_of(kind);
        if variables.iter().any(|(variable, _)| *variable == name) {
            sections.push(SectionValues::new(kind, ValueOrigin::Variable(name)));
        }
    }
}

/// Puts the values of the variables into the sections; returns what is wrong with them.
pub(crate) fn apply(
    variables: &[(String, OsString)],
    sections: &mut Vec<SectionValues>,
) -> Vec<ConfigFault> {
    let mut faults = Vec::new();
    for (variable, value) in variables {
        let origin = ValueOrigin::Variable(variable.clone());
        let Some(value) = value.to_str() else {
            faults.push(ConfigFault::at(&origin, "", "its value is not UTF-8"));
            continue;
        };
        match target(variable, sections) {
            Some((section, key)) => {
                let kind = sections.get(section).map(|section| section.kind);
                let setting = kind.and_then(|kind| kind.setting(key));
                let (Some(setting), Some(section)) = (setting, sections.get_mut(section)) else {
                    continue;
                };
                faults.extend(section.take(setting, &setting.takes.raw_of_text(value), origin));
            }
            None => faults.push(ConfigFault::at(&origin, "", unknown(variable, sections))),
        }
    }
    faults
}

/// Returns the section and the key that a variable is for.
fn target(variable: &str, sections: &mut Vec<SectionValues>) -> Option<(usize, &'static str)> {
    for kind in [SectionKind::Program, SectionKind::Cluster] {
        if sections.iter().all(|section| section.kind != kind)
            && key(variable, kind.name(), kind).is_some()
        {
            sections.push(SectionValues::new(kind, ValueOrigin::Variable(variable.to_owned())));
        }
    }
    sections.iter().enumerate().find_map(|(index, section)| {
        Some((index, key(variable, section.variable_name(), section.kind)?))
    })
}

/// Returns the key of a section of this name that a variable is for.
fn key(variable: &str, name: &str, kind: SectionKind) -> Option<&'static str> {
    let rest =
        variable.strip_prefix(PREFIX)?.strip_prefix(&part_of_variable(name))?.strip_prefix('_')?;
    // A service's name would not be found any more under its new one.
    let mut settings =
        kind.settings().filter(|setting| !(kind.is_service() && setting.key == "name"));
    settings.find(|setting| setting.variable() == rest).map(|setting| setting.key)
}

fn unknown(variable: &str, sections: &[SectionValues]) -> String {
    let program = (SectionKind::Program.name(), SectionKind::Program);
    let cluster = (SectionKind::Cluster.name(), SectionKind::Cluster);
    let services = sections.iter().map(|section| (section.variable_name(), section.kind));
    let known = services.chain([program, cluster]).flat_map(|(name, kind)| {
        let name = part_of_variable(name);
        kind.settings().map(move |setting| format!("{PREFIX}{name}_{}", setting.variable()))
    });
    let known: Vec<String> = known.chain(cli::variables().map(str::to_owned)).collect();
    let hint = nearest(variable, known.iter().map(String::as_str));
    let hint = hint.map_or_else(String::new, |near| format!(" (hint: {near} is one)"));
    format!("it is no setting of any service here{hint}")
}
