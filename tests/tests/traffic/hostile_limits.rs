//! More than a listener allows: who comes beyond its bounds is refused, delayed or closed as stated,
//! and counted; who is within them is served throughout, by the same process and in bounded memory.

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::{join_all, try_join_all};
use lineman_testkit::{Program, Slot, Status, within};
use lineman_tests::innocent::{BASE_BYTES, echoes, served_throughout};
use lineman_tests::programs::{Server, echo};
use lineman_tests::raw::{Raw, UPGRADE, frame};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const HOME: &str = "127.0.0.1";
const ELSEWHERE: &str = "127.0.0.2";

/// How many come beyond a bound.
const BEYOND: u64 = 100;

async fn count(program: &Program, name: &str) -> Result<u64> {
    let status = program.status().await?;
    status.slot("echo/0")?.stats[name].as_u64().with_context(|| format!("{name} is no count"))
}

async fn until_counted(program: &Program, name: &str, least: u64) -> Result<()> {
    let reached = |slot: &Slot| slot.stats[name].as_u64().is_some_and(|count| count >= least);
    let holds = |status: &Status| status.slots.iter().any(reached);
    program.until(&format!("{name} to reach {least}"), holds).await.map(drop)
}

/// Comes from an address; returns the connection if it was let in.
async fn come(server: &Server, source: &str) -> Result<Option<Raw>> {
    let mut peer = Raw::connect_from(source, &server.port.address()).await?;
    Ok(peer.enters().await?.then_some(peer))
}

/// Comes until it is let in: a place becomes free, or it is time.
async fn let_in(server: &Server, source: &str) -> Result<Raw> {
    let entered = async {
        loop {
            if let Some(peer) = come(server, source).await? {
                return anyhow::Ok(peer);
            }
        }
    };
    within("a place", entered).await?
}

/// Runs an attack beside somebody who is in already.
async fn attacked(server: &Server, attack: impl Future<Output = Result<()>>) -> Result<()> {
    let mut innocent = server.client().await?;
    let exchange = async || echoes(&mut innocent).await;
    served_throughout(&server.program, "echo/0", BASE_BYTES, exchange, attack).await
}

