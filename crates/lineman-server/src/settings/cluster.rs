//! `[cluster]`: what all services of the file have in common; a service may say another thing. Their own entries
//! of the same name do the work (`service.rs`, `gateway.rs`).

use lineman_gateway::LinkTls;

use super::service::{
    CLUSTER_NAME_HELP, LINK_AUTHORITIES_HELP, LINK_CERTIFICATE_HELP, LINK_KEY_HELP, LINK_TLS_HELP,
    REGISTER_HELP, SECRET_KEY_HELP, address, cluster_name, nothing,
};
use super::takes::something;
use super::{Effect, Setting, Takes};

/// The key of a service that a key of `[cluster]` stands for.
pub(crate) fn key_of_service(key: &'static str) -> &'static str {
    if key == "name" { "cluster" } else { key }
}

pub(super) const CLUSTER: &[Setting] = &[
    Setting {
        key: "name",
        takes: Takes::Checked("name", cluster_name, nothing),
        default: "",
        example: "\"chat\"",
        effect: Effect::Restart,
        php: "",
        help: CLUSTER_NAME_HELP,
    },
    Setting {
        key: "register_address",
        takes: Takes::List("host:port", address, |_, _| {}),
        default: "\"127.0.0.1:1236\"",
        example: "",
        effect: Effect::Restart,
        php: "registerAddress",
        help: REGISTER_HELP,
    },
    Setting {
        key: "secret_key",
        takes: Takes::Secret(nothing),
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
        takes: Takes::Choice(&LinkTls::NAMES, nothing),
        default: "\"off\"",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: LINK_TLS_HELP,
    },
    Setting {
        key: "link_certificate",
        takes: Takes::Checked("file", something, nothing),
        default: "",
        example: "\"/etc/lineman/link.pem\"",
        effect: Effect::InPlace,
        php: "",
        help: LINK_CERTIFICATE_HELP,
    },
    Setting {
        key: "link_key",
        takes: Takes::Checked("file", something, nothing),
        default: "",
        example: "\"/etc/lineman/link.key\"",
        effect: Effect::InPlace,
        php: "",
        help: LINK_KEY_HELP,
    },
    Setting {
        key: "link_authorities",
        takes: Takes::Checked("file", something, nothing),
        default: "",
        example: "\"/etc/lineman/cluster.pem\"",
        effect: Effect::InPlace,
        php: "",
        help: LINK_AUTHORITIES_HELP,
    },
    Setting {
        key: "lan_ip",
        takes: Takes::Checked("IPv4 address or host name", something, nothing),
        default: "\"127.0.0.1\"",
        example: "",
        effect: Effect::Restart,
        php: "lanIp",
        help: "The address of this machine at which businesses reach its gateways.",
    },
];
