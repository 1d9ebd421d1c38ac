//! A cluster with businesses and clients in PHP (`tests/peers/business.php`, `client.php`), which know nothing of
//! Lineman but the protocol that it shares with `GatewayWorker`: our register and gateway, businesses in PHP, in Rust,
//! and both, and what becomes of clients when something fails.
//!
//! | what fails | a client of a business in PHP | one of a business in Rust |
//! |---|---|---|
//! | business killed | stays, is served by another one, or the next | the same |
//! | business reloaded | stays, is served by its successor | nothing is lost while clients talk |
//! | business stopped | stays, and what it says waits for the next one | the same |
//! | gateway killed | is cut off | is cut off, and `on_close` runs |
//! | register killed | nothing | nothing |
//! | a wrong key | refused without a word; the client gets 1013 | |
//! | a message too long for a packet | 1009, and the others go on | the same |
//! | a burst | nothing is lost | nothing is lost |
//! | a client that does not read | 1013, counted, and the others go on | the same |
//!
//! Skipped where there is no PHP.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use lineman_testkit::{Client, Ended, Port, Program, Status, within};
use lineman_tests::peer::Peer;
use lineman_tests::programs::{Server, built, part_of_cluster};
use lineman_tests::raw::{Raw, frame};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

const KEY: &str = "the key";

/// Which businesses there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Php,
    Rust,
    Both,
}

/// A register, a gateway and businesses, each a program of its own.
struct Stage {
    kind: Kind,
    register: Server,
    at_register: Port,
    gateway: Server,
    php: Option<Peer>,
    rust: Option<Program>,
    /// How many businesses in PHP there were: each has a name of its own.
    named: usize,
}

impl Stage {
    /// Starts all; none where there is no PHP.
    async fn started(kind: Kind) -> Result<Option<Self>> {
        let at_register = Port::reserve()?;
        if Peer::php("client.php", &[&at_register.address()])?.is_none() {
            return Ok(None);
        }
        let register = part_of_cluster("register", &at_register)?.knob("CLUSTER_SECRET", KEY);
        let gateway = part_of_cluster("gateway", &at_register)?.knob("CLUSTER_SECRET", KEY);
        let (register, gateway) = (register.started().await?, gateway.started().await?);
        let mut stage =
            Self { kind, register, at_register, gateway, php: None, rust: None, named: 0 };
        if kind != Kind::Rust {
            let Some(business) = stage.business_in_php(KEY).await? else { return Ok(None) };
            stage.php = Some(business);
        }
        if kind != Kind::Php {
            stage.rust = Some(stage.business_in_rust()?);
            stage.rust.as_ref().context("one")?.start().await?;
        }
        stage.linked(1 + usize::from(kind == Kind::Both)).await?;
        Ok(Some(stage))
    }

    /// Starts a business in PHP; it is linked if its key is right.
    async fn business_in_php(&mut self, key: &str) -> Result<Option<Peer>> {
        self.named += 1;
        let name = format!("php-{}", self.named);
        let business = Peer::php("business.php", &[&self.at_register.address(), key, &name])?;
        let Some(mut business) = business else { return Ok(None) };
        if key == KEY {
            business.says("linked 1").await?;
        }
        Ok(Some(business))
    }

    fn business_in_rust(&self) -> Result<Program> {
        let program = Program::new(built("calls_under_test", "lineman-tests")?)?;
        Ok(program
            .env("CALLS_REGISTER", self.at_register.address())
            .env("CALLS_SECRET", KEY)
            .env("CALLS_EVENTS", self.events())
            .env("CALLS_ECHO", "1"))
    }

    /// Returns the file in which the business in Rust writes its events down.
    fn events(&self) -> PathBuf {
        self.register.program.folder().join("events")
    }

    async fn linked(&self, businesses: usize) -> Result<()> {
        let links = |status: &Status| status.gauge("gateway", "links") == businesses as u64;
        self.gateway.program.until("the businesses to be linked", links).await?;
        Ok(())
    }

