//! A reload of the program `lineman`: what can change does in the processes that are there, everything else refuses it
//! as a whole, and what was not accepted reaches no process; and keys, which are shown nowhere.

use std::fs;

use anyhow::{Result, ensure};
use lineman_testkit::{Client, Process, Program, Status};
use lineman_tests::lineman::Lineman;
use rustix::process::Signal;
use tokio_tungstenite::tungstenite::Message;

const CLUSTER: &str =
    "[cluster]\nregister_address = \"$REGISTER\"\n[[register]]\nlisten = \"$REGISTER\"\n";

const GATEWAY: &str = "[[gateway]]\nlisten = \"websocket://$GATEWAY\"\nstart_port = 0\n";

/// Returns a file whose gateway pings with this message.
fn pinging(with: &str) -> String {
    format!("{CLUSTER}{GATEWAY}ping_interval = 0.1\nping_data = \"{with}\"\n")
}

/// Waits until the log says this, so many times.
async fn logged(program: &Program, text: &str, times: usize) -> Result<()> {
    let said = |_: &_| program.log().matches(text).count() >= times;
    program.until(&format!("the log to say {text:?}"), said).await.map(drop)
}

/// Reads until this message comes.
async fn hears(client: &mut Client, message: &str) -> Result<()> {
    while client.next_text().await? != message {}
    Ok(())
}

#[tokio::test]
async fn a_reload_changes_what_can_change_and_no_client_is_disconnected() -> Result<()> {
    let plain = format!("{CLUSTER}{GATEWAY}");
    let lineman = Lineman::new(&plain)?.started().await?;
    let program = &lineman.program;
    let _business = lineman.business("").await?;
    let gateway = program.process("gateway/0").await?;
    let mut client = lineman.client().await?;

    lineman.write(&pinging("one"))?;
    let told = program.run(&["reload"]).await?.expect_code(0)?;
    let told = told.expect_text("gateway.ping_interval: \"0s\" → 100ms")?;
    told.expect_text("gateway.ping_data: \"\" → \"one\"")?;
    hears(&mut client, "one").await?;

    // The same by a signal.
    lineman.write(&pinging("two"))?;
    program.master().await?.signal(Signal::USR1);
    hears(&mut client, "two").await?;

    // For new connections, with one that is there.
    lineman.write(&format!(
        "{}origins = \"https://example.org\"\nlimits.connections = 1\n",
        pinging("two")
    ))?;
    program.reload().await?;
    ensure!(lineman.client().await.is_err(), "a second connection is one too many");
    lineman.write(&pinging("three"))?;
    program.reload().await?;
    lineman.client().await?;
    hears(&mut client, "three").await?;
    ensure!(program.process("gateway/0").await?.pid() != gateway.pid(), "it is replaced");
    program.run(&["reload"]).await?.expect_code(0)?.expect_text("no setting has changed")?;
    Ok(())
}

#[tokio::test]
async fn clients_to_come_meet_other_rules_after_a_reload() -> Result<()> {
    let plain = format!("{CLUSTER}{GATEWAY}");
    let lineman = Lineman::new(&format!("{plain}limits.connections_per_address = 1\n"))?;
    let lineman = lineman.started().await?;
    let program = &lineman.program;
    let _business = lineman.business("").await?;
    let mut client = lineman.client().await?;
    ensure!(lineman.client().await.is_err(), "a second one of the address is one too many");

    let two = format!("{plain}limits.connections_per_address = 2\n");
    lineman.write(&two)?;
    program.reload().await?;
    lineman.client().await?;
    lineman.write(&format!(
        "{two}allow.paths = \"/chat\"\nmessage_type = \"text\"\nheirs = false\n"
    ))?;
    let told = program.run(&["reload"]).await?.expect_code(0)?;
    let told = told.expect_text("gateway.allow.paths: [] → [\"/chat\"]")?;
    told.expect_text("gateway.message_type: \"as_received\" → \"text\"")?;
    ensure!(lineman.client().await.is_err(), "there is no WebSocket at / any more");
    Client::connect(&format!("{}chat", lineman.port.ws())).await?;
    // What comes back of it as it was received is no text.
    client.send(Message::binary("hello")).await?;
    ensure!(client.next_text().await? == "hello");

    lineman.write(&plain)?;
    let told = program.run(&["reload"]).await?.expect_code(1)?;
    told.expect_text("gateway.limits.connections_per_address: 2 → none: that needs a restart")?;
    Ok(())
}

