//! Which file the workers are started from: the path the master was started with, resolved once.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::Error;

const RUNNING_IMAGE: &str = "/proc/self/exe";

/// Returns the path of this program.
///
/// Symbolic links are kept: after a deploy a link like `current/chat` leads to the new file, while
/// `/proc/self/exe` names a deleted one. That one is used only where the first argument leads
/// nowhere or elsewhere.
pub(crate) fn resolve() -> Result<PathBuf, Error> {
    let failed = |source| Error::Os { action: "find this program's own file", source };
    let named = env::args_os().next().map(PathBuf::from);
    let path = named.and_then(|name| locate(&name, env::var_os("PATH").as_deref()));
    match path {
        Some(path) if same_file(&path, Path::new(RUNNING_IMAGE)) => Ok(path),
        _ => fs::read_link(RUNNING_IMAGE).and_then(exists).map_err(failed),
    }
}

fn locate(name: &Path, search: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    if name.as_os_str().as_encoded_bytes().contains(&b'/') {
        // Lexical, against the working directory: links stay what they are.
        return std::path::absolute(name).ok();
    }
    let found =
        env::split_paths(search?).map(|folder| folder.join(name)).find(|path| path.is_file())?;
    std::path::absolute(found).ok()
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => one.dev() == other.dev() && one.ino() == other.ino(),
        _ => false,
    }
}

fn exists(path: PathBuf) -> io::Result<PathBuf> {
    fs::metadata(&path).map(|_| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_searched_and_a_path_is_not() {
        let search = Some(std::ffi::OsStr::new("/nowhere:/proc/self"));
        assert_eq!(locate(Path::new("status"), search), Some(PathBuf::from("/proc/self/status")));
        assert_eq!(locate(Path::new("no-such-program"), search), None);
        assert_eq!(locate(Path::new("/a/b"), search), Some(PathBuf::from("/a/b")));
    }

    #[test]
    fn this_test_finds_itself() {
        assert!(same_file(&resolve().unwrap(), Path::new(RUNNING_IMAGE)));
    }
}
