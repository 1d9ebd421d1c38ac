//! Machines that cannot reach each other for a while: for each client `on_connect` and `on_close` take turns.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Client, within};
use lineman_tests::machines::{Cut, Machine, Site};
use lineman_tests::programs::answer;

/// Starts machines whose links are given up after 2 s, and whose gateways count as dead so many seconds later.
async fn machines(count: u8, verdict: &str) -> Result<Option<Site>> {
    let Some(site) = Site::of(count)? else { return Ok(None) };
    let site = site.knob("CLUSTER_LINK_TIMEOUT", "2")?.knob("CLUSTER_VERDICT", verdict)?;
    // A cut separates clients from their businesses.
    let site = site.knob("CLUSTER_PREFER", "any")?;
    site.started().await.map(Some)
}

/// Connects a client to a machine whose events go to a business of that one; returns it with its id.
async fn client_of(machine: &Machine, business: u8) -> Result<(Client, String)> {
    // A gateway gives its next client to a business that has fewer.
    let mut others = Vec::new();
    while others.len() < 40 {
        let mut client = machine.client().await?;
        if answer(&mut client, "/where").await?.ends_with(&format!(".{business}")) {
            let id = answer(&mut client, "/id").await?;
            return Ok((client, id));
        }
        others.push(client);
    }
    anyhow::bail!("no client is handled on machine {business}")
}

/// Asks until a business of that machine answers.
async fn served_by(client: &mut Client, machine: u8) -> Result<()> {
    let served = async {
        loop {
            client.send_text("/where").await?;
            let answer = tokio::time::timeout(Duration::from_millis(200), client.text()).await;
            if answer
                .is_ok_and(|text| text.is_ok_and(|text| text.ends_with(&format!(".{machine}"))))
            {
                return anyhow::Ok(());
            }
        }
    };
    within("a business to answer", served).await?
}

/// Returns what all businesses have heard of a client, in order.
fn events_of(site: &Site, id: &str) -> Result<Vec<String>> {
    let mut events = Vec::new();
    for machine in site.machines() {
        for line in machine.events()?.lines() {
            let mut words = line.split(' ');
            let (time, event, of) = (words.next(), words.next(), words.next());
            let time: u64 = time.context("no time")?.parse()?;
            if of == Some(id) {
                events.push((time, event.unwrap_or_default().to_owned()));
            }
        }
    }
    events.sort();
    Ok(events.into_iter().map(|(_, event)| event).collect())
}

/// Waits until the businesses have heard this of a client.
async fn until(site: &Site, id: &str, expected: &[&str]) -> Result<()> {
    let seen = async {
        while events_of(site, id)? != expected {
            site.changed().await?;
        }
        anyhow::Ok(())
    };
    let what = format!("{expected:?} of {id}");
    within(&what, seen).await.with_context(|| format!("{:?}", events_of(site, id)))?
}

/// Cuts machine 2 off until its client counts as gone at the other side, and has another one leave meanwhile.
async fn a_cut_is_put_right(cut: Cut) -> Result<()> {
    let Some(mut site) = machines(2, "1").await? else { return Ok(()) };
    let (mut stays, stays_id) = client_of(site.machine(2)?, 1).await?;
    let (leaves, leaves_id) = client_of(site.machine(2)?, 1).await?;
    let (mut at_home, at_home_id) = client_of(site.machine(2)?, 2).await?;
    site.machine(2)?.cut(cut)?;
    until(&site, &stays_id, &["connect", "close"]).await?;
    until(&site, &leaves_id, &["connect", "close"]).await?;
    // They are served on their own side; what is asked in the first second may be lost.
    served_by(&mut stays, 2).await?;
    served_by(&mut at_home, 2).await?;
    leaves.close().await?;
    site.machine(2)?.heal()?;
    until(&site, &stays_id, &["connect", "close", "connect"]).await?;
    site.linked().await?;

    // At their real end everything was told once.
    stays.close().await?;
    until(&site, &stays_id, &["connect", "close", "connect", "close"]).await?;
    at_home.close().await?;
    let ended = async {
        loop {
            let told = events_of(&site, &at_home_id)?;
            let turns = told.iter().enumerate();
            ensure!(turns.into_iter().all(|(at, event)| *event == ["connect", "close"][at % 2]));
            if told.len() % 2 == 0 {
                return Ok(());
            }
            site.changed().await?;
        }
    };
    within("the end of the one at home", ended).await??;
    assert_eq!(events_of(&site, &leaves_id)?, ["connect", "close"]);
    Ok(())
}

#[tokio::test]
async fn a_machine_that_is_cut_off_has_its_clients_announced_again() -> Result<()> {
    a_cut_is_put_right(Cut::Both).await
}

#[tokio::test]
async fn a_machine_that_hears_nothing_has_its_clients_announced_again() -> Result<()> {
    a_cut_is_put_right(Cut::Received).await
}

#[tokio::test]
async fn a_machine_that_is_not_heard_has_its_clients_announced_again() -> Result<()> {
    a_cut_is_put_right(Cut::Sent).await
}

#[tokio::test]
async fn a_short_cut_is_not_told() -> Result<()> {
    let Some(mut site) = machines(2, "60").await? else { return Ok(()) };
    let (client, id) = client_of(site.machine(2)?, 1).await?;
    site.machine(2)?.cut(Cut::Both)?;
    // The gateway gives the client away; the business waits longer.
    let moved = async {
        while site.machine(2)?.program()?.status().await?.gauge("gateway", "unreachable_links") == 0
        {
        }
        anyhow::Ok(())
    };
    within("links to be given up", moved).await??;
    site.machine(2)?.heal()?;
    site.linked().await?;
    client.close().await?;
    until(&site, &id, &["connect", "close"]).await
}

/// The machine loses power: the gateways of the client and its business are gone at once.
#[tokio::test]
async fn clients_of_a_machine_without_power_are_seen_to_leave() -> Result<()> {
    let Some(mut site) = machines(3, "1").await? else { return Ok(()) };
    let (_at_home, at_home) = client_of(site.machine(3)?, 3).await?;
    let (_elsewhere, elsewhere) = client_of(site.machine(3)?, 1).await?;
    // An heir is told within a second.
    let told = async {
        let mut witnessed = 0;
        while witnessed < 2 {
            witnessed = 0;
            for machine in site.machines() {
                witnessed +=
                    machine.program()?.status().await?.gauge("business", "witnessed_clients");
            }
        }
        anyhow::Ok(())
    };
    within("heirs to be told", told).await??;
    site.machine(3)?.power_off().await?;
    until(&site, &elsewhere, &["connect", "close"]).await?;
    until(&site, &at_home, &["connect", "close"]).await
}
