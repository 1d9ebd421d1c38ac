//! What a program and its services are made of while their settings are applied, one after the other.

use std::path::PathBuf;
use std::time::Duration;

use lineman::connection::{Limits, Others, Proxies};
use lineman::prelude::{Framed, Raw};
use lineman::service::{Description, Keepalive, Service as _, SocketOptions};
use lineman::tls::{ClientCertificates, Tls};
use lineman::websocket::{Deflate, Leniency};
use lineman::{App, BoxError, HttpLimits, Networks, Watchdog};
use lineman_gateway::{Allow, ConnectHook, Gateway, HookFailure, LinkCertificates, Register};
use lineman_wire::text::ByteLines;

use crate::pages;
use crate::placed::Placed;

/// What the settings of one section make.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) app: Option<App>,
    /// From the setting `listen` on, which comes first.
    pub(crate) service: Option<DraftService>,
    pub(crate) watchdog: WatchdogDraft,
    pub(crate) limits: Limits,
    pub(crate) http: HttpLimits,
    pub(crate) socket: SocketOptions,
    keepalive: Keepalive,
    pub(crate) tls: TlsDraft,
    pub(crate) link: LinkDraft,
    pub(crate) proxies: ProxiesDraft,
    pub(crate) compression: bool,
    pub(crate) deflate: Deflate,
    pub(crate) pages: Option<pages::Pages>,
    pub(crate) allow: Allow,
    pub(crate) hook: HookDraft,
    pub(crate) leniency: Leniency,
}

/// A service of any kind.
#[derive(Debug)]
pub(crate) enum DraftService {
    WebSocket(Gateway),
    Text(Gateway<ByteLines>),
    Framed(Gateway<Framed>),
    Tcp(Gateway<Raw>),
    Register(Register),
}

/// What TLS is made of.
#[derive(Debug, Default)]
pub(crate) struct TlsDraft {
    pub(crate) certificates: Vec<PathBuf>,
    pub(crate) keys: Vec<PathBuf>,
    pub(crate) authorities: PathBuf,
    pub(crate) clients: String,
    pub(crate) alpn: Vec<String>,
}

/// What certificates of links are made of.
#[derive(Debug, Default)]
pub(crate) struct LinkDraft {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) authorities: PathBuf,
}

/// What is believed of proxies.
#[derive(Debug, Default)]
pub(crate) struct ProxiesDraft {
    pub(crate) trusted: Networks,
    pub(crate) proxy_protocol: bool,
    pub(crate) header: String,
    pub(crate) others: Others,
}

/// What a connect hook is made of; not shown, for its headers may be secret.
#[derive(Default)]
pub(crate) struct HookDraft {
    pub(crate) url: String,
    pub(crate) authorities: Option<PathBuf>,
    pub(crate) fastcgi: String,
    pub(crate) script: String,
    pub(crate) timeout: Option<Duration>,
    pub(crate) questions: Option<usize>,
    pub(crate) failure: HookFailure,
    pub(crate) passed: Option<Vec<String>>,
    pub(crate) headers: Vec<(String, String)>,
}

/// What becomes of a process whose loop stands still.
#[derive(Debug, Default)]
pub(crate) struct WatchdogDraft {
    pub(crate) limit: Option<Duration>,
    pub(crate) restart: bool,
}

/// Changes the builder of any service.
macro_rules! on_service {
    ($draft:expr, $service:ident => $changed:expr) => {
        $draft.service = $draft.service.take().map(|service| match service {
            $crate::draft::DraftService::WebSocket($service) => {
                $crate::draft::DraftService::WebSocket($changed)
            }
            $crate::draft::DraftService::Text($service) => {
                $crate::draft::DraftService::Text($changed)
            }
            $crate::draft::DraftService::Framed($service) => {
                $crate::draft::DraftService::Framed($changed)
            }
            $crate::draft::DraftService::Tcp($service) => {
                $crate::draft::DraftService::Tcp($changed)
            }
            $crate::draft::DraftService::Register($service) => {
                $crate::draft::DraftService::Register($changed)
            }
        })
    };
}

