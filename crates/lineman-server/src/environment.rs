//! Environment variables that say what the file says, or in its place: `LINEMAN_`, the section or the service's name,
//! and the key, in capitals, `_` for what is neither a letter nor a digit.

use std::ffi::OsString;

use lineman::cli;

use crate::fault::{ConfigFault, ValueOrigin, nearest};
use crate::file::{Found, SectionValues};
use crate::relations::ALTERNATIVES;
use crate::settings::{SectionKind, Setting, part_of_variable};

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
                replace_alternative(section, key);
            }
            None if is_of_a_service_link(variable, value) => {}
            None => faults.push(ConfigFault::at(&origin, "", unknown(variable, sections))),
        }
    }
    faults
}

/// Takes out what the file has in the place of a setting that a variable has now set.
fn replace_alternative(section: &mut SectionValues, key: &str) {
    let pairs = || ALTERNATIVES.iter().flat_map(|&[one, other]| [(one, other), (other, one)]);
    for (_, other) in pairs().filter(|(one, _)| *one == key) {
        let of_file = |found: &Found| matches!(found.origin, ValueOrigin::Line(_));
        if section.values.get(other).is_some_and(of_file) {
            section.values.remove(other);
        }
    }
}

/// Returns whether Kubernetes, or a link of Docker's, has set a variable: these tell each container of a service named
/// `lineman` by `LINEMAN_SERVICE_HOST`, `LINEMAN_PORT=tcp://10.0.0.1:7272`, `LINEMAN_PORT_7272_TCP_ADDR`.
fn is_of_a_service_link(variable: &str, value: &str) -> bool {
    let of_port = |(_, rest): (&str, &str)| {
        let mut parts = rest.split('_');
        let is_number = |part: &str| part.parse::<u16>().is_ok();
        parts.next().is_some_and(is_number) && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
    };
    variable.ends_with("_SERVICE_HOST")
        || variable.ends_with("_SERVICE_PORT")
        || variable.contains("_SERVICE_PORT_")
        || variable.ends_with("_PORT") && value.contains("://")
        || variable.rsplit_once("_PORT_").is_some_and(of_port)
        || variable.split_once("_PORT_").is_some_and(of_port)
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
    settable(kind).find(|setting| setting.variable() == rest).map(|setting| setting.key)
}

/// Returns the settings of a section that variables can set.
fn settable(kind: SectionKind) -> impl Iterator<Item = &'static Setting> {
    // A service's name would not be found any more under its new one.
    kind.settings().filter(move |setting| !(kind.is_service() && setting.key == "name"))
}

fn unknown(variable: &str, sections: &[SectionValues]) -> String {
    let rest = variable.strip_prefix(PREFIX).unwrap_or(variable);
    let own = |section: &SectionValues| rest == format!("{}_NAME", part(section));
    if sections.iter().any(|section| section.kind.is_service() && own(section)) {
        return "a service is named in the file alone: variables know it by that name".to_owned();
    }
    let whole = [SectionKind::Program, SectionKind::Cluster];
    let whole = whole.into_iter().map(|kind| (part_of_variable(kind.name()), kind));
    let services = sections.iter().filter(|section| section.kind.is_service());
    let parts = whole.chain(services.map(|section| (part(section), section.kind)));
    let known: Vec<(String, String)> = parts
        .flat_map(|(name, kind)| {
            let keys = settable(kind).map(Setting::variable);
            keys.map(move |key| (format!("{name}_{key}"), format!("_{key}")))
        })
        .collect();
    // The setting may be right, and the section not.
    let of_setting = known.iter().filter(|(_, key)| variable.ends_with(&**key));
    let of_setting = of_setting.rev().max_by_key(|(_, key)| key.len()).map(|(name, _)| &**name);
    let framework = cli::variables().filter_map(|name| name.strip_prefix(PREFIX));
    let near = || nearest(rest, known.iter().map(|(name, _)| &**name).chain(framework));
    let hint = of_setting.or_else(near);
    let hint = hint.map_or_else(String::new, |near| format!(" (hint: {PREFIX}{near} is one)"));
    format!("it is no setting of any service here{hint}")
}

/// Returns how variables name a section.
fn part(section: &SectionValues) -> String {
    part_of_variable(section.variable_name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file;

    /// Returns what these variables make of a file, and what is wrong with them.
    fn applied(text: &str, variables: &[(&str, &str)]) -> (Vec<SectionValues>, Vec<String>) {
        let (mut sections, _) = file::sections(text);
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), value.into()));
        let faults = apply(&owned.collect::<Vec<_>>(), &mut sections);
        (sections, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_variable_takes_the_place_of_the_alternative_in_the_file() {
        for [first, second] in ALTERNATIVES {
            for (of_file, of_variable) in [(first, second), (second, first)] {
                let example = |key: &&str| {
                    let setting = SectionKind::Gateway.setting(key).unwrap();
                    [setting.default, setting.example].concat()
                };
                let text = format!("[[gateway]]\n{of_file} = {}", example(of_file));
                let variable = format!("LINEMAN_GATEWAY_{}", part_of_variable(of_variable));
                let value = example(of_variable);
                let (sections, faults) = applied(&text, &[(&variable, value.trim_matches('"'))]);
                assert_eq!(faults, [""; 0]);
                let keys: Vec<_> = sections[0].values.keys().collect();
                assert_eq!(keys, [of_variable]);
            }
        }
    }

    #[test]
    fn what_kubernetes_tells_of_a_service_is_passed_over() {
        let links = [
            ("LINEMAN_SERVICE_HOST", "10.0.0.1"),
            ("LINEMAN_SERVICE_PORT", "7272"),
            ("LINEMAN_SERVICE_PORT_WS", "7272"),
            ("LINEMAN_PORT", "tcp://10.0.0.1:7272"),
            ("LINEMAN_PORT_7272_TCP", "tcp://10.0.0.1:7272"),
            ("LINEMAN_PORT_7272_TCP_PROTO", "tcp"),
            ("LINEMAN_PORT_7272_TCP_PORT", "7272"),
            ("LINEMAN_GATEWAY_PORT_53_UDP_ADDR", "10.0.0.1"),
        ];
        assert_eq!(applied("[[gateway]]", &links).1, [""; 0]);
        for wrong in [("LINEMAN_PORT", "7272"), ("LINEMAN_GATEWAY_PORT_X", "1")] {
            assert_eq!(applied("[[gateway]]", &[wrong]).1.len(), 1, "{wrong:?}");
        }
        let (sections, _) = applied("[[gateway]]", &[("LINEMAN_GATEWAY_START_PORT", "4000")]);
        assert!(sections[0].values.contains_key("start_port"));
    }

    #[test]
    fn a_wrong_variable_is_told_with_the_one_that_is_meant() {
        for (variable, expected) in [
            ("LINEMAN_GATEWAY_LISTN", "(hint: LINEMAN_GATEWAY_LISTEN is one)"),
            ("LINEMAN_SECRET_KEY", "(hint: LINEMAN_CLUSTER_SECRET_KEY is one)"),
            ("LINEMAN_COUNT", "(hint: LINEMAN_GATEWAY_COUNT is one)"),
            ("LINEMAN_LOGG", "(hint: LINEMAN_LOG is one)"),
            ("LINEMAN_GATEWAY_NAME", "named in the file alone: variables know it by that name"),
            ("LINEMAN_XYZ", "it is no setting of any service here"),
        ] {
            let (_, faults) = applied("[[gateway]]", &[(variable, "x")]);
            assert!(faults[0].ends_with(expected), "{faults:?}");
        }
    }
}
