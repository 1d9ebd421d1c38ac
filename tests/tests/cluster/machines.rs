//! A cluster of several machines: that it comes together, and goes on when one of them is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind::{ConnectionRefused, WouldBlock};
use std::time::Duration;

use anyhow::{Result, ensure};
use lineman_testkit::{Client, Program, Status, within};
use lineman_tests::contrib::compose_machines;
use lineman_tests::machines::{Cut, Machine, Site};
use lineman_tests::person::Person;
use lineman_tests::programs::{all_hear_each, answer, built};
use tokio::net::UdpSocket;
use tokio::time::timeout;

#[tokio::test]
async fn three_machines_come_together() -> Result<()> {
    let Some(site) = Site::of(3)? else { return Ok(()) };
    let site = site.started().await?;
    let mut clients = Vec::new();
    for machine in site.machines() {
        clients.extend([machine.client().await?, machine.client().await?]);
    }
    all_hear_each(&mut clients).await
}

#[tokio::test]
async fn machines_go_on_when_one_loses_power_and_find_it_when_it_is_back() -> Result<()> {
    let Some(site) = Site::of(3)? else { return Ok(()) };
    let mut site = site.started().await?;
    let mut clients = Vec::new();
    for number in [1, 1, 2, 2] {
        clients.push(client_spared_by(site.machine(number)?, 3).await?);
    }
    site.machine(3)?.power_off().await?;
    all_hear_each(&mut clients).await?;

    site.machine(3)?.power_on()?;
    site.machine(3)?.start().await?;
    clients.push(site.machine(3)?.client().await?);
    for speaker in 0..clients.len() {
        all_hear_at_last(&mut clients, speaker).await?;
    }

    let mut ids = Vec::new();
    for mut client in clients {
        ids.push(answer(&mut client, "/id").await?);
        client.close().await?;
    }
    for id in &ids {
        within("each client to be seen to leave", left(&site, id)).await??;
    }
    for id in &ids {
        assert_eq!(events_of(&site, id)?, ["connect", "close"], "{id}");
    }
    Ok(())
}

