//! What a business tells its gateways: that it reads, what it has handled, and that it leaves.

use super::*;

#[test]
fn a_link_with_too_many_events_is_not_read_until_half_are_handled() {
    run(Some("e1"), async |cluster| {
        cluster.message(1, "wait");
        for _ in 0..10_000 {
            cluster.message(1, "x");
        }
        cluster.until(|core| !reads(core)).await;
        cluster.message(2, "later");
        cluster.core.events.gate.add_permits(1);
        cluster.log.until("later").await;
        assert!(reads(&cluster.core));
        cluster.gateway.log.until("Handled 10002").await;
    });
}

#[test]
fn a_link_of_php_s_is_not_read_while_the_business_leaves() {
    run(None, async |cluster| {
        cluster.message(1, "wait");
        cluster.until(|core| !core.clients.borrow().is_idle()).await;
        let drained = cluster.drain();
        cluster.until(|core| !reads(core)).await;
        cluster.message(2, "late");
        assert!(!drained.is_finished(), "a handler still runs");
        cluster.core.events.gate.add_permits(1);
        drained.await.unwrap();
        assert_eq!(cluster.log.until("wait 1").await, ["wait 1"]);
        assert!(!cluster.log.holds("late"));
        assert!(!cluster.gateway.log.holds("Drain"), "PHP knows no extension");
    });
}

#[test]
fn a_drain_waits_for_fence_and_confirmation() {
    run(Some("e1"), async |cluster| {
        let drained = cluster.drain();
        cluster.gateway.log.until("Drain").await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!drained.is_finished() && !cluster.gateway.log.holds("Sync"));
        cluster.gateway.send(link::Event::Fence);
        cluster.gateway.log.until("Release").await;
        drained.await.unwrap();
    });
}

#[test]
fn the_end_runs_on_stop_and_closes_the_links() {
    run(Some("e1"), async |cluster| {
        cluster.running().stopped().await;
        assert_eq!(cluster.log.until("stop").await, ["stop"]);
        cluster.gateway.log.until("closed").await;
        assert_eq!(cluster.running().gauges()["links"], 0);
    });
}

#[test]
fn events_are_reported_as_handled_one_by_one_or_together_but_all() {
    run(Some("e1"), async |cluster| {
        for client in 1..=3 {
            cluster.message(client, "hello");
        }
        cluster.gateway.log.until("Handled 3").await;
        cluster.gateway.send(link::Event::Close(cluster.client(1)));
        cluster.gateway.log.until("Handled 4").await;
        assert_eq!(cluster.core.clients.borrow().len(), 2);
    });
}

#[test]
fn messages_one_by_one_are_reported_together() {
    run(Some("e1"), async |cluster| {
        cluster.gateway.send(link::Event::Connect(cluster.client(1)));
        cluster.gateway.log.until("Handled 1").await;
        // No time passes while it is read all the time.
        tokio::time::pause();
        for number in 1..=100 {
            cluster.message(1, "x");
            let handled = || cluster.log.0.borrow().iter().filter(|line| *line == "x 1").count();
            cluster.until(|_| handled() == number).await;
        }
        tokio::time::resume();
        let heard = cluster.gateway.log.until("Handled 101").await;
        let reports = heard.iter().filter(|line| line.starts_with("Handled")).count();
        assert!((4..=5).contains(&reports), "{reports}");
        // The end of a client is reported at once, and what was before it.
        cluster.message(1, "y");
        cluster.gateway.send(link::Event::Close(cluster.client(1)));
        cluster.gateway.log.until("Handled 103").await;
    });
}

/// Otherwise a process that is killed would have reported a message that half of its group never got.
#[test]
fn an_event_is_reported_as_handled_behind_what_it_sent_to_other_gateways() {
    run(Some("e1"), async |cluster| {
        let slow = cluster.slow_gateway().await;
        cluster.message(1, "far");
        cluster.log.until("far").await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!cluster.gateway.log.holds("Handled"), "the message has not left");
        slow.link.borrow().as_ref().unwrap().resume();
        cluster.gateway.log.until("Handled 1").await;
        slow.log.until("SendToOne 5").await;
    });
}

#[test]
fn a_gateway_that_hangs_does_not_hide_from_others_that_the_business_works() {
    run_with(SHARE, async |cluster| {
        let slow = cluster.slow_gateway().await;
        cluster.message(1, "far");
        cluster.message(2, "near");
        cluster.log.until("near").await;
        cluster.core.give_signs();
        cluster.gateway.log.until("Alive 2").await;
        assert!(!cluster.gateway.log.holds("Handled"), "the message has not left");
        slow.link.borrow().as_ref().unwrap().resume();
        cluster.gateway.log.until("Handled 2").await;
    });
}

#[test]
fn before_a_confirmation_is_asked_for_everything_is_reported() {
    run(Some("e1"), async |cluster| {
        let slow = cluster.slow_gateway().await;
        cluster.message(1, "far");
        cluster.log.until("far").await;
        let drained = cluster.drain();
        cluster.gateway.log.until("Drain").await;
        cluster.gateway.send(link::Event::Fence);
        slow.send(link::Event::Fence);
        let heard = cluster.gateway.log.until("Sync").await;
        assert!(heard.iter().any(|line| line.starts_with("Handled 1")), "{heard:?}");
        assert!(!drained.is_finished(), "the slow gateway has not confirmed");
        slow.link.borrow().as_ref().unwrap().resume();
        drained.await.unwrap();
        slow.log.until("Release").await;
    });
}

