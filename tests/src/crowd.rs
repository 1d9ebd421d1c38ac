//! A crowd that talks in the rooms of the chat, and the account of who heard what.
//!
//! Each member says the next number when they have heard their last one come back, so there is always
//! one message of each in flight: whatever is replaced or killed meanwhile finds hundreds of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use lineman_testkit::within;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::person::{Person, say};
use crate::programs::Server;

/// How often a member looks whether their own message came back; at the second look without it they
/// take it for lost and go on.
const LOOK: Duration = Duration::from_secs(1);

/// What members do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Silent,
    Talking,
    /// Everyone says a last number; who has heard all last numbers of the room is done.
    Parting,
}

/// People in rooms. Dropping it drops their connections.
#[derive(Debug)]
pub struct Crowd {
    phase: watch::Sender<Phase>,
    members: Vec<Handle>,
}

#[derive(Debug)]
struct Handle {
    /// How many numbers the member has said; `None` before they are in their room.
    said: watch::Receiver<Option<u64>>,
    task: JoinHandle<Result<Account>>,
}

/// What the members of all rooms heard.
#[derive(Debug, Default)]
pub struct Report {
    /// How many numbers were said.
    pub said: u64,
    /// How many times one was heard.
    pub heard: u64,
    /// Numbers that somebody in the room did not hear: room, member, number.
    pub missing: BTreeSet<(usize, usize, u64)>,
    /// Numbers that came twice, in the wrong order, or in the wrong room.
    pub faults: Vec<String>,
}

impl Crowd {
    /// Fills `rooms` rooms with `each` people, who are silent at first.
    ///
    /// # Errors
    /// When somebody does not get in.
    pub async fn gather(server: &Arc<Server>, rooms: usize, each: usize) -> Result<Self> {
        let phase = watch::Sender::new(Phase::Silent);
        let places = (0..rooms).flat_map(|room| (0..each).map(move |number| (room, number)));
        let members = places.map(|(room, number)| {
            let (said, receiver) = watch::channel(None);
            let member = Member::enter(Arc::clone(server), room, number, each, said);
            let phase = phase.subscribe();
            let task = tokio::spawn(async move { member.await?.stay(phase).await });
            Handle { said: receiver, task }
        });
        let mut crowd = Self { members: members.collect(), phase };
        crowd.each_has_said(&vec![0; rooms * each]).await?;
        Ok(crowd)
    }

    /// Has everyone talk from now on.
    pub fn talk(&self) {
        self.phase.send_replace(Phase::Talking);
    }

    /// Waits until everyone has said `count` more numbers.
    ///
    /// # Errors
    /// When somebody's connection has ended, or somebody does not get on.
    pub async fn rounds(&mut self, count: u64) -> Result<()> {
        let now = self.members.iter().map(|member| member.said.borrow().unwrap_or(0));
        let goals: Vec<u64> = now.map(|said| said + count).collect();
        self.each_has_said(&goals).await
    }

    /// Has everyone say their last number, waits until each room has heard them all, and returns what
    /// everyone heard. The connections are closed.
    ///
    /// # Errors
    /// When somebody's connection has ended, or somebody does not hear a last number.
    pub async fn part(self) -> Result<Report> {
        self.phase.send_replace(Phase::Parting);
        let mut report = Report::default();
        for member in self.members {
            report.add(within("everybody's last number to be heard", member.task).await???);
        }
        Ok(report)
    }

    async fn each_has_said(&mut self, goals: &[u64]) -> Result<()> {
        for (member, &goal) in self.members.iter_mut().zip(goals) {
            let reached = member.said.wait_for(|said| said.is_some_and(|said| said >= goal));
            let reached = within("somebody to say their next number", reached).await?.is_ok();
            if !reached {
                // The other end of the channel is gone, and the task can tell why.
                (&mut member.task).await??;
            }
        }
        Ok(())
    }
}

