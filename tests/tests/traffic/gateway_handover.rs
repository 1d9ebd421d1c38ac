//! All processes of a cluster are replaced again and again under clients of every kind, over `ws` and `wss`. Each numbers
//! what it says, and what goes to many is numbered, so nothing can be lost, doubled or out of order without a word.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lineman_testkit::Program;
use lineman_tests::alone;
use lineman_tests::certificates::{Authority, Pair};
use lineman_tests::programs::{Server, cluster, part_of_cluster};
use lineman_tests::secure::dial;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::handover::{FAULTS, Speaker, Speech};

const RELOADS: usize = 10;

/// Which client of four is compressed, both ends with their context; two others are over TLS.
const DEFLATED: usize = 1;

/// What a client does while processes are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    Talks,
    /// It only hears what goes to many.
    Idles,
    /// It asks for much and reads it at the end.
    Slow,
    /// Half of a message is on its way whenever processes are replaced.
    MidMessage,
}

/// A client and what it has heard.
struct Member {
    speaker: Speaker,
    habit: Habit,
    id: String,
    in_room: bool,
    /// The numbers heard last of what goes to all, to the room, and to it alone.
    all: u64,
    room: u64,
    own: u64,
    /// Whether the last of what goes to all was heard.
    over: bool,
}

impl Member {
    async fn enter(mut speaker: Speaker, number: usize) -> Result<Self> {
        let habit = match number / 4 % 10 {
            0..4 => Habit::Talks,
            4..7 => Habit::Idles,
            7 => Habit::Slow,
            // A connection within a compressed message cannot move.
            _ if number % 4 == DEFLATED => Habit::Talks,
            _ => Habit::MidMessage,
        };
        let in_room = number.is_multiple_of(3);
        if in_room {
            speaker.say("/join room").await?;
            ensure!(speaker.hear().await? == "/join room");
        }
        speaker.say("/id").await?;
        let id = speaker.hear().await?;
        Ok(Self { speaker, habit, id, in_room, all: 0, room: 0, own: 0, over: false })
    }

    /// Hears one message and checks its number.
    async fn hear(&mut self) -> Result<()> {
        let text = self.speaker.hear().await?;
        let mut words = text.split(' ');
        let last = match words.next() {
            Some("all") => &mut self.all,
            Some("room") => &mut self.room,
            Some("own") => &mut self.own,
            _ => anyhow::bail!("heard {text:.60?}"),
        };
        let number: u64 = words.next().context("a number")?.parse()?;
        ensure!(number == *last + 1, "heard {text:.60?} behind {last}");
        *last = number;
        self.over |= text.starts_with("all") && words.next() == Some("over");
        Ok(())
    }

    async fn hear_own(&mut self, number: u64) -> Result<()> {
        while self.own < number {
            self.hear().await?;
        }
        Ok(())
    }

    async fn stay(mut self, mut reloads: watch::Receiver<usize>, pause: Duration) -> Result<Self> {
        let stayed = self.stay_until_it_is_over(&mut reloads, pause).await;
        stayed.with_context(|| format!("{:?} {} behind {}", self.habit, self.id, self.all))?;
        Ok(self)
    }

