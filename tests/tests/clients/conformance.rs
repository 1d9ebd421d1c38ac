//! Autobahn's cases, run by `kosoku` against our server and our client; the results are pinned.
//!
//! `tests/expected/autobahn-*.txt` has a line for each case: its number, how its messages went, how
//! its close went. Any difference fails, a better one too.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lineman::connection::Limits;
use lineman::outgoing::Outgoing;
use lineman::websocket::Deflate;
use lineman_tests::ours::in_a_table;
use lineman_tests::peer::Peer;
use lineman_tests::programs::{Server, echo};
use tokio::sync::oneshot;

/// How long the cases of a test run may take: many times what they do.
const SOME_LIMIT: Duration = Duration::from_mins(5);

/// The same for all cases: the largest of groups 12 and 13 send 250 MB each.
const ALL_LIMIT: Duration = Duration::from_hours(1);

/// Group 9 sends messages of 16 MiB.
const LARGEST_MESSAGE: usize = 16 * 1024 * 1024;

/// Which cases are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selection {
    /// Everything but compression.
    Plain,
    /// A thousand compressed messages each, of up to 32 KiB, in one frame.
    SmallDeflate,
    /// Every case there is, also those that the list of results does not have.
    All,
}

/// A case's number and how it went: `OK OK`.
type Results = BTreeMap<String, String>;

#[tokio::test]
async fn the_server_passes_the_plain_cases() -> Result<()> {
    server_passes(Selection::Plain).await
}

#[tokio::test]
async fn the_server_passes_the_small_deflate_cases() -> Result<()> {
    server_passes(Selection::SmallDeflate).await
}

#[tokio::test]
#[ignore = "takes many minutes: `cargo xtask conformance --all`"]
async fn the_server_passes_all_cases() -> Result<()> {
    server_passes(Selection::All).await
}

async fn server_passes(selection: Selection) -> Result<()> {
    let server = server()?.started().await?;
    let mut autobahn = Peer::python("autobahn.py", &["server", &server.port.ws()])?;
    autobahn.tell(&selection.cases("server")?.join("\n")).await?;
    compare("server", selection, &autobahn.ended(selection.limit()).await?)
}

fn server() -> Result<Server> {
    let server = echo()?.knob("ECHO_MESSAGE_BYTES", LARGEST_MESSAGE.to_string());
    // The suite offers compression in groups 12 and 13 alone. All sizes, so that all are tried.
    Ok(server.knob("ECHO_DEFLATE_FROM", "0"))
}

#[tokio::test]
async fn the_client_passes_the_plain_cases() -> Result<()> {
    client_passes(Selection::Plain).await
}

#[tokio::test]
async fn the_client_passes_the_small_deflate_cases() -> Result<()> {
    client_passes(Selection::SmallDeflate).await
}

#[tokio::test]
#[ignore = "takes many minutes: `cargo xtask conformance --all`"]
async fn the_client_passes_all_cases() -> Result<()> {
    client_passes(Selection::All).await
}

async fn client_passes(selection: Selection) -> Result<()> {
    let mut autobahn = Peer::python("autobahn.py", &["client"])?;
    autobahn.tell_all(&selection.cases("client")?.join("\n")).await?;
    let address = format!("ws://127.0.0.1:{}", autobahn.port().await?);
    in_a_table(client(&address, selection.limit())).await?;
    compare("client", selection, &autobahn.ended(selection.limit()).await?)
}

