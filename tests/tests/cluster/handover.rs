//! Gateways and registers are replaced while their clients talk: nothing is lost, doubled or out of order, no connection
//! ends, and no business hears of it.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Client, Status};
use lineman_tests::alone;
use lineman_tests::programs::cluster;

/// How many clients each message goes to.
const CLIENTS: usize = 12;

/// How often every process that hands over is replaced.
const RELOADS: usize = 5;

/// A client, and what it has heard of each one: the number that is next.
struct Member {
    client: Client,
    id: String,
    next: BTreeMap<String, usize>,
}

impl Member {
    async fn hears(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let said = self.client.next_text().await?;
            let (from, number) = said.rsplit_once(' ').context("a number")?;
            let next = self.next.entry(from.to_owned()).or_default();
            ensure!(*next == number.parse::<usize>()?, "{said}, and not {next}");
            *next += 1;
        }
        Ok(())
    }

    /// Asks the business for something; returns its answer.
    async fn asks(&mut self, order: &str) -> Result<String> {
        self.client.send_text(order).await?;
        self.client.next_text().await
    }
}

fn pids(status: &Status, service: &str, count: usize) -> Result<Vec<Option<i32>>> {
    (0..count).map(|index| Ok(status.slot(&format!("{service}/{index}"))?.pid)).collect()
}

#[tokio::test]
async fn gateways_and_the_register_are_replaced_while_clients_talk() -> Result<()> {
    let _machine = alone().await;
    let folder = tempfile::tempdir()?;
    let events = folder.path().join("events");
    let server = cluster()?
        .knob("CLUSTER_GATEWAYS", "2")
        .knob("CLUSTER_BUSINESSES", "2")
        .knob("CLUSTER_EVENTS", &events)
        .started()
        .await?;
    let linked = |status: &Status| status.gauge("business", "links") == 4;
    let before = server.program.until("all to be linked", linked).await?;
    let mut members = Vec::new();
    for number in 0..CLIENTS {
        let mut client = server.client().await?;
        client.send_text("/id").await?;
        let id = client.next_text().await?;
        let mut member = Member { client, id, next: BTreeMap::new() };
        member.asks(&format!("/uid user{number}")).await?;
        member.asks("/join room").await?;
        members.push(member);
    }
    let mut said = 0;
    for _ in 0..RELOADS {
        let earlier = server.program.status().await?;
        let reload = async {
            server.program.reload_only("gateway").await?;
            server.program.reload_only("register").await
        };
        let talk = async {
            // As many rounds as the reload takes, each of one message to all and one to a group of each client.
            for _ in 0..20 {
                for (number, member) in members.iter_mut().enumerate() {
                    member.client.send_text(&format!("all {number} {said}")).await?;
                    member.client.send_text(&format!("/group room group {number} {said}")).await?;
                }
                said += 1;
                for member in &mut members {
                    member.hears(2 * CLIENTS).await?;
                }
            }
            anyhow::Ok(())
        };
        let (reloaded, talked) = tokio::join!(reload, talk);
        reloaded?;
        talked?;
        let now = server.program.status().await?;
        for (service, count) in [("gateway", 2), ("register", 1)] {
            let (old, new) = (pids(&earlier, service, count)?, pids(&now, service, count)?);
            ensure!(
                old.iter().zip(&new).all(|(old, new)| old != new),
                "{service} was not replaced"
            );
        }
        ensure!(pids(&earlier, "business", 2)? == pids(&before, "business", 2)?);
    }
    for (number, member) in members.iter_mut().enumerate() {
        let id = member.asks("/id").await?;
        ensure!(id == member.id, "{id} and not {}", member.id);
        let answer = member.asks(&format!("/to user{number} still user{number}")).await?;
        ensure!(answer == format!("still user{number}"), "{answer}");
        ensure!(member.next.values().all(|next| *next == said), "{:?}", member.next);
    }
    let events = fs::read_to_string(&events)?;
    let (came, went): (Vec<_>, Vec<_>) =
        events.lines().partition(|line| line.contains(" connect "));
    ensure!((came.len(), went.len()) == (CLIENTS, 0), "{events}");
    let after = server.program.status().await?;
    ensure!(after.gauge("business", "links") == 4 && after.gauge("register", "gateways") == 2);
    Ok(())
}
