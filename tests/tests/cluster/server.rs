//! The program `lineman`: a file and the environment make gateways and registers, and whatever is wrong with them is
//! said at once, with its place.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use lineman_testkit::{Program, Status};
use lineman_tests::certificates::{Authority, Pair};
use lineman_tests::lineman::Lineman;
use lineman_tests::programs::built;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[tokio::test]
async fn what_init_writes_runs_and_serves_a_business() -> Result<()> {
    let lineman = Lineman::new("")?;
    lineman.program.run(&["init"]).await?.expect_code(1)?.expect_text("--force replaces it")?;
    lineman.program.run(&["init", "--force"]).await?.expect_code(0)?;
    // The ports of a machine are not this test's.
    let Lineman { program, port, register } = lineman;
    let program = program
        .env("LINEMAN_REGISTER_LISTEN", register.address())
        .env("LINEMAN_CLUSTER_REGISTER_ADDRESS", register.address())
        .env("LINEMAN_GATEWAY_LISTEN", format!("websocket://{}", port.address()))
        .env("LINEMAN_GATEWAY_START_PORT", "0");
    let lineman = Lineman { program, port, register };
    lineman.program.run(&["check"]).await?.expect_code(0)?.expect_text("register://")?;
    let lineman = lineman.started().await?;
    let _business = lineman.business("").await?;
    let mut client = lineman.client().await?;
    client.send_text("hello").await?;
    assert_eq!(client.next_text().await?, "hello");
    lineman.program.stop().await?;
    Ok(())
}

#[tokio::test]
async fn the_environment_alone_is_enough() -> Result<()> {
    let Lineman { program: _, port, register } = Lineman::new("")?;
    let program = Program::new(built("lineman", "lineman-server")?)?
        .env("LINEMAN_REGISTER_LISTEN", register.address())
        .env("LINEMAN_CLUSTER_REGISTER_ADDRESS", register.address())
        .env("LINEMAN_GATEWAY_LISTEN", format!("text://{}", port.address()))
        .env("LINEMAN_GATEWAY_COUNT", "2")
        .env("LINEMAN_GATEWAY_START_PORT", "0")
        .env("LINEMAN_PROGRAM_NAME", "in-a-container");
    let checked = program.run(&["check"]).await?.expect_code(0)?;
    let checked = checked.expect_text("in-a-container")?.expect_text("text://")?;
    let processes = |line: &&str| line.starts_with("gateway") && line.contains("  2  handed over");
    assert!(checked.stdout.lines().any(|line| processes(&line)), "{checked}");
    program.start().await?;
    program.until("its gateways to be ready", |status| status.slot("gateway/1").is_ok()).await?;
    Ok(())
}

#[tokio::test]
async fn a_misspelt_variable_is_told_and_not_ignored() -> Result<()> {
    let lineman =
        Lineman::new("[[gateway]]\nname = \"chat\"\nlisten = \"websocket://$GATEWAY\"\n")?;
    let Lineman { program, .. } = lineman;
    let program = program
        .env("LINEMAN_CHAT_PING_INTERVALL", "25s")
        .env("LINEMAN_GATEWAY_COUNT", "2")
        .env("LINEMAN_CHAT_PING_DATA", "x")
        .env("LINEMAN_CHAT_COUNT", "many");
    for verb in ["check", "start"] {
        let refused = program.run(&[verb]).await?.expect_code(1)?;
        let told: Vec<&str> = refused.stderr.lines().collect();
        let expected = [
            "error: LINEMAN_CHAT_COUNT: gateway.count: it is the text \"many\", and has to be a whole number from 1 to \
             1024",
            "error: LINEMAN_CHAT_PING_INTERVALL: it is no setting of any service here (hint: LINEMAN_CHAT_PING_INTERVAL \
             is one)",
            "error: LINEMAN_GATEWAY_COUNT: it is no setting of any service here (hint: LINEMAN_CHAT_COUNT is one)",
        ];
        assert_eq!(told, expected);
    }
    // Commands that only have to find the program go on.
    program.run(&["status"]).await?.expect_code(3)?;
    Ok(())
}

/// Checks what is said of a file: all lines, in this order.
async fn told(settings: &str, expected: &[&str]) -> Result<()> {
    let lineman = Lineman::new(settings)?;
    let (file, folder) =
        (lineman.file().display().to_string(), lineman.program.folder().display().to_string());
    for verb in ["check", "start"] {
        let refused = lineman.program.run(&[verb]).await?.expect_code(1)?;
        let place = |line: &str| {
            let line = line.strip_prefix("error: ").unwrap_or(line);
            line.strip_prefix(&file).unwrap_or(line).replace(&folder, "$FOLDER")
        };
        let told: Vec<String> = refused.stderr.lines().map(place).collect();
        assert_eq!(told, expected, "{settings}");
    }
    Ok(())
}

