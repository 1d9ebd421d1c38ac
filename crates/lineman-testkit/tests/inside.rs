//! Programs that exist only in a test.

use anyhow::{Context, Result, ensure};
use lineman::prelude::*;
use lineman_testkit::{Client, Program};

fn echo() -> App {
    let echo = Worker::websocket("127.0.0.1:0").name("echo").count(2);
    App::new().service(echo.on_message(async |connection, message| {
        if message.as_text() == Some("who") {
            connection.send(std::process::id().to_string().as_str())
        } else {
            connection.send(message)
        }
    }))
}

async fn client(program: &Program) -> Result<Client> {
    Client::connect(&format!("ws://{}", program.address("echo").await?)).await
}

#[tokio::test]
async fn a_program_is_started_killed_reloaded_and_gone() -> Result<()> {
    let program = Program::of(echo).await?;
    let mut first = client(&program).await?;
    first.send_text("hello").await?;
    assert_eq!(first.next_text().await?, "hello");
    first.send_text("who").await?;
    let server: u32 = first.next_text().await?.parse()?;
    ensure!(server != std::process::id(), "it is a process of its own");

    let old = program.kill("echo/1").await?;
    program.replaced("echo/1", &old).await?;
    let old = program.process("echo/0").await?;
    first.close().await?;
    program.reload().await?;
    ensure!(program.process("echo/0").await?.pid() != old.pid());
    let mut second = client(&program).await?;
    second.send_text("still here").await?;
    assert_eq!(second.next_text().await?, "still here");
    let error = program.address("shop").await.expect_err("no such service").to_string();
    ensure!(error.contains("echo"), "{error}");

    let left = program.processes();
    ensure!(left.len() == 3, "{left:?}");
    drop(program);
    ensure!(left.iter().all(|process| !process.is_alive()), "{left:?}");
    Ok(())
}

#[tokio::test]
async fn a_program_that_cannot_start_says_why() -> Result<()> {
    let started = Program::of(|| {
        let broken = Worker::task("broken").on_start(async |_| Err("the cellar is flooded".into()));
        App::new().service(broken)
    });
    let error = started.await.err().context("it cannot start")?;
    let text = format!("{error:#}");
    ensure!(text.contains("broken/0") && text.contains("the cellar is flooded"), "{text}");
    Ok(())
}

#[tokio::test]
async fn outside_of_a_test_it_says_so() -> Result<()> {
    let elsewhere = std::thread::Builder::new().name("main".to_owned()).spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(Program::of(echo)).map(drop)
    })?;
    let error = elsewhere.join().ok().context("no panic")?.expect_err("no test");
    ensure!(error.to_string().contains("#[test]"), "{error}");
    Ok(())
}

#[tokio::test]
async fn slots_and_services_are_reloaded_by_name() -> Result<()> {
    let program = Program::of(echo).await?;
    let pids = async || -> Result<_> {
        let status = program.status().await?;
        Ok((status.slot("echo/0")?.pid, status.slot("echo/1")?.pid))
    };
    let before = pids().await?;
    program.reload_only("echo/1").await?;
    let after = pids().await?;
    ensure!(before.0 == after.0 && before.1 != after.1, "{before:?} {after:?}");
    program.reload_only("echo").await?;
    let last = pids().await?;
    ensure!(last.0 != after.0 && last.1 != after.1, "{after:?} {last:?}");
    let unknown = program.reload_only("ech").await.unwrap_err().to_string();
    ensure!(unknown.contains("echo"), "{unknown}");
    Ok(())
}
