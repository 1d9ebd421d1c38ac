//! Which cluster a service belongs to: what registers, gateways and businesses of a program are told alike.

use lineman::Error;
use lineman_client::{LinkCertificates, LinkTls};
use lineman_wire::link::Secret;

use crate::link_tls::LinkSecurity;
use crate::secret;

/// A cluster: its name, its key and its registers, said once for all services of a program.
///
/// ```no_run
/// use lineman::prelude::*;
/// use lineman_gateway::{Gateway, ClusterSettings, Register};
///
/// fn main() -> Result {
///     let chat = ClusterSettings::new().cluster("chat").secret_key("change me").register("10.0.0.1:1236");
///     App::new()
///         .service(Register::listen("10.0.0.1:1236").cluster_settings(&chat))
///         .service(Gateway::websocket("0.0.0.0:7272").lan_ip("10.0.0.1").cluster_settings(&chat))
///         .run()
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct ClusterSettings {
    pub(crate) registers: Vec<String>,
    pub(crate) secret_key: Secret,
    pub(crate) name: String,
    pub(crate) link_tls: LinkTls,
    pub(crate) link_certificates: Option<LinkCertificates>,
}

impl ClusterSettings {
    /// Returns that of a cluster without a name and without a key, whose register is at `127.0.0.1:1236`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a register, `host:port`: where gateways announce themselves, and businesses hear of them.
    #[must_use]
    pub fn register(mut self, address: impl Into<String>) -> Self {
        self.registers.push(address.into());
        self
    }

    /// Sets the key that each of them shows to the others. Default: none.
    #[must_use]
    pub fn secret_key(mut self, key: impl Into<String>) -> Self {
        self.secret_key = Secret::new(key);
        self
    }

    /// Sets the name: [`Register::cluster`](crate::Register::cluster). Default: none.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets whether links, and connections to registers, are encrypted: [`LinkTls`]. Default: they are not.
    #[must_use]
    pub fn link_tls(mut self, mode: LinkTls) -> Self {
        self.link_tls = mode;
        self
    }

    /// Has both ends of encrypted links known by certificates, not by the key. Default: by the key.
    #[must_use]
    pub fn link_certificates(mut self, certificates: LinkCertificates) -> Self {
        self.link_certificates = Some(certificates);
        self
    }

    /// Returns how a service of that name, which shows this, secures its links.
    pub(crate) fn security(&self, service: &str, secret: &Secret) -> Result<LinkSecurity, Error> {
        let certificates = self.link_certificates.as_ref();
        LinkSecurity::of_service(service, self.link_tls, secret, certificates)
    }

    /// Returns what a service of that name shows and asks for.
    pub(crate) fn secret(&self, service: &str) -> Result<Secret, Error> {
        secret::of_service(service, &self.secret_key, &self.name)
    }
}

/// What each service is told of its cluster: the setters of a builder with [`ClusterSettings`] in a field `cluster`.
macro_rules! cluster_settings {
    () => {
        /// Sets the key of the cluster, which gateways and businesses show to registers, and businesses to gateways.
        /// Default: none.
        #[must_use]
        pub fn secret_key(mut self, key: impl Into<String>) -> Self {
            self.cluster = self.cluster.secret_key(key);
            self
        }

        /// Sets the name of the cluster, which all its registers, gateways and businesses have: 1 to 64 letters,
        /// digits, `-`, `_` and `.` of ASCII. One that says another name is refused, and both logs name the two.
        /// Default: none.
        ///
        /// The name is a part of what is shown as the key, `NAME:KEY`; that is the `secretKey` of a peer of
        /// `GatewayWorker`'s.
        #[must_use]
        pub fn cluster(mut self, name: impl Into<String>) -> Self {
            self.cluster = self.cluster.cluster(name);
            self
        }

        /// Takes name, key and registers of a cluster, in the place of what was set before.
        #[must_use]
        pub fn cluster_settings(mut self, cluster: &crate::ClusterSettings) -> Self {
            self.cluster = cluster.clone();
            self
        }

        /// Sets whether links, and connections to registers, are encrypted: [`LinkTls`](crate::LinkTls), which says
        /// how to switch it on in a cluster that runs. Both ends are known by the cluster's key, unless
        /// [`link_certificates`](Self::link_certificates) are set, and one of the two has to be there. What is open
        /// stays as it is when a reload changes it. Default: they are not.
        #[must_use]
        pub fn link_tls(mut self, mode: crate::LinkTls) -> Self {
            self.cluster.link_tls = mode;
            self
        }

        /// Has both ends of encrypted links known by certificates, not by the key: any that one of the authorities
        /// has signed is taken, whatever its name. The files are looked at again at most every ten seconds while
        /// connections are made, and at each reload. Default: by the key.
        #[must_use]
        pub fn link_certificates(mut self, certificates: crate::LinkCertificates) -> Self {
            self.cluster.link_certificates = Some(certificates);
            self
        }
    };
}

/// What those are told that find each other by registers.
macro_rules! register_settings {
    () => {
        /// Adds a register, `host:port`, that gateways announce themselves to and that tells businesses of them.
        /// Default: `127.0.0.1:1236` alone.
        ///
        /// A name stands for as many registers as it has IPv4 addresses (of IPv6 if it has no others), 64 at most. It
        /// is resolved again every half minute, and when one of them is lost, so that registers may come and go.
        #[must_use]
        pub fn register(mut self, address: impl Into<String>) -> Self {
            self.cluster = self.cluster.register(address);
            self
        }
    };
}

pub(crate) use {cluster_settings, register_settings};
