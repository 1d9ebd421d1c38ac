//! Opens a log file with care: 0600 when it is new, never one that others can write to or have put in
//! our way.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
};
use std::path::Path;

use rustix::fs::{Access, access};

use crate::Error;
use crate::os::user;

/// Opens the file at `path` to write at its end. It is created with mode 0600, its folder with 0700.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    let failed = |action, source| Error::File { action, path: path.to_path_buf(), source };
    let refused = |problem: String| failed("write the log to", io::Error::other(problem));
    if let Some(problem) = in_the_way(path) {
        return Err(refused(problem));
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(folder);
        made.map_err(|error| failed("create the folder of", error))?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let file = file.map_err(|error| failed("open", error))?;
    // Looked at again, for what was opened is what counts.
    let facts = file.metadata().map_err(|error| failed("look at", error))?;
    unsafe_to_write(&facts).map_or(Ok(file), |problem| Err(refused(problem)))
}

/// Says what [`open`] would object to, as far as it can be seen without creating anything.
pub(crate) fn check(path: &Path) -> Result<(), Error> {
    let failed = |action, source| Error::File { action, path: path.to_path_buf(), source };
    if let Some(problem) = in_the_way(path) {
        return Err(failed("write the log to", io::Error::other(problem)));
    }
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if there != path && !there.is_dir() {
        let problem = format!("{} is no folder", there.display());
        return Err(failed("create the folder of", io::Error::other(problem)));
    }
    let wanted = if there == path { Access::WRITE_OK } else { Access::WRITE_OK | Access::EXEC_OK };
    access(there, wanted).map_err(|error| failed("open", error.into()))
}

/// Returns what is wrong with what is there already. A pipe is not even opened, as that would wait
/// for its reader.
fn in_the_way(path: &Path) -> Option<String> {
    let link = fs::symlink_metadata(path).ok()?;
    let us = rustix::process::geteuid().as_raw();
    if link.is_symlink() && link.uid() != us && link.uid() != 0 {
        return Some(format!("it is a link that belongs to {}", user::name(link.uid())));
    }
    unsafe_to_write(&fs::metadata(path).ok()?)
}

fn unsafe_to_write(facts: &Metadata) -> Option<String> {
    if facts.file_type().is_char_device() {
        // A terminal, /dev/null: its mode is the machine's business.
        None
    } else if !facts.is_file() {
        Some("it is no file".to_owned())
    } else if facts.mode() & 0o002 != 0 {
        let mode = facts.mode() & 0o7777;
        Some(format!("everybody can write to it (mode {mode:04o}): `chmod 0600` it"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn refusal(path: &Path) -> String {
        open(path).unwrap_err().to_string()
    }

    #[test]
    fn a_new_file_and_its_folders_are_ours_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/x.log");
        open(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(&folder.path().join("a")), 0o700);
    }

    #[test]
    fn what_everybody_can_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o646)).unwrap();
        assert!(refusal(&path).contains("(mode 0646)"), "{}", refusal(&path));
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(refusal(&link).contains("everybody"), "{}", refusal(&link));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        open(&link).unwrap();
    }

    #[test]
    fn a_check_creates_nothing_and_finds_what_is_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.log");
        check(&path).unwrap();
        assert!(!folder.path().join("a").exists());
        fs::write(folder.path().join("a"), "").unwrap();
        let error = check(&path).unwrap_err().to_string();
        assert!(error.contains("is no folder"), "{error}");
        assert!(check(folder.path()).is_err());
    }

    #[test]
    fn a_link_of_somebody_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink(folder.path().join("x.log"), &link).unwrap();
        // Only root can give it away.
        if std::os::unix::fs::lchown(&link, Some(65534), None).is_ok() {
            assert!(refusal(&link).contains("a link that belongs to"), "{}", refusal(&link));
        }
    }

    #[test]
    fn a_pipe_or_folder_is_refused_and_a_device_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(refusal(folder.path()).contains("it is no file"));
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        assert!(refusal(&pipe).contains("it is no file"));
        open(Path::new("/dev/null")).unwrap();
    }
}
