//! Puts a question about a new client to a server of HTTP or a responder of FastCGI, and returns its answer: bounded
//! in time, size and number. What it means is `verdict`'s.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lineman::connection::Address;
use lineman::websocket::Request;
use lineman_wire::chain;
use lineman_wire::fastcgi::{AnswerDecoder, CgiAnswer, encode_request};
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::hook::{ConnectHook, HookTarget, roots};

/// The most bytes of an answer's body, which becomes a session that is sent with each event.
const BODY: usize = 64 * 1024;

/// The most bytes of the header lines before it, of FastCGI; hyper has a bound of its own.
const CGI_HEAD: usize = 16 * 1024;

/// How long a connection is kept for the next question, and how many: less than servers keep theirs.
const IDLE: (Duration, usize) = (Duration::from_secs(15), 32);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("{0} questions are under way already")]
    Busy(usize),
    #[error("there is no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Broken(String),
    #[error("the body of its answer has more than {BODY} bytes")]
    TooLong,
    #[error("it answers with status {0}")]
    Status(u16),
    #[error("its answer cannot be read: {0}")]
    Body(String),
    #[error("its answer has a header that cannot be sent: {0}")]
    Header(String),
}

/// What is known of a client that asks to connect.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) peer: Address,
    /// `ws` or `wss`.
    pub(crate) scheme: &'static str,
    pub(crate) server_port: u16,
    pub(crate) request: Request,
}

/// Asks; a process has one, and another one after a reload that changed it.
pub(super) struct HookClient {
    settings: ConnectHook,
    way: HookWay,
    /// Of the process: also those that were put by a client before this one.
    under_way: Rc<Cell<usize>>,
}

enum HookWay {
    Http { url: String, client: Box<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>> },
    Fastcgi { address: String, script: String },
}

/// One question under way.
struct HookPlace(Rc<Cell<usize>>);

impl Drop for HookPlace {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl HookClient {
    /// Gets ready to ask.
    ///
    /// # Errors
    /// When the authorities that an `https` URL needs cannot be had.
    pub(super) fn new(settings: ConnectHook, under_way: Rc<Cell<usize>>) -> std::io::Result<Self> {
        let way = match settings.target.clone() {
            HookTarget::Http { url } => {
                let authorities = settings.authorities.as_deref();
                let client = client(url.starts_with("https:"), authorities, settings.timeout)?;
                let client = Box::new(client);
                HookWay::Http { url, client }
            }
            HookTarget::Fastcgi { address, script } => HookWay::Fastcgi { address, script },
        };
        Ok(Self { settings, way, under_way })
    }

    /// Asks one question.
    pub(super) async fn ask(&self, question: &Question) -> Result<CgiAnswer, NoAnswer> {
        let ConnectHook { timeout, questions, .. } = self.settings;
        if self.under_way.get() >= questions {
            return Err(NoAnswer::Busy(questions));
        }
        self.under_way.set(self.under_way.get() + 1);
        let _place = HookPlace(Rc::clone(&self.under_way));
        let asked = async {
            match &self.way {
                HookWay::Http { url, client } => self.ask_http(url, client, question).await,
                HookWay::Fastcgi { address, script } => {
                    let mut request = BytesMut::new();
                    let pairs = self.cgi_variables(script, question);
                    let pairs = pairs.iter().map(|(name, value)| (&**name, &value[..]));
                    encode_request(pairs, &mut request);
                    ask_fastcgi(address, &request).await
                }
            }
        };
        let answered = tokio::time::timeout(timeout, asked).await;
        answered.unwrap_or(Err(NoAnswer::Timeout(timeout)))
    }

    /// Returns the header lines of the client's request that are passed on.
    fn passed<'a>(&'a self, request: &'a Request) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let passed = &self.settings.passed;
        request
            .headers()
            .filter(|(name, _)| passed.iter().any(|other| other.eq_ignore_ascii_case(name)))
    }

