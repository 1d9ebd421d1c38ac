//! How a service secures its connections to the others of its cluster: what those that it makes begin with, and which
//! of those that come it takes. Made where a service is set up; read for each new connection.

use std::cell::RefCell;
use std::rc::Rc;

use lineman::Error;
use lineman::tls::MutualTls;
use lineman_client::{LinkCertificates, LinkConfigs, LinkTls};
use lineman_wire::link::Secret;

/// How one service does it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct LinkSecurity {
    pub(crate) mode: LinkTls,
    tls: Option<Rc<MutualTls>>,
}

/// What connections to come go by: a reload may replace it.
pub(crate) type SharedSecurity = Rc<RefCell<LinkSecurity>>;

impl LinkSecurity {
    /// Returns that of a service of this name. Certificates are read, and again when they have changed.
    ///
    /// # Errors
    /// [`Error::Configuration`]: a file cannot be used, or there is nothing that the other end can be known by.
    pub(crate) fn of_service(
        service: &str,
        mode: LinkTls,
        secret: &Secret,
        certificates: Option<&LinkCertificates>,
    ) -> Result<Self, Error> {
        if mode == LinkTls::Off {
            return Ok(Self::default());
        }
        let files = certificates.map(|files| files.paths().map(ToOwned::to_owned).to_vec());
        let (secret, certificates) = (secret.clone(), certificates.cloned());
        let tls = MutualTls::new(files.unwrap_or_default(), move || {
            let LinkConfigs { client, server } = LinkConfigs::new(&secret, certificates.as_ref())?;
            Ok((client, server))
        });
        let tls = tls.map_err(|error| Error::Configuration {
            service: service.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Self { mode, tls: Some(Rc::new(tls)) })
    }

    /// Returns what peers that come may begin with.
    pub(crate) fn accepting(&self) -> Option<Rc<MutualTls>> {
        self.tls.clone()
    }

    /// Returns what connections that are made begin with.
    pub(crate) fn connecting(&self) -> Option<Rc<MutualTls>> {
        self.tls.clone().filter(|_| self.mode.connects())
    }
}
