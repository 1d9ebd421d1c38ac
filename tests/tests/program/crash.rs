//! Processes that die: who notices, and what it costs.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Client, Port, Program, Slot, Status};
use lineman_tests::alone;
use lineman_tests::crowd::Crowd;
use lineman_tests::person::Person;
use lineman_tests::programs::{Server, all_hear_each, built, chat, copy, echo, part_of_cluster};
use lineman_tests::raw::Raw;

/// Enough people that both gateways hold some: one in 2^38 runs has them all on one side.
const PEOPLE: usize = 40;

#[tokio::test]
async fn a_business_that_is_killed_loses_only_what_was_in_flight_to_it() -> Result<()> {
    let _machine = alone().await;
    let chat = Arc::new(chat()?.started().await?);
    let mut crowd = Crowd::gather(&chat, 10, 50).await?;
    crowd.talk();
    for slot in ["chat-business/0", "chat-business/1"] {
        crowd.rounds(2).await?;
        let killed = chat.program.kill(slot).await?;
        chat.program.replaced(slot, &killed).await?;
    }
    crowd.rounds(2).await?;
    // Nobody was disconnected, or this would fail.
    let report = crowd.part().await?;

    assert_eq!(report.faults, Vec::<String>::new(), "nothing twice, nothing out of order");
    let lost = chat.program.status().await?.gauge("chat-gateway", "lost_events");
    let missing = report.missing.len() as u64;
    assert!(missing <= lost, "{missing} missing, {lost} counted: {:?}", report.missing);
    Ok(())
}

