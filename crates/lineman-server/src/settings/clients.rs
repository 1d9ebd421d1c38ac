//! `[[gateway]]`: the WebSocket handshake, TLS, and pages.

use http::{HeaderName, HeaderValue};
use lineman::websocket::Origins;
use lineman_gateway::MessageType;

use super::takes::{something, to_usize};
use super::{Effect, Setting, Takes};
use crate::draft::on_websocket;
use crate::pages::Pages;

/// Returns name and value of a header line.
fn header(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let value = value.trim();
    let right = name.parse::<HeaderName>().is_ok() && HeaderValue::from_str(value).is_ok();
    right.then_some((name, value))
}

fn is_header(line: &str) -> Result<(), String> {
    header(line).map(drop).ok_or_else(|| format!("{line:?} is no header: write \"Name: value\""))
}

fn location(text: &str) -> Result<(), String> {
    let right = text.contains("://") || text.starts_with('/');
    if right && HeaderValue::from_str(text).is_ok() {
        return Ok(());
    }
    Err(format!("{text:?} is no address of a page: write \"https://example.org/\""))
}

/// The bits of a compression's window.
fn bits(bits: u64) -> u8 {
    u8::try_from(bits).unwrap_or(15)
}

pub(super) const WEBSOCKET: &[Setting] = &[
    Setting {
        key: "message_type",
        takes: Takes::Choice(&["as_received", "text", "binary"], |draft, choice| {
            let message_type = match choice {
                "text" => MessageType::Text,
                "binary" => MessageType::Binary,
                _ => MessageType::AsReceived,
            };
            on_websocket!(draft, gateway => gateway.message_type(message_type));
        }),
        default: "\"as_received\"",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "Whether clients are sent text or binary. As received: as a business of Lineman's has sent it; what comes \
               from PHP has the type in which the client spoke last, text at first. GatewayWorker sends text, or what \
               `websocketType` says. With text, what is not UTF-8 is refused and counted (`refused_messages`).",
    },
    Setting {
        key: "subprotocols",
        takes: Takes::List("names", something, |draft, names| {
            on_websocket!(draft, gateway => gateway.subprotocols(names));
        }),
        default: "[]",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "The subprotocols that are spoken, the preferred first. A client that offers none of them gets none.",
    },
    Setting {
        key: "origins",
        takes: Takes::List("origins", something, |draft, origins| {
            if !origins.is_empty() {
                on_websocket!(draft, gateway => gateway.origins(Origins::list(origins)));
            }
        }),
        default: "[]",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "The pages whose scripts may connect, as \"https://example.org\"; others are refused (403). Without any, \
               all may. Clients that are no browser send no origin, and may always.",
    },
    Setting {
        key: "headers",
        takes: Takes::List("headers", is_header, |draft, lines| {
            let headers = lines.iter().filter_map(|line| header(line));
            on_websocket!(draft, gateway => {
                headers.fold(gateway, |gateway, (name, value)| gateway.header(name, value))
            });
        }),
        default: "[]",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "Headers of every answer that opens a WebSocket, as \"Name: value\".",
    },
    Setting {
        key: "compression.enable",
        takes: Takes::Switch(|draft, on| draft.compression = on),
        default: "false",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "Compresses messages for clients that offer it (permessage-deflate).",
    },
    Setting {
        key: "compression.level",
        takes: Takes::Number(1, 9, |draft, level| {
            draft.deflate = draft.deflate.level(u8::try_from(level).unwrap_or(6));
        }),
        default: "6",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "How hard to try: 1 is the fastest.",
    },
    Setting {
        key: "compression.min_size",
        takes: Takes::Size(|draft, bytes| {
            draft.deflate = draft.deflate.min_size(to_usize(bytes));
        }),
        default: "128",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "The size below which a message is sent as it is.",
    },
    Setting {
        key: "compression.server_context_takeover",
        takes: Takes::Switch(|draft, on| {
            if on {
                draft.deflate = draft.deflate.server_context_takeover();
            }
        }),
        default: "false",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "Compresses with what was sent before: smaller messages, and 256 KiB for each client.",
    },
    Setting {
        key: "compression.client_context_takeover",
        takes: Takes::Switch(|draft, on| {
            if on {
                draft.deflate = draft.deflate.client_context_takeover();
            }
        }),
        default: "false",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "Lets clients compress with what they sent before; 48 KiB for each.",
    },
    Setting {
        key: "compression.server_max_window_bits",
        takes: Takes::Number(9, 15, |draft, most| {
            draft.deflate = draft.deflate.server_max_window_bits(bits(most));
        }),
        default: "15",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "The bits of the window that the server compresses with.",
    },
    Setting {
        key: "compression.client_max_window_bits",
        takes: Takes::Number(9, 15, |draft, most| {
            draft.deflate = draft.deflate.client_max_window_bits(bits(most));
        }),
        default: "15",
        example: "",
        effect: Effect::InPlace,
        php: "",
        help: "The bits of the window that clients compress with.",
    },
];

