//! What a program is called, and the folder that is named after it.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use lineman_testkit::{Port, Program};
use lineman_tests::programs::built;

#[test]
fn links_with_versions_are_programs_of_their_own() -> Result<()> {
    let (folder, session) = (tempfile::tempdir()?, tempfile::tempdir()?);
    for name in ["web-1.2.3", "web-1.2.4"] {
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(built("processes_under_test", "lineman-tests")?, &link)?;
        let mut check = Command::new(&link);
        check.arg("check").stdin(Stdio::null()).env_remove("LINEMAN_RUNTIME_DIR");
        check.env("XDG_RUNTIME_DIR", session.path()).env("PROCESSES_LISTEN", "127.0.0.1:0");
        let output = check.output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        // The folder is the link's alone.
        let shown = said.lines().find(|line| line.starts_with("runtime folder "));
        ensure!(shown.is_some_and(|line| line.ends_with(&format!("/{name}"))), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_is_no_part_of_a_path_is_refused() -> Result<()> {
    for name in ["", ".", "..", "../x", "a/b", "/etc", "a\nb", "a\u{1b}[2J"] {
        let program = Program::new(built("processes_under_test", "lineman-tests")?)?
            .env("PROCESSES_LISTEN", Port::reserve()?.address())
            .env("PROCESSES_NAME", name);
        for verb in [&["check"][..], &["start"], &["start", "-d"]] {
            let refused = program.run(verb).await?.expect_code(1)?;
            refused.expect_text(&format!("the program's name {name:?} names no folder"))?;
        }
        program.all_gone().await?;
    }
    Ok(())
}
