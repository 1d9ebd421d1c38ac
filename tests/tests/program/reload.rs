//! Reload: what is replaced, what stays, and who notices.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Client, Port, Program, Slot, Status, within};
use lineman_tests::alone;
use lineman_tests::crowd::Crowd;
use lineman_tests::meanwhile::{Meanwhile, Rounds, rounds_during};
use lineman_tests::programs::{Server, built, chat, copy, echo, http};
use lineman_tests::raw::Raw;

#[tokio::test]
async fn clients_do_not_notice_that_all_processes_are_replaced() -> Result<()> {
    let _machine = alone().await;
    let chat = Arc::new(chat()?.started().await?);
    let mut crowd = Crowd::gather(&chat, 10, 50).await?;
    let before = chat.program.status().await?;
    crowd.talk();
    crowd.rounds(2).await?;
    chat.program.reload().await?;
    crowd.rounds(2).await?;
    let report = crowd.part().await?;

    let after = chat.program.status().await?;
    for slot in before.slots.iter().map(|slot| &slot.slot) {
        assert_ne!(after.slot(slot)?.pid, before.slot(slot)?.pid, "{slot} was replaced");
    }
    assert_eq!(report.faults, Vec::<String>::new());
    assert!(report.missing.is_empty(), "not heard by all: {:?}", report.missing);
    assert_eq!(report.heard, report.said * 50, "everyone in a room heard everything");
    assert_eq!(after.gauge("chat-gateway", "lost_events"), 0);
    Ok(())
}

#[tokio::test]
async fn a_worker_is_replaced_and_no_connect_is_refused() -> Result<()> {
    let _machine = alone().await;
    let echo = echo()?.knob("ECHO_COUNT", "2").knob("ECHO_DRAIN_MS", "500").started().await?;
    let echo = Arc::new(echo);
    let before = pids(&echo.program.status().await?);
    let mut old = Vec::new();
    for _ in 0..20 {
        old.push(echo.client().await?);
    }
    let visitor = |_| Meanwhile::goes_on(|rounds| visit(Arc::clone(&echo), rounds));
    let visitors = (0..4).map(visitor).collect();

    let (_, visits) = rounds_during(visitors, echo.program.reload()).await?;
    assert!(visits.iter().all(|count| *count > 0), "visits during the reload: {visits:?}");
    let after = pids(&echo.program.status().await?);
    for client in &mut old {
        let ended = client.ended().await?;
        assert_eq!(ended.code(), Some(1001), "{ended:?}");
    }
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    let mut new = echo.client().await?;
    new.send_text("who").await?;
    let server: i32 = new.next_text().await?.parse()?;
    assert!(after.contains(&server), "{server} of {after:?} serves new clients");
    Ok(())
}

