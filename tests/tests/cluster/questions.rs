//! Questions to a cluster of which a part does not answer: what is known comes at once, with what is missing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lineman_client::{Cluster, Error};
use lineman_testkit::{Client, Port, Status, within};
use lineman_tests::alone;
use lineman_tests::programs::{Server, cluster, part_of_cluster};
use lineman_tests::raw::Raw;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// How long a connection to this machine takes at the very most that is not dropped.
const DROPPED_AFTER: Duration = Duration::from_millis(500);

/// A register with a business, and two gateways that live and die alone.
struct Parts {
    register: Port,
    middle: Server,
    here: Server,
    there: Server,
}

impl Parts {
    async fn start() -> Result<Self> {
        let register = Port::reserve()?;
        let middle = part_of_cluster("register business", &register)?.started().await?;
        let here = part_of_cluster("gateway", &register)?.started().await?;
        let there = part_of_cluster("gateway", &register)?.started().await?;
        let linked = |status: &Status| status.gauge("business", "links") == 2;
        middle.program.until("the business to be linked", linked).await?;
        Ok(Self { register, middle, here, there })
    }
}

/// Returns how many clients there are, and why gateways are missing in that.
async fn count(client: &mut Client) -> Result<(u64, Vec<String>)> {
    client.send_text("/count").await?;
    let answer = client.next_text().await?;
    let mut lines = answer.trim_start_matches("/count ").lines().map(ToOwned::to_owned);
    Ok((lines.next().context("a number")?.parse()?, lines.collect()))
}

#[tokio::test]
async fn a_gateway_that_stands_still_is_waited_for_once() -> Result<()> {
    let _machine = alone().await;
    let parts = Parts::start().await?;
    let mut client = parts.here.client().await?;
    let _other = parts.there.client().await?;
    let complete = (2, Vec::new());
    while count(&mut client).await? != complete {}

    let gateway = parts.there.program.process("gateway/0").await?;
    gateway.suspend();
    let (known, missing) = count(&mut client).await?;
    ensure!(known == 1 && missing.len() == 1, "{known} {missing:?}");
    ensure!(missing[0].ends_with("did not answer within 1 s"), "{missing:?}");
    // Now it is known.
    let (known, missing) = count(&mut client).await?;
    ensure!(known == 1 && missing.len() == 1, "{known} {missing:?}");
    ensure!(missing[0].contains("has not answered for"), "{missing:?}");

    gateway.resume();
    let back = async {
        while count(&mut client).await? != complete {}
        anyhow::Ok(())
    };
    within("the gateway to be asked again", back).await?
}

#[tokio::test]
async fn a_client_of_the_cluster_names_what_is_missing() -> Result<()> {
    let _machine = alone().await;
    let parts = Parts::start().await?;
    let (_one, _two) = (parts.here.client().await?, parts.there.client().await?);
    let (swallowing, _backlog) = swallows().await?;
    let mut announced = Raw::connect(&parts.register.address()).await?;
    let line =
        format!(r#"{{"event":"gateway_connect", "address":"{swallowing}", "secret_key":""}}"#);
    announced.send(format!("{line}\n").as_bytes()).await?;
    let gateway = parts.there.program.process("gateway/0").await?;
    gateway.suspend();

    let nothing = Port::reserve()?;
    let registers = (nothing.address(), parts.register.address());
    let asked = tokio::task::spawn_blocking(move || {
        let mut cluster = Cluster::new(registers.0).register(registers.1);
        while cluster.gateways()?.len() < 3 {}
        anyhow::Ok((cluster.client_count()?, cluster.client_count()?))
    });
    let (first, second) = within("answers", asked).await???;
    gateway.resume();
    ensure!((first.value, first.asked, first.missing.len()) == (1, 3, 2), "{first:?}");
    for missing in &first.missing {
        ensure!(matches!(missing.reason, Error::Timeout { .. }), "{missing:?}");
        let named = format!("gateway {} did not ", missing.gateway);
        ensure!(missing.reason.to_string().starts_with(&named), "{}", missing.reason);
    }
    ensure!(first.missing.iter().any(|missing| missing.gateway == swallowing), "{first:?}");
    let silent = |error: &Error| matches!(error, Error::Silent { .. });
    ensure!(second.value == 1 && second.missing.len() == 2, "{second:?}");
    ensure!(second.missing.iter().all(|missing| silent(&missing.reason)), "{second:?}");
    Ok(())
}

#[tokio::test]
async fn an_answer_longer_than_a_packet_comes_in_parts() -> Result<()> {
    const EACH: usize = 3 * 1024 * 1024;
    let server = cluster()?.started().await?;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(server.client().await?);
    }
    let register = server.register.as_ref().context("a register")?.address();
    let sessions = tokio::task::spawn_blocking(move || {
        let mut cluster = Cluster::new(register).timeout(Duration::from_mins(1));
        while cluster.client_ids()?.complete()?.len() < 4 {}
        let session = BTreeMap::from([("text", "x".repeat(EACH))]);
        for client in cluster.client_ids()?.complete()? {
            cluster.set_session(client, &session)?;
        }
        let sessions = cluster.sessions::<BTreeMap<String, String>>()?.complete()?;
        anyhow::Ok(sessions.values().map(|session| session["text"].len()).collect::<Vec<_>>())
    });
    let sessions = within("the sessions", sessions).await???;
    ensure!(sessions == [EACH; 4], "{sessions:?}");
    Ok(())
}

/// Returns an address whose kernel drops what comes: its backlog is full, and nothing accepts.
async fn swallows() -> Result<(SocketAddr, (TcpListener, Vec<TcpStream>))> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener = socket.listen(0)?;
    let address = listener.local_addr()?;
    let mut waiting = Vec::new();
    // One more than fits is not answered any more.
    while let Ok(stream) = timeout(DROPPED_AFTER, TcpStream::connect(address)).await {
        waiting.push(stream?);
    }
    Ok((address, (listener, waiting)))
}

#[tokio::test]
async fn a_check_of_the_cluster_says_which_address_refuses() -> Result<()> {
    let _machine = alone().await;
    let parts = Parts::start().await?;
    let check = async || parts.here.program.run(&["check", "--cluster"]).await;
    let well = check().await?.expect_code(0)?.expect_text("lists 2 gateways")?;
    let address = parts.register.address();
    ensure!(well.stdout.matches("takes our key").count() == 2, "{well}");
    ensure!(well.stdout.contains(&address), "{well}");

    let gateway = parts.there.program.process("gateway/0").await?;
    gateway.suspend();
    let hangs = check().await?.expect_code(1)?;
    gateway.resume();
    ensure!(hangs.stdout.matches("takes our key").count() == 1, "{hangs}");
    ensure!(hangs.stderr.contains("did not answer within 1 s"), "{hangs}");

    // A program whose settings are wrong has a line for each address that says so.
    let refused = async |name: &str, value: &str, reason: &str| {
        let other = part_of_cluster("gateway", &parts.register)?.knob(name, value);
        let said = other.program.run(&["check", "--cluster"]).await?.expect_code(1)?;
        ensure!(said.stderr.contains(&format!("register {address} refuses: {reason}")), "{said}");
        anyhow::Ok(())
    };
    refused("CLUSTER_NAME", "b", "it belongs to a cluster without a name, not to \"b\"").await?;
    refused("CLUSTER_SECRET", "wrong", "wrong secret key").await?;

    parts.middle.program.stop().await?;
    let gone = format!("error: register {address}: Connection refused");
    check().await?.expect_code(1)?.expect_text(&gone)?;
    Ok(())
}