    async fn client(&self) -> Result<Client> {
        self.gateway.client().await
    }

    /// Connects clients until each business has one, and has each of them answered.
    async fn clients(&self) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(self.client().await?);
        }
        all_answered(&mut clients, "hello").await?;
        Ok(clients)
    }

    /// Makes a call as a web server in PHP would; returns what it says.
    async fn calls(&self, key: &str, calls: &[(&str, Value)]) -> Result<Vec<Value>> {
        let visitor = Peer::php("client.php", &[&self.at_register.address(), key])?;
        let mut visitor = visitor.context("php")?;
        let mut said = Vec::new();
        for (call, arguments) in calls {
            visitor.tell(&format!("{}\n", json!({ "call": call, "args": arguments }))).await?;
            said.push(serde_json::from_str(&visitor.line().await?)?);
        }
        Ok(said)
    }
}

/// Has each client say something that comes back to it.
async fn all_answered(clients: &mut [Client], text: &str) -> Result<()> {
    for (number, client) in clients.iter_mut().enumerate() {
        let said = format!("{text} {number}");
        client.send_text(&said).await?;
        let heard = client.next_text().await?;
        ensure!(heard == said, "{heard:?} in place of {said:?}");
    }
    Ok(())
}

/// Has the business make a call, and returns its result.
async fn call(client: &mut Client, api: &str, arguments: Value) -> Result<Value> {
    client.send_json(&json!({ "api": api, "args": arguments, "n": 1 })).await?;
    let answer = client.next_json(|message| message["n"] == 1).await?;
    Ok(answer["result"].clone())
}

/// Returns a client's id.
async fn id(client: &mut Client) -> Result<String> {
    let id = call(client, "currentClientId", json!([])).await?;
    Ok(id.as_str().context("no id")?.to_owned())
}

async fn sessions_stay(stage: &Stage) -> Result<()> {
    let mut client = stage.client().await?;
    let id = id(&mut client).await?;
    client.send_json(&json!({ "sess": { "name": "Ada", "n": 1 } })).await?;
    client.send_json(&json!({ "sess": { "n": 2, "list": [1, "é"] } })).await?;
    let session = call(&mut client, "getSession", json!([id])).await?;
    ensure!(session == json!({ "name": "Ada", "n": 2, "list": [1, "é"] }), "{session}");
    client.close().await
}

/// Nothing that a client sent at once is lost, nor out of order.
async fn a_burst(stage: &Stage) -> Result<()> {
    let mut client = stage.client().await?;
    for number in 0..2000 {
        client.send_text(format!("burst {number}")).await?;
    }
    for number in 0..2000 {
        let heard = client.next_text().await?;
        ensure!(heard == format!("burst {number}"), "{heard:?} in place of number {number}");
    }
    client.close().await
}

/// The longest message that fits into a packet with its header comes back; a longer one costs its client alone.
async fn ten_megabytes(stage: &Stage) -> Result<()> {
    let mut others = stage.clients().await?;
    let (mut socket, _) = tokio_tungstenite::connect_async(stage.gateway.port.ws()).await?;
    let longest = 10_485_760 - 28;
    let text = "x".repeat(longest);
    within("a long message", socket.send(Message::text(text.clone()))).await??;
    let heard = within("a long message", socket.next()).await?.context("closed")??;
    ensure!(heard == Message::text(text), "{} bytes came", heard.len());
    drop(socket);

    let mut client = stage.client().await?;
    client.send_text("x".repeat(longest + 1)).await?;
    let ended = client.ended().await?;
    ensure!(ended.code() == Some(1009), "{ended:?}");
    all_answered(&mut others, "after a message that is too long").await
}

