//! HTTP clients that share no code with us.

use anyhow::{Result, ensure};
use lineman_tests::peer::Peer;
use lineman_tests::programs::http;

/// What curl prints behind each answer: status, version, and connections it had to open for it.
const REPORT: &str = "\n%{http_code} HTTP/%{http_version} %{num_connects}\n";

/// Runs curl, quietly but for errors, and returns what it printed on stdout and stderr.
async fn curl(arguments: &[&str]) -> Result<String> {
    let common = ["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"];
    let (code, output) = Peer::program("curl", &[&common, arguments].concat())?.output().await?;
    ensure!(code == Some(0), "curl {arguments:?} failed with {code:?}:\n{output}");
    Ok(output)
}

#[tokio::test]
async fn curl_is_served() -> Result<()> {
    let server = http()?.started().await?;
    let root = format!("http://{}/", server.port.address());
    // Twice by one process: the second request goes over the first one's connection.
    let twice = curl(&["--http1.1", "--write-out", REPORT, &root, &root]).await?;
    assert_eq!(twice, "hello\n200 HTTP/1.1 1\nhello\n200 HTTP/1.1 0");
    // HTTP/1.0 keeps no connection unless it asks.
    let report = "\n%{http_code} %{num_connects}\n";
    let old = curl(&["--http1.0", "--write-out", report, &root, &root]).await?;
    assert_eq!(old, "hello\n200 1\nhello\n200 1");
    let missing = curl(&["--write-out", REPORT, &format!("{root}nowhere")]).await?;
    assert_eq!(missing, "404 HTTP/1.1 1");
    Ok(())
}

#[tokio::test]
async fn curl_hears_of_a_body_it_does_not_get() -> Result<()> {
    let server = http()?.started().await?;
    let large = format!("http://{}/large", server.port.address());
    let head = curl(&["--head", "--write-out", REPORT, &large, &large]).await?;
    let head = head.to_lowercase();
    assert_eq!(head.matches("content-length: 1048576").count(), 2, "{head}");
    // Were there a body, the second answer would begin in it.
    assert!(head.ends_with("200 http/1.1 0"), "{head}");
    Ok(())
}

#[tokio::test]
async fn curl_uploads() -> Result<()> {
    let server = http()?.started().await?;
    let length = format!("http://{}/length", server.port.address());
    let body = tempfile::NamedTempFile::new()?;
    std::fs::write(body.path(), vec![b'x'; 3 * 1024 * 1024])?;
    let data = format!("@{}", body.path().display());
    // A client that waits as long for its `100` as it may: without one it would run into `max-time`.
    let patient = ["--expect100-timeout", "100", "--header", "Expect: 100-continue", "--verbose"];
    let upload = ["--data-binary", &data, &length];
    let answer = curl(&[&patient[..], &upload].concat()).await?;
    assert!(answer.contains("< HTTP/1.1 100 Continue"), "{answer}");
    assert!(answer.starts_with("3145728"), "{answer}");
    let chunked = ["--header", "Transfer-Encoding: chunked", "--header", "Expect:"];
    assert_eq!(curl(&[&chunked[..], &upload].concat()).await?, "3145728");
    Ok(())
}
