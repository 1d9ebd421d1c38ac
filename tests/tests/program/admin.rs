//! What an administrator does wrong, or has done to them: masters that are killed, folders that cannot
//! be used, users without rights, processes that do not leave.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lineman_testkit::{Output, Process, Program, Status, within};
use lineman_tests::programs::{built, chat, copy, echo};
use lineman_tests::watched::Watched;
use rustix::process::Signal;

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

/// Looks again and again until there is something.
async fn found<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    within(what, async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

fn is_worker(process: &Process) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", process.pid())).unwrap_or_default();
    line.split(|&byte| byte == 0).nth(1) == Some(b"worker")
}

/// Says why a test did nothing, past the harness, which would keep it to itself.
fn skipped(why: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "skipped: {why}")?)
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
async fn a_command_at_a_master_that_is_being_killed_says_that_nothing_runs() -> Result<()> {
    let echo = echo()?;
    for verb in ["stop", "status", "reload", "health"] {
        echo.program.start().await?;
        echo.program.master().await?.kill();
        echo.program.run(&[verb]).await?.expect_code(3)?;
    }
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
async fn a_runtime_folder_that_was_deleted_is_made_again() -> Result<()> {
    let echo = echo()?.started().await?;
    let folder = echo.program.folder().to_path_buf();
    let files = ["master.lock", "control.sock", "master.pid"].map(|name| folder.join(name));
    let pid = echo.program.master().await?.pid();
    let all = || files.iter().all(|file| file.exists()).then_some(());
    for gone in [&folder].into_iter().chain(&files) {
        if gone == &folder { fs::remove_dir_all(gone) } else { fs::remove_file(gone) }?;
        found("the folder's files", all).await?;
        let again = echo.program.run(&["start", "-d"]).await?.expect_code(4)?;
        assert!(again.stderr.contains(&format!("pid {pid}")), "{again}");
    }
    assert_eq!(fs::metadata(&folder)?.permissions().mode() & 0o777, 0o700);
    echo.program.stop().await?;
    assert!(files.iter().all(|file| !file.exists()));
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
    assert!(failed.stderr.contains("error: echo: cannot listen on"), "{failed}");
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
        return skipped("only root can run commands as another user");
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

#[tokio::test]
async fn a_start_names_the_service_whose_port_is_taken_and_leaves_nothing() -> Result<()> {
    let chat = chat()?;
    let _other = std::net::TcpListener::bind(chat.port.address())?;
    for verb in [["start"].as_slice(), &["start", "-d"]] {
        let failed = chat.program.run(verb).await?.expect_code(1)?;
        let problem = format!("error: chat-gateway: cannot listen on {}", chat.port.address());
        assert!(failed.stderr.contains(&problem), "{failed}");
        chat.program.all_gone().await?;
        for name in ["master.lock", "control.sock"] {
            assert!(!chat.program.folder().join(name).exists(), "{name}");
        }
    }
    // The register's port was bound, and is free again.
    let register = chat.register.as_ref().context("a register")?;
    std::net::TcpListener::bind(register.address())?;
    Ok(())
}

#[tokio::test]
async fn an_unknown_name_is_answered_with_those_that_are_known() -> Result<()> {
    let echo = echo()?.knob("ECHO_COUNT", "2").started().await?;
    for verb in ["reload", "connections", "logs"] {
        let failed = echo.program.run(&[verb, "ehco"]).await?.expect_code(1)?;
        assert!(failed.stderr.contains(r#"no service or slot "ehco"; there are: "#), "{failed}");
        assert!(failed.stderr.contains("echo"), "{failed}");
        assert_eq!(failed.stdout, "", "{failed}");
    }
    let failed = echo.program.run(&["reload", "echo/2"]).await?.expect_code(1)?;
    assert!(failed.stderr.contains("there are: echo, echo/0, echo/1"), "{failed}");
    Ok(())
}

#[tokio::test]
async fn a_suspended_master_is_named_and_nobody_waits_for_it() -> Result<()> {
    let echo = echo()?.started().await?;
    let master = echo.program.master().await?;
    // As by Ctrl-Z; SIGTSTP itself does nothing to a group without a terminal.
    master.suspend();
    let stat = format!("/proc/{}/stat", master.pid());
    let is_suspended = || fs::read_to_string(&stat).ok().filter(|stat| stat.contains(") T "));
    found("the master to be suspended", is_suspended).await?;
    for verb in ["status", "connections", "reload", "stop"] {
        let failed = echo.program.run(&[verb]).await?.expect_code(1)?;
        let hint = format!("it is suspended (hint: `kill -CONT {}` lets it go on)", master.pid());
        assert!(failed.stderr.contains(&hint), "{failed}");
    }
    master.resume();
    assert_eq!(echo.program.status().await?.state, "up");
    Ok(())
}

#[tokio::test]
async fn a_core_dump_can_be_asked_for_and_the_next_start_works() -> Result<()> {
    let echo = echo()?;
    let foreground = echo.program.foreground().await?;
    foreground.process().signal(Signal::ABORT);
    let ended = foreground.ended().await?;
    assert_eq!(ended.code, None, "a signal has ended it: {ended}");
    echo.program.start().await?;
    Ok(())
}

#[tokio::test]
async fn a_worker_that_does_not_leave_is_killed_and_the_exit_code_says_so() -> Result<()> {
    let echo = echo()?;
    let marker = echo.program.folder().join("block");
    let echo = echo.knob("ECHO_BLOCK_WHILE", &marker);
    fs::write(&marker, "")?;
    let blocked = async || {
        let mut client = echo.client().await?;
        client.send_text("block").await?;
        let is_busy = |status: &Status| status.slot("echo/0").is_ok_and(|slot| !slot.answered);
        echo.program.until("the loop to be blocked", is_busy).await?;
        anyhow::Ok(client)
    };
    echo.program.start().await?;
    let _client = blocked().await?;
    let stopped = echo.program.run(&["stop"]).await?.expect_code(5)?;
    stopped.expect_text("1 process killed")?;
    echo.program.all_gone().await?;

    // A person is in more of a hurry: the second Ctrl-C kills.
    let foreground = echo.program.foreground().await?;
    let _client = blocked().await?;
    foreground.process().signal(Signal::INT);
    foreground.process().signal(Signal::INT);
    assert_eq!(foreground.ended().await?.code, Some(5));
    echo.program.all_gone().await
}

#[tokio::test]
async fn a_process_that_stands_still_is_replaced_and_stopped_all_the_same() -> Result<()> {
    let echo = echo()?.started().await?;
    let worker = echo.program.process("echo/0").await?;
    worker.suspend();
    let reloaded = echo.program.run(&["reload", "--timeout", "100ms"]).await?.expect_code(0)?;
    reloaded.expect_text("1 process killed")?;
    assert!(!worker.is_alive());
    echo.program.process("echo/0").await?.suspend();
    echo.program.run(&["stop"]).await?.expect_code(5)?;
    echo.program.all_gone().await
}

#[tokio::test]
async fn what_is_told_to_a_program_that_is_busy_with_something_else() -> Result<()> {
    let echo = echo()?;
    let marker = echo.program.folder().join("broken");
    let echo = echo.knob("ECHO_BROKEN_IF", &marker);

    // During a start: it is seen, has a reload wait, and can be stopped.
    fs::write(&marker, "wait")?;
    let during_start = async {
        echo.program.until("the start", |status| status.state == "starting").await?;
        let mut reload = Watched::start(&echo.program, &["reload"])?;
        reload.says(&["the program is starting; this reload follows"]).await?;
        echo.program.run(&["start"]).await?.expect_code(4)?;
        echo.program.stop().await?;
        reload.ended().await?.expect_code(1)?.expect_text("given up: the program stops")
    };
    let (started, stopped) = tokio::join!(echo.program.run(&["start", "-d"]), during_start);
    stopped?;
    let started = started?.expect_code(1)?;
    assert!(started.stderr.contains("stopped before everything was up"), "{started}");
    assert!(!echo.program.folder().join("master.lock").exists());

    // During a reload: a successor that is killed leaves the old one, and a stop ends it.
    fs::remove_file(&marker)?;
    echo.program.start().await?;
    let old = echo.program.process("echo/0").await?;
    fs::write(&marker, "wait")?;
    let kill = async {
        let successor = found("a successor", || {
            let mut workers = echo.program.processes();
            workers.retain(|process| is_worker(process) && process.pid() != old.pid());
            workers.pop()
        });
        successor.await?.kill();
        anyhow::Ok(())
    };
    let (reloaded, killed) = tokio::join!(echo.program.run(&["reload"]), kill);
    killed?;
    let reloaded = reloaded?.expect_code(1)?;
    assert!(reloaded.stderr.contains("did not start: signal 9 (SIGKILL)"), "{reloaded}");
    assert_eq!(echo.program.process("echo/0").await?.pid(), old.pid());
    Ok(())
}

#[tokio::test]
async fn a_deploy_by_a_link_or_a_relative_path_is_picked_up() -> Result<()> {
    let echo = echo()?;
    let folder = echo.program.folder().to_owned();
    let binary = built("echo_under_test", "lineman-tests")?;
    for version in ["a", "b"] {
        fs::create_dir(folder.join(version))?;
        copy(&binary, folder.join(version).join("echo"))?;
    }
    std::os::unix::fs::symlink("a", folder.join("current"))?;
    // Typed in another folder than every later command.
    let mut start = Command::new("./echo");
    start.current_dir(folder.join("current")).args(["start", "-d"]);
    let told = echo.program.command(&[]);
    start.envs(told.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert!(tokio::process::Command::from(start).status().await?.success());
    let file = |process: &Process| fs::read_link(format!("/proc/{}/exe", process.pid()));
    assert_eq!(file(&echo.program.process("echo/0").await?)?, folder.join("a/echo"));
    echo.program.reload().await?;
    echo.program.stop().await?;

    let linked = Program::new(folder.join("current/echo"))?.env("ECHO_LISTEN", echo.port.address());
    linked.start().await?;
    fs::remove_file(folder.join("current"))?;
    std::os::unix::fs::symlink("b", folder.join("current"))?;
    linked.reload().await?;
    assert_eq!(file(&linked.process("echo/0").await?)?, folder.join("b/echo"));
    // Gone altogether: what serves goes on, and says what is missing.
    fs::remove_dir_all(folder.join("b"))?;
    let mut reload = Command::new(&binary);
    reload.arg("reload").env("LINEMAN_RUNTIME_DIR", linked.folder());
    reload.env("ECHO_LISTEN", echo.port.address());
    let failed = tokio::process::Command::from(reload).output().await?;
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot execute") && said.contains("current/echo"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_real_bash_completes_the_verbs() -> Result<()> {
    let echo = echo()?;
    let script = echo.program.folder().join("completions");
    fs::write(&script, echo.program.run(&["completions", "bash"]).await?.stdout)?;
    let mut bash = tokio::process::Command::new("bash");
    let ask = r#"source "$0"; COMP_WORDS=(echo st); COMP_CWORD=1; _echo echo st echo; echo "${COMPREPLY[@]}""#;
    let output = bash.args(["--norc", "-c", ask]).arg(&script).output().await?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "start stop status\n", "{output:?}");
    Ok(())
}
