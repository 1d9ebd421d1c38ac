//! TLS of real processes: files that change under them, certificates that clients may show, and sessions
//! that go on with another process.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lineman_testkit::within;
use lineman_tests::certificates::{Authority, Pair};
use lineman_tests::programs::{Server, lines};
use lineman_tests::secure::Secure;
use tempfile::TempDir;
use tokio::time::{MissedTickBehavior, interval};

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

/// How often a new client comes: files are looked at when one does.
const PACE: Duration = Duration::from_millis(200);

/// The files a server was started with, to be replaced.
struct Live {
    folder: TempDir,
    pair: Pair,
}

impl Live {
    fn new(first: &Pair) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [certificate, key] = ["live.pem", "live.key"].map(|name| folder.path().join(name));
        let live = Self { folder, pair: Pair { certificate, key } };
        live.replace(first)?;
        Ok(live)
    }

    /// Replaces both files, each at once, as those do who renew certificates.
    fn replace(&self, new: &Pair) -> Result<()> {
        self.put(&fs::read(&new.key)?, &self.pair.key)?;
        self.put(&fs::read(&new.certificate)?, &self.pair.certificate)
    }

    /// Replaces the certificate by what is none.
    fn break_it(&self) -> Result<()> {
        self.put(b"nonsense", &self.pair.certificate)
    }

    fn put(&self, content: &[u8], file: &Path) -> Result<()> {
        let next = self.folder.path().join("next");
        fs::write(&next, content)?;
        Ok(fs::rename(next, file)?)
    }
}

/// Connects anew and returns the name in the certificate that is shown.
async fn shown(server: &Server, authority: &Authority) -> Result<String> {
    let mut client = Secure::connect(&server.port.address(), authority, &[])?;
    client.ask("hello").await?;
    let subject = client.subject()?;
    let name = subject.strip_prefix("CN = ").context("another subject")?.to_owned();
    client.close().await?;
    Ok(name)
}

/// Connects again and again until `holds` of the certificate that is shown.
async fn until_shown(
    what: &str,
    server: &Server,
    authority: &Authority,
    mut holds: impl FnMut(&str) -> Result<bool>,
) -> Result<()> {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let seen = async {
        loop {
            pace.tick().await;
            if holds(&shown(server, authority).await?)? {
                return Ok(());
            }
        }
    };
    within(what, seen).await?
}

#[tokio::test]
async fn replaced_files_serve_new_connections_and_old_ones_stay() -> Result<()> {
    let authority = Authority::new().await?;
    let live = Live::new(&authority.sign("localhost").await?)?;
    let server = lines(&live.pair)?.started().await?;
    let mut early = Secure::connect(&server.port.address(), &authority, &[])?;
    let worker = early.ask("who").await?;

    live.break_it()?;
    until_shown("broken files to be noticed", &server, &authority, |name| {
        ensure!(name == "localhost", "the old certificate stays, not {name}");
        Ok(server.program.log().contains("new certificates are broken"))
    })
    .await?;
    assert_eq!(early.ask("who").await?, worker);
    let log = server.program.log();
    assert_eq!(log.matches("new certificates are broken").count(), 1, "once for each change");
    assert!(log.contains("live.pem"), "it names the file");

    live.replace(&authority.sign("renewed.test").await?)?;
    let is_new = |name: &str| Ok(name == "renewed.test");
    until_shown("the new certificate", &server, &authority, is_new).await?;
    assert_eq!(early.ask("who").await?, worker, "on the old connection");
    early.close().await?;
    let mut late = Secure::connect(&server.port.address(), &authority, &[])?;
    assert_eq!(late.ask("who").await?, worker, "nothing was started anew");
    late.close().await
}

#[tokio::test]
async fn a_reload_has_a_process_that_stays_read_its_files() -> Result<()> {
    let authority = Authority::new().await?;
    let live = Live::new(&authority.sign("localhost").await?)?;
    let server = lines(&live.pair)?.knob("TLS_KEEPS", "1").started().await?;
    let mut early = Secure::connect(&server.port.address(), &authority, &[])?;
    let worker = early.ask("who").await?;
    live.replace(&authority.sign("renewed.test").await?)?;
    server.program.reload().await?;
    // The order is on its way to the process before this: it has heard it when it has answered.
    server.program.status().await?;
    assert_eq!(shown(&server, &authority).await?, "renewed.test");
    assert_eq!(early.ask("who").await?, worker);
    early.close().await
}

