//! In a container: as process 1, asked for its health, short of descriptors.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use lineman_testkit::{Client, Port, Process, Status, within};
use lineman_tests::launch::Launch;
use lineman_tests::programs::{Server, echo};
use lineman_tests::raw::Raw;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// A limit of open files at which a worker holds a few dozen connections.
const FEW: [&str; 3] = ["sh", "-c", r#"ulimit -n 48; exec "$0" "$@""#];

#[tokio::test]
async fn health_follows_the_life_of_the_program() -> Result<()> {
    let (echo, health) = probed(echo()?)?;
    echo.program.run(&["health"]).await?.expect_code(3)?;
    let echo = echo.started().await?;
    ready(&echo, &health).await?;

    let client = echo.client().await?;
    let stop = echo.program.run(&["stop", "-g", "--timeout", "1h"]);
    let leave = async {
        echo.program.until("the worker to drain", draining).await?;
        not_ready(&echo, &health, "not ready: stopping").await?;
        client.close().await
    };
    let (stopped, left) = tokio::join!(stop, leave);
    left?;
    stopped?.expect_code(0)?;
    echo.program.run(&["health", "--live"]).await?.expect_code(3)?.expect_text("not running")?;
    TcpStream::connect(health.address()).await.expect_err("nobody answers");
    Ok(())
}

#[tokio::test]
async fn a_service_without_a_process_is_not_ready() -> Result<()> {
    let (echo, health) = probed(echo()?)?;
    let marker = echo.program.folder().join("broken");
    let echo = echo.knob("ECHO_BROKEN_IF", &marker).started().await?;
    ready(&echo, &health).await?;
    tokio::fs::write(&marker, "the cellar is flooded").await?;
    echo.program.kill("echo/0").await?;
    let down = |status: &Status| status.slot("echo/0").is_ok_and(|slot| !slot.is_ready());
    echo.program.until("the slot to be down", down).await?;
    not_ready(&echo, &health, "not ready: echo has no ready process").await?;
    tokio::fs::remove_file(&marker).await?;
    let up = |status: &Status| status.slot("echo/0").is_ok_and(lineman_testkit::Slot::is_ready);
    echo.program.until("the slot to be up", up).await?;
    ready(&echo, &health).await
}

#[tokio::test]
async fn a_drain_delay_is_not_ready_and_still_accepts() -> Result<()> {
    let (echo, health) = probed(echo()?.knob("ECHO_DELAY_MS", "3600000"))?;
    let foreground = echo.program.foreground().await?;
    ready(&echo, &health).await?;
    foreground.process().terminate();
    echo.program.until("it to stop", |status| status.state == "stopping").await?;
    not_ready(&echo, &health, "not ready: stopping").await?;
    let mut late = echo.client().await?;
    late.send_text("am I late?").await?;
    assert_eq!(late.next_text().await?, "am I late?");
    // A worker that crashes meanwhile is replaced, as before.
    let old = echo.program.kill("echo/0").await?;
    assert_eq!(late.ended().await?.code(), None);
    echo.program.replaced("echo/0", &old).await?;
    let mut late = echo.client().await?;
    not_ready(&echo, &health, "not ready: stopping").await?;
    // A plain stop does not wait for the delay.
    echo.program.stop().await?;
    assert_eq!(late.ended().await?.code(), Some(1001));
    foreground.ended().await?.expect_code(0)?;
    Ok(())
}

#[tokio::test]
async fn after_the_drain_delay_comes_the_drain() -> Result<()> {
    let echo = echo()?.knob("ECHO_DELAY_MS", "300").started().await?;
    let mut client = echo.client().await?;
    let stop = echo.program.run(&["stop", "-g", "--timeout", "1h"]);
    let leave = async {
        echo.program.until("the worker to drain", draining).await?;
        client.send_text("still here").await?;
        assert_eq!(client.next_text().await?, "still here");
        client.close().await
    };
    let (stopped, left) = tokio::join!(stop, leave);
    left?;
    let stopped = stopped?.expect_code(0)?;
    stopped.expect_text("not ready from now on; the drain begins in 300ms")?;
    Ok(())
}

#[tokio::test]
async fn a_master_that_stands_still_is_not_live() -> Result<()> {
    let echo = echo()?.started().await?;
    let master = echo.program.master().await?;
    master.suspend();
    let frozen = echo.program.run(&["health", "--live"]).await;
    master.resume();
    frozen?.expect_code(1)?.expect_text("not live")?;
    echo.program.run(&["health", "--live"]).await?.expect_code(0)?;
    Ok(())
}

#[tokio::test]
async fn probes_are_bounded_and_nothing_else_is_served() -> Result<()> {
    let (echo, health) = probed(echo()?)?;
    let _echo = echo.started().await?;
    let asked = |request: &'static str| ask(&health, request);
    assert!(asked("HEAD /ready").await?.starts_with("HTTP/1.1 200 "));
    assert!(asked("HEAD /ready").await?.ends_with("\r\n\r\n"), "no body");
    assert!(asked("GET /").await?.starts_with("HTTP/1.1 404 "));
    assert!(asked("GET /ready/../live").await?.starts_with("HTTP/1.1 404 "));
    let refused = asked("POST /ready").await?;
    assert!(
        refused.starts_with("HTTP/1.1 405 ") && refused.contains("allow: GET, HEAD"),
        "{refused}"
    );
    // All that is read and no more: what is left unread would turn the answer into a reset.
    let long = format!("GET /{}", "a".repeat(8 * 1024 - 5));
    let long = raw(&health, long.as_bytes()).await?;
    assert!(long.starts_with("HTTP/1.1 431 "), "{long}");
    Ok(())
}

#[tokio::test]
async fn silent_connections_keep_no_probe_from_its_answer() -> Result<()> {
    let (echo, health) = probed(echo()?)?;
    let _echo = echo.started().await?;
    let mut silent = Vec::new();
    let connected = async {
        for _ in 0..640 {
            silent.push(TcpStream::connect(health.address()).await?);
        }
        anyhow::Ok(())
    };
    within("640 silent connections to be taken", connected).await??;
    for _ in 0..10 {
        let answer = ask(&health, "GET /live").await?;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    for mut silent in silent {
        assert_eq!(within("the end of a silent probe", silent.read(&mut [0; 1])).await??, 0);
    }
    Ok(())
}

#[tokio::test]
async fn a_probe_that_ends_its_half_is_answered() -> Result<()> {
    let (echo, health) = probed(echo()?)?;
    let _echo = echo.started().await?;
    for _ in 0..100 {
        let answer = raw(&health, b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    Ok(())
}

#[tokio::test]
async fn process_1_reaps_orphans_and_knows_how_its_workers_ended() -> Result<()> {
    if !can_unshare() {
        return Ok(());
    }
    let echo = echo()?;
    let launch = Launch::echo(&echo, &["unshare", "--pid", "--fork", "--mount-proc"])?;
    // The loop turns a thousand times a second, and so looks for orphans at every moment.
    let launch = launch.knob("NOTIFY_SOCKET", "/nowhere").knob("WATCHDOG_USEC", "2000");
    // Nobody here asks how an orphan ended.
    let launch = launch.knob("LINEMAN_ORPHAN_GRACE_MS", "0");
    let launched = launch.spawn()?;
    let status = echo.program.until("it to be up", |status| status.state == "up").await?;
    assert_eq!(status.pid, 1);
    let master = only_child(launched.process()?.pid())?;
    let [worker] = &children(master.pid())?[..] else { anyhow::bail!("one worker") };
    let worker = Process::open(*worker)?;

    let pipe = echo.program.folder().join("pipe");
    ensure!(std::process::Command::new("mkfifo").arg(&pipe).status()?.success(), "no pipe");
    let mut client = echo.client().await?;
    client.send_text(format!("orphan {}", pipe.display())).await?;
    client.next_text().await?;
    until_children(&master, 2).await?;
    // It reads to the end, which is now, and nobody but process 1 can take its status.
    drop(tokio::fs::OpenOptions::new().write(true).open(&pipe).await?);
    until_children(&master, 1).await?;

    // When it goes on, its loop is due at once: before the runtime has asked how the worker ended.
    master.suspend();
    worker.kill();
    worker.gone().await?;
    master.resume();
    let known = |status: &Status| {
        let slot = status.slot("echo/0");
        slot.is_ok_and(|slot| slot.last_exit.as_deref() == Some("signal 9 (SIGKILL)"))
    };
    echo.program.until("the end of the worker to be known", known).await?;
    master.terminate();
    launched.ended().await?.expect_code(0)?;
    Ok(())
}

#[tokio::test]
async fn process_1_leaves_its_hooks_to_ask_how_their_children_ended() -> Result<()> {
    if !can_unshare() {
        return Ok(());
    }
    let echo = echo()?;
    let file = echo.program.folder().join("asks");
    let launch = Launch::echo(&echo, &["unshare", "--pid", "--fork", "--mount-proc"])?;
    // The loop turns a thousand times a second, and so looks for orphans at every moment.
    let launch = launch.knob("NOTIFY_SOCKET", "/nowhere").knob("WATCHDOG_USEC", "2000");
    let launched = launch.knob("ECHO_ASKS_WHEN", &file).spawn()?;
    echo.program.until("it to be up", |status| status.state == "up").await?;
    let master = only_child(launched.process()?.pid())?;
    only_child(master.pid())?.kill();
    let replaced = |status: &Status| {
        status.slot("echo/0").is_ok_and(|slot| slot.is_ready() && slot.generation == 2)
    };
    echo.program.until("a successor", replaced).await?;
    // The successor, and what the hook has started, which has ended or will at once.
    until_children(&master, 2).await?;
    // Each answer is a turn of the loop.
    for _ in 0..5 {
        echo.program.status().await?;
    }
    tokio::fs::write(&file, "").await?;
    let answer = file.with_extension("answer");
    let written = async {
        loop {
            match tokio::fs::read_to_string(&answer).await {
                Ok(answer) if !answer.is_empty() => break answer,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    assert_eq!(within("the hook's answer", written).await?, "exit status: 7");
    master.terminate();
    launched.ended().await?.expect_code(0)?;
    Ok(())
}

#[tokio::test]
async fn a_hangup_that_was_ignored_at_the_start_stays_so() -> Result<()> {
    let echo = echo()?;
    let nohup = ["sh", "-c", r#"trap "" HUP; exec "$0" "$@""#];
    let launched = Launch::echo(&echo, &nohup)?.spawn()?;
    echo.program.until("it to be up", |status| status.state == "up").await?;
    let master = launched.process()?;
    master.signal(rustix::process::Signal::HUP);
    let mut client = echo.client().await?;
    client.send_text("still here").await?;
    assert_eq!(client.next_text().await?, "still here");
    // Whatever a signal does is done before a command that comes after it.
    assert_eq!(echo.program.status().await?.state, "up");
    client.close().await?;
    master.terminate();
    launched.ended().await?.expect_code(0)?;
    Ok(())
}

#[tokio::test]
async fn out_of_descriptors_new_clients_wait_until_others_leave() -> Result<()> {
    let echo = echo()?;
    let launched = Launch::echo(&echo, &FEW)?.spawn()?;
    echo.program.until("it to be up", |status| status.state == "up").await?;
    let mut first = echo.client().await?;
    let (leave, may_leave) = watch::channel(false);
    let url = echo.port.ws();
    let mut arriving: Vec<_> =
        (0..60).map(|_| tokio::spawn(client(url.clone(), may_leave.clone()))).collect();
    let is_full = |status: &Status| counted(status, "accept_pauses") >= 5;
    let full = echo.program.until("accepting to pause, several times", is_full).await?;
    let inside = counted(&full, "connections");
    assert!((10..48).contains(&inside), "{inside} connections");

    first.send_text("still here").await?;
    assert_eq!(first.next_text().await?, "still here");
    first.close().await?;
    leave.send(true)?;
    // Each that is in leaves, and lets the next one in, until all have been.
    let mut talked = 0;
    for arrived in join_all(arriving.iter_mut()).await {
        arrived??;
        talked += 1;
    }
    assert_eq!(talked, 60);
    let said = echo.program.log().matches("cannot accept").count();
    assert_eq!(said, 1, "said once, not for each pause");
    echo.program.stop().await?;
    let console = launched.ended().await?.expect_code(0)?;
    console.expect_text("each process can hold about")?.expect_text("--ulimit nofile=")?;
    Ok(())
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_and_said() -> Result<()> {
    // Little, and more than a word on the terminal is for; only root may have more than it was given.
    for hard in ["256", "70000"] {
        let words = format!(r#"ulimit -S -n 64 && ulimit -H -n {hard} && exec "$0" "$@""#);
        if hard != "256"
            && !std::process::Command::new("sh").args(["-c", &words, "true"]).status()?.success()
        {
            continue;
        }
        let echo = echo()?;
        let launched = Launch::echo(&echo, &["sh", "-c", &words])?.spawn()?;
        echo.program.until("it to be up", |status| status.state == "up").await?;
        let worker = echo.program.process("echo/0").await?;
        for process in [launched.process()?, worker] {
            let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.pid()))?;
            let line = limits.lines().find(|line| line.starts_with("Max open files"));
            let line: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
            assert_eq!(line.get(3..5), Some(&[hard, hard][..]), "soft and hard: {limits}");
        }
        let room = hard.parse::<u64>()? - 64;
        let said = format!("each process can hold about {room} connections: raise the limit");
        let log = echo.program.log();
        let logged = log.lines().find(|line| line.contains(&said) && line.contains("INFO"));
        assert!(logged.is_some_and(|line| line.contains("LimitNOFILE=")), "{log}");
        echo.program.stop().await?;
        launched.ended().await?.expect_code(0)?;
    }
    Ok(())
}

/// Connects, talks and leaves; a client that cannot get in yet waits in the backlog.
async fn client(url: String, mut may_leave: watch::Receiver<bool>) -> Result<()> {
    let mut client = Client::connect(&url).await?;
    client.send_text("hello").await?;
    assert_eq!(client.next_text().await?, "hello");
    may_leave.wait_for(|may| *may).await?;
    client.close().await
}

fn counted(status: &Status, counter: &str) -> u64 {
    let numbers = status.slots.iter().filter_map(|slot| slot.stats[counter].as_u64());
    numbers.sum()
}

fn probed(echo: Server) -> Result<(Server, Port)> {
    let health = Port::reserve()?;
    Ok((echo.knob("LINEMAN_HEALTH", health.address()), health))
}

fn draining(status: &Status) -> bool {
    status.slots.iter().any(|slot| slot.state == "draining")
}

async fn ready(echo: &Server, health: &Port) -> Result<()> {
    for path in ["/live", "/ready"] {
        let answer = ask(health, &format!("GET {path}")).await?;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    echo.program.run(&["health"]).await?.expect_code(0)?.expect_text("ready: 1/1 services")?;
    echo.program.run(&["health", "--ready"]).await?.expect_code(0)?;
    echo.program.run(&["health", "--live"]).await?.expect_code(0)?.expect_text("live")?;
    Ok(())
}

async fn not_ready(echo: &Server, health: &Port, why: &str) -> Result<()> {
    let answer = ask(health, "GET /ready").await?;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.ends_with(&format!("{why}\n")),
        "{answer}"
    );
    assert!(ask(health, "GET /live").await?.starts_with("HTTP/1.1 200 "));
    echo.program.run(&["health"]).await?.expect_code(1)?.expect_text(why)?;
    echo.program.run(&["health", "--live"]).await?.expect_code(0)?;
    Ok(())
}

async fn ask(health: &Port, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(health.address()).await?;
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    within("the answer to a probe", stream.read_to_string(&mut answer)).await??;
    Ok(answer)
}

/// Sends a request, ends its own half, and returns what is answered.
async fn raw(health: &Port, request: &[u8]) -> Result<String> {
    let mut peer = Raw::connect(&health.address()).await?;
    peer.send(request).await?;
    peer.end().await?;
    Ok(String::from_utf8(peer.rest().await?)?)
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn can_unshare() -> bool {
    let mut unshare = std::process::Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc", "true"]).stderr(Stdio::null());
    let can = unshare.status().is_ok_and(|status| status.success());
    if !can {
        eprintln!("SKIPPED, NOTHING WAS CHECKED: `unshare --pid` is not there or not permitted");
    }
    can
}

/// Returns the children of a process, the dead ones that were not reaped yet included.
fn children(parent: i32) -> Result<Vec<i32>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
        if fields.split_whitespace().nth(1).and_then(|ppid| ppid.parse().ok()) == Some(parent) {
            children.push(pid);
        }
    }
    Ok(children)
}

fn only_child(parent: i32) -> Result<Process> {
    let [child] = &children(parent)?[..] else { anyhow::bail!("{parent} has one child") };
    Process::open(*child)
}

async fn until_children(parent: &Process, count: usize) -> Result<()> {
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
    let there = async {
        while children(parent.pid())?.len() != count {
            ticks.tick().await;
        }
        anyhow::Ok(())
    };
    within(&format!("{count} children of process 1"), there).await?.context("children")
}
