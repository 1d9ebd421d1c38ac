//! Behind a gateway: what one client or one business does costs the others nothing.

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Client, Status};
use lineman_tests::alone;
use lineman_tests::programs::cluster;
use lineman_tests::raw::{Raw, frame};

/// What one client sent when it hung all others.
const FLOOD: usize = 40_000;

/// How many peers may be unknown to a register at once, and how many surely are too many.
const STRANGERS: usize = 64;
const MANY: usize = 32 * STRANGERS;

#[tokio::test]
async fn a_client_that_floods_a_handler_that_waits_costs_no_neighbour_and_no_new_client()
-> Result<()> {
    let _machine = alone().await;
    let cluster = cluster()?.started().await?;
    let mut neighbour = cluster.client().await?;
    is_served(&mut neighbour).await?;
    let flooder = Raw::websocket(&cluster.port.address()).await?;
    let messages = frame(0x81, b"wait")?.repeat(FLOOD);
    let flood = tokio::spawn(async move { flooder.flood(&messages).await });
    let met = |status: &Status| status.gauge("gateway", "share_reached") > 0;
    cluster.program.until("the flood to meet its bound", met).await?;

    is_served(&mut neighbour).await?;
    is_served(&mut cluster.client().await?).await?;
    let waiting = cluster.program.status().await?.gauge("business", "waiting_events");
    assert!(waiting < 256, "{waiting} events of one client");
    flood.abort();
    is_served(&mut neighbour).await?;
    is_served(&mut cluster.client().await?).await
}

#[tokio::test]
async fn the_clients_of_a_business_that_is_stopped_move_and_new_ones_avoid_it() -> Result<()> {
    let _machine = alone().await;
    let cluster = cluster()?.knob("CLUSTER_BUSINESSES", "2").knob("CLUSTER_ABANDON", "6");
    let cluster = cluster.started().await?;
    // One for each of the two.
    let mut clients = [cluster.client().await?, cluster.client().await?];
    for client in &mut clients {
        is_served(client).await?;
    }
    let stopped = cluster.program.process("business/0").await?;
    stopped.suspend();
    for client in &mut clients {
        client.send_text("lost, if it is the stopped one's").await?;
    }
    let gauge = |name: &'static str, value: u64| {
        move |status: &Status| status.gauge("gateway", name) == value
    };
    cluster.program.until("the business to be seen as stalled", gauge("stalled", 1)).await?;
    for _ in 0..5 {
        is_served(&mut cluster.client().await?).await?;
    }
    cluster.program.until("its clients to move", gauge("abandoned_links", 1)).await?;
    for client in &mut clients {
        is_served(client).await?;
    }
    assert!(cluster.program.status().await?.gauge("gateway", "lost_events") >= 1);

    stopped.resume();
    cluster.program.until("the business to be linked again", gauge("links", 2)).await?;
    for _ in 0..4 {
        is_served(&mut cluster.client().await?).await?;
    }
    for client in &mut clients {
        is_served(client).await?;
    }
    Ok(())
}

#[tokio::test]
async fn peers_that_never_say_what_they_are_keep_no_business_from_a_register() -> Result<()> {
    let _machine = alone().await;
    let cluster = cluster()?.started().await?;
    let register = cluster.register.as_ref().context("a register")?.address();
    let mut strangers = Vec::new();
    while cluster.program.status().await?.gauge("register", "refused_strangers") < 20 {
        ensure!(strangers.len() < MANY, "none gives way");
        for _ in 0..STRANGERS {
            let mut stranger = Raw::connect(&register).await?;
            // It may have been refused already.
            drop(stranger.send(b"{\"event\":\"ping\"}\n").await);
            strangers.push(stranger);
        }
    }
    let killed = cluster.program.kill("business/0").await?;
    cluster.program.replaced("business/0", &killed).await?;
    is_served(&mut cluster.client().await?).await?;
    let gone = |status: &Status| status.gauge("register", "strangers") == 0;
    cluster.program.until("the others to have had their time", gone).await?;
    Ok(())
}

/// Says something, and hears it.
async fn is_served(client: &mut Client) -> Result<()> {
    let said = format!("{:?}", std::time::Instant::now());
    client.send_text(&*said).await?;
    while client.next_text().await? != said {}
    Ok(())
}
