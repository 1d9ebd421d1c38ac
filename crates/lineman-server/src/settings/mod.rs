//! The table of all settings. Whatever reads, writes or explains a setting goes by it: the file, the environment,
//! `init`, `docs/settings.md`, a reload, and the import of PHP start files.
//!
//! To add a setting, add one entry to the list of its section in this folder, and write `docs/settings.md`
//! again: `cargo run -p lineman-server -- settings >docs/settings.md`.
//!
//! ```text
//! Setting {
//!     key: "ping_interval",                   // dotted for a table of TOML: "limits.connections"
//!     takes: Takes::Duration(|draft, interval| on_gateway!(draft, gateway => gateway.ping_interval(interval))),
//!     default: "\"0s\"",                      // as in the file; "" for none, and then
//!     example: "",                            // what `init` shows in its place
//!     effect: Effect::InPlace,                // what a reload can do
//!     php: "pingInterval",                    // its name in GatewayWorker; "" for none
//!     help: "How long a client may be silent before it is pinged; 0 is for ever.",
//! },
//! ```
//!
//! `takes` says what is right there ([`Takes`]) and puts it into the [`Draft`] the service is made of: a builder is
//! reached with `on_service!` (gateway or register), `on_gateway!`, `on_websocket!`, `on_register!`, `on_app!`; what
//! a builder takes as a whole (limits, TLS) has a field in the draft. What one setting cannot say alone, as that it
//! needs another one, is a function in `relations.rs`.

mod takes;
mod program;
mod cluster;
mod service;
mod register;
mod gateway;
mod clients;
mod entrance;
mod limits;
mod sockets;

pub(crate) use cluster::key_of_service;
pub(crate) use takes::{RawValue, SettingValue, Takes};

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name in a section; with dots where it is in a table.
    pub(crate) key: &'static str,
    /// What is right there, and what it sets.
    pub(crate) takes: Takes,
    /// The default as it would stand in the file; empty if there is none.
    pub(crate) default: &'static str,
    /// What `init` shows where there is no default.
    pub(crate) example: &'static str,
    /// What a reload does with a changed value.
    pub(crate) effect: Effect,
    /// The property of `GatewayWorker` that it is; empty if there is none.
    pub(crate) php: &'static str,
    /// What it is, in whole sentences.
    pub(crate) help: &'static str,
}

/// What a reload does with a changed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It is in force for what comes after it, in the processes that are there.
    InPlace,
    /// The same, if it was there before and still is.
    WhereSet,
    /// The reload is refused.
    Restart,
}

/// Returns a setting without a name in `GatewayWorker`, whose change needs a restart.
const fn plain(
    key: &'static str,
    takes: Takes,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting { key, takes, default, example: "", effect: Effect::Restart, php: "", help }
}

/// Returns one that is not there by default.
const fn unset(
    key: &'static str,
    takes: Takes,
    example: &'static str,
    help: &'static str,
) -> Setting {
    Setting { key, takes, default: "", example, effect: Effect::Restart, php: "", help }
}

/// Makes it one that a reload puts in force.
const fn at_once(mut setting: Setting) -> Setting {
    setting.effect = Effect::InPlace;
    setting
}

/// Returns a setting without a name in `GatewayWorker`, which clients to come meet after a reload.
const fn anew(
    key: &'static str,
    takes: Takes,
    default: &'static str,
    help: &'static str,
) -> Setting {
    at_once(plain(key, takes, default, help))
}

/// Returns one that is not there by default.
const fn unset_anew(
    key: &'static str,
    takes: Takes,
    example: &'static str,
    help: &'static str,
) -> Setting {
    at_once(unset(key, takes, example, help))
}

/// Makes it one that a reload puts in force where it was set before.
const fn where_set(mut setting: Setting) -> Setting {
    setting.effect = Effect::WhereSet;
    setting
}

/// The sections of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SectionKind {
    Program,
    Cluster,
    Register,
    Gateway,
}

impl SectionKind {
    pub(crate) const ALL: [Self; 4] = [Self::Program, Self::Cluster, Self::Register, Self::Gateway];

