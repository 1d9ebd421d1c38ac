//! Users who want an answer five times a second, and write down when they got one. They begin on a machine, and try the next
//! one when their connection ends.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lineman_testkit::Client;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

/// From an answer to the next question.
const PACE: Duration = Duration::from_millis(200);

/// How long a user waits for a connection, and to try again.
const CONNECT: Duration = Duration::from_secs(2);

/// After so long without an answer a user tries another machine, if that is their habit.
const HOPE: Duration = Duration::from_secs(5);

/// A pause that is worth a row: slower answers than this are the computer's.
pub(crate) const NOTICED: Duration = Duration::from_secs(1);

/// What a user does when no answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Asks again, on the same connection.
    Stays,
    /// Goes to the next machine after 5 s.
    Reconnects,
}

/// What a user has noticed.
#[derive(Debug, Default)]
pub(crate) struct Diary {
    answers: Vec<Instant>,
    pub(crate) connections: usize,
    /// The client id of the connection that is open.
    pub(crate) id: Option<String>,
}

/// A user who has a task of their own.
#[derive(Debug)]
pub(crate) struct User {
    /// The number of the machine they began on.
    pub(crate) home: u8,
    pub(crate) habit: Habit,
    diary: Rc<RefCell<Diary>>,
    task: JoinHandle<()>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Users {
    pub(crate) all: Vec<User>,
    over: watch::Sender<bool>,
}

impl Users {
    /// Has so many users come to each machine; `habit` chooses for the machine's number and the user's. Returns when each has been answered.
    pub(crate) async fn at(
        gateways: &[SocketAddr],
        each: usize,
        habit: impl Fn(u8, usize) -> Habit,
    ) -> Result<Self> {
        let over = watch::Sender::new(false);
        let homes = (1..).zip(0..gateways.len());
        let all =
            homes.flat_map(|(home, index)| (0..each).map(move |number| (home, index, number)));
        let all = all.map(|(home, index, number)| {
            let (habit, diary) = (habit(home, number), Rc::default());
            let life = live(gateways.to_vec(), index, habit, Rc::clone(&diary), over.subscribe());
            User { home, habit, diary, task: spawn_local(life) }
        });
        let users = Self { all: all.collect(), over };
        let served = async {
            while users.all.iter().any(|user| user.diary.borrow().answers.is_empty()) {
                sleep(PACE).await;
            }
        };
        timeout(Duration::from_mins(1), served).await.context("not all users are served")?;
        Ok(users)
    }

    /// Returns the ids of the clients that are connected now.
    pub(crate) fn connected(&self) -> BTreeSet<String> {
        self.all.iter().filter_map(|user| user.diary.borrow().id.clone()).collect()
    }

    /// Returns how many connections they have made.
    pub(crate) fn connections(&self) -> usize {
        self.all.iter().map(|user| user.diary.borrow().connections).sum()
    }

    /// Has all leave.
    pub(crate) async fn leave(&mut self) -> Result<()> {
        self.over.send_replace(true);
        for user in &mut self.all {
            (&mut user.task).await?;
        }
        Ok(())
    }
}

impl User {
    /// Returns the longest time without an answer since `begin`, if it was worth noticing, and how it ended:
    /// with an answer, or not up to `end`.
    pub(crate) fn pause(&self, begin: Instant, end: Instant) -> Option<Pause> {
        let diary = self.diary.borrow();
        let since =
            diary.answers.iter().copied().filter(|answer| *answer > begin && *answer <= end);
        let before = diary.answers.iter().copied().rfind(|answer| *answer <= begin);
        let times: Vec<Instant> = before.into_iter().chain(since).collect();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        let last = times.last().map_or(end - begin, |last| end - *last);
        if last > longest && last > NOTICED {
            return Some(Pause { time: last, ended: false });
        }
        (longest > NOTICED).then_some(Pause { time: longest, ended: true })
    }

    pub(crate) fn reconnects(&self) -> usize {
        self.diary.borrow().connections.saturating_sub(1)
    }
}

/// A time without service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pause {
    pub(crate) time: Duration,
    pub(crate) ended: bool,
}

async fn live(
    gateways: Vec<SocketAddr>,
    home: usize,
    habit: Habit,
    diary: Rc<RefCell<Diary>>,
    mut over: watch::Receiver<bool>,
) {
    let mut at = home;
    loop {
        tokio::select! {
            ended = visit(gateways[at], habit, &diary) => drop(ended),
            _ = over.wait_for(|over| *over) => {
                diary.borrow_mut().id = None;
                return;
            }
        }
        diary.borrow_mut().id = None;
        at = (at + 1) % gateways.len();
        tokio::select! {
            () = sleep(PACE) => {}
            _ = over.wait_for(|over| *over) => return,
        }
    }
}

/// Connects and asks until the connection ends, or the user has no more hope in it.
async fn visit(gateway: SocketAddr, habit: Habit, diary: &RefCell<Diary>) -> Result<()> {
    let url = format!("ws://{gateway}/");
    let mut client = timeout(CONNECT, Client::connect(&url)).await??;
    diary.borrow_mut().connections += 1;
    let id = asked(&mut client, "/id", habit).await?;
    diary.borrow_mut().id = id.strip_prefix("/id ").map(str::to_owned);
    loop {
        diary.borrow_mut().answers.push(Instant::now());
        sleep(PACE).await;
        asked(&mut client, "/me still there?", habit).await?;
    }
}

/// Asks, and returns what comes next. A question that a machine had when it died is lost, so one that is not answered is
/// asked again each second.
async fn asked(client: &mut Client, question: &str, habit: Habit) -> Result<String> {
    let begun = Instant::now();
    loop {
        client.send_text(question).await?;
        if let Ok(answer) = timeout(NOTICED, client.text()).await {
            return answer;
        }
        ensure!(habit == Habit::Stays || begun.elapsed() < HOPE, "no answer");
    }
}
