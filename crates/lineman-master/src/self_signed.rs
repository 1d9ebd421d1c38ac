//! A certificate for development, made by the master at each start with `--self-signed` and used by
//! all TLS of the program. No browser trusts it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use crate::Error;
use crate::control::environment;

/// Names that are always in it.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Returns where the certificate and its key are in the runtime folder.
pub(crate) fn files(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join("self-signed.pem"), folder.join("self-signed.key"))
}

/// Returns both in a worker, where the master made them.
pub(crate) fn files_from_environment() -> Option<(PathBuf, PathBuf)> {
    std::env::var_os(environment::SELF_SIGNED.name).map(|folder| files(Path::new(&folder)))
}

/// Makes a certificate and its key, writes both to the runtime folder for this user alone, and returns
/// the certificate's SHA-256 fingerprint as browsers show it.
///
/// # Errors
/// [`Error::File`] names the file that cannot be written.
pub(crate) fn make(folder: &Path) -> Result<String, Error> {
    let failed = |error: rcgen::Error| Error::Os {
        action: "make a self-signed certificate",
        source: std::io::Error::other(error),
    };
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names: Vec<String> = NAMES.map(str::to_owned).into();
    if !host.is_empty() && !names.contains(&host) {
        names.push(host);
    }
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "self-signed for development");
    let key = KeyPair::generate().map_err(failed)?;
    let made = params.self_signed(&key).map_err(failed)?;
    let (certificate_file, key_file) = files(folder);
    write(&certificate_file, &made.pem())?;
    write(&key_file, &key.serialize_pem())?;
    Ok(fingerprint(made.der()))
}

/// Writes a new file and puts it in place of an old one: who reads it sees one or the other.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::File { action: "write", path: path.to_owned(), source };
    let new = path.with_added_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}

fn fingerprint(der: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    let bytes: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rustls::client::verify_server_name;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::server::ParsedCertificate;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn it_is_for_this_machine_and_this_user() {
        let folder = TempDir::new().unwrap();
        let shown = make(folder.path()).unwrap();
        assert_eq!(shown.len(), 32 * 3 - 1);
        let der = CertificateDer::from_pem_file(folder.path().join("self-signed.pem")).unwrap();
        assert_eq!(fingerprint(&der), shown);
        let certificate = ParsedCertificate::try_from(&der).unwrap();
        for name in NAMES {
            verify_server_name(&certificate, &ServerName::try_from(name).unwrap()).unwrap();
        }
        for file in ["self-signed.pem", "self-signed.key"] {
            let mode = std::fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
