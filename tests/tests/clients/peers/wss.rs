//! `wss`, both ways: everything that goes without TLS goes with it, once the certificate was verified.

use anyhow::{Result, ensure};
use lineman::outgoing::Outgoing;
use lineman::prelude::WebSocket;
use lineman::tls::ClientTls;
use lineman_tests::certificates::{Authority, Pair};
use lineman_tests::ours::{Ours, in_a_table};
use lineman_tests::peer::Peer;

use super::client::{BOTH, Fragments, SMALL, meet_by};
use super::{ECHOES, WHOLE_ECHOES, server, talk};

/// Lets a client talk to us that knows our authority, after one that does not.
async fn serve(start: impl Fn(&[&str]) -> Result<Peer>, echoes: &[&str]) -> Result<()> {
    let authority = Authority::new().await?;
    let Pair { certificate, key } = authority.sign("localhost").await?;
    let server = server()?.knob("ECHO_CERTIFICATE", certificate).knob("ECHO_KEY", key);
    let server = server.started().await?;
    let url = format!("wss://localhost:{}", server.port.number());
    let (code, output) = start(&[&url])?.output().await?;
    ensure!(code != Some(0) && output.to_lowercase().contains("certificate"), "{code:?}: {output}");
    let trust = format!("ca={}", authority.certificate().display());
    talk(&[&url, &trust], start, echoes).await
}

#[tokio::test]
async fn pythons_websockets_is_served_over_tls() -> Result<()> {
    serve(|arguments| Peer::python("websockets_client.py", arguments), &ECHOES).await
}

#[tokio::test]
async fn pythons_aiohttp_is_served_over_tls() -> Result<()> {
    serve(|arguments| Peer::python("aiohttp_client.py", arguments), &WHOLE_ECHOES).await
}

#[tokio::test]
async fn nodes_ws_is_served_over_tls() -> Result<()> {
    serve(|arguments| Peer::node("ws_client.cjs", arguments), &ECHOES).await
}

/// Talks to a server whose certificate is for `localhost`, after two attempts that have to fail.
async fn meet(
    start: impl Fn(&[&str]) -> Result<Peer>,
    parameters: &[&str],
    fragments: Fragments,
) -> Result<()> {
    let authority = Authority::new().await?;
    let Pair { certificate, key } = authority.sign("localhost").await?;
    let certificate = format!("certificate={}", certificate.display());
    let key = format!("key={}", key.display());
    let mut server = start(&["deflate", &certificate, &key])?;
    let url = format!("wss://localhost:{}/chat?room=7", server.port().await?);
    let trust = ClientTls::new().root_certificates(authority.certificate());

    let strangers = Authority::new().await?;
    let other = ClientTls::new().root_certificates(strangers.certificate());
    let outgoing = |tls| Outgoing::websocket(&url).tls(tls);
    let unknown = failure(outgoing(other)).await?;
    for text in ["localhost", "UnknownIssuer", "no authority we trust", "root_certificates"] {
        ensure!(unknown.contains(text), "no {text:?} in {unknown:?}");
    }
    let misnamed = failure(outgoing(trust.clone().server_name("other.test"))).await?;
    for text in ["other.test", "localhost", "certificate"] {
        ensure!(misnamed.contains(text), "no {text:?} in {misnamed:?}");
    }
    meet_by(|| outgoing(trust.clone()), server, parameters, fragments).await
}

/// Returns why a connection does not come about.
async fn failure(outgoing: Outgoing<WebSocket>) -> Result<String> {
    in_a_table(async { Ok(Ours::connect(outgoing)?.closed().await?.to_string()) }).await
}

#[tokio::test]
async fn meets_pythons_websockets_over_tls() -> Result<()> {
    let start = |words: &[&str]| Peer::python("websockets_server.py", words);
    meet(start, &[BOTH, SMALL].concat(), Fragments::Yes).await
}

#[tokio::test]
async fn meets_pythons_aiohttp_over_tls() -> Result<()> {
    meet(|words| Peer::python("aiohttp_server.py", words), &BOTH[..1], Fragments::No).await
}

#[tokio::test]
async fn meets_nodes_ws_over_tls() -> Result<()> {
    meet(|words| Peer::node("ws_server.cjs", words), &BOTH, Fragments::Yes).await
}
