//! The Debian package: deb(5), deb-control(5). What dpkg runs is in `contrib/package`.

use std::fs;

use anyhow::Result;

use super::archive::{gzipped, tar};
use super::{DESCRIPTION, Installed, Release, SUMMARY};
use crate::step::repository;

/// Returns the package.
pub(super) fn package(release: &Release) -> Result<Vec<u8>> {
    let size: usize = release.files.iter().map(|file| file.content.len()).sum();
    let control = format!(
        "Package: lineman\nVersion: {}\nArchitecture: amd64\nMaintainer: Lineman\nInstalled-Size: {}\nSection: net\n\
         Priority: optional\nDescription: {SUMMARY}\n {DESCRIPTION}\n",
        release.version,
        size.div_ceil(1024),
    );
    let mut configs = String::new();
    for file in release.files.iter().filter(|file| file.is_config) {
        configs = configs + "/" + &file.path + "\n";
    }
    let script = |name: &str| fs::read(repository().join("contrib/package").join(name));
    let part = |path: &str, mode: u32, content: Vec<u8>| Installed {
        path: path.to_owned(),
        content,
        mode,
        is_config: false,
    };
    let control = [
        part("control", 0o644, control.into_bytes()),
        part("conffiles", 0o644, configs.into_bytes()),
        part("postinst", 0o755, script("postinst")?),
        part("prerm", 0o755, script("prerm")?),
    ];
    let parts = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzipped(&tar(&control, release.date, ".")?)?),
        ("data.tar.gz", gzipped(&tar(&release.files, release.date, ".")?)?),
    ];
    let mut package = ar::Builder::new(Vec::new());
    for (name, content) in parts {
        let mut header = ar::Header::new(name.as_bytes().to_vec(), content.len() as u64);
        header.set_mode(0o100_644);
        header.set_mtime(release.date.into());
        package.append(&header, &*content)?;
    }
    Ok(package.into_inner()?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// dpkg-deb reads what was written; the test is for Debian, where it always is.
    #[test]
    fn dpkg_reads_the_package() {
        let file = |path: &str, mode: u32| Installed {
            path: path.to_owned(),
            content: path.as_bytes().to_vec(),
            mode,
            is_config: path.starts_with("etc/"),
        };
        let files = vec![file("etc/lineman/lineman.toml", 0o640), file("usr/bin/lineman", 0o755)];
        let release = Release { version: "1.2.3".to_owned(), date: 1_700_000_000, files };
        let bytes = package(&release).expect("a package");
        assert_eq!(
            bytes,
            package(&release).expect("a package"),
            "the same files make the same package"
        );
        let path = std::env::temp_dir().join(format!("lineman-{}.deb", std::process::id()));
        fs::write(&path, bytes).expect("a file");
        let dpkg = |flag: &str| Command::new("dpkg-deb").arg(flag).arg(&path).output();
        let (Ok(facts), Ok(content)) = (dpkg("--info"), dpkg("--contents")) else {
            crate::step::say("SKIPPED, NOTHING WAS CHECKED: dpkg-deb is not there");
            return;
        };
        fs::remove_file(&path).expect("it was there");
        let facts = String::from_utf8_lossy(&facts.stdout).into_owned();
        assert!(facts.contains("Version: 1.2.3") && facts.contains("conffiles"), "{facts}");
        assert!(facts.contains("postinst") && facts.contains("prerm"), "{facts}");
        let content = String::from_utf8_lossy(&content.stdout).into_owned();
        assert!(content.contains("-rwxr-xr-x 0/0"), "{content}");
        assert!(content.contains(" etc/lineman/lineman.toml"), "{content}");
    }
}
