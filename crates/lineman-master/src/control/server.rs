//! The master's end of the command line's socket: takes one request from each caller and writes its
//! answers. It decides nothing: requests go to the master's loop.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::JoinSet;

use super::ExitCode;
use super::answers::{Answers, Receiver};
use super::request::{Answer, Request};
use crate::Error;

/// The longest request, in bytes: all known ones are below 200.
pub(crate) const REQUEST_LIMIT: u64 = 4096;

/// How long a caller may take to ask: the command line does so at once.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// How long a caller may leave an answer unread before it is dropped.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// As [`READ_LIMIT`], for a slice of a list: a person may read it page by page, and all that waits for
/// them is this slice and the next.
const PAGE_LIMIT: Duration = Duration::from_mins(10);

/// How long the last answers may take when the program ends: a caller that reads has them at once.
const PARTING_LIMIT: Duration = Duration::from_secs(1);

/// How many callers are served at a time; the next ones wait in the backlog. Far more than may wait
/// for long, so that there is always a place for a question.
const CALLERS: usize = 128;

/// How many may wait for a reload, and how many for a stop. These wait as long as that takes.
const WAITING: usize = 32;

/// One caller's request, and where its answers go.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) answers: Answers,
}

/// Listens at `path`, for this user alone.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, Error> {
    let failed =
        |action| move |source: io::Error| Error::File { action, path: path.to_path_buf(), source };
    // The lock is ours, so a socket that is there was left behind.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove")(error));
        }
        _ => {}
    }
    // The folder is 0700, so no other user gets in between these two calls.
    let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed("protect"))?;
    Ok(listener)
}

/// Takes callers until `stop` resolves, then waits until every caller that reads has been answered. A
/// listener that comes from `successors` takes the place of the one before it.
pub(crate) async fn serve<Event: From<Asked> + Send + 'static>(
    mut listener: UnixListener,
    mut successors: mpsc::Receiver<UnixListener>,
    events: mpsc::Sender<Event>,
    stop: impl Future<Output = ()>,
) {
    let mut callers = JoinSet::new();
    let places = Arc::new(Places::new());
    let mut failing = false;
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(successor) = successors.recv() => listener = successor,
            accepted = listener.accept(), if callers.len() < CALLERS => match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    callers.spawn(answer(stream, events.clone(), Arc::clone(&places)));
                }
                Err(error) => {
                    // Once, not for each attempt.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "cannot accept a command, resting");
                    }
                    // Out of descriptors, most likely: trying at once would only spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = callers.join_next() => {}
        }
    }
    drop(listener);
    let parting = async { while callers.join_next().await.is_some() {} };
    if tokio::time::timeout(PARTING_LIMIT, parting).await.is_err() {
        tracing::debug!("a command does not read its answer, and is left");
    }
}

/// Places for callers that wait for long.
struct Places {
    reloads: Semaphore,
    stops: Semaphore,
}

impl Places {
    fn new() -> Self {
        Self { reloads: Semaphore::new(WAITING), stops: Semaphore::new(WAITING) }
    }

    /// Takes a place for as long as `request` is waited for, if it takes one. Without one it says what
    /// to tell the caller.
    fn take(&self, request: &Request) -> Result<Option<SemaphorePermit<'_>>, String> {
        let (places, refused) = match request {
            Request::Reload { .. } => (
                &self.reloads,
                format!("not reloaded: {WAITING} callers wait for a reload already"),
            ),
            Request::Stop { .. } => {
                let text = format!("it stops, but {WAITING} callers wait for its end already");
                (&self.stops, text)
            }
            Request::Status
            | Request::Health { .. }
            | Request::Connections { .. }
            | Request::Upgrade
            | Request::Upgraded => return Ok(None),
        };
        places.try_acquire().map(Some).map_err(|_| refused)
    }
}

async fn answer<Event: From<Asked>>(
    stream: UnixStream,
    events: mpsc::Sender<Event>,
    places: Arc<Places>,
) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(REQUEST_LIMIT));
    let request = match tokio::time::timeout(ASK_LIMIT, read(&mut reader)).await {
        Ok(Ok(request)) => request,
        Ok(Err(error)) => {
            let text = format!("the master does not understand the request: {error}");
            return refuse(&mut writer, ExitCode::Usage, text).await;
        }
        Err(_) => return,
    };
    tracing::debug!(?request, "a command asks");
    let place = places.take(&request);
    let (answers, mut receiver) = Answers::channel();
    // A stop is never refused; it is only that this caller cannot wait for its end.
    if (place.is_ok() || matches!(request, Request::Stop { .. }))
        && events.send(Asked { request, answers }.into()).await.is_err()
    {
        return;
    }
    let place = match place {
        Ok(place) => place,
        Err(text) => return refuse(&mut writer, ExitCode::Failed, text).await,
    };
    let mut rest = tokio::io::sink();
    tokio::select! {
        () = pass_on(&mut receiver, &mut writer) => {}
        // A caller that hangs up keeps no place; what it asked for goes on.
        _ = tokio::io::copy(&mut reader, &mut rest) => tracing::debug!("a command hung up"),
    }
    drop(place);
}

async fn refuse(writer: &mut OwnedWriteHalf, code: ExitCode, text: String) {
    let done = Answer::Done { code, text };
    let written = tokio::time::timeout(READ_LIMIT, write(writer, &done)).await;
    let answered = matches!(written, Ok(Ok(())));
    tracing::debug!(answered, "a command was refused");
}

async fn pass_on(receiver: &mut Receiver, writer: &mut OwnedWriteHalf) {
    while let Some(answer) = receiver.recv().await {
        let limit = if matches!(answer, Answer::Rows { .. }) { PAGE_LIMIT } else { READ_LIMIT };
        let written = tokio::time::timeout(limit, write(writer, &answer)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::debug!("a command went away before its answer");
            return;
        }
        if matches!(answer, Answer::Done { .. }) {
            return;
        }
    }
}

/// Reads the one request of a caller.
pub(crate) async fn read(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    Ok(serde_json::from_str(&line)?)
}

async fn write(writer: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Answer {
        Answer::Note { text: text.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_read_does_not_hold_up_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (asked, mut requests) = mpsc::channel(1);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stopped = async move { stopped.await.unwrap_or_default() };
        let (_successors, none) = mpsc::channel(1);
        let server = tokio::spawn(serve::<Asked>(listen(&path).unwrap(), none, asked, stopped));

        let mut caller = UnixStream::connect(&path).await.unwrap();
        caller.write_all(b"{\"request\":\"connections\"}\n").await.unwrap();
        let Asked { answers, .. } = requests.recv().await.unwrap();
        // More than the kernel holds, so the second one waits for good.
        let long = "x".repeat(8 << 20);
        assert!(answers.give_patiently(note(&long)).await);
        assert!(answers.give_patiently(note(&long)).await);
        drop(stop);
        let began = tokio::time::Instant::now();
        server.await.unwrap();
        assert!(began.elapsed() < READ_LIMIT, "{:?}", began.elapsed());
        drop(caller);
    }
}
