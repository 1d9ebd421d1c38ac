//! TLS as openssl and curl see it: versions, names, certificates both ways, resumption, ALPN.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lineman_tests::certificates::{Authority, Pair};
use lineman_tests::peer::Peer;
use lineman_tests::programs::{Server, http};

/// Asks for a page, and for the end of the connection.
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// What a page ends with that came whole.
const HELLO: &str = "hello";

/// A server with a certificate for `localhost` and one for `other.test`.
async fn server(authority: &Authority) -> Result<Server> {
    let [localhost, other] =
        [authority.sign("localhost").await?, authority.sign("other.test").await?];
    let server = http()?
        .knob("HTTP_CERTIFICATE", localhost.certificate)
        .knob("HTTP_KEY", localhost.key)
        .knob("HTTP_SECOND_CERTIFICATE", other.certificate)
        .knob("HTTP_SECOND_KEY", other.key);
    Ok(server)
}

/// Runs `openssl s_client` with a request, and returns its exit code and all it printed.
async fn s_client(
    server: &Server,
    authority: &Authority,
    arguments: &[&str],
) -> Result<(Option<i32>, String)> {
    let (address, root) = (server.port.address(), authority.certificate());
    let common = ["s_client", "-connect", &address, "-ign_eof", "-verify_return_error"];
    let trust = ["-CAfile", shown(&root)?];
    let mut client = Peer::program("openssl", &[&common[..], &trust, arguments].concat())?;
    // One that has failed its handshake does not read; what it printed says why.
    drop(client.tell_all(REQUEST).await);
    client.output().await
}

fn shown(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

#[tokio::test]
async fn openssl_is_served_in_both_versions_and_with_the_name_it_asks_for() -> Result<()> {
    let authority = Authority::new().await?;
    let server = server(&authority).await?.started().await?;
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        for name in ["localhost", "other.test"] {
            let arguments = [flag, "-servername", name, "-verify_hostname", name];
            let (code, output) = s_client(&server, &authority, &arguments).await?;
            ensure!(code == Some(0), "{output}");
            for text in [version, "Verification: OK", &format!("subject=CN = {name}"), HELLO] {
                assert!(output.contains(text), "no {text:?} in\n{output}");
            }
        }
    }
    // A client that would take it, so that the refusal is ours.
    let old = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    let (code, output) = s_client(&server, &authority, &old).await?;
    assert_ne!(code, Some(0), "{output}");
    assert!(output.contains("SSL alert number"), "{output}");
    Ok(())
}

#[tokio::test]
async fn openssl_chooses_a_protocol() -> Result<()> {
    let authority = Authority::new().await?;
    let server = server(&authority).await?.started().await?;
    let arguments = ["-servername", "localhost", "-alpn", "http/1.1"];
    let (_, output) = s_client(&server, &authority, &arguments).await?;
    assert!(output.contains("ALPN protocol: http/1.1"), "{output}");
    assert!(output.contains(HELLO), "{output}");
    Ok(())
}

#[tokio::test]
async fn openssl_resumes_a_session() -> Result<()> {
    let authority = Authority::new().await?;
    let server = server(&authority).await?.started().await?;
    let folder = tempfile::tempdir()?;
    for version in ["-tls1_2", "-tls1_3"] {
        let session = folder.path().join(version);
        let common = [version, "-servername", "localhost"];
        let keep = ["-sess_out", shown(&session)?];
        let (_, output) = s_client(&server, &authority, &[&common[..], &keep].concat()).await?;
        assert!(output.contains("New, TLSv1"), "{output}");
        let resume = ["-sess_in", shown(&session)?];
        // Whichever process answers: `tests/tls.rs`.
        let (_, output) = s_client(&server, &authority, &[&common[..], &resume].concat()).await?;
        assert!(output.contains("Reused, TLSv1"), "{version}\n{output}");
        assert!(output.contains(HELLO), "{output}");
    }
    Ok(())
}

#[tokio::test]
async fn openssl_shows_a_certificate() -> Result<()> {
    let authority = Authority::new().await?;
    let Pair { certificate, key } = authority.sign("client").await?;
    let server = server(&authority).await?.knob("HTTP_CLIENTS", authority.certificate());
    let server = server.started().await?;
    let known = ["-cert", shown(&certificate)?, "-key", shown(&key)?];
    let strangers = Authority::new().await?;
    let stranger = strangers.sign("client").await?;
    let unknown = ["-cert", shown(&stranger.certificate)?, "-key", shown(&stranger.key)?];
    for version in ["-tls1_2", "-tls1_3"] {
        let with = |more: &[&'static str]| [&[version, "-servername", "localhost"], more].concat();
        let (_, output) = s_client(&server, &authority, &[&with(&[])[..], &known].concat()).await?;
        assert!(output.contains(HELLO), "{version}\n{output}");
        let (_, output) = s_client(&server, &authority, &with(&[])).await?;
        assert!(!output.contains(HELLO) && output.contains("alert"), "{version}\n{output}");
        let (_, output) =
            s_client(&server, &authority, &[&with(&[])[..], &unknown].concat()).await?;
        assert!(!output.contains(HELLO) && output.contains("alert"), "{version}\n{output}");
    }
    Ok(())
}

#[tokio::test]
async fn openssl_may_not_renegotiate() -> Result<()> {
    let authority = Authority::new().await?;
    let server = server(&authority).await?.started().await?;
    let address = server.port.address();
    let mut client = Peer::program("openssl", &["s_client", "-connect", &address, "-tls1_2"])?;
    // In this mode a line that is `R` alone asks for it. Its input stays open: its end would be ours.
    client.tell("R\n").await?;
    let (code, output) = client.output().await?;
    assert!(output.contains("RENEGOTIATING"), "{output}");
    assert_ne!(code, Some(0), "{output}");
    let (_, output) = s_client(&server, &authority, &["-servername", "localhost"]).await?;
    assert!(output.contains(HELLO), "others are served on: {output}");
    Ok(())
}

#[tokio::test]
async fn curl_is_served_over_tls() -> Result<()> {
    let authority = Authority::new().await?;
    let server = server(&authority).await?.started().await?;
    let port = server.port.number();
    let url = format!("https://localhost:{port}/");
    let resolve = format!("localhost:{port}:127.0.0.1");
    let root = authority.certificate();
    let report = "\n%{http_code} HTTP/%{http_version} %{num_connects}\n";
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let common = ["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"];
        let trust = ["--cacert", shown(&root)?, "--resolve", &resolve];
        let request = [flag, "--write-out", report, &url, &url];
        let arguments = [&common[..], &trust, &request].concat();
        let (code, output) = Peer::program("curl", &arguments)?.output().await?;
        ensure!(code == Some(0), "curl failed with {code:?}:\n{output}");
        let expected = format!("hello\n200 HTTP/{version} 1\nhello\n200 HTTP/{version} 0");
        assert_eq!(output, expected);
    }
    Ok(())
}
