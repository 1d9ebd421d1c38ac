//! The log: its form, its file and what happens to it, and the verb that shows it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lineman_testkit::{Process, within};
use lineman_tests::programs::{self, Server, built};
use rustix::process::Signal;
use serde_json::Value;

/// How often a file that sends no event is looked at.
const TICK: Duration = Duration::from_millis(20);

fn log_of(server: &Server) -> PathBuf {
    server.program.folder().join("echo.log")
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.mode() & 0o777)
}

/// Waits until the file has a line that holds all of `parts`, and returns it.
async fn line_with(path: &Path, parts: &[&str]) -> Result<String> {
    let looked = async {
        loop {
            let text = read(path);
            if let Some(line) =
                text.lines().find(|line| parts.iter().all(|part| line.contains(part)))
            {
                return line.to_owned();
            }
            tokio::time::sleep(TICK).await;
        }
    };
    within(&format!("{parts:?} in {}", path.display()), looked).await
}

/// Has a handler panic: the worker logs that, and so does the master.
async fn panic_in_a_handler(server: &Server) -> Result<()> {
    let mut client = server.client().await?;
    client.send_text("panic").await?;
    client.ended().await?;
    Ok(())
}

async fn echoes(server: &Server) -> Result<()> {
    let mut client = server.client().await?;
    client.send_text("still there").await?;
    ensure!(client.text().await? == "still there");
    Ok(())
}

#[tokio::test]
async fn a_log_that_was_moved_away_is_opened_again_by_master_and_workers() -> Result<()> {
    let server = programs::echo()?.knob("ECHO_COUNT", "2").started().await?;
    let log = log_of(&server);
    assert_eq!(mode(&log)?, 0o600);
    let moved = server.program.folder().join("echo.log.1");
    fs::rename(&log, &moved)?;
    line_with(&log, &["master[", "log file reopened"]).await?;
    assert_eq!(mode(&log)?, 0o600);
    panic_in_a_handler(&server).await?;
    line_with(&log, &["echo/", "ERROR", "told to panic"]).await?;
    line_with(&log, &["master[", "a worker panicked"]).await?;
    // What the program itself prints goes along.
    let mut client = server.client().await?;
    client.send_text("print").await?;
    client.text().await?;
    line_with(&log, &["printed by"]).await?;
    let old = read(&moved);
    ensure!(!old.contains("told to panic") && !old.contains("printed"), "{old}");
    Ok(())
}

#[tokio::test]
async fn a_log_that_has_grown_too_long_is_moved_away() -> Result<()> {
    let server = programs::echo()?.knob("LINEMAN_LOG_MAX_SIZE", "4K").started().await?;
    let (log, old) = (log_of(&server), server.program.folder().join("echo.log.1"));
    while !old.exists() {
        panic_in_a_handler(&server).await?;
    }
    line_with(&log, &["master[", "log file reopened"]).await?;
    ensure!(fs::metadata(&old)?.len() >= 4096 && mode(&log)? == 0o600);
    panic_in_a_handler(&server).await?;
    line_with(&log, &["echo/0[", "told to panic"]).await?;
    Ok(())
}

