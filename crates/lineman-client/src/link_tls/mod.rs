//! TLS between the processes of a cluster: what is set of it, and what that makes of both ends. They are configured here
//! together, so that they cannot disagree; sockets are others' matter.

mod configs;
mod verifiers;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use configs::LinkConfigs;

use crate::Error;

/// Whether the connections between the processes of a cluster are encrypted.
///
/// To switch it on in a cluster that runs, go one step after the other, each on all machines: neighbouring steps
/// understand each other. Peers of `GatewayWorker`'s are plain, and [`LinkTls::Require`] refuses them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkTls {
    /// Connects plain, and takes plain connections alone. The default.
    #[default]
    Off,
    /// Connects plain, and takes both.
    Accept,
    /// Connects with TLS, and takes both.
    Use,
    /// Connects with TLS, and refuses plain connections.
    Require,
}

impl LinkTls {
    /// Every value, as settings name it.
    pub const NAMES: [&str; 4] = ["off", "accept", "use", "require"];

    /// Returns whether connections are made with TLS.
    pub fn connects(self) -> bool {
        self >= Self::Use
    }
}

impl FromStr for LinkTls {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let all = [Self::Off, Self::Accept, Self::Use, Self::Require];
        let found = all.into_iter().find(|one| one.to_string() == text);
        found
            .ok_or_else(|| Error::LinkTls(format!("{text:?} is none of off, accept, use, require")))
    }
}

impl fmt::Display for LinkTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Off => "off",
            Self::Accept => "accept",
            Self::Use => "use",
            Self::Require => "require",
        })
    }
}

/// Certificates that authenticate links in the place of the cluster's key: files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkCertificates {
    certificate: PathBuf,
    key: PathBuf,
    authorities: PathBuf,
}

impl LinkCertificates {
    /// Returns that of a certificate chain, its own first, its key, and the authorities whose certificates are taken.
    pub fn files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
        authorities: impl AsRef<Path>,
    ) -> Self {
        let owned = |path: &Path| path.to_owned();
        Self {
            certificate: owned(certificate.as_ref()),
            key: owned(key.as_ref()),
            authorities: owned(authorities.as_ref()),
        }
    }

    /// Returns the files.
    pub fn paths(&self) -> [&Path; 3] {
        [&self.certificate, &self.key, &self.authorities]
    }
}
