//! A gateway that was out of reach is back: what it is told, and what the application is told.

use super::*;

/// How many clients were kept, then their numbers as bytes and those of the ones whose end was told.
async fn kept(cluster: &Cluster) -> String {
    let line = cluster.gateway.log.until("Kept").await.pop().unwrap();
    line["Kept ".len()..].to_owned()
}

/// Loses the link for so long that the gateway counts as dead.
async fn partition(cluster: &Cluster) {
    cluster.gateway.mute.set(true);
    cluster.lose_link();
    cluster.until(|core| !core.hub.is_linked(cluster.address)).await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(6)).await;
    tokio::time::resume();
    cluster.gateway.mute.set(false);
    if let Some(link) = cluster.gateway.link.take() {
        link.abort();
    }
}

#[test]
fn a_gateway_that_is_back_soon_hears_which_clients_were_kept() {
    run_settling(async |cluster| {
        assert_eq!(kept(&cluster).await, "0 ", "there was nothing before");
        cluster.message(1, "hello");
        cluster.message(2, "hello");
        cluster.gateway.send(link::Event::Close(cluster.client(2)));
        cluster.log.until("close 2").await;
        cluster.lose_link();
        assert_eq!(kept(&cluster).await, "1 \0\0\0\u{1}");
        cluster.gateway.log.until("Sync").await;
        assert!(!cluster.log.holds("close 1"));
        // It knows now.
        cluster.until(|core| core.unsettled.borrow().is_empty()).await;
        cluster.lose_link();
        assert_eq!(kept(&cluster).await, "0 ");
    });
}

#[test]
fn a_client_whose_end_was_told_returns() {
    run_settling(async |cluster| {
        kept(&cluster).await;
        cluster.message(1, "hello");
        cluster.log.until("hello").await;
        partition(&cluster).await;
        assert_eq!(cluster.log.until("close 1").await, ["close 1 hello"]);
        assert_eq!(kept(&cluster).await, "0 \0\0\0\u{1}");
        cluster.gateway.send(link::Event::Adopt(cluster.client(1)));
        cluster.gateway.send(link::Event::Returned(cluster.client(1)));
        assert_eq!(cluster.log.until("return").await, ["return 1 "]);
        cluster.gateway.send(link::Event::Close(cluster.client(1)));
        assert_eq!(cluster.log.until("close").await, ["close 1 "]);
        // Both count as handled, as on the gateway's side.
        cluster.gateway.log.until("Handled 2").await;
    });
}

#[test]
fn a_client_returns_when_the_handler_of_its_end_is_done() {
    run_settling(async |cluster| {
        kept(&cluster).await;
        cluster.message(1, "slow to leave");
        cluster.log.until("slow").await;
        partition(&cluster).await;
        assert_eq!(kept(&cluster).await, "0 \0\0\0\u{1}", "its end is being told");
        cluster.gateway.send(link::Event::Returned(cluster.client(1)));
        cluster.until(|core| core.clients.borrow().waiting() == 1).await;
        cluster.core.events.gate.add_permits(1);
        let told = cluster.log.until("return").await;
        assert_eq!(told, ["close 1 slow to leave", "return 1 "]);
        assert_eq!(cluster.core.clients.borrow().len(), 1);
    });
}

#[test]
fn a_client_whose_end_was_told_elsewhere_is_forgotten() {
    run_settling(async |cluster| {
        cluster.message(1, "hello");
        cluster.message(2, "wait");
        cluster.message(2, "behind");
        cluster.log.until("hello").await;
        cluster.gateway.send(link::Event::Forget(cluster.client(1)));
        cluster.gateway.send(link::Event::Forget(cluster.client(2)));
        cluster.gateway.send(link::Event::Forget(cluster.client(3)));
        cluster.until(|core| core.clients.borrow().len() == 1).await;
        cluster.core.events.gate.add_permits(1);
        cluster.gateway.log.until("Handled 3").await;
        assert_eq!(cluster.core.clients.borrow().len(), 0);
        assert_eq!(cluster.core.dropped_events.get(), 1);
        assert!(!cluster.log.holds("close"));
    });
}

/// The gateway told it on the link that was lost: it cannot know whether that was heard.
#[test]
fn an_end_that_waits_behind_a_lost_link_is_told_here() {
    run_settling(async |cluster| {
        kept(&cluster).await;
        cluster.message(1, "wait");
        cluster.message(1, "behind");
        cluster.gateway.send(link::Event::Close(cluster.client(1)));
        cluster.gateway.send(link::Event::Connect(cluster.client(2)));
        cluster.message(3, "hello");
        cluster.log.until("hello").await;
        cluster.lose_link();
        assert_eq!(kept(&cluster).await, "2 \0\0\0\u{2}\0\0\0\u{3}");
        cluster.core.events.gate.add_permits(1);
        let told = cluster.log.until("close").await;
        assert_eq!(told, ["wait 1", "behind 1", "close 1 behind"]);
    });
}

