//! The command line: what each verb prints, how it ends, what it leaves behind.

use std::net::TcpListener;

use anyhow::{Context, Result};
use lineman_testkit::{Port, Status};
use lineman_tests::programs::{Server, echo, http, part_of_cluster};
use lineman_tests::raw::Raw;
use serde_json::Value;

#[tokio::test]
async fn start_as_a_daemon_returns_when_everything_is_up() -> Result<()> {
    let echo = echo()?.knob("ECHO_COUNT", "2");
    let started = echo.program.start().await?;
    let master = echo.program.status().await?.pid;
    let row = format!("echo     websocket  ws://{}          2  ok", echo.port.address());
    assert!(started.stdout.contains(&format!("echo  pid {master}\n")), "{started}");
    assert!(started.stdout.contains(&row), "no {row:?} in\n{started}");
    // No waiting here: it is up.
    let mut client = echo.client().await?;
    client.send_text("hello").await?;
    assert_eq!(client.next_text().await?, "hello");
    Ok(())
}

#[tokio::test]
async fn a_second_start_names_the_process_that_runs() -> Result<()> {
    let echo = echo()?.started().await?;
    let master = echo.program.status().await?.pid;
    for arguments in [["start"].as_slice(), &["start", "-d"]] {
        let second = echo.program.run(arguments).await?.expect_code(4)?;
        assert!(second.stderr.contains(&format!("pid {master}")), "{second}");
    }
    assert_eq!(echo.program.status().await?.pid, master);
    Ok(())
}

#[tokio::test]
async fn status_and_connections_are_text_and_json() -> Result<()> {
    let echo = echo()?.started().await?;
    let client = echo.client().await?;
    let peer = client.local_addr()?.to_string();

    let status = echo.program.run(&["status"]).await?.expect_code(0)?;
    status.expect_text("1 service, 1 process")?.expect_text("1/1 ready")?.expect_text("echo/0")?;
    let status = echo.program.run(&["status", "--json"]).await?.expect_code(0)?;
    let status: Value = serde_json::from_str(&status.stdout)?;
    assert_eq!(status["slots"][0]["slot"], "echo/0");
    assert_eq!(status["totals"]["connections"], 1);

    let connections = echo.program.run(&["connections"]).await?.expect_code(0)?;
    connections.expect_text(&peer)?.expect_text("websocket")?;
    let connections = echo.program.run(&["connections", "--json"]).await?.expect_code(0)?;
    let line = connections.stdout.lines().next().context("a line for the client")?;
    let line: Value = serde_json::from_str(line)?;
    assert_eq!(line["peer"], peer);
    assert_eq!(line["state"], "open");

    let none = echo.program.run(&["connections", "nobody"]).await?;
    assert_eq!(none.code, Some(1), "{none}");
    Ok(())
}

