//! The command line beyond a person who types one command after the other: many callers at once,
//! masters that do not answer, starts that must not go wrong.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use lineman_testkit::{Process, Program, Status, within};
use lineman_tests::programs::{built, copy, echo};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr};

/// A command that runs beside the test.
struct Beside {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Beside {
    fn run(program: &Program, verb: &[&str]) -> Result<Self> {
        let mut command = tokio::process::Command::from(program.command(verb));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn()?;
        let stderr = BufReader::new(child.stderr.take().context("a pipe")?);
        Ok(Self { child, stderr })
    }

    /// Returns the next line it writes to stderr; an empty one at the end.
    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        within("a line of a command", self.stderr.read_line(&mut line)).await??;
        Ok(line)
    }

    /// Returns its exit code and the rest of what it wrote to stderr.
    async fn ended(mut self) -> Result<(Option<i32>, String)> {
        let mut rest = String::new();
        within("the end of stderr", self.stderr.read_to_string(&mut rest)).await??;
        let status = within("a command to end", self.child.wait()).await??;
        Ok((status.code(), rest))
    }

    async fn killed(mut self) -> Result<()> {
        self.child.start_kill()?;
        within("a killed command to end", self.child.wait()).await??;
        Ok(())
    }
}

#[tokio::test]
async fn callers_that_wait_or_are_dead_lock_nobody_out() -> Result<()> {
    let echo = echo()?.started().await?;
    let _client = echo.client().await?;
    let mut first = Beside::run(&echo.program, &["reload", "-g"])?;
    ensure!(first.line().await?.contains("started as the successor"));

    // Those that are gone keep no place.
    for _ in 0..70 {
        let mut caller = Beside::run(&echo.program, &["reload"])?;
        let line = caller.line().await?;
        ensure!(line.contains("a reload is under way"), "{line}");
        caller.killed().await?;
    }
    // Those that wait are bounded: the first of these have their place beside the reload under way.
    let mut waiting = Vec::new();
    let refused = loop {
        let mut caller = Beside::run(&echo.program, &["reload"])?;
        let line = caller.line().await?;
        if !line.contains("a reload is under way") {
            let (code, rest) = caller.ended().await?;
            ensure!(code == Some(1), "{code:?} {line} {rest}");
            break line;
        }
        waiting.push(caller);
        ensure!(waiting.len() < 200, "nobody is refused");
    };
    ensure!(refused.contains("callers wait for a reload already"), "{refused}");
    ensure!(waiting.len() > 10, "only {} may wait", waiting.len());

    echo.program.run(&["health"]).await?.expect_code(0)?;
    echo.program.run(&["connections"]).await?.expect_code(0)?;
    ensure!(echo.program.status().await?.state == "reloading");
    echo.program.stop().await?;
    for caller in waiting {
        let (code, said) = caller.ended().await?;
        ensure!(code == Some(1) && said.contains("the program stops"), "{code:?} {said}");
    }
    Ok(())
}

/// A master as it looks from outside when its loop stands still: the lock is held, callers are accepted
/// by the kernel, and nobody answers.
fn hanging_master(folder: &Path) -> Result<(File, UnixListener)> {
    let path = folder.join("master.lock");
    let holder =
        format!(r#"{{"pid":{},"started_at":1,"program":"/bin/echo"}}"#, std::process::id());
    fs::write(&path, holder)?;
    let lock = File::options().read(true).write(true).open(&path)?;
    lock.try_lock()?;
    Ok((lock, UnixListener::bind(folder.join("control.sock"))?))
}

#[tokio::test]
async fn a_master_that_hangs_is_named_with_what_to_do() -> Result<()> {
    let echo = echo()?;
    let hanging = hanging_master(echo.program.folder())?;
    let run = async |verb: &'static str| echo.program.run(&[verb]).await;
    let (stop, reload, status, connections) =
        tokio::join!(run("stop"), run("reload"), run("status"), run("connections"));
    let hint = format!("`kill -KILL {}` ends it", std::process::id());
    for output in [stop?, reload?, status?, connections?] {
        let output = output.expect_code(1)?;
        ensure!(output.stderr.contains(&hint), "{output}");
    }
    drop(hanging);
    Ok(())
}

/// Longer than a silent master is waited for.
#[tokio::test]
async fn a_command_waits_for_a_master_that_works() -> Result<()> {
    let echo = echo()?.knob("ECHO_DELAY_MS", "12000").started().await?;
    let _client = echo.client().await?;
    let stop = echo.program.run(&["stop", "-g", "--timeout", "1s"]);
    stop.await?.expect_code(0)?;
    Ok(())
}

#[tokio::test]
async fn a_restart_that_would_fail_leaves_what_runs_alone() -> Result<()> {
    let echo = echo()?.started().await?;
    let master = echo.program.master().await?;
    let missing = echo.program.folder().join("missing.pem");
    let open = echo.program.folder().join("open.log");
    fs::write(&open, "")?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666))?;
    let wrong: [(&[(&str, &Path)], &str); 3] = [
        (&[("ECHO_CERTIFICATE", &missing), ("ECHO_KEY", &missing)], "missing.pem"),
        (&[("LINEMAN_LOG_FILE", &open)], "everybody can write to it"),
        (&[("LINEMAN_HEALTH", Path::new("nonsense"))], "health probes (LINEMAN_HEALTH"),
    ];
    for (environment, reason) in wrong {
        for verb in [["restart"].as_slice(), &["restart", "-d"]] {
            let mut command = tokio::process::Command::from(echo.program.command(verb));
            command.envs(environment.iter().copied()).kill_on_drop(true);
            let output = within("`restart` to end", command.output()).await??;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code() == Some(1), "{verb:?}: {said}");
            ensure!(said.contains(reason), "{verb:?}: {said}");
            let goes_on = format!("not restarted: pid {} goes on", master.pid());
            ensure!(said.contains(&goes_on), "{verb:?}: {said}");
        }
    }
    ensure!(echo.program.master().await?.pid() == master.pid());
    echo.program.run(&["restart", "-d"]).await?.expect_code(0)?;
    Ok(())
}

