//! Listening from within a worker that runs: a service started here, beside the one of the slot.

use std::cell::RefCell;
use std::rc::Rc;

use lineman_master::service::bind;

use super::{Context, Endpoint, Listen, Running, Service, Traffic};
use crate::{Error, MasterError, Result, Table};

thread_local! {
    /// Where services within this worker listen; for as long as the process lives.
    static LISTENING: RefCell<Vec<(Traffic, Endpoint)>> = const { RefCell::new(Vec::new()) };
}

/// A service that was started within a worker. Dropping the handle changes nothing: its connections
/// are this process's, counted, drained and closed with the others.
pub struct Inner {
    addresses: Vec<Endpoint>,
    _running: Rc<dyn Running>,
}

impl Inner {
    /// Starts a service in this worker, at addresses that this process binds itself.
    ///
    /// The process has it until it ends; its `on_stop` does not run. The processes of a service, and
    /// their successors in a reload, may all bind the same port; while none has it connects are
    /// refused.
    ///
    /// # Errors
    /// [`MasterError::Listen`](crate::MasterError::Listen) when an address cannot be bound, or this
    /// process listens there already; outside of a worker; what the service says.
    pub async fn start(service: impl Service) -> Result<Self> {
        let description = service.description();
        let table = Table::current().ok_or_else(|| Error::Configuration {
            service: description.name.clone(),
            problem: "only a worker that runs can listen: call this in `on_start` or later".into(),
        })?;
        let listeners = description.listeners.iter().map(bind::in_this_process);
        let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
        let addresses =
            listeners.iter().map(super::Socket::local).collect::<Result<Vec<_>, _>>()?;
        claim(&description.listeners, &addresses)?;
        let context = Context {
            service: description.name,
            index: 0,
            generation: 1,
            listeners,
            table,
            predecessor: None,
        };
        let running = Box::new(service).start(context).await?;
        Ok(Self { addresses, _running: running })
    }

    /// Returns where it listens, with the ports that the kernel chose for 0.
    pub fn addresses(&self) -> &[Endpoint] {
        &self.addresses
    }
}

/// Takes places for this process's own listeners. The option by which the processes of a service share a
/// port would let this one have it twice, and each would get some of the connections.
fn claim(listeners: &[Listen], addresses: &[Endpoint]) -> Result {
    LISTENING.with_borrow_mut(|taken| {
        for (listen, address) in listeners.iter().zip(addresses) {
            let place = (listen.traffic, address.clone());
            if taken.contains(&place) {
                let problem =
                    "this process listens there already (hint: one `listen` for each port)";
                let source = std::io::Error::new(std::io::ErrorKind::AddrInUse, problem);
                let address = listen.address.clone();
                return Err(MasterError::Listen { address, source }.into());
            }
            taken.push(place);
        }
        Ok(())
    })
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Inner").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
