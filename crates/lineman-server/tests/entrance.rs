//! Who may connect, as settings say it: an allow-list, lenient clients, a connect hook over HTTP, and php-fpm itself.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lineman_testkit::{Port, Process, Program, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

fn run(test: impl Future<Output = Result<()>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test).expect("the test passes");
}

/// A program with one gateway, and no file.
fn gateway(port: &Port) -> Result<Program> {
    let program = Program::new(env!("CARGO_BIN_EXE_lineman"))?;
    let setting = |program: Program, (key, value): (&str, String)| {
        program.env(format!("LINEMAN_GATEWAY_{key}"), value)
    };
    let listen = format!("websocket://{}", port.address());
    // No register is there, and no business: clients are held.
    let settings = [
        ("LISTEN", listen),
        ("START_PORT", "0".to_owned()),
        ("REGISTER_ADDRESS", "127.0.0.1:9".to_owned()),
    ];
    Ok(settings.into_iter().fold(program, setting))
}

/// Asks for a WebSocket; returns the connection and the answer's first line.
async fn ask(port: &Port, target: &str, lines: &str) -> Result<(TcpStream, String)> {
    let mut stream = TcpStream::connect(port.address()).await?;
    let request = format!(
        "GET {target} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{lines}\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(within("an answer", stream.read_u8()).await??);
    }
    Ok((stream, String::from_utf8(line)?))
}

const WELCOME: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A hook that refuses who has no token, and binds all others; questions with `wait` get the answer that the test
/// writes.
async fn hook() -> Result<(String, mpsc::UnboundedReceiver<TcpStream>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/connect", listener.local_addr()?);
    let (waiting, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap_or(b'\n'));
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let answer = if request.contains("?wait") {
                waiting.send(stream).expect("the test is there");
                continue;
            } else if request.contains("token=t ") {
                let said = r#"{"uid":"42","groups":["room"]}"#;
                format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len())
            } else {
                "HTTP/1.0 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned()
            };
            stream.write_all(answer.as_bytes()).await.expect("an answer");
        }
    });
    Ok((url, told))
}

#[test]
fn settings_say_who_may_connect() {
    run(async {
        let port = Port::reserve()?;
        let (url, _told) = hook().await?;
        let program = gateway(&port)?
            .env("LINEMAN_GATEWAY_ALLOW_PATHS", "/chat,/rooms/*")
            .env("LINEMAN_GATEWAY_ALLOW_COOKIES", "plan=gold")
            .env("LINEMAN_GATEWAY_CONNECT_HOOK_URL", url)
            .env("LINEMAN_GATEWAY_LENIENT_MISSING_HOST", "true");
        program.start().await?;
        let cookie = "Cookie: plan=gold\r\n";
        for (target, lines, status) in [
            ("/chat?token=t", cookie, "101"),
            ("/rooms/7?token=t", cookie, "101"),
            ("/rooms/7", cookie, "403"),
            ("/other?token=t", cookie, "404"),
            ("/chat?token=t", "", "401"),
        ] {
            let (client, line) = ask(&port, target, lines).await?;
            assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{target} {lines}: {line}");
            drop(client);
        }
        let gauge = |key: &'static str, value| {
            program.until(key, move |status| status.gauge("gateway", key) == value)
        };
        gauge("refused_clients", 3).await?;
        gauge("hook_failures", 0).await?;
        let (_client, _) = ask(&port, "/chat?token=t", cookie).await?;
        gauge("uids", 1).await?;
        gauge("groups", 1).await?;
        program.stop().await?;
        Ok(())
    });
}