#[tokio::test]
async fn every_fault_of_a_file_is_told_at_once_with_its_line() -> Result<()> {
    let file = "ping_interval = 3
[programm]
[program]
nam = \"y\"
name = 3
[[gateway]]
listen = \"websocket:0.0.0.0:1\"
pingInterval = 3
ping_interval = \"25 sec\"
limits = 3
count = 0
slow_client = \"kill\"
secret_key = 3
[[gateway]]
origins = [3]
[gateway.tls]
key = \"x\"
[cluster]
listen = \"x\"
lan_ip = 1979-05-27
";
    let expected = [
        ":1: ping_interval: it stands before any section, and belongs into [[gateway]]",
        ":2: programm: there is no such section (hint: \"program\" is one)",
        ":4: program.nam: there is no such setting (hint: \"name\" is one)",
        ":5: program.name: it is a number, and has to be a text (name)",
        ":7: gateway.listen: \"websocket:0.0.0.0:1\" does not say what clients speak: write \
         \"websocket://0.0.0.0:7272\" (websocket://, frame://, tcp://, text:// are known)",
        ":8: gateway.pingInterval: there is no such setting (hint: \"ping_interval\" is one)",
        ":9: gateway.ping_interval: \"25 sec\" is no duration: write 500ms, 30s, 2m or 1h",
        ":10: gateway.limits: it is a table: write [gateway.limits] above its settings",
        ":11: gateway.count: it is the number 0, and has to be a whole number from 1 to 1024",
        ":12: gateway.slow_client: it is the text \"kill\", and has to be \"close\" or \"drop_message\"",
        ":13: gateway.secret_key: it is a number, and has to be a text",
        ":14: gateway.listen: it is missing: where does this service listen?",
        ":14: gateway.name: another service is named \"gateway\": give each a name of its own",
        ":15: gateway.origins: a number is in the list, and only texts (origins) may be",
        ":19: cluster.listen: there is no such setting (hint: it is one of [[register]] and [[gateway]])",
        ":20: cluster.lan_ip: it is a date, and has to be a text (IPv4 address or host name)",
    ];
    told(file, &expected).await
}

#[tokio::test]
async fn settings_that_do_not_go_together_are_told() -> Result<()> {
    let file = "[cluster]
secret_key = \"x\"
secret_key_file = \"$FOLDER/none\"
[[gateway]]
listen = \"wss://0.0.0.0:1\"
count = 2
per_core = 1
[gateway.proxies]
trust = \"10.0.0.0/8\"
[gateway.pages]
folder = \"$FOLDER/none\"
redirect = \"https://example.org/\"
[[gateway]]
name = \"a-b\"
listen = \"text://0.0.0.0:2\"
tls.key = \"x\"
proxies.header = \"forwarded\"
origins = \"https://example.org\"
[[gateway]]
name = \"a_b\"
listen = \"text://0.0.0.0:3\"
secret_key_file = \"$FOLDER\"
";
    let expected = [
        ":3: cluster.secret_key_file: it is there beside secret_key: choose one",
        ":5: gateway.listen: wss:// needs tls.certificate and tls.key",
        ":7: gateway.per_core: it is there beside count: choose one",
        ":9: gateway.proxies.trust: it needs proxies.proxy_protocol or proxies.header: how do they tell of clients?",
        ":11: gateway.pages.folder: there is no folder $FOLDER/none",
        ":12: gateway.pages.redirect: it is there beside pages.folder: choose one",
        ":16: gateway.tls.key: TLS needs tls.certificate as well",
        ":17: gateway.proxies.header: it needs proxies.trust: which proxies are believed?",
        ":18: gateway.origins: only a websocket:// listener has it, and this one is text://",
        ":20: gateway.name: \"a_b\" and \"a-b\" are the same in names of variables",
        ":22: gateway.secret_key_file: $FOLDER is no file of a key: it has to be a file of 4096 bytes at most",
    ];
    told(file, &expected).await
}