    /// Returns its name in the file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Cluster => "cluster",
            Self::Register => "register",
            Self::Gateway => "gateway",
        }
    }

    /// Returns whether it describes a service, of which there may be several.
    pub(crate) fn is_service(self) -> bool {
        matches!(self, Self::Register | Self::Gateway)
    }

    /// Returns how it is opened in the file.
    pub(crate) fn header(self) -> String {
        if self.is_service() {
            format!("[[{}]]", self.name())
        } else {
            format!("[{}]", self.name())
        }
    }

    fn lists(self) -> &'static [&'static [Setting]] {
        match self {
            Self::Program => &[program::PROGRAM],
            Self::Cluster => &[cluster::CLUSTER],
            Self::Register => &[
                register::LISTEN,
                service::SERVICE,
                service::MEMBER,
                register::REGISTER,
                limits::LIMITS,
                sockets::PROXIES,
                sockets::SOCKET,
            ],
            Self::Gateway => &[
                gateway::LISTEN,
                service::SERVICE,
                gateway::COUNT,
                service::MEMBER,
                service::REACHED,
                gateway::LINKS,
                gateway::GATEWAY,
                clients::WEBSOCKET,
                entrance::ALLOW,
                entrance::HOOK,
                entrance::LENIENT,
                clients::TLS,
                clients::PAGES,
                limits::CLIENTS,
                limits::LIMITS,
                limits::HTTP,
                sockets::PROXIES,
                sockets::SOCKET,
            ],
        }
    }

    /// Returns its settings, in the order of documents; they are applied in this order as well.
    pub(crate) fn settings(self) -> impl Iterator<Item = &'static Setting> {
        self.lists().iter().copied().flatten()
    }

    /// Returns the setting of this key.
    pub(crate) fn setting(self, key: &str) -> Option<&'static Setting> {
        self.settings().find(|setting| setting.key == key)
    }
}

impl Setting {
    /// Returns its key as a part of the name of an environment variable.
    pub(crate) fn variable(&self) -> String {
        part_of_variable(self.key)
    }

    /// Returns whether its value is shown nowhere; a URL may have a password in it.
    pub(crate) fn is_secret(&self) -> bool {
        let is_secret = matches!(self.takes, Takes::Secret(_) | Takes::SecretList(..));
        is_secret || self.key == "connect_hook.url"
    }
}

/// Returns a name as a part of that of an environment variable.
pub(crate) fn part_of_variable(name: &str) -> String {
    name.chars()
        .map(
            |letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::draft::Draft;
    use crate::file;

    /// Returns a section of the file with these lines, and what is wrong with it.
    fn section(kind: SectionKind, lines: &str) -> (file::SectionValues, Vec<String>) {
        let (mut sections, faults) = file::sections(&format!("{}\n{lines}", kind.header()));
        (sections.pop().unwrap(), faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_default_and_every_example_is_right() {
        for kind in SectionKind::ALL {
            for setting in kind.settings() {
                let shown = [setting.default, setting.example].concat();
                assert!(
                    setting.default.is_empty() != setting.example.is_empty(),
                    "{}",
                    setting.key
                );
                let (section, faults) = section(kind, &format!("{} = {shown}", setting.key));
                assert_eq!(faults, [""; 0], "{}", setting.key);
                assert!(section.values.contains_key(setting.key));
            }
        }
    }

    #[test]
    fn defaults_are_what_the_builders_have() {
        let kind = SectionKind::Gateway;
        let defaults = kind.settings().filter(|setting| !setting.default.is_empty());
        let lines: Vec<String> =
            defaults.map(|setting| format!("{} = {}", setting.key, setting.default)).collect();
        let (section, _) = section(kind, &lines.join("\n"));
        let mut draft = Draft::default();
        section.apply(&mut draft);
        let plain = Draft::default();
        let no_heartbeat = plain.limits.clone();
        draft.limits.heartbeat = None;
        assert_eq!(format!("{:?}", draft.limits), format!("{no_heartbeat:?}"));
        assert_eq!(format!("{:?}", draft.http), format!("{:?}", plain.http));
        assert_eq!(draft.socket, plain.socket);
        assert_eq!(draft.deflate, plain.deflate);
        let of_http = |mut draft: Draft| {
            draft.hook.url = "http://127.0.0.1/".to_owned();
            draft.hook.finish().expect("a hook")
        };
        assert_eq!(of_http(draft), of_http(plain));
    }

    #[test]
    fn a_message_has_a_type_on_a_websocket_alone() {
        for (scheme, fits) in
            [("websocket", true), ("wss", true), ("text", false), ("frame", false), ("tcp", false)]
        {
            let lines = format!(
                "listen = \"{scheme}://127.0.0.1:0\"\nmessage_type = \"binary\"\ntls.certificate = \"c\"\ntls.key = \"k\""
            );
            let (section, faults) = section(SectionKind::Gateway, &lines);
            assert_eq!(faults, [""; 0], "{scheme}");
            let faults: Vec<String> =
                crate::relations::check(&[section]).iter().map(ToString::to_string).collect();
            let named = faults.iter().any(|fault| fault.contains("message_type"));
            assert_eq!((faults.is_empty(), named), (fits, !fits), "{scheme}: {faults:?}");
        }
        let (_, faults) = section(SectionKind::Gateway, "message_type = \"guess\"");
        assert_eq!(faults.len(), 1, "{faults:?}");
    }

    #[test]
    fn keys_and_variables_are_each_there_once() {
        for kind in SectionKind::ALL {
            let (mut keys, mut variables) = (BTreeSet::new(), BTreeSet::new());
            for setting in kind.settings() {
                assert!(keys.insert(setting.key), "{} twice", setting.key);
                assert!(variables.insert(setting.variable()), "{} twice", setting.variable());
            }
        }
    }
}
