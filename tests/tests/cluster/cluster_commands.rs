//! `lineman send`, `broadcast`, `online`, `kick` and `sessions` at a cluster: what clients hear, what is printed, and
//! how each command ends.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lineman_client::Cluster;
use lineman_testkit::{Client, Output, Port, Program, within};
use lineman_tests::alone;
use lineman_tests::programs::{Server, answer, built, cluster, part_of_cluster};
use serde_json::{Value, json};
use tempfile::TempDir;

const KEY: &str = "right";

/// A cluster with a key and a name, and two clients: ann and bob, both in the room.
struct Scene {
    /// Ends when this is dropped.
    _server: Server,
    register: String,
    key: TempDir,
    ann: Client,
    bob: Client,
    ids: [String; 2],
}

/// Returns the program, whose commands are in a folder without a file of settings.
fn lineman() -> Result<Program> {
    Program::new(built("lineman", "lineman-server")?)
}

/// Returns a file with a key.
fn key_file(key: &str) -> Result<TempDir> {
    let folder = TempDir::new()?;
    std::fs::write(folder.path().join("key"), format!("{key}\n"))?;
    Ok(folder)
}

impl Scene {
    async fn set() -> Result<Self> {
        let server = cluster()?.knob("CLUSTER_SECRET", KEY).knob("CLUSTER_NAME", "chat");
        let server = server.started().await?;
        let register = server.register.as_ref().context("a register")?.address();
        let (mut ann, mut bob) = (server.client().await?, server.client().await?);
        for (client, name) in [(&mut ann, "ann"), (&mut bob, "bob")] {
            answer(client, &format!("/uid {name}")).await?;
            answer(client, "/join room").await?;
        }
        let ids = [answer(&mut ann, "/id").await?, answer(&mut bob, "/id").await?];
        let scene = Self { _server: server, register, key: key_file(KEY)?, ann, bob, ids };
        // What a client has asked of its business is under way to the gateway.
        let both = async {
            while scene.json(&["online", "--group", "room"], 0).await?["groups"]
                != json!({"room": 2})
            {}
            anyhow::Ok(())
        };
        within("both to be in the room", both).await??;
        Ok(scene)
    }

    async fn run(&self, command: &[&str]) -> Result<Output> {
        let key = self.key.path().join("key").display().to_string();
        let place = ["--register", &self.register, "--cluster-name", "chat"];
        let all = [command, &place, &["--secret-key-file", &key]].concat();
        lineman()?.run(&all).await
    }

    async fn text(&self, command: &[&str], code: i32) -> Result<String> {
        Ok(self.run(command).await?.expect_code(code)?.stdout)
    }

    async fn json(&self, command: &[&str], code: i32) -> Result<Value> {
        let text = self.text(&[command, &["--json"]].concat(), code).await?;
        ensure!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
        Ok(serde_json::from_str(&text)?)
    }
}

