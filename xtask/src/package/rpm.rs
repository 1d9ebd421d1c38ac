//! The RPM package. What rpm runs is in `contrib/package`, as for Debian.

use std::fs;

use anyhow::Result;
use rpm::{BuildConfig, CompressionType, FileOptions, PackageBuilder};

use super::{DESCRIPTION, Release, SUMMARY};
use crate::step::repository;

/// Returns the package.
pub(super) fn package(release: &Release) -> Result<Vec<u8>> {
    let config =
        BuildConfig::default().compression(CompressionType::Gzip).source_date(release.date);
    let license = "MIT OR Apache-2.0";
    let mut builder = PackageBuilder::new("lineman", &release.version, license, "x86_64", SUMMARY);
    builder.using_config(config).description(DESCRIPTION).build_host("localhost");
    for file in &release.files {
        let options =
            FileOptions::new(format!("/{}", file.path)).permissions(u16::try_from(file.mode)?);
        let options = if file.is_config { options.config().noreplace() } else { options };
        builder.with_file_contents(file.content.clone(), options)?;
    }
    let script = |name: &str| fs::read_to_string(repository().join("contrib/package").join(name));
    builder.post_install_script(script("postinst")?).pre_uninstall_script(script("prerm")?);
    let mut package = Vec::new();
    builder.build()?.write(&mut package)?;
    Ok(package)
}
