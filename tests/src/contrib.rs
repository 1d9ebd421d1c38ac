//! The files of `contrib/`, read as far as the tests of them need.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Returns the text of a file of `contrib/`.
///
/// # Errors
/// When it is not there.
pub fn contrib(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib").join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Returns the values of a YAML file, each with the keys that lead to it: `spec.replicas`. Mappings in
/// blocks, and lists of them, are all that is understood, and all that is allowed.
///
/// # Errors
/// When there is anything else.
pub fn values(text: &str) -> Result<Vec<(String, String)>> {
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

/// Returns the variables of each machine of `compose.yaml`, in the order of the machines.
///
/// # Errors
/// When the file is not as [`values`] understands it.
pub fn compose_machines() -> Result<Vec<Vec<(String, String)>>> {
    let values = values(&contrib("compose.yaml")?)?;
    let below = |place: &str| -> Vec<(String, String)> {
        let inside = values.iter().filter_map(|(path, value)| {
            let name = path.strip_prefix(place)?.strip_prefix('.')?;
            (name != "<<").then(|| (name.to_owned(), value.trim_matches('"').to_owned()))
        });
        inside.collect()
    };
    let all = below("x-settings");
    let machines = (1..).map(|number| below(&format!("services.machine-{number}.environment")));
    let machines = machines.take_while(|own| !own.is_empty());
    Ok(machines.map(|own| [all.clone(), own].concat()).collect())
}
