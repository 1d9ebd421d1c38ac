//! How a gateway is reached by its businesses: by name, and at another address than it listens at.

use anyhow::{Context, Result};
use lineman_testkit::{Port, Status};
use lineman_tests::programs::{answer, cluster, part_of_cluster};
use tokio::net::{TcpListener, TcpStream};

/// Passes connections of one port on to another one, as NAT does.
async fn translate(from: TcpListener, to: String) -> Result<()> {
    loop {
        let (mut outside, _) = from.accept().await?;
        let mut inside = TcpStream::connect(&to).await?;
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut outside, &mut inside).await });
    }
}

/// Returns how ids begin of the clients of a gateway that is announced with this port of 127.0.0.1.
fn beginning(port: u16) -> String {
    format!("7f000001{port:04x}")
}

#[tokio::test]
async fn the_address_of_a_gateway_may_be_a_name() -> Result<()> {
    let start_port = Port::reserve()?;
    let server = cluster()?
        .knob("CLUSTER_LAN_IP", "localhost")
        .knob("CLUSTER_START_PORT", start_port.number().to_string());
    let server = server.started().await?;
    let id = answer(&mut server.client().await?, "/id").await?;
    assert!(id.starts_with(&beginning(start_port.number())), "{id}");
    Ok(())
}

#[tokio::test]
async fn links_are_listened_for_apart_from_the_address_that_leads_there() -> Result<()> {
    let (outside, inside) = (TcpListener::bind("127.0.0.1:0").await?, Port::reserve()?);
    let announced = outside.local_addr()?.port();
    let server = cluster()?
        .knob("CLUSTER_LAN_IP", "localhost")
        .knob("CLUSTER_START_PORT", announced.to_string())
        .knob("CLUSTER_INNER_LISTEN", format!("0.0.0.0:{}", inside.number()));
    tokio::spawn(translate(outside, inside.address()));
    let server = server.started().await?;
    let mut client = server.client().await?;
    let id = answer(&mut client, "/id").await?;
    assert!(id.starts_with(&beginning(announced)), "{id}");
    // A question goes there as well.
    assert_eq!(answer(&mut client, "/count").await?, "1");
    Ok(())
}

#[tokio::test]
async fn registers_are_found_by_name_and_found_again() -> Result<()> {
    let server = cluster()?;
    let register = server.register.as_ref().context("a register")?;
    let (name, listen) = (format!("localhost:{}", register.number()), register.address());
    let server = server.knob("CLUSTER_REGISTER", &name).knob("CLUSTER_REGISTER_LISTEN", listen);
    let server = server.started().await?;
    let both = |status: &Status, count| {
        ["gateway", "business"].iter().all(|service| status.gauge(service, "registers") == count)
    };
    server.program.until("the register to be found", |status| both(status, 1)).await?;
    assert_eq!(answer(&mut server.client().await?, "/count").await?, "1");
    let dead = server.program.kill("register/0").await?;
    server.program.replaced("register/0", &dead).await?;
    server.program.until("the register to be found again", |status| both(status, 1)).await?;

    let lost = part_of_cluster("business", server.register.as_ref().context("a register")?)?;
    let lost = lost.knob("CLUSTER_REGISTER", "no-such-host.invalid:1236").started().await?;
    let remark = "registers 0 of 1: no-such-host.invalid:1236 cannot be resolved (";
    let says = |status: &Status| {
        status.slot("business/0").is_ok_and(|slot| slot.remarks.join("\n").contains(remark))
    };
    lost.program.until("the name to be named", says).await?;
    Ok(())
}
