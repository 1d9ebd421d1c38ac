//! The cluster as a program outside of it sees it: its registers, its key, and how long things may take.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lineman_wire::link::Secret;

use crate::Error;
use crate::limits::{CallClock, CallLimits};
use crate::link_tls::{LinkCertificates, LinkTls};
use crate::reach::Gateways;
use crate::register::{self, KnownRegister};
use crate::stream::Credentials;

/// How long a list of gateways is good: a new gateway waits no longer for its first message, and a
/// loop of sends does not ask the register each time.
const LIST_AGE: Duration = Duration::from_secs(1);

/// A handle on a cluster. Connections are made when they are first needed, and kept.
///
/// All gateways that a call concerns are connected, told and asked side by side. One that lets the time pass
/// is not tried again for some seconds: calls that need it fail at once, or lack it.
pub struct Cluster {
    registers: Vec<KnownRegister>,
    /// What we show: the key, in the cluster of that name.
    pub(crate) credentials: Credentials,
    key: Secret,
    name: String,
    pub(crate) limits: CallLimits,
    listed: Option<(Instant, Vec<SocketAddr>)>,
    pub(crate) reach: Gateways,
}

impl Cluster {
    /// Returns the cluster of a register, `host:port`. Nothing is connected yet.
    pub fn new(register: impl Into<String>) -> Self {
        Self {
            registers: vec![KnownRegister::new(register.into())],
            credentials: Credentials::default(),
            key: Secret::default(),
            name: String::new(),
            limits: CallLimits::default(),
            listed: None,
            reach: Gateways::default(),
        }
    }

    /// Adds a register of the cluster, or a name that stands for several, one at each of its IPv4 addresses. The gateways are those that any of them knows, and one that does not
    /// answer does not matter while another does.
    #[must_use]
    pub fn register(mut self, address: impl Into<String>) -> Self {
        self.registers.push(KnownRegister::new(address.into()));
        self
    }

    /// Sets the cluster's key. Default none.
    #[must_use]
    pub fn secret_key(mut self, key: impl Into<Secret>) -> Self {
        self.key = key.into();
        self.shown()
    }

    /// Sets the cluster's name, where registers and gateways were given one, so that a cluster of another name
    /// refuses us. Default none; what is no name (see [`is_cluster_name`](crate::is_cluster_name)) is refused by
    /// all.
    #[must_use]
    pub fn cluster_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self.shown()
    }

    fn shown(mut self) -> Self {
        let secret = self.key.clone().in_cluster(&self.name);
        self.credentials = self.credentials.with(|shown| shown.secret = secret);
        self
    }

    /// Sets whether connections are made with TLS, which [`LinkTls::Use`] and [`LinkTls::Require`] do. Both ends are
    /// known by the cluster's key, or by certificates. Default: they are not.
    #[must_use]
    pub fn link_tls(mut self, mode: LinkTls) -> Self {
        self.credentials = self.credentials.with(|shown| shown.link_tls = mode);
        self
    }

    /// Has both ends of connections with TLS known by certificates, not by the key. The files are read for each
    /// connection. Default: by the key.
    #[must_use]
    pub fn link_certificates(mut self, certificates: LinkCertificates) -> Self {
        self.credentials = self.credentials.with(|shown| shown.certificates = Some(certificates));
        self
    }

    /// Sets how long a call may take as a whole, the registers' answer included. Default 5 s; zero is taken
    /// as 1 ms. Only the name of a register may take longer to be resolved, behind the call.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limits.whole = timeout.max(Duration::from_millis(1));
        self
    }

    /// Sets how long a gateway or a register may take to accept a connection. Default 2 s, so that one packet
    /// may be lost; zero is taken as 1 ms.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.limits.connect = timeout.max(Duration::from_millis(1));
        self
    }

    /// Sets how long a gateway or a register may be silent that owes an answer, or take nothing of what is
    /// sent. Default 1 s; zero is taken as 1 ms. An answer that goes on coming may take the whole call's time.
    #[must_use]
    pub fn answer_limit(mut self, limit: Duration) -> Self {
        self.limits.answer = limit.max(Duration::from_millis(1));
        self
    }

    /// Returns the gateways that the registers know; asks them at most once a second. While no register
    /// answers, these are the ones they knew last.
    ///
    /// # Errors
    /// No register has ever answered: [`Error::Register`], [`Error::RegisterTimeout`], [`Error::NoList`],
    /// [`Error::RegisterRefused`]; [`Error::NoRegister`] of several.
    pub fn gateways(&mut self) -> Result<Vec<SocketAddr>, Error> {
        self.list(&self.call())
    }

    pub(crate) fn list(&mut self, call: &CallClock) -> Result<Vec<SocketAddr>, Error> {
        if let Some((asked, list)) = &self.listed
            && asked.elapsed() < LIST_AGE
        {
            return Ok(list.clone());
        }
        let former = self.listed.take().map(|(_, former)| former);
        let patient = former.is_none();
        let list = register::list(&mut self.registers, &self.credentials, call, patient);
        let list = list.or_else(|error| former.ok_or(error))?;
        self.reach.keep(&list);
        self.listed = Some((Instant::now(), list.clone()));
        Ok(list)
    }

    /// Returns the addresses of the registers.
    pub(crate) fn registers(&self) -> impl Iterator<Item = &str> {
        self.registers.iter().map(KnownRegister::address)
    }

    /// Begins a call: its time runs from now on.
    pub(crate) fn call(&self) -> CallClock {
        self.limits.begin()
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Cluster")
            .field("registers", &self.registers)
            .field("listed", &self.listed)
            .finish_non_exhaustive()
    }
}
