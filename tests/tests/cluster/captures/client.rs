//! Our client (`lineman-client`) makes the calls that a captured `GatewayClient` made, to a gateway that gives the
//! captured answers; the packets have to be the captured ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use lineman_client::{ClientId, Cluster};
use lineman_wire::link::{Command, Packet};
use tokio::net::TcpListener;

use super::business::canonical;
use super::capture::{Capture, End, What, compare, packet};
use super::peer::{Cut, Peer};

/// A captured packet, where it stands, and the answer to it if it is a question.
struct Exchange {
    place: String,
    packet: Packet,
    reply: Option<Vec<u8>>,
}

/// Replays a file; returns how many packets were compared.
pub(crate) async fn replay(
    name: &str,
    secret: &'static str,
    until: f64,
    calls: fn(&mut Cluster, ClientId) -> Result<()>,
) -> Result<usize> {
    let exchanges = exchanges(&Capture::read(name, until)?)?;
    let (register, gateway) =
        (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    let address = gateway.local_addr()?;
    let at_register = register.local_addr()?.to_string();
    let calling = tokio::task::spawn_blocking(move || {
        let mut cluster = Cluster::new(at_register).secret_key(secret);
        calls(&mut cluster, client_at(address))
    });
    let list = async {
        let mut peer = Peer::accept(&register).await?;
        peer.message(Cut::Line).await?;
        let line = format!("{{\"event\":\"broadcast_addresses\",\"addresses\":[\"{address}\"]}}\n");
        peer.send(line.as_bytes()).await?;
        anyhow::Ok(peer)
    };
    let answer = async {
        let mut peer = Peer::accept(&gateway).await?;
        for exchange in &exchanges {
            let got = loop {
                let got = peer.message(Cut::Packet).await?.context(exchange.place.clone())?;
                match packet(&got)?.command {
                    // It says the key once on a connection, and asks whether that is right.
                    Command::GatewayClientConnect => {
                        let login: serde_json::Value = serde_json::from_slice(&packet(&got)?.body)?;
                        ensure!(login["secret_key"] == secret, "a wrong key");
                    }
                    Command::IsOnline if packet(&got)?.connection_id == 0 => {
                        peer.send(b"\0\0\0\x04i:0;").await?;
                    }
                    _ => break got,
                }
            };
            let [expected, got] = [exchange.packet.clone(), packet(&got)?].map(|packet| {
                let ext = canonical(&packet.ext);
                Packet { ext, ..packet }.to_bytes()
            });
            compare(&exchange.place, &expected, &got)?;
            if let Some(reply) = &exchange.reply {
                peer.send(reply).await?;
            }
        }
        anyhow::Ok(peer)
    };
    let (_register, _gateway) = tokio::try_join!(list, answer).context(name.to_owned())?;
    calling.await?.context(name.to_owned())?;
    Ok(exchanges.len())
}

/// Returns what the captured `GatewayClient` said with the right key, in order.
fn exchanges(capture: &Capture) -> Result<Vec<Exchange>> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    let mut refused = BTreeSet::new();
    // The first connection that asks is the business's, if that asks at all.
    let asks = |name: &String| name.starts_with('G') && !capture.is_link(name);
    for record in capture.records.iter().filter(|record| asks(&record.name)) {
        let What::Said(end, bytes) = &record.what else { continue };
        if *end == End::Listener {
            exchanges.last_mut().context("an answer to nothing")?.reply = Some(bytes.clone());
            continue;
        }
        let packet = packet(bytes)?;
        if packet.command == Command::GatewayClientConnect {
            if packet.body.windows(5).any(|part| part == b"wrong") {
                refused.insert(&record.name);
            }
        } else if !refused.contains(&record.name) {
            exchanges.push(Exchange { place: record.place.clone(), packet, reply: None });
        }
    }
    Ok(exchanges)
}

/// Returns the first client of a captured gateway, at the address that ours has.
fn client_at(gateway: SocketAddr) -> ClientId {
    ClientId::new(Ipv4Addr::LOCALHOST, gateway.port(), 1)
}

/// The calls of `02-secret-key`: those of the business, which asks on a connection of its own, then those of
/// `GatewayClient`.
pub(crate) fn calls_with_a_key(cluster: &mut Cluster, client: ClientId) -> Result<()> {
    ensure!(cluster.is_online(client)?);
    ensure!(cluster.client_count()?.complete()? == 1);
    cluster.send_to_client(client, "from-client")?;
    ensure!(cluster.is_online(client)?);
    ensure!(cluster.client_count()?.complete()? == 1);
    Ok(())
}

/// The calls of `03-gatewayclient-no-secret`.
pub(crate) fn calls_without_a_key(cluster: &mut Cluster, client: ClientId) -> Result<()> {
    type Session = BTreeMap<String, u32>;
    let session = Session::from([("a".to_owned(), 1)]);
    cluster.bind_uid(client, "u-1")?;
    cluster.join(client, "g1")?;
    cluster.join(client, 7)?;
    cluster.set_session(client, &session)?;
    let ids = cluster.client_ids_by_uids(&["u-1", "x", "5"])?.complete()?;
    ensure!((&ids["u-1"][..], ids["x"].len(), ids["5"].len()) == (&[client][..], 0, 0), "{ids:?}");
    let counts = cluster.client_counts_in_groups(&["g1", "7", "none"])?.complete()?;
    ensure!((counts["g1"], counts["7"], counts["none"]) == (1, 1, 0), "{counts:?}");
    let online = cluster.online_uids(&["u-1", "x"])?.complete()?;
    ensure!(online.iter().eq(["u-1"]), "{online:?}");
    cluster.send_to_all("hi")?;
    ensure!(
        cluster.sessions::<Session>()?.complete()? == BTreeMap::from([(client, session.clone())])
    );
    let there = cluster.sessions_in_group::<Session>("g1")?.complete()?;
    ensure!(there == BTreeMap::from([(client, session)]));
    ensure!(cluster.groups()?.complete()?.iter().eq(["7", "g1"]));
    ensure!(cluster.uid_by_client_id(client)?.as_deref() == Some("u-1"));
    cluster.send_to_group_except("g1", "m", &[client])?;
    cluster.close_client(client)?;
    Ok(())
}
