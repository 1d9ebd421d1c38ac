//! What a gateway is told about its cluster: registers, where businesses reach it, which of them get its clients, and
//! what becomes of those that do not answer.

use std::time::Duration;

use lineman::connection::Driver;

use super::{Gateway, Prefer, Router};
use crate::reach::LEAST_LINK_QUEUE;

impl<P: Driver> Gateway<P> {
    crate::cluster_settings::cluster_settings!();
    crate::cluster_settings::register_settings!();
    crate::strangers::stranger_settings!();

    /// Sets the address at which businesses reach this machine, which is announced to them and in client ids: an
    /// IPv4 address, or a host name that has one, resolved at the start. Default `127.0.0.1`, which is right where
    /// the whole cluster is on one machine.
    ///
    /// Links are listened for there, unless [`Gateway::inner_listen`] names another place. What no machine can be
    /// reached at, and without `inner_listen` what is not this machine's, is refused at the start. Two machines
    /// with one address are found by the register, which refuses the second.
    #[must_use]
    pub fn lan_ip(mut self, address: impl Into<String>) -> Self {
        self.inner.lan_ip = address.into();
        self
    }

    /// Sets where links are listened for, `host` or `host:port`, apart from what is announced: behind NAT, in a
    /// cloud, in a container whose ports are published. [`Gateway::lan_ip`] is announced then, with the ports from
    /// [`Gateway::start_port`] on, and has to lead here; with a port of its own here the ports may be translated
    /// as well. Default: `lan_ip` and `start_port`.
    ///
    /// ```no_run
    /// # use lineman_gateway::Gateway;
    /// # fn main() -> lineman::Result {
    /// // docker run -p 4000-4001:4000-4001 on a machine that others reach at 10.0.0.7.
    /// let gateway = Gateway::websocket("0.0.0.0:7272").count(2);
    /// gateway.lan_ip("10.0.0.7").start_port(4000).inner_listen("0.0.0.0").run()
    /// # }
    /// ```
    #[must_use]
    pub fn inner_listen(mut self, address: impl Into<String>) -> Self {
        self.inner.listen = Some(address.into());
        self
    }

    /// Sets the inner port of the first process; the others follow it. Default 0: the kernel
    /// chooses, and the port stays while the master lives.
    #[must_use]
    pub fn start_port(mut self, port: u16) -> Self {
        self.inner.start_port = port;
        self
    }

    /// Sets which business gets a client. Default [`Router::LeastBusy`].
    ///
    /// ```no_run
    /// # use lineman_gateway::{Gateway, Router};
    /// # fn main() -> lineman::Result {
    /// // All clients of one room are served by one process: ws://host/?room=7
    /// Gateway::websocket("0.0.0.0:7272").router(Router::HashOfQuery("room".to_owned())).run()
    /// # }
    /// ```
    #[must_use]
    pub fn router(mut self, router: Router) -> Self {
        self.router = router;
        self
    }

    /// Sets which businesses get new clients. Default [`Prefer::SameMachine`].
    ///
    /// ```no_run
    /// # use lineman_gateway::{Gateway, Prefer};
    /// # fn main() -> lineman::Result {
    /// // The gateways have machines of their own, and every business is as far away as the others.
    /// Gateway::websocket("0.0.0.0:7272").prefer(Prefer::Any).run()
    /// # }
    /// ```
    #[must_use]
    pub fn prefer(mut self, prefer: Prefer) -> Self {
        self.prefer = prefer;
        self
    }

    /// Gives clients to businesses of this name alone ([`Business::name`](crate::Business::name), a PHP
    /// `BusinessWorker`'s `name`), and of others that this is called with. While none of them is linked, clients
    /// are held as without any business. Other businesses send to clients and ask as ever. Default: any name.
    #[must_use]
    pub fn pinned_to(mut self, name: impl Into<String>) -> Self {
        self.pinned.push(name.into());
        self
    }

    /// Sets how long clients are held while no business is connected; then they are closed (1013).
    /// Default 30 s; zero for ever.
    ///
    /// A business that comes within this time hears of those that went meanwhile, as many as 16 MiB
    /// have room for with their sessions. The others are forgotten, the oldest first, and counted:
    /// `forgotten_clients` in `status`.
    #[must_use]
    pub fn no_business_limit(mut self, limit: Duration) -> Self {
        self.no_business_limit = if limit.is_zero() { Duration::MAX } else { limit };
        self
    }

