//! The processes of a service: whose they are, what they are told, what the program hears of them.

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Port, Program, within};
use lineman_tests::programs::built;
use lineman_tests::raw::Raw;

/// Everybody knows these two numbers, and they are in no group.
const NOBODY: &str = "65534";

fn program(port: &Port) -> Result<Program> {
    let program = Program::new(built("processes_under_test", "lineman-tests")?)?;
    Ok(program.env("PROCESSES_LISTEN", port.address()))
}

async fn ask(address: &str, question: &str) -> Result<String> {
    let mut peer = Raw::connect(address).await?;
    peer.send(format!("{question}\n").as_bytes()).await?;
    peer.end().await?;
    Ok(String::from_utf8(peer.rest().await?)?.trim_end().to_owned())
}

/// Returns the program as started by a shell's words, in which `"$0" "$@"` is its command.
fn through(words: &str, port: &Port) -> Result<Program> {
    let binary = built("processes_under_test", "lineman-tests")?;
    let program = Program::new("/bin/sh")?.args(["-c", words, &binary.to_string_lossy()]);
    Ok(program.env("PROCESSES_LISTEN", port.address()))
}

/// Returns user, group and all groups of the process that answers.
async fn who(port: &Port) -> Result<[String; 3]> {
    let who = ask(&port.address(), "who").await?;
    let all: Vec<_> = who.split(" | ").map(str::to_owned).collect();
    let [uid, gid, groups, _] = &all[..] else { anyhow::bail!("{who}") };
    // Real, effective, saved, and that of files: the same.
    let one = |ids: &str| -> Result<String> {
        let first = ids.split(' ').next().context("an id")?;
        ensure!(ids == [first; 4].join(" "), "{who}");
        Ok(first.to_owned())
    };
    Ok([one(uid)?, one(gid)?, groups.clone()])
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(reason: &str) {
    eprintln!("SKIPPED, NOTHING WAS CHECKED: {reason}");
}

fn we_are_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn processes_run_as_the_user_that_is_named_and_the_master_does_not() -> Result<()> {
    let port = Port::reserve()?;
    let program = program(&port)?.env("PROCESSES_USER", "nobody");
    if !we_are_root() {
        // Somebody else must not become another user: the start says so.
        let refused = program.run(&["start", "-d"]).await?.expect_code(1)?;
        refused.expect_text("service \"staying\": cannot run processes as user nobody")?;
        return Ok(());
    }
    program.start().await?;
    let all = |id: &str| [id; 4].join(" ");
    let who = ask(&port.address(), "who").await?;
    let (uid, rest) = who.split_once(" | ").context("an answer")?;
    assert_eq!(uid, all(NOBODY), "{who}");
    let [gid, groups, greeting] = rest.split(" | ").collect::<Vec<_>>()[..] else {
        anyhow::bail!("{who}")
    };
    assert_eq!(gid, all(groups), "the user's group is the only one: {who}");
    assert_eq!(greeting, "good morning at /", "the service's own variables go before the user's");

    let master = program.status().await?.pid;
    let status = tokio::fs::read_to_string(format!("/proc/{master}/status")).await?;
    ensure!(status.contains("Uid:\t0\t0\t0\t0"), "the master is still root");
    // The log and the socket are the master's alone.
    program.stop().await?;
    Ok(())
}

#[tokio::test]
async fn users_and_groups_are_those_of_the_service_else_of_the_program() -> Result<()> {
    if !we_are_root() {
        skipped("only root runs processes as others");
        return Ok(());
    }
    let cases = [
        // Numbers that nobody has, as in a container.
        (vec![("USER", "12345")], ["12345", "12345", "12345"]),
        (vec![("USER", "12345"), ("GROUP", "54321")], ["12345", "54321", "54321"]),
        (vec![("USER", "nobody"), ("GROUP", "54321")], [NOBODY, "54321", "54321"]),
        (vec![("APP_USER", "nobody"), ("APP_GROUP", "54321")], [NOBODY, "54321", "54321"]),
        (vec![("APP_USER", "nobody"), ("GROUP", "54321")], [NOBODY, "54321", "54321"]),
        // A service with a user of its own does not have the program's group.
        (vec![("USER", "12345"), ("APP_GROUP", "54321")], ["12345", "12345", "12345"]),
    ];
    for (knobs, expected) in cases {
        let port = Port::reserve()?;
        let mut program = program(&port)?;
        for (knob, value) in &knobs {
            program = program.env(format!("PROCESSES_{knob}"), *value);
        }
        program.start().await?;
        assert_eq!(who(&port).await?, expected, "{knobs:?}");
        program.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_user_has_its_other_groups() -> Result<()> {
    let mount = std::process::Command::new("unshare").args(["--mount", "true"]).status();
    if !we_are_root() || !mount.is_ok_and(|mount| mount.success()) {
        skipped("mounts of its own are not permitted");
        return Ok(());
    }
    let port = Port::reserve()?;
    let words = r#"mount --bind "$GROUPS_FILE" /etc/group && exec "$0" "$@""#;
    let program = through(&format!("exec unshare --mount sh -c '{words}' \"$0\" \"$@\""), &port)?;
    let groups = program.folder().join("group");
    let text =
        "root:x:0:\nreaders:x:40001:nobody\nothers:x:40002:root\nwriters:x:40003:root,nobody\n";
    tokio::fs::write(&groups, text).await?;
    let program = program.env("GROUPS_FILE", &groups).env("PROCESSES_USER", "nobody");
    program.start().await?;
    assert_eq!(who(&port).await?, [NOBODY, NOBODY, "40001 40003 65534"]);
    program.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_user_that_cannot_be_put_on_fails_the_start() -> Result<()> {
    if !we_are_root() {
        skipped("only root runs processes as others");
        return Ok(());
    }
    // Root in name alone, as in a container without these capabilities.
    let words = r#"exec setpriv --bounding-set=-setuid,-setgid "$0" "$@""#;
    let program = through(words, &Port::reserve()?)?.env("PROCESSES_USER", "nobody");
    let failed = program.run(&["start", "-d"]).await?.expect_code(1)?;
    failed
        .expect_text("as user nobody (uid 65534, gid 65534): Operation not permitted")?
        .expect_text("staying/0: cannot execute")?;
    program.all_gone().await
}

#[tokio::test]
async fn processes_are_counted_by_the_cores_this_one_may_use() -> Result<()> {
    let status = tokio::fs::read_to_string("/proc/self/status").await?;
    let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = cores.unwrap_or_default().trim().split([',', '-']).next().context("a core")?;
    let words = format!(r#"exec taskset -c {first} "$0" "$@""#);
    let program = through(&words, &Port::reserve()?)?.env("PROCESSES_PER_CORE", "3");
    program.start().await?;
    assert_eq!(program.status().await?.slots.len(), 3);
    program.stop().await?;
    Ok(())
}

#[tokio::test]
async fn what_the_parent_blocks_ignores_or_leaves_open_does_no_harm() -> Result<()> {
    let deaf = "env --block-signal --ignore-signal=CHLD --ignore-signal=TERM --ignore-signal=USR1";
    let words = format!(r#"exec 7>"$LINEMAN_RUNTIME_DIR/leaked"; exec {deaf} "$0" "$@""#);
    let program = through(&words, &Port::reserve()?)?;
    let foreground = program.foreground().await?;
    let master = foreground.process().pid();
    for pid in [master, program.process("staying/0").await?.pid()] {
        let status = tokio::fs::read_to_string(format!("/proc/{pid}/status")).await?;
        ensure!(status.contains("SigBlk:\t0000000000000000\n"), "{status}");
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
        let ignored = u64::from_str_radix(ignored.context("a mask")?, 16)?;
        // SIGPIPE alone; the 32nd and 33rd are the C library's own.
        assert_eq!(ignored & !(0b11 << 31), 1 << 12, "{status}");
    }
    let worker = program.process("staying/0").await?.pid();
    for descriptor in std::fs::read_dir(format!("/proc/{worker}/fd"))? {
        let file = std::fs::read_link(descriptor?.path()).unwrap_or_default();
        ensure!(!file.ends_with("leaked"), "a worker has what leaked into its master");
    }
    let old = program.kill("staying/0").await?;
    let status = program.replaced("staying/0", &old).await?;
    assert_eq!(status.slot("staying/0")?.last_exit.as_deref(), Some("signal 9 (SIGKILL)"));
    foreground.process().terminate();
    foreground.ended().await?.expect_code(0)?;
    Ok(())
}

#[tokio::test]
async fn what_the_master_tells_a_worker_stays_with_it() -> Result<()> {
    let port = Port::reserve()?;
    let program = program(&port)?.env("LINEMAN_LOG", "info");
    program.run(&["start", "-d", "--log-format", "json", "--self-signed"]).await?.expect_code(0)?;
    let inherited = ask(&port.address(), "inherits").await?;
    let (names, descriptors) = inherited.split_once(" 0 ").context("stdin")?;
    let mut names: Vec<_> = names.split(' ').collect();
    names.sort_unstable();
    assert_eq!(names, ["LINEMAN_LOG", "LINEMAN_RUNTIME_DIR"], "those of the user");
    assert_eq!(descriptors, "1 2 3", "the last one is the folder it lists");
    ensure!(program.log().lines().all(|line| line.starts_with('{')), "{}", program.log());
    Ok(())
}

#[tokio::test]
async fn a_user_that_nobody_has_fails_the_start_and_the_check() -> Result<()> {
    let program = program(&Port::reserve()?)?.env("PROCESSES_USER", "nobody-by-this-name");
    for verb in [&["start"][..], &["start", "-d"], &["check"]] {
        let failed = program.run(verb).await?.expect_code(1)?;
        failed.expect_text("this machine has no user \"nobody-by-this-name\"")?;
    }
    ensure!(program.processes().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_process_that_stays_hears_of_a_reload() -> Result<()> {
    let port = Port::reserve()?;
    let program = program(&port)?;
    program.start().await?;
    let before = program.process("staying/0").await?.pid();
    assert_eq!(ask(&port.address(), "reloads").await?, "0");
    program.reload().await?;
    // It was told before the command ended; that it is done is seen when it answers one.
    let heard = async {
        while ask(&port.address(), "reloads").await? != "1" {}
        anyhow::Ok(())
    };
    within("the process to hear of it", heard).await??;
    assert_eq!(program.process("staying/0").await?.pid(), before);
    Ok(())
}

#[tokio::test]
async fn a_worker_listens_on_more_while_it_runs() -> Result<()> {
    let port = Port::reserve()?;
    let program = program(&port)?;
    program.start().await?;
    let inner = ask(&port.address(), "inner").await?;
    assert_eq!(ask(&inner, "anything").await?, "inside");
    let again = ask(&port.address(), "again").await?;
    ensure!(again.contains(&inner) && again.contains("listens there already"), "{again}");
    program.stop().await?;
    ensure!(Raw::connect(&inner).await.is_err(), "it went with its process");
    Ok(())
}

#[tokio::test]
async fn the_program_hears_of_exits_reloads_and_the_stop() -> Result<()> {
    let port = Port::reserve()?;
    let program = program(&port)?;
    let notes = program.folder().join("notes");
    let program = program.env("PROCESSES_NOTES", &notes);
    program.start().await?;
    let old = program.kill("staying/0").await?;
    program.replaced("staying/0", &old).await?;
    program.reload().await?;
    program.stop().await?;
    let heard = tokio::fs::read_to_string(&notes).await?;
    let expected = "staying/0 signal 9 (SIGKILL) asked: false\n\
                    reload\n\
                    staying/0 asked to leave asked: true\n\
                    stop\n";
    assert_eq!(heard, expected);
    Ok(())
}