/// A client that does not read is closed, which its neighbours do not notice.
async fn a_slow_reader(stage: &Stage) -> Result<()> {
    let mut others = stage.clients().await?;
    let mut slow = Raw::websocket(&stage.gateway.port.address()).await?;
    let counted = |status: &Status| status.gauge("gateway", "slow_clients") >= 1;
    let large = frame(0x81, "y".repeat(200_000).as_bytes())?;
    let before = stage.gateway.program.status().await?;
    ensure!(!counted(&before), "{before:?}");
    for _ in 0..100 {
        // It is closed before it has said all of it.
        if slow.send(&large).await.is_err() {
            break;
        }
    }
    stage.gateway.program.until("the slow client to be counted", counted).await?;
    drop(slow);
    all_answered(&mut others, "after a slow one").await
}

async fn wrong_keys(stage: &mut Stage) -> Result<()> {
    let mut client = stage.client().await?;
    let said = stage.calls("another", &[("sendToAll", json!(["to all"]))]).await?;
    ensure!(said[0]["error"] == "the register gave no list", "{said:?}");
    let id = id(&mut client).await?;
    let calls = [("sendToClient", json!([id, "to you"])), ("isOnline", json!([id]))];
    let said = stage.calls("another", &calls).await?;
    ensure!(said[1] == json!({ "result": null }), "{said:?}");
    let mut stranger = stage.business_in_php("another").await?.context("php")?;
    stranger.says("unregistered").await?;
    stage.linked(1 + usize::from(stage.kind == Kind::Both)).await?;
    // Nothing came of it.
    all_answered(&mut [client], "after wrong keys").await
}

/// Clients whose business is killed stay, and are served by another one, or the next.
async fn the_business_is_killed(stage: &mut Stage) -> Result<()> {
    let mut clients = stage.clients().await?;
    if let Some(rust) = &stage.rust {
        let old = rust.kill("business/0").await?;
        if stage.kind == Kind::Both {
            all_answered(&mut clients, "without the one in Rust").await?;
        }
        rust.replaced("business/0", &old).await?;
    }
    if let Some(php) = stage.php.take() {
        let process = php.process()?;
        process.kill();
        process.gone().await?;
        if stage.kind == Kind::Both {
            all_answered(&mut clients, "without the one in PHP").await?;
        }
        stage.php = stage.business_in_php(KEY).await?;
    }
    stage.linked(1 + usize::from(stage.kind == Kind::Both)).await?;
    all_answered(&mut clients, "after the kill").await
}

/// A reload of a business in Rust loses nothing while clients talk; one in PHP has its clients served by its successor.
async fn the_business_is_reloaded(stage: &mut Stage) -> Result<()> {
    let mut clients = stage.clients().await?;
    if stage.kind == Kind::Rust {
        let rust = stage.rust.as_ref().context("one")?;
        let talk = async {
            for turn in 0..200 {
                all_answered(&mut clients, &format!("turn {turn}")).await?;
            }
            anyhow::Ok(())
        };
        let (reloaded, talked) = tokio::join!(rust.reload(), talk);
        reloaded?;
        return talked;
    }
    if let Some(rust) = &stage.rust {
        rust.reload().await?;
    }
    let successor = stage.business_in_php(KEY).await?;
    let old = std::mem::replace(&mut stage.php, successor).context("one")?;
    let process = old.process()?;
    process.terminate();
    process.gone().await?;
    stage.linked(1 + usize::from(stage.kind == Kind::Both)).await?;
    all_answered(&mut clients, "after the reload").await
}

/// What clients say while there is no business waits for the next one.
async fn the_businesses_are_stopped(stage: &mut Stage) -> Result<()> {
    let mut clients = stage.clients().await?;
    if let Some(rust) = &stage.rust {
        rust.stop().await?;
    }
    if let Some(php) = stage.php.take() {
        let process = php.process()?;
        process.terminate();
        process.gone().await?;
    }
    stage.linked(0).await?;
    for client in &mut clients {
        client.send_text("into the silence").await?;
    }
    if stage.kind != Kind::Rust {
        stage.php = stage.business_in_php(KEY).await?;
    }
    if let Some(rust) = &stage.rust {
        rust.start().await?;
    }
    for client in &mut clients {
        let heard = client.next_text().await?;
        ensure!(heard == "into the silence", "{heard:?}");
    }
    Ok(())
}

