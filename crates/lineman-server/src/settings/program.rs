//! `[program]`: the processes as a whole.

use super::takes::{ANY, something, to_usize};
use super::{Effect, Setting, Takes};
use crate::draft::on_app;

fn name(text: &str) -> Result<(), String> {
    let wrong = |letter: char| letter == '/' || letter.is_control();
    if matches!(text, "" | "." | "..") || text.contains(wrong) {
        return Err(format!("{text:?} is no name: it is a part of paths"));
    }
    Ok(())
}

pub(super) const PROGRAM: &[Setting] = &[
    Setting {
        key: "name",
        takes: Takes::Checked("name", name, |draft, name| on_app!(draft, app => app.name(name))),
        default: "\"lineman\"",
        example: "",
        effect: Effect::Restart,
        php: "",
        help: "Names the runtime folder and the log. Two programs on one machine have two names.",
    },
    Setting {
        key: "runtime_dir",
        takes: Takes::Checked("folder", something, |draft, path| {
            on_app!(draft, app => app.runtime_dir(path));
        }),
        default: "",
        example: "\"/run/lineman\"",
        effect: Effect::Restart,
        php: "pidFile",
        help: "The folder of pid file, lock and control socket. Default: /run/NAME for root, else \
               $XDG_RUNTIME_DIR/NAME or /tmp/lineman-UID/NAME.",
    },
    Setting {
        key: "log_file",
        takes: Takes::Checked("file", something, |draft, path| {
            on_app!(draft, app => app.log_file(path));
        }),
        default: "",
        example: "\"/var/log/lineman/lineman.log\"",
        effect: Effect::Restart,
        php: "logFile",
        help: "The log's file. Default: for a daemon /var/log/NAME/NAME.log if root starts it, else \
               ~/.local/state/NAME/NAME.log; in the foreground stderr.",
    },
    Setting {
        key: "log_format",
        takes: Takes::Choice(&["text", "json"], |draft, format| {
            let format = match format {
                "json" => lineman::LogFormat::Json,
                _ => lineman::LogFormat::Text,
            };
            on_app!(draft, app => app.log_format(format));
        }),
        default: "\"text\"",
        example: "",
        effect: Effect::Restart,
        php: "",
        help: "The form of the log's lines.",
    },
    Setting {
        key: "log_max_size",
        takes: Takes::Size(|draft, bytes| on_app!(draft, app => app.log_max_size(bytes))),
        default: "\"100MiB\"",
        example: "",
        effect: Effect::Restart,
        php: "logFileMaxSize",
        help: "The size at which the log's file is moved to FILE.1; 0 is without limit.",
    },
    Setting {
        key: "stdout_file",
        takes: Takes::Checked("file", something, |draft, path| {
            on_app!(draft, app => app.stdout_file(path));
        }),
        default: "",
        example: "\"/var/log/lineman/stdout.log\"",
        effect: Effect::Restart,
        php: "stdoutFile",
        help: "The file of what the program prints. Default: the log's.",
    },
    Setting {
        key: "user",
        takes: Takes::Checked(
            "user",
            something,
            |draft, user| on_app!(draft, app => app.user(user)),
        ),
        default: "",
        example: "\"www-data\"",
        effect: Effect::Restart,
        php: "",
        help: "The user, by name or number, that the processes of services run as which name none. Only root can \
               choose. Default: the user that starts the program.",
    },
    Setting {
        key: "group",
        takes: Takes::Checked("group", something, |draft, group| {
            on_app!(draft, app => app.group(group));
        }),
        default: "",
        example: "\"www-data\"",
        effect: Effect::Restart,
        php: "",
        help: "The group that goes with it. Default: the user's own.",
    },
    Setting {
        key: "health",
        takes: Takes::Checked("host:port", something, |draft, address| {
            on_app!(draft, app => app.health(address));
        }),
        default: "",
        example: "\"127.0.0.1:7270\"",
        effect: Effect::Restart,
        php: "",
        help: "Where GET /live and GET /ready are answered, for load balancers and Kubernetes. Default: nowhere.",
    },
    Setting {
        key: "budget",
        takes: Takes::Size(|draft, bytes| {
            let bytes = to_usize(bytes);
            on_app!(draft, app => app.budget(bytes));
        }),
        default: "",
        example: "\"256MiB\"",
        effect: Effect::Restart,
        php: "",
        help: "What each process may hold that is unfinished or unsent. As it fills, large connections are not read, \
               then new ones are refused, then the largest are closed. Default: a quarter of the memory in equal \
               parts, at least 32 MiB.",
    },
    Setting {
        key: "ready_limit",
        takes: Takes::Duration(|draft, limit| on_app!(draft, app => app.ready_limit(limit))),
        default: "\"10s\"",
        example: "",
        effect: Effect::Restart,
        php: "",
        help: "How long a process may take to get ready; 0 is for ever.",
    },
    Setting {
        key: "drain_limit",
        takes: Takes::Duration(|draft, limit| on_app!(draft, app => app.drain_limit(limit))),
        default: "\"30s\"",
        example: "",
        effect: Effect::Restart,
        php: "",
        help: "How long `stop -g` waits for connections to end by themselves.",
    },
    Setting {
        key: "drain_delay",
        takes: Takes::Duration(|draft, delay| on_app!(draft, app => app.drain_delay(delay))),
        default: "\"0s\"",
        example: "",
        effect: Effect::Restart,
        php: "",
        help: "How long a graceful stop goes on accepting while it says that it is not ready.",
    },
    Setting {
        key: "stop_limit",
        takes: Takes::Duration(|draft, limit| on_app!(draft, app => app.stop_limit(limit))),
        default: "\"2s\"",
        example: "",
        effect: Effect::Restart,
        php: "stopTimeout",
        help: "How long connections get to take their close frame at a stop before their process is killed.",
    },
    Setting {
        key: "give_up_after",
        takes: Takes::Number(0, ANY, |draft, failures| {
            let failures = u32::try_from(failures).unwrap_or(u32::MAX);
            on_app!(draft, app => app.give_up_after(failures));
        }),
        default: "0",
        example: "",
        effect: Effect::Restart,
        php: "",
        help: "Ends the program with exit code 7 when the processes of one slot have failed so often in a row; 0 is \
               never.",
    },
    Setting {
        key: "watchdog.limit",
        takes: Takes::Duration(|draft, limit| draft.watchdog.limit = Some(limit)),
        default: "\"5s\"",
        example: "",
        effect: Effect::Restart,
        php: "",
        help: "How long a process may stand still before it is reported; 0 is for ever.",
    },
    Setting {
        key: "watchdog.restart",
        takes: Takes::Switch(|draft, restart| draft.watchdog.restart = restart),
        default: "false",
        example: "",
        effect: Effect::Restart,
        php: "",
        help: "Kills and replaces a process that stands still; its connections are lost.",
    },
];
