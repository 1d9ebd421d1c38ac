//! What is written from the table of settings: the example that `init` writes, and the page for readers.

use std::fmt::Write as _;

use crate::settings::{Effect, SectionKind, Setting};

/// The settings that the example has in force, in its sections, with a register and a gateway that find each other.
const IN_FORCE: &[(SectionKind, &str, &str)] = &[
    (SectionKind::Register, "listen", "\"127.0.0.1:1236\""),
    (SectionKind::Gateway, "listen", "\"websocket://0.0.0.0:7272\""),
    (SectionKind::Gateway, "ping_interval", "\"25s\""),
    (SectionKind::Gateway, "ping_data", "'{\"type\":\"ping\"}'"),
];

const EXAMPLE_HEAD: &str = "\
# Settings of the program `lineman`. Every setting is here: one behind a `#` shows its default, or an example where it
# has none. `lineman check` says what is wrong with this file, `lineman start` runs it, `lineman reload` applies changes.
#
# Durations are \"500ms\", \"25s\", \"2m\", \"1h\", or a number of seconds; sizes are \"500K\", \"1MiB\", or a number of bytes.
# An environment variable goes before the file: LINEMAN_, the section or the service's name, and the key, as
# LINEMAN_GATEWAY_PING_INTERVAL=25s or LINEMAN_CLUSTER_SECRET_KEY_FILE=/run/secrets/key.
";

/// How wide the example is.
const WIDTH: usize = 110;

/// Returns a file with every setting in it.
pub(crate) fn example() -> String {
    let mut text = EXAMPLE_HEAD.to_owned();
    for kind in SectionKind::ALL {
        line(&mut text, &format!("\n{}", about(kind, "# ")));
        line(&mut text, &kind.header());
        for setting in kind.settings() {
            line(&mut text, &format!("\n{}", wrapped(setting.help, "# ")));
            let in_force = IN_FORCE.iter().find(|(of, key, _)| *of == kind && *key == setting.key);
            line(
                &mut text,
                &match in_force {
                    Some((_, key, value)) => format!("{key} = {value}"),
                    None => format!("# {} = {}", setting.key, shown(setting)),
                },
            );
        }
    }
    text
}

/// Returns the page with the table of all settings, in Markdown.
pub(crate) fn page() -> String {
    let mut text = String::from(
        "# Settings of the program `lineman`\n\n\
         `lineman init` writes a file with all of them, `lineman check` says what is wrong with one. This page is \
         written by `lineman settings`.\n\n\
         A *duration* is `\"500ms\"`, `\"25s\"`, `\"2m\"`, `\"1h\"` or a number of seconds, a *size* is `\"500K\"`, `\"1MiB\"` or a \
         number of bytes, a *rate* is `\"50/s\"` or `\"50/s burst 200\"`; a list may be one text. A key with a dot is one of \
         a table: `limits.connections = 1000` is `connections = 1000` below `[gateway.limits]`, too.\n\n\
         An environment variable goes before the file: `LINEMAN_`, the section or the service's name, and the key, in \
         capitals, with `_` for each other character: `LINEMAN_GATEWAY_LIMITS_CONNECTIONS=1000`; lists have commas. \
         It takes the place of what the file has instead, too: of `secret_key_file` for `LINEMAN_CLUSTER_SECRET_KEY`. \
         Where there is no file, `LINEMAN_GATEWAY_LISTEN` makes a gateway and `LINEMAN_REGISTER_LISTEN` a register.\n\n\
         *Reload* says what `lineman reload` does with a changed value: it is in force *at once*, without a client \
         noticing, or it needs a *restart*, and the reload is refused: that is what the master binds, starts and watches \
         over (addresses, sockets, users, numbers, its log), what others know a service by (names, keys, registers), and \
         what has its reason in its text.\n",
    );
    for kind in SectionKind::ALL {
        line(&mut text, &format!("\n## `{}`\n\n{}\n", kind.header(), about(kind, "")));
        line(&mut text, "| key | what it takes | default | GatewayWorker | reload | |");
        line(&mut text, "|---|---|---|---|---|---|");
        for setting in kind.settings() {
            let code =
                |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
            let reload = match setting.effect {
                Effect::InPlace => "at once",
                Effect::WhereSet => "at once, if set",
                Effect::Restart => "restart",
            };
            let Setting { key, help, .. } = setting;
            let (takes, default, php) =
                (setting.takes.kind(), code(setting.default), code(setting.php));
            line(
                &mut text,
                &format!("| `{key}` | {takes} | {default} | {php} | {reload} | {help} |"),
            );
        }
    }
    text
}

fn about(kind: SectionKind, before: &str) -> String {
    let text = match kind {
        SectionKind::Program => "The processes as a whole.",
        SectionKind::Cluster => {
            "What all services of this file have in common; a service that says another thing goes before it."
        }
        SectionKind::Register => {
            "The register: gateways tell it where they are, businesses ask it. One for a cluster, or several on several \
             machines. Leave it out where another machine has it."
        }
        SectionKind::Gateway => {
            "A gateway: clients connect to it, businesses serve them. Write another [[gateway]] with a `name` for \
             another port or protocol."
        }
    };
    wrapped(text, before)
}

fn shown(setting: &Setting) -> &str {
    if setting.default.is_empty() { setting.example } else { setting.default }
}

fn wrapped(text: &str, before: &str) -> String {
    let width = if before.is_empty() { usize::MAX } else { WIDTH };
    let mut lines = vec![before.trim_end().to_owned()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.len() + 1 + word.len() <= width => {
                if !last.is_empty() {
                    last.push(' ');
                }
                last.push_str(word);
            }
            _ => lines.push(format!("{before}{word}")),
        }
    }
    lines.join("\n")
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    if writeln!(text, "{line}").is_err() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_in_the_repository() {
        let kept = include_str!("../../../docs/settings.md");
        assert!(
            kept == page(),
            "write it again: cargo run -p lineman-server -- settings >docs/settings.md"
        );
    }
}