#[tokio::test]
async fn a_reload_opens_the_log_again_and_a_deleted_folder_comes_back() -> Result<()> {
    let server = programs::echo()?;
    let folder = server.program.folder().join("logs");
    let log = folder.join("deep/echo.log");
    let server = server.knob("LINEMAN_LOG_FILE", &log).started().await?;
    assert_eq!((mode(&log)?, mode(&folder)?), (0o600, 0o700));
    fs::remove_dir_all(&folder)?;
    server.program.reload().await?;
    line_with(&log, &["master[", "ended"]).await?;
    line_with(&log, &["echo/0[", "ready"]).await?;
    ensure!(!log_of(&server).exists(), "the default is not used beside it");
    Ok(())
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_again_stops_nothing() -> Result<()> {
    let server = programs::echo()?.started().await?;
    let log = log_of(&server);
    let moved = server.program.folder().join("echo.log.1");
    fs::rename(&log, &moved)?;
    fs::create_dir(&log)?;
    line_with(&moved, &["WARN", "log file not reopened", "it is no file"]).await?;
    panic_in_a_handler(&server).await?;
    line_with(&moved, &["told to panic"]).await?;
    fs::remove_dir(&log)?;
    line_with(&log, &["log file reopened"]).await?;
    let complaints = read(&moved).matches("not reopened").count();
    assert_eq!(complaints, 1, "it is said once, not each second");
    Ok(())
}

#[tokio::test]
async fn a_full_disk_stops_nothing_and_what_is_lost_is_counted() -> Result<()> {
    let server = programs::echo()?;
    let log = server.program.folder().join("full.log");
    symlink("/dev/full", &log)?;
    let server = server.knob("LINEMAN_LOG_FILE", &log).started().await?;
    panic_in_a_handler(&server).await?;
    echoes(&server).await?;
    server.program.reload().await?;
    panic_in_a_handler(&server).await?;
    echoes(&server).await?;
    fs::remove_file(&log)?;
    let lost = ["log lines were lost: No space left on device"];
    line_with(&log, &["master[", "WARN", lost[0]]).await?;
    panic_in_a_handler(&server).await?;
    line_with(&log, &["echo/0[", "WARN", lost[0]]).await?;
    Ok(())
}

#[tokio::test]
async fn a_stderr_that_nobody_reads_stops_nothing() -> Result<()> {
    let server = programs::echo()?;
    let mut command = Command::new(built("echo_under_test", "lineman-tests")?);
    command.env("LINEMAN_RUNTIME_DIR", server.program.folder());
    command.env("ECHO_LISTEN", server.port.address());
    let (out, err) = (Stdio::null(), Stdio::piped());
    let mut child = command.arg("start").stdin(Stdio::null()).stdout(out).stderr(err).spawn()?;
    drop(child.stderr.take());
    server.program.until("the program to be up", |status| status.state == "up").await?;
    panic_in_a_handler(&server).await?;
    server.program.reload().await?;
    echoes(&server).await?;
    server.program.stop().await?;
    ensure!(child.wait()?.success());
    Ok(())
}

#[tokio::test]
async fn a_stderr_that_is_full_holds_nobody_up() -> Result<()> {
    let server = programs::echo()?;
    let (mut reader, writer) = std::io::pipe()?;
    // One page: full after a few lines.
    rustix::pipe::fcntl_setpipe_size(&writer, 4096)?;
    let mut command = Command::new(built("echo_under_test", "lineman-tests")?);
    command.env("LINEMAN_RUNTIME_DIR", server.program.folder());
    command.env("ECHO_LISTEN", server.port.address());
    let mut child =
        command.arg("start").stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer).spawn()?;
    drop(command);
    server.program.until("the program to be up", |status| status.state == "up").await?;
    for _ in 0..10 {
        panic_in_a_handler(&server).await?;
    }
    echoes(&server).await?;
    server.program.reload().await?;
    echoes(&server).await?;
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).map(|_| text)
    });
    server.program.stop().await?;
    ensure!(child.wait()?.success());
    let text = read.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    ensure!(text.contains("lost: nobody read stderr"), "{text}");
    Ok(())
}

#[tokio::test]
async fn json_is_one_object_a_line() -> Result<()> {
    let server = programs::echo()?.knob("LINEMAN_LOG_FORMAT", "json").knob("RUST_BACKTRACE", "1");
    let server = server.started().await?;
    panic_in_a_handler(&server).await?;
    server.program.kill("echo/0").await?;
    server.program.reload().await?;
    server.program.stop().await?;
    let text = read(&log_of(&server));
    let mut events = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        for key in ["timestamp", "level", "target", "slot", "message"] {
            ensure!(line[key].is_string(), "no {key} in {line}");
        }
        ensure!(line["pid"].is_u64(), "{line}");
        events.push(line);
    }
    let event = |message: &str, slot: &str| {
        let found = events.iter().find(|one| one["message"] == message && one["slot"] == slot);
        found.with_context(|| format!("no {message:?} of {slot} in:\n{text}"))
    };
    event("stopped", "master")?;
    let asked = event("asked by the command line", "master")?;
    ensure!(asked["request"].as_str().is_some_and(|request| request.contains("Reload")), "{asked}");
    event("started", "echo/0")?;
    let panicked = event("panicked", "echo/0")?;
    assert_eq!(panicked["panic"], "told to panic");
    ensure!(panicked["location"].as_str().is_some_and(|place| place.contains("echo_under_test")));
    let backtrace = panicked["backtrace"].as_str().context("a backtrace")?;
    ensure!(backtrace.contains("echo_under_test"), "{backtrace}");
    assert_eq!(event("ended by itself", "echo/0")?["reason"], "signal 9 (SIGKILL)");
    Ok(())
}