#[test]
fn a_drain_goes_on_with_a_gateway_that_is_back() {
    run_settling(async |cluster| {
        kept(&cluster).await;
        cluster.message(1, "hello");
        cluster.log.until("hello").await;
        let drained = cluster.drain();
        cluster.gateway.log.until("Drain").await;
        cluster.lose_link();
        assert_eq!(kept(&cluster).await, "1 \0\0\0\u{1}");
        cluster.gateway.log.until("Drain").await;
        cluster.gateway.send(link::Event::Fence);
        cluster.gateway.log.until("Release").await;
        drained.await.unwrap();
        assert!(!cluster.log.holds("close"), "others have them");
    });
}

/// Has the gateway tell of clients of another business.
fn witness(cluster: &Cluster) {
    let here = |connection_id, last: &str| {
        let session = format!(r#"a:1:{{s:4:"last";s:{}:"{last}";}}"#, last.len());
        let ip = Ipv4Addr::LOCALHOST.into();
        link::Witnessed::Here { connection_id, ip, port: 9, session: session.into() }
    };
    let clients =
        vec![here(7, "seven"), here(8, "eight"), link::Witnessed::Gone { connection_id: 8 }];
    let worker_key = "app:0:77-0f".to_owned();
    let witness = link::Witness { worker_key, anew: true, gateway_port: 7, clients };
    cluster.gateway.send(link::Event::Witness(witness));
}

/// Says in the other business's name that it lives.
fn answer(cluster: &Cluster) {
    let SocketAddr::V4(gateway) = cluster.address else { panic!("no IPv4") };
    let worker_key = "app:0:77-0f".to_owned();
    let note = link::Note { worker_key, gateway, says: link::Says::Mine };
    cluster.gateway.send(link::Event::Relay(note));
}

#[test]
fn an_heir_tells_the_end_of_clients_whose_gateway_and_business_are_dead() {
    run_settling(async |cluster| {
        kept(&cluster).await;
        witness(&cluster);
        cluster.until(|core| core.heirs.borrow().len() == 1).await;
        cluster.gateway.epoch.replace(Some("e2".to_owned()));
        cluster.lose_link();
        cluster.gateway.log.until("Relay 0 app:0:77-0f").await;
        tokio::time::pause();
        assert_eq!(cluster.log.until("close").await, ["close 7 seven"]);
        tokio::time::resume();
        assert_eq!(cluster.core.heirs.borrow().len(), 0);
    });
}

#[test]
fn an_heir_leaves_them_to_their_business_if_it_lives() {
    run_settling(async |cluster| {
        kept(&cluster).await;
        witness(&cluster);
        cluster.until(|core| core.heirs.borrow().len() == 1).await;
        cluster.gateway.epoch.replace(Some("e2".to_owned()));
        cluster.lose_link();
        cluster.gateway.log.until("Relay 0 app:0:77-0f").await;
        answer(&cluster);
        cluster.until(|core| core.heirs.borrow().is_idle()).await;
        tokio::time::pause();
        tokio::time::sleep(Duration::from_mins(1)).await;
        tokio::time::resume();
        assert!(!cluster.log.holds("close"));
    });
}

#[test]
fn a_gateway_that_was_not_dead_hears_whose_end_its_heir_has_told() {
    run_settling(async |cluster| {
        kept(&cluster).await;
        witness(&cluster);
        cluster.until(|core| core.heirs.borrow().len() == 1).await;
        partition(&cluster).await;
        kept(&cluster).await;
        assert!(cluster.core.heirs.borrow().is_idle(), "it is back before that");

        witness(&cluster);
        cluster.until(|core| core.heirs.borrow().len() == 1).await;
        cluster.gateway.mute.set(true);
        cluster.lose_link();
        cluster.until(|core| !core.hub.is_linked(cluster.address)).await;
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(30)).await;
        tokio::time::resume();
        assert_eq!(cluster.log.until("close").await, ["close 7 seven"]);
        cluster.gateway.mute.set(false);
        if let Some(link) = cluster.gateway.link.take() {
            link.abort();
        }
        assert_eq!(kept(&cluster).await, "0 \0\0\0\u{7}");
    });
}

#[test]
fn a_business_says_that_it_lives() {
    run_settling(async |cluster| {
        let SocketAddr::V4(gateway) = cluster.address else { panic!("no IPv4") };
        let worker_key = "app:9:1-0f".to_owned();
        let note = link::Note { worker_key, gateway, says: link::Says::Whose };
        cluster.gateway.send(link::Event::Relay(note));
        let heard = cluster.gateway.log.until("Relay").await.pop().unwrap();
        assert!(heard.starts_with("Relay 0 app:9:1-0f\u{1}"), "{heard}");
    });
}