#[tokio::test]
async fn a_reload_starts_with_the_new_files_or_not_at_all() -> Result<()> {
    let authority = Authority::new().await?;
    let live = Live::new(&authority.sign("localhost").await?)?;
    let server = lines(&live.pair)?.started().await?;
    let mut early = Secure::connect(&server.port.address(), &authority, &[])?;
    let worker = early.ask("who").await?;

    live.break_it()?;
    let refused = server.program.run(&["reload"]).await?;
    ensure!(refused.code != Some(0) && refused.stderr.contains("live.pem"), "{refused}");
    assert_eq!(early.ask("who").await?, worker);
    early.close().await?;
    assert_eq!(shown(&server, &authority).await?, "localhost");

    live.replace(&authority.sign("renewed.test").await?)?;
    server.program.reload().await?;
    assert_eq!(shown(&server, &authority).await?, "renewed.test");
    Ok(())
}

#[tokio::test]
async fn an_authoritys_certificate_in_a_servers_place_is_warned_of() -> Result<()> {
    let authority = Authority::new().await?;
    let warning = "the certificate is one of an authority";
    let server = lines(&authority.own())?;
    let checked = server.program.run(&["check"]).await?.expect_code(0)?;
    ensure!(checked.stderr.contains(warning), "{checked}");
    let server = server.started().await?;
    ensure!(server.program.log().contains(warning), "{}", server.program.log());
    let fine = lines(&authority.sign("localhost").await?)?;
    let checked = fine.program.run(&["check"]).await?.expect_code(0)?;
    ensure!(checked.stderr.is_empty(), "{checked}");
    Ok(())
}

#[tokio::test]
async fn a_client_may_show_a_certificate_and_need_not() -> Result<()> {
    let [authority, strangers] = [Authority::new().await?, Authority::new().await?];
    let server = lines(&authority.sign("localhost").await?)?;
    let server = server.knob("TLS_CLIENTS", authority.certificate()).started().await?;
    let address = server.port.address();
    let [known, unknown] = [authority.sign("alice").await?, strangers.sign("mallory").await?];
    for version in VERSIONS {
        let connect = |pair: Option<&Pair>| {
            let mut arguments = vec![version.to_owned()];
            if let Some(Pair { certificate, key }) = pair {
                let [certificate, key] = [certificate, key].map(|file| file.display().to_string());
                arguments.extend(["-cert".to_owned(), certificate, "-key".to_owned(), key]);
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            Secure::connect(&address, &authority, &arguments)
        };
        for (pair, subject) in [(Some(&known), "CN=alice"), (None, "")] {
            let mut client = connect(pair)?;
            assert_eq!(client.ask("subject").await?, subject, "{version}");
            client.close().await?;
        }
        let output = connect(Some(&unknown))?.failed().await?;
        assert!(output.contains("alert"), "{version}\n{output}");
        assert!(!output.contains("subject: "), "{version}\n{output}");
    }
    Ok(())
}

#[tokio::test]
async fn a_session_goes_on_with_another_process() -> Result<()> {
    /// Each of two processes gets every other connection or so: that none of these comes to the other
    /// one is as likely as a broken machine.
    const ATTEMPTS: usize = 100;

    let authority = Authority::new().await?;
    let server = lines(&authority.sign("localhost").await?)?.knob("TLS_COUNT", "2");
    let server = server.started().await?;
    let address = server.port.address();
    let folder = tempfile::tempdir()?;
    for version in VERSIONS {
        let session = folder.path().join(version);
        let session = session.to_str().context("a path in UTF-8")?;
        let mut first = Secure::connect(&address, &authority, &[version, "-sess_out", session])?;
        let begun_by = first.ask("who").await?;
        assert_eq!(first.ask("resumed").await?, "false");
        first.close().await?;
        let mut has_moved = false;
        for _ in 0..ATTEMPTS {
            let mut next = Secure::connect(&address, &authority, &[version, "-sess_in", session])?;
            assert_eq!(next.ask("resumed").await?, "true", "{version}");
            has_moved = next.ask("who").await? != begun_by;
            next.close().await?;
            if has_moved {
                break;
            }
        }
        ensure!(has_moved, "{version}: all of {ATTEMPTS} connections came to one process");
    }
    Ok(())
}
