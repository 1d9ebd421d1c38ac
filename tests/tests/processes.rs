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
