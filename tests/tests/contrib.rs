//! The files of `contrib/` that no tool of this machine reads: whether what they say fits together.
//! Those of systemd are in `systemd.rs`.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// What follows SIGTERM in a program that sets neither: the drain limit and the last words.
const AFTER_SIGTERM: u64 = 30 + 2;

/// How long the master's loop may take to answer a probe.
const SLOWEST_ANSWER: u64 = 3;

fn contrib(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib").join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Returns the values of a YAML file, each with the keys that lead to it: `spec.replicas`. Mappings in
/// blocks, and lists of them, are all that is understood, and all that is allowed.
fn values(text: &str) -> Result<Vec<(String, String)>> {
    let mut values = Vec::new();
    let mut keys: Vec<(usize, &str)> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') || line == "---" {
            continue;
        }
        let entry = trimmed.strip_prefix("- ").unwrap_or(trimmed);
        let indent = line.len() - entry.len();
        ensure!(indent % 2 == 0 && !line.contains('\t'), "indentation: {line}");
        let (key, value) = entry.split_once(':').with_context(|| format!("no key: {line}"))?;
        ensure!(value.is_empty() || value.starts_with(' '), "no blank: {line}");
        keys.retain(|(outer, _)| *outer < indent);
        let outer = keys.last().map_or(0, |(outer, _)| outer + 2);
        ensure!(indent <= outer + 2, "too far in: {line}");
        keys.push((indent, key));
        let path: Vec<_> = keys.iter().map(|(_, key)| *key).collect();
        values.push((path.join("."), value.trim().to_owned()));
    }
    Ok(values)
}

#[test]
fn a_pod_gets_the_time_that_it_takes_to_leave() -> Result<()> {
    let values = values(&contrib("kubernetes.yaml")?)?;
    let value = |end: &str| {
        let found = values.iter().find(|(path, _)| path.ends_with(end));
        found.map(|(_, value)| &**value).with_context(|| format!("{end} in {values:#?}"))
    };
    let seconds = |end| -> Result<u64> { Ok(value(end)?.parse()?) };
    let sleep = value("preStop.exec.command")?;
    let sleep = sleep.strip_prefix("[\"sleep\", \"").and_then(|rest| rest.strip_suffix("\"]"));
    let sleep: u64 = sleep.context("preStop sleeps")?.parse()?;
    let grace = seconds("spec.template.spec.terminationGracePeriodSeconds")?;
    ensure!(grace > sleep + AFTER_SIGTERM, "{grace} s for {sleep} s and {AFTER_SIGTERM} s");
    ensure!(seconds("livenessProbe.timeoutSeconds")? > SLOWEST_ANSWER);
    ensure!(value("containers.imagePullPolicy")? == "IfNotPresent");
    // The Dockerfile's user, and its ports.
    let dockerfile = contrib("Dockerfile")?;
    let user = value("securityContext.runAsUser")?;
    ensure!(dockerfile.contains(&format!("\nUSER {user}\n")), "{user}");
    let ports = values.iter().filter(|(path, _)| path.ends_with("ports.containerPort"));
    let ports: Vec<_> = ports.map(|(_, port)| &**port).collect();
    ensure!(dockerfile.contains(&format!("\nEXPOSE {}\n", ports.join(" "))), "{ports:?}");
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
