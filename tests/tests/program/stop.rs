//! Stop: politely with a limit, or at once; either way every client hears 1001.

use anyhow::Result;
use lineman_testkit::{Client, Status};
use lineman_tests::programs::{Server, chat, echo};
use lineman_tests::watched::Watched;
use rustix::process::Signal;

#[tokio::test]
async fn a_graceful_stop_ends_when_the_clients_are_gone() -> Result<()> {
    for server in [echo()?, chat()?] {
        let server = server.started().await?;
        let clients = clients(&server, 5).await?;
        let stop = server.program.run(&["stop", "-g", "--timeout", "1h"]);
        let leave = async {
            let draining =
                |status: &Status| status.slots.iter().any(|slot| slot.state == "draining");
            server.program.until("a process to drain", draining).await?;
            for client in clients {
                client.close().await?;
            }
            anyhow::Ok(())
        };
        let (stopped, left) = tokio::join!(stop, leave);
        left?;
        stopped?.expect_code(0)?.expect_text("0 connections closed with 1001")?;
        server.program.all_gone().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_graceful_stop_cuts_those_who_stay_and_says_how_many() -> Result<()> {
    for server in [echo()?, chat()?] {
        let server = server.started().await?;
        let mut clients = clients(&server, 5).await?;
        let stop = server.program.run(&["stop", "-g", "--timeout", "1s"]);
        let (stopped, ended) = tokio::join!(stop, all_hear_1001(&mut clients));
        ended?;
        stopped?.expect_code(0)?.expect_text("5 connections closed with 1001")?;
        server.program.all_gone().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_plain_stop_tells_every_client() -> Result<()> {
    for server in [echo()?, chat()?] {
        let server = server.started().await?;
        let mut clients = clients(&server, 5).await?;
        let (stopped, ended) = tokio::join!(server.program.stop(), all_hear_1001(&mut clients));
        ended?;
        stopped?.expect_text("5 connections closed with 1001")?;
        server.program.all_gone().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_draining_worker_finishes_what_it_has_begun() -> Result<()> {
    let echo = echo()?.started().await?;
    let mut client = echo.client().await?;
    let stop = echo.program.run(&["stop", "-g", "--timeout", "1h"]);
    let meanwhile = async {
        let draining = |status: &Status| status.slots.iter().any(|slot| slot.state == "draining");
        echo.program.until("the worker to drain", draining).await?;
        client.send_text("slowly").await?;
        assert_eq!(client.next_text().await?, "slowly");
        client.close().await
    };
    let (stopped, left) = tokio::join!(stop, meanwhile);
    left?;
    stopped?.expect_code(0)?;
    Ok(())
}

/// Has `reload -g` wait for a client, which it does for an hour.
async fn waiting_reload(echo: &Server) -> Result<(Client, Watched)> {
    let client = echo.client().await?;
    let mut reload = Watched::start(&echo.program, &["reload", "-g"])?;
    reload.says(&["draining, 1 connection left"]).await?;
    Ok((client, reload))
}

#[tokio::test]
async fn a_signal_ends_within_its_limit_what_a_reload_waits_an_hour_for() -> Result<()> {
    for signal in [Signal::TERM, Signal::QUIT] {
        let echo = echo()?.knob("ECHO_DRAIN_MS", "100").started().await?;
        let (mut client, reload) = waiting_reload(&echo).await?;
        echo.program.master().await?.signal(signal);
        assert_eq!(client.ended().await?.code(), Some(1001), "{signal:?}");
        reload.ended().await?.expect_code(1)?.expect_text("given up: the program stops")?;
        echo.program.all_gone().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_graceful_stop_gives_what_drains_already_its_own_limit() -> Result<()> {
    let echo = echo()?.knob("ECHO_DRAIN_MS", "60000").started().await?;
    // Shorter than an hour …
    let (mut client, _reload) = waiting_reload(&echo).await?;
    let stop = echo.program.run(&["stop", "-g", "--timeout", "100ms"]);
    let (stopped, ended) = tokio::join!(stop, client.ended());
    assert_eq!(ended?.code(), Some(1001));
    stopped?.expect_code(0)?.expect_text("1 connection closed with 1001")?;

    // … and longer than a minute.
    echo.program.start().await?;
    let client = echo.client().await?;
    let mut reload = Watched::start(&echo.program, &["reload"])?;
    reload.says(&["draining, 1 connection left"]).await?;
    let mut stop = Watched::start(&echo.program, &["stop", "-g", "--timeout", "2h"])?;
    stop.says(&["1 connection left, 1h 59m at most"]).await?;
    // A later one has the last word.
    let mut hurried = Watched::start(&echo.program, &["stop", "-g", "--timeout", "30m"])?;
    hurried.says(&["1 connection left, 29m "]).await?;
    client.close().await?;
    for stop in [stop, hurried] {
        stop.ended().await?.expect_code(0)?.expect_text("0 connections closed with 1001")?;
    }
    Ok(())
}

#[tokio::test]
async fn a_limit_that_means_none_is_a_limit() -> Result<()> {
    for endless in ["limits", "delay"] {
        let echo = echo()?.knob("ECHO_ENDLESS", endless).started().await?;
        let mut client = echo.client().await?;
        client.send_text("hello").await?;
        assert_eq!(client.next_text().await?, "hello");
        let mut reload = Watched::start(&echo.program, &["reload"])?;
        reload.says(&["draining, 1 connection left"]).await?;
        client.close().await?;
        reload.ended().await?.expect_code(0)?;

        let stop = Watched::start(&echo.program, &["stop", "-g"])?;
        if endless == "delay" {
            let stopping = |status: &Status| status.state == "stopping";
            echo.program.until("the stop", stopping).await?;
            echo.client().await?.close().await?;
            echo.program.stop().await?;
        }
        stop.ended().await?.expect_code(0)?;
        echo.program.all_gone().await?;
    }
    Ok(())
}

async fn clients(server: &Server, count: usize) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(server.client().await?);
    }
    Ok(clients)
}

async fn all_hear_1001(clients: &mut [Client]) -> Result<()> {
    for client in clients {
        let ended = client.ended().await?;
        assert_eq!(ended.code(), Some(1001), "{ended:?}");
    }
    Ok(())
}
