//! The files of `contrib/` that no tool of this machine reads: whether what they say fits together.
//! Those of systemd are in `systemd.rs`.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use lineman_tests::contrib::{compose_machines, contrib, values};

/// What follows SIGTERM in a program that sets neither: the drain limit and the last words.
const AFTER_SIGTERM: u64 = 30 + 2;

/// How long the master's loop may take to answer a probe.
const SLOWEST_ANSWER: u64 = 3;

/// The values of a file.
struct Yaml(Vec<(String, String)>);

impl Yaml {
    fn of(file: &str) -> Result<Self> {
        Ok(Self(values(&contrib(file)?).with_context(|| file.to_owned())?))
    }

    /// Returns all values whose keys end like this, in order.
    fn all<'a>(&'a self, end: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(path, _)| path.ends_with(end)).map(|(_, value)| &**value)
    }

    fn value(&self, end: &str) -> Result<&str> {
        self.all(end).next().with_context(|| format!("{end} in {:#?}", self.0))
    }

    fn number(&self, end: &str) -> Result<u64> {
        Ok(self.value(end)?.parse()?)
    }
}

#[test]
fn a_pod_gets_the_time_that_it_takes_to_leave() -> Result<()> {
    for file in ["kubernetes.yaml", "kubernetes-cluster.yaml"] {
        let pod = Yaml::of(file)?;
        let sleep = pod.value("preStop.exec.command")?;
        let sleep = sleep.strip_prefix("[\"sleep\", \"").and_then(|rest| rest.strip_suffix("\"]"));
        let sleep: u64 = sleep.context("preStop sleeps")?.parse()?;
        let grace = pod.number("spec.template.spec.terminationGracePeriodSeconds")?;
        ensure!(grace > sleep + AFTER_SIGTERM, "{grace} s for {sleep} s and {AFTER_SIGTERM} s");
        ensure!(pod.number("livenessProbe.timeoutSeconds")? > SLOWEST_ANSWER);
        ensure!(pod.value("containers.imagePullPolicy")? == "IfNotPresent");
        // The Dockerfile's user, and its ports.
        let dockerfile = contrib("Dockerfile")?;
        let user = pod.value("securityContext.runAsUser")?;
        ensure!(dockerfile.contains(&format!("\nUSER {user}\n")), "{user}");
        let ports: Vec<_> = pod.all("ports.containerPort").take(2).collect();
        ensure!(dockerfile.contains(&format!("\nEXPOSE {}\n", ports.join(" "))), "{ports:?}");
    }
    Ok(())
}

#[test]
fn the_pods_of_a_cluster_find_each_other() -> Result<()> {
    let pods = Yaml::of("kubernetes-cluster.yaml")?;
    let variable = |name: &str| -> Result<&str> {
        let mut rest = pods.0.iter().skip_while(|(_, value)| value != name);
        let (_, value) = rest.nth(1).with_context(|| format!("{name} has a value"))?;
        Ok(value.trim_matches('"'))
    };
    let service = pods.value("spec.serviceName")?;
    let register = |number| format!("{service}-{number}.{service}:1236");
    let registers: Vec<String> = (0..pods.number("spec.replicas")?).map(register).collect();
    assert_eq!(variable("CHAT_REGISTER")?, registers.join(" "));
    assert_eq!(variable("CHAT_REGISTER_LISTEN")?, "0.0.0.0:1236");
    // What the network policy lets through is named after what the pod has.
    let (first, count) = (variable("CHAT_START_PORT")?, variable("CHAT_GATEWAYS")?);
    let (first, count): (u16, u16) = (first.parse()?, count.parse()?);
    let mut ports = vec!["7272".to_owned(), "9000".to_owned(), "1236".to_owned()];
    ports.extend((first..first + count).map(|port| port.to_string()));
    assert_eq!(pods.all("containers.ports.containerPort").collect::<Vec<_>>(), ports);
    let named: BTreeSet<_> = pods.all("containers.ports.name").collect();
    let let_through: BTreeSet<_> = pods.all("spec.ingress.ports.port").collect();
    assert_eq!(let_through, named);
    Ok(())
}

#[test]
fn the_machines_of_the_compose_file_have_what_their_variables_say() -> Result<()> {
    let file = Yaml::of("compose.yaml")?;
    let machines = compose_machines()?;
    assert_eq!(machines.len(), 3);
    let grace = file.value("stop_grace_period")?.strip_suffix('s').context("seconds")?;
    ensure!(grace.parse::<u64>()? > AFTER_SIGTERM, "{grace} s");
    let mut listening = Vec::new();
    for (number, variables) in (1..).zip(&machines) {
        let variable = |name: &str| {
            variables.iter().find_map(|(found, value)| (found == name).then_some(&**value))
        };
        let lan_ip = variable("CHAT_LAN_IP").context("an address")?;
        let place = format!("services.machine-{number}");
        assert_eq!(lan_ip, file.value(&format!("{place}.networks.lan.ipv4_address"))?);
        let published = file.value(&format!("{place}.ports"))?;
        ensure!(published.ends_with(":7272\"]"), "{published}");
        let key = variable("CHAT_SECRET_FILE").context("a key")?;
        assert_eq!(
            file.value("x-machine.secrets")?,
            format!("[\"{}\"]", key.rsplit('/').next().context("a name")?)
        );
        if let Some(listen) = variable("CHAT_REGISTER_LISTEN") {
            ensure!(listen.starts_with(lan_ip), "{listen} on {lan_ip}");
            listening.push(listen);
        }
    }
    assert_eq!(file.value("x-settings.CHAT_REGISTER")?, listening.join(" "));
    Ok(())
}

#[test]
fn every_variable_is_one_that_the_program_reads() -> Result<()> {
    let table = include_str!("../../../examples/chat/src/main.rs");
    for file in ["Dockerfile", "compose.yaml", "kubernetes.yaml", "kubernetes-cluster.yaml"] {
        let text = contrib(file)?;
        // Not what stands in sentences.
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let words = lines.flat_map(|line| line.split([' ', ':', '=', '"']));
        for name in words.filter(|word| word.starts_with("CHAT_")) {
            ensure!(table.contains(&format!("`{name}`")), "{name} in {file}");
        }
    }
    Ok(())
}

#[test]
fn the_image_is_built_by_the_toolchain_it_has() -> Result<()> {
    let dockerfile = contrib("Dockerfile")?;
    let pinned = dockerfile.lines().find_map(|line| line.strip_prefix("ENV RUSTUP_TOOLCHAIN="));
    let pinned = pinned.context("a pinned toolchain")?;
    ensure!(dockerfile.contains(&format!("FROM docker.io/library/rust:{pinned}-")), "{pinned}");
    // No older than the workspace wants.
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let number = |version: &str| -> Vec<u32> {
        version.split('.').filter_map(|part| part.parse().ok()).collect()
    };
    ensure!(number(pinned) >= number(wanted), "{pinned} is older than {wanted}");
    Ok(())
}

#[test]
fn what_the_unit_denies_leaves_what_the_program_does() -> Result<()> {
    let unit = contrib("lineman-chat.service")?;
    let mut filters = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    // Later lines take back what earlier ones denied.
    let last = filters.next_back().context("a filter")?;
    for call in ["prlimit64", "setrlimit", "@chown", "sched_setaffinity"] {
        ensure!(last.split(' ').any(|allowed| allowed == call), "{call} in {last}");
    }
    ensure!(unit.contains("\nSystemCallErrorNumber=EPERM\n"), "a call that is denied kills nobody");
    Ok(())
}
