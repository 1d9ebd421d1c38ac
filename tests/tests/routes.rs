//! How a gateway is reached by its businesses: by name, and at another address than it listens at.

use anyhow::Result;
use lineman_testkit::Port;
use lineman_tests::programs::{answer, cluster};
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