/// Is the client of every case that the server at `address` has, two at a time.
async fn client(address: &str, limit: Duration) -> Result<()> {
    let count = visit(&format!("{address}/getCaseCount"), limit).await?;
    let count = count.context("no number of cases")?.parse()?;
    let cases = |first: u32| async move {
        for case in (first..=count).step_by(2) {
            let url = format!("{address}/runCase?case={case}&agent=lineman");
            visit(&url, limit).await.with_context(|| format!("at {url}"))?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(cases(1), cases(2))?;
    visit(&format!("{address}/updateReports?agent=lineman"), limit).await?;
    Ok(())
}

/// Connects, echoes until the connection has ended, and returns the last text that came.
async fn visit(url: &str, limit: Duration) -> Result<Option<String>> {
    let last = Rc::new(RefCell::new(None));
    let (ended, end) = oneshot::channel();
    let (kept, ended) = (Rc::clone(&last), RefCell::new(Some(ended)));
    let handle = Outgoing::websocket(url)
        .compression(Deflate::new().min_size(0))
        .limits(limits())
        .on_message(async move |connection, message| {
            kept.replace(message.as_text().map(str::to_owned));
            // A server that has closed its half gets no echo, and needs none.
            drop(connection.send(message));
            Ok(())
        })
        .on_close(async move |_, _| {
            let ended = ended.take().ok_or("it ends twice")?;
            ended.send(()).map_err(|()| "nobody waits for it".into())
        })
        .connect()?;
    let ended = tokio::time::timeout(limit, end).await;
    handle.cancel();
    ended.context("the connection does not end")?.context("nobody says that it ended")?;
    Ok(last.take())
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.websocket.max_message_size = LARGEST_MESSAGE;
    limits.websocket.max_frame_size = LARGEST_MESSAGE;
    limits
}

impl Selection {
    fn has(self, case: &str) -> bool {
        let deflates = case.starts_with("12.") || case.starts_with("13.");
        // The third number says how large and in how many fragments: 1 to 18.
        let size = case.rsplit('.').next().and_then(|size| size.parse::<u32>().ok());
        match self {
            Self::Plain => !deflates,
            Self::SmallDeflate => deflates && size.is_some_and(|size| size <= 8),
            Self::All => true,
        }
    }

    /// Returns the numbers of the cases to run, none for all.
    fn cases(self, side: &str) -> Result<Vec<String>> {
        match self {
            Self::Plain | Self::SmallDeflate => Ok(self.expected(side)?.into_keys().collect()),
            Self::All => Ok(Vec::new()),
        }
    }

    fn expected(self, side: &str) -> Result<Results> {
        let path = expected_file(side);
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        let mut results = results(text.lines());
        results.retain(|case, _| self.has(case));
        ensure!(!results.is_empty(), "{} has no case of these", path.display());
        Ok(results)
    }

    fn limit(self) -> Duration {
        match self {
            Self::Plain | Self::SmallDeflate => SOME_LIMIT,
            Self::All => ALL_LIMIT,
        }
    }
}

fn expected_file(side: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("expected/autobahn-{side}.txt"))
}

/// Reads lines of a case's number, its results, and behind a tab why, which is left out.
fn results<'a>(lines: impl Iterator<Item = &'a str>) -> Results {
    let lines = lines.filter_map(|line| line.split('\t').next()?.split_once(' '));
    lines.map(|(case, result)| (case.to_owned(), result.to_owned())).collect()
}

/// Compares what was printed with what is expected; keeps what was printed for a look at it.
fn compare(side: &str, selection: Selection, printed: &[String]) -> Result<()> {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("autobahn-{side}.txt"));
    std::fs::write(&kept, printed.join("\n") + "\n")?;
    let (expected, actual) =
        (selection.expected(side)?, results(printed.iter().map(String::as_str)));
    let mut differences = String::new();
    for case in expected.keys().chain(actual.keys().filter(|case| !expected.contains_key(*case))) {
        let (expected, actual) = (expected.get(case), actual.get(case));
        if expected != actual {
            let prefix = format!("{case} ");
            let line = printed.iter().find(|line| line.starts_with(&prefix));
            let why = line.and_then(|line| line.split('\t').nth(1)).unwrap_or_default();
            let (expected, actual) = (shown(expected), shown(actual));
            writeln!(differences, "{case}: expected {expected}, is {actual}  {why}")?;
        }
    }
    ensure!(
        differences.is_empty(),
        "Autobahn judges our {side} another way than {} says:\n{differences}all results are in {}",
        expected_file(side).display(),
        kept.display()
    );
    Ok(())
}

fn shown(result: Option<&String>) -> &str {
    result.map_or("nothing", String::as_str)
}

/// What Autobahn judges for nobody: it only tells how they went.
const UNDECIDED: [&str; 3] = ["7.1.6", "7.13.1", "7.13.2"];

/// How many cases there are.
const CASES: usize = 517;

#[test]
fn nothing_less_than_strict_is_expected() -> Result<()> {
    for side in ["server", "client"] {
        let expected = Selection::All.expected(side)?;
        assert_eq!(expected.len(), CASES, "{side}");
        for (case, result) in expected {
            let undecided = UNDECIDED.contains(&&*case);
            let allowed = if undecided { "INFORMATIONAL INFORMATIONAL" } else { "OK OK" };
            assert_eq!(result, allowed, "{side} {case}");
        }
    }
    Ok(())
}