#[test]
fn a_stop_does_not_wait_for_the_hook() {
    run(async {
        let port = Port::reserve()?;
        let (url, mut told) = hook().await?;
        let program = gateway(&port)?
            .env("LINEMAN_GATEWAY_CONNECT_HOOK_URL", url)
            .env("LINEMAN_GATEWAY_CONNECT_HOOK_TIMEOUT", "1h")
            .env("LINEMAN_GATEWAY_LIMITS_HANDSHAKE_TIME", "2h");
        program.start().await?;
        let lines = "Host: a\r\n";
        let client = ask(&port, "/?wait", lines);
        let stop = async {
            let asked = told.recv().await.context("the hook is asked")?;
            let stopped = program.stop().await;
            drop(asked);
            stopped
        };
        let (client, stopped) = tokio::join!(client, stop);
        let line = client?.1;
        assert!(line.starts_with("HTTP/1.1 503 "), "{line}");
        assert!(!stopped?.stderr.contains("killed"));
        program.all_gone().await
    });
}

#[test]
fn a_drain_lets_clients_that_wait_for_the_hook_have_its_answer() {
    run(async {
        let port = Port::reserve()?;
        let (url, mut told) = hook().await?;
        let program = gateway(&port)?.env("LINEMAN_GATEWAY_CONNECT_HOOK_URL", url);
        program.start().await?;
        let client = ask(&port, "/?wait", "Host: a\r\n");
        let stop = async {
            let mut asked = told.recv().await.context("the hook is asked")?;
            let stopped = program.run(&["stop", "-g"]);
            let answer = async {
                program
                    .until("it to drain", |status| {
                        status.slot("gateway/0").is_ok_and(|slot| slot.state == "draining")
                    })
                    .await?;
                asked.write_all(WELCOME).await.context("an answer")
            };
            let (stopped, answered) = tokio::join!(stopped, answer);
            answered?;
            stopped?.expect_code(0)
        };
        let served = async {
            let (mut client, line) = client.await?;
            assert!(line.starts_with("HTTP/1.1 101 "), "{line}");
            // It is let go at the drain's limit, or leaves before.
            client.shutdown().await?;
            Ok::<_, anyhow::Error>(())
        };
        let (served, stopped) = tokio::join!(served, stop);
        served?;
        stopped?;
        program.all_gone().await
    });
}

#[test]
fn a_reload_puts_another_hook_in_force_and_a_client_that_waits_for_the_former_comes_again() {
    run(async {
        let port = Port::reserve()?;
        let (url, mut told) = hook().await?;
        let (other, _other_told) = hook().await?;
        let program = Program::new(env!("CARGO_BIN_EXE_lineman"))?;
        let file = program.folder().join("lineman.toml");
        let program = program.args(["--config".as_ref(), file.as_os_str()]);
        let write = |hook: &str| {
            let address = port.address();
            let text = format!(
                "[[gateway]]\nlisten = \"websocket://{address}\"\nstart_port = 0\n\
                 register_address = \"127.0.0.1:9\"\n{hook}"
            );
            std::fs::write(&file, text)
        };
        write(&format!("connect_hook.url = \"{url}\"\n"))?;
        program.start().await?;
        let client = ask(&port, "/?wait", "Host: a\r\n");
        let reloads = async {
            let _unanswered = told.recv().await.context("the hook is asked")?;
            write(&format!("connect_hook.url = \"{other}\"\n"))?;
            program.reload().await?;
            let (_, line) = ask(&port, "/?token=none", "Host: a\r\n").await?;
            assert!(line.starts_with("HTTP/1.1 403 "), "{line}");
            write("allow.paths = \"/chat\"\n")?;
            program.reload().await?;
            let (_, line) = ask(&port, "/chat?token=none", "Host: a\r\n").await?;
            assert!(line.starts_with("HTTP/1.1 101 "), "{line}");
            let (_, line) = ask(&port, "/", "Host: a\r\n").await?;
            assert!(line.starts_with("HTTP/1.1 404 "), "{line}");
            // Without a `Host`.
            let (_, line) = ask(&port, "/chat", "").await?;
            assert!(line.starts_with("HTTP/1.1 400 "), "{line}");
            write("lenient.missing_host = true\n")?;
            program.reload().await?;
            let (_, line) = ask(&port, "/chat", "").await?;
            assert!(line.starts_with("HTTP/1.1 101 "), "{line}");
            Ok::<_, anyhow::Error>(())
        };
        let (client, reloaded) = tokio::join!(client, reloads);
        reloaded?;
        // At once, so that it may come again: the process that has it does not serve any more.
        let line = client?.1;
        assert!(line.starts_with("HTTP/1.1 503 "), "{line}");
        Ok(())
    });
}

