//! What one setting cannot say alone: that it needs another one, or that two do not go together.

use std::collections::BTreeMap;
use std::path::Path;

use crate::fault::ConfigFault;
use crate::file::{Found, SectionValues};
use crate::settings::{SectionKind, SettingValue, part_of_variable};

/// One relation within a section: returns the key it is said of, and what is wrong.
type Relation = fn(&SectionValues) -> Option<(&'static str, String)>;

const RELATIONS: &[Relation] = &[
    tls_needs_both,
    as_many_keys_as_certificates,
    client_certificates_need_authorities,
    link_certificates_need_all_files,
    wss_needs_a_certificate,
    proxies_need_trust,
    trust_needs_a_way_of_telling,
    pages_need_a_folder,
    of_websockets_alone,
    a_hook_asks_something,
    fastcgi_needs_a_script,
    authorities_are_of_https,
];

/// Settings of which a section has the one or the other.
pub(crate) const ALTERNATIVES: &[[&str; 2]] = &[
    ["secret_key", "secret_key_file"],
    ["pages.folder", "pages.redirect"],
    ["count", "per_core"],
    ["connect_hook.url", "connect_hook.fastcgi"],
];

/// Returns what is wrong with the sections together.
pub(crate) fn check(sections: &[SectionValues]) -> Vec<ConfigFault> {
    let mut faults = Vec::new();
    let services = || sections.iter().filter(|section| section.kind.is_service());
    if services().next().is_none() {
        faults.push(ConfigFault::of_all(
            "it describes no service: add [[gateway]] or [[register]] (hint: `lineman init` writes an example)",
        ));
    }
    for kind in [SectionKind::Program, SectionKind::Cluster] {
        for again in sections.iter().filter(|section| section.kind == kind).skip(1) {
            faults.push(ConfigFault::at(&again.origin, kind.name(), "there is one of them"));
        }
    }
    for section in services() {
        if !section.values.contains_key("listen") && !section.refused.contains("listen") {
            let key = section.name_of("listen");
            faults.push(ConfigFault::at(
                &section.origin,
                key,
                "it is missing: where does this service listen?",
            ));
        }
    }
    for section in sections {
        // What a refused value would say to others is not known.
        let both = ALTERNATIVES.iter().filter(|keys| keys.iter().all(|key| has(section, key)));
        let both =
            both.map(|[one, other]| (*other, format!("it is there beside {one}: choose one")));
        let wrong = RELATIONS.iter().filter_map(|relation| relation(section)).chain(both);
        let wrong = wrong.filter(|_| section.refused.is_empty());
        faults.extend(wrong.map(|(key, text)| {
            let origin = section.values.get(key).map_or(&section.origin, |found| &found.origin);
            ConfigFault::at(origin, section.name_of(key), text)
        }));
    }
    faults.extend(names(sections));
    faults
}

/// Names tell services apart, in `status` and in variables.
fn names(sections: &[SectionValues]) -> Vec<ConfigFault> {
    let mut faults = Vec::new();
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for section in sections.iter().filter(|section| section.kind.is_service()) {
        let (name, key) = (section.variable_name(), section.name_of("name"));
        let origin = section.values.get("name").map_or(&section.origin, |found| &found.origin);
        let part = part_of_variable(name);
        if ["PROGRAM", "CLUSTER"].contains(&&*part) {
            faults.push(ConfigFault::at(
                origin,
                key,
                format!("{name:?} means something else in variables"),
            ));
        } else if let Some(other) = taken.insert(part, name) {
            let text = if other == name {
                format!("another service is named {name:?}: give each a name of its own")
            } else {
                format!("{name:?} and {other:?} are the same in names of variables")
            };
            faults.push(ConfigFault::at(origin, key, text));
        }
    }
    faults
}

fn list<'a>(section: &'a SectionValues, key: &str) -> Option<&'a [String]> {
    match section.values.get(key) {
        Some(Found { value: SettingValue::List(list), .. }) => Some(list),
        _ => None,
    }
}

fn has(section: &SectionValues, key: &str) -> bool {
    section.values.contains_key(key)
}

/// The first key of the section that begins so.
fn first_of(section: &SectionValues, before: &str) -> Option<&'static str> {
    section.values.keys().copied().find(|key| key.starts_with(before))
}

fn tls_needs_both(section: &SectionValues) -> Option<(&'static str, String)> {
    let key = first_of(section, "tls.")?;
    let missing = ["tls.certificate", "tls.key"].into_iter().find(|key| !has(section, key))?;
    Some((key, format!("TLS needs {missing} as well")))
}

