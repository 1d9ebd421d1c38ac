//! Captured conversations of `GatewayWorker`'s programs (`lineman-wire/tests/golden`), replayed against our
//! programs over real sockets, each end in its turn: our gateway and register hear what businesses, clients and
//! `GatewayClient` said, our business and client hear what gateway and register said. Every answer has to be the
//! captured one; what differs from run to run, ids of clients, ports and addresses, is put into its terms.
//!
//! The number with each file says how many messages are compared: a replay that skips some would pass otherwise.

mod capture;
mod ids;
mod peer;
mod register;
mod gateway;
mod business;
mod client;

use anyhow::{Result, ensure};
use gateway::Case;

/// For files whose end is no end of programs.
const TO_THE_END: f64 = f64::INFINITY;

/// Replays files side by side; the error has all that went wrong.
async fn all(replays: impl IntoIterator<Item = impl Future<Output = Result<()>>>) -> Result<()> {
    let outcomes = futures_util::future::join_all(replays).await;
    let problems = outcomes.into_iter().filter_map(Result::err);
    let problems: Vec<_> = problems.map(|problem| format!("{problem:#}")).collect();
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

fn holds(name: &str, expected: usize, compared: usize) -> Result<()> {
    ensure!(compared == expected, "{name}: {compared} messages were compared, not {expected}");
    Ok(())
}

#[tokio::test]
async fn our_register_answers_as_the_captured_one() -> Result<()> {
    for (name, secret, until, killed, expected) in [
        ("01-all-api-one-gateway", "", 19.9, None, 1),
        ("02-secret-key", "s3cret", 5.8, None, 2),
        ("03-gatewayclient-no-secret", "", 5.6, None, 2),
        ("07-failures-and-reload", "", 17.9, Some(13.6), 11),
        ("17-demo-chat", "", 25.5, None, 1),
    ] {
        holds(name, expected, register::replay(name, secret, until, killed).await?)?;
    }
    Ok(())
}

/// A connection that says nothing is closed after 10 s, which makes it the longest of them.
#[tokio::test]
async fn our_register_refuses_as_the_captured_one() -> Result<()> {
    holds("06-register", 13, register::replay("06-register", "k", 16.3, None).await?)
}

#[tokio::test]
async fn our_gateway_answers_as_the_captured_one() -> Result<()> {
    let plain = Case {
        name: "",
        secret: "",
        until: TO_THE_END,
        gateways: 1,
        host: "127.0.0.1",
        knobs: &[],
        only: None,
        killed: None,
        expected: 0,
    };
    let silent = |name, knob, expected| Case {
        name,
        // Before it leaves by itself, where it is not closed.
        until: 15.5,
        knobs: knob,
        only: Some("C1"),
        expected,
        ..plain
    };
    let cases = [
        Case { name: "01-all-api-one-gateway", until: 19.9, expected: 124, ..plain },
        Case { name: "02-secret-key", secret: "s3cret", until: 5.8, expected: 12, ..plain },
        Case { name: "03-gatewayclient-no-secret", until: 5.6, expected: 12, ..plain },
        Case { name: "04-raw-flag-and-types", until: 8.2, expected: 40, ..plain },
        Case {
            name: "05-two-gateways-two-workers-keepalive",
            secret: "k2",
            until: 33.8,
            gateways: 2,
            knobs: &[("CLUSTER_LAN_IP", "127.0.0.2"), ("CLUSTER_LINK_PING", "200")],
            expected: 69,
            ..plain
        },
        Case {
            name: "07-failures-and-reload",
            until: 17.9,
            killed: Some(10.6),
            expected: 21,
            ..plain
        },
        silent("08-heartbeat-limit0", &[("CLUSTER_PING", "200 0 {\"type\":\"ping\"}")], 9),
        silent("09-heartbeat-limit1", &[("CLUSTER_PING", "200 1 {\"type\":\"ping\"}")], 5),
        silent("10-heartbeat-limit2", &[("CLUSTER_PING", "200 2 {\"type\":\"ping\"}")], 6),
        silent("11-heartbeat-no-data", &[("CLUSTER_PING", "200 1")], 4),
        Case {
            name: "12-text-gateway",
            until: 4.0,
            knobs: &[("CLUSTER_SCHEME", "text")],
            expected: 9,
            ..plain
        },
        Case { name: "14-ipv6-client", until: 3.6, host: "[::1]", expected: 7, ..plain },
        Case {
            name: "16-no-business-worker",
            until: 4.9,
            knobs: &[("CLUSTER_LIMIT", "1")],
            expected: 0,
            ..plain
        },
        Case { name: "17-demo-chat", until: 25.5, expected: 26, ..plain },
        Case { name: "18-demo-todpole", until: 6.0, expected: 26, ..plain },
    ];
    Box::pin(all(
        cases.map(async |case| holds(case.name, case.expected, gateway::replay(case).await?))
    ))
    .await
}

#[tokio::test]
async fn our_business_says_what_the_captured_one_said() -> Result<()> {
    let plain = business::Case {
        name: "",
        secret: "",
        until: TO_THE_END,
        gateways: 1,
        host: "127.0.0.1",
        echo: false,
        expected: 0,
    };
    let cases = [
        business::Case { name: "01-all-api-one-gateway", until: 18.6, expected: 55, ..plain },
        business::Case {
            name: "02-secret-key",
            secret: "s3cret",
            until: 5.8,
            expected: 2,
            ..plain
        },
        business::Case { name: "04-raw-flag-and-types", until: 8.2, expected: 15, ..plain },
        business::Case {
            name: "05-two-gateways-two-workers-keepalive",
            secret: "k2",
            until: 33.8,
            gateways: 2,
            host: "127.0.0.2",
            expected: 22,
            ..plain
        },
        business::Case { name: "12-text-gateway", until: 4.0, expected: 2, ..plain },
        business::Case {
            name: "13-custom-protocol-array-body",
            until: 4.6,
            echo: true,
            expected: 7,
            ..plain
        },
        business::Case { name: "14-ipv6-client", until: 3.6, echo: true, expected: 1, ..plain },
    ];
    Box::pin(all(
        cases.map(async |case| holds(case.name, case.expected, business::replay(case).await?))
    ))
    .await
}

#[tokio::test]
async fn our_client_says_what_the_captured_one_said() -> Result<()> {
    let (with_a_key, without) = ("02-secret-key", "03-gatewayclient-no-secret");
    let compared = client::replay(with_a_key, "s3cret", 3.2, client::calls_with_a_key).await?;
    holds(with_a_key, 5, compared)?;
    let compared = client::replay(without, "", TO_THE_END, client::calls_without_a_key).await?;
    holds(without, 14, compared)
}
