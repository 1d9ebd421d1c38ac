//! Which file the workers are started from: what the path leads to that the master was started with,
//! resolved once, or, after a crash, what served last. Called by `supervisor` and `spawn`.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use rustix::fs::OFlags;
use rustix::io::fcntl_dupfd_cloexec;

use super::event::Source;
use super::slot::SlotId;
use super::upgrade::ImageState;
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
    // A root folder without /proc has nothing to compare with.
    let image = Path::new(RUNNING_IMAGE);
    match path {
        Some(path) if same_file(&path, image) || !Path::new("/proc/self").exists() => Ok(path),
        _ => fs::read_link(RUNNING_IMAGE).and_then(exists).map_err(failed),
    }
}

/// The executables in use.
#[derive(Debug)]
pub(super) struct Images {
    path: PathBuf,
    /// The working folder, by the way that led there.
    folder: Option<PathBuf>,
    /// What the path led to last.
    newest: Option<Rc<Image>>,
    /// What each slot's last ready process runs, or ran.
    served: BTreeMap<SlotId, Rc<Image>>,
    /// What each slot ran before that.
    before: BTreeMap<SlotId, Rc<Image>>,
}

impl Images {
    /// Returns those of a program at `path`, none of which has been opened.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            folder: working_folder(),
            newest: None,
            served: BTreeMap::new(),
            before: BTreeMap::new(),
        }
    }

    /// Returns what a slot's next process is started from.
    pub(super) fn open(&mut self, slot: SlotId, source: Source) -> io::Result<Rc<Image>> {
        if let (Source::LastServed, Some(served)) = (source, self.served.get(&slot)) {
            return Ok(Rc::clone(served));
        }
        if source == Source::Before {
            let before = self.before.get(&slot).map(Rc::clone);
            return before.ok_or_else(|| io::Error::other("there is no binary before this one"));
        }
        let opened = Image::open(&self.path, self.folder.as_deref())?;
        // The same one is held once.
        let held = self.newest.take().filter(|newest| newest.is(&opened));
        let image = held.unwrap_or_else(|| Rc::new(opened));
        self.newest = Some(Rc::clone(&image));
        Ok(image)
    }

    /// Returns what the path leads to now, without remembering it.
    pub(super) fn open_path(&self) -> io::Result<Rc<Image>> {
        Image::open(&self.path, self.folder.as_deref()).map(Rc::new)
    }

    /// Returns what a slot's last ready process runs, or ran.
    pub(super) fn served_by(&self, slot: SlotId) -> Option<&Rc<Image>> {
        self.served.get(&slot)
    }

    /// Returns what a slot ran before that.
    pub(super) fn before(&self, slot: SlotId) -> Option<&Rc<Image>> {
        self.before.get(&slot)
    }

    /// Goes on with what is known of a slot.
    pub(super) fn go_on(
        &mut self,
        slot: SlotId,
        served: Option<Rc<Image>>,
        before: Option<Rc<Image>>,
    ) {
        self.newest.clone_from(&served);
        self.served.extend(served.map(|image| (slot, image)));
        self.before.extend(before.map(|image| (slot, image)));
    }

    /// A process of this slot that was started from `image` is ready.
    pub(super) fn served(&mut self, slot: SlotId, image: &Rc<Image>) {
        if let Some(before) = self.served.insert(slot, Rc::clone(image))
            && !before.is(image)
        {
            self.before.insert(slot, before);
        }
    }
}

/// An executable that is held open, so that it can be executed when its path leads elsewhere.
#[derive(Debug)]
pub(super) struct Image {
    file: File,
    facts: Metadata,
    /// The working folder of its processes, where that is another one than the master's by now.
    folder: Option<(File, Metadata)>,
}

impl Image {
    pub(super) fn open(path: &Path, folder: Option<&Path>) -> io::Result<Self> {
        let (file, facts) = hold(path)?;
        // A link that leads nowhere now leaves them where the master is.
        let folder = folder.and_then(|folder| hold(folder).ok());
        let is_masters =
            |facts: &Metadata| fs::metadata(".").is_ok_and(|ours| is_same(facts, &ours));
        Ok(Self { file, facts, folder: folder.filter(|(_, facts)| !is_masters(facts)) })
    }

    /// Returns one that another program has held open.
    pub(super) fn again(file: OwnedFd, folder: Option<OwnedFd>) -> io::Result<Self> {
        let file = File::from(file);
        let facts = file.metadata()?;
        let folder = folder.map(File::from).map(|folder| {
            let facts = folder.metadata()?;
            Ok::<_, io::Error>((folder, facts))
        });
        Ok(Self { file, facts, folder: folder.transpose()? })
    }

    /// Writes it down, with descriptors that stay open across an execution.
    pub(super) fn written(
        &self,
        hold: &mut impl FnMut(OwnedFd) -> RawFd,
    ) -> io::Result<ImageState> {
        let folder = self.folder.as_ref().map(|(folder, _)| rustix::io::dup(folder)).transpose()?;
        let file = hold(rustix::io::dup(&self.file)?);
        Ok(ImageState { file, folder: folder.map(hold) })
    }

    /// Returns by which path it is executed in the place of this process.
    pub(super) fn place(&self, path: &Path) -> PathBuf {
        let by_path = fs::metadata(path).is_ok_and(|there| is_same(&there, &self.facts));
        if by_path { path.to_owned() } else { of_process(&self.file).into() }
    }