pub(super) const TLS: &[Setting] = &[
    Setting {
        key: "tls.certificate",
        takes: Takes::List("files", something, |draft, files| {
            draft.tls.certificates = files.iter().map(Into::into).collect();
        }),
        default: "",
        example: "\"/etc/lineman/example.org.pem\"",
        effect: Effect::Restart,
        php: "ssl.local_cert",
        help: "The certificate chain, in PEM, the server's own first: with it clients connect by TLS. A list for \
               several names; a client gets the first that is valid for the name it asks for. Files are read again \
               when they change.",
    },
    Setting {
        key: "tls.key",
        takes: Takes::List("files", something, |draft, files| {
            draft.tls.keys = files.iter().map(Into::into).collect();
        }),
        default: "",
        example: "\"/etc/lineman/example.org.key\"",
        effect: Effect::Restart,
        php: "ssl.local_pk",
        help: "The key of each certificate, in the same order. The same files are read again, others need a restart: \
               it finds out whether the processes may read them.",
    },
    Setting {
        key: "tls.client_certificates",
        takes: Takes::Choice(&["none", "optional", "required"], |draft, wanted| {
            wanted.clone_into(&mut draft.tls.clients);
        }),
        default: "\"none\"",
        example: "",
        effect: Effect::Restart,
        php: "ssl.verify_peer",
        help: "Whether clients show a certificate.",
    },
    Setting {
        key: "tls.client_authorities",
        takes: Takes::Checked("file", something, |draft, file| draft.tls.authorities = file.into()),
        default: "",
        example: "\"/etc/lineman/clients.pem\"",
        effect: Effect::Restart,
        php: "ssl.cafile",
        help: "The authorities that sign certificates of clients, in PEM.",
    },
    Setting {
        key: "tls.alpn",
        takes: Takes::List("protocols", something, |draft, names| draft.tls.alpn = names.to_vec()),
        default: "[]",
        example: "",
        effect: Effect::Restart,
        php: "",
        help: "The protocols to choose from by ALPN; a client that offers others alone is refused.",
    },
];

pub(super) const PAGES: &[Setting] = &[
    Setting {
        key: "pages.folder",
        takes: Takes::Checked("folder", something, |draft, folder| {
            draft.pages = Some(Pages::Folder(folder.into()));
        }),
        default: "",
        example: "\"/var/www/chat\"",
        effect: Effect::InPlace,
        php: "",
        help: "The folder of the pages that are served on the same port, to requests that open no WebSocket. Default: \
               such requests are refused (426).",
    },
    Setting {
        key: "pages.redirect",
        takes: Takes::Checked("address", location, |draft, to| {
            draft.pages = HeaderValue::from_str(to).ok().map(Pages::Redirect);
        }),
        default: "",
        example: "\"https://example.org/\"",
        effect: Effect::InPlace,
        php: "",
        help: "Where requests that open no WebSocket are sent, in the place of `pages.folder` (302).",
    },
];
