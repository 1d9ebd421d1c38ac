//! What becomes of clients whose link is lost, and of their sessions.

use super::*;

/// The application's last word on a session is kept where no gateway is left to have it.
#[test]
fn a_handler_that_fails_after_its_gateway_died_leaves_its_session_to_on_close() {
    run(None, async |cluster| {
        cluster.message(1, "wait and fail");
        cluster.until(|core| !core.clients.borrow().is_idle()).await;
        cluster.lose_link();
        cluster.until(|core| !core.hub.is_linked(cluster.address)).await;
        cluster.core.events.gate.add_permits(1);
        assert_eq!(cluster.log.until("close 1").await, ["close 1 wait and fail"]);
        assert_eq!(cluster.core.handler_errors.get(), 1);
    });
}

#[test]
fn a_handler_that_fails_leaves_the_gateway_s_copy_of_the_session() {
    run(Some("e1"), async |cluster| {
        cluster.message(1, "wait and fail");
        cluster.core.events.gate.add_permits(1);
        cluster.gateway.log.until("Kick 1 1011N;").await;
        cluster.gateway.send(link::Event::Close(cluster.client(1)));
        assert_eq!(cluster.log.until("close 1").await, ["close 1 "]);
    });
}

#[test]
fn a_gateway_that_does_not_answer_is_given_up() {
    run(Some("e1"), async |cluster| {
        cluster.message(1, "hello");
        cluster.log.until("hello").await;
        cluster.message(2, "wait");
        cluster.until(|core| !core.clients.borrow().is_idle()).await;
        cluster.gateway.mute.set(true);
        cluster.lose_link();
        cluster.until(|core| !core.hub.is_linked(cluster.address)).await;
        tokio::time::pause();
        let lost = Instant::now();
        cluster.log.until("close 1 hello").await;
        let waited = lost.elapsed().as_secs();
        assert!((4..6).contains(&waited), "{waited}");
        tokio::time::resume();
        cluster.core.events.gate.add_permits(1);
        assert_eq!(cluster.log.until("close 2").await, ["wait 2", "close 2 wait"]);
        assert_eq!(cluster.core.clients.borrow().len(), 0);
    });
}

#[test]
fn what_waits_behind_a_lost_link_is_handled_when_the_gateway_gives_it_back() {
    run(Some("e1"), async |cluster| {
        cluster.message(1, "wait");
        cluster.message(1, "behind");
        cluster.until(|core| core.clients.borrow().waiting() == 1).await;
        cluster.lose_link();
        cluster.gateway.log.until("WorkerConnect").await;
        cluster.until(|core| core.clients.borrow().waiting() == 0).await;
        assert_eq!(cluster.core.dropped_events.get(), 1, "its new business gets it anew");
        cluster.gateway.send(link::Event::Adopt(cluster.client(1)));
        cluster.message(1, "again");
        cluster.until(|core| core.clients.borrow().waiting() == 1).await;
        cluster.core.events.gate.add_permits(1);
        assert_eq!(cluster.log.until("again").await, ["wait 1", "again 1"]);
        assert!(!cluster.log.holds("close"));
    });
}

#[test]
fn a_gateway_that_is_listed_no_more_is_forgotten_with_its_link() {
    run(Some("e1"), async |cluster| {
        cluster.message(1, "hello");
        cluster.log.until("hello").await;
        cluster.core.on_addresses(0, &[]);
        assert_eq!(cluster.core.gateways.borrow().len(), 1, "while its link lives, it serves");
        cluster.gateway.mute.set(true);
        cluster.lose_link();
        cluster.until(|core| !core.hub.is_linked(cluster.address)).await;
        tokio::time::pause();
        cluster.log.until("close 1 hello").await;
        tokio::time::resume();
        // A link that is made to hear the verdict is the last.
        cluster.gateway.log.until("WorkerConnect").await;
        cluster.lose_link();
        cluster.until(|core| core.gateways.borrow().is_empty()).await;
    });
}

#[test]
fn a_gateway_that_is_listed_again_keeps_its_link() {
    run(Some("e1"), async |cluster| {
        let link = || {
            let gateways = cluster.core.gateways.borrow();
            gateways[&cluster.address].link.as_ref().map(gateway::Link::id)
        };
        let before = link();
        cluster.core.on_addresses(0, &[cluster.address.to_string()]);
        assert!(before.is_some());
        assert_eq!(link(), before);
    });
}

#[test]
fn a_gateway_that_is_listed_during_a_drain_is_not_linked() {
    run(Some("e1"), async |cluster| {
        let drained = cluster.drain();
        cluster.gateway.log.until("Drain").await;
        let (_other, address) = Fake::listen(&cluster.core.table, "127.0.0.1:0", Some("e9"));
        cluster.core.on_addresses(0, &[cluster.address.to_string(), address.to_string()]);
        assert!(cluster.core.gateways.borrow()[&address].link.is_none());
        cluster.gateway.send(link::Event::Fence);
        drained.await.unwrap();
    });
}

/// Its clients are other businesses' by then: what it did would be done beside them.
#[test]
fn a_business_that_stood_still_handles_nothing_of_a_link_that_ended_meanwhile() {
    for stood_still in [false, true] {
        run(Some("e1"), async |cluster| {
            cluster.message(1, "before");
            cluster.log.until("before").await;
            let now = cluster.core.last_seen.get();
            if stood_still {
                cluster.core.last_seen.set(now - Duration::from_secs(10));
            }
            cluster.message(1, "late");
            let link = cluster.gateway.link.take().unwrap();
            link.close(CloseReason::Local);
            cluster.gateway.log.until("WorkerConnect").await;
            assert_eq!(cluster.log.holds("late"), !stood_still);
            assert_eq!(cluster.core.dropped_events.get(), u64::from(stood_still));
            cluster.message(1, "again");
            cluster.log.until("again").await;
        });
    }
}

#[test]
fn a_business_that_stood_still_goes_on_with_the_links_that_it_has() {
    run(Some("e1"), async |cluster| {
        let now = cluster.core.last_seen.get();
        cluster.core.last_seen.set(now - Duration::from_secs(10));
        cluster.message(1, "late");
        cluster.log.until("late").await;
        assert_eq!(cluster.core.dropped_events.get(), 0);
    });
}

#[test]
fn what_may_wait_for_a_gateway_is_as_it_is_set() {
    let sent_with = |queue: Option<usize>| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let change = |business: Business<App>| match queue {
                Some(bytes) => business.link_queue(bytes),
                None => business,
            };
            let cluster = Cluster::of(change, Some("e1"), None, false).await;
            let message = "x".repeat(1024);
            // The gateway reads nothing before this returns: the queue takes it, and the kernel some of it.
            let taken = |_: &usize| cluster.core.hub.send_to_all(&*message).is_ok();
            (0..40_000).take_while(taken).count()
        })
    };
    // 10 MiB of packets, which are a little longer.
    let ten_mib = 9_900;
    let (by_default, least) = (sent_with(None), sent_with(Some(0)));
    assert!(by_default >= ten_mib && (62..ten_mib).contains(&least), "{by_default}, {least}");
}