#[tokio::test]
async fn a_cable_breaks_in_the_directions_that_are_cut() -> Result<()> {
    let Some(mut site) = Site::of(1)? else { return Ok(()) };
    let machine = site.machine(1)?;
    // Nothing is bound there: what gets to the machine is answered with a refusal.
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect((machine.lan_address(), 9)).await?;
    // Received and sent by the machine of a datagram while it is cut, and one after it.
    for (cut, expected) in [(Cut::Both, (1, 1)), (Cut::Sent, (2, 2)), (Cut::Received, (1, 1))] {
        let before = machine.traffic()?;
        machine.cut(cut)?;
        socket.send(b"?").await?;
        assert!(
            socket.try_recv(&mut [0]).is_err_and(|error| error.kind() == WouldBlock),
            "{cut:?}"
        );
        machine.heal()?;
        socket.send(b"?").await?;
        let refused = within("a refusal", socket.recv(&mut [0])).await?;
        assert!(refused.is_err_and(|error| error.kind() == ConnectionRefused), "{cut:?}");
        let after = machine.traffic()?;
        let crossed = (after.received - before.received, after.sent - before.sent);
        assert_eq!(crossed, expected, "{cut:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_machines_of_the_compose_file_come_together() -> Result<()> {
    let Some(mut site) = Site::of(3)? else { return Ok(()) };
    let key = tempfile::NamedTempFile::new()?;
    std::fs::write(key.path(), "a key in a file\n")?;
    for (number, mut variables) in (1..).zip(compose_machines()?) {
        for (name, value) in &mut variables {
            // The networks are not the same; all that is said of them is.
            *value = value.replace("10.90.0.1", "10.77.0.");
            if name == "CHAT_SECRET_FILE" {
                *value = key.path().display().to_string();
            }
        }
        site.machine(number)?.plays(built("chat", "chat")?, variables)?;
    }
    let mut site = site.started().await?;
    let mut people = Vec::new();
    for machine in site.machines() {
        let name = machine.lan_address().to_string();
        people.push(Person::enter_by(machine.client().await?, "here", &name).await?);
    }
    for speaker in 0..people.len() {
        let name = people[speaker].name.clone();
        people[speaker].say("hello").await?;
        for person in &mut people {
            person.hears(&name, "hello").await?;
        }
    }
    // What is said to a person of a dead machine is refused, and the one who says it stays.
    site.machine(3)?.power_off().await?;
    let [one, two, dead] = &mut people[..] else { anyhow::bail!("three people") };
    one.say_to(dead, "are you there?").await?;
    ensure!(one.is_refused().await? == "this person is not reachable");
    one.say("goodbye").await?;
    two.hears(&one.name, "goodbye").await
}

#[tokio::test]
async fn a_gateway_that_comes_from_another_address_than_it_announces_is_named() -> Result<()> {
    let Some(mut site) = Site::of(3)? else { return Ok(()) };
    // Machine 3 has both addresses, and its own registers are elsewhere: `lan_ip` is of the clients' network, or
    // was forgotten.
    for (address, hint) in [
        ("10.78.0.3", "right only if its machine has both"),
        ("127.0.0.1", "no other machine finds it there (hint: lan_ip)"),
    ] {
        site.machine(3)?.knob("CLUSTER_LAN_IP", address)?;
        for machine in site.machines() {
            machine.start().await?;
        }
        let said = format!("gateway announces {address}:4000 and comes from 10.77.0.3: {hint}");
        for number in [1, 2] {
            let program = site.machine(number)?.program()?;
            within(&said, logged(program, &said)).await?;
        }
        let remarked = |status: &Status| {
            let gateway = status.slot("gateway/0");
            gateway.is_ok_and(|slot| slot.remarks.iter().any(|line| line.contains(address)))
        };
        site.machine(3)?.program()?.until("the gateway to be told", remarked).await?;
        for machine in site.machines() {
            machine.program()?.stop().await?;
        }
    }
    Ok(())
}

/// Returns the machines of the businesses that clients of the first machine have.
async fn businesses_of_clients(site: &mut Site) -> Result<BTreeSet<String>> {
    let (mut clients, mut found) = (Vec::new(), BTreeSet::new());
    for _ in 0..16 {
        let mut client = site.machine(1)?.client().await?;
        found.insert(answer(&mut client, "/where").await?);
        clients.push(client);
    }
    Ok(found)
}

#[tokio::test]
async fn clients_have_businesses_of_their_own_machine() -> Result<()> {
    let Some(site) = Site::of(2)? else { return Ok(()) };
    let mut site = site.started().await?;
    let own = site.machine(1)?.lan_address().to_string();
    assert_eq!(businesses_of_clients(&mut site).await?, BTreeSet::from([own]));
    Ok(())
}

#[tokio::test]
async fn clients_have_businesses_of_any_machine_where_none_is_preferred() -> Result<()> {
    let Some(site) = Site::of(2)? else { return Ok(()) };
    let mut site = site.knob("CLUSTER_PREFER", "any")?.started().await?;
    assert_eq!(businesses_of_clients(&mut site).await?.len(), 2);
    Ok(())
}

/// Waits until a line of a program's log has this.
async fn logged(program: &Program, text: &str) {
    while !program.log().contains(text) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Connects a client to a machine; its events go to a business on another one than `number`.
async fn client_spared_by(machine: &Machine, number: u8) -> Result<Client> {
    // Those that are not wanted stay for so long, so the next one is given to another business.
    let mut clients = Vec::new();
    loop {
        let mut client = machine.client().await?;
        if !answer(&mut client, "/where").await?.ends_with(&format!(".{number}")) {
            return Ok(client);
        }
        clients.push(client);
        ensure!(clients.len() < 20, "all clients are handled on machine {number}");
    }
}

/// Has one of them say something until all have heard it.
async fn all_hear_at_last(clients: &mut [Client], speaker: usize) -> Result<()> {
    let said = format!("at last from {speaker}");
    let mut deaf: Vec<usize> = (0..clients.len()).collect();
    let heard = async {
        while !deaf.is_empty() {
            clients[speaker].send_text(&said).await?;
            let mut still = Vec::new();
            for &listener in &deaf {
                if !hears_soon(&mut clients[listener], &said).await? {
                    still.push(listener);
                }
            }
            deaf = still;
        }
        anyhow::Ok(())
    };
    within(&format!("all to hear {speaker}"), heard).await?
}

/// Reads until `wanted` comes, or nothing for a moment.
async fn hears_soon(client: &mut Client, wanted: &str) -> Result<bool> {
    loop {
        let Ok(text) = timeout(Duration::from_millis(100), client.text()).await else {
            return Ok(false);
        };
        if text? == wanted {
            return Ok(true);
        }
    }
}

/// Waits until some business has seen a client leave.
async fn left(site: &Site, id: &str) -> Result<()> {
    while !events_of(site, id)?.contains(&"close".to_owned()) {
        site.changed().await?;
    }
    Ok(())
}

/// Returns what all businesses have heard of a client, in order.
fn events_of(site: &Site, id: &str) -> Result<Vec<String>> {
    let mut events = BTreeMap::new();
    for machine in site.machines() {
        for line in machine.events()?.lines() {
            let [time, event, of] = line.split(' ').collect::<Vec<_>>()[..] else {
                anyhow::bail!("no event: {line}");
            };
            if of == id {
                events.insert((time.parse::<u64>()?, events.len()), event.to_owned());
            }
        }
    }
    Ok(events.into_values().collect())
}