async fn the_register_is_killed(stage: &mut Stage) -> Result<()> {
    let mut clients = stage.clients().await?;
    let old = stage.register.program.kill("register/0").await?;
    all_answered(&mut clients, "without a register").await?;
    stage.register.program.replaced("register/0", &old).await?;
    let businesses = 1 + u64::from(stage.kind == Kind::Both);
    let known = |status: &Status| {
        ["gateways", "businesses"].map(|gauge| status.gauge("register", gauge)) == [1, businesses]
    };
    stage.register.program.until("the register to know all again", known).await?;
    all_answered(&mut clients, "with a register again").await
}

/// Clients of a gateway that is killed are cut off; others are served by its successor.
async fn the_gateway_is_killed(stage: &mut Stage) -> Result<()> {
    let mut clients = stage.clients().await?;
    let mut ids = Vec::new();
    for client in &mut clients {
        ids.push(id(client).await?);
    }
    let old = stage.gateway.program.kill("gateway/0").await?;
    for client in &mut clients {
        let ended = client.ended().await?;
        ensure!(matches!(ended, Ended::Dropped(_)), "{ended:?}");
    }
    stage.gateway.program.replaced("gateway/0", &old).await?;
    stage.linked(1 + usize::from(stage.kind == Kind::Both)).await?;
    if let (Kind::Rust, Some(rust)) = (stage.kind, &stage.rust) {
        let told = |_: &Status| {
            let events = std::fs::read_to_string(stage.events()).unwrap_or_default();
            ids.iter().all(|id| events.lines().any(|line| line.starts_with(&format!("close {id}"))))
        };
        rust.until("the end of each client to be told", told).await?;
    }
    stage.clients().await.map(drop)
}

/// Returns every call of a web server in PHP on two clients, with what it has to return.
fn calls_and_results(a: &str, b: &str) -> Vec<(&'static str, Value, Value)> {
    let done = json!(true);
    vec![
        ("getAllClientIdCount", json!([]), json!(2)),
        ("isOnline", json!([a]), json!(1)),
        ("bindUid", json!([a, "ada"]), done.clone()),
        ("bindUid", json!([b, 42]), done.clone()),
        ("getClientIdByUid", json!(["ada"]), json!([a])),
        ("getUidByClientId", json!([b]), json!("42")),
        ("isUidOnline", json!([42]), json!(1)),
        ("isUidOnline", json!(["nobody"]), json!(0)),
        ("batchGetClientIdByUid", json!([["ada", "nobody"]]), json!({ "ada": [a], "nobody": [] })),
        ("getAllUidList", json!([]), json!(["ada", "42"])),
        ("joinGroup", json!([a, "room"]), done.clone()),
        ("joinGroup", json!([b, "room"]), done.clone()),
        ("joinGroup", json!([b, 7]), done.clone()),
        ("getClientIdCountByGroup", json!(["room"]), json!(2)),
        (
            "batchGetClientIdCountByGroup",
            json!([["room", "none"]]),
            json!({ "room": 2, "none": 0 }),
        ),
        ("getClientIdListByGroup", json!([["room", 7]]), json!([a, b])),
        ("getUidListByGroup", json!(["room"]), json!(["ada", "42"])),
        ("getAllGroupIdList", json!([]), json!(["room", "7"])),
        ("getAllGroupClientIdList", json!([]), json!({ "room": [a, b], "7": [b] })),
        ("getAllClientIdList", json!([]), json!([a, b])),
        ("getSession", json!([b]), json!({ "name": "bob" })),
        ("updateSession", json!([b, { "n": 1 }]), done.clone()),
        ("getSession", json!([b]), json!({ "name": "bob", "n": 1 })),
        ("setSession", json!([b, { "n": 2 }]), done.clone()),
        ("getClientSessionsByGroup", json!([7]), json!({ b: { "n": 2 } })),
        ("getAllClientSessions", json!([]), json!({ a: { "name": "ada" }, b: { "n": 2 } })),
        ("sendToAll", json!(["all"]), done.clone()),
        ("sendToAll", json!(["some", [b]]), done.clone()),
        ("sendToAll", json!(["others", null, [a]]), done.clone()),
        ("sendToClient", json!([b, ["an", "array"]]), done.clone()),
        ("sendToUid", json!([["ada", 42], "uids"]), done.clone()),
        ("sendToGroup", json!([["room", 7], "groups"]), done.clone()),
        ("sendToGroup", json!(["room", "but ada", [a]]), done.clone()),
        ("leaveGroup", json!([a, "room"]), done.clone()),
        ("ungroup", json!([7]), done.clone()),
        ("unbindUid", json!([b, 42]), done.clone()),
        ("sendToGroup", json!(["room", "last"]), done.clone()),
        ("getAllGroupIdList", json!([]), json!(["room"])),
        ("getAllUidList", json!([]), json!(["ada"])),
        ("closeClient", json!([b, "bye"]), done.clone()),
        ("destroyClient", json!([a]), done),
    ]
}