#[tokio::test]
async fn a_health_address_is_checked_and_named() -> Result<()> {
    let echo = echo()?;
    let other = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken = other.local_addr()?.to_string();
    for (address, verbs) in [
        ("nonsense", [["check"].as_slice(), &["start"], &["start", "-d"]].as_slice()),
        // Somebody else's port is found by a start alone.
        (&taken, &[&["start"], &["start", "-d"]]),
    ] {
        for verb in verbs {
            let mut command = tokio::process::Command::from(echo.program.command(verb));
            command.env("LINEMAN_HEALTH", address).kill_on_drop(true);
            let output = within("a command to end", command.output()).await??;
            let said = String::from_utf8_lossy(&output.stderr);
            let named = format!(
                "error: health probes (LINEMAN_HEALTH or App::health): cannot listen on {address}"
            );
            ensure!(output.status.code() == Some(1) && said.contains(&named), "{verb:?}: {said}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn logs_need_no_master_and_know_the_slots() -> Result<()> {
    let echo = echo()?.knob("ECHO_COUNT", "2").started().await?;
    let master = echo.program.master().await?;
    master.suspend();
    let shown = echo.program.run(&["logs", "echo/1"]).await?.expect_code(0)?;
    ensure!(shown.stdout.contains("ready"), "{shown}");
    master.resume();
    let failed = echo.program.run(&["logs", "echo/99"]).await?.expect_code(1)?;
    let known = r#"no service or slot "echo/99"; there are: echo/0, echo/1"#;
    ensure!(failed.stderr.contains(known), "{failed}");
    Ok(())
}

/// Text in no encoding of today.
fn no_text(before: &str) -> OsString {
    let mut bytes = before.as_bytes().to_vec();
    bytes.push(0xff);
    OsString::from_vec(bytes)
}

#[tokio::test]
async fn a_setting_that_is_no_text_is_refused() -> Result<()> {
    for name in ["LINEMAN_LOG", "LINEMAN_LOG_FORMAT", "LINEMAN_LOG_MAX_SIZE", "LINEMAN_HEALTH"] {
        let echo = echo()?.knob(name, no_text("x"));
        for verb in ["check", "start"] {
            let refused = echo.program.run(&[verb]).await?;
            ensure!(matches!(refused.code, Some(1 | 2)), "{refused}");
            ensure!(refused.stderr.contains(name), "{refused}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn folders_need_no_name_of_text() -> Result<()> {
    let plain = echo()?;
    let folder = plain.program.folder().join(no_text("odd"));
    fs::create_dir(&folder)?;
    let binary = folder.join("echo");
    copy(built("echo_under_test", "lineman-tests")?, &binary)?;
    let runtime = folder.join(no_text("run"));
    let run = async |verb: &[&str]| {
        let mut command = tokio::process::Command::new(&binary);
        command.args(verb).env("LINEMAN_RUNTIME_DIR", &runtime);
        command.env("ECHO_LISTEN", plain.port.address()).stdin(Stdio::null()).kill_on_drop(true);
        let output = within("a command to end", command.output()).await??;
        anyhow::Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let mut results = Vec::new();
    for verb in [["start", "-d"].as_slice(), &["status"], &["reload"], &["logs"], &["stop"]] {
        results.push((verb, run(verb).await?));
    }
    for (verb, (code, stdout)) in &results {
        ensure!(*code == Some(0), "{verb:?}: {code:?} {stdout}");
    }
    ensure!(results.iter().any(|(_, (_, stdout))| stdout.contains(" ready")), "{results:?}");
    Ok(())
}

#[tokio::test]
async fn what_a_worker_says_moves_no_cursor() -> Result<()> {
    let echo = echo()?.started().await?;
    let marker = echo.program.folder().join("broken");
    let echo = echo.knob("ECHO_BROKEN_IF", &marker);
    echo.program.run(&["restart", "-d"]).await?.expect_code(0)?;
    fs::write(&marker, "cellar\x1b[2J\nerror: flooded\x07")?;
    let failed = echo.program.run(&["reload"]).await?.expect_code(1)?;
    ensure!(failed.stderr.contains(r"cellar\u{1b}[2J / error: flooded\u{7}"), "{failed}");
    echo.program.kill("echo/0").await?;
    let has_exited = |status: &Status| status.slot("echo/0").is_ok_and(|slot| slot.pid.is_none());
    echo.program.until("the slot to be down", has_exited).await?;
    for verb in ["status", "logs"] {
        let shown = echo.program.run(&[verb]).await?;
        let is_clean = |text: &str| !text.contains(|c: char| c.is_control() && c != '\n');
        ensure!(is_clean(&shown.stdout) && is_clean(&shown.stderr), "{shown:?}");
    }
    ensure!(echo.program.log().contains("cellar"));
    Ok(())
}

/// Root's folder when nobody chose one: this test alone uses it.
const ROOTS: &str = "/run/echo";

#[tokio::test]
async fn a_master_of_root_is_found_by_others() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(writeln!(std::io::stderr(), "skipped: only root can start as root")?);
    }
    let echo = echo()?;
    let log = echo.program.folder().join("echo.log");
    let run = async |user: &str, verb: &[&str]| {
        let command = echo.program.command(verb);
        let mut other = tokio::process::Command::new("setpriv");
        other.args([&format!("--reuid={user}"), "--regid=0", "--clear-groups"]);
        other.arg(command.get_program()).args(command.get_args());
        other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        other.env_remove("LINEMAN_RUNTIME_DIR").env_remove("XDG_RUNTIME_DIR");
        other.env("LINEMAN_LOG_FILE", &log).env("HOME", "/nonexistent").kill_on_drop(true);
        let output = within("a command to end", other.output()).await??;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::Ok((output.status.code(), said))
    };
    let was_there = Path::new(ROOTS).exists();
    let started = run("0", &["start", "-d"]).await?;
    let mut refused = Vec::new();
    for verb in ["status", "stop", "reload", "connections", "health"] {
        refused.push(run("65534", &[verb]).await?);
    }
    let stopped = run("0", &["stop"]).await?;
    // A program leaves its folder behind; here nobody wants it.
    if !was_there {
        fs::remove_dir(ROOTS)?;
    }
    ensure!((started.0, stopped.0) == (Some(0), Some(0)), "{started:?} {stopped:?}");
    for (code, said) in refused {
        let whose = format!("cannot use {ROOTS}: it belongs to root: run this as that user");
        ensure!(code == Some(1) && said.contains(&whose), "{code:?} {said}");
    }
    let (code, said) = run("65534", &["status"]).await?;
    ensure!(code == Some(3), "{code:?} {said}");
    Ok(())
}

#[tokio::test]
async fn a_start_that_is_interrupted_says_that_it_goes_on() -> Result<()> {
    let echo = echo()?;
    let marker = echo.program.folder().join("broken");
    fs::write(&marker, "wait")?;
    let echo = echo.knob("ECHO_BROKEN_IF", &marker);
    let start = Beside::run(&echo.program, &["start", "-d"])?;
    let status = echo.program.until("the start", |status| status.state == "starting").await?;
    let pid = i32::try_from(start.child.id().context("it waits")?)?;
    Process::open(pid)?.signal(Signal::INT);
    let (code, said) = start.ended().await?;
    let goes_on =
        format!("pid {} goes on starting (`echo status` shows it, `echo stop`", status.pid);
    ensure!(code == Some(1) && said.contains(&goes_on), "{code:?} {said}");
    fs::remove_file(&marker)?;
    echo.program.until("the program to be up", |status| status.state == "up").await?;
    echo.program.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_new_program_is_put_in_place_by_the_tools_people_use() -> Result<()> {
    let plain = echo()?;
    let new = built("echo_under_test", "lineman-tests")?;
    let place = plain.program.folder().join("echo");
    copy(&new, &place)?;
    let echo = Program::new(&place)?.env("ECHO_LISTEN", plain.port.address());
    echo.start().await?;
    let inode = |path: &Path| anyhow::Ok(fs::metadata(path)?.ino());
    for tool in [["cp", "-f"].as_slice(), &["install"], &["cp", "--remove-destination"]] {
        let old = inode(&place)?;
        let mut command = tokio::process::Command::new(tool[0]);
        let output = command.args(&tool[1..]).arg(&new).arg(&place).output().await?;
        ensure!(output.status.success(), "{tool:?}: {output:?}");
        ensure!(inode(&place)? != old, "{tool:?} wrote into the file that runs");
        echo.reload().await?;
        let worker = echo.process("echo/0").await?;
        let runs = format!("/proc/{}/exe", worker.pid());
        ensure!(inode(Path::new(&runs))? == inode(&place)?, "{tool:?}: the old file runs");
    }
    Ok(())
}
