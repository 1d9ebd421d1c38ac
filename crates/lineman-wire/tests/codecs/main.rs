//! The codecs, from outside: any split of the bytes gives the same messages, and captured conversations read.

mod captures;
mod pieces;
mod websocket;
mod deflate;
mod extensions;
mod handshake;
mod handshake_answers;
mod leniency;
mod text_framed;
mod link;
mod link_extension;
mod link_names;
mod golden;
mod php;
mod php_json;
mod php_merge;
mod php_serde;
mod proxies;
mod proxy_clients;
mod fastcgi;
