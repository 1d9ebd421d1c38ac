//! Runs a service in this process, as a worker process would, so that tests can talk to it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use lineman::Table;
use lineman::service::{Context, Running, Service, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long anything may take that a test waits for: above every period of a service, for the tests
/// whose clock is paused.
const LIMIT: Duration = Duration::from_mins(2);

/// A service that runs, with a listener for each that it asked for.
pub(crate) struct Process {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) running: Rc<dyn Running>,
}

impl Process {
    pub(crate) async fn start(service: impl Service) -> Self {
        Self::try_start(service).await.expect("a started service")
    }

    pub(crate) async fn try_start(service: impl Service) -> lineman::Result<Self> {
        Self::start_at("127.0.0.1:0", service).await
    }

    /// Starts a service whose first listener, a gateway's for clients, is at that address.
    pub(crate) async fn start_at(first: &str, service: impl Service) -> lineman::Result<Self> {
        let description = service.description();
        let listeners: Vec<TcpListener> = description
            .listeners
            .iter()
            .enumerate()
            .map(|(place, _)| if place == 0 { first } else { "127.0.0.1:0" })
            .map(|address| TcpListener::bind(address).expect("a free port"))
            .collect();
        let addresses = listeners.iter().map(|l| l.local_addr().expect("bound")).collect();
        let table = Table::new().expect("a poll set");
        let serving = table.clone();
        tokio::task::spawn_local(async move { serving.run().await });
        let (service, name) = (Box::new(service), description.name);
        let listeners = listeners.into_iter().map(Socket::Tcp).collect();
        let predecessor = None;
        let context =
            Context { service: name, index: 0, generation: 1, listeners, table, predecessor };
        let running = service.start(context).await?;
        Ok(Self { addresses, running })
    }

    pub(crate) fn gauges(&self) -> BTreeMap<&'static str, u64> {
        self.running.gauges()
    }

    /// Waits until a gauge has that value.
    pub(crate) async fn reaches(&self, gauge: &str, value: u64) {
        within(async {
            while self.gauges().get(gauge) != Some(&value) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Runs a test as a worker runs: one thread, tasks that need no `Send`.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), test);
}

pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("it takes too long")
}

/// A connection that reads and writes bytes.
pub(crate) struct Peer(pub(crate) TcpStream);

impl Peer {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(within(TcpStream::connect(address)).await.expect("a connection"))
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        within(self.0.write_all(bytes)).await.expect("written");
    }

    pub(crate) async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        within(self.0.read_exact(&mut bytes)).await.expect("bytes");
        bytes
    }

    /// Reads up to and with `end`.
    pub(crate) async fn read_to(&mut self, end: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            bytes.extend(self.read(1).await);
        }
        bytes
    }

    /// Returns whether nothing but the end of the stream comes.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        !matches!(within(self.0.read(&mut byte)).await, Ok(1))
    }
}