#[tokio::test]
async fn other_businesses_get_clients_after_a_reload() -> Result<()> {
    let plain = format!("{CLUSTER}{GATEWAY}");
    let lineman = Lineman::new(&plain)?.started().await?;
    let program = &lineman.program;
    let _business = lineman.business("").await?;
    let mut early = lineman.client().await?;
    early.send_text("one").await?;
    ensure!(early.next_text().await? == "one");

    // It has no clients but those that it had.
    lineman.write(&format!("{plain}pinned_to = \"other\"\nrouter = \"query:room\"\n"))?;
    program.reload().await?;
    let mut late = lineman.client().await?;
    late.send_text("three").await?;
    let held = |status: &Status| status.gauge("gateway", "held_clients") == 1;
    program.until("a client to be held", held).await?;
    early.send_text("two").await?;
    ensure!(early.next_text().await? == "two");
    lineman.write(&format!("{plain}pinned_to = [\"other\", \"business\"]\n"))?;
    program.reload().await?;
    // Everybody hears what is said.
    hears(&mut late, "three").await?;
    Ok(())
}

#[tokio::test]
async fn what_a_reload_refuses_is_in_force_nowhere() -> Result<()> {
    let lineman = Lineman::new(&pinging("one"))?.started().await?;
    let program = &lineman.program;
    let _business = lineman.business("").await?;
    let mut client = lineman.client().await?;
    hears(&mut client, "one").await?;

    // Something that could change stands beside something that cannot.
    let refused = pinging("two").replace("$GATEWAY", "127.0.0.1:1");
    lineman.write(&refused)?;
    let told = program.run(&["reload"]).await?.expect_code(1)?;
    let told = told.expect_text("lineman.toml:6: gateway.listen: \"websocket://127.0.0.1:")?;
    told.expect_text("→ \"websocket://127.0.0.1:1\": that needs a restart")?;
    logged(program, "needs a restart", 1).await?;
    program.master().await?.signal(Signal::USR1);
    logged(program, "needs a restart", 2).await?;
    let old = program.kill("gateway/0").await?;
    program.replaced("gateway/0", &old).await?;
    let mut client = lineman.client().await?;
    hears(&mut client, "one").await?;

    lineman.write(&pinging("three").replace("0.1", "\"soon\""))?;
    let told = program.run(&["reload"]).await?.expect_code(1)?;
    told.expect_text("lineman.toml:8: gateway.ping_interval: \"soon\" is no duration")?;
    fs::remove_file(lineman.file())?;
    program.run(&["reload"]).await?.expect_code(1)?.expect_text("cannot read it")?;
    hears(&mut client, "one").await?;
    // Without the file it is found, and stopped, all the same.
    program.run(&["status"]).await?.expect_code(0)?;
    program.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_process_that_was_killed_comes_back_with_what_a_reload_brought() -> Result<()> {
    let lineman = Lineman::new(&pinging("one"))?.started().await?;
    let program = &lineman.program;
    let _business = lineman.business("").await?;
    lineman.write(&pinging("two"))?;
    program.reload().await?;
    // Edited, and not accepted.
    lineman.write(&pinging("three"))?;
    let old = program.kill("gateway/0").await?;
    program.replaced("gateway/0", &old).await?;
    let mut client = lineman.client().await?;
    ensure!(client.next_text().await? == "two");
    Ok(())
}

#[tokio::test]
async fn services_come_and_go_with_a_restart_alone() -> Result<()> {
    let lineman = Lineman::new(&pinging("one"))?.started().await?;
    let more = format!(
        "{}[[gateway]]\nname = \"more\"\nlisten = \"text://127.0.0.1:0\"\nstart_port = 0\n",
        pinging("one")
    );
    lineman.write(&more)?;
    let told = lineman.program.run(&["reload"]).await?.expect_code(1)?;
    told.expect_text("lineman.toml:10: the service \"more\" is new: that needs a restart")?;
    lineman.program.run(&["restart", "-d"]).await?.expect_code(0)?;
    lineman.program.until("it to run", |status| status.slot("more/0").is_ok()).await?;
    lineman.write(&pinging("one"))?;
    let told = lineman.program.run(&["reload"]).await?.expect_code(1)?;
    told.expect_text("the service \"more\" is not there any more: that needs a restart")?;
    Ok(())
}

#[tokio::test]
async fn processes_of_another_user_get_the_settings() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let lineman = Lineman::new(&format!("{}user = \"65534\"\n", pinging("one")))?.started().await?;
    lineman.write(&format!("{}user = \"65534\"\n", pinging("two")))?;
    lineman.program.reload().await?;
    let old = lineman.program.kill("gateway/0").await?;
    lineman.program.replaced("gateway/0", &old).await?;
    Ok(())
}

