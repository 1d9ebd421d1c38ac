//! A service whose addresses are set somewhere, which errors about them name.

use std::rc::Rc;

use lineman::Result;
use lineman::service::{ClusterPeer, Context, Description, LocalFuture, Running, Service};

/// A service, and where the address of each of its listeners is set.
#[derive(Debug)]
pub(crate) struct Placed<S> {
    pub(crate) service: S,
    pub(crate) places: Vec<String>,
}

impl<S: Service> Service for Placed<S> {
    fn description(&self) -> Description {
        let mut description = self.service.description();
        for (listen, place) in description.listeners.iter_mut().zip(&self.places) {
            listen.set_in.clone_from(place);
        }
        description
    }

    fn check(&self) -> Result {
        self.service.check()
    }

    fn peers(&self) -> Vec<ClusterPeer> {
        self.service.peers()
    }

    fn start(self: Box<Self>, context: Context) -> LocalFuture<Result<Rc<dyn Running>>> {
        Box::new(self.service).start(context)
    }
}
