//! The master executes a new program in its own place: processes, connections and sockets stay.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::Result;
use lineman_testkit::{Client, Port, Program};
use lineman_tests::launch::Manager;
use lineman_tests::programs::{built, copy, echo};

#[tokio::test]
async fn ten_upgrades_in_a_row_are_noticed_by_no_process_and_no_client() -> Result<()> {
    let echo = echo()?.knob("ECHO_COUNT", "2").started().await?;
    let before = echo.program.status().await?;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(echo.client().await?);
    }
    for round in 0..10 {
        let speaking = async {
            for client in &mut clients {
                client.send_text(&format!("round {round}")).await?;
                assert_eq!(client.next_text().await?, format!("round {round}"));
            }
            anyhow::Ok(())
        };
        let (upgraded, spoke) = tokio::join!(echo.program.run(&["upgrade"]), speaking);
        spoke?;
        upgraded?.expect_code(0)?.expect_text("2 processes stay")?;
        let mut newcomer = echo.client().await?;
        newcomer.send_text("new").await?;
        assert_eq!(newcomer.next_text().await?, "new");
        newcomer.close().await?;
    }
    let after = echo.program.status().await?;
    assert_eq!(after.pid, before.pid);
    for slot in ["echo/0", "echo/1"] {
        assert_eq!(after.slot(slot)?.pid, before.slot(slot)?.pid);
        assert_eq!(after.slot(slot)?.generation, 1);
    }
    assert!(!echo.program.log().contains("the master is gone"), "{}", echo.program.log());
    for client in clients {
        client.close().await?;
    }
    // A process that the master before had started is missed when it dies, and replaced in a reload.
    let old = echo.program.kill("echo/0").await?;
    echo.program.replaced("echo/0", &old).await?;
    echo.program.run(&["reload"]).await?.expect_code(0)?.expect_text("2 processes replaced")?;
    echo.program.run(&["upgrade", "--reload"]).await?.expect_code(0)?;
    echo.program.run(&["stop"]).await?.expect_code(0)?;
    assert!(echo.program.run(&["status"]).await?.code == Some(3));
    Ok(())
}

#[tokio::test]
async fn a_program_that_does_not_understand_changes_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (binary, new) = (folder.path().join("served"), folder.path().join("new"));
    let good = built("echo_under_test", "lineman-tests")?;
    copy(&good, &binary)?;
    let port = Port::reserve()?;
    let program = Program::new(&binary)?.env("ECHO_LISTEN", port.address());
    // The verbs are those of a copy that is always there.
    let verb = Program::new(&good)?.env("ECHO_LISTEN", port.address());
    let verb = verb.env("LINEMAN_RUNTIME_DIR", program.folder());
    program.start().await?;
    let before = verb.status().await?;
    let mut client = Client::connect(&port.ws()).await?;
    for (wrong, why) in [
        ("#!/bin/sh\nexit 0\n", "does not know the master's state"),
        ("#!/bin/sh\necho no such library >&2; exit 1\n", "no such library"),
        ("#!/bin/sh\nkill -9 $$\n", "SIGKILL"),
        ("no program", "not upgraded"),
    ] {
        std::fs::write(&new, wrong)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755))?;
        std::fs::rename(&new, &binary)?;
        let upgrade = verb.run(&["upgrade"]).await?.expect_code(1)?;
        upgrade.expect_text(why)?.expect_text("nothing has changed")?;
        client.send_text("still").await?;
        assert_eq!(client.next_text().await?, "still");
    }
    assert_eq!(verb.status().await?.pid, before.pid);
    // One that is there again is executed, and what serves stays.
    copy(&good, &new)?;
    std::fs::rename(&new, &binary)?;
    verb.run(&["upgrade"]).await?.expect_code(0)?.expect_text("1 process stays")?;
    client.send_text("still").await?;
    assert_eq!(client.next_text().await?, "still");
    verb.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_service_manager_hears_of_no_other_process() -> Result<()> {
    let echo = echo()?;
    let mut manager = Manager::listen(&echo)?;
    let echo = echo.knob("NOTIFY_SOCKET", manager.path());
    let foreground = echo.program.foreground().await?;
    let main = foreground.process().pid();
    let pid = format!("MAINPID={main}");
    assert!(manager.hears("READY=1").await?.contains(&pid));
    echo.program.run(&["upgrade"]).await?.expect_code(0)?;
    assert!(manager.hears("READY=1").await?.contains(&pid));
    foreground.process().terminate();
    manager.hears("STOPPING=1").await?;
    foreground.ended().await?.expect_code(0)?;
    Ok(())
}