#[tokio::test]
async fn a_file_that_is_none_is_told() -> Result<()> {
    told("", &[": it describes no service: add [[gateway]] or [[register]] (hint: `lineman init` writes an example)"])
        .await?;
    told("[[gateway]\nlisten = 1\n", &[":1: it is no TOML: unclosed array table, expected `]`"])
        .await?;
    let huge = "# a comment\n".repeat(100_000);
    told(&huge, &[": it has more than 1048576 bytes: it is no file of settings"]).await?;

    let lineman = Lineman::new("")?;
    fs::write(lineman.file(), b"[[gateway]]\nlisten = \"\xff\"\n")?;
    let refused = lineman.program.run(&["start"]).await?.expect_code(1)?;
    refused.expect_text("lineman.toml:2: it is not UTF-8 from here on")?;
    fs::remove_file(lineman.file())?;
    let refused = lineman.program.run(&["start"]).await?.expect_code(1)?;
    refused.expect_text("lineman.toml: cannot read it: No such file or directory")?;
    fs::create_dir(lineman.file())?;
    lineman.program.run(&["start"]).await?.expect_code(1)?.expect_text("it is no file")?;
    Ok(())
}

#[tokio::test]
async fn without_any_configuration_it_says_what_to_do() -> Result<()> {
    let program = Program::new(built("lineman", "lineman-server")?)?;
    let mut start = program.command(&["start"]);
    let output = start.current_dir(program.folder()).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("`lineman init` writes an example"), "{told}");
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

#[tokio::test]
async fn inner_ports_are_fixed_and_an_address_that_is_taken_is_told_with_its_line() -> Result<()> {
    let holder = TcpListener::bind("127.0.0.1:0")?;
    let held = holder.local_addr()?;
    let gateways = "[[gateway]]\nlisten = \"websocket://$GATEWAY\"\ncount = 4\n\
                    [[gateway]]\nname = \"devices\"\nlisten = \"tcp://127.0.0.1:0\"\n";
    let lineman = Lineman::new(gateways)?;
    let shown = lineman.program.run(&["check"]).await?.expect_code(0)?;
    shown.expect_text("link://127.0.0.1:2900-2903")?.expect_text("link://127.0.0.1:2904")?;

    let told = |key: &str, line: usize| {
        format!("cannot listen on {held} (gateway.{key}, {}:{line})", lineman.file().display())
    };
    let inner = format!("{gateways}start_port = {}\n", held.port());
    lineman.write(&inner.replace("count = 4", "start_port = 0"))?;
    let refused = lineman.program.run(&["start"]).await?.expect_code(1)?;
    refused.expect_text(&told("start_port", 7))?;
    let outer = format!("[[gateway]]\nstart_port = 0\nlisten = \"text://{held}\"\n");
    lineman.write(&outer)?;
    lineman.program.run(&["start"]).await?.expect_code(1)?.expect_text(&told("listen", 3))?;
    // Two of one file.
    lineman.write(&outer.replace("= 0", &format!("= {}", held.port())))?;
    let refused = lineman.program.run(&["check"]).await?.expect_code(1)?;
    refused.expect_text("it listens at")?.expect_text("(gateway.start_port, ")?;
    Ok(())
}

/// Serves a hook over TLS that accepts all.
async fn secure_hook(pair: &Pair) -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://localhost:{}/", listener.local_addr()?.port());
    let chain = CertificateDer::pem_file_iter(&pair.certificate)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&pair.key)?;
    let tls = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // One that does not trust it is no error of the test's.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap_or(b'\n'));
            }
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            stream.write_all(answer).await.expect("an answer");
            stream.shutdown().await.expect("an end");
        }
    });
    Ok(url)
}

#[tokio::test]
async fn a_hook_is_asked_over_https_where_an_authority_of_ours_vouches_for_it() -> Result<()> {
    let (ours, other) = (Authority::new().await?, Authority::new().await?);
    let url = secure_hook(&ours.sign("localhost").await?).await?;
    let gateway = |authorities: &Path| {
        format!(
            "[[gateway]]\nlisten = \"websocket://$GATEWAY\"\nstart_port = 0\nconnect_hook.url = \"{url}\"\n\
             connect_hook.authorities = \"{}\"\n",
            authorities.display()
        )
    };
    let lineman = Lineman::new(&gateway(Path::new("/none.pem")))?;
    let refused = lineman.program.run(&["check"]).await?.expect_code(1)?;
    refused.expect_text("connect hook: cannot use the authorities in /none.pem: ")?;
    lineman.write(&gateway(&other.certificate()))?;
    let lineman = lineman.started().await?;
    assert!(lineman.client().await.is_err(), "it is not trusted");
    let failed = |status: &Status| status.gauge("gateway", "hook_failures") == 1;
    lineman.program.until("the hook to fail", failed).await?;
    lineman.write(&gateway(&ours.certificate()))?;
    lineman.program.reload().await?;
    lineman.client().await?;
    Ok(())
}