/// php-fpm, in the foreground.
struct Fpm(Child);

impl Drop for Fpm {
    fn drop(&mut self) {
        if let Ok(process) = i32::try_from(self.0.id()).map_err(Into::into).and_then(Process::open)
        {
            process.terminate();
        }
        self.0.wait().expect("it ends");
    }
}

fn fpm_binary() -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(Path::new);
    let names = ["php-fpm", "php-fpm8.4", "php-fpm8.3", "php-fpm8.2", "php-fpm8.1"];
    let places = folders.iter().flat_map(|folder| names.map(|name| folder.join(name)));
    places.into_iter().find(|place| place.exists())
}

fn fpm(binary: &Path, folder: &Path) -> Result<Fpm> {
    let socket = folder.join("fpm.sock");
    let settings = format!(
        "[global]\nerror_log = {0}/fpm.log\n[www]\nuser = {1}\ngroup = {1}\nlisten = {2}\npm = static\n\
         pm.max_children = 2\n",
        folder.display(),
        std::env::var("USER").unwrap_or_else(|_| "root".to_owned()),
        socket.display()
    );
    std::fs::write(folder.join("fpm.conf"), settings)?;
    let mut command = Command::new(binary);
    let command = command.args(["-n", "-R", "-F", "-y"]).arg(folder.join("fpm.conf"));
    let fpm =
        Fpm(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    Ok(fpm)
}

#[test]
fn php_fpm_decides() {
    let Some(binary) = fpm_binary() else {
        println!("skipped: there is no php-fpm on this machine");
        return;
    };
    run(async {
        let folder = tempfile::tempdir()?;
        let script = folder.path().join("connect.php");
        let php = r"<?php
            if (($_GET['token'] ?? '') !== 't') { http_response_code(403); echo 'no'; exit; }
            if (isset($_GET['broken'])) { throw new Exception('it is broken'); }
            echo json_encode(['uid' => $_COOKIE['user'], 'groups' => [$_SERVER['HTTP_X_ROOM']],
                'session' => ['from' => $_SERVER['REMOTE_ADDR'], 'uri' => $_SERVER['REQUEST_URI']]]);";
        std::fs::write(&script, php)?;
        let _fpm = fpm(&binary, folder.path())?;
        let socket = folder.path().join("fpm.sock");
        within("php-fpm to listen", async {
            while tokio::net::UnixStream::connect(&socket).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await?;
        let port = Port::reserve()?;
        let program = gateway(&port)?
            .env("LINEMAN_GATEWAY_CONNECT_HOOK_FASTCGI", format!("unix:{}", socket.display()))
            .env("LINEMAN_GATEWAY_CONNECT_HOOK_SCRIPT", &script)
            .env("LINEMAN_GATEWAY_CONNECT_HOOK_PASS_HEADERS", "cookie,x-room");
        program.start().await?;
        let lines = "Host: a\r\nCookie: user=7\r\nX-Room: hall\r\n";
        for (target, status) in [("/", "403"), ("/?token=t&broken=1", "503"), ("/?token=t", "101")]
        {
            let (client, line) = ask(&port, target, lines).await?;
            assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {line}");
            if status == "101" {
                let both = |status: &lineman_testkit::Status| {
                    ["uids", "groups"].iter().all(|gauge| status.gauge("gateway", gauge) == 1)
                };
                program.until("what the hook bound", both).await?;
            }
            drop(client);
        }
        program.stop().await?;
        Ok(())
    });
}
