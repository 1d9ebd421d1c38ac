//! Which cluster a command is for: the flags say it, else the environment, else the file of settings.

use std::path::Path;

use lineman_client::{Cluster, LinkCertificates};

use super::ClusterFlags;
use crate::configuration::{Configuration, read_secret};
use crate::fault::{self, ConfigFault, ValueOrigin};
use crate::file::{Found, SectionValues};
use crate::settings::{RawValue, SectionKind, SettingValue, key_of_service};

/// The register where nothing says another one.
const REGISTER: &str = "127.0.0.1:1236";

/// What a section says of the cluster.
const SHARED: [&str; 7] = [
    "register_address",
    "secret_key",
    "name",
    "link_tls",
    "link_certificate",
    "link_key",
    "link_authorities",
];

/// Returns the cluster; nothing is connected yet.
///
/// # Errors
/// What is wrong with the flags, the environment or the file, a line each.
pub(super) fn cluster(flags: &ClusterFlags, config: Option<&Path>) -> Result<Cluster, Vec<String>> {
    let with_file = flags.registers.is_empty() || config.is_some();
    let (file, sections, mut faults) = Configuration::sections(config, with_file);
    let mut place = SectionValues::new(SectionKind::Cluster, ValueOrigin::Line(0));
    faults.extend(of_flags(flags, &mut place));
    if !faults.is_empty() {
        return Err(fault::lines(faults, file.as_deref()));
    }
    for kind in [SectionKind::Cluster, SectionKind::Gateway, SectionKind::Register] {
        for section in sections.iter().filter(|section| section.kind == kind) {
            complete(&mut place, section);
        }
    }
    let registers = match place.values.get("register_address").map(|found| &found.value) {
        Some(SettingValue::List(list)) if !list.is_empty() => list.clone(),
        _ => vec![REGISTER.to_owned()],
    };
    let mut registers = registers.into_iter();
    let first = Cluster::new(registers.next().unwrap_or_default());
    let cluster = registers.fold(first, Cluster::register);
    let cluster = cluster.secret_key(place.text("secret_key").unwrap_or_default());
    let cluster = cluster.cluster_name(place.text("name").unwrap_or_default());
    let mode = place.text("link_tls").and_then(|mode| mode.parse().ok());
    let cluster = cluster.link_tls(mode.unwrap_or_default());
    let files = ["link_certificate", "link_key", "link_authorities"].map(|key| place.text(key));
    let [Some(certificate), Some(key), Some(authorities)] = files else {
        return Ok(cluster.timeout(flags.timeout));
    };
    let certificates = LinkCertificates::files(certificate, key, authorities);
    Ok(cluster.link_certificates(certificates).timeout(flags.timeout))
}

/// Takes what the flags say.
fn of_flags(flags: &ClusterFlags, place: &mut SectionValues) -> Vec<ConfigFault> {
    let texts =
        |texts: &[String]| RawValue::List(texts.iter().cloned().map(RawValue::Text).collect());
    let registers = (!flags.registers.is_empty()).then(|| texts(&flags.registers));
    let file = flags.secret_key_file.as_ref().map(|path| path.display().to_string());
    let given = [
        ("--register", "register_address", registers),
        ("--secret-key-file", "secret_key_file", file.map(RawValue::Text)),
        ("--link-tls", "link_tls", flags.link_tls.clone().map(RawValue::Text)),
        ("--cluster-name", "name", flags.cluster_name.clone().map(RawValue::Text)),
    ];
    let mut faults = Vec::new();
    for (flag, key, raw) in given {
        let origin = ValueOrigin::Variable(flag.to_owned());
        let setting = SectionKind::Cluster.setting(key);
        if let (Some(setting), Some(raw)) = (setting, raw) {
            faults.extend(place.take(setting, &raw, origin));
        }
    }
    faults.extend(read_secret(place));
    faults
}

/// Takes what a section says of the cluster and nothing before it did.
fn complete(place: &mut SectionValues, section: &SectionValues) {
    for key in SHARED {
        let theirs = if section.kind.is_service() { key_of_service(key) } else { key };
        let found = match section.values.get(theirs) {
            None if section.kind == SectionKind::Register && key == "register_address" => {
                section.text("listen").map(|listen| Found {
                    value: SettingValue::List(vec![reachable(listen)]),
                    origin: section.origin.clone(),
                })
            }
            found => found.cloned(),
        };
        if let Some(found) = found {
            place.values.entry(key).or_insert(found);
        }
    }
}

/// Returns where this machine reaches what listens there.
fn reachable(listen: &str) -> String {
    let listen = listen.rsplit_once("://").map_or(listen, |(_, address)| address);
    match listen.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    }
}
