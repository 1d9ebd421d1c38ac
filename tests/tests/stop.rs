//! Stop: politely with a limit, or at once; either way every client hears 1001.

use anyhow::Result;
use lineman_testkit::{Client, Status};
use lineman_tests::programs::{Server, chat, echo};

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