/// Changes the builder of a gateway, whatever its clients speak.
macro_rules! on_gateway {
    ($draft:expr, $gateway:ident => $changed:expr) => {
        $draft.service = $draft.service.take().map(|service| match service {
            $crate::draft::DraftService::WebSocket($gateway) => {
                $crate::draft::DraftService::WebSocket($changed)
            }
            $crate::draft::DraftService::Text($gateway) => {
                $crate::draft::DraftService::Text($changed)
            }
            $crate::draft::DraftService::Framed($gateway) => {
                $crate::draft::DraftService::Framed($changed)
            }
            $crate::draft::DraftService::Tcp($gateway) => {
                $crate::draft::DraftService::Tcp($changed)
            }
            register @ $crate::draft::DraftService::Register(_) => register,
        })
    };
}

/// Changes the builder of a gateway whose clients speak WebSocket.
macro_rules! on_websocket {
    ($draft:expr, $gateway:ident => $changed:expr) => {
        $draft.service = $draft.service.take().map(|service| match service {
            $crate::draft::DraftService::WebSocket($gateway) => {
                $crate::draft::DraftService::WebSocket($changed)
            }
            other => other,
        })
    };
}

/// Changes the builder of a register.
macro_rules! on_register {
    ($draft:expr, $register:ident => $changed:expr) => {
        $draft.service = $draft.service.take().map(|service| match service {
            $crate::draft::DraftService::Register($register) => {
                $crate::draft::DraftService::Register($changed)
            }
            other => other,
        })
    };
}

/// Changes the program.
macro_rules! on_app {
    ($draft:expr, $app:ident => $changed:expr) => {
        $draft.app = $draft.app.take().map(|$app| $changed)
    };
}

pub(crate) use {on_app, on_gateway, on_register, on_service, on_websocket};

impl Draft {
    /// Returns that of a program.
    pub(crate) fn of_program() -> Self {
        Self { app: Some(App::new()), ..Self::default() }
    }

    /// Changes how sockets are set up.
    pub(crate) fn socket(&mut self, change: impl FnOnce(SocketOptions) -> SocketOptions) {
        self.socket = change(std::mem::take(&mut self.socket));
    }

    /// Changes when TCP asks a silent peer.
    pub(crate) fn keepalive(&mut self, change: impl FnOnce(&mut Keepalive)) {
        change(&mut self.keepalive);
        let keepalive = self.keepalive;
        self.socket(|options| options.keepalive(keepalive));
    }

    /// Returns the program, without services.
    pub(crate) fn into_app(self) -> App {
        let app = self.app.unwrap_or_default();
        let WatchdogDraft { limit, restart } = self.watchdog;
        let limit = limit.unwrap_or(Duration::from_secs(5));
        let watchdog = match restart {
            _ if limit.is_zero() => Watchdog::off(),
            true => Watchdog::restart(limit),
            false => Watchdog::report(limit),
        };
        app.watchdog(watchdog)
    }

    /// Returns the service; `None` if no setting has said where it listens.
    pub(crate) fn into_service(mut self) -> Option<DraftService> {
        let proxies = self.proxies.finish();
        let tls = self.tls.finish();
        if let Some(certificates) = self.link.finish() {
            on_service!(self, service => service.link_certificates(certificates));
        }
        if self.compression {
            on_websocket!(self, gateway => gateway.compression(self.deflate));
        }
        if let Some(pages) = self.pages.take() {
            on_websocket!(self, gateway => pages.serve(gateway));
        }
        if let Some(hook) = self.hook.finish() {
            on_websocket!(self, gateway => gateway.connect_hook(hook));
        }
        on_websocket!(self, gateway => gateway.leniency(self.leniency));
        on_gateway!(self, gateway => gateway.http_limits(self.http).allow(self.allow));
        if let Some(tls) = tls {
            on_gateway!(self, gateway => gateway.tls(tls));
        }
        if let Some(proxies) = proxies {
            on_service!(self, service => service.proxies(proxies));
        }
        on_service!(self, service => service.limits(self.limits).socket_options(self.socket));
        self.service
    }
}

