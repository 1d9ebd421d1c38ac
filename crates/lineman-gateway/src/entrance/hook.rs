//! The connect hook as it is set: what is asked about a new client, for how long, and what happens without an
//! answer. `asking` does it, `verdict` reads the answer.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use http::header::{HeaderName, HeaderValue};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// How long an answer may take by default: half of what a handshake has.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How many questions of a process are under way at most by default: what a pool of php-fpm is a few times over,
/// and no flood for a server of HTTP.
const QUESTIONS: usize = 256;

/// The headers of a client that are passed on by default: who it is, and where it comes from.
const PASSED: [&str; 6] = [
    "authorization",
    "cookie",
    "origin",
    "user-agent",
    "accept-language",
    "sec-websocket-protocol",
];

/// What concerns one connection (RFC 9110, 7.6.1), or what the question says itself; `Proxy` would set the proxy
/// of a CGI program.
const NEVER_PASSED: [&str; 17] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "sec-websocket-key",
];

/// What happens to a client about which the hook gives no answer: it fails, is too slow or too busy, or says what
/// cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HookFailure {
    /// It is refused with 503. The default: what the hook would have refused stays outside.
    #[default]
    Refuse,
    /// It is accepted with nothing bound. For hooks that only add something.
    Accept,
}

/// A program that is asked about each client before it is accepted, and may refuse it, bind a uid, join groups and
/// set the session. No code of yours runs in the gateway.
///
/// The question is a `GET` with the client's query and some of its headers, cookies among them
/// ([`ConnectHook::pass_headers`]). The answer:
///
/// | answer | the client |
/// |---|---|
/// | 200 to 299 without a body | is accepted |
/// | 200 to 299 with a body of JSON, `{"uid":"42","groups":["room"],"session":{"name":"Ada"},"headers":{"X-A":"b"}}` | is accepted; each key may be left out. The uid, the groups and the session are in force before `on_connect`, the headers are added to the 101 |
/// | 400 to 499 | is refused with this status and the answer's text |
/// | 300 to 399 | is refused with 403: no redirect is followed |
/// | anything else, or none in time | [`ConnectHook::on_failure`] |
///
/// `Set-Cookie` lines of an answer pass to the client. A body has 64 KiB at most. A client that leaves meanwhile is
/// let go at once; its question keeps its place until it is answered.
///
/// ```no_run
/// use lineman_gateway::{ConnectHook, Gateway, HookFailure};
/// use std::time::Duration;
///
/// fn main() -> lineman::Result {
///     let hook = ConnectHook::fastcgi("unix:/run/php/php-fpm.sock", "/srv/app/connect.php")
///         .timeout(Duration::from_secs(2))
///         .on_failure(HookFailure::Refuse);
///     Gateway::websocket("0.0.0.0:7272").connect_hook(hook).run()
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectHook {
    pub(super) target: HookTarget,
    pub(super) authorities: Option<PathBuf>,
    pub(super) timeout: Duration,
    pub(super) questions: usize,
    pub(super) failure: HookFailure,
    pub(super) passed: Vec<String>,
    pub(super) headers: Vec<(String, String)>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HookTarget {
    Http { url: String },
    Fastcgi { address: String, script: String },
}

impl ConnectHook {
    /// Asks a server of HTTP at a URL, `http://host:port/path` or `https://…`, whose certificate one of the
    /// machine's authorities has to vouch for, or of [`ConnectHook::authorities`]. The client's query follows it, so it has none of its own.
    ///
    /// The client's own request is told in headers: `X-Forwarded-For` (its address), `-Method`, `-Proto` (`ws`, or
    /// `wss` with TLS), `-Host` and `-Uri` (path and query as they came). Connections are kept for the next question.
    pub fn http(url: impl Into<String>) -> Self {
        Self::new(HookTarget::Http { url: url.into() })
    }

    /// Asks a responder of FastCGI such as php-fpm, at `host:port` or `unix:/path`, to run `script`, a path on its
    /// machine.
    ///
    /// The script sees the request as a server of HTTP would show it: `$_GET`, `$_COOKIE`, `$_SERVER` with
    /// `REMOTE_ADDR`, `REQUEST_URI`, `HTTP_ORIGIN` and so on. Each question has a connection of its own, for one that
    /// is kept holds a process of php-fpm.
    pub fn fastcgi(address: impl Into<String>, script: impl Into<String>) -> Self {
        Self::new(HookTarget::Fastcgi { address: address.into(), script: script.into() })
    }

    fn new(target: HookTarget) -> Self {
        Self {
            target,
            authorities: None,
            timeout: TIMEOUT,
            questions: QUESTIONS,
            failure: HookFailure::default(),
            passed: PASSED.map(str::to_owned).to_vec(),
            headers: Vec::new(),
        }
    }

    /// Sets the authorities, a file in PEM, one of which has to vouch for the certificate of an `https` URL, in the
    /// place of the machine's: for a hook within a company, say. Default: the machine's.
    #[must_use]
    pub fn authorities(mut self, file: impl Into<PathBuf>) -> Self {
        self.authorities = Some(file.into());
        self
    }

    /// Sets how long an answer may take, connecting included. Default 5 s. It is less than what a handshake has
    /// ([`Limits::handshake_time`](lineman::connection::Limits::handshake_time), 10 s).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how many questions of a process may be under way; beyond it there is no answer. Default 256, at least
    /// 1.
    #[must_use]
    pub fn questions(mut self, bound: usize) -> Self {
        self.questions = bound.max(1);
        self
    }

    /// Sets what happens without an answer. Default [`HookFailure::Refuse`].
    #[must_use]
    pub fn on_failure(mut self, policy: HookFailure) -> Self {
        self.failure = policy;
        self
    }

    /// Sets which headers of the client are passed on, in place of `Authorization`, `Cookie`, `Origin`,
    /// `User-Agent`, `Accept-Language` and `Sec-WebSocket-Protocol`. What concerns a connection alone, as `Upgrade`,
    /// and what the question says itself, as `Host` and `X-Forwarded-…`, is refused at the start.
    #[must_use]
    pub fn pass_headers<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.passed = names.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a header to every question, such as a key by which the hook knows the gateway.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Returns what in it cannot work, where a handshake has this much time.
    pub(super) fn problem(&self, handshake_time: Duration) -> Option<String> {
        if self.timeout.is_zero() {
            return Some("an answer needs time: set a timeout above zero".to_owned());
        }
        if !handshake_time.is_zero() && self.timeout >= handshake_time {
            return Some(format!(
                "an answer may take {:?}, but a whole handshake has {handshake_time:?} (hint: a shorter \
                 `timeout`, or more `Limits::handshake_time`)",
                self.timeout
            ));
        }
        let mut added = self.headers.iter();
        let wrong =
            added.find(|(name, value)| !is_sendable(name) || HeaderValue::from_str(value).is_err());
        if let Some((name, _)) = wrong {
            return Some(format!("the header {name:?} cannot be sent with a question"));
        }
        if let Some(name) = self.passed.iter().find(|name| !is_sendable(name)) {
            return Some(format!("the header {name:?} cannot be passed on"));
        }
        self.target.problem().or_else(|| roots(self.authorities.as_deref()?).err())
    }
}

/// Reads authorities; says what is wrong with the file.
pub(super) fn roots(file: &Path) -> Result<RootCertStore, String> {
    let shown = file.display();
    let failed = |error: &dyn Display| format!("cannot use the authorities in {shown}: {error}");
    let found =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut roots = RootCertStore::empty();
    for certificate in found.map_err(|error| failed(&error))? {
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    if roots.is_empty() { Err(failed(&"there is no certificate")) } else { Ok(roots) }
}

/// Returns whether a header can stand in a question beside what it says itself.
fn is_sendable(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    HeaderName::from_bytes(name.as_bytes()).is_ok()
        && !NEVER_PASSED.contains(&&*lower)
        && !lower.starts_with("x-forwarded-")
}

impl HookTarget {
    fn problem(&self) -> Option<String> {
        match self {
            Self::Http { url } => {
                let problem = url_problem(url)?;
                Some(format!("{problem}: http://host:port/path or https://host/path is wanted"))
            }
            Self::Fastcgi { address, script } => {
                if !script.starts_with('/') {
                    return Some(format!(
                        "the script {script:?} needs a path that begins with `/`"
                    ));
                }
                let is_place = match (address.strip_prefix("unix:"), address.rsplit_once(':')) {
                    (Some(path), _) => !path.is_empty(),
                    (None, Some((host, port))) => {
                        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
                    }
                    (None, None) => false,
                };
                let form = "write it as host:port or unix:/path";
                (!is_place).then(|| format!("the address {address:?} is none: {form}"))
            }
        }
    }
}

/// The URL may have a password, which is not shown.
fn url_problem(url: &str) -> Option<&'static str> {
    let Ok(uri) = url.parse::<Uri>() else { return Some("the hook's URL cannot be read") };
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.is_empty() {
        Some("the hook's URL has no scheme of HTTP, or no host")
    } else if authority.contains('@') {
        Some("user and password have no place in the hook's URL (hint: a header Authorization)")
    } else if uri.query().is_some() || url.contains('#') {
        Some("the hook's URL has a query or a fragment, where the client's query goes")
    } else {
        None
    }
}

/// Its headers may be secret.
impl fmt::Debug for ConnectHook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConnectHook")
            .field("target", &self.target)
            .field("timeout", &self.timeout)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(hook: &ConnectHook) -> String {
        hook.problem(Duration::from_secs(10)).unwrap_or_default()
    }

    #[test]
    fn what_cannot_work_is_named() {
        for url in ["http://127.0.0.1:8080", "https://example.org/connect", "http://[::1]:1/a"] {
            assert_eq!(problem(&ConnectHook::http(url)), "");
        }
        for (url, part) in [
            ("", "cannot be read"),
            ("/connect", "no host"),
            ("ftp://a/", "no scheme of HTTP"),
            ("http://u:p@a/", "Authorization"),
            ("http://a/?k=1", "query"),
            ("http://a/#b", "fragment"),
        ] {
            let problem = problem(&ConnectHook::http(url));
            assert!(problem.contains(part) && !problem.contains("u:p"), "{url}: {problem}");
        }
        let fastcgi = |address, script| problem(&ConnectHook::fastcgi(address, script));
        assert_eq!(fastcgi("unix:/run/php.sock", "/a.php"), "");
        assert_eq!(fastcgi("127.0.0.1:9000", "/a.php"), "");
        assert!(fastcgi("127.0.0.1", "/a.php").contains("127.0.0.1"));
        assert!(fastcgi("127.0.0.1:9000", "a.php").contains("a.php"));
    }

    #[test]
    fn times_and_headers_have_to_fit() {
        let hook = || ConnectHook::http("http://a/");
        let times = [(0, "above zero"), (10, "Limits::handshake_time"), (9, "")];
        for (seconds, part) in times {
            let problem = problem(&hook().timeout(Duration::from_secs(seconds)));
            assert!(problem.contains(part) && problem.is_empty() == part.is_empty(), "{problem}");
        }
        assert_eq!(hook().problem(Duration::ZERO), None, "a handshake without a deadline");
        for name in ["Upgrade", "HOST", "X-Forwarded-For", "proxy", "a b", ""] {
            assert!(problem(&hook().pass_headers([name])).contains("passed on"), "{name}");
            assert!(problem(&hook().header(name, "x")).contains("be sent"), "{name}");
        }
        assert!(problem(&hook().header("X-Key", "a\nb")).contains("X-Key"));
        assert_eq!(problem(&hook().pass_headers(["X-Device", "cookie"]).header("X-Key", "k")), "");
        let shown = format!("{:?}", hook().header("X-Key", "secret"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
