//! The short form of `cargo xtask siege`: every attack that is withstood, beside innocent clients.

use anyhow::{Result, ensure};
use lineman_tests::programs::built;
use tokio::process::Command;

/// No innocent client loses anything, no process dies, and memory comes back; the table that it prints
/// says what happened. No time is judged.
#[tokio::test]
async fn innocent_clients_lose_nothing_while_others_attack() -> Result<()> {
    let mut siege = Command::new(built("siege", "lineman-tests")?);
    let output = siege.arg("--short").kill_on_drop(true).output().await?;
    let [table, log] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success(), "{}\n{table}\n{log}", output.status);
    Ok(())
}
