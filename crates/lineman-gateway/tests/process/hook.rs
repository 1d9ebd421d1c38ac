//! A connect hook for tests: says what it was asked, and answers what it is told to, or nothing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, Semaphore};

use crate::process::within;

/// What is shared with its tasks.
struct Shared {
    asked: RefCell<VecDeque<String>>,
    answer: RefCell<Vec<u8>>,
    connections: RefCell<usize>,
    came: Notify,
    /// One permit lets one answer go.
    released: Semaphore,
}

#[derive(Clone)]
pub(crate) struct Hook(Rc<Shared>);

impl Hook {
    fn new(answer: Vec<u8>) -> Self {
        Self(Rc::new(Shared {
            asked: RefCell::default(),
            answer: RefCell::new(answer),
            connections: RefCell::default(),
            came: Notify::new(),
            released: Semaphore::new(Semaphore::MAX_PERMITS / 2),
        }))
    }

    /// Speaks HTTP; returns its URL.
    pub(crate) async fn http(answer: &str) -> (Self, String) {
        let hook = Self::new(answer.as_bytes().to_vec());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("bound");
        let serving = hook.clone();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(serving.clone().serve(stream, b"\r\n\r\n"));
            }
        });
        (hook, format!("http://{address}/connect"))
    }

    /// Speaks FastCGI at a Unix socket; `answer` is what the script prints.
    pub(crate) fn fastcgi(path: &std::path::Path, answer: &[u8]) -> Self {
        let hook = Self::new(Self::records(answer));
        let listener = UnixListener::bind(path).expect("a socket");
        let serving = hook.clone();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // An empty body is the last of a request.
                tokio::task::spawn_local(serving.clone().serve(stream, b"\x01\x05\0\x01\0\0\0\0"));
            }
        });
        hook
    }

    /// Returns an answer of FastCGI.
    pub(crate) fn records(printed: &[u8]) -> Vec<u8> {
        let length = u16::try_from(printed.len()).expect("short").to_be_bytes();
        let head = [1, 6, 0, 1, length[0], length[1], 0, 0];
        let end = b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0";
        [&head, printed, end].concat()
    }

    async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin, end: &[u8]) {
        *self.0.connections.borrow_mut() += 1;
        let mut request = Vec::new();
        while stream.read_buf(&mut request).await.is_ok_and(|count| count > 0) {
            if !request.ends_with(end) {
                continue;
            }
            let asked = String::from_utf8_lossy(&request).into_owned();
            request.clear();
            self.0.asked.borrow_mut().push_back(asked);
            self.0.came.notify_one();
            self.0.released.acquire().await.expect("it is never closed").forget();
            let answer = self.0.answer.borrow().clone();
            if stream.write_all(&answer).await.is_err() || answer.starts_with(b"\x01") {
                return;
            }
        }
    }

    /// Answers nothing until it is released.
    pub(crate) fn hold(&self) {
        self.0.released.forget_permits(usize::MAX);
    }

    pub(crate) fn release(&self) {
        self.0.released.add_permits(1000);
    }

    pub(crate) fn answers(&self, answer: impl Into<Vec<u8>>) {
        self.0.answer.replace(answer.into());
    }

    pub(crate) fn connections(&self) -> usize {
        *self.0.connections.borrow()
    }

    /// Waits for the next question, and returns it.
    pub(crate) async fn question(&self) -> String {
        within(async {
            loop {
                let first = self.0.asked.borrow_mut().pop_front();
                match first {
                    Some(question) => return question,
                    None => self.0.came.notified().await,
                }
            }
        })
        .await
    }
}

/// Returns an answer of HTTP with a body.
pub(crate) fn answer(status: &str, lines: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len())
}
