//! The table on real sockets of the loopback: one runtime holds the server and its clients.

mod bounds;
mod budget;
mod relief;
mod census;
mod datagrams;
mod faults;
mod features;
mod handle;
mod handover;
mod limits;
mod moves;
mod negotiation;
mod offered_tls;
mod order;
mod pairs;
mod proxies;
mod record;
mod tls;
mod websockets;

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lineman_wire::text::Text;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::*;

/// As long as any wait in a test may take; nothing waits that long unless it is broken.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Runs a test with a table in it.
fn with_table<F: Future<Output = ()>>(test: impl FnOnce(Table) -> F) {
    run(&mut Builder::new_current_thread(), async |table| {
        tokio::time::timeout(LONGEST_WAIT, test(table)).await.expect("the test does not hang");
    });
}

/// As [`with_table`], with the clock paused: it leaps to the next deadline when nobody has anything to
/// do. Bytes on the loopback are there at once, so it never leaps over them.
fn with_table_and_paused_clock<F: Future<Output = ()>>(test: impl FnOnce(Table) -> F) {
    run(Builder::new_current_thread().start_paused(true), test);
}

/// Waits until the table has nothing to do: the paused clock goes on only then.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn run<F: Future<Output = ()>>(builder: &mut Builder, test: impl FnOnce(Table) -> F) {
    let runtime = builder.enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let table = Table::new().expect("a table");
        let served = table.clone();
        tokio::task::spawn_local(async move { served.run().await });
        test(table).await;
    });
}

/// Serves on a free port.
fn serve<D: Driver>(table: &Table, serve: Serve<D>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    table.listen(listener, serve).expect("a place in the table");
    address
}

/// A list that handlers append to and tests look at.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>, Rc<tokio::sync::Notify>);

impl Log {
    fn add(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
        self.1.notify_one();
    }

    fn lines(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    /// Waits until a line begins with `start`.
    async fn until(&self, start: &str) -> String {
        loop {
            let found = self.0.borrow().iter().find(|line| line.starts_with(start)).cloned();
            match found {
                Some(line) => return line,
                None => self.1.notified().await,
            }
        }
    }
}

/// Returns handlers that echo lines, and log what ended a connection.
fn echoing(log: &Log) -> Handlers<Text> {
    let closed = log.clone();
    Handlers {
        message: Some(messages(async |connection: Connection<Text>, line: String| {
            connection.send(line)
        })),
        close: Some(boxed_with(async move |_: Connection<Text>, reason: CloseReason| {
            closed.add(reason.to_string());
            Ok(())
        })),
        ..Handlers::default()
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("connected");
    // A paused clock leaps over the time that Nagle's algorithm waits for an acknowledgement.
    stream.set_nodelay(true).expect("an option");
    stream
}

async fn say(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).await.expect("written");
}

/// Reads exactly what is expected.
async fn hear(stream: &mut TcpStream, expected: impl AsRef<[u8]>) {
    let mut got = vec![0; expected.as_ref().len()];
    stream.read_exact(&mut got).await.expect("enough bytes");
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected.as_ref()));
}

/// Reads until the other side ends.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.expect("an orderly end");
    got
}
