//! What registers and gateways have in common: their processes, and the cluster they are members of.

use lineman::service::Listen;
use lineman_gateway::{Gateway, LinkTls};

use super::takes::{something, to_usize};
use super::{Effect, Setting, Takes};
use crate::draft::{Draft, on_gateway, on_service};

pub(super) const CLUSTER_NAME_HELP: &str = "The cluster's name; a peer of another one is refused, though its key is the same. To a peer in PHP the secretKey \
     is then NAME:KEY. Default: none.";

pub(super) const REGISTER_HELP: &str = "Where the registers are that gateways are announced to, `host:port`; a list for several, or a name that has \
     the address of each.";

pub(super) const SECRET_KEY_HELP: &str = "The key that gateways, businesses and clients of the cluster have to show. Default: none, which is right where \
     only this machine reaches its ports.";

pub(super) const LINK_TLS_HELP: &str = "Whether links, and connections to registers, are encrypted: `off`, `accept` (connect plain, take both), `use` \
     (connect with TLS, take both) or `require` (refuse plain ones, which those of peers in PHP are). In a cluster that \
     runs go one step after the other, each on all machines. Both ends are known by `secret_key`, which has to be random \
     then, or by the certificates below. What is open stays as it is.";

pub(super) const LINK_CERTIFICATE_HELP: &str = "The certificate, with its chain, that this end of a link shows in the place of the key, in PEM; it needs the two \
     below. Default: none.";

pub(super) const LINK_KEY_HELP: &str = "The key of that certificate.";

pub(super) const LINK_AUTHORITIES_HELP: &str = "The authorities, in PEM, of the certificates that the other ends show: any that one of them has signed is taken, so \
     have one for the cluster alone.";

/// Sets nothing: what reads the settings before they are applied has seen to it.
pub(super) fn nothing(_: &mut Draft, _: &str) {}

/// Finds `host:port` or `unix:/path` right.
pub(super) fn address(text: &str) -> Result<(), String> {
    Listen::streams("", "", text).endpoint().map(drop).map_err(|error| error.to_string())
}

pub(super) fn cluster_name(text: &str) -> Result<(), String> {
    let right = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if (1..=64).contains(&text.len()) && text.chars().all(right) {
        return Ok(());
    }
    Err(format!("{text:?} is no name: 1 to 64 letters, digits, '-', '_' and '.' of ASCII are"))
}

pub(super) const SERVICE: &[Setting] = &[
    Setting {
        key: "name",
        takes: Takes::Checked("name", cluster_name, |draft, name| {
            on_service!(draft, service => service.name(name));
        }),
        default: "",
        example: "\"chat-gateway\"",
        effect: Effect::Restart,
        php: "name",
        help: "Names it in `status`, in the log and in environment variables. Default: `gateway` or `register`; each \
               further one needs a name.",
    },
    Setting {
        key: "user",
        takes: Takes::Checked("user", something, |draft, user| {
            on_service!(draft, service => service.user(user));
        }),
        default: "",
        example: "\"www-data\"",
        effect: Effect::Restart,
        php: "user",
        help: "The user, by name or number, that its processes run as. Only root can choose. Default: the program's.",
    },
    Setting {
        key: "group",
        takes: Takes::Checked("group", something, |draft, group| {
            on_service!(draft, service => service.group(group));
        }),
        default: "",
        example: "\"www-data\"",
        effect: Effect::Restart,
        php: "group",
        help: "The group that goes with it. Default: the user's own.",
    },
    Setting {
        key: "drain_limit",
        takes: Takes::Duration(
            |draft, limit| on_service!(draft, service => service.drain_limit(limit)),
        ),
        default: "",
        example: "\"30s\"",
        effect: Effect::Restart,
        php: "",
        help: "How long its drain may take at `stop -g`. Default: the program's.",
    },
];