/// Adds a service of this kind to a program; at a reload it is asked for anew.
macro_rules! add {
    ($app:expr, $service:expr, $places:expr, $anew:expr, $kind:ident) => {{
        let service = $service.reconfigured(move || match $anew()? {
            DraftService::$kind(service) => Ok(service),
            _ => Err("clients cannot speak something else before a restart".into()),
        });
        $app.service(Placed { service, places: $places })
    }};
}

impl DraftService {
    /// Returns what the master would know of it.
    pub(crate) fn description(&self) -> Description {
        match self {
            Self::WebSocket(gateway) => gateway.description(),
            Self::Text(gateway) => gateway.description(),
            Self::Framed(gateway) => gateway.description(),
            Self::Tcp(gateway) => gateway.description(),
            Self::Register(register) => register.description(),
        }
    }

    /// Adds it to a program, with the places where its addresses are set. At each reload `anew` says how it is to be
    /// from then on.
    pub(crate) fn add_to(
        self,
        app: App,
        places: Vec<String>,
        anew: impl Fn() -> Result<Self, BoxError> + 'static,
    ) -> App {
        match self {
            Self::WebSocket(gateway) => add!(app, gateway, places, anew, WebSocket),
            Self::Text(gateway) => add!(app, gateway, places, anew, Text),
            Self::Framed(gateway) => add!(app, gateway, places, anew, Framed),
            Self::Tcp(gateway) => add!(app, gateway, places, anew, Tcp),
            Self::Register(register) => add!(app, register, places, anew, Register),
        }
    }
}

impl LinkDraft {
    fn finish(&self) -> Option<LinkCertificates> {
        let Self { certificate, key, authorities } = self;
        let is_set = !certificate.as_os_str().is_empty();
        is_set.then(|| LinkCertificates::files(certificate, key, authorities))
    }
}

impl TlsDraft {
    fn finish(self) -> Option<Tls> {
        let mut pairs = self.certificates.into_iter().zip(self.keys);
        let (certificate, key) = pairs.next()?;
        let first = Tls::files(certificate, key);
        let tls = pairs.fold(first, |tls, (certificate, key)| tls.also(certificate, key));
        let tls = tls.client_certificates(match &*self.clients {
            "required" => ClientCertificates::Required(self.authorities),
            "optional" => ClientCertificates::Optional(self.authorities),
            _ => ClientCertificates::None,
        });
        Some(if self.alpn.is_empty() { tls } else { tls.alpn(self.alpn) })
    }
}

impl HookDraft {
    /// Returns the hook; none if nothing says what is asked.
    pub(crate) fn finish(self) -> Option<ConnectHook> {
        let hook = match (&*self.url, &*self.fastcgi) {
            ("", "") => return None,
            ("", address) => ConnectHook::fastcgi(address, self.script),
            (url, _) => ConnectHook::http(url),
        };
        let hook = hook.on_failure(self.failure);
        let hook = self.authorities.into_iter().fold(hook, ConnectHook::authorities);
        let hook = self.timeout.into_iter().fold(hook, ConnectHook::timeout);
        let hook = self.questions.into_iter().fold(hook, ConnectHook::questions);
        let hook = self.passed.into_iter().fold(hook, ConnectHook::pass_headers);
        Some(self.headers.into_iter().fold(hook, |hook, (name, value)| hook.header(name, value)))
    }
}

impl ProxiesDraft {
    fn finish(self) -> Option<Proxies> {
        if self.trusted == Networks::default() {
            return None;
        }
        let proxies = Proxies::trust(self.trusted).others(self.others);
        let proxies = if self.proxy_protocol { proxies.proxy_protocol() } else { proxies };
        Some(match &*self.header {
            "x-forwarded-for" => proxies.x_forwarded_for(),
            "forwarded" => proxies.forwarded(),
            _ => proxies,
        })
    }
}