    async fn stay_until_it_is_over(
        &mut self,
        reloads: &mut watch::Receiver<usize>,
        pause: Duration,
    ) -> Result<()> {
        let mut said = 0;
        match self.habit {
            Habit::Idles => {}
            Habit::Talks => {
                while *reloads.borrow() < RELOADS {
                    said += 1;
                    self.speaker.say(&format!("/me own {said} of some words")).await?;
                    self.hear_own(said).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Habit::Slow => {
                while said < 20 {
                    said += 1;
                    let text = format!("/me own {said} {}", "z".repeat(20_000));
                    self.speaker.say(&text).await?;
                }
                reloads.wait_for(|&reloads| reloads == RELOADS).await?;
            }
            Habit::MidMessage => {
                while *reloads.borrow_and_update() < RELOADS {
                    said += 1;
                    let bytes = self.speaker.encoded(&format!("/me own {said} in two halves"));
                    let (first, second) = bytes.split_at(bytes.len() / 2);
                    self.speaker.write(first).await?;
                    reloads.changed().await?;
                    self.speaker.write(second).await?;
                    self.hear_own(said).await?;
                }
            }
        }
        self.hear_own(said).await?;
        while !self.over {
            self.hear().await?;
        }
        self.speaker.say("/id").await?;
        let id = self.speaker.hear().await?;
        ensure!(id == self.id, "{id} and not {}", self.id);
        Ok(())
    }
}

/// Two programs: one with a gateway for `ws`, all else of the cluster, and compression; one with a gateway for `wss`.
struct Pairs {
    ws: Server,
    wss: Server,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Pairs {
    async fn started(fault: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new().await?;
        let Pair { certificate, key } = authority.sign("localhost").await?;
        let ws = cluster()?
            .knob("CLUSTER_GATEWAYS", "2")
            .knob("CLUSTER_BUSINESSES", "2")
            .knob("CLUSTER_DEFLATE", "1")
            .knob("CLUSTER_EVENTS", folder.path().join("events"))
            .knob("LINEMAN_TEST_HANDOVER_FAULT", fault)
            .started()
            .await?;
        let register = ws.register.as_ref().context("a register")?;
        let wss = part_of_cluster("gateway", register)?
            .knob("CLUSTER_GATEWAYS", "2")
            .knob("CLUSTER_CERTIFICATE", certificate)
            .knob("CLUSTER_KEY", key)
            .knob("LINEMAN_TEST_HANDOVER_FAULT", fault)
            .started()
            .await?;
        ws.program.until("all to be linked", |s| s.gauge("business", "links") == 8).await?;
        Ok(Self { ws, wss, authority, folder })
    }

    async fn speaker(&self, number: usize) -> Result<Speaker> {
        if number.is_multiple_of(2) {
            let stream = dial(&self.wss.port.address(), &self.authority, &[]).await?;
            return Speaker::begin(stream, Speech::WebSocket).await;
        }
        let stream = TcpStream::connect(self.ws.port.address()).await?;
        stream.set_nodelay(true)?;
        let deflated = number % 4 == DEFLATED;
        Speaker::begin(stream, if deflated { Speech::Deflated } else { Speech::WebSocket }).await
    }

    fn programs(&self) -> [&Program; 2] {
        [&self.ws.program, &self.wss.program]
    }

    async fn pids(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        for program in self.programs() {
            pids.extend(program.status().await?.slots.into_iter().filter_map(|slot| slot.pid));
        }
        Ok(pids)
    }

    /// Replaces every process.
    async fn reload(&self) -> Result<()> {
        let before = self.pids().await?;
        tokio::try_join!(self.ws.program.reload(), self.wss.program.reload())?;
        let after = self.pids().await?;
        ensure!(before.len() == 7 && after.len() == 7, "{before:?} and {after:?}");
        ensure!(after.iter().all(|pid| !before.contains(pid)), "{before:?} and {after:?}");
        Ok(())
    }

    /// Returns how many clients came and went, as the businesses have it.
    fn came_and_went(&self) -> Result<(usize, usize)> {
        let events = fs::read_to_string(self.folder.path().join("events"))?;
        let came = events.lines().filter(|line| line.contains(" connect ")).count();
        Ok((came, events.lines().count() - came))
    }
}

/// Says numbered things to all and to the room until the reloads are over; returns how many, and the client.
async fn announce(
    mut speaker: Speaker,
    reloads: watch::Receiver<usize>,
    pause: Duration,
) -> Result<(u64, Speaker)> {
    let mut said = 0;
    loop {
        said += 1;
        let over = *reloads.borrow() == RELOADS;
        speaker.say(&format!("/group room room {said}")).await?;
        speaker.say(&format!("all {said}{}", if over { " over" } else { "" })).await?;
        while !speaker.hear().await?.starts_with(&format!("all {said}")) {}
        if over {
            return Ok((said, speaker));
        }
        tokio::time::sleep(pause).await;
    }
}

async fn ten_reloads(clients: usize) -> Result<String> {
    let _machine = alone().await;
    let cluster = Pairs::started("").await?;
    let entering = (0..clients).map(async |number| {
        let entered = Member::enter(cluster.speaker(number).await?, number).await;
        entered.with_context(|| format!("client {number}"))
    });
    let members: Vec<Member> = stream::iter(entering).buffer_unordered(16).try_collect().await?;
    let (progress, reloads) = watch::channel(0);
    let share = u64::try_from(clients)?;
    let mut staying = JoinSet::new();
    for member in members {
        staying.spawn(member.stay(reloads.clone(), Duration::from_micros(200 * share)));
    }
    let announcer = cluster.speaker(3).await?;
    let announcing = tokio::spawn(announce(announcer, reloads, Duration::from_micros(500 * share)));
    let begun = Instant::now();
    for round in 1..=RELOADS {
        let reloaded = tokio::select! {
            reloaded = cluster.reload() => reloaded,
            Some(stayed) = staying.join_next() => stayed?.and(Err(anyhow::anyhow!("one left"))),
        };
        reloaded.with_context(|| format!("reload {round}"))?;
        progress.send_replace(round);
    }
    let took = begun.elapsed();
    // None of them leaves before it is counted who has.
    let (said, _announcer) = announcing.await??;
    let mut members = Vec::new();
    while let Some(member) = staying.join_next().await {
        members.push(member??);
    }
    for member in &members {
        ensure!(member.all == said, "{} of {said} to all", member.all);
        ensure!(member.room == if member.in_room { said } else { 0 }, "{} to a room", member.room);
    }
    let own: u64 = members.iter().map(|member| member.own).sum();
    let counts = cluster.came_and_went()?;
    ensure!(counts == (clients + 1, 0), "{counts:?} came and went");
    Ok(format!(
        "{clients} clients, {RELOADS} reloads in {took:?}: {own} answers, {said} messages to all and to a third"
    ))
}

#[tokio::test]
async fn ten_reloads_of_a_whole_cluster_lose_nothing() -> Result<()> {
    ten_reloads(200).await.map(drop)
}

/// The long form.
#[tokio::test]
#[ignore = "half a minute with every core at work"]
async fn ten_reloads_of_a_whole_cluster_lose_nothing_of_2000() -> Result<()> {
    eprintln!("{}", ten_reloads(2000).await?);
    Ok(())
}

#[tokio::test]
async fn a_fault_of_a_gateway_before_the_commit_costs_nothing() -> Result<()> {
    let _machine = alone().await;
    for fault in FAULTS {
        failed_handover(fault).await.with_context(|| format!("with {fault}"))?;
    }
    Ok(())
}

/// Returns what the command says of a fault.
fn named(fault: &str) -> &'static str {
    match fault.split_once(':') {
        Some(("accept" | "took" | "ready", "kill")) => "the old process goes on",
        Some(("accept", "truncate")) => "the other process is gone, within a frame",
        Some((_, "emfile")) => "refuses: this process has no room for more descriptors",
        Some((_, "stop" | "delay")) => "nothing moved for as long as it may",
        Some((_, "truncate")) => "a frame cut off on purpose",
        _ => "a fault on purpose",
    }
}

async fn failed_handover(fault: &str) -> Result<()> {
    let cluster = Pairs::started(fault).await?;
    let mut members = Vec::new();
    for number in 0..4 {
        members.push(Member::enter(cluster.speaker(number).await?, number).await?);
    }
    let before = cluster.pids().await?;
    for program in cluster.programs() {
        let output = program.run(&["reload", "gateway"]).await?.expect_code(1)?;
        output.expect_text("error: the reload failed: gateway/0: ")?.expect_text(named(fault))?;
        for (number, member) in members.iter_mut().enumerate() {
            let next = member.own + 1;
            member.speaker.say(&format!("/me own {next}")).await?;
            member.hear_own(next).await.with_context(|| format!("client {number}"))?;
        }
    }
    ensure!(cluster.pids().await? == before, "the processes are the same");
    for member in &mut members {
        member.speaker.say("/id").await?;
        ensure!(member.speaker.hear().await? == member.id, "another id");
    }
    for number in 0..4 {
        members.push(Member::enter(cluster.speaker(number).await?, number).await?);
    }
    ensure!(cluster.came_and_went()? == (8, 0), "{:?} came and went", cluster.came_and_went()?);
    Ok(())
}
