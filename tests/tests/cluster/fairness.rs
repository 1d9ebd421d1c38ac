//! Behind a gateway: what one client or one business does costs the others nothing.

use std::iter;

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Client, Status};
use lineman_tests::alone;
use lineman_tests::programs::cluster;
use lineman_tests::raw::{Raw, frame};
use tokio::task::JoinSet;

/// What one client sent when it hung all others.
const FLOOD: usize = 40_000;

/// How many clients flood at once.
const FLOODERS: u64 = 45;

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
    is_heard(&mut cluster.client().await?, &mut [&mut neighbour]).await?;
    let waiting = cluster.program.status().await?.gauge("business", "waiting_events");
    assert!(waiting < 256, "{waiting} events of one client");
    flood.abort();
    is_served(&mut neighbour).await?;
    is_heard(&mut cluster.client().await?, &mut [&mut neighbour]).await
}

/// So many at their share of 256 events are more than their business takes of a link.
#[tokio::test]
async fn many_clients_that_flood_wait_and_their_neighbours_do_not() -> Result<()> {
    let _machine = alone().await;
    let cluster = cluster()?.started().await?;
    let mut neighbour = cluster.client().await?;
    let messages = frame(0x81, b"wait")?.repeat(1000);
    let mut floods = JoinSet::new();
    for _ in 0..FLOODERS {
        let (flooder, messages) =
            (Raw::websocket(&cluster.port.address()).await?, messages.clone());
        floods.spawn(async move { flooder.flood(&messages).await });
    }
    let all_wait = |status: &Status| status.gauge("gateway", "waiting_clients") == FLOODERS;
    cluster.program.until("all that flood to wait", all_wait).await?;
    is_served(&mut neighbour).await?;
    is_heard(&mut cluster.client().await?, &mut [&mut neighbour]).await?;
    let told = cluster.program.status().await?.gauge("business", "shrunk_shares");
    ensure!(told > 0, "its link was not near its bound");
    Ok(())
}

#[tokio::test]
async fn the_clients_of_a_business_that_is_stopped_move_and_new_ones_avoid_it() -> Result<()> {
    let _machine = alone().await;
    let cluster = cluster()?.knob("CLUSTER_BUSINESSES", "2").knob("CLUSTER_ABANDON", "6");
    let cluster = cluster.started().await?;
    // One for each of the two.
    let (mut one, mut two) = (cluster.client().await?, cluster.client().await?);
    is_heard(&mut one, &mut [&mut two]).await?;
    is_heard(&mut two, &mut [&mut one]).await?;
    let stopped = cluster.program.process("business/0").await?;
    stopped.suspend();
    let said = "lost, if it is the stopped one's";
    for client in [&mut one, &mut two] {
        client.send_text(said).await?;
    }
    // The other one's message is heard, and the stopped one's never.
    for client in [&mut one, &mut two] {
        ensure!(client.next_text().await? == said);
    }
    let gauge = |name: &'static str, value: u64| {
        move |status: &Status| status.gauge("gateway", name) == value
    };
    cluster.program.until("the business to be seen as stalled", gauge("stalled", 1)).await?;
    for _ in 0..5 {
        is_heard(&mut cluster.client().await?, &mut [&mut one, &mut two]).await?;
    }
    cluster.program.until("its clients to move", gauge("abandoned_links", 1)).await?;
    is_heard(&mut one, &mut [&mut two]).await?;
    is_heard(&mut two, &mut [&mut one]).await?;
    assert!(cluster.program.status().await?.gauge("gateway", "lost_events") >= 1);

    stopped.resume();
    cluster.program.until("the business to be linked again", gauge("links", 2)).await?;
    for _ in 0..4 {
        is_heard(&mut cluster.client().await?, &mut [&mut one, &mut two]).await?;
    }
    is_heard(&mut one, &mut [&mut two]).await?;
    is_heard(&mut two, &mut [&mut one]).await
}

#[tokio::test]
async fn a_business_that_is_stopped_while_idle_is_found() -> Result<()> {
    let _machine = alone().await;
    let cluster = cluster()?.knob("CLUSTER_BUSINESSES", "2").knob("CLUSTER_ABANDON", "2");
    let cluster = cluster.started().await?;
    let (mut one, mut two) = (cluster.client().await?, cluster.client().await?);
    is_heard(&mut one, &mut [&mut two]).await?;
    is_heard(&mut two, &mut [&mut one]).await?;
    let quiet = |status: &Status| status.gauge("business", "waiting_events") == 0;
    cluster.program.until("all to be handled", quiet).await?;
    let stopped = cluster.program.process("business/0").await?;
    stopped.suspend();
    let given_up = |status: &Status| status.gauge("gateway", "abandoned_links") == 1;
    cluster.program.until("its clients to move", given_up).await?;
    is_heard(&mut one, &mut [&mut two]).await?;
    is_heard(&mut two, &mut [&mut one]).await?;
    stopped.resume();
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

/// A client that is alone says something, and that is what it hears next.
async fn is_served(client: &mut Client) -> Result<()> {
    is_heard(client, &mut []).await
}

/// A client says something, and that is what it and the others that are there hear next.
async fn is_heard(client: &mut Client, others: &mut [&mut Client]) -> Result<()> {
    let said = format!("{:?}", std::time::Instant::now());
    client.send_text(&*said).await?;
    for hears in iter::once(client).chain(others.iter_mut().map(|other| &mut **other)) {
        let heard = hears.next_text().await?;
        ensure!(heard == said, "{heard} was heard for {said}");
    }
    Ok(())
}
