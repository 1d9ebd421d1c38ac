//! `cargo xtask package`: the program `lineman` without libraries that it would need beside it, and what it is
//! installed by: an archive, a Debian package, an RPM, the folder of an image.

mod archive;
mod deb;
mod rpm;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::step::{cargo, repository, run, run_quietly, say, succeeds};

/// Programs for this system have no shared libraries, and resolve names without plug-ins.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// Arguments of `package`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The profile it is built with
    #[arg(long, default_value = "dist", value_name = "NAME")]
    profile: String,
    /// Where the packages go [default: target/package]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// A file that a package installs.
#[derive(Debug)]
struct Installed {
    /// From the root on, without a slash before it.
    path: String,
    content: Vec<u8>,
    mode: u32,
    /// The administrator's: an upgrade keeps what was changed.
    is_config: bool,
}

/// What all packages have in common.
#[derive(Debug)]
struct Release {
    version: String,
    /// In seconds since 1970: of the last commit, so that the same tree makes the same packages.
    date: u32,
    files: Vec<Installed>,
}

const SUMMARY: &str = "Gateways and registers for long-lived connections";

const DESCRIPTION: &str =
    "Holds WebSocket clients and joins them to applications in PHP (GatewayWorker) or Rust.";

/// Builds the program, and everything it is installed by.
pub(crate) fn package(arguments: &Arguments) -> Result<()> {
    let out = arguments.out.clone().unwrap_or_else(|| repository().join("target/package"));
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let program = build(&arguments.profile)?;
    let release = release(&program, &out.join("man"))?;

    let name = format!("lineman-{}-x86_64-linux", release.version);
    let archive = out.join(format!("{name}.tar.gz"));
    fs::write(&archive, archive::gzipped(&archive::tar(&release.files, release.date, &name)?)?)?;
    let deb = out.join(format!("lineman_{}_amd64.deb", release.version));
    fs::write(&deb, deb::package(&release)?)?;
    let rpm = out.join(format!("lineman-{}-1.x86_64.rpm", release.version));
    fs::write(&rpm, rpm::package(&release)?)?;
    image(&program, &out.join("image"))?;
    for made in [archive, deb, rpm, out.join("image")] {
        say(&made.display().to_string());
    }
    Ok(())
}

/// Builds the program; returns where it is.
fn build(profile: &str) -> Result<PathBuf> {
    install_target()?;
    let mut build = cargo(&["build", "--locked", "-p", "lineman-server", "--target", TARGET]);
    // ring's C and assembly need no library, so the compiler of this system will do; its headers would check
    // buffers by functions that this target lacks.
    build.env("CC_x86_64_unknown_linux_musl", "cc");
    build.env("CFLAGS_x86_64_unknown_linux_musl", "-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=0");
    // The lines of the sources are most of the program; the names of functions stay, for backtraces.
    build.env(
        format!("CARGO_PROFILE_{}_STRIP", profile.to_uppercase().replace('-', "_")),
        "debuginfo",
    );
    run(build.args(["--profile", profile]))?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| repository().join("target"), PathBuf::from);
    let program = target.join(TARGET).join(folder).join("lineman");
    if !program.is_file() {
        bail!("{} was not built", program.display());
    }
    Ok(program)
}

/// Returns the pages for operators, in the order of their names.
fn documents() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(repository().join("docs"))?.collect::<Result<Vec<_>, _>>()?;
    let names = entries.iter().map(|entry| Path::new("docs").join(entry.file_name()));
    let mut pages: Vec<PathBuf> =
        names.filter(|name| name.extension().is_some_and(|end| end == "md")).collect();
    pages.sort();
    Ok(pages)
}

fn install_target() -> Result<()> {
    let mut print = Command::new("rustc");
    let libraries = print.args(["--print", "target-libdir", "--target", TARGET]).output();
    let folder = libraries.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    if folder.is_ok_and(|folder| Path::new(&folder).is_dir()) {
        return Ok(());
    }
    if !succeeds(Command::new("rustup").arg("--version")) {
        bail!("the toolchain lacks {TARGET}: install its standard library, or use rustup");
    }
    run_quietly(Command::new("rustup").args(["target", "add", TARGET]).current_dir(repository()))
}

/// Gathers what is installed; the program itself writes pages, completions and the example of settings.
fn release(program: &Path, pages: &Path) -> Result<Release> {
    let said = |arguments: &[&str]| output(Command::new(program).args(arguments));
    let contrib = |name: &str| {
        let path = repository().join("contrib").join(name);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let version = String::from_utf8(said(&["--version"])?)?;
    let version = version.split_whitespace().last().context("a program without a version")?;

    let mut files = Vec::new();
    let mut add = |path: &str, mode: u32, content: Vec<u8>| {
        let is_config = path.starts_with("etc/");
        files.push(Installed { path: path.to_owned(), content, mode, is_config });
    };
    add("etc/lineman/lineman.toml", 0o640, said(&["init", "-"])?);
    add("usr/bin/lineman", 0o755, fs::read(program)?);
    // The unit of contrib is for a program that an administrator has installed.
    let unit =
        String::from_utf8(contrib("lineman.service")?)?.replace("/usr/local/bin/", "/usr/bin/");
    add("usr/lib/systemd/system/lineman.service", 0o644, unit.into_bytes());
    add("usr/lib/sysusers.d/lineman.conf", 0o644, contrib("package/lineman.sysusers")?);
    let completions = [
        ("bash", "usr/share/bash-completion/completions/lineman"),
        ("fish", "usr/share/fish/vendor_completions.d/lineman.fish"),
        ("zsh", "usr/share/zsh/site-functions/_lineman"),
    ];
    for (shell, path) in completions {
        add(path, 0o644, said(&["completions", shell])?);
    }
    // As in the repository, so that what the README refers to is there.
    for name in ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "CHANGELOG.md"]
        .map(PathBuf::from)
        .into_iter()
        .chain(documents()?)
    {
        let content = fs::read(repository().join(&name))
            .with_context(|| format!("cannot read {}", name.display()))?;
        let name = name.display();
        add(&format!("usr/share/doc/lineman/{name}"), 0o644, content);
    }
    fs::create_dir_all(pages)?;
    run_quietly(Command::new(program).arg("manual").arg(pages))?;
    let mut names: Vec<_> = fs::read_dir(pages)?.collect::<Result<Vec<_>, _>>()?;
    names.sort_by_key(fs::DirEntry::file_name);
    for page in names {
        let path = format!("usr/share/man/man1/{}.gz", page.file_name().to_string_lossy());
        add(&path, 0o644, archive::gzipped(&fs::read(page.path())?)?);
    }
    let mut date = Command::new("git");
    let date = output(date.args(["log", "-1", "--format=%ct"]).current_dir(repository()));
    // An archive of the sources has no history.
    let date = date.ok().and_then(|date| String::from_utf8(date).ok()?.trim().parse().ok());
    Ok(Release { version: version.to_owned(), date: date.unwrap_or(0), files })
}

/// Makes the folder that an image is built from.
fn image(program: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("run"))?;
    fs::copy(program, folder.join("lineman"))?;
    fs::copy(repository().join("contrib/package/Dockerfile"), folder.join("Dockerfile"))?;
    Ok(())
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}
