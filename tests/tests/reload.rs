//! Reload: what is replaced, what stays, and who notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Program, Slot, Status};
use lineman_tests::alone;
use lineman_tests::crowd::Crowd;
use lineman_tests::programs::{Server, chat, echo, http};
use lineman_tests::raw::Raw;

#[tokio::test]
async fn clients_do_not_notice_that_both_businesses_are_replaced() -> Result<()> {
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
    for slot in ["chat-business/0", "chat-business/1"] {
        assert_ne!(after.slot(slot)?.pid, before.slot(slot)?.pid, "{slot} was replaced");
    }
    for slot in ["chat-gateway/0", "chat-gateway/1", "register/0"] {
        assert_eq!(after.slot(slot)?.pid, before.slot(slot)?.pid, "{slot} stayed");
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
    let done = Arc::new(AtomicBool::new(false));
    let visitors: Vec<_> =
        (0..4).map(|_| tokio::spawn(visit_until(Arc::clone(&echo), Arc::clone(&done)))).collect();

    echo.program.reload().await?;
    let after = pids(&echo.program.status().await?);
    done.store(true, Ordering::Relaxed);
    for visitor in visitors {
        let visits = visitor.await??;
        assert!(visits > 0, "somebody visited meanwhile");
    }
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

/// Connects, asks, leaves, and does so again until `done`; returns how often.
async fn visit_until(echo: Arc<Server>, done: Arc<AtomicBool>) -> Result<u64> {
    let mut visits = 0;
    while !done.load(Ordering::Relaxed) {
        let mut client = echo.client().await.context("refused during the reload")?;
        client.send_text("hello").await?;
        ensure!(client.next_text().await? == "hello");
        client.close().await?;
        visits += 1;
    }
    Ok(visits)
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
    let before = pids().await?;
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
    let stays = chat.program.run(&["reload", "register"]).await?.expect_code(1)?;
    stays.expect_text("register: stays")?.expect_text("`restart` does that")?;
    assert_eq!(pids().await?.first(), before.first(), "the register is as it was");
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

/// Asks on one kept connection after the other until `done`; returns how many requests were answered.
async fn ask_until(http: Arc<Server>, done: Arc<AtomicBool>) -> Result<u64> {
    let mut answered = 0;
    'connections: while !done.load(Ordering::Relaxed) {
        let mut peer = Raw::connect(&http.port.address()).await.context("refused")?;
        loop {
            peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
            let answer = peer.answer(b"hello").await.context("a request failed")?;
            answered += 1;
            if answer.contains("connection: close") || done.load(Ordering::Relaxed) {
                continue 'connections;
            }
        }
    }
    Ok(answered)
}

#[tokio::test]
async fn no_request_on_a_kept_connection_fails() -> Result<()> {
    let _machine = alone().await;
    let http = Arc::new(http()?.knob("HTTP_COUNT", "2").started().await?);
    let before = pids(&http.program.status().await?);
    let done = Arc::new(AtomicBool::new(false));
    let visitors: Vec<_> =
        (0..8).map(|_| tokio::spawn(ask_until(Arc::clone(&http), Arc::clone(&done)))).collect();
    http.program.reload().await?;
    http.program.reload().await?;
    done.store(true, Ordering::Relaxed);
    for visitor in visitors {
        let answered = visitor.await??;
        assert!(answered > 0, "somebody asked meanwhile");
    }
    let after = pids(&http.program.status().await?);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    Ok(())
}