#[tokio::test]
async fn messages_reach_whom_they_are_for() -> Result<()> {
    let _machine = alone().await;
    let mut scene = Scene::set().await?;
    let ids = scene.ids.clone();
    let nothing = json!({ "missing": [] });
    ensure!(scene.text(&["send", "--uid", "ann", "1"], 0).await?.is_empty());
    ensure!(scene.json(&["send", "--uid", "bob", "--uid", "ann", "2"], 0).await? == nothing);
    scene.text(&["send", "--group", "room", "3"], 0).await?;
    scene.text(&["send", "--group", "room", "--exclude", &ids[0], "4"], 0).await?;
    scene.text(&["send", "--client", &ids[0], "5"], 0).await?;
    scene.text(&["send", "--all", "--exclude", &ids[1], "6"], 0).await?;
    ensure!(scene.json(&["broadcast", "7"], 0).await? == nothing);
    scene.text(&["broadcast", "--exclude", &ids[0], "8"], 0).await?;
    let file = scene.key.path().join("message");
    std::fs::write(&file, "from a file\n")?;
    scene.text(&["send", "--uid", "ann", "--file", &file.display().to_string()], 0).await?;
    scene.text(&["send", "--uid", "ann", "typed", "--text"], 0).await?;
    scene.text(&["send", "--uid", "bob", "b", "--binary"], 0).await?;
    std::fs::write(&file, b"\xff\0")?;
    let file = file.display().to_string();
    scene.text(&["send", "--all", "--file", &file, "--text"], 1).await?;
    scene.text(&["send", "--uid", "ann", "--file", &file], 0).await?;
    // The client of the tests passes over what is binary.
    scene.text(&["broadcast", "after"], 0).await?;
    // A gateway that is not there is missing; where nothing else was to be done, that is a failure.
    let nowhere = "7f0000010001ffffffff";
    scene.text(&["send", "--client", nowhere, "x"], 1).await?;
    let partial = scene.json(&["send", "--uid", "nobody", "--client", nowhere, "x"], 8).await?;
    ensure!(partial["missing"][0]["gateway"] == "127.0.0.1:1", "{partial}");
    for expected in ["1", "2", "3", "5", "6", "7", "from a file\n", "typed", "after"] {
        let text = scene.ann.next_text().await?;
        ensure!(text == expected, "{text:?} {expected:?}");
    }
    for expected in ["2", "3", "4", "7", "8", "after"] {
        let text = scene.bob.next_text().await?;
        ensure!(text == expected, "{text:?} {expected:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_message_may_come_from_stdin() -> Result<()> {
    let _machine = alone().await;
    let mut scene = Scene::set().await?;
    let key = scene.key.path().join("key");
    let program = lineman()?;
    let mut command =
        program.command(&["send", "--uid", "ann", "-", "--register", &scene.register]);
    command.args(["--cluster-name", "chat", "--secret-key-file"]).arg(key).stdin(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("a pipe")?.write_all(b"two\nlines")?;
    ensure!(tokio::task::spawn_blocking(move || child.wait()).await??.success());
    ensure!(scene.ann.next_text().await? == "two\nlines");
    Ok(())
}

#[tokio::test]
async fn who_is_connected_is_counted_listed_and_asked() -> Result<()> {
    let _machine = alone().await;
    let scene = Scene::set().await?;
    let [ann, bob] = &scene.ids;
    let counts = json!({ "clients": 2, "groups": 1, "gateways": 1, "missing": [] });
    ensure!(scene.json(&["online"], 0).await? == counts);
    ensure!(scene.text(&["online"], 0).await?.contains("clients   2\n"));
    let list = json!({ "clients": [
        { "id": ann, "uid": "ann", "groups": ["room"] }, { "id": bob, "uid": "bob", "groups": ["room"] },
    ], "missing": [] });
    ensure!(scene.json(&["online", "--list"], 0).await? == list);
    ensure!(scene.text(&["online", "--list"], 0).await?.contains(&format!("{ann}\tann\troom\n")));

    let asked = ["online", "--uid", "ann", "--group", "room", "--client", bob];
    let mut known = BTreeMap::from([(bob.clone(), true)]);
    let mut expected = json!({
        "uids": { "ann": 1 }, "groups": { "room": 2 }, "ids": known, "online": true, "missing": [],
    });
    ensure!(scene.json(&asked, 0).await? == expected);
    let listed = scene.json(&["online", "--uid", "ann", "--group", "room", "--list"], 0).await?;
    ensure!(listed["uids"] == json!({ "ann": [ann] }), "{listed}");
    ensure!(listed["groups"] == json!({ "room": [ann, bob] }), "{listed}");

    let gone = "7f0000010001ffffffff".replace("0001ffffffff", &format!("{}ffffffff", &ann[8..12]));
    let asked = [&asked[..], &["--uid", "eve", "--group", "empty", "--client", &gone]].concat();
    known.insert(gone.clone(), false);
    expected["uids"]["eve"] = 0.into();
    expected["groups"]["empty"] = 0.into();
    expected["ids"] = json!(known);
    expected["online"] = false.into();
    ensure!(scene.json(&asked, 9).await? == expected);
    let text = scene.text(&asked, 9).await?;
    for line in [
        "uid ann: 1 client\n",
        "uid eve: not connected\n",
        &format!("client {gone}: not connected\n"),
    ] {
        ensure!(text.contains(line), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn sessions_are_shown_and_clients_kicked() -> Result<()> {
    let _machine = alone().await;
    let scene = Scene::set().await?;
    let [ann, bob] = scene.ids.clone();
    let (register, client) = (scene.register.clone(), ann.parse()?);
    let set = tokio::task::spawn_blocking(move || {
        let mut cluster = Cluster::new(register).secret_key(KEY).cluster_name("chat");
        cluster.set_session(client, &json!({ "name": "Ann", "tags": ["a", "b"], "n": 5 }))?;
        cluster.stored_session(client)
    });
    ensure!(set.await??.is_some_and(|session| !session.is_empty()));
    let session = json!({ "name": "Ann", "tags": ["a", "b"], "n": 5 });
    let of_ann = json!({ "sessions": { &*ann: session }, "missing": [] });
    for whose in [["--uid", "ann"], ["--client", &ann]] {
        let shown = scene.json(&["sessions", whose[0], whose[1]], 0).await?;
        ensure!(shown == of_ann, "{shown}");
    }
    let all = json!({ "sessions": { &*ann: session, &*bob: [] }, "missing": [] });
    for command in [&["sessions"][..], &["sessions", "--group", "room"]] {
        let shown = scene.json(command, 0).await?;
        ensure!(shown == all, "{shown}");
    }
    let text = scene.text(&["sessions"], 0).await?;
    ensure!(
        text.contains(&format!("{ann}\t{{")) && text.contains(&format!("{bob}\t[]\n")),
        "{text}"
    );

    let kicked = scene.json(&["kick", &ann, "--message", "goodbye"], 0).await?;
    ensure!(kicked == json!({ "kicked": 1, "missing": [] }), "{kicked}");
    let Scene { mut ann, mut bob, .. } = scene.kick_bob().await?;
    ensure!(ann.next_text().await? == "goodbye");
    ensure!(ann.ended().await?.code() == Some(1000));
    bob.ended().await?;
    Ok(())
}

impl Scene {
    async fn kick_bob(self) -> Result<Self> {
        let text = self.text(&["kick", "--uid", "bob", "--destroy"], 0).await?;
        ensure!(text == "1 client kicked\n", "{text}");
        Ok(self)
    }
}

#[tokio::test]
async fn what_refuses_is_named_and_nothing_is_secret_in_it() -> Result<()> {
    let _machine = alone().await;
    let scene = Scene::set().await?;
    let register = &scene.register;
    let command = |key: &TempDir| {
        let key = key.path().join("key").display().to_string();
        ["online", "--register", register, "--secret-key-file", &key].map(ToOwned::to_owned)
    };
    let run = async |command: &[String], name: &str| {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let named = [&command[..], &["--cluster-name", name]].concat();
        lineman()?.run(if name.is_empty() { &command } else { &named }).await?.expect_code(1)
    };
    let right = command(&scene.key);
    let refused = |reason: &str| format!("error: register {register} refuses: {reason}");
    let other = r#"it belongs to cluster "chat", not "game""#;
    run(&right, "game").await?.expect_text(&refused(other))?;
    let unnamed = r#"it belongs to cluster "chat", and no name of a cluster was given"#;
    run(&right, "").await?.expect_text(&refused(unnamed))?;
    let wrong = key_file("hunter2")?;
    let said = run(&command(&wrong), "chat").await?.expect_text(&refused("wrong secret key"))?;
    ensure!(!format!("{}{}", said.stdout, said.stderr).contains("hunter2"), "{said}");
    let missing = TempDir::new()?;
    run(&command(&missing), "chat").await?.expect_text("--secret-key-file: ")?;

    let nothing = Port::reserve()?.address();
    let down = lineman()?.run(&["online", "--register", &nothing]).await?.expect_code(1)?;
    down.expect_text(&format!("error: register {nothing}: Connection refused"))?;
    let usage = lineman()?.run(&["send", "text"]).await?;
    ensure!(usage.code == Some(2), "{usage}");
    Ok(())
}

#[tokio::test]
async fn the_file_and_the_environment_say_which_cluster_it_is() -> Result<()> {
    let _machine = alone().await;
    let scene = Scene::set().await?;
    let file = scene.key.path().join("lineman.toml");
    let key = scene.key.path().join("key");
    let text = |register: &str| {
        format!(
            "[cluster]\nname = \"chat\"\nregister_address = {register:?}\nsecret_key_file = {:?}\n",
            key.display()
        )
    };
    std::fs::write(&file, text(&scene.register))?;
    let online = ["online", "--config", &file.display().to_string()].map(ToOwned::to_owned);
    let online: Vec<&str> = online.iter().map(String::as_str).collect();
    lineman()?.run(&online).await?.expect_code(0)?.expect_text("clients   2\n")?;
    std::fs::write(&file, format!("{}speed = 3\n", text(&scene.register)))?;
    lineman()?
        .run(&online)
        .await?
        .expect_code(1)?
        .expect_text("lineman.toml:5: cluster.speed: ")?;

    let set = |program: Program, key: &str| {
        let program = program.env("LINEMAN_CLUSTER_REGISTER_ADDRESS", &scene.register);
        program.env("LINEMAN_CLUSTER_NAME", "chat").env("LINEMAN_CLUSTER_SECRET_KEY", key)
    };
    set(lineman()?, KEY).run(&["online"]).await?.expect_code(0)?.expect_text("clients   2\n")?;
    let wrong = set(lineman()?, "wrong").run(&["online"]).await?.expect_code(1)?;
    wrong.expect_text("refuses: wrong secret key")?;
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_is_dead_is_named_and_the_others_are_told() -> Result<()> {
    let _machine = alone().await;
    let register = Port::reserve()?;
    let middle = part_of_cluster("register business", &register)?.started().await?;
    let here = part_of_cluster("gateway", &register)?.started().await?;
    let there = part_of_cluster("gateway", &register)?.started().await?;
    middle.program.until("two links", |status| status.gauge("business", "links") == 2).await?;
    let (mut ann, mut bob) = (here.client().await?, there.client().await?);
    answer(&mut ann, "/uid ann").await?;
    answer(&mut bob, "/uid bob").await?;
    let place = register.address();
    let run = async |command: &[&str]| {
        lineman()?.run(&[command, &["--register", &place, "--json"]].concat()).await
    };
    let known = async |command: &[&str], code| {
        anyhow::Ok(serde_json::from_str::<Value>(&run(command).await?.expect_code(code)?.stdout)?)
    };
    let both =
        async { while known(&["online", "--uid", "ann", "--uid", "bob"], 0).await.is_err() {} };
    within("both to have their uids", both).await?;

    let gateway = there.program.process("gateway/0").await?;
    gateway.suspend();
    let sent = run(&["broadcast", "hello"]).await?.expect_code(8)?;
    ensure!(sent.stderr.contains("missing: gateway 127.0.0.1:"), "{sent}");
    ensure!(sent.stderr.contains("did not answer within 1 s"), "{sent}");
    ensure!(ann.next_text().await? == "hello");
    let counts = known(&["online"], 8).await?;
    ensure!(counts["clients"] == 1 && counts["gateways"] == 2, "{counts}");
    ensure!(counts["missing"][0]["reason"].as_str().is_some(), "{counts}");
    // One that is found is online; one that is not may be at the gateway that is missing.
    ensure!(known(&["online", "--uid", "ann"], 0).await?["online"] == true);
    let unknown = known(&["online", "--uid", "bob"], 8).await?;
    ensure!(unknown["online"].is_null() && unknown["uids"]["bob"] == 0, "{unknown}");
    gateway.resume();
    middle.program.stop().await?;
    Ok(())
}
