//! Registers that hang or are wrong while processes of a cluster come and go.

use anyhow::{Context, Result};
use lineman_testkit::{Client, Port, Status};
use lineman_tests::alone;
use lineman_tests::machines::Site;
use lineman_tests::programs::{Server, part_of_cluster};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

/// A register in a program of its own, and gateways and businesses in other ones.
async fn cluster(others: usize) -> Result<(Server, Vec<Server>)> {
    let port = Port::reserve()?;
    let register = part_of_cluster("register", &port)?.started().await?;
    let mut parts = Vec::new();
    for _ in 0..others {
        parts.push(part_of_cluster("gateway business", &port)?.started().await?);
    }
    let links = |status: &Status| status.gauge("business", "links") == others as u64;
    for part in &parts {
        part.program.until("every business to be linked to every gateway", links).await?;
    }
    Ok((register, parts))
}

/// Has a client hear what it says, by way of a business.
async fn hears(client: &mut Client, text: &str) -> Result<()> {
    client.send_text(text).await?;
    assert_eq!(client.next_text().await?, text);
    Ok(())
}

#[tokio::test]
async fn a_business_is_replaced_while_the_register_hangs_and_no_client_notices() -> Result<()> {
    let _machine = alone().await;
    let (register, parts) = cluster(2).await?;
    let here = parts.first().context("a part")?;
    let mut clients = Vec::new();
    for part in &parts {
        clients.push(part.client().await?);
    }
    let before = here.program.status().await?;
    let hung = register.program.process("register/0").await?;
    hung.suspend();
    let reloaded = here.program.reload().await;
    let after = here.program.status().await;
    for (number, client) in clients.iter_mut().enumerate() {
        let said = format!("after it, {number}");
        client.send_text(&said).await?;
    }
    for client in &mut clients {
        let heard = [client.next_text().await?, client.next_text().await?];
        assert!(heard.iter().all(|text| text.starts_with("after it")), "{heard:?}");
    }
    hung.resume();
    reloaded?;
    let after = after?;
    assert_ne!(after.slot("business/0")?.pid, before.slot("business/0")?.pid);
    assert_eq!(after.gauge("business", "links"), 2);
    Ok(())
}

#[tokio::test]
async fn a_business_that_crashes_while_the_register_hangs_is_linked_again() -> Result<()> {
    let _machine = alone().await;
    let (register, parts) = cluster(1).await?;
    let here = parts.first().context("a part")?;
    let mut client = here.client().await?;
    hears(&mut client, "before").await?;
    let linked = |status: &Status| status.gauge("business", "links") == 1;
    let hung = register.program.process("register/0").await?;
    hung.suspend();
    let dead = here.program.kill("business/0").await?;
    let replaced = here.program.replaced("business/0", &dead).await;
    let is_linked = here.program.until("the business to be linked again", linked).await;
    let heard = hears(&mut client, "after it").await;
    hung.resume();
    replaced?;
    is_linked?;
    heard
}

#[tokio::test]
async fn a_reload_fails_that_would_leave_a_gateway_without_its_business_and_names_it() -> Result<()>
{
    let _machine = alone().await;
    let (_register, parts) = cluster(2).await?;
    let [here, there] = &parts[..] else { anyhow::bail!("two parts") };
    let mut client = here.client().await?;
    let before = here.program.status().await?;
    let address = there.program.status().await?;
    let address = address.listen("gateway", "links").next().context("an address")?.to_owned();
    let hung = there.program.process("gateway/0").await?;
    hung.suspend();
    let failed = here.program.run(&["reload"]).await;
    let heard = hears(&mut client, "still here").await;
    hung.resume();
    let failed = failed?.expect_code(1)?.expect_text("the old process goes on")?;
    let missing = format!("gateway {address} is connected and does not answer");
    failed.expect_text("business/0")?.expect_text(&missing)?;
    heard?;
    let after = here.program.status().await?;
    assert_eq!(after.slot("business/0")?.pid, before.slot("business/0")?.pid);

    here.program.reload().await?;
    hears(&mut client, "and on").await
}

/// Answers everything with a line that is none, and then with addresses where nothing is.
async fn lie(listener: TcpListener) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let lies: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"{\"event\":\"broadcast_addresses\",\"addresses\":7}\n",
            b"{\"event\":\"broadcast_addresses\",\"addresses\":[\"here\",\"[::1]:1\",\"127.0.0.1:1\"]}\n",
            b"{\"event\":\"broadcast_addresses\",\"addresses\":[\"127.0.0.1:1\"],\"epochs\":{\"127.0.0.1:1\":\"e\"}}\n",
        ];
        for lie in lies {
            stream.write_all(lie).await?;
        }
        tokio::spawn(async move { stream.read_line(&mut String::new()).await });
    }
}

#[tokio::test]
async fn what_one_register_lists_is_linked_whatever_the_others_say() -> Result<()> {
    let _machine = alone().await;
    let port = Port::reserve()?;
    let register = part_of_cluster("register", &port)?.started().await?;
    let empty = Port::reserve()?;
    let _empty = part_of_cluster("register", &empty)?.started().await?;
    let wrong = TcpListener::bind("127.0.0.1:0").await?;
    let at_wrong = wrong.local_addr()?;
    tokio::spawn(lie(wrong));
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let at_silent = silent.local_addr()?;
    let gateway = part_of_cluster("gateway", &port)?.started().await?;
    let registers = format!("{at_wrong} {at_silent} {} {}", empty.address(), port.address());
    let business = part_of_cluster("business", &port)?.knob("CLUSTER_REGISTER", registers);
    let business = business.started().await?;
    let linked = |status: &Status| status.gauge("business", "links") == 1;
    business.program.until("the business to be linked", linked).await?;
    let mut client = gateway.client().await?;
    hears(&mut client, "hello").await?;

    let hung = register.program.process("register/0").await?;
    hung.suspend();
    let reloaded = business.program.reload().await;
    let heard = hears(&mut client, "again").await;
    hung.resume();
    reloaded?;
    heard
}

#[tokio::test]
async fn a_register_whose_machine_has_restarted_is_told_everything_again() -> Result<()> {
    let Some(site) = Site::of(3)? else { return Ok(()) };
    let mut site = site.started().await?;
    let is_told = |status: &Status| {
        ["gateways", "businesses"].map(|gauge| status.gauge("register", gauge)) == [6, 6]
    };
    let machine = site.machine(1)?;
    machine.program()?.until("the register to know all", is_told).await?;
    // No end is told to the others: their connections look as if they were there.
    machine.power_off().await?;
    machine.power_on()?;
    machine.start().await?;
    machine.program()?.until("the register to know all again", is_told).await?;
    site.linked().await
}
