//! What registers' lists say of gateways that come.

use super::*;

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
