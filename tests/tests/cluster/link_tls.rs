//! TLS between the processes of a cluster: what it takes, what it refuses and how that is named, and how a cluster that
//! runs comes to it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lineman_client::{Cluster, LinkTls};
use lineman_testkit::{Client, Port, within};
use lineman_tests::certificates::{Authority, Pair};
use lineman_tests::lineman::Lineman;
use lineman_tests::programs::{Server, all_hear_each, answer, cluster, part_of_cluster};
use lineman_wire::link::{Audience, Order, Packet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Returns a cluster of which every process has this.
fn with_tls(mode: &str, key: &str) -> Result<Server> {
    Ok(cluster()?.knob("CLUSTER_LINK_TLS", mode).knob("CLUSTER_SECRET", key))
}

fn with_certificates(mode: &str, pair: &Pair, authority: &Authority) -> Result<Server> {
    let files = [&pair.certificate, &pair.key, &authority.certificate()];
    let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let cluster = cluster()?.knob("CLUSTER_LINK_TLS", mode);
    Ok(cluster.knob("CLUSTER_LINK_FILES", files.join(" ")))
}

/// Another program of the cluster: the last of the same knobs counts.
fn beside(services: &str, whole: &Server, mode: &str, key: &str) -> Result<Server> {
    let part = part_of_cluster(services, register(whole)?)?;
    Ok(part.knob("CLUSTER_LINK_TLS", mode).knob("CLUSTER_SECRET", key))
}

fn register(server: &Server) -> Result<&Port> {
    server.register.as_ref().context("a register")
}

/// Waits for a line of the log that has all of these.
async fn logged(server: &Server, parts: &[&str]) -> Result<()> {
    let says = |_: &_| {
        server.program.log().lines().any(|line| parts.iter().all(|part| line.contains(part)))
    };
    server.program.until(&format!("{parts:?} in the log"), says).await.map(drop)
}

async fn links(server: &Server, count: u64) -> Result<()> {
    let linked = |status: &lineman_testkit::Status| status.gauge("gateway", "links") == count;
    server.program.until("links", linked).await.map(drop)
}

/// The inner port of the gateway, as the register lists it.
async fn inner_port(server: &Server, key: &str, mode: LinkTls) -> Result<String> {
    let mut cluster = Cluster::new(register(server)?.address()).secret_key(key).link_tls(mode);
    let gateways = tokio::task::spawn_blocking(move || cluster.gateways()).await??;
    Ok(gateways.first().context("a gateway")?.to_string())
}

#[tokio::test]
async fn a_cluster_that_requires_tls_serves_clients_commands_and_questions() -> Result<()> {
    let server = with_tls("require", "k")?.knob("CLUSTER_BUSINESSES", "2").started().await?;
    links(&server, 2).await?;
    let mut clients = [server.client().await?, server.client().await?];
    all_hear_each(&mut clients).await?;
    let [ann, _] = &mut clients;
    ensure!(answer(ann, "/count").await? == "2", "the hub asks over TLS as well");
    answer(ann, "/uid ann").await?;
    ensure!(server.program.status().await?.gauge("gateway", "tls_links") == 2);
    logged(&server, &["link opened", "tls=true"]).await?;
    let rows = server.program.run(&["connections", "--json"]).await?.expect_code(0)?.stdout;
    ensure!(rows.contains("\"tls\":\"1.3\""), "{rows}");

    // A program beside it, and the commands.
    let mut cluster =
        Cluster::new(register(&server)?.address()).secret_key("k").link_tls(LinkTls::Require);
    tokio::task::spawn_blocking(move || {
        ensure!(cluster.client_count()?.complete()? == 2);
        let long = "x".repeat(300_000);
        cluster.send_to_uid("ann", long.as_str())?;
        cluster.send_to_uid("ann", "after it")?;
        Ok(())
    })
    .await??;
    ensure!(ann.next_text().await?.len() == 300_000 && ann.next_text().await? == "after it");
    server
        .program
        .run(&["check", "--cluster"])
        .await?
        .expect_code(0)?
        .expect_text("takes our key")?;
    let lineman = Lineman::new("")?;
    let key = lineman.program.folder().join("key");
    std::fs::write(&key, "k\n")?;
    let key = key.display().to_string();
    let address = register(&server)?.address();
    let flags = ["--register", &address, "--secret-key-file", &key, "--link-tls", "require"];
    let program = lineman_testkit::Program::new(lineman_tests::programs::built(
        "lineman",
        "lineman-server",
    )?)?;
    let told = program.run(&[&["send", "--uid", "ann", "hello"][..], &flags].concat()).await?;
    told.expect_code(0)?;
    ensure!(ann.next_text().await? == "hello");
    program
        .run(&[&["online"][..], &flags].concat())
        .await?
        .expect_code(0)?
        .expect_text("clients   2")?;
    Ok(())
}

#[tokio::test]
async fn a_plain_peer_is_refused_where_tls_is_required() -> Result<()> {
    let server = with_tls("require", "k")?.started().await?;
    let plain = beside("gateway business", &server, "accept", "k")?.started().await?;
    let said = "refuses this process: it requires TLS (hint: link_tls";
    for slot in ["gateway/0", "business/0"] {
        let says = |status: &lineman_testkit::Status| {
            status.slot(slot).is_ok_and(|slot| slot.remarks.iter().any(|line| line.contains(said)))
        };
        plain.program.until(said, says).await?;
    }
    logged(
        &server,
        &["WARN", "peer refused", "comes without TLS, which link_tls requires", "attempts=1"],
    )
    .await?;
    // A peer of PHP's hears nothing.
    let gateway = inner_port(&server, "k", LinkTls::Require).await?;
    let mut cluster = Cluster::new(register(&server)?.address()).secret_key("k");
    let refused = tokio::task::spawn_blocking(move || cluster.gateways()).await?;
    ensure!(refused.is_err_and(|error| error.to_string().contains("it requires TLS")));
    let mut php = TcpStream::connect(&gateway).await?;
    php.write_all(&[0, 0, 0, 28, 205]).await?;
    php.write_all(&[0; 23]).await?;
    let mut answer = Vec::new();
    within("the end", php.read_to_end(&mut answer)).await??;
    ensure!(answer.is_empty());
    links(&server, 1).await
}

#[tokio::test]
async fn a_peer_with_tls_is_refused_where_it_is_off() -> Result<()> {
    let server = with_tls("off", "k")?.started().await?;
    let other = beside("business", &server, "use", "k")?.started().await?;
    let hint = "(hint: link_tls and the secret key have to be the same at both ends";
    logged(&other, &["WARN", "the peer ended the connection in the handshake", hint]).await?;
    logged(&server, &["WARN", "peer refused", "the peer begins with TLS, which is off here"])
        .await?;
    let mut cluster =
        Cluster::new(register(&server)?.address()).secret_key("k").link_tls(LinkTls::Use);
    let refused = tokio::task::spawn_blocking(move || cluster.gateways()).await?;
    ensure!(refused.is_err_and(|error| error.to_string().contains("is link_tls on there?")));
    links(&server, 1).await
}

#[tokio::test]
async fn a_wrong_key_fails_the_handshake_and_is_named_once() -> Result<()> {
    let server = with_tls("require", "right")?.started().await?;
    let wrong = beside("business", &server, "require", "wrong")?.started().await?;
    logged(&wrong, &["WARN", "NoApplicationProtocol", "secret key", "attempts=1"]).await?;
    logged(&server, &["WARN", "peer refused", "secret key", "attempts=1"]).await?;
    let mut cluster =
        Cluster::new(register(&server)?.address()).secret_key("wrong").link_tls(LinkTls::Require);
    let refused = tokio::task::spawn_blocking(move || cluster.gateways()).await?;
    ensure!(refused.is_err_and(|error| error.to_string().contains("is the secret key right?")));
    let log = wrong.program.log();
    let told =
        log.lines().filter(|line| line.contains("WARN") && line.contains("NoApplicationProtocol"));
    ensure!(told.count() == 1, "{log}");
    Ok(())
}

#[tokio::test]
async fn without_a_key_and_certificates_there_is_no_tls() -> Result<()> {
    let server = with_tls("accept", "")?;
    let refused = server.program.run(&["check"]).await?.expect_code(1)?;
    refused.expect_text("link_tls: it needs a secret_key, or certificates")?;
    server.program.run(&["start", "-d"]).await?.expect_code(1)?;
    Ok(())
}

#[tokio::test]
async fn certificates_of_the_cluster_s_authority_are_taken_and_no_others() -> Result<()> {
    let (ours, theirs) = (Authority::new().await?, Authority::new().await?);
    let server = with_certificates("require", &ours.sign("one").await?, &ours)?.started().await?;
    links(&server, 1).await?;
    let mut clients = [server.client().await?, server.client().await?];
    all_hear_each(&mut clients).await?;
    ensure!(answer(&mut clients[0], "/count").await? == "2");
    let mut other = with_certificates("require", &ours.sign("two").await?, &ours)?;
    other.program = other
        .program
        .env("CLUSTER_SERVICES", "business")
        .env("CLUSTER_REGISTER", register(&server)?.address());
    let other = other.started().await?;
    links(&server, 2).await?;
    // One that another authority has signed, and one that has none.
    let stranger = with_certificates("require", &theirs.sign("three").await?, &ours)?;
    let address = register(&server)?.address();
    let stranger = stranger.knob("CLUSTER_SERVICES", "business").knob("CLUSTER_REGISTER", address);
    let stranger = stranger.started().await?;
    logged(&stranger, &["WARN", "UnknownCA"]).await?;
    logged(&server, &["peer refused", "invalid peer certificate"]).await?;
    let by_key = beside("business", &server, "require", "k")?.started().await?;
    logged(&by_key, &["WARN", "NoApplicationProtocol"]).await?;
    drop(other);
    links(&server, 1).await?;
    // There is no key that a plain peer could show: it is its being plain that keeps it out.
    let orders = server.program.status().await?.gauge("gateway", "orders");
    let listens = server.program.status().await?;
    let port = listens.listen("gateway", "links").next().context("an inner port")?.to_owned();
    let mut plain = TcpStream::connect(port.trim_start_matches("link://")).await?;
    let to_all = Packet::from(Order::SendToAll { audience: Audience::All, message: "x".into() });
    plain.write_all(&to_all.to_bytes()).await?;
    within("the end", plain.read_to_end(&mut Vec::new())).await??;
    logged(&server, &["peer of the inner port refused", "comes without TLS"]).await?;
    ensure!(server.program.status().await?.gauge("gateway", "orders") == orders);
    Ok(())
}

#[tokio::test]
async fn half_handshakes_and_nonsense_cost_no_peer_of_the_cluster() -> Result<()> {
    let server = with_tls("accept", "k")?.started().await?;
    links(&server, 1).await?;
    let gateway = inner_port(&server, "k", LinkTls::Use).await?;
    let mut strangers = Vec::new();
    for number in 0..200_usize {
        let mut stranger = TcpStream::connect(&gateway).await?;
        let said: &[u8] = match number % 3 {
            0 => b"\x16",
            1 => b"\x16\x03\x01\x20\x00half of a record",
            _ => b"\x16\x03\x01\x00\x05nonsense",
        };
        stranger.write_all(said).await?;
        strangers.push(stranger);
    }
    let gone = |status: &lineman_testkit::Status| {
        status.gauge("gateway", "refused_strangers") == 200
            && status.gauge("gateway", "strangers") == 0
    };
    server.program.until("all to be turned away", gone).await?;
    for mut stranger in strangers {
        let ended = within("its end", stranger.read_to_end(&mut Vec::new())).await?;
        drop(ended);
    }
    let _other = beside("business", &server, "use", "k")?.started().await?;
    links(&server, 2).await?;
    let mut clients = [server.client().await?, server.client().await?];
    all_hear_each(&mut clients).await
}

/// A gateway with its register from a file, and how its links are secured.
fn settings(mode: &str) -> String {
    format!(
        "[cluster]\nregister_address = \"$REGISTER\"\nsecret_key = \"k\"\nlink_tls = \"{mode}\"\n\
         [[register]]\nlisten = \"$REGISTER\"\n[[gateway]]\nlisten = \"websocket://$GATEWAY\"\n"
    )
}

async fn business(lineman: &Lineman, mode: &str) -> Result<Server> {
    let business = part_of_cluster("business", &lineman.register)?;
    business.knob("CLUSTER_SECRET", "k").knob("CLUSTER_LINK_TLS", mode).started().await
}

/// Says numbers, and hears each of them once, in order, until it is told to end; returns how many there were.
async fn talk(mut client: Client, end: tokio::sync::oneshot::Receiver<()>) -> Result<usize> {
    let mut end = std::pin::pin!(end);
    for number in 0.. {
        client.send_text(format!("number {number}")).await?;
        let heard = client.next_text().await?;
        ensure!(heard == format!("number {number}"), "{heard} instead of {number}");
        tokio::select! {
            biased;
            _ = &mut end => return Ok(number),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    }
    Ok(0)
}

#[tokio::test]
async fn a_cluster_comes_to_tls_step_by_step_without_losing_a_message() -> Result<()> {
    let lineman = Lineman::new(&settings("off"))?.started().await?;
    let mut former = business(&lineman, "off").await?;
    let linked = |tls: u64, all: u64| {
        move |status: &lineman_testkit::Status| {
            let gauge = |name| status.gauge("gateway", name);
            gauge("links") == all && gauge("tls_links") == tls
        }
    };
    lineman.program.until("the first link", linked(0, 1)).await?;
    let (stop, end) = tokio::sync::oneshot::channel();
    let talk = tokio::spawn(talk(lineman.client().await?, end));
    for (mode, tls) in [("accept", 0), ("use", 1), ("require", 1)] {
        // The gateway's machine first; then the business's, which is replaced.
        lineman.write(&settings(mode))?;
        let told = lineman.program.run(&["reload"]).await?.expect_code(0)?;
        told.expect_text(&format!("→ \"{mode}\""))?;
        let next = business(&lineman, mode).await?;
        let before = u64::from(mode == "require");
        lineman.program.until("both links", linked(before + tls, 2)).await?;
        former.program.run(&["stop", "-g"]).await?.expect_code(0)?;
        lineman.program.until("the new link alone", linked(tls, 1)).await?;
        former = next;
    }
    ensure!(!talk.is_finished(), "{:?}", talk.await?);
    ensure!(stop.send(()).is_ok());
    ensure!(talk.await?? > 0);
    let status = lineman.program.status().await?;
    ensure!(status.gauge("gateway", "lost_events") == 0);
    // From here on nothing plain comes in.
    let plain = business(&lineman, "accept").await?;
    logged(&plain, &["refuses this process: it requires TLS"]).await
}
