//! When a process is ready that takes the place of another one.

use lineman::service::Predecessor;

use super::*;
use crate::business::readiness::LINK_LIMIT;

/// Returns the process that follows the cluster's business in its slot; no register answers it.
fn successor(cluster: &Cluster, briefing: Option<String>, serves: bool) -> (Rc<Core<App>>, Log) {
    let log = Log::default();
    let gate = Rc::new(Semaphore::new(0));
    let app = App { log: log.clone(), gate, far: Cell::new(None) };
    let (listeners, table) = (Vec::new(), cluster.core.table.clone());
    let service = "app".to_owned();
    let predecessor = Some(Predecessor { briefing: briefing.unwrap(), serves });
    let context = Context { service, index: 4, generation: 2, listeners, table, predecessor };
    let (core, _, _) = Business::new(app).secret_key("s").core(&context).unwrap();
    core.take_over(context.predecessor.as_ref().unwrap());
    (core, log)
}

/// Returns what a successor says that does not get ready.
async fn problem(core: &Core<App>) -> String {
    let tried = |known: &gateway::KnownGateway| {
        known.outage.is_some() || known.link.as_ref().is_some_and(|link| link.up.is_some())
    };
    while !core.gateways.borrow().values().all(tried) {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    let error = core.links_made(LINK_LIMIT).await.unwrap_err();
    tokio::time::resume();
    error.to_string()
}

/// Waits until the business has an answer of its gateway.
async fn answered(cluster: &Cluster) {
    let answered = |core: &Core<App>| {
        let gateways = core.gateways.borrow();
        gateways[&cluster.address].link.as_ref().is_some_and(|link| link.epoch.is_some())
    };
    cluster.until(answered).await;
}

#[test]
fn a_successor_needs_no_register_to_link_to_what_its_predecessor_is_linked_to() {
    for epoch in [Some("e1"), None] {
        run(epoch, async |cluster| {
            if epoch.is_some() {
                answered(&cluster).await;
            }
            let (core, _) = successor(&cluster, cluster.core.briefing(), true);
            core.links_made(LINK_LIMIT).await.unwrap();
            let login = cluster.gateway.log.until("WorkerConnect").await.pop().unwrap();
            assert!(login.contains("app:4:"), "{login}");
            assert_eq!(
                core.briefing(),
                cluster.core.briefing(),
                "the next one has it from this one"
            );
        });
    }
}

#[test]
fn a_successor_that_a_gateway_refuses_is_not_ready_and_says_so() {
    run(Some("e1"), async |cluster| {
        answered(&cluster).await;
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let briefing = format!(r#"{{"answered":["{}"],"linked":["{gone}"]}}"#, cluster.address);
        let (core, _) = successor(&cluster, Some(briefing), true);
        assert_eq!(
            problem(&core).await,
            format!("gateway {gone} does not answer (Connection refused)")
        );
    });
}

#[test]
fn a_successor_that_a_gateway_does_not_answer_is_not_ready() {
    run(Some("e1"), async |cluster| {
        answered(&cluster).await;
        cluster.gateway.mute.set(true);
        let (core, _) = successor(&cluster, cluster.core.briefing(), true);
        let problem = problem(&core).await;
        assert!(problem.ends_with("is connected and does not answer"), "{problem}");
    });
}

#[test]
fn a_process_after_a_crash_takes_the_addresses_and_may_start_before_gateways() {
    run(Some("e1"), async |cluster| {
        answered(&cluster).await;
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let briefing = format!(r#"{{"answered":["{}","{gone}"]}}"#, cluster.address);
        let (core, _) = successor(&cluster, Some(briefing), false);
        while !core.hub.is_linked(cluster.address) {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        core.links_made(LINK_LIMIT).await.unwrap();
        tokio::time::resume();
        assert!(core.hub.is_linked(cluster.address) && !core.hub.is_linked(gone));
    });
}

#[test]
fn a_briefing_that_is_not_understood_is_none() {
    run(Some("e1"), async |cluster| {
        for briefing in ["", "[7]", r#"{"answered":["here"]}"#] {
            let (core, _) = successor(&cluster, Some(briefing.to_owned()), true);
            assert!(core.gateways.borrow().is_empty() && !core.addresses.borrow().is_known());
        }
    });
}

#[test]
fn clients_that_a_failed_successor_was_given_lose_nothing() {
    run(Some("e1"), async |cluster| {
        answered(&cluster).await;
        let (core, log) = successor(&cluster, cluster.core.briefing(), true);
        cluster.gateway.log.until("WorkerConnect").await;
        cluster.message(1, "hello");
        log.until("hello").await;
        let leaves = tokio::task::spawn_local(async move { core.give_up().await });
        cluster.gateway.log.until("Drain").await;
        cluster.message(1, "again");
        cluster.gateway.send(link::Event::Fence);
        let said = cluster.gateway.log.until("Release").await;
        assert!(said.iter().any(|line| line == "SendToOne 1 again"), "{said:?}");
        leaves.await.unwrap();
        log.until("stop").await;
    });
}