    /// Sets how many events of one client its business may have unhandled; then that client is not read,
    /// and counted as `share_reached`, until half of them are done. Default 256, at least 1.
    ///
    /// It is less while a business has much that waits, 1 at least: an eighth of the room that is left of 10,000
    /// events or 16 MiB.
    ///
    /// It is what a client can send while one message travels to its business and back. A business in PHP
    /// does not tell what it has handled; there only the bytes count.
    #[must_use]
    pub fn client_events(mut self, events: u32) -> Self {
        self.share.events = events.max(1);
        self
    }

    /// Sets how many bytes of one client its business may have unhandled, sessions included; beyond it as
    /// with [`Gateway::client_events`]. A message that is longer is sent all the same. Default 1 MiB.
    ///
    /// For a business in PHP it bounds what has not left this process yet.
    #[must_use]
    pub fn client_bytes(mut self, bytes: u32) -> Self {
        self.share.bytes = bytes.max(1);
        self
    }

    /// Sets how long a business may give no sign of its loop going on before it counts as `stalled` and gets no
    /// new clients while there is another one, until it gives a sign or has done what it had then; zero for ever.
    /// Default 5 s.
    ///
    /// It is asked for one each second, from version 3 of the link extension on; one of version 2 gives signs while
    /// it has events. A business in PHP gives none: there it is how long nothing leaves on its link.
    #[must_use]
    pub fn stall_limit(mut self, limit: Duration) -> Self {
        self.stall_limits.stalled = limit;
        self
    }

    /// Sets how long a business of Lineman's may give no sign at all, as one that is stopped or blocks its loop,
    /// before its clients move to another one that works; zero for ever. What
    /// it had not handled is lost and counted (`lost_events`). Default 30 s.
    #[must_use]
    pub fn abandon_limit(mut self, limit: Duration) -> Self {
        self.stall_limits.abandoned = limit;
        self
    }

    /// Sets how many bytes may wait to be sent to one business, `GatewayWorker`'s `sendToWorkerBufferSize`; beyond it
    /// its clients are not read until they have left, and what comes of those that are read goes behind it. Default
    /// 10 MiB, at least 64 KiB. What may wait for a client is
    /// [`Limits::send_queue`](lineman::connection::Limits::send_queue).
    #[must_use]
    pub fn link_queue(mut self, bytes: usize) -> Self {
        self.link_queue = bytes.max(LEAST_LINK_QUEUE);
        self
    }

    /// Sets how often the link to each business is pinged; zero for never. Default: 25 s, and never
    /// where [`Gateway::lan_ip`] is this machine alone, for nothing between forgets such a link.
    #[must_use]
    pub fn link_ping_interval(mut self, interval: Duration) -> Self {
        self.link_ping_interval = Some(interval);
        self
    }

    /// Sets how long the machine of a business may be unreachable: without power, or behind a cut cable. Then its
    /// link is given up, and its clients move to another one, at the latest; zero for ever.
    /// Default: 15 s, and for ever between processes of one machine ([`Gateway::lan_ip`]). Set the same with
    /// [`Business::link_timeout`](crate::Business::link_timeout).
    ///
    /// A machine acknowledges what it gets by itself, and is asked each second where a link is silent (each 15th
    /// of the timeout, if that is longer), whatever speaks there, PHP included. One that has acknowledged nothing
    /// for a second, or a quarter of the timeout, is in doubt (`links_in_doubt`): it gets no new client and
    /// nothing more, and its clients are not read. Events that it was sent before are lost with it
    /// (`lost_events`), for it may have begun them; others get the rest. A client that waits for an answer to one
    /// of these is not told: it has to ask again after a while.
    #[must_use]
    pub fn link_timeout(mut self, timeout: Duration) -> Self {
        self.link_timeout = Some(timeout);
        self
    }

    /// Sets how long it is reckoned with that a business whose link was lost is alive and only cut off. Default
    /// 10 min; zero for not at all.
    ///
    /// Its clients are served by others at once, but such a business takes this gateway for dead and runs
    /// `on_close` for each of them. So when a client of these leaves, others run its `on_close` only when the
    /// business is back and has not, when another process has taken its place, or after this limit: earlier it
    /// might run twice. With zero they run it at once.
    #[must_use]
    pub fn partition_limit(mut self, limit: Duration) -> Self {
        self.partition_limit = limit;
        self
    }

    /// Does without heirs: when a process of this gateway and a business die together, as with their machine,
    /// `on_close` does not run for the clients that they had. By default each business has another one that runs
    /// it then, to which this gateway tells each second which clients came, with their sessions, and went: about
    /// 100 bytes and the session of each client are kept there. A session of more than 64 KiB is not.
    #[must_use]
    pub fn without_heirs(mut self) -> Self {
        self.heirs = false;
        self
    }
}
