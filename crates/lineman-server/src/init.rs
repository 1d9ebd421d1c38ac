//! `lineman init`: writes the example. It never replaces a file unless it is told to.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::{document, print, say};

/// Flags of `init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The file to write; `-` for stdout [default: --config, else lineman.toml]
    file: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Writes the example.
///
/// # Errors
/// What stands in the way.
pub(crate) fn init(how: &Init, config: Option<PathBuf>) -> Result<(), String> {
    let path = how.file.clone().or(config).unwrap_or_else(|| PathBuf::from("lineman.toml"));
    if path == Path::new("-") {
        print(&document::example());
        return Ok(());
    }
    write(&path, &document::example(), how.force)?;
    say(&format!(
        "{} is written; `lineman check` looks at it, `lineman start` runs it",
        path.display()
    ));
    Ok(())
}

/// Writes a file of settings, which only its owner and its group can read.
///
/// # Errors
/// What stands in the way: that there is one already, unless it is to be replaced.
pub(crate) fn write(path: &Path, text: &str, force: bool) -> Result<(), String> {
    let mut options = OpenOptions::new();
    // A key may come to stand in it.
    options.write(true).mode(0o640);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            format!("{} is there already (hint: --force replaces it)", path.display())
        }
        _ => format!("cannot write {}: {error}", path.display()),
    })
}