    /// Returns which build it is, in eight digits: two that differ are of different files. It is made of what
    /// the file system says of the file, which may not be readable: the same file again has the same one.
    pub(super) fn build(&self) -> String {
        let facts = &self.facts;
        let parts = [facts.dev(), facts.ino(), facts.size()];
        let parts =
            parts.into_iter().chain([facts.mtime(), facts.mtime_nsec()].map(i64::cast_unsigned));
        let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
        parts.for_each(|part| digest.update(&part.to_be_bytes()));
        let digest = digest.finish();
        let digits = digest.as_ref().first_chunk().copied().map_or(0, u32::from_be_bytes);
        format!("{digits:08x}")
    }

    fn is(&self, other: &Self) -> bool {
        let folder = |image: &Self| image.folder.as_ref().map(|(_, facts)| identity(facts));
        is_same(&self.facts, &other.facts) && folder(self) == folder(other)
    }

    /// Returns the command that executes it, and what must be held until that has begun. `free` and
    /// the numbers above it are not used for descriptors of the command.
    ///
    /// It is executed by its path where that leads to it, as that is the name in `ps`.
    pub(super) fn command(
        &self,
        path: &Path,
        free: RawFd,
    ) -> io::Result<(Command, Option<OwnedFd>)> {
        let by_path = fs::metadata(path).is_ok_and(|there| is_same(&there, &self.facts));
        let (mut command, held) = if by_path {
            (Command::new(path), None)
        } else {
            tracing::info!(path = %path.display(), "starting what served last, not what is there now");
            let held = fcntl_dupfd_cloexec(&self.file, free)?;
            let mut command = Command::new(of_process(&held));
            command.arg0(path);
            (command, Some(held))
        };
        if let Some((folder, _)) = &self.folder {
            command.current_dir(of_process(folder));
        }
        Ok((command, held))
    }
}

fn locate(name: &Path, search: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    if name.as_os_str().as_encoded_bytes().contains(&b'/') {
        return absolute(name);
    }
    let found =
        env::split_paths(search?).map(|folder| folder.join(name)).find(|path| path.is_file())?;
    absolute(&found)
}

/// Lexical, against the working folder: links stay what they are.
fn absolute(path: &Path) -> Option<PathBuf> {
    match working_folder() {
        Some(folder) => std::path::absolute(folder.join(path)).ok(),
        None => std::path::absolute(path).ok(),
    }
}

/// Returns the working folder by the way a shell went there, as far as it says so: the kernel's path
/// of it has lost the links, and one that is switched later leads to another folder. `$PWD` may be that
/// of another process, so it counts only where it is the same folder.
fn working_folder() -> Option<PathBuf> {
    let said = PathBuf::from(env::var_os("PWD")?);
    (said.is_absolute() && same_file(&said, Path::new("."))).then_some(said)
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => is_same(&one, &other),
        _ => false,
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    identity(one) == identity(other)
}

fn identity(facts: &Metadata) -> (u64, u64) {
    (facts.dev(), facts.ino())
}

/// Opens a file or folder for its place alone, which takes no right to read it.
fn hold(path: &Path) -> io::Result<(File, Metadata)> {
    let path_only = i32::try_from(OFlags::PATH.bits()).map_err(io::Error::other)?;
    let file = File::options().read(true).custom_flags(path_only).open(path)?;
    let facts = file.metadata()?;
    Ok((file, facts))
}

/// Returns the path by which a process leads to its own descriptor.
fn of_process(descriptor: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

fn exists(path: PathBuf) -> io::Result<PathBuf> {
    fs::metadata(&path).map(|_| path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::master::slot::Slots;
    use crate::service::Description;

    #[test]
    fn a_bare_name_is_searched_and_a_path_is_not() {
        let search = Some(std::ffi::OsStr::new("/nowhere:/proc/self"));
        assert_eq!(locate(Path::new("status"), search), Some(PathBuf::from("/proc/self/status")));
        assert_eq!(locate(Path::new("no-such-program"), search), None);
        assert_eq!(locate(Path::new("/a/b"), search), Some(PathBuf::from("/a/b")));
    }

    #[test]
    fn what_served_is_executed_when_its_path_leads_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (folder.path().join("program"), folder.path().join("new"));
        fs::copy("/bin/echo", &path).unwrap();
        let slots = Slots::new(
            Config::new("echo".to_owned()),
            vec![Description { count: 2, ..Description::new("echo", "text") }],
        );
        let [first, second] = slots.ids().collect::<Vec<_>>()[..] else { unreachable!() };
        let mut images = Images::new(path.clone());
        let old = images.open(first, Source::Path).unwrap();
        images.served(first, &old);
        assert!(Rc::ptr_eq(&old, &images.open(second, Source::Path).unwrap()));

        fs::write(&new, "no program").unwrap();
        fs::rename(&new, &path).unwrap();
        assert!(!Rc::ptr_eq(&old, &images.open(first, Source::Path).unwrap()));
        let last = images.open(first, Source::LastServed).unwrap();
        let (mut command, _held) = last.command(&path, 100).unwrap();
        let output = command.arg("it works").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "it works\n");
        // Back, and forward again.
        images.open(first, Source::Before).unwrap_err();
        let newer = images.open(first, Source::Path).unwrap();
        assert_ne!(newer.build(), old.build());
        images.served(first, &newer);
        images.served(first, &newer);
        for expected in [&old, &newer, &old] {
            let image = images.open(first, Source::Before).unwrap();
            assert!(Rc::ptr_eq(&image, expected));
            images.served(first, &image);
        }
        // A slot where nothing has served yet has nothing else.
        assert!(!Rc::ptr_eq(&old, &images.open(second, Source::LastServed).unwrap()));
    }

    #[test]
    fn this_test_finds_itself() {
        assert!(same_file(&resolve().unwrap(), Path::new(RUNNING_IMAGE)));
    }
}
