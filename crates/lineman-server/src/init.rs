//! `lineman init`: writes the example. It never replaces a file unless it is told to.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use clap::Args;

use crate::{document, say};

/// Flags of `init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The file to write [default: --config, else lineman.toml]
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
    let mut options = OpenOptions::new();
    // A key may come to stand in it.
    options.write(true).mode(0o640);
    if how.force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written =
        options.open(&path).and_then(|mut file| file.write_all(document::example().as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            format!("{} is there already (hint: --force replaces it)", path.display())
        }
        _ => format!("cannot write {}: {error}", path.display()),
    })?;
    say(&format!(
        "{} is written; `lineman check` looks at it, `lineman start` runs it",
        path.display()
    ));
    Ok(())
}