/// What makes it a member of a cluster.
pub(super) const MEMBER: &[Setting] = &[
    Setting {
        key: "cluster",
        takes: Takes::Checked("name", cluster_name, |draft, name| {
            on_service!(draft, service => service.cluster(name));
        }),
        default: "",
        example: "\"chat\"",
        effect: Effect::Restart,
        php: "",
        help: CLUSTER_NAME_HELP,
    },
    Setting {
        key: "secret_key",
        takes: Takes::Secret(|draft, key| on_service!(draft, service => service.secret_key(key))),
        default: "",
        example: "\"change me\"",
        effect: Effect::Restart,
        php: "secretKey",
        help: SECRET_KEY_HELP,
    },
    Setting {
        key: "secret_key_file",
        takes: Takes::Checked("file", something, nothing),
        default: "",
        example: "\"/etc/lineman/secret.key\"",
        effect: Effect::Restart,
        php: "",
        help: "A file with that key, in the place of `secret_key`; a line break at its end does not count.",
    },
    Setting {
        key: "link_tls",
        takes: Takes::Choice(&LinkTls::NAMES, |draft, mode| {
            let mode = mode.parse().unwrap_or_default();
            on_service!(draft, service => service.link_tls(mode));
        }),
        default: "\"off\"",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: LINK_TLS_HELP,
    },
    Setting {
        key: "link_certificate",
        takes: Takes::Checked("file", something, |draft, file| {
            draft.link.certificate = file.into();
        }),
        default: "",
        example: "\"/etc/lineman/link.pem\"",
        effect: Effect::InPlace,
        php: "",
        help: LINK_CERTIFICATE_HELP,
    },
    Setting {
        key: "link_key",
        takes: Takes::Checked("file", something, |draft, file| draft.link.key = file.into()),
        default: "",
        example: "\"/etc/lineman/link.key\"",
        effect: Effect::InPlace,
        php: "",
        help: LINK_KEY_HELP,
    },
    Setting {
        key: "link_authorities",
        takes: Takes::Checked("file", something, |draft, file| {
            draft.link.authorities = file.into();
        }),
        default: "",
        example: "\"/etc/lineman/cluster.pem\"",
        effect: Effect::InPlace,
        php: "",
        help: LINK_AUTHORITIES_HELP,
    },
    Setting {
        key: "strangers",
        takes: Takes::Number(1, 1_000_000, |draft, bound| {
            let bound = to_usize(bound);
            on_service!(draft, service => service.strangers(bound));
        }),
        default: "64",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "How many peers of the cluster's port there may be that have not shown the key yet; beyond it the oldest \
               is closed.",
    },
];

/// The address at which businesses reach gateways, and the registers: of a gateway alone.
pub(super) const REACHED: &[Setting] = &[
    Setting {
        key: "register_address",
        takes: Takes::List("host:port", address, |draft, registers| {
            on_gateway!(draft, gateway => {
                registers.iter().fold(gateway, Gateway::register)
            });
        }),
        default: "\"127.0.0.1:1236\"",
        example: "",
        effect: Effect::Restart,
        php: "registerAddress",
        help: REGISTER_HELP,
    },
    Setting {
        key: "lan_ip",
        takes: Takes::Checked("IPv4 address or host name", something, |draft, address| {
            on_gateway!(draft, gateway => gateway.lan_ip(address));
        }),
        default: "\"127.0.0.1\"",
        example: "",
        effect: Effect::Restart,
        php: "lanIp",
        help: "The address of this machine at which businesses reach its gateways, or a host name that has one: it is \
               announced, in client ids, and listened at unless `inner_listen` is set.",
    },
    Setting {
        key: "inner_listen",
        takes: Takes::Checked("host, host:port", something, |draft, address| {
            on_gateway!(draft, gateway => gateway.inner_listen(address));
        }),
        default: "",
        example: "\"0.0.0.0\"",
        effect: Effect::Restart,
        php: "innerTcpWorkerListen",
        help: "Where businesses are listened for, apart from what is announced: behind NAT, in a cloud, in a container. \
               `lan_ip` and the ports from `start_port` on are announced then, and have to lead here. Default: \
               `lan_ip` and `start_port`.",
    },
    Setting {
        key: "start_port",
        takes: Takes::Number(0, 65_535, |draft, port| {
            let port = u16::try_from(port).unwrap_or_default();
            on_gateway!(draft, gateway => gateway.start_port(port));
        }),
        default: "",
        example: "2900",
        effect: Effect::Restart,
        php: "startPort",
        help: "The port for businesses of the first process; the others follow it. 0 lets the kernel choose. Default: \
               the port of `inner_listen` if it has one, else 2900, or the next from which on there are ports for all \
               processes that no other setting of this file has.",
    },
];
