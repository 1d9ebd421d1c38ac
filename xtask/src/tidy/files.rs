//! The files of the repository that people write.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Folders that hold what programs wrote.
const GENERATED: [&str; 4] = ["target", ".git", "corpus", "artifacts"];

const KINDS: [&str; 8] = ["rs", "toml", "md", "js", "css", "html", "sh", "yml"];

/// A file and its text.
#[derive(Debug)]
pub(super) struct File {
    /// Relative to the repository, with slashes.
    pub(super) path: String,
    pub(super) text: String,
}

/// Reads every file, in the order of their paths.
pub(super) fn read(repository: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    collect(repository, "", &mut files)?;
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn collect(folder: &Path, within: &str, files: &mut Vec<File>) -> Result<()> {
    let cannot = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if within.is_empty() { name.clone() } else { format!("{within}/{name}") };
        let kind = entry.file_type().with_context(cannot)?;
        if kind.is_dir() && !GENERATED.contains(&name.as_str()) {
            collect(&entry.path(), &path, files)?;
        } else if kind.is_file() && is_written_by_people(&name) {
            let text = fs::read_to_string(entry.path());
            let text = text.with_context(|| format!("cannot read {path}"))?;
            files.push(File { path, text });
        }
    }
    Ok(())
}

fn is_written_by_people(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|kind| KINDS.iter().any(|known| kind == *known))
}