    async fn ask_http(
        &self,
        url: &str,
        client: &Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
        question: &Question,
    ) -> Result<CgiAnswer, NoAnswer> {
        let Question { peer, scheme, request, .. } = question;
        let query = query(request).map_or_else(String::new, |query| format!("?{}", escaped(query)));
        let asked = http::Request::get(format!("{url}{query}")).body(Empty::new());
        let mut asked = asked.map_err(|error| NoAnswer::Broken(error.to_string()))?;
        let address = peer.ip().map(|ip| ip.to_string()).unwrap_or_default();
        let host = request.header("host").unwrap_or_default();
        let own = self.settings.headers.iter().map(|(name, value)| (&**name, value.as_bytes()));
        let told = [
            ("x-forwarded-for", address.as_bytes()),
            ("x-forwarded-method", request.method().as_bytes()),
            ("x-forwarded-proto", scheme.as_bytes()),
            ("x-forwarded-host", host.as_bytes()),
            ("x-forwarded-uri", request.target().as_bytes()),
        ];
        let told = told.into_iter().filter(|(_, value)| !value.is_empty());
        for (name, value) in self.passed(request).chain(own).chain(told) {
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                asked.headers_mut().append(name, value);
            }
        }
        let answer = client.request(asked).await;
        let (head, body) = answer.map_err(|error| NoAnswer::Broken(chain(&error)))?.into_parts();
        let body = match Limited::new(body, BODY).collect().await {
            Ok(body) => body.to_bytes(),
            // The status says enough.
            Err(error) if error.is::<LengthLimitError>() && !head.status.is_success() => {
                Bytes::new()
            }
            Err(error) if error.is::<LengthLimitError>() => return Err(NoAnswer::TooLong),
            Err(error) => return Err(NoAnswer::Broken(chain(&*error))),
        };
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        Ok(CgiAnswer { status: head.status.as_u16(), headers: headers.collect(), body })
    }

    /// Returns what a script sees of the request (RFC 3875, 4.1).
    fn cgi_variables(&self, script: &str, question: &Question) -> Vec<(String, Vec<u8>)> {
        let Question { peer, scheme, server_port, request } = question;
        let name = script.rsplit('/').next().unwrap_or_default();
        let host = request.header("host").unwrap_or_default();
        let is_secure = *scheme == "wss";
        let mut variables: Vec<(String, Vec<u8>)> = [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_SOFTWARE", "lineman"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REQUEST_METHOD", request.method()),
            ("REQUEST_SCHEME", if is_secure { "https" } else { "http" }),
            ("REQUEST_URI", request.target()),
            ("QUERY_STRING", query(request).unwrap_or_default()),
            ("SCRIPT_FILENAME", script),
            ("SCRIPT_NAME", &format!("/{name}")),
            ("REMOTE_ADDR", &peer.ip().map(|ip| ip.to_string()).unwrap_or_default()),
            ("REMOTE_PORT", &peer.port().unwrap_or_default().to_string()),
            ("SERVER_NAME", host.rsplit_once(':').map_or(host, |(name, _)| name)),
            ("SERVER_PORT", &server_port.to_string()),
            ("HTTP_HOST", host),
            // Without it, a php-cgi that is built so runs nothing.
            ("REDIRECT_STATUS", "200"),
        ]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .to_vec();
        if is_secure {
            variables.push(("HTTPS".to_owned(), b"on".to_vec()));
        }
        let own = self.settings.headers.iter().map(|(name, value)| (&**name, value.as_bytes()));
        for (name, value) in self.passed(request).chain(own) {
            let name = format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_"));
            match variables.iter_mut().find(|(other, _)| *other == name) {
                Some((_, before)) => *before = [&before[..], b", ", value].concat(),
                None => variables.push((name, value.to_vec())),
            }
        }
        variables
    }
}

fn client(
    is_secure: bool,
    authorities: Option<&Path>,
    timeout: Duration,
) -> std::io::Result<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(timeout));
    let builder = HttpsConnectorBuilder::new();
    let trusting = |roots| {
        let tls = rustls::ClientConfig::builder_with_provider(default_provider().into());
        let tls = tls.with_safe_default_protocol_versions().map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(tls.with_root_certificates(roots).with_no_client_auth())
    };
    let builder = match authorities {
        Some(file) => {
            let roots = roots(file).map_err(std::io::Error::other)?;
            builder.with_tls_config(trusting(roots)?).https_only()
        }
        None if is_secure => {
            builder.with_provider_and_native_roots(default_provider())?.https_only()
        }
        None => builder.with_tls_config(trusting(RootCertStore::empty())?).https_or_http(),
    };
    let connector = builder.enable_http1().wrap_connector(connector);
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE.0)
        .pool_max_idle_per_host(IDLE.1)
        .build(connector);
    Ok(client)
}

async fn ask_fastcgi(address: &str, request: &[u8]) -> Result<CgiAnswer, NoAnswer> {
    let broken = |error: std::io::Error| NoAnswer::Broken(format!("{address}: {error}"));
    if let Some(path) = address.strip_prefix("unix:") {
        let stream = UnixStream::connect(path).await.map_err(broken)?;
        return exchange(stream, address, request).await;
    }
    let stream = TcpStream::connect(address).await.map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    exchange(stream, address, request).await
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    address: &str,
    request: &[u8],
) -> Result<CgiAnswer, NoAnswer> {
    let broken = |problem: String| NoAnswer::Broken(format!("{address}: {problem}"));
    stream.write_all(request).await.map_err(|error| broken(error.to_string()))?;
    let (mut decoder, mut input) = (AnswerDecoder::new(CGI_HEAD + BODY), BytesMut::new());
    loop {
        let step = decoder.decode(&mut input);
        if !matches!(step, Ok(None)) && !decoder.log().is_empty() {
            tracing::debug!(address, log = %decoder.log(), "the connect hook's log");
        }
        match step {
            Ok(Some(answer)) if answer.body.len() > BODY => return Err(NoAnswer::TooLong),
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(error) => return Err(broken(error.to_string())),
        }
        let read = stream.read_buf(&mut input).await.map_err(|error| broken(error.to_string()))?;
        if read == 0 {
            return Err(broken("it closed the connection before its answer was whole".to_owned()));
        }
    }
}

/// Returns the query as PHP has it: up to a `#`.
fn query(request: &Request) -> Option<&str> {
    request.query().map(|query| query.split('#').next().unwrap_or_default())
}

/// Escapes what may not stand in a URL; an escape stays what it is.
fn escaped(query: &str) -> String {
    let one = |byte| match byte {
        b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => format!("%{byte:02X}"),
        0x21..=0x7e => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    query.bytes().map(one).collect()
}