const SHARE: Allowance = Allowance { events: 4, bytes: 1_000_000 };

#[test]
fn half_a_share_is_given_back_at_once_and_less_is_not() {
    run_with(SHARE, async |cluster| {
        cluster.message(1, "one");
        cluster.message(2, "other");
        cluster.gateway.log.until("Handled 2").await;
        assert!(!cluster.gateway.log.holds("Credit"));
        cluster.message(1, "two");
        cluster.gateway.log.until("Credit 1 \0\0\0\u{2}").await;
        // An event that cannot be read is done with as well.
        let id = cluster.client(1).id;
        let unreadable = Packet {
            local_ip: id.local_ip,
            local_port: id.local_port,
            body: "no php".into(),
            ..Packet::new(Command::OnWebSocketConnect, 1)
        };
        let unreadable = Packet { flags: 0, ..unreadable };
        cluster.gateway.link.borrow().as_ref().unwrap().send(unreadable).unwrap();
        cluster.message(1, "three");
        cluster.gateway.log.until("Credit 1 \0\0\0\u{2}").await;
    });
}

#[test]
fn of_bytes_half_a_share_is_enough() {
    run_with(Allowance { events: 100, bytes: 2000 }, async |cluster| {
        cluster.message(1, &"x".repeat(500));
        cluster.message(1, &"x".repeat(500));
        let told = cluster.gateway.log.until("Credit").await;
        // 2 events of 28 + 500 bytes.
        assert_eq!(told.last().unwrap(), "Credit 1 \0\0\0\u{2}\0\0\u{4}\u{20}");
    });
}

#[test]
fn many_clients_that_flood_get_less_and_the_link_is_read() {
    run_with(Allowance { events: 256, bytes: 1_000_000 }, async |cluster| {
        // 99 of this one are handled and below half a share.
        (0..99).for_each(|_| cluster.message(1, "quiet"));
        cluster.gateway.log.until("Handled 99").await;
        for client in 2..50 {
            cluster.message(client, "wait");
            (0..255).for_each(|_| cluster.message(client, "more"));
        }
        cluster.message(1, "late");
        cluster.log.until("late").await;
        assert!(reads(&cluster.core) && cluster.core.clients.borrow().waiting() == 48 * 255);
        cluster.gateway.log.until("Credit 1 \0\0\0\u{63}").await;
        cluster.gateway.log.until("Share 0 \0\0\0\u{1}").await;
        assert!(cluster.running().gauges()["shrunk_shares"] > 1);
        cluster.core.events.gate.add_permits(48);
        cluster.gateway.log.until("Share 0 \0\0\u{1}\0").await;
        cluster.until(|core| core.clients.borrow().is_idle()).await;
    });
}

#[test]
fn a_client_whose_gateway_was_not_told_has_its_credit_later() {
    run_with(SHARE, async |cluster| {
        let id = cluster.client(1).id;
        cluster.message(1, "one");
        cluster.gateway.log.until("Handled 1").await;
        let link = cluster.core.gateways.borrow()[&cluster.address].link.as_ref().unwrap().id();
        cluster.core.clients.borrow_mut().untold(id, Allowance { events: 1, bytes: 9 });
        cluster.core.uncredited.borrow_mut().push((link, id));
        cluster.core.give_signs();
        cluster.gateway.log.until("Credit 1 \0\0\0\u{2}").await;
        assert!(cluster.core.uncredited.borrow().is_empty());
    });
}

#[test]
fn while_handlers_wait_gateways_hear_that_the_loop_goes_on() {
    run_with(SHARE, async |cluster| {
        cluster.message(1, "hello");
        cluster.gateway.log.until("Handled 1").await;
        cluster.core.give_signs();
        cluster.message(1, "wait");
        cluster.until(|core| !core.clients.borrow().is_idle()).await;
        assert!(!cluster.gateway.log.holds("Handled"), "it has nothing to do");
        cluster.core.give_signs();
        cluster.gateway.log.until("Alive 1").await;
        cluster.core.events.gate.add_permits(1);
        cluster.gateway.log.until("Handled 2").await;
    });
}

#[test]
fn a_gateway_that_asks_hears_that_the_loop_goes_on() {
    run(Some("e1"), async |cluster| {
        cluster.gateway.send(link::Event::Probe);
        cluster.gateway.log.until("Alive 0").await;
        cluster.message(1, "hello");
        cluster.log.until("hello").await;
        cluster.gateway.send(link::Event::Probe);
        cluster.gateway.log.until("Alive 1").await;
    });
}

#[test]
fn clients_whose_events_wait_take_turns() {
    run(Some("e1"), async |cluster| {
        for client in [1, 2] {
            cluster.message(client, "wait");
            for _ in 0..100 {
                cluster.message(client, "more");
            }
        }
        cluster.until(|core| core.clients.borrow().waiting() == 200).await;
        cluster.core.events.gate.add_permits(2);
        cluster.gateway.log.until("Handled 202").await;
        let done = cluster.log.0.borrow().clone();
        let before = |line: &str| {
            let last = done.iter().rposition(|done| done == line).unwrap();
            done[..last].iter().filter(|done| done.starts_with("more")).count()
        };
        assert!(before("more 1") > 195 && before("more 2") > 195, "one was behind: {done:?}");
    });
}
