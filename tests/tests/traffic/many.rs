//! Twenty thousand connections in one process: what looks at them all neither stalls them, nor gathers
//! them anywhere on the way.

use std::cell::Cell;
use std::collections::HashSet;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Process, within};
use lineman_tests::alone;
use lineman_tests::audience::{Audience, room_for};
use lineman_tests::innocent::{echoes, served_throughout};
use lineman_tests::programs::{Server, echo};
use lineman_tests::raw::Raw;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// What one process of a busy server holds. Where one process may not open so many files it is what it may.
const MANY: usize = 20_000;

/// Fewer fit into the pipes on the way, and then nobody can tell a list that streams from one that
/// does not.
const ENOUGH: usize = 10_000;

/// What the one process may hold for them.
const BOUND: u64 = 64 * 1024 * 1024;

/// What the master may hold for four lists that nobody reads: each of them is ten times as long.
const MASTER_BOUND: u64 = 12 * 1024 * 1024;

/// Starts a server of one process, and seats as many as fit beside the few of the test.
async fn hall() -> Result<(Server, Audience, usize)> {
    let size = room_for(MANY)?;
    ensure!(size >= ENOUGH, "there is room for {size} connections: raise `ulimit -Hn`");
    let echo = echo()?.knob("ECHO_HANDSHAKE_MS", "60000").started().await?;
    let audience = Audience::seated(&echo, size).await?;
    Ok((echo, audience, size))
}

/// A command whose output is read line by line.
struct Output {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Output {
    fn of(server: &Server, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::from(server.program.command(arguments));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stdout.take().context("a stdout")?).lines();
        Ok(Self { child, lines })
    }

    async fn next(&mut self) -> Result<Option<Value>> {
        let line = within("a line", self.lines.next_line()).await??;
        line.map(|line| serde_json::from_str(&line).context(line)).transpose()
    }

    async fn ended(mut self) -> Result<(Option<i32>, String)> {
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().context("a stderr")?;
        within("the last word", stderr.read_to_string(&mut said)).await??;
        Ok((within("the command to end", self.child.wait()).await??.code(), said))
    }
}

fn is_seated(row: &Value) -> bool {
    row["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.9."))
}

/// Lists everybody, with a word of a client's after each thousand; returns who was listed.
async fn listed_with_words_between(server: &Server) -> Result<Vec<Value>> {
    let mut client = server.client().await?;
    let mut list = Output::of(server, &["connections", "--json"])?;
    let mut rows = Vec::new();
    while let Some(row) = list.next().await? {
        rows.push(row);
        if rows.len() % 1000 == 0 {
            echoes(&mut client).await?;
        }
    }
    assert_eq!(list.ended().await?, (Some(0), String::new()));
    Ok(rows)
}

#[tokio::test]
async fn all_are_listed_once_and_served_meanwhile() -> Result<()> {
    let _machine = alone().await;
    let (echo, audience, size) = hall().await?;
    let mut client = echo.client().await?;
    let is_over = Cell::new(false);
    let visits = Cell::new(0);
    // People come and go all the while.
    let visitors = async {
        while !is_over.get() {
            drop(Raw::websocket(&echo.port.address()).await?);
            visits.set(visits.get() + 1);
        }
        anyhow::Ok(())
    };
    let looks = async {
        let rows = listed_with_words_between(&echo).await?;
        let while_listed = visits.get();
        ensure!(while_listed > 1, "{while_listed} came and went while all were listed");
        let ids: HashSet<_> = rows.iter().filter_map(|row| row["id"].as_u64()).collect();
        assert_eq!(ids.len(), rows.len(), "nobody is listed twice");
        let mut seated = rows.iter().filter(|row| is_seated(row));
        assert!(seated.all(|row| row["state"] == "open" && row["age_ms"].is_u64()));
        assert_eq!(rows.iter().filter(|row| is_seated(row)).count(), size);

        let text = echo.program.run(&["connections", "echo"]).await?.expect_code(0)?.stdout;
        assert_eq!(text.lines().filter(|line| line.contains(" 127.0.9.")).count(), size);

        let mut live = Output::of(&echo, &["status", "-d", "--json", "--interval", "100ms"])?;
        for _ in 0..3 {
            let look = live.next().await?.context("a look")?;
            assert!(
                look["slots"][0]["stats"]["connections"].as_u64() > Some(size as u64),
                "{look}"
            );
        }
        is_over.set(true);
        let later = visits.get() - while_listed;
        ensure!(later > 1, "{later} came and went after all were listed");
        anyhow::Ok(())
    };
    let attack = async { tokio::try_join!(visitors, looks) };
    let exchange = async || echoes(&mut client).await;
    let served = served_throughout(&echo.program, "echo/0", BOUND, exchange, attack);
    Box::pin(served).await?;
    audience.leaves().await
}

/// Waits until the server has so many connections.
async fn holds(server: &Server, count: usize) -> Result<()> {
    let is_so = |status: &lineman_testkit::Status| {
        status.slot("echo/0").is_ok_and(|slot| slot.stats["connections"] == count)
    };
    server.program.until(&format!("{count} connections"), is_so).await.map(drop)
}

fn held(master: &Process, before: u64) -> Result<u64> {
    Ok(master.resident_bytes()?.saturating_sub(before))
}

#[tokio::test]
async fn a_list_is_made_as_it_is_read() -> Result<()> {
    let _machine = alone().await;
    let (echo, audience, size) = hall().await?;
    let master = echo.program.master().await?;
    let before = master.resident_bytes()?;
    let goes = Raw::websocket(&echo.port.address()).await?;
    let gone = goes.local_addr()?.to_string();
    let mut lists = Vec::new();
    for _ in 0..4 {
        let mut list = Output::of(&echo, &["connections", "--json"])?;
        list.next().await?.context("the list has begun")?;
        lists.push(list);
    }

    // Who came last is far down the list: nobody has asked for that part of it.
    drop(goes);
    holds(&echo, size).await?;
    let comes = Raw::websocket(&echo.port.address()).await?;
    let come = comes.local_addr()?.to_string();
    holds(&echo, size + 1).await?;
    let text = echo.program.run(&["connections"]).await?.expect_code(0)?.stdout;
    assert_eq!(text.lines().count(), size + 2, "a header, and everybody");
    let held = held(&master, before)?;
    assert!(held < MASTER_BOUND, "{held} bytes are held for lists that nobody reads");

    let mut list = lists.pop().context("a list")?;
    let mut peers = Vec::new();
    while let Some(row) = list.next().await? {
        peers.push(row["peer"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(list.ended().await?, (Some(0), String::new()));
    // The first line was taken before.
    assert_eq!(peers.len(), size);
    assert!(peers.contains(&come) && !peers.contains(&gone));

    // A stop waits for nobody who does not read.
    audience.leaves().await?;
    holds(&echo, 1).await?;
    echo.program.stop().await?;
    let mut list = lists.pop().context("a list")?;
    while list.next().await?.is_some() {}
    let (left, said) = list.ended().await?;
    assert_eq!((left, said.contains("the list ends here")), (Some(1), true), "{said}");
    Ok(())
}
