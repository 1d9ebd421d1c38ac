//! Attacks on what clients of a gateway share, and on the ports that are not for clients.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::{join, join_all};
use lineman_testkit::Client;
use lineman_tests::raw::{Raw, frame};
use tokio::time::interval;

use super::sockets::{BINARY, TEXT};
use crate::attack::{Siege, gathered};

/// The longest packet between gateway and business.
const PACKET: usize = 10 * 1024 * 1024;

pub(super) async fn client_flood(siege: &Siege) -> Result<String> {
    let count = siege.crowd(40_000);
    let mut peer = Raw::websocket(&siege.target.gateway()).await?;
    let all = frame(TEXT, b"wait")?.repeat(count);
    // Whether the gateway takes all of it is its own affair.
    siege.goes_on(peer.send(&all)).await;
    Ok(format!("{count} messages of 4 bytes"))
}

pub(super) async fn long_messages(siege: &Siege) -> Result<String> {
    // It fits a client's bound, and does not fit a packet with a head.
    let long = frame(BINARY, &vec![b'x'; PACKET - 16])?;
    let peers = gathered(siege.crowd(20), async |_| {
        let mut peer = Raw::websocket(&siege.target.gateway()).await?;
        peer.send(&long).await?;
        Ok(peer)
    });
    let peers = peers.await;
    siege.holds().await;
    Ok(format!("{} messages of {} bytes", peers.len(), PACKET - 16))
}

pub(super) async fn fan_out(siege: &Siege) -> Result<String> {
    let mut seated = gathered(siege.crowd(3000), async |_| {
        let mut peer = Raw::websocket(&siege.target.gateway()).await?;
        peer.send(&frame(TEXT, b"sit")?).await?;
        peer.until(b"seated").await?;
        Ok(peer)
    })
    .await;
    let (count, fans) = (seated.len(), Cell::new(0));
    let mut speaker = Client::connect(&siege.target.server.port.ws()).await?;
    let speak = async {
        let mut pace = interval(Duration::from_secs(1));
        loop {
            pace.tick().await;
            speaker.send_text("fan 60000").await?;
            speaker.next_text().await?;
            fans.set(fans.get() + 1);
        }
        #[expect(unreachable_code, reason = "the type of the errors")]
        anyhow::Ok(())
    };
    siege.goes_on(join(speak, join_all(seated.iter_mut().map(Raw::listens)))).await;
    Ok(format!("{} messages to {count} clients", fans.get()))
}

pub(super) async fn strangers(siege: &Siege) -> Result<String> {
    let target = &siege.target;
    let register = target.server.register.as_ref().context("a register")?.address();
    let inner = [&register, &target.links];
    let count = siege.crowd(2000);
    let silent = gathered(count, async |number| Raw::connect(inner[number % 2]).await);
    let silent = silent.await;
    let mut pinging = gathered(count, async |_| Raw::connect(&register).await).await;
    let long = u32::try_from(PACKET)?.to_be_bytes();
    let long = [&long[..], &vec![0; PACKET - 1024]].concat();
    let talk = gathered(siege.crowd(60), async |_| {
        let mut peer = Raw::connect(&target.links).await?;
        // It may be refused before it has sent everything.
        drop(peer.send(&long).await);
        Ok(peer)
    });
    let ping = async {
        let mut pace = interval(Duration::from_millis(100));
        loop {
            pace.tick().await;
            join_all(pinging.iter_mut().map(|peer| peer.send(b"{\"event\":\"ping\"}\n"))).await;
        }
    };
    siege.goes_on(join(talk, ping)).await;
    Ok(format!("{} silent, {count} pinging, {} long-winded", silent.len(), siege.crowd(60)))
}