impl Report {
    fn add(&mut self, account: Account) {
        self.said += account.said;
        self.heard += account.heard;
        self.missing.extend(account.missing);
        self.faults.extend(account.faults);
    }
}

/// What one member said and heard.
#[derive(Debug, Default)]
struct Account {
    said: u64,
    heard: u64,
    missing: Vec<(usize, usize, u64)>,
    faults: Vec<String>,
}

struct Member {
    person: Person,
    room: usize,
    number: usize,
    /// The last number heard of each member of the room, and whether it was their very last.
    last: Vec<(u64, bool)>,
    account: Account,
    said: watch::Sender<Option<u64>>,
    looks: Interval,
    /// Ticks of `looks` since the member spoke.
    waited: u32,
}

/// What concerns a member of what the chat sends.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum News {
    Say {
        from_client_name: String,
        content: String,
    },
    #[serde(other)]
    Other,
}

impl Member {
    async fn enter(
        server: Arc<Server>,
        room: usize,
        number: usize,
        each: usize,
        said: watch::Sender<Option<u64>>,
    ) -> Result<Self> {
        let (place, name) = (format!("room-{room}"), format!("{room}:{number}"));
        let person = Person::enter(&server, &place, &name).await;
        let person = person.with_context(|| format!("member {name}"))?;
        said.send_replace(Some(0));
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (last, account) = (vec![(0, false); each], Account::default());
        Ok(Self { person, room, number, last, account, said, looks, waited: 0 })
    }

    async fn stay(mut self, mut phase: watch::Receiver<Phase>) -> Result<Account> {
        let (room, number) = (self.room, self.number);
        let stayed = self.stay_until_the_end(&mut phase).await;
        stayed.with_context(|| format!("member {number} of room {room}"))?;
        Ok(self.account)
    }

    async fn stay_until_the_end(&mut self, phase: &mut watch::Receiver<Phase>) -> Result<()> {
        let mut parted = false;
        loop {
            let now = *phase.borrow_and_update();
            match now {
                Phase::Talking if self.may_speak() => self.speak("").await?,
                Phase::Parting if !parted => {
                    parted = true;
                    self.speak(".").await?;
                }
                Phase::Silent | Phase::Talking | Phase::Parting => {}
            }
            if self.last.iter().all(|(_, parted)| *parted) {
                return Ok(());
            }
            tokio::select! {
                text = self.person.client.text() => self.hear(&text?)?,
                _ = self.looks.tick() => self.waited += 1,
                changed = phase.changed() => changed.context("the crowd was dropped")?,
            }
        }
    }

    fn may_speak(&self) -> bool {
        let came_back = self.last.get(self.number).is_some_and(|last| last.0 == self.account.said);
        came_back || self.waited >= 2
    }

    async fn speak(&mut self, ending: &str) -> Result<()> {
        self.account.said += 1;
        self.waited = 0;
        let content = format!("{}{ending}", self.account.said);
        self.person.client.send_json(&say(&content)).await?;
        self.said.send_replace(Some(self.account.said));
        Ok(())
    }

    fn hear(&mut self, text: &str) -> Result<()> {
        let News::Say { from_client_name, content } = serde_json::from_str(text)? else {
            return Ok(());
        };
        let (room, from) = from_client_name.split_once(':').context("a member's name")?;
        let from: usize = from.parse()?;
        let number: u64 = content.trim_end_matches('.').parse()?;
        let Some(last) = self.last.get_mut(from).filter(|_| room == self.room.to_string()) else {
            self.account.faults.push(format!("room {} heard {from_client_name}", self.room));
            return Ok(());
        };
        self.account.heard += 1;
        if number <= last.0 {
            let fault = format!("{from_client_name} said {number} after {}", last.0);
            self.account.faults.push(fault);
            return Ok(());
        }
        self.account.missing.extend((last.0 + 1..number).map(|gap| (self.room, from, gap)));
        *last = (number, content.ends_with('.'));
        Ok(())
    }
}
