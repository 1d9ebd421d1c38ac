//! Which business gets a client: every rule of a gateway, with real processes that leave and come.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Client, Status};
use lineman_tests::programs::{Server, answer, cluster, part_of_cluster};
use lineman_tests::raw::{Raw, frame};

const ROOMS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

/// Starts a cluster with this rule, and so many gateways and businesses that are all linked.
async fn routed(rule: &str, gateways: u64, businesses: u64) -> Result<Server> {
    let server = cluster()?
        .knob("CLUSTER_ROUTER", rule)
        .knob("CLUSTER_GATEWAYS", gateways.to_string())
        .knob("CLUSTER_BUSINESSES", businesses.to_string());
    let server = server.started().await?;
    linked(&server, gateways * businesses).await?;
    Ok(server)
}

async fn linked(server: &Server, links: u64) -> Result<Status> {
    server.program.until("all links", |status| status.gauge("gateway", "links") == links).await
}

/// Returns the slot of the business that a client has.
async fn slot(server: &Server, client: &mut Client) -> Result<String> {
    let process: i32 = answer(client, "/process").await?.parse()?;
    let status = server.program.status().await?;
    let slots = (0..9).map(|index| format!("business/{index}"));
    let mut found =
        slots.filter(|slot| status.slot(slot).is_ok_and(|slot| slot.pid == Some(process)));
    found.next().with_context(|| format!("{process} is no business"))
}

async fn enter(server: &Server, room: &str) -> Result<Client> {
    Client::connect(&format!("{}?room={room}", server.port.ws())).await
}

/// Has clients enter each room, and returns the slot that they have; all of a room the same.
async fn owners(server: &Server) -> Result<BTreeMap<&'static str, String>> {
    let mut owners = BTreeMap::new();
    for room in ROOMS {
        let mut slots = BTreeSet::new();
        for _ in 0..3 {
            slots.insert(slot(server, &mut enter(server, room).await?).await?);
        }
        ensure!(slots.len() == 1, "{room} has {slots:?}");
        owners.extend(slots.pop_first().map(|slot| (room, slot)));
    }
    Ok(owners)
}

#[tokio::test]
async fn all_clients_of_a_room_have_one_business_through_crashes_and_reloads() -> Result<()> {
    let server = routed("room", 2, 3).await?;
    let before = owners(&server).await?;
    let used: BTreeSet<_> = before.values().collect();
    ensure!(used.len() == 3, "{before:?}");
    let mut stays = Vec::new();
    for room in ROOMS {
        stays.push((room, enter(&server, room).await?));
    }
    let dead = server.program.kill("business/1").await?;
    server.program.replaced("business/1", &dead).await?;
    linked(&server, 6).await?;
    ensure!(owners(&server).await? == before, "a slot that is back has its rooms");
    for (room, client) in &mut stays {
        if before[room] != "business/1" {
            ensure!(slot(&server, client).await? == before[room], "others' clients stay");
        }
    }
    server.program.reload().await?;
    linked(&server, 6).await?;
    ensure!(owners(&server).await? == before);
    for (room, client) in &mut stays {
        let slot = slot(&server, client).await?;
        ensure!(slot == before[room], "clients of {room} move to {slot}, not to the slot's next");
    }
    Ok(())
}

#[tokio::test]
async fn all_clients_of_an_address_have_one_business() -> Result<()> {
    let server = routed("address", 1, 2).await?;
    let address: SocketAddr = server.port.address().parse()?;
    let mut processes = BTreeMap::<_, BTreeSet<_>>::new();
    for machine in 1..=16 {
        for _ in 0..2 {
            let source = SocketAddr::from(([127, 0, 1, machine], 0));
            let mut client = Raw::websocket_from(source, address).await?;
            client.send(&frame(0x81, b"/process")?).await?;
            let (_, said) = client.frame().await?;
            processes.entry(machine).or_default().insert(said);
        }
    }
    ensure!(processes.values().all(|each| each.len() == 1), "{processes:?}");
    let used: BTreeSet<_> = processes.values().flatten().collect();
    ensure!(used.len() == 2, "16 addresses have one business");
    Ok(())
}

#[tokio::test]
async fn random_is_not_in_turns() -> Result<()> {
    let server = routed("random", 1, 2).await?;
    let (mut clients, mut processes) = (Vec::new(), Vec::new());
    for _ in 0..64 {
        let mut client = server.client().await?;
        processes.push(answer(&mut client, "/process").await?);
        clients.push(client);
    }
    let used: BTreeSet<_> = processes.iter().collect();
    ensure!(used.len() == 2, "all clients have one business");
    ensure!(processes.chunks(2).any(|pair| pair[0] == pair[1]), "they take turns");
    Ok(())
}

#[tokio::test]
async fn the_clients_of_a_uid_come_together_where_their_business_dies() -> Result<()> {
    let server = routed("uid", 1, 3).await?;
    let mut clients = Vec::new();
    let mut each = BTreeMap::<_, usize>::new();
    for _ in 0..9 {
        let mut client = server.client().await?;
        answer(&mut client, "/uid ada").await?;
        let slot = slot(&server, &mut client).await?;
        *each.entry(slot.clone()).or_default() += 1;
        clients.push((slot, client));
    }
    ensure!(each.values().copied().collect::<Vec<_>>() == [3, 3, 3], "none had a uid: {each:?}");
    let dead = server.program.kill("business/0").await?;
    server.program.replaced("business/0", &dead).await?;
    let (mut moved, mut stayed) = (BTreeSet::new(), 0);
    for (before, client) in &mut clients {
        let now = slot(&server, client).await?;
        if before == "business/0" {
            moved.insert(now);
        } else {
            stayed += usize::from(now == *before);
        }
    }
    ensure!(moved.len() == 1 && stayed == 6, "{moved:?}, and {stayed} have stayed");
    Ok(())
}

#[tokio::test]
async fn clients_are_pinned_to_the_businesses_of_a_name() -> Result<()> {
    let whole = cluster()?.knob("CLUSTER_PINNED", "game").started().await?;
    linked(&whole, 1).await?;
    let mut client = whole.client().await?;
    let waits = |status: &Status| {
        let remark = |slot: &str| status.slot(slot).ok()?.remarks.first().cloned();
        let remark = remark("gateway/0").unwrap_or_default();
        status.gauge("gateway", "held_clients") == 1
            && remark.starts_with("no business named game is linked (")
    };
    whole.program.until("the client to wait", waits).await?;
    let games = part_of_cluster("business", whole.register.as_ref().context("a register")?)?
        .knob("CLUSTER_BUSINESS_NAME", "game")
        .started()
        .await?;
    let game = games.program.status().await?.slot("game/0")?.pid.context("a process")?.to_string();
    ensure!(answer(&mut client, "/process").await? == game);
    ensure!(answer(&mut whole.client().await?, "/process").await? == game);
    Ok(())
}
