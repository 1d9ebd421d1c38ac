//! Programs with flags of their own: they are there in the master, the daemon and every worker.

use anyhow::Result;
use clap::Parser;
use lineman::{App, Worker};
use lineman_testkit::{Port, Program};
use lineman_tests::programs::built;
use lineman_tests::raw::Raw;

#[tokio::test]
async fn flags_of_the_program_reach_its_workers() -> Result<()> {
    let port = Port::reserve()?;
    let address = port.address();
    let program = Program::new(built("embedded_under_test", "lineman-tests")?)?;
    let mut program = program.args(["--listen", &address, "--greeting", "good morning"]);

    program.start().await?;
    hears(&address, "good morning").await?;
    let first = program.process("text/0").await?;
    program = program.args(["--listen", &address, "--greeting", "good evening"]);
    // A reload keeps what the master was started with.
    program.reload().await?;
    first.gone().await?;
    hears(&address, "good morning").await?;
    program.run(&["restart", "-d"]).await?.expect_code(0)?;
    hears(&address, "good evening").await?;
    program.stop().await?;
    Ok(())
}

#[tokio::test]
async fn flags_stand_beside_each_other_in_the_help() -> Result<()> {
    let program = Program::new(built("embedded_under_test", "lineman-tests")?)?;
    let mut help = program.run(&["--help"]).await?.expect_code(0)?;
    assert!(help.stdout.starts_with("Answers each line with a greeting\n\nUsage:"), "{help}");
    for part in ["--greeting", "--runtime-dir", "reload", "Exit codes"] {
        help = help.expect_text(part)?;
    }
    program.run(&["start"]).await?.expect_code(2)?.expect_text("--greeting")?;
    Ok(())
}

#[tokio::test]
async fn a_program_inside_a_runtime_is_told_what_to_do() -> Result<()> {
    let app = || App::new().service(Worker::text("127.0.0.1:0"));
    let Line { lineman } = Line::try_parse_from(["program", "start"])?;
    for refused in [app().run(), app().run_with(["start"]), app().run_command(lineman)] {
        let error = refused.expect_err("it cannot run here").to_string();
        assert!(error.contains("call it from a plain `fn main`"), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn verbs_of_the_program_stand_beside_ours() -> Result<()> {
    let port = Port::reserve()?;
    let program = Program::new(built("verbs_under_test", "lineman-tests")?)?;
    let program = program.env("VERBS_LISTEN", port.address());
    let help = program.run(&["--help"]).await?.expect_text("migrate")?.expect_text("reload")?;
    assert!(help.stdout.starts_with("Echoes lines, and keeps a database\n\nUsage:"), "{help}");
    program.run(&["migrate"]).await?.expect_code(0)?.expect_text("migrated")?;
    program.start().await?;
    hears(&port.address(), "hello").await?;
    let old = program.process("text/0").await?;
    program.reload().await?;
    old.gone().await?;
    hears(&port.address(), "hello").await?;
    program.stop().await?;
    Ok(())
}

/// A command line of Lineman's verbs alone.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    lineman: lineman::cli::Arguments,
}

#[tokio::test]
async fn completions_know_the_flags_of_the_program() -> Result<()> {
    let program = Program::new(built("embedded_under_test", "lineman-tests")?)?;
    let program = program.args(["--listen", "127.0.0.1:0", "--greeting", "hello"]);
    for shell in ["bash", "zsh", "fish"] {
        let script = program.run(&["completions", shell]).await?.expect_code(0)?;
        for word in ["greeting", "runtime-dir", "connections"] {
            assert!(script.stdout.contains(word), "{shell} does not know {word}");
        }
    }
    Ok(())
}

async fn hears(address: &str, answer: &str) -> Result<()> {
    let mut peer = Raw::connect(address).await?;
    peer.send(b"hello\n").await?;
    peer.until(format!("{answer}\n").as_bytes()).await
}