fn as_many_keys_as_certificates(section: &SectionValues) -> Option<(&'static str, String)> {
    let (files, keys) = (list(section, "tls.certificate")?, list(section, "tls.key")?);
    let (files, keys) = (files.len(), keys.len());
    (files != keys || files == 0).then(|| {
        ("tls.key", format!("there are {keys} keys for {files} certificates: each has one"))
    })
}

fn client_certificates_need_authorities(section: &SectionValues) -> Option<(&'static str, String)> {
    let asked = matches!(section.text("tls.client_certificates")?, "optional" | "required");
    let key = "tls.client_certificates";
    (asked && !has(section, "tls.client_authorities"))
        .then(|| (key, "it needs tls.client_authorities: who signs them?".to_owned()))
}

fn link_certificates_need_all_files(section: &SectionValues) -> Option<(&'static str, String)> {
    let files = ["link_certificate", "link_key", "link_authorities"];
    let there = files.into_iter().find(|key| has(section, key))?;
    let missing = files.into_iter().find(|key| !has(section, key))?;
    Some((there, format!("it needs {missing} as well")))
}

fn wss_needs_a_certificate(section: &SectionValues) -> Option<(&'static str, String)> {
    let wss = section.text("listen")?.starts_with("wss://");
    (wss && !has(section, "tls.certificate"))
        .then(|| ("listen", "wss:// needs tls.certificate and tls.key".to_owned()))
}

fn proxies_need_trust(section: &SectionValues) -> Option<(&'static str, String)> {
    let key = first_of(section, "proxies.").filter(|_| !has(section, "proxies.trust"))?;
    Some((key, "it needs proxies.trust: which proxies are believed?".to_owned()))
}

fn trust_needs_a_way_of_telling(section: &SectionValues) -> Option<(&'static str, String)> {
    let trusts = list(section, "proxies.trust").is_some_and(|list| !list.is_empty());
    let told = has(section, "proxies.header") || has(section, "proxies.proxy_protocol");
    (trusts && !told).then(|| {
        let text =
            "it needs proxies.proxy_protocol or proxies.header: how do they tell of clients?";
        ("proxies.trust", text.to_owned())
    })
}

fn pages_need_a_folder(section: &SectionValues) -> Option<(&'static str, String)> {
    let folder = section.text("pages.folder")?;
    (!Path::new(folder).is_dir()).then(|| ("pages.folder", format!("there is no folder {folder}")))
}

fn of_websockets_alone(section: &SectionValues) -> Option<(&'static str, String)> {
    let scheme = section.text("listen")?.split("://").next()?.to_ascii_lowercase();
    if section.kind != SectionKind::Gateway || matches!(&*scheme, "websocket" | "ws" | "wss") {
        return None;
    }
    let of_websockets = [
        "message_type",
        "subprotocols",
        "origins",
        "headers",
        "compression.",
        "allow.paths",
        "allow.headers",
        "allow.cookies",
        "connect_hook.",
        "lenient.",
        "pages.",
        "http.",
        "limits.handshake_headers",
        "limits.handshake_size",
        "limits.message_size",
        "limits.frame_size",
    ];
    let key = of_websockets.into_iter().find_map(|before| first_of(section, before))?;
    Some((key, format!("only a websocket:// listener has it, and this one is {scheme}://")))
}

fn a_hook_asks_something(section: &SectionValues) -> Option<(&'static str, String)> {
    let key = first_of(section, "connect_hook.")?;
    let asks = has(section, "connect_hook.url") || has(section, "connect_hook.fastcgi");
    (!asks).then(|| {
        (key, "it needs connect_hook.url or connect_hook.fastcgi: what is asked?".to_owned())
    })
}

fn fastcgi_needs_a_script(section: &SectionValues) -> Option<(&'static str, String)> {
    let key = "connect_hook.fastcgi";
    (has(section, key) && !has(section, "connect_hook.script"))
        .then(|| (key, "it needs connect_hook.script: what does php-fpm run?".to_owned()))
}

fn authorities_are_of_https(section: &SectionValues) -> Option<(&'static str, String)> {
    let key = "connect_hook.authorities";
    let asks_so = section.text("connect_hook.url").is_some_and(|url| url.starts_with("https:"));
    (has(section, key) && !asks_so)
        .then(|| (key, "it needs a connect_hook.url that begins with https://".to_owned()))
}

impl SectionValues {
    /// Returns the name by which variables know it.
    pub(crate) fn variable_name(&self) -> &str {
        let name = if self.kind.is_service() { self.text("name") } else { None };
        name.unwrap_or(self.kind.name())
    }
}
