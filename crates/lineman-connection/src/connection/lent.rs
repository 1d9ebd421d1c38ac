//! Listeners of other slots that this process accepts at while those are down: the kernel goes on
//! feeding a slot's socket, whichever process reads it. The master lends and takes back; see its `lending`.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use mio::{Interest, Token};

use super::listener::Listener;
use super::stream::StreamListener;
use super::table::Table;

impl Table {
    /// Accepts at the TCP listener of the slot `lender` as at ours of the same address, until it is
    /// given back. A process that accepts no more leaves it alone.
    ///
    /// # Errors
    /// When nothing of ours listens at its address.
    #[doc(hidden)]
    pub fn borrow_listener(&self, lender: &str, socket: OwnedFd) -> io::Result<()> {
        if !self.is_accepting() {
            return Ok(());
        }
        let mut socket = StreamListener::try_from(std::net::TcpListener::from(socket))?;
        let address = socket.tcp_addr();
        let same = |listener: &Rc<Listener>| address.is_some() && listener.tcp_addr() == address;
        let own = self.listeners().into_iter().find(|(_, listener)| same(listener));
        let (_, own) = own.ok_or_else(|| io::Error::other("nothing of ours listens there"))?;
        self.insert_listener(|key, registry| {
            // Edge-triggered, and what waits there already is the first edge.
            registry.register(&mut socket, Token(key), Interest::READABLE)?;
            Ok(Rc::new(Listener {
                socket: RefCell::new(socket),
                accept: Rc::clone(&own.accept),
                resting: Cell::new(false),
                lender: Some(lender.to_owned()),
            }))
        })
    }

    /// Gives back what was borrowed from the slot `lender`.
    #[doc(hidden)]
    pub fn return_listeners(&self, lender: &str) {
        for (key, listener) in self.listeners() {
            if listener.lender.as_deref() == Some(lender) {
                self.remove_arrivals(key);
            }
        }
    }
}

impl Listener {
    fn tcp_addr(&self) -> Option<SocketAddr> {
        self.socket.borrow().tcp_addr()
    }
}