#[tokio::test]
async fn a_backtrace_is_left_out_when_it_is_not_wanted() -> Result<()> {
    let server = programs::echo()?.knob("RUST_BACKTRACE", "0").started().await?;
    panic_in_a_handler(&server).await?;
    line_with(&log_of(&server), &["echo/0[", "panicked", "told to panic", "location="]).await?;
    ensure!(!read(&log_of(&server)).contains("backtrace"));
    Ok(())
}

#[tokio::test]
async fn flags_win_and_what_is_printed_may_have_a_file_of_its_own() -> Result<()> {
    let server = programs::echo()?;
    let at = |name: &str| server.program.folder().join(name);
    let (log, printed, other) = (at("a.log"), at("b.log"), at("c.log"));
    let server = server.knob("LINEMAN_LOG_FILE", &other).knob("LINEMAN_LOG_FORMAT", "json");
    let [log_flag, printed_flag] = [("--log-file", &log), ("--stdout-file", &printed)]
        .map(|(flag, path)| format!("{flag}={}", path.display()));
    let start = ["start", "-d", "--log-format=text", &log_flag, &printed_flag];
    server.program.run(&start).await?.expect_code(0)?;
    let mut client = server.client().await?;
    client.send_text("print").await?;
    client.text().await?;
    line_with(&printed, &["printed by"]).await?;
    assert_eq!(mode(&printed)?, 0o600);
    line_with(&log, &[" INFO echo/0[", "] ready"]).await?;
    ensure!(!other.exists() && !read(&log).contains("printed"));
    // Each is opened again by itself.
    fs::rename(&printed, &other)?;
    line_with(&log, &["log file reopened", "b.log"]).await?;
    client.send_text("print").await?;
    client.text().await?;
    line_with(&printed, &["printed by"]).await?;
    Ok(())
}