#[tokio::test]
async fn an_address_has_so_many_places_and_another_its_own() -> Result<()> {
    let server = echo()?.knob("ECHO_PER_ADDRESS", "3").started().await?;
    attacked(&server, async {
        // With the innocent, who is at home too, that is all of them.
        let mut inside = [let_in(&server, HOME).await?, let_in(&server, HOME).await?];
        for _ in 0..BEYOND {
            ensure!(come(&server, HOME).await?.is_none(), "one too many was let in");
        }
        ensure!(come(&server, ELSEWHERE).await?.is_some(), "another address suffers");
        assert_eq!(count(&server.program, "limited_addresses").await?, BEYOND);
        for peer in &mut inside {
            peer.send(&frame(TEXT, b"still here")?).await?;
            peer.until(b"still here").await?;
        }
        drop(inside);
        let_in(&server, HOME).await.context("a place does not come back")?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_listener_has_so_many_places() -> Result<()> {
    let server = echo()?.knob("ECHO_CONNECTIONS", "3").started().await?;
    attacked(&server, async {
        let inside = [let_in(&server, HOME).await?, let_in(&server, ELSEWHERE).await?];
        for number in 0..BEYOND {
            let source = if number % 2 == 0 { HOME } else { ELSEWHERE };
            ensure!(come(&server, source).await?.is_none(), "one too many was let in");
        }
        assert_eq!(count(&server.program, "limited_connections").await?, BEYOND);
        assert_eq!(count(&server.program, "connections").await?, 3);
        drop(inside);
        let_in(&server, HOME).await.context("a place does not come back")?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn so_many_may_come_each_second() -> Result<()> {
    let server = echo()?.knob("ECHO_ARRIVALS", "2").started().await?;
    attacked(&server, async {
        let mut refused = 0;
        for _ in 0..BEYOND {
            refused += u64::from(come(&server, HOME).await?.is_none());
        }
        ensure!(refused > 0, "{BEYOND} were let in at once");
        assert_eq!(count(&server.program, "limited_arrivals").await?, refused);
        // Nobody is shut out for good.
        let_in(&server, HOME).await?;
        Ok(())
    })
    .await
}

/// The bounds of what one connection sends: 50 messages a second, or the bytes of about as many. Who
/// is innocent sends as often as that at most, and its answers are waited for.
const RATES: [(&str, &str, &str); 2] =
    [("ECHO_MESSAGES", "100", "limited_messages"), ("ECHO_BYTES", "10000", "limited_bytes")];

#[tokio::test]
async fn who_sends_too_much_waits_and_loses_nothing() -> Result<()> {
    for (knob, rate, counter) in RATES {
        let server = echo()?.knob(knob, rate).started().await?;
        attacked(&server, async {
            let mut peer = Raw::websocket(&server.port.address()).await?;
            let mut all = Vec::new();
            for number in 0..200 {
                all.extend(frame(TEXT, format!("{number:0>100}").as_bytes())?);
            }
            // The innocent one stays below it, and is not counted.
            ensure!(count(&server.program, counter).await? == 0, "{counter} is not 0 yet");
            peer.send(&all).await?;
            for number in 0..200 {
                let wanted = format!("\x64{number:0>100}");
                peer.until(wanted.as_bytes()).await?;
            }
            ensure!(count(&server.program, counter).await? > 0, "{counter} is 0");
            Ok(())
        })
        .await
        .context(knob)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_flood_above_the_rate_stays_in_the_kernel() -> Result<()> {
    for (knob, rate, counter) in RATES {
        let server = echo()?.knob(knob, rate).started().await?;
        attacked(&server, async {
            let frames = frame(TEXT, &[b'x'; 100])?.repeat(1000);
            let mut floods = Vec::new();
            for _ in 0..20 {
                floods.push(Raw::websocket(&server.port.address()).await?.flood(&frames));
            }
            let counted = Box::pin(until_counted(&server.program, counter, 20));
            tokio::select! {
                counted = counted => counted,
                _ends = join_all(floods) => bail!("a delay closes nobody"),
            }
        })
        .await
        .context(knob)?;
    }
    Ok(())
}

#[tokio::test]
async fn who_sends_too_much_is_closed_if_so_configured() -> Result<()> {
    for (knob, rate, counter) in RATES {
        let server = echo()?.knob(knob, rate).knob("ECHO_EXCESS_CLOSES", "1").started().await?;
        attacked(&server, async {
            let frames = frame(TEXT, &[b'x'; 100])?.repeat(1000);
            let crowd = (0..10).map(async |_| {
                let mut peer = Raw::websocket(&server.port.address()).await?;
                peer.send(&frames).await?;
                peer.close_code().await
            });
            assert_eq!(try_join_all(crowd).await?, [1008; 10]);
            assert_eq!(count(&server.program, counter).await?, 10);
            Ok(())
        })
        .await
        .context(knob)?;
    }
    Ok(())
}

/// What a process may hold that is unfinished or unsent, and what each of a crowd holds of a message.
const BUDGET: usize = 8 * 1024 * 1024;
const UNFINISHED: usize = 200_000;

#[tokio::test]
async fn a_crowd_of_unfinished_messages_does_not_fill_a_process() -> Result<()> {
    let server = echo()?.knob("ECHO_BUDGET", BUDGET.to_string()).started().await?;
    let mut innocent = server.client().await?;
    let mut unfinished = frame(BINARY, &vec![7; 2 * UNFINISHED])?;
    unfinished.truncate(UNFINISHED);
    // Ten times the budget, if it were let in.
    let attack = async {
        let mut crowd = Vec::new();
        for _ in 0..10 * BUDGET / UNFINISHED {
            let mut peer = Raw::connect(&server.port.address()).await?;
            peer.send(UPGRADE).await?;
            // One that is refused, or closed to make room, takes less.
            let _cut = peer.send(&unfinished).await;
            crowd.push(peer);
        }
        until_counted(&server.program, "budget_held", 1).await?;
        until_counted(&server.program, "budget_refused", 1).await?;
        drop(crowd);
        Ok(())
    };
    let bound = 2 * BASE_BYTES + 2 * BUDGET as u64;
    let exchange = async || echoes(&mut innocent).await;
    Box::pin(served_throughout(&server.program, "echo/0", bound, exchange, attack)).await
}
