//! What a business says of gateways that it does not reach.

use super::*;

impl Cluster {
    /// Returns what it says after a look.
    fn remarks(&self) -> Vec<String> {
        self.core.look_at_reach();
        self.core.condition().remarks
    }

    /// Returns how often the gateway was tried so far.
    fn attempts(&self) -> usize {
        let log = self.gateway.log.0.borrow();
        log.iter().filter(|line| line.starts_with("WorkerConnect")).count()
    }
}

impl Fake {
    /// Asks the business whether it lives, if there is a link.
    fn ask(&self) {
        if let Some(link) = self.link.borrow().as_ref().filter(|link| link.is_open()) {
            link.send(Packet::from(link::Event::Probe)).unwrap();
        }
    }
}

/// Returns an address of this machine where nothing listens.
fn deserted() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_gateway_that_refuses_us_is_remarked_with_its_reason_and_tried_less_and_less() {
    run(Some("e1"), async |cluster| {
        assert_eq!(cluster.remarks(), [""; 0]);
        cluster.gateway.refuses.set(Some("wrong secret key"));
        cluster.lose_link();
        let refused = |core: &Core<App>| {
            let gateways = core.gateways.borrow();
            gateways.values().all(|known| {
                known.outage.as_ref().is_some_and(|o| o.refusals() > 0) && known.link.is_none()
            })
        };
        cluster.until(refused).await;
        let address = cluster.address;
        let said = format!("links 0 of 1: {address} refuses this process: wrong secret key (");
        let remarks = cluster.remarks();
        assert!(remarks.len() == 1 && remarks[0].starts_with(&said), "{remarks:?}");
        tokio::time::pause();
        let (core, gateway) = (Rc::clone(&cluster.core), Rc::clone(&cluster.gateway));
        // As the service does it, and the gateway.
        let looks = tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SIGN_OF_LIFE).await;
                core.give_signs();
                core.look_at_reach();
                gateway.ask();
            }
        });
        let before = cluster.attempts();
        tokio::time::sleep(Duration::from_mins(2)).await;
        let tried = cluster.attempts() - before;
        assert!((5..=9).contains(&tried), "{tried}");
        cluster.gateway.refuses.set(None);
        tokio::time::sleep(Duration::from_secs(40)).await;
        tokio::time::resume();
        looks.abort();
        cluster.until(|core| core.hub.is_linked(address)).await;
        cluster.until(|core| core.gateways.borrow()[&address].is_linked(Instant::now())).await;
        assert_eq!(cluster.remarks(), [""; 0]);
        assert!(cluster.core.gateways.borrow()[&address].outage.is_none());
    });
}

#[test]
fn a_gateway_that_hangs_is_remarked_and_its_link_given_up() {
    run(Some("e1"), async |cluster| {
        let pass = async |seconds: u64, asks: bool| {
            for _ in 0..seconds {
                tokio::time::advance(SIGN_OF_LIFE).await;
                if asks {
                    let asked = Instant::now();
                    cluster.gateway.ask();
                    let heard = |core: &Core<App>| {
                        let gateways = core.gateways.borrow();
                        let link = gateways[&cluster.address].link.as_ref();
                        link.is_some_and(|link| link.heard >= asked)
                    };
                    cluster.until(heard).await;
                }
                cluster.core.give_signs();
                cluster.core.look_at_reach();
            }
            cluster.core.condition().remarks
        };
        cluster.until(|core| core.gateways.borrow()[&cluster.address].is_ours).await;
        tokio::time::pause();
        assert_eq!(pass(20, true).await, [""; 0]);
        assert_eq!(pass(6, false).await, [""; 0], "this loop may have stood still for so long");
        let address = cluster.address;
        assert_eq!(pass(3, false).await, [format!("links 0 of 1: {address} says nothing (2 s)")]);
        assert_eq!(pass(1, true).await, [""; 0], "it goes on");

        // What was not read while this process stood still is no silence.
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(pass(6, false).await, [""; 0]);

        cluster.gateway.mute.set(true);
        pass(25, false).await;
        tokio::time::resume();
        cluster.gateway.log.until("closed").await;
        // Its machine connects, and that alone is no link.
        cluster.gateway.log.until("WorkerConnect").await;
        cluster.core.look_at_reach();
        assert!(
            !cluster.core.gateways.borrow()[&address].is_linked(Instant::now() + SIGN_OF_LIFE * 9)
        );
    });
}

#[test]
fn a_gateway_that_does_not_answer_is_remarked_and_what_it_misses_is_counted() {
    run(Some("e1"), async |cluster| {
        let (missing, hub) = (deserted(), &cluster.core.hub);
        let list = |gateways: &[SocketAddr]| {
            let list: Vec<_> = gateways.iter().map(SocketAddr::to_string).collect();
            cluster.core.on_addresses(0, &list);
        };
        list(&[cluster.address, missing]);
        hub.send_to_all("before it is known").unwrap();
        let failed = |core: &Core<App>| core.gateways.borrow()[&missing].outage.is_some();
        cluster.until(failed).await;
        // How long that is depends on how busy the machine is.
        let said = format!("links 1 of 2: {missing} does not answer (Connection refused, ");
        let remarks = cluster.remarks();
        assert!(remarks.len() == 1 && remarks[0].starts_with(&said), "{remarks:?}");

        let client = |gateway: SocketAddr| ClientId::new(Ipv4Addr::LOCALHOST, gateway.port(), 1);
        let (here, there) = (client(cluster.address), client(missing));
        hub.send_to_uid("ada", "x").unwrap();
        hub.send_to_client(there, "x").unwrap();
        hub.send_to_clients(&[here, there], "x").unwrap();
        hub.send_to_clients(&[here], "x").unwrap();
        // A gateway that no register lists is not missed.
        hub.send_to_client(client(deserted()), "x").unwrap();
        assert_eq!(cluster.core.mesh.unreachable_sends(), 4);

        list(&[cluster.address]);
        assert_eq!(cluster.remarks(), [""; 0]);
        hub.send_to_all("x").unwrap();
        assert_eq!(cluster.core.mesh.unreachable_sends(), 4);
    });
}