/// Connects, asks and leaves in each round.
async fn visit(echo: Arc<Server>, mut rounds: Rounds) -> Result<()> {
    while rounds.another() {
        let mut client = echo.client().await.context("refused during the reload")?;
        client.send_text("hello").await?;
        ensure!(client.next_text().await? == "hello");
        client.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_successor_that_fails_leaves_the_old_process_in_service() -> Result<()> {
    let echo = echo()?;
    let marker = echo.program.folder().join("broken");
    let echo = echo.knob("ECHO_BROKEN_IF", &marker).knob("ECHO_COUNT", "2").started().await?;
    let before = pids(&echo.program.status().await?);
    let mut client = echo.client().await?;

    tokio::fs::write(&marker, "the cellar is flooded").await?;
    let failed = echo.program.run(&["reload"]).await?.expect_code(1)?;
    for part in ["echo/0", "the cellar is flooded", "the old process goes on", "1 more slot"] {
        assert!(failed.stderr.contains(part), "no {part:?} in\n{failed}");
    }
    assert_serves(&echo.program, &before).await?;
    client.send_text("still here").await?;
    assert_eq!(client.next_text().await?, "still here");

    tokio::fs::remove_file(&marker).await?;
    client.close().await?;
    echo.program.reload().await?;
    let after = pids(&echo.program.status().await?);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_named_is_reloaded_alone() -> Result<()> {
    let chat = chat()?.started().await?;
    let pids = async || -> Result<Vec<_>> {
        let slots = chat.program.status().await?.slots;
        Ok(slots.into_iter().map(|slot| (slot.slot, slot.pid)).collect())
    };
    let changed = async |arguments: &[&str]| -> Result<Vec<String>> {
        let old = pids().await?;
        chat.program.run(arguments).await?.expect_code(0)?;
        let new = pids().await?;
        let slots = old.into_iter().filter(|slot| !new.contains(slot));
        Ok(slots.map(|(slot, _)| slot).collect())
    };
    assert_eq!(changed(&["reload", "chat-business/1"]).await?, ["chat-business/1"]);
    let both = ["chat-business/0", "chat-business/1"];
    assert_eq!(changed(&["reload", "chat-business"]).await?, both);

    let unknown = chat.program.run(&["reload", "shop"]).await?.expect_code(1)?;
    unknown.expect_text("there are: register, chat-gateway, chat-business")?;
    assert_eq!(changed(&["reload", "register"]).await?, ["register/0"]);
    assert_eq!(changed(&["reload", "chat-gateway/0"]).await?, ["chat-gateway/0"]);
    Ok(())
}

async fn assert_serves(program: &Program, pids_before: &[i32]) -> Result<()> {
    let status = program.status().await?;
    assert_eq!(pids(&status), pids_before);
    assert!(status.slots.iter().all(Slot::is_ready), "{status:#?}");
    Ok(())
}

fn pids(status: &Status) -> Vec<i32> {
    status.slots.iter().filter_map(|slot| slot.pid).collect()
}

/// Asks on one kept connection after the other, once in each round.
async fn ask(http: Arc<Server>, mut rounds: Rounds) -> Result<()> {
    let mut kept = None;
    while rounds.another() {
        let mut peer = match kept.take() {
            Some(peer) => peer,
            None => Raw::connect(&http.port.address()).await.context("refused")?,
        };
        peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let answer = peer.answer(b"hello").await.context("a request failed")?;
        kept = (!answer.contains("connection: close")).then_some(peer);
    }
    Ok(())
}

#[tokio::test]
async fn no_request_on_a_kept_connection_fails() -> Result<()> {
    let _machine = alone().await;
    let http = Arc::new(http()?.knob("HTTP_COUNT", "2").started().await?);
    let before = pids(&http.program.status().await?);
    let visitor = |_| Meanwhile::goes_on(|rounds| ask(Arc::clone(&http), rounds));
    let reloads = async {
        http.program.reload().await?;
        http.program.reload().await
    };
    let (_, answered) = rounds_during((0..8).map(visitor).collect(), reloads).await?;
    assert!(answered.iter().all(|count| *count > 0), "answered meanwhile: {answered:?}");
    let after = pids(&http.program.status().await?);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    Ok(())
}

/// Puts a file where another one is, as a deploy does: the old one runs on, without a name.
async fn deploy(content: &[u8], at: &Path) -> Result<()> {
    let new = at.with_extension("new");
    tokio::fs::write(&new, content).await?;
    tokio::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).await?;
    Ok(tokio::fs::rename(&new, at).await?)
}

#[tokio::test]
async fn a_new_binary_is_picked_up_and_a_broken_one_changes_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let binary = folder.path().join("echo");
    let good = tokio::fs::read(built("echo_under_test", "lineman-tests")?).await?;
    deploy(&good, &binary).await?;
    let port = Port::reserve()?;
    let program = Program::new(&binary)?.env("ECHO_LISTEN", port.address());
    program.start().await?;
    let mut client = Client::connect(&port.ws()).await?;
    let before = pids(&program.status().await?);

    let broken: [(&[u8], &str); 3] = [
        (b"#!/bin/sh\necho the cellar is flooded >&2\nexit 7\n", "7: the cellar is flooded"),
        (b"#!/no/such/interpreter\n", "cannot execute"),
        (b"\x7fELF\x02\x01\x01 and no more than that", "failed to start"),
    ];
    for (content, reason) in broken {
        deploy(content, &binary).await?;
        // The verb itself is the old program's: a copy of it asks.
        let verb = Program::new(built("echo_under_test", "lineman-tests")?)?;
        let verb =
            verb.env("ECHO_LISTEN", port.address()).env("LINEMAN_RUNTIME_DIR", program.folder());
        let failed = verb.run(&["reload"]).await?.expect_code(1)?;
        failed.expect_text(reason)?.expect_text("echo/0")?;
        client.send_text("still here").await?;
        assert_eq!(client.next_text().await?, "still here");
    }
    deploy(&good, &binary).await?;
    assert_eq!(pids(&program.status().await?), before, "nothing was replaced");
    client.close().await?;
    program.reload().await?;
    assert_ne!(pids(&program.status().await?), before);
    Ok(())
}

#[tokio::test]
async fn reloads_that_are_asked_for_meanwhile_are_one_more() -> Result<()> {
    let echo = echo()?.knob("ECHO_DRAIN_MS", "60000").started().await?;
    // The first reload waits for this one to leave.
    let client = echo.client().await?;
    let first = echo.program.run(&["reload"]);
    let others = async {
        let draining = |status: &Status| status.slots.iter().any(|slot| slot.state == "draining");
        echo.program.until("the first to be under way", draining).await?;
        let (second, third) =
            (echo.program.run(&["reload", "echo"]), echo.program.run(&["reload"]));
        let leave = async {
            let asked = |log: String| log.matches("asked to reload meanwhile").count() == 2;
            within("both to be heard", async {
                while !asked(echo.program.log()) {
                    tokio::task::yield_now().await;
                }
            })
            .await?;
            client.close().await
        };
        let (second, third, left) = tokio::join!(second, third, leave);
        left?;
        Ok((second?, third?))
    };
    let (first, others): (_, Result<_>) = tokio::join!(first, others);
    let (second, third) = others?;
    for output in [first?, second, third] {
        output.expect_code(0)?.expect_text("reloaded")?;
    }
    let generation = echo.program.status().await?.slot("echo/0")?.generation;
    assert_eq!(generation, 3, "one for the first, and one more for both others");
    Ok(())
}

#[tokio::test]
async fn a_switched_link_to_the_working_folder_is_followed() -> Result<()> {
    let releases = tempfile::tempdir()?;
    let (current, next) = (releases.path().join("current"), releases.path().join("next"));
    for release in ["1", "2"] {
        tokio::fs::create_dir(releases.path().join(release)).await?;
        let binary = releases.path().join(release).join("echo");
        copy(built("echo_under_test", "lineman-tests")?, binary)?;
    }
    std::os::unix::fs::symlink("1", &current)?;
    let port = Port::reserve()?;
    let words = r#"cd "$0" && export PWD && exec ./echo "$@""#;
    let program = Program::new("/bin/sh")?.args(["-c", words, &current.to_string_lossy()]);
    let program = program.env("ECHO_LISTEN", port.address());
    program.start().await?;
    std::os::unix::fs::symlink("2", &next)?;
    std::fs::rename(&next, &current)?;
    let place = async |name| {
        let pid = program.process("echo/0").await?.pid();
        let path = std::fs::read_link(format!("/proc/{pid}/{name}"))?;
        anyhow::Ok(path.strip_prefix(releases.path())?.display().to_string())
    };
    assert_eq!((&*place("cwd").await?, &*place("exe").await?), ("1", "1/echo"));
    let old = program.kill("echo/0").await?;
    program.replaced("echo/0", &old).await?;
    assert_eq!((&*place("cwd").await?, &*place("exe").await?), ("1", "1/echo"), "as it was");
    program.reload().await?;
    assert_eq!((&*place("cwd").await?, &*place("exe").await?), ("2", "2/echo"));
    Ok(())
}
