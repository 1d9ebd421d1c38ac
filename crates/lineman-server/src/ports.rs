//! The inner ports of gateways that name none: fixed ones, which a firewall's rule can name, and no two of one file.

use std::ops::RangeInclusive;

use lineman::service::{Description, Ports};

use crate::file::{Found, SectionValues};
use crate::settings::{SectionKind, SettingValue};

/// The first of them: that of the start files in PHP.
const FIRST: u16 = 2900;

/// Gives each gateway that names no `start_port` one.
pub(crate) fn settle(sections: &mut [SectionValues]) {
    let mut taken: Vec<RangeInclusive<u16>> = sections.iter().flat_map(ports_of).collect();
    let gateways = sections.iter_mut().filter(|section| section.kind == SectionKind::Gateway);
    for section in gateways.filter(|section| !section.values.contains_key("start_port")) {
        let port = inner_port(section).or_else(|| {
            let count = section.service()?.description().count;
            let range = free(&taken, count)?;
            let port = *range.start();
            taken.push(range);
            Some(port)
        });
        if let Some(port) = port {
            let value = SettingValue::Number(port.into());
            let origin = section.origin.clone();
            section.values.insert("start_port", Found { value, origin });
        }
    }
}

/// Returns the key that says on which port links are listened for.
pub(crate) fn key_of_links(section: &SectionValues) -> &'static str {
    if inner_port(section).is_some() { "inner_listen" } else { "start_port" }
}

/// Returns the port of `inner_listen`, if it has one.
fn inner_port(section: &SectionValues) -> Option<u16> {
    section.text("inner_listen")?.rsplit_once(':')?.1.parse().ok()
}

/// Returns the first ports in a row that are not taken; none if there are not so many.
fn free(taken: &[RangeInclusive<u16>], count: usize) -> Option<RangeInclusive<u16>> {
    let more = u16::try_from(count.saturating_sub(1)).ok()?;
    let mut first = FIRST;
    loop {
        let range = first..=first.checked_add(more)?;
        let other =
            taken.iter().find(|other| other.start() <= range.end() && range.start() <= other.end());
        match other {
            Some(other) => first = other.end().checked_add(1)?,
            None => return Some(range),
        }
    }
}

/// Returns the ports that a section names.
fn ports_of(section: &SectionValues) -> Vec<RangeInclusive<u16>> {
    let health =
        section.text("health").and_then(|address| address.rsplit_once(':')?.1.parse().ok());
    let mut ports: Vec<RangeInclusive<u16>> = health.map(|port| port..=port).into_iter().collect();
    if let Some(service) = section.service() {
        let Description { listeners, count, .. } = service.description();
        for listen in listeners {
            let first = listen.endpoint().ok().and_then(|endpoint| endpoint.port());
            let more = if listen.ports == Ports::PerSlot { count.saturating_sub(1) } else { 0 };
            let more = u16::try_from(more).unwrap_or(u16::MAX);
            let named = first.filter(|port| *port != 0);
            ports.extend(named.map(|port| port..=port.saturating_add(more)));
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use crate::configuration::Configuration;
    use crate::settings::SettingValue;

    /// Checks the first port of each gateway of a file.
    #[track_caller]
    fn check(gateways: &[&str], expected: &[u64]) {
        let named = gateways.iter().enumerate().map(|(number, lines)| {
            format!(
                "[[gateway]]\nname = \"g{number}\"\nlisten = \"text://127.0.0.1:{}\"\n{lines}\n",
                7272 + number
            )
        });
        let text: String = named.collect();
        let configuration = Configuration::of_text(&text);
        assert_eq!(configuration.problems(), [""; 0], "{text}");
        let ports = configuration.all_sections().iter().map(|section| {
            match section.values.get("start_port").map(|found| &found.value) {
                Some(SettingValue::Number(port)) => *port,
                _ => panic!("{text}"),
            }
        });
        assert_eq!(ports.collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn gateways_of_a_file_do_not_collide() {
        check(&[""], &[2900]);
        check(&["count = 4", "count = 2", ""], &[2900, 2904, 2906]);
        check(&["", "start_port = 2900", "start_port = 0", "count = 9"], &[2901, 2900, 0, 2902]);
        // There is no room for three before the one that is named.
        check(&["count = 3", "start_port = 2902\ncount = 2", ""], &[2904, 2902, 2900]);
        check(&["inner_listen = \"0.0.0.0:4000\"", "inner_listen = \"0.0.0.0\""], &[4000, 2900]);
        check(&["inner_listen = \"0.0.0.0:2900\"\nstart_port = 5000", ""], &[5000, 2901]);
    }
}