#[tokio::test]
async fn in_the_foreground_the_log_goes_to_a_file_when_it_is_asked_to() -> Result<()> {
    let server = programs::echo()?;
    let log = server.program.folder().join("asked.log");
    let server = server.knob("LINEMAN_LOG_FILE", &log);
    let foreground = server.program.foreground().await?;
    fs::rename(&log, server.program.folder().join("asked.log.1"))?;
    line_with(&log, &["master[", "log file reopened"]).await?;
    panic_in_a_handler(&server).await?;
    line_with(&log, &["echo/0[", "told to panic"]).await?;
    server.program.stop().await?;
    line_with(&log, &["master[", "stopped"]).await?;
    let shown = foreground.ended().await?.stdout;
    ensure!(shown.contains("ws://") && !shown.contains("master["), "{shown}");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_the_log_is_told_at_the_start() -> Result<()> {
    let knob = |name: &str, value: &str| anyhow::Ok(programs::echo()?.knob(name, value));
    for start in [&["start"][..], &["start", "-d"]] {
        let server = knob("LINEMAN_LOG", "info,lineman=debugg")?;
        let refused = server.program.run(start).await?.expect_code(2)?;
        refused.expect_text("LINEMAN_LOG=\"info,lineman=debugg\"")?;
        let server = knob("LINEMAN_LOG_FORMAT", "xml")?;
        let refused = server.program.run(start).await?.expect_code(2)?;
        refused.expect_text("it is `text` or `json`")?;
        let server = knob("LINEMAN_LOG_FILE", "/proc/nothing/x.log")?;
        let refused = server.program.run(start).await?.expect_code(1)?;
        refused.expect_text("/proc/nothing/x.log")?;
        ensure!(server.program.processes().is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn workers_that_lose_their_master_say_so() -> Result<()> {
    let server = programs::echo()?.knob("ECHO_COUNT", "2").started().await?;
    server.program.master().await?.kill();
    for slot in ["echo/0[", "echo/1["] {
        line_with(&log_of(&server), &["ERROR", slot, "the master is gone"]).await?;
        line_with(&log_of(&server), &[slot, "leaving", "order=the master is gone"]).await?;
    }
    server.program.all_gone().await
}

/// A program whose own words cannot be written: only the handler that prints fails.
#[tokio::test]
async fn printing_to_a_full_disk_costs_one_connection() -> Result<()> {
    let server = programs::echo()?.knob("LINEMAN_STDOUT_FILE", "/dev/full").started().await?;
    let worker = server.program.process("echo/0").await?;
    let mut client = server.client().await?;
    client.send_text("print").await?;
    client.ended().await?;
    line_with(&log_of(&server), &["echo/0[", "panicked", "failed printing to stdout"]).await?;
    echoes(&server).await?;
    ensure!(worker.is_alive());
    Ok(())
}

/// `logs -f`, with its output in a file.
struct Following {
    child: Child,
    shown: PathBuf,
}

impl Following {
    fn start(server: &Server, arguments: &[&str]) -> Result<Self> {
        let shown = server.program.folder().join("shown");
        let child = Command::new(built("echo_under_test", "lineman-tests")?)
            .args(["logs", "-f"])
            .args(arguments)
            .env("LINEMAN_RUNTIME_DIR", server.program.folder())
            .env("ECHO_LISTEN", server.port.address())
            .stdin(Stdio::null())
            .stdout(fs::File::create(&shown)?)
            .spawn()?;
        Ok(Self { child, shown })
    }

    async fn shows(&self, parts: &[&str]) -> Result<()> {
        line_with(&self.shown, parts).await.map(drop)
    }

    async fn interrupted(mut self) -> Result<()> {
        let process = Process::open(i32::try_from(self.child.id())?)?;
        process.signal(Signal::INT);
        process.gone().await?;
        assert_eq!(self.child.wait()?.code(), Some(0));
        Ok(())
    }
}

#[tokio::test]
async fn logs_follows_through_a_rotation_and_ends_well() -> Result<()> {
    let server = programs::echo()?.started().await?;
    let log = log_of(&server);
    let following = Following::start(&server, &[])?;
    following.shows(&["master[", "] up"]).await?;
    fs::rename(&log, server.program.folder().join("echo.log.1"))?;
    following.shows(&["log file reopened"]).await?;
    panic_in_a_handler(&server).await?;
    following.shows(&["echo/0[", "told to panic"]).await?;
    // Emptied in place, as `copytruncate` does.
    fs::File::create(&log)?;
    let killed = server.program.kill("echo/0").await?;
    following.shows(&["master[", "ended by itself", &killed.pid().to_string()]).await?;
    let shown = read(&following.shown);
    assert_eq!(shown.matches("log file reopened").count(), 1, "nothing is shown twice: {shown}");
    following.interrupted().await
}

#[tokio::test]
async fn logs_shows_one_slot_and_as_many_lines_as_asked_for() -> Result<()> {
    for format in ["text", "json"] {
        let server = programs::echo()?.knob("ECHO_COUNT", "2").knob("LINEMAN_LOG_FORMAT", format);
        let server = server.started().await?;
        let pid = server.program.process("echo/1").await?.pid().to_string();
        let only = server.program.run(&["logs", "echo/1"]).await?.expect_code(0)?.stdout;
        ensure!(
            only.lines().count() >= 3 && only.lines().all(|line| line.contains(&pid)),
            "{only}"
        );
        ensure!(only.contains("started") && only.contains("ready"), "{only}");
        let two = server.program.run(&["logs", "-n", "2", "echo"]).await?.expect_code(0)?.stdout;
        assert_eq!(two.lines().count(), 2, "{two}");
        // Silence would look like a quiet service.
        let none = server.program.run(&["logs", "ech"]).await?.expect_code(1)?;
        ensure!(
            none.stderr.contains("there are: master, echo") && none.stdout.is_empty(),
            "{none}"
        );
        // The log outlives its program.
        server.program.stop().await?;
        server.program.run(&["logs", "master"]).await?.expect_code(0)?.expect_text("stopped")?;
    }
    Ok(())
}

#[tokio::test]
async fn logs_that_nobody_reads_any_more_ends() -> Result<()> {
    let server = programs::echo()?.started().await?;
    for follow in [&["-f"][..], &[]] {
        let mut command = Command::new(built("echo_under_test", "lineman-tests")?);
        command.env("LINEMAN_RUNTIME_DIR", server.program.folder());
        command.env("ECHO_LISTEN", server.port.address());
        let mut child = command.arg("logs").args(follow).stdout(Stdio::piped()).spawn()?;
        drop(child.stdout.take());
        Process::open(i32::try_from(child.id())?)?.gone().await?;
        assert_eq!(child.wait()?.code(), Some(0));
    }
    Ok(())
}

#[tokio::test]
async fn logs_says_where_the_lines_go_when_there_is_no_file() -> Result<()> {
    let server = programs::echo()?;
    let absent = server.program.run(&["logs"]).await?.expect_code(3)?;
    absent.expect_text("not running, and there is no")?;
    let foreground = server.program.foreground().await?;
    let told = server.program.run(&["logs", "-f"]).await?.expect_code(1)?;
    let place = format!("pid {} logs to its stderr", foreground.process().pid());
    told.expect_text(&place)?.expect_text("console.out")?.expect_text("--log-file")?;
    server.program.stop().await?;
    foreground.ended().await?.expect_code(0)?;
    Ok(())
}
