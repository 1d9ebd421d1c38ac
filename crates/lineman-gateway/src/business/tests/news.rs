//! What registers' lists say of gateways that come, and of runs that are over.

use super::*;

/// Tells the business that a register has this epoch for its gateway.
fn tell(cluster: &Cluster, epoch: &str) {
    let epochs = BTreeMap::from([(cluster.address.to_string(), epoch.to_owned())]);
    cluster.core.on_epochs(&epochs);
}

fn link(cluster: &Cluster) -> Option<clients::LinkId> {
    cluster.core.gateways.borrow()[&cluster.address].link.as_ref().map(gateway::Link::id)
}

/// Waits until the gateway's `Hello` is here.
async fn answered(cluster: &Cluster, epoch: &str) {
    cluster
        .until(|core| {
            let gateways = core.gateways.borrow();
            let link = gateways[&cluster.address].link.as_ref();
            link.is_some_and(|link| link.epoch.as_deref() == Some(epoch))
        })
        .await;
}

#[test]
fn a_gateway_that_is_there_is_probed_once_for_each_other_run_and_keeps_its_link() {
    run(Some("e1"), async |cluster| {
        answered(&cluster, "e1").await;
        let before = link(&cluster);
        tell(&cluster, "e1");
        assert!(!cluster.gateway.log.holds("Probe"));
        for epoch in ["e0", "e9"] {
            let asked = Instant::now();
            tell(&cluster, epoch);
            let answers = |core: &Core<App>| {
                let gateways = core.gateways.borrow();
                gateways[&cluster.address].link.as_ref().is_some_and(|link| link.heard > asked)
            };
            cluster.gateway.log.until("Probe").await;
            cluster.until(answers).await;
            tokio::time::pause();
            tokio::time::sleep(Duration::from_secs(5)).await;
            tokio::time::resume();
            tell(&cluster, epoch);
            cluster.message(1, "hello");
            let heard = cluster.gateway.log.until("SendToOne 1 hello").await;
            assert!(!heard.iter().any(|line| line.starts_with("Probe")), "{heard:?}");
        }
        assert_eq!(link(&cluster), before);
    });
}

#[test]
fn the_link_to_a_former_run_is_given_up_when_a_register_names_the_new_one() {
    run(Some("e1"), async |cluster| {
        cluster.message(1, "hello");
        cluster.log.until("hello").await;
        // What it still has to say would be a sign of life.
        cluster.until(|core| core.unsettled.borrow().is_empty()).await;
        // Its machine has restarted, and nothing on the way says so.
        cluster.gateway.mute.set(true);
        tell(&cluster, "e2");
        cluster.gateway.log.until("Probe").await;
        cluster.gateway.mute.set(false);
        cluster.gateway.epoch.replace(Some("e2".to_owned()));
        tokio::time::pause();
        assert_eq!(cluster.log.until("close 1").await, ["close 1 hello"]);
        tokio::time::resume();
        answered(&cluster, "e2").await;
    });
}

#[test]
fn a_gateway_of_an_older_version_is_not_probed() {
    run(Some("e1"), async |cluster| {
        answered(&cluster, "e1").await;
        let older = |known: &mut gateway::KnownGateway| known.link.as_mut().unwrap().version = 2;
        older(cluster.core.gateways.borrow_mut().get_mut(&cluster.address).unwrap());
        tell(&cluster, "e2");
        cluster.message(1, "hello");
        cluster.gateway.log.until("SendToOne 1 hello").await;
        assert!(!cluster.gateway.log.holds("Probe"));
    });
}

#[test]
fn an_attempt_that_hangs_is_made_anew_when_a_register_has_news() {
    run(Some("e1"), async |cluster| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let lists = [cluster.address.to_string(), address.to_string()];
        cluster.core.on_addresses(0, &lists);
        let attempt = || {
            let gateways = cluster.core.gateways.borrow();
            gateways[&address].link.as_ref().map(gateway::Link::id)
        };
        let first = attempt();
        cluster.core.on_addresses(0, &lists);
        assert_eq!(attempt(), first, "it has just begun");
        let begun = Instant::now() - Duration::from_secs(1);
        cluster.core.gateways.borrow_mut().get_mut(&address).unwrap().tried = Some(begun);
        cluster.core.on_addresses(0, &lists);
        assert!(attempt().is_some() && attempt() != first);
        cluster.until(|core| core.hub.is_linked(address)).await;
    });
}
