//! Under a service manager: what it is told and when, and the sockets it hands over. The manager is
//! a socket of this test; the units in `contrib/` are read by systemd's own tool.

use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use lineman_testkit::{Client, Process, Status};
use lineman_tests::launch::{Launch, Manager};
use lineman_tests::programs::{Server, echo};

/// A shell that becomes the program and says that what was handed over is for it.
const FOR_ITSELF: [&str; 3] = ["sh", "-c", r#"LISTEN_PID=$$ exec "$0" "$@""#];

#[tokio::test]
async fn the_manager_hears_of_the_start_a_reload_and_the_stop() -> Result<()> {
    let echo = echo()?;
    let mut manager = Manager::listen(&echo)?;
    let echo = echo.knob("NOTIFY_SOCKET", manager.path());
    let foreground = echo.program.foreground().await?;

    let ready = manager.hears("READY=1").await?;
    assert_has(&ready, &format!("MAINPID={}", foreground.process().pid()));
    assert_has(&ready, "STATUS=up: 1/1 services ready, 1/1 processes");
    assert!(manager.heard().iter().all(|said| !said.contains("STOPPING=1")));

    let mut clocks = [0_u64; 3];
    for clock in &mut clocks[1..] {
        echo.program.reload().await?;
        let reloading = manager.hears("RELOADING=1").await?;
        let said = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        *clock = said.context("a clock")?.parse()?;
        manager.hears("READY=1").await?;
    }
    assert!(clocks.is_sorted_by(|one, next| one < next), "the clock goes on: {clocks:?}");

    let mut client = echo.client().await?;
    foreground.process().terminate();
    let stopping = manager.hears("STOPPING=1").await?;
    assert_has(&stopping, "STATUS=stopping: 0/1 services ready, 0/1 processes");
    // The drain may take longer than the manager would wait.
    assert_has(&stopping, "EXTEND_TIMEOUT_USEC=30000000");
    client.send_text("still here").await?;
    assert_eq!(client.next_text().await?, "still here");
    client.close().await?;
    foreground.ended().await?.expect_code(0)?;
    Ok(())
}

#[tokio::test]
async fn a_reload_that_fails_is_over_as_well() -> Result<()> {
    let echo = echo()?;
    let mut manager = Manager::listen(&echo)?;
    let marker = echo.program.folder().join("broken");
    let echo = echo.knob("NOTIFY_SOCKET", manager.path()).knob("ECHO_BROKEN_IF", &marker);
    let _foreground = echo.program.foreground().await?;
    manager.hears("READY=1").await?;
    tokio::fs::write(&marker, "the cellar is flooded").await?;
    echo.program.run(&["reload"]).await?.expect_code(1)?;
    manager.hears("RELOADING=1").await?;
    manager.hears("READY=1").await?;
    Ok(())
}

#[tokio::test]
async fn the_watchdog_is_fed_by_a_loop_that_turns() -> Result<()> {
    let echo = echo()?;
    let mut manager = Manager::listen(&echo)?;
    let echo = echo.knob("NOTIFY_SOCKET", manager.path()).knob("WATCHDOG_USEC", "200000");
    let _foreground = echo.program.foreground().await?;
    manager.hears("READY=1").await?;
    for _ in 0..5 {
        manager.hears("WATCHDOG=1").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_manager_may_have_a_name_that_is_no_file() -> Result<()> {
    let echo = echo()?;
    let name = format!("lineman-test-{}-{}", std::process::id(), echo.port.address());
    let mut manager = Manager::listen_at_name(&name)?;
    let echo = echo.knob("NOTIFY_SOCKET", manager.path());
    let _foreground = echo.program.foreground().await?;
    manager.hears("READY=1").await?;
    Ok(())
}

#[tokio::test]
async fn a_watchdog_that_is_for_another_process_hears_nothing() -> Result<()> {
    let echo = echo()?;
    let mut manager = Manager::listen(&echo)?;
    let echo = echo.knob("NOTIFY_SOCKET", manager.path());
    // The loop would turn a thousand times a second for it.
    let echo = echo.knob("WATCHDOG_USEC", "2000").knob("WATCHDOG_PID", "1");
    let foreground = echo.program.foreground().await?;
    talk(&echo).await?;
    foreground.process().terminate();
    manager.hears("STOPPING=1").await?;
    assert!(manager.heard().iter().all(|said| !said.contains("WATCHDOG=1")));
    foreground.ended().await?.expect_code(0)?;
    Ok(())
}

#[tokio::test]
async fn a_daemon_feeds_the_watchdog_of_the_command_that_started_it() -> Result<()> {
    let echo = echo()?;
    let mut manager = Manager::listen(&echo)?;
    let watched = ["sh", "-c", r#"WATCHDOG_PID=$$ exec "$0" "$@""#];
    let launch = Launch::echo(&echo, &watched)?.argument("-d").knob("WATCHDOG_USEC", "200000");
    let launched = launch.knob("NOTIFY_SOCKET", manager.path()).spawn()?;
    let command = launched.process()?.pid();
    let ready = manager.hears("READY=1").await?;
    let daemon = echo.program.status().await?.pid;
    assert_ne!(daemon, command);
    assert_has(&ready, &format!("MAINPID={daemon}"));
    manager.hears("WATCHDOG=1").await?;
    launched.ended().await?.expect_code(0)?;
    Ok(())
}

#[tokio::test]
async fn workers_know_nothing_of_the_manager() -> Result<()> {
    let echo = echo()?;
    let manager = Manager::listen(&echo)?;
    let echo = echo.knob("NOTIFY_SOCKET", manager.path()).knob("WATCHDOG_USEC", "60000000");
    let echo = echo.knob("LISTEN_FDS", "1").knob("LISTEN_PID", "1").knob("LISTEN_FDNAMES", "x");
    let echo = echo.knob("WATCHDOG_PID", "1");
    let _foreground = echo.program.foreground().await?;
    let worker = echo.program.process("echo/0").await?;
    let master = echo.program.master().await?;
    let of_a_manager = ["NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID="];
    for variable in of_a_manager.iter().chain(&["LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES="]) {
        assert!(environment(&master)?.contains(variable), "the test is no test without {variable}");
        assert!(!environment(&worker)?.contains(variable), "{variable}");
    }
    Ok(())
}

#[tokio::test]
async fn a_manager_that_is_not_there_keeps_nobody_from_serving() -> Result<()> {
    let echo = echo()?.knob("NOTIFY_SOCKET", "/nowhere/notify.sock");
    let _foreground = echo.program.foreground().await?;
    talk(&echo).await?;
    Ok(())
}

#[tokio::test]
async fn a_manager_that_does_not_read_misses_nothing_it_waits_for() -> Result<()> {
    let echo = echo()?;
    let mut manager = Manager::listen(&echo)?;
    let busy = UnixDatagram::unbound()?;
    busy.set_nonblocking(true)?;
    while busy.send_to(b"somebody else", manager.path()).is_ok() {}
    let echo = echo.knob("NOTIFY_SOCKET", manager.path()).knob("WATCHDOG_USEC", "20000");
    let _foreground = echo.program.foreground().await?;
    talk(&echo).await?;
    manager.hears("READY=1").await?;
    manager.hears("WATCHDOG=1").await?;
    Ok(())
}

#[tokio::test]
async fn a_socket_at_our_address_is_taken_and_survives_us() -> Result<()> {
    let echo = echo()?;
    // Without SO_REUSEPORT: nobody could bind it a second time.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    for _ in 0..2 {
        let launch =
            Launch::echo(&echo, &FOR_ITSELF)?.hand_over(vec![listener.try_clone()?.into()])?;
        let launched = launch.knob("ECHO_LISTEN", &address).knob("ECHO_COUNT", "2").spawn()?;
        let status = echo.program.until("it to be up", |status| status.state == "up").await?;
        assert_eq!(status.listen("echo", "clients").collect::<Vec<_>>(), [&*address]);
        for _ in 0..8 {
            talk_at(&address).await?;
        }
        // The successor gets it too.
        echo.program.reload().await?;
        talk_at(&address).await?;
        echo.program.stop().await?;
        launched.ended().await?.expect_code(0)?;
        // A client that connects now waits for the next start.
        let waits = tokio::net::TcpStream::connect(&address).await?;
        drop(waits);
    }
    Ok(())
}

#[tokio::test]
async fn a_socket_at_every_address_is_one_at_every_address_of_ipv4() -> Result<()> {
    let echo = echo()?;
    // What `ListenStream=7272` opens; the language's own listeners are dual-stack too.
    let Ok(listener) = TcpListener::bind("[::]:0") else { return Ok(()) };
    let port = listener.local_addr()?.port();
    let launch = Launch::echo(&echo, &FOR_ITSELF)?.hand_over(vec![listener.into()])?;
    let _launched = launch.knob("ECHO_LISTEN", format!("0.0.0.0:{port}")).spawn()?;
    let status = echo.program.until("it to be up", |status| status.state == "up").await?;
    assert_eq!(status.listen("echo", "clients").collect::<Vec<_>>(), [format!("[::]:{port}")]);
    talk_at(&format!("127.0.0.1:{port}")).await
}

#[tokio::test]
async fn sockets_for_another_process_are_left_alone() -> Result<()> {
    let echo = echo()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let theirs = listener.local_addr()?;
    let launch = Launch::echo(&echo, &[])?.hand_over(vec![listener.into()])?;
    let _launched = launch.knob("LISTEN_PID", "1").knob("LISTEN_FDNAMES", "echo").spawn()?;
    let status = echo.program.until("it to be up", |status| status.state == "up").await?;
    assert_eq!(status.listen("echo", "clients").collect::<Vec<_>>(), [echo.port.address()]);
    talk(&echo).await?;
    // The master has what it was born with, and nobody accepts from it; its workers do not.
    let worker = echo.program.process("echo/0").await?;
    let inherited = |process: &Process| -> Result<bool> {
        let inode = inode_of_listener(theirs.port())?;
        let files = std::fs::read_dir(format!("/proc/{}/fd", process.pid()))?.flatten();
        let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        Ok(targets.into_iter().any(|target| target.to_string_lossy() == inode))
    };
    assert!(inherited(&echo.program.master().await?)?, "the test is no test without it");
    assert!(!inherited(&worker)?);
    Ok(())
}

#[tokio::test]
async fn a_number_of_sockets_that_is_none_fails_the_start() -> Result<()> {
    for (count, problem) in [
        ("many", "\"many\" is no number from 0 to 1024"),
        ("-1", "\"-1\" is no number"),
        ("1025", "\"1025\" is no number"),
        ("", "\"\" is no number"),
        // One more than there are.
        ("2", "descriptor 4: "),
    ] {
        let echo = echo()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let launch = Launch::echo(&echo, &FOR_ITSELF)?.hand_over(vec![listener.into()])?;
        let launch = launch.knob("LISTEN_FDS", count).knob("LISTEN_FDNAMES", "echo");
        launch.spawn()?.ended().await?.expect_code(1)?.expect_text(problem)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_socket_is_found_by_its_name() -> Result<()> {
    for name in ["echo", "echo.clients"] {
        let echo = echo()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let launch = Launch::echo(&echo, &FOR_ITSELF)?.hand_over(vec![listener.into()])?;
        let _launched = launch.knob("LISTEN_FDNAMES", name).spawn()?;
        echo.program.until("it to be up", |status| status.state == "up").await?;
        talk_at(&address).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_file_of_a_given_socket_stays() -> Result<()> {
    let echo = echo()?;
    let path = echo.program.folder().join("clients.sock");
    let listener = UnixListener::bind(&path)?;
    let launch = Launch::echo(&echo, &FOR_ITSELF)?.hand_over(vec![listener.into()])?;
    let launched = launch.knob("ECHO_LISTEN", format!("unix:{}", path.display())).spawn()?;
    echo.program.until("it to be up", |status| status.state == "up").await?;
    tokio::net::UnixStream::connect(&path).await?;
    echo.program.stop().await?;
    launched.ended().await?.expect_code(0)?;
    assert!(path.exists());
    Ok(())
}

#[tokio::test]
async fn a_socket_that_fits_nothing_fails_the_start() -> Result<()> {
    let echo = echo()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let launch = Launch::echo(&echo, &FOR_ITSELF)?.hand_over(vec![listener.into()])?;
    let launched = launch.knob("LISTEN_FDNAMES", "mail").spawn()?;
    let failed = launched.ended().await?.expect_code(1)?;
    let problem =
        format!("the socket mail ({address}) of the service manager: it fits no listener");
    failed
        .expect_text(&problem)?
        .expect_text(&format!("echo.clients at {}", echo.port.address()))?;
    Ok(())
}

#[tokio::test]
async fn a_connection_is_no_listener() -> Result<()> {
    let echo = echo()?;
    let (one, _other) = std::os::unix::net::UnixStream::pair()?;
    let launched = Launch::echo(&echo, &FOR_ITSELF)?.hand_over(vec![one.into()])?.spawn()?;
    launched.ended().await?.expect_code(1)?.expect_text("it does not listen (hint: Accept=no")?;
    Ok(())
}

#[tokio::test]
async fn a_daemon_cannot_have_the_sockets() -> Result<()> {
    let echo = echo()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let launch = Launch::echo(&echo, &FOR_ITSELF)?.hand_over(vec![listener.into()])?;
    let launched = launch.knob("LISTEN_FDNAMES", "echo").argument("-d").spawn()?;
    launched.ended().await?.expect_code(2)?.expect_text("start without -d")?;
    Ok(())
}

#[test]
fn systemd_accepts_the_units() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    // The program is not installed here; systemd only looks whether it is there.
    let installed = tempfile::tempdir()?;
    for unit in ["lineman.service", "lineman-chat.service", "lineman-chat.socket"] {
        let text = std::fs::read_to_string(folder.join(unit))?;
        let text = text.replace("/usr/local/bin/chat", "/bin/true");
        let text = text.replace("/usr/local/bin/lineman", "/bin/true");
        let path = installed.path().join(unit);
        std::fs::write(&path, text)?;
        verify.arg(path);
    }
    match verify.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            // Settings it does not know are warnings.
            assert!(!said.contains("lineman"), "{said}");
        }
        Err(error) => skipped("systemd-analyze (Debian: systemd)", &error),
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(tool: &str, error: &std::io::Error) {
    eprintln!("SKIPPED, NOTHING WAS CHECKED: {tool} is not there: {error}");
}

fn environment(process: &Process) -> Result<String> {
    let bytes = std::fs::read(format!("/proc/{}/environ", process.pid()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns what a link to the descriptor of a listener on this port says: `socket:[INODE]`.
fn inode_of_listener(port: u16) -> Result<String> {
    let sockets = std::fs::read_to_string("/proc/net/tcp")?;
    let local = format!(":{port:04X}");
    let mut rows = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // Columns: number, local address, remote address, state (0A listens), …, inode.
    let row = rows.find(|row| {
        row.get(1).is_some_and(|address| address.ends_with(&local)) && row.get(3) == Some(&"0A")
    });
    let inode = row.and_then(|row| row.get(9).copied()).context("no listener at the port")?;
    Ok(format!("socket:[{inode}]"))
}

async fn talk(echo: &Server) -> Result<Status> {
    talk_at(&echo.port.address()).await?;
    echo.program.status().await
}

async fn talk_at(address: &str) -> Result<()> {
    let mut client = Client::connect(&format!("ws://{address}/")).await?;
    client.send_text("hello").await?;
    assert_eq!(client.next_text().await?, "hello");
    client.close().await
}

#[track_caller]
fn assert_has(message: &str, line: &str) {
    assert!(message.lines().any(|found| found == line), "no {line:?} in {message:?}");
}