#[tokio::test]
async fn a_business_that_stands_still_for_a_while_loses_nothing() -> Result<()> {
    let _machine = alone().await;
    let chat = Arc::new(chat()?.started().await?);
    let mut crowd = Crowd::gather(&chat, 10, 50).await?;
    crowd.talk();
    crowd.rounds(1).await?;
    let business = chat.program.process("chat-business/0").await?;
    business.suspend();
    let stands_still =
        |status: &Status| status.slot("chat-business/0").is_ok_and(|slot| !slot.answered);
    chat.program.until("the business to be seen as busy", stands_still).await?;
    business.resume();
    crowd.rounds(2).await?;
    let report = crowd.part().await?;

    assert_eq!(report.faults, Vec::<String>::new(), "nothing twice, nothing out of order");
    assert!(report.missing.is_empty(), "not heard by all: {:?}", report.missing);
    assert_eq!(chat.program.status().await?.gauge("chat-gateway", "lost_events"), 0);
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_is_killed_is_back_and_its_clients_are_seen_to_leave() -> Result<()> {
    let _machine = alone().await;
    let chat = chat()?.started().await?;
    let (mut lost, mut kept, killed) = people_by_gateway(&chat).await?;
    let dead = chat.program.kill(&killed).await?;

    for person in &mut lost {
        person.client.ended().await?;
    }
    let mut names: Vec<String> = lost.iter().map(|person| person.name.clone()).collect();
    names.sort();
    for witness in &mut kept {
        let mut left = Vec::new();
        while left.len() < names.len() {
            left.push(witness.sees_leave().await.context("on_close of somebody did not run")?);
        }
        left.sort();
        assert_eq!(left, names, "each of them left once");
    }
    chat.program.replaced(&killed, &dead).await?;
    for name in &names {
        Person::enter(&chat, "here", name).await?;
    }
    // On the sockets they always had.
    talk_to_each_other(&mut kept).await
}

#[tokio::test]
async fn the_chat_goes_on_without_the_register_and_finds_gateways_when_it_is_back() -> Result<()> {
    let _machine = alone().await;
    let chat = chat()?.started().await?;
    let (_, mut kept, killed) = people_by_gateway(&chat).await?;
    let register = chat.program.kill("register/0").await?;
    talk_to_each_other(&mut kept).await?;
    chat.program.replaced("register/0", &register).await?;
    talk_to_each_other(&mut kept).await?;

    let dead = chat.program.kill(&killed).await?;
    chat.program.replaced(&killed, &dead).await?;
    // Businesses serve the new one: each client it accepts gets in, and is heard on the other.
    for number in 0..PEOPLE {
        let name = format!("later-{number}");
        let mut newcomer = Person::enter(&chat, "here", &name).await?;
        newcomer.say("hello").await?;
        for witness in &mut kept {
            witness.hears(&name, "hello").await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn clients_go_on_for_as_long_as_the_register_stays_away_and_all_link_again() -> Result<()> {
    let _machine = alone().await;
    let port = Port::reserve()?;
    // A program of its own: no master brings it back before the test does.
    let register = part_of_cluster("register", &port)?.started().await?;
    let here = part_of_cluster("gateway business", &port)?.started().await?;
    linked(&[&here]).await?;
    let mut clients = vec![here.client().await?, here.client().await?];
    all_hear_each(&mut clients).await?;

    let times = |log: &str| log.matches("register not connected, trying again").count();
    let before = times(&here.program.log());
    let worker = register.program.process("register/0").await?;
    register.program.master().await?.kill();
    worker.kill();
    register.program.all_gone().await?;
    let both_know = |_: &Status| times(&here.program.log()) >= before + 2;
    here.program.until("gateway and business to miss the register", both_know).await?;
    for _ in 0..100 {
        all_hear_each(&mut clients).await?;
    }
    // The gateway and the business have their link, so there is a way for somebody new.
    clients.push(here.client().await?);
    all_hear_each(&mut clients).await?;
    ensure!(Raw::connect(&port.address()).await.is_err(), "the register is back before its time");

    register.program.start().await?;
    let is_known = |status: &Status| {
        let known = |gauge| status.gauge("register", gauge);
        (known("gateways"), known("businesses")) == (1, 1)
    };
    register.program.until("gateway and business to be back", is_known).await?;
    all_hear_each(&mut clients).await?;
    // Only a register that knows the old ones can introduce these to them, and them to these.
    let there = part_of_cluster("gateway business", &port)?.started().await?;
    linked(&[&here, &there]).await?;
    clients.push(there.client().await?);
    all_hear_each(&mut clients).await
}

/// Waits until each gateway of these parts of one cluster is linked with each business.
async fn linked(parts: &[&Server]) -> Result<()> {
    for part in parts {
        let all = parts.len() as u64;
        let is_linked = |status: &Status| {
            status.gauge("gateway", "links") == all && status.gauge("business", "links") == all
        };
        part.program.until("gateways and businesses to be linked", is_linked).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_slot_that_crashes_in_a_loop_is_marked_and_the_others_go_on() -> Result<()> {
    let echo = echo()?;
    let marker = echo.program.folder().join("broken");
    let echo = echo.knob("ECHO_FRAGILE_IF", &marker).started().await?;
    let mut client = echo.client().await?;
    tokio::fs::write(&marker, "the cellar is flooded").await?;
    echo.program.kill("fragile/0").await?;
    let is_marked = |status: &Status| {
        status.slot("fragile/0").is_ok_and(|slot| slot.state == "failed" && slot.pid.is_none())
    };
    let status = echo.program.until("the crash loop to be marked", is_marked).await?;
    let reason = status.slot("fragile/0")?.last_exit.clone().context("a reason")?;
    assert!(reason.contains("the cellar is flooded"), "{reason}");
    echo.program.run(&["status"]).await?.expect_code(6)?.expect_text("1 slot failed")?;
    client.send_text("hello").await?;
    assert_eq!(client.next_text().await?, "hello");

    tokio::fs::remove_file(&marker).await?;
    echo.program.run(&["reload", "--timeout", "100ms"]).await?.expect_code(0)?;
    assert!(echo.program.status().await?.slot("fragile/0")?.is_ready());
    Ok(())
}

#[tokio::test]
async fn a_crash_loop_ends_by_itself_when_its_cause_is_gone() -> Result<()> {
    let echo = echo()?;
    let marker = echo.program.folder().join("broken");
    let echo = echo.knob("ECHO_BROKEN_IF", &marker).started().await?;
    tokio::fs::write(&marker, "the cellar is flooded").await?;
    echo.program.kill("echo/0").await?;
    let failed = |status: &Status| status.slot("echo/0").is_ok_and(|slot| slot.state == "failed");
    echo.program.until("the crash loop to be marked", failed).await?;
    let shown = echo.program.run(&["status"]).await?.expect_code(6)?;
    shown.expect_text("echo/0: failed 8 times in a row, next attempt in ")?;
    echo.program.run(&["health"]).await?.expect_code(1)?.expect_text("no ready process")?;
    tokio::fs::remove_file(&marker).await?;
    let ready = |status: &Status| status.slot("echo/0").is_ok_and(Slot::is_ready);
    echo.program.until("the slot to be back without a reload", ready).await?;
    let mut client = echo.client().await?;
    client.send_text("hello").await?;
    assert_eq!(client.next_text().await?, "hello");
    echo.program.run(&["status"]).await?.expect_code(0)?;
    Ok(())
}

#[tokio::test]
async fn a_program_that_wishes_gives_up_with_a_code_for_its_supervisor() -> Result<()> {
    let echo = echo()?;
    let marker = echo.program.folder().join("broken");
    let echo = echo.knob("ECHO_BROKEN_IF", &marker).knob("ECHO_GIVE_UP_AFTER", "2");
    let foreground = echo.program.foreground().await?;
    tokio::fs::write(&marker, "the cellar is flooded").await?;
    echo.program.kill("echo/0").await?;
    let ended = foreground.ended().await?.expect_code(7)?;
    ended.expect_text("gave up: echo/0 ended 2 times in a row: failed to start: the cellar")?;
    // The first start has nothing to come back to.
    echo.program.run(&["start"]).await?.expect_code(1)?.expect_text("the cellar is flooded")?;
    Ok(())
}

#[tokio::test]
async fn a_crash_after_a_deploy_is_answered_with_what_served_last() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (binary, new) = (folder.path().join("served"), folder.path().join("new"));
    copy(built("echo_under_test", "lineman-tests")?, &binary)?;
    let port = Port::reserve()?;
    let program = Program::new(&binary)?.env("ECHO_LISTEN", port.address());
    // The verbs are those of a copy that is always there.
    let verb = Program::new(built("echo_under_test", "lineman-tests")?)?;
    let verb = verb.env("ECHO_LISTEN", port.address());
    let verb = verb.env("LINEMAN_RUNTIME_DIR", program.folder());
    program.start().await?;
    copy("/bin/false", &new)?;
    tokio::fs::rename(&new, &binary).await?;
    for reload in [false, true] {
        if reload {
            verb.run(&["reload"]).await?.expect_code(1)?.expect_text("exit code 1")?;
        }
        let old = verb.kill("echo/0").await?;
        let status = verb.replaced("echo/0", &old).await?;
        let mut client = Client::connect(&port.ws()).await?;
        client.send_text("who").await?;
        let pid = client.next_text().await?;
        assert_eq!(Some(pid.parse()?), status.slot("echo/0")?.pid);
        let name = tokio::fs::read_to_string(format!("/proc/{pid}/comm")).await?;
        assert_eq!(name, "served\n", "`ps` knows it");
    }
    verb.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_reload_that_cannot_execute_the_binary_leaves_a_failed_slot_as_it_was() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (binary, away) = (folder.path().join("echo"), folder.path().join("away"));
    copy(built("echo_under_test", "lineman-tests")?, &binary)?;
    let marker = folder.path().join("broken");
    let port = Port::reserve()?;
    let ours = |program: Program| program.env("ECHO_LISTEN", port.address());
    let program = ours(Program::new(&binary)?).env("ECHO_BROKEN_IF", &marker);
    // The verbs are those of a copy that is always there.
    let verb = ours(Program::new(built("echo_under_test", "lineman-tests")?)?);
    let verb = verb.env("LINEMAN_RUNTIME_DIR", program.folder());
    program.start().await?;
    tokio::fs::write(&marker, "the cellar is flooded").await?;
    program.kill("echo/0").await?;
    let failed = |status: &Status| status.slot("echo/0").is_ok_and(|slot| slot.state == "failed");
    program.until("the slot to fail", failed).await?;

    tokio::fs::rename(&binary, &away).await?;
    verb.run(&["reload"]).await?.expect_code(1)?.expect_text("cannot execute")?;
    assert!(failed(&verb.status().await?), "{:#?}", verb.status().await?);
    verb.run(&["status"]).await?.expect_code(6)?;
    assert!(Client::connect(&port.ws()).await.is_err(), "nobody accepts, and nobody listens");

    tokio::fs::rename(&away, &binary).await?;
    tokio::fs::remove_file(&marker).await?;
    program.reload().await?;
    let mut client = Client::connect(&port.ws()).await?;
    client.send_text("hello").await?;
    assert_eq!(client.next_text().await?, "hello");
    Ok(())
}

#[tokio::test]
async fn a_panic_in_a_handler_costs_its_connection_alone() -> Result<()> {
    let echo = echo()?.started().await?;
    let before = echo.program.status().await?;
    let mut innocent = echo.client().await?;
    for message in ["panic", "fail"] {
        let mut client = echo.client().await?;
        client.send_text(message).await?;
        let ended = client.ended().await?;
        assert_eq!(ended.code(), Some(1011), "{ended:?}");
    }
    innocent.send_text("hello").await?;
    assert_eq!(innocent.next_text().await?, "hello");
    let after = echo.program.status().await?;
    assert_eq!(after.slot("echo/0")?.pid, before.slot("echo/0")?.pid);
    assert_eq!(after.slot("echo/0")?.stats["handler_errors"], 2);
    assert!(echo.program.log().contains("told to panic"));
    Ok(())
}

#[tokio::test]
async fn workers_leave_when_their_master_is_killed() -> Result<()> {
    let chat = chat()?.started().await?;
    let mut client = chat.client().await?;
    let master = chat.program.master().await?;
    master.kill();
    let ended = client.ended().await?;
    assert_eq!(ended.code(), Some(1001), "{ended:?}");
    chat.program.all_gone().await?;
    chat.program.start().await?;
    let mut person = Person::enter(&chat, "here", "Ada").await?;
    person.say("hello").await?;
    person.hears("Ada", "hello").await
}

#[tokio::test]
async fn a_start_right_after_a_master_was_killed_is_not_refused() -> Result<()> {
    let echo = echo()?.started().await?;
    for _ in 0..10 {
        let master = echo.program.master().await?;
        // The kernel takes it apart meanwhile.
        master.kill();
        echo.program.start().await?;
    }
    let master = echo.program.master().await?;
    master.kill();
    // A command that reached it before its end says that instead.
    master.gone().await?;
    echo.program.run(&["stop"]).await?.expect_code(3)?.expect_text("not running")?;
    Ok(())
}

#[tokio::test]
async fn a_start_beside_a_master_that_is_suspended_is_refused() -> Result<()> {
    let echo = echo()?.started().await?;
    let master = echo.program.master().await?;
    master.suspend();
    let refused = echo.program.run(&["start", "-d"]).await;
    master.resume();
    refused?.expect_code(4)?.expect_text("already running")?;
    Ok(())
}

/// Has people enter one room, and returns those of one gateway, those of the other, and the first
/// one's slot.
async fn people_by_gateway(chat: &Server) -> Result<(Vec<Person>, Vec<Person>, String)> {
    let status = chat.program.status().await?;
    let port = status.listen("chat-gateway", "links").next().context("an inner port")?;
    let (_, port) = port.rsplit_once(':').context("host:port")?;
    let first = format!("{:04x}", port.parse::<u16>()?);
    let mut people = (Vec::new(), Vec::new());
    for number in 0..PEOPLE {
        let person = Person::enter(chat, "here", &format!("person-{number}")).await?;
        let side = if person.gateway() == first { &mut people.0 } else { &mut people.1 };
        side.push(person);
    }
    assert!(!people.0.is_empty() && !people.1.is_empty(), "everybody is on one gateway");
    Ok((people.0, people.1, "chat-gateway/0".to_owned()))
}

/// Has each of them say something that each of them hears.
async fn talk_to_each_other(people: &mut [Person]) -> Result<()> {
    for speaker in 0..people.len() {
        let Some(person) = people.get_mut(speaker) else { break };
        person.say("still here").await?;
        let name = person.name.clone();
        for listener in people.iter_mut() {
            listener.hears(&name, "still here").await?;
        }
    }
    Ok(())
}
