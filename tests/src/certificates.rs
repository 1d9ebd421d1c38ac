//! Certificates for one test, made by openssl: an authority, and what it signs.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::peer::Peer;

/// An authority and the certificates it has signed, in a folder of their own.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

/// The files of a certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority that nobody knows, not even by its name.
    ///
    /// # Errors
    /// When openssl is not there.
    pub async fn new() -> Result<Self> {
        let authority = Self { folder: tempfile::tempdir()? };
        let is_authority = ["-addext", "keyUsage=critical,keyCertSign"];
        let folder = authority.folder.path().display().to_string();
        authority.make("authority", &folder.replace('/', " "), &is_authority).await?;
        Ok(authority)
    }

    /// Returns the authority's own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.path("authority.pem")
    }

    /// Returns the authority's own certificate and key, as a server would have them that mistakes them for its.
    pub fn own(&self) -> Pair {
        Pair { certificate: self.certificate(), key: self.path("authority.key") }
    }

    /// Signs a certificate for the host, or client, `name`.
    ///
    /// # Errors
    /// When openssl fails.
    pub async fn sign(&self, name: &str) -> Result<Pair> {
        let (certificate, key) = (self.certificate(), self.path("authority.key"));
        let names = format!("subjectAltName=DNS:{name}");
        let signed_by = ["-CA", shown(&certificate), "-CAkey", shown(&key)];
        let leaf = ["-addext", &names, "-addext", "basicConstraints=critical,CA:FALSE"];
        self.make(name, name, &[&signed_by[..], &leaf].concat()).await
    }

    async fn make(&self, file: &str, name: &str, more: &[&str]) -> Result<Pair> {
        let certificate = self.path(&format!("{file}.pem"));
        let key = self.path(&format!("{file}.key"));
        let subject = format!("/CN={name}");
        let kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let common = ["req", "-x509", "-days", "2", "-subj", &subject];
        let files = ["-out", shown(&certificate), "-keyout", shown(&key)];
        let arguments = [&common[..], &kind, &files, more].concat();
        let (code, output) = Peer::program("openssl", &arguments)?.output().await?;
        ensure!(code == Some(0), "openssl made no certificate:\n{output}");
        Ok(Pair { certificate, key })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Returns a path as an argument: temporary folders have plain names.
fn shown(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}