/// Every call of a web server in PHP, with what it has to return.
async fn every_call(stage: &Stage) -> Result<()> {
    let (mut ada, mut bob) = (stage.client().await?, stage.client().await?);
    ada.send_json(&json!({ "sess": { "name": "ada" } })).await?;
    bob.send_json(&json!({ "sess": { "name": "bob" } })).await?;
    let (a, b) = (id(&mut ada).await?, id(&mut bob).await?);
    let table = calls_and_results(&a, &b);
    let calls: Vec<_> =
        table.iter().map(|(call, arguments, _)| (*call, arguments.clone())).collect();
    let said = stage.calls(KEY, &calls).await?;
    for ((call, arguments, expected), said) in table.iter().zip(said) {
        ensure!(
            said == json!({ "result": expected }),
            "{call} {arguments}: {said}, not {expected}"
        );
    }
    let heard = [
        "all",
        "some",
        "others",
        r#"["an","array"]"#,
        "uids",
        "groups",
        "groups",
        "but ada",
        "last",
        "bye",
    ];
    for text in heard {
        let heard = bob.next_text().await?;
        ensure!(heard == text, "{heard:?} in place of {text:?}");
    }
    let ended = bob.ended().await?;
    ensure!(ended.code() == Some(1000), "{ended:?}");
    for text in ["all", "uids", "groups"] {
        let heard = ada.next_text().await?;
        ensure!(heard == text, "{heard:?} in place of {text:?}");
    }
    ada.ended().await.map(drop)
}

async fn everything(kind: Kind) -> Result<()> {
    let Some(mut stage) = Stage::started(kind).await? else {
        return Ok(writeln!(std::io::stderr(), "skipped: there is no php, of Debian's php-cli")?);
    };
    let stage = &mut stage;
    every_call(stage).await.context("every call")?;
    sessions_stay(stage).await.context("sessions")?;
    a_burst(stage).await.context("a burst")?;
    ten_megabytes(stage).await.context("ten megabytes")?;
    a_slow_reader(stage).await.context("a slow reader")?;
    wrong_keys(stage).await.context("wrong keys")?;
    the_business_is_killed(stage).await.context("the business is killed")?;
    the_business_is_reloaded(stage).await.context("the business is reloaded")?;
    the_businesses_are_stopped(stage).await.context("the businesses are stopped")?;
    the_register_is_killed(stage).await.context("the register is killed")?;
    the_gateway_is_killed(stage).await.context("the gateway is killed")
}

#[tokio::test]
async fn with_a_business_in_php() -> Result<()> {
    Box::pin(everything(Kind::Php)).await
}

#[tokio::test]
async fn with_a_business_in_rust() -> Result<()> {
    Box::pin(everything(Kind::Rust)).await
}

#[tokio::test]
async fn with_businesses_in_php_and_in_rust() -> Result<()> {
    Box::pin(everything(Kind::Both)).await
}