/// Runs `connections http --json` and reads its lines.
async fn listed(server: &Server) -> Result<Vec<Value>> {
    let list = server.program.run(&["connections", "http", "--json"]).await?.expect_code(0)?;
    list.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[tokio::test]
async fn a_kept_http_connection_is_listed_until_it_closes() -> Result<()> {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let server = http()?.started().await?;
    let mut peer = Raw::connect(&server.port.address()).await?;
    let mut heard = 0;
    for _ in 0..2 {
        peer.send(REQUEST).await?;
        heard += peer.answer(b"hello").await?.len();
    }
    let rows = listed(&server).await?;
    let [row] = rows.as_slice() else { anyhow::bail!("not one row: {rows:?}") };
    assert_eq!((&row["slot"], &row["protocol"]), (&"http/0".into(), &"http/1.1".into()));
    assert_eq!((&row["state"], &row["tls"]), (&"open".into(), &Value::Null));
    assert_eq!(row["local"], server.port.address());
    assert_eq!(row["peer"], peer.local_addr()?.to_string());
    assert_eq!((&row["messages_in"], &row["messages_out"]), (&2.into(), &2.into()));
    assert_eq!(row["bytes_in"], 2 * REQUEST.len());
    assert_eq!(row["bytes_out"], heard);
    assert!(row["id"].is_u64() && row["age_ms"].is_u64(), "{row}");
    let text = server.program.run(&["connections"]).await?.expect_code(0)?;
    text.expect_text("http/1.1")?.expect_text(&peer.local_addr()?.to_string())?;
    let status = server.program.run(&["status", "--json"]).await?.expect_code(0)?;
    let status: Value = serde_json::from_str(&status.stdout)?;
    assert_eq!(status["totals"]["messages_in"], 2, "{status}");
    assert_eq!(status["totals"]["bytes_out"], heard, "{status}");
    drop(peer);
    let is_gone =
        |status: &Status| status.slot("http/0").is_ok_and(|slot| slot.stats["connections"] == 0);
    server.program.until("the connection to be gone", is_gone).await?;
    assert_eq!(listed(&server).await?, Vec::<Value>::new());
    Ok(())
}

#[tokio::test]
async fn stop_leaves_nothing_behind() -> Result<()> {
    let echo = echo()?.knob("ECHO_COUNT", "2").started().await?;
    assert_eq!(echo.program.processes().len(), 3);
    echo.program.stop().await?;
    echo.program.all_gone().await?;
    assert_nothing_left(&echo.program);
    TcpListener::bind(echo.port.address()).context("the port is free again")?;
    Ok(())
}

#[tokio::test]
async fn without_a_master_verbs_say_that_it_does_not_run() -> Result<()> {
    let echo = echo()?;
    for verb in ["stop", "reload", "status", "connections"] {
        echo.program.run(&[verb]).await?.expect_code(3)?.expect_text("not running")?;
    }
    Ok(())
}

#[tokio::test]
async fn a_port_in_use_fails_the_start_as_a_whole() -> Result<()> {
    let echo = echo()?.knob("ECHO_COUNT", "2");
    let _other = TcpListener::bind(echo.port.address())?;
    for arguments in [["start"].as_slice(), &["start", "-d"]] {
        let failed = echo.program.run(arguments).await?.expect_code(1)?;
        let problem = format!("cannot listen on {}: Address already in use", echo.port.address());
        assert!(failed.stderr.contains(&problem), "{failed}");
        echo.program.all_gone().await?;
        assert_nothing_left(&echo.program);
    }
    Ok(())
}

#[tokio::test]
async fn a_failing_on_start_reaches_the_command_that_started_it() -> Result<()> {
    let echo = echo()?;
    let marker = echo.program.folder().join("broken");
    tokio::fs::write(&marker, "the cellar is flooded").await?;
    let echo = echo.knob("ECHO_BROKEN_IF", &marker);
    for arguments in [["start"].as_slice(), &["start", "-d"]] {
        let failed = echo.program.run(arguments).await?.expect_code(1)?;
        assert!(failed.stderr.contains("echo/0"), "{failed}");
        assert!(failed.stderr.contains("the cellar is flooded"), "{failed}");
        echo.program.all_gone().await?;
        assert_nothing_left(&echo.program);
    }
    Ok(())
}

/// Takes the ten seconds that a worker is given.
#[tokio::test]
async fn a_worker_that_does_not_get_ready_fails_the_start() -> Result<()> {
    let echo = echo()?;
    let marker = echo.program.folder().join("marker");
    tokio::fs::write(&marker, "wait").await?;
    let echo = echo.knob("ECHO_BROKEN_IF", &marker);
    let failed = echo.program.run(&["start", "-d"]).await?.expect_code(1)?;
    failed.expect_text("echo/0")?.expect_text("not ready within 10s")?;
    echo.program.all_gone().await?;
    assert_nothing_left(&echo.program);
    Ok(())
}

#[tokio::test]
async fn restart_is_another_master_on_the_same_port() -> Result<()> {
    let echo = echo()?.started().await?;
    let first = echo.program.master().await?;
    echo.program.run(&["restart", "-d"]).await?.expect_code(0)?;
    first.gone().await?;
    assert_ne!(echo.program.master().await?.pid(), first.pid());
    let mut client = echo.client().await?;
    client.send_text("hello").await?;
    assert_eq!(client.next_text().await?, "hello");
    Ok(())
}

#[tokio::test]
async fn restart_of_what_does_not_run_starts_it() -> Result<()> {
    let echo = echo()?;
    let restarted = echo.program.run(&["restart", "-d"]).await?.expect_code(0)?;
    restarted.expect_text("not running: starting it")?;
    echo.client().await?;
    Ok(())
}

#[tokio::test]
async fn sigterm_ends_a_foreground_program_when_its_clients_are_gone() -> Result<()> {
    let echo = echo()?;
    let foreground = echo.program.foreground().await?;
    let mut client = echo.client().await?;
    foreground.process().terminate();
    let draining = |status: &Status| status.slots.iter().any(|slot| slot.state == "draining");
    echo.program.until("the worker to drain", draining).await?;
    client.send_text("still here").await?;
    assert_eq!(client.next_text().await?, "still here");
    client.close().await?;
    foreground.ended().await?.expect_code(0)?.expect_text("Press Ctrl-C to stop.")?;
    assert_nothing_left(&echo.program);
    Ok(())
}

#[tokio::test]
async fn what_is_no_command_is_a_usage_error() -> Result<()> {
    let echo = echo()?;
    for arguments in [["dance"].as_slice(), &["stop", "--timeout", "soon"], &[]] {
        let wrong = echo.program.run(arguments).await?.expect_code(2)?;
        assert!(wrong.stderr.contains("--help"), "{wrong}");
    }
    for (line, nearest) in
        [(["stauts"].as_slice(), "'status'"), (&["start", "--demon"], "--daemon")]
    {
        let wrong = echo.program.run(line).await?.expect_code(2)?;
        assert!(wrong.stderr.contains(nearest), "{wrong}");
    }
    Ok(())
}

#[tokio::test]
async fn check_says_what_would_run_and_binds_nothing() -> Result<()> {
    let echo = echo()?.knob("ECHO_COUNT", "2");
    // Somebody else's port is found by a start alone.
    let _other = TcpListener::bind(echo.port.address())?;
    let row = format!("echo     websocket  ws://{}          2  replaced", echo.port.address());
    echo.program.run(&["check"]).await?.expect_code(0)?.expect_text(&row)?;
    assert_nothing_left(&echo.program);

    let wrong = http()?;
    let missing = wrong.program.folder().join("missing.pem");
    let wrong = wrong.knob("HTTP_CERTIFICATE", &missing).knob("HTTP_KEY", &missing);
    let output = wrong.program.run(&["check"]).await?.expect_code(1)?;
    assert!(output.stderr.contains("http: cannot use"), "{output}");
    assert!(output.stderr.contains("missing.pem"), "{output}");
    Ok(())
}

#[tokio::test]
async fn check_names_places_that_are_not_to_be_had() -> Result<()> {
    let register = Port::reserve()?;
    let twice = part_of_cluster("register business gateway", &register)?;
    let twice = twice.knob("CLUSTER_LISTEN", register.address());
    let named = format!("and register at {}: give one of them another", register.address());
    for verb in [&["check"][..], &["start"], &["start", "-d"]] {
        twice.program.run(verb).await?.expect_code(1)?.expect_text(&named)?;
    }
    let echo = echo()?;
    let place = format!("unix:{}", echo.program.folder().join("missing/echo.sock").display());
    let echo = echo.knob("ECHO_LISTEN", &place);
    let named = format!("echo: cannot listen on {place}: the folder ");
    echo.program.run(&["check"]).await?.expect_code(1)?.expect_text(&named)?;
    assert_nothing_left(&echo.program);
    Ok(())
}

#[tokio::test]
async fn completions_know_the_verbs_in_every_shell() -> Result<()> {
    let echo = echo()?;
    for shell in ["bash", "zsh", "fish"] {
        let script = echo.program.run(&["completions", shell]).await?.expect_code(0)?;
        script.expect_text("connections")?.expect_text("runtime-dir")?;
    }
    echo.program.run(&["completions", "cmd"]).await?.expect_code(2)?;
    Ok(())
}

/// Pinned: a change of the help shows as a whole. Written anew by running with
/// `UPDATE_EXPECTED=1`.
#[tokio::test]
async fn the_help_is_as_expected() -> Result<()> {
    let echo = echo()?;
    let mut help = String::new();
    let verbs = [
        "start",
        "stop",
        "restart",
        "reload",
        "upgrade",
        "status",
        "connections",
        "health",
        "logs",
        "check",
        "completions",
    ];
    let pages = verbs.map(|verb| vec![verb, "--help"]);
    for arguments in std::iter::once(vec!["--help"]).chain(pages) {
        let page = echo.program.run(&arguments).await?.expect_code(0)?;
        help.extend(["$ echo ", &arguments.join(" "), "\n", &page.stdout, "\n"]);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/expected/help.txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        tokio::fs::write(path, &help).await?;
    }
    assert_eq!(help, tokio::fs::read_to_string(path).await?, "see {path}");
    Ok(())
}

#[track_caller]
fn assert_nothing_left(program: &lineman_testkit::Program) {
    assert!(program.processes().is_empty(), "{:?}", program.processes());
    for name in ["control.sock", "master.lock"] {
        assert!(!program.folder().join(name).exists(), "{name} was left behind");
    }
}