#[tokio::test]
async fn keys_are_shown_nowhere() -> Result<()> {
    const KEY: &str = "xK3y-of-the-cluster";
    let with = |key: &str| {
        format!(
            "[cluster]\nsecret_key = \"{key}\"\nregister_address = \"$REGISTER\"\n[[register]]\nlisten = \"$REGISTER\"\n{GATEWAY}\
             connect_hook.url = \"http://127.0.0.1:9/\"\nconnect_hook.on_failure = \"accept\"\n\
             connect_hook.headers = \"X-Key: {key}\"\n"
        )
    };
    let lineman = Lineman::new(&with(KEY))?;
    let mut outputs = vec![lineman.program.run(&["check"]).await?, lineman.program.start().await?];
    let business = lineman.business(KEY).await?;
    let mut client = lineman.client().await?;
    client.send_text("hello").await?;
    assert_eq!(client.next_text().await?, "hello");
    for verb in [
        &["status"][..],
        &["status", "--json"],
        &["connections", "--json"],
        &["logs"],
        &["settings"],
    ] {
        outputs.push(lineman.program.run(verb).await?);
    }
    lineman.write(&with(KEY).replace("X-Key: ", "X-Key: other-"))?;
    let told = lineman.program.run(&["reload"]).await?.expect_code(0)?;
    outputs.push(told.expect_text("gateway.connect_hook.headers: it has changed")?);
    lineman.write(&with(&format!("{KEY}2")))?;
    let refused = lineman.program.run(&["reload"]).await?.expect_code(1)?;
    outputs.push(refused.expect_text("gateway.secret_key: it has changed: that needs a restart")?);
    // Where a text should be, and where the file is broken at it.
    for wrong in [
        format!("[[gateway]]\nsecret_key = [\"{KEY}\"]\n"),
        format!("[cluster]\nsecret_key = \"{KEY}\n"),
        format!("[[gateway]]\nconnect_hook.headers = \"{KEY}\"\n"),
        format!("[[gateway]]\nconnect_hook.url = \"http://me:{KEY}@127.0.0.1/\"\n"),
        format!("[[gateway]]\nallow.headers = [\"X Key: {KEY}\"]\nallow.cookies = \"a b={KEY}\"\n"),
    ] {
        lineman.write(&wrong)?;
        outputs.push(lineman.program.run(&["check"]).await?.expect_code(1)?);
    }
    fs::write(lineman.program.folder().join("key"), format!("{KEY}\n"))?;
    lineman.write("[[gateway]]\nlisten = \"x\"\nsecret_key_file = \"$FOLDER/key\"\n")?;
    outputs.push(lineman.program.run(&["check"]).await?.expect_code(1)?);
    for output in outputs {
        ensure!(!output.to_string().contains(KEY), "{output}");
    }
    ensure!(!lineman.program.log().contains(KEY), "the log shows the key");
    for process in lineman.program.processes() {
        for place in ["cmdline", "environ"] {
            let bytes = read(&process, place);
            ensure!(!String::from_utf8_lossy(&bytes).contains(KEY), "{place} shows the key");
        }
    }
    drop(business);
    Ok(())
}

/// Reads a file of `/proc`; nothing of a process that has ended.
fn read(process: &Process, file: &str) -> Vec<u8> {
    fs::read(format!("/proc/{}/{file}", process.pid())).unwrap_or_default()
}

#[tokio::test]
async fn a_key_in_a_file_of_its_own_is_used() -> Result<()> {
    let settings = CLUSTER.replace("[cluster]", "[cluster]\nsecret_key_file = \"$FOLDER/key\"");
    let lineman = Lineman::new(&format!("{settings}{GATEWAY}"))?;
    fs::write(lineman.program.folder().join("key"), "from a file\n")?;
    let lineman = lineman.started().await?;
    let _business = lineman.business("from a file").await?;
    let mut client = lineman.client().await?;
    client.send_text("hello").await?;
    assert_eq!(client.next_text().await?, "hello");
    Ok(())
}
