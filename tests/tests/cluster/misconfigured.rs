//! What is set up wrongly in a cluster, and the line that names it: in the log of either side, in `status` and in
//! `health`. The machines of a test are programs with addresses of their own in 127.0.0.0/8.

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Port, Status, within};
use lineman_tests::alone;
use lineman_tests::programs::{Server, cluster, part_of_cluster};
use lineman_tests::raw::Raw;
use lineman_wire::link::{Login, Packet, Secret};

/// A program on another machine of the cluster, as far as its settings go.
fn machine(services: &str, whole: &Server) -> Result<Server> {
    part_of_cluster(services, whole.register.as_ref().context("a register")?)
}

/// Waits for a line of the log that has all of these; returns how many there are.
async fn logged(server: &Server, parts: &[&str]) -> Result<usize> {
    let count = || {
        let log = server.program.log();
        log.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    };
    let wait = async {
        while count() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within(&format!("{parts:?} in the log"), wait).await?;
    Ok(count())
}

/// Waits until a slot remarks something, and `status` and `health` show it as people read it.
async fn remarked(server: &Server, slot: &str, remark: &str) -> Result<()> {
    let says = |status: &Status| {
        status.slot(slot).is_ok_and(|slot| slot.remarks.iter().any(|line| line.contains(remark)))
    };
    server.program.until(remark, says).await?;
    let shown = server.program.run(&["status"]).await?.expect_code(0)?;
    ensure!(
        shown.stdout.contains(&format!("{slot}: ")) && shown.stdout.contains(remark),
        "{shown}"
    );
    let health = async {
        loop {
            let health = server.program.run(&["health"]).await?;
            if format!("{health}").contains(remark) {
                return Ok::<_, anyhow::Error>(());
            }
        }
    };
    within("health to say it", health).await?
}

/// Waits until `health` says that the program is not ready, and why.
async fn not_ready(server: &Server, why: &str) -> Result<()> {
    let asked = async {
        loop {
            let health = server.program.run(&["health"]).await?;
            if health.code == Some(1) {
                ensure!(format!("{health}").contains("not ready: "), "{health}");
                if format!("{health}").contains(why) {
                    return Ok(());
                }
            }
        }
    };
    within(&format!("health to say {why:?}"), asked).await?
}

/// Waits until it says that it is ready again.
async fn ready(server: &Server) -> Result<()> {
    let asked = async {
        while server.program.run(&["health"]).await?.code != Some(0) {}
        Ok(())
    };
    within("health to say that it is ready", asked).await?
}

#[tokio::test]
async fn an_address_that_cannot_be_right_is_refused_at_the_start() -> Result<()> {
    for (address, problem) in [
        ("0.0.0.0", "lan_ip 0.0.0.0 is no machine's address"),
        ("224.0.0.1", "lan_ip 224.0.0.1 is a multicast address"),
        ("127.255.255.255", "lan_ip 127.255.255.255 is the broadcast address of a network"),
        // An address for documentation, which no machine has.
        ("192.0.2.7", "lan_ip 192.0.2.7 is no address of this machine"),
        ("no-such-host.invalid", "lan_ip \"no-such-host.invalid\" cannot be resolved"),
    ] {
        let whole = cluster()?.knob("CLUSTER_LAN_IP", address);
        for verb in [["check"].as_slice(), &["start", "-d"]] {
            let refused = whole.program.run(verb).await?.expect_code(1)?;
            // Where the master cannot listen, it says so before the service is asked.
            let cannot_listen = format!("cannot listen on {address}:");
            let named = |line: &str| line.contains(problem) || line.contains(&cannot_listen);
            ensure!(refused.stderr.lines().any(named), "{verb:?}: {refused}");
        }
    }
    let named = cluster()?.knob("CLUSTER_NAME", "a b");
    let refused = named.program.run(&["start", "-d"]).await?.expect_code(1)?;
    ensure!(refused.stderr.contains("cluster \"a b\" is no name"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_wrong_key_is_named_once_on_both_sides() -> Result<()> {
    let whole = cluster()?.knob("CLUSTER_SECRET", "right").started().await?;
    let wrong = machine("gateway business", &whole)?.knob("CLUSTER_SECRET", "forgotten");
    let wrong = wrong.started().await?;
    let register = whole.register.as_ref().context("a register")?.address();
    let said = format!("registers 0 of 1: {register} refuses this process: wrong secret key (");
    for slot in ["gateway/0", "business/0"] {
        remarked(&wrong, slot, &said).await?;
    }
    let ours = ["WARN", "refuses this process: wrong secret key", "attempts=1"];
    let theirs = ["WARN", "peer refused", "gateway", "wrong secret key"];
    ensure!(logged(&wrong, &ours).await? == 2, "one line for each process");
    ensure!(logged(&whole, &theirs).await? == 1);
    let log = [whole.program.log(), wrong.program.log()].concat();
    ensure!(!log.contains("forgotten") && !log.contains("right\""), "the key is in a log");
    Ok(())
}

#[tokio::test]
async fn two_programs_of_one_register_do_not_mix() -> Result<()> {
    let chat =
        cluster()?.knob("CLUSTER_NAME", "chat").knob("CLUSTER_SECRET", "same").started().await?;
    let game =
        machine("business", &chat)?.knob("CLUSTER_NAME", "game").knob("CLUSTER_SECRET", "same");
    let game = game.started().await?;
    remarked(
        &game,
        "business/0",
        "refuses this process: it belongs to cluster \"chat\", not \"game\"",
    )
    .await?;
    logged(&chat, &["WARN", "peer refused", "game", "chat"]).await?;
    ensure!(chat.program.status().await?.gauge("gateway", "links") == 1);
    // A peer of the same name is of the cluster, whatever program it is of.
    let more =
        machine("business", &chat)?.knob("CLUSTER_NAME", "chat").knob("CLUSTER_SECRET", "same");
    let _more = more.started().await?;
    chat.program.until("two links", |status| status.gauge("gateway", "links") == 2).await?;
    Ok(())
}

#[tokio::test]
async fn two_gateways_that_live_cannot_have_one_address() -> Result<()> {
    let start_port = Port::reserve()?;
    let port = start_port.number().to_string();
    let first = cluster()?.knob("CLUSTER_START_PORT", &port).started().await?;
    first.program.until("the first link", |status| status.gauge("gateway", "links") == 1).await?;
    let second = machine("gateway", &first)?.knob("CLUSTER_START_PORT", &port);
    let second =
        second.knob("CLUSTER_LAN_IP", "127.0.0.1").knob("CLUSTER_INNER_LISTEN", "127.0.0.2");
    let second = second.started().await?;
    let taken =
        format!("address 127.0.0.1:{port} is taken: a gateway that lives announces it from");
    not_ready(&second, &taken).await?;
    remarked(&second, "gateway/0", &taken).await?;
    ensure!(logged(&first, &["WARN", "peer refused", &taken]).await? == 1);
    let rival = ["WARN", "announced the address", "of this one, and was refused"];
    ensure!(logged(&first, &rival).await? == 1);
    ready(&first).await?;
    ensure!(first.program.status().await?.gauge("business", "listed_gateways") == 1);
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_is_named_and_what_it_misses_is_counted() -> Result<()> {
    let _machine = alone().await;
    let whole = cluster()?.started().await?;
    let start_port = Port::reserve()?;
    let port = start_port.number().to_string();
    // Its links are at another address than it says, as behind a firewall that drops nothing silently.
    let blocked = machine("gateway", &whole)?.knob("CLUSTER_START_PORT", &port);
    let blocked =
        blocked.knob("CLUSTER_LAN_IP", "127.0.0.3").knob("CLUSTER_INNER_LISTEN", "127.0.0.2");
    let blocked = blocked.knob("CLUSTER_LIMIT", "1").started().await?;
    let links = format!("links 1 of 2: 127.0.0.3:{port} does not answer (Connection refused, ");
    remarked(&whole, "business/0", &links).await?;
    logged(&whole, &["WARN", &links]).await?;
    let mut client = whole.client().await?;
    client.send_text("to all").await?;
    ensure!(client.text().await? == "to all");
    let missed = |status: &Status| status.gauge("business", "unreachable_sends") >= 1;
    whole.program.until("the miss to be counted", missed).await?;
    ready(&whole).await?;
    // And the gateway itself says that no business has come.
    not_ready(&blocked, "no business is linked for").await?;
    remarked(&blocked, "gateway/0", "no business is linked (").await?;
    // A business that reaches none of the machines is not ready either, and the others do not mind.
    let island =
        machine("business", &whole)?.knob("CLUSTER_LIMIT", "1").knob("CLUSTER_NAME", "other");
    let island = island.started().await?;
    not_ready(&island, "no gateway is linked for").await?;
    ready(&whole).await?;
    Ok(())
}

#[tokio::test]
async fn two_hundred_wrong_peers_of_a_register_have_a_handful_of_lines() -> Result<()> {
    let port = Port::reserve()?;
    let register =
        part_of_cluster("register", &port)?.knob("CLUSTER_SECRET", "k").started().await?;
    for peer in 0..200 {
        let mut raw = Raw::connect(&port.address()).await?;
        let said: &[u8] = match peer % 3 {
            0 => b"GET / HTTP/1.1\r\n\r\n",
            1 => b"\x16\x03\x01\x00\xf4\n",
            _ => b"{\"event\":\"worker_connect\",\"secret_key\":\"wrong\"}\n",
        };
        raw.send(said).await?;
        // What it says to a line with a wrong key, until it closes.
        drop(raw.rest().await);
    }
    register.program.stop().await?;
    let log = register.program.log();
    let warnings = log.lines().filter(|line| line.contains("WARN") && line.contains("register"));
    let count = warnings.count();
    ensure!((1..=9).contains(&count), "{count} lines:\n{log}");
    Ok(())
}

/// Logs in as a business in PHP would.
async fn link_of_php(links: &str, name: &str) -> Result<Raw> {
    let mut link = Raw::connect(links).await?;
    let (worker_key, secret_key) = (name.to_owned(), Secret::default());
    let login = Login::Worker { worker_key, secret_key, lineman: None };
    link.send(&Packet::from(login).to_bytes()).await?;
    Ok(link)
}

#[tokio::test]
async fn a_packet_that_is_too_long_costs_its_link_and_no_client() -> Result<()> {
    let port = Port::reserve()?;
    let gateway = part_of_cluster("register gateway", &port)?.started().await?;
    let status = gateway.program.status().await?;
    let links = status.listen("gateway", "links").next().context("an address")?.to_owned();
    let mut wrong = link_of_php(&links, "php:0").await?;
    let linked = |count| {
        gateway.program.until("the links", move |status| status.gauge("gateway", "links") == count)
    };
    linked(1).await?;
    let mut client = gateway.client().await?;
    client.send_text("before").await?;
    let mut right = link_of_php(&links, "php:1").await?;
    linked(2).await?;
    // Its length alone says it.
    wrong.send(&10_485_761_u32.to_be_bytes()).await?;
    linked(1).await?;
    let parts = ["link lost, its clients move", "127.0.0.1:php:0", "10485761", "10485760"];
    ensure!(logged(&gateway, &parts).await? == 1);
    ensure!(gateway.program.status().await?.gauge("gateway", "clients") == 1);
    client.send_text("after").await?;
    right.until(b"after").await
}
