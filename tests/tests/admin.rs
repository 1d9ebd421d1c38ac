//! What an administrator does wrong, or has done to them: masters that are killed, folders that cannot
//! be used, users without rights, processes that do not leave.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use lineman_testkit::{Output, Program, Status};
use lineman_tests::programs::echo;

/// A user without rights, on every machine.
const NOBODY: u32 = 65534;

/// A lock as a master leaves it behind that had no time to remove it.
fn leave_lock(folder: &Path, pid: u32) -> Result<()> {
    let holder = format!(r#"{{"pid":{pid},"started_at":1,"program":"/bin/other"}}"#);
    Ok(fs::write(folder.join("master.lock"), holder)?)
}

/// Runs a verb as a user without rights; only root can.
async fn as_nobody(program: &Program, verb: &[&str]) -> Result<Output> {
    let command = program.command(verb);
    let mut other = Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    other.arg(command.get_program()).args(command.get_args());
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = tokio::process::Command::from(other).output().await?;
    Ok(Output {
        command: verb.join(" "),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn we_are_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn start_works_at_once_after_the_master_was_killed() -> Result<()> {
    let echo = echo()?.knob("ECHO_COUNT", "2").started().await?;
    for _ in 0..3 {
        let mut client = echo.client().await?;
        let master = echo.program.master().await?;
        master.kill();
        master.gone().await?;
        echo.program.start().await?;
        let ended = client.ended().await?;
        assert_eq!(ended.code(), Some(1001), "{ended:?}");
    }
    echo.program.stop().await?;
    Ok(())
}

#[tokio::test]
async fn start_waits_for_an_orphan_whose_loop_is_blocked() -> Result<()> {
    let echo = echo()?;
    let marker = echo.program.folder().join("block");
    let echo = echo.knob("ECHO_BLOCK_WHILE", &marker).started().await?;
    fs::write(&marker, "")?;
    let mut client = echo.client().await?;
    client.send_text("block").await?;
    let is_busy = |status: &Status| status.slot("echo/0").is_ok_and(|slot| !slot.answered);
    echo.program.until("the loop to be blocked", is_busy).await?;
    let (master, orphan) = (echo.program.master().await?, echo.program.process("echo/0").await?);
    master.kill();
    master.gone().await?;
    let started = echo.program.start().await?;
    let waited = format!("waiting for what pid {} left behind", master.pid());
    assert!(started.stderr.contains(&waited), "{started}");
    orphan.gone().await?;
    assert!(echo.program.log().contains("the master is gone and the loop is blocked"));
    fs::remove_file(&marker)?;
    echo.program.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_lock_that_was_left_behind_is_never_believed() -> Result<()> {
    let echo = echo()?;
    // This test's own process has the number now.
    leave_lock(echo.program.folder(), std::process::id())?;
    for verb in ["status", "stop", "reload"] {
        echo.program.run(&[verb]).await?.expect_code(3)?;
    }
    let started = echo.program.start().await?;
    assert!(!started.stderr.contains("waiting"), "{started}");
    echo.program.stop().await?;
    for content in ["", "garbage", "{\"pid\":", "\0\0\0\0", &"x".repeat(100_000)] {
        fs::write(echo.program.folder().join("master.lock"), content)?;
        echo.program.run(&["status"]).await?.expect_code(3)?;
        echo.program.start().await?;
        echo.program.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_start_that_waits_in_vain_says_who_has_the_port() -> Result<()> {
    let echo = echo()?;
    let _other = std::net::TcpListener::bind(echo.port.address())?;
    leave_lock(echo.program.folder(), 1)?;
    let failed = echo.program.run(&["start", "-d"]).await?.expect_code(1)?;
    assert!(failed.stderr.contains("error: cannot listen on"), "{failed}");
    assert!(!echo.program.folder().join("master.lock").exists());
    Ok(())
}

/// What each of these says is the same for `start`, `check` and, where there could be a master, for
/// verbs that ask it.
#[tokio::test]
async fn a_runtime_folder_that_cannot_be_used_is_named_with_the_reason() -> Result<()> {
    let echo = echo()?;
    let folder = echo.program.folder();
    let file = folder.join("file");
    fs::write(&file, "precious")?;
    let open = folder.join("open");
    fs::create_dir(&open)?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777))?;
    let mut cases = vec![
        (file.clone(), "it is no folder"),
        (file.join("below"), "Not a directory"),
        (open, "(mode 0777): `chmod 0700` it"),
    ];
    if we_are_root() {
        let theirs = folder.join("theirs");
        fs::create_dir(&theirs)?;
        chown(&theirs, Some(NOBODY), None)?;
        cases.push((theirs, "it belongs to nobody: --runtime-dir"));
    }
    for (path, reason) in cases {
        let path = path.to_str().context("a path")?;
        for verb in [["start"].as_slice(), &["start", "-d"], &["check"]] {
            let line = [verb, &["--runtime-dir", path]].concat();
            let failed = echo.program.run(&line).await?.expect_code(1)?;
            assert!(failed.stderr.contains(path) && failed.stderr.contains(reason), "{failed}");
        }
    }
    assert_eq!(fs::read(&file)?, b"precious");
    Ok(())
}

#[tokio::test]
async fn another_user_is_told_who_could() -> Result<()> {
    if !we_are_root() {
        return Ok(());
    }
    let echo = echo()?.started().await?;
    let verbs = ["status", "stop", "reload", "connections", "health", "logs", "start", "restart"];
    for verb in verbs {
        let refused = as_nobody(&echo.program, &[verb]).await?.expect_code(1)?;
        assert!(refused.stderr.contains("it belongs to root: run this as that user"), "{refused}");
    }
    // Nor may it look into this folder.
    let closed = echo.program.folder().join("closed");
    fs::create_dir(&closed)?;
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700))?;
    let below = closed.join("run");
    let below = ["--runtime-dir", below.to_str().context("a path")?];
    for verb in verbs {
        let refused = as_nobody(&echo.program, &[&[verb], below.as_slice()].concat()).await?;
        assert!(refused.expect_code(1)?.stderr.contains("is open to root alone"), "{verb}");
    }
    assert_eq!(echo.program.status().await?.state, "up");
    Ok(())
}

#[tokio::test]
async fn check_finds_what_is_wrong_with_the_log() -> Result<()> {
    let echo = echo()?;
    let folder = echo.program.folder().to_owned();
    let log = folder.join("open.log");
    fs::write(&log, "")?;
    fs::set_permissions(&log, fs::Permissions::from_mode(0o666))?;
    let log = log.to_str().context("a path")?;
    let wrong = echo.program.run(&["check", "--log-file", log]).await?.expect_code(1)?;
    assert!(wrong.stderr.contains("open.log: everybody can write to it"), "{wrong}");
    let new = folder.join("new/a.log");
    let new = new.to_str().context("a path")?;
    echo.program.run(&["check", "--log-file", new]).await?.expect_code(0)?;
    assert!(!folder.join("new").exists());

    let echo =
        echo.knob("LINEMAN_LOG_FILE", folder.as_os_str()).knob("LINEMAN_LOG", "lineman=loud");
    let wrong = echo.program.run(&["check"]).await?.expect_code(1)?;
    assert!(wrong.stderr.contains("lineman=loud"), "{wrong}");
    let echo = echo.knob("LINEMAN_LOG", "info");
    let wrong = echo.program.run(&["check"]).await?.expect_code(1)?;
    assert!(wrong.stderr.contains("it is no file"), "{wrong}");
    Ok(())
}

#[tokio::test]
async fn a_process_that_is_killed_while_it_drains_is_told_of() -> Result<()> {
    let echo = echo()?.started().await?;
    let _client = echo.client().await?;
    let worker = echo.program.process("echo/0").await?;
    let stop = echo.program.run(&["stop", "-g"]);
    let kill = async {
        let drains =
            |status: &Status| status.slot("echo/0").is_ok_and(|slot| slot.state == "draining");
        echo.program.until("the drain", drains).await?;
        worker.kill();
        anyhow::Ok(())
    };
    let (stopped, killed) = tokio::join!(stop, kill);
    killed?;
    let stopped = stopped?.expect_code(0)?;
    assert!(stopped.stderr.contains("ended before it had left: signal 9 (SIGKILL)"), "{stopped}");
    Ok(())
}
