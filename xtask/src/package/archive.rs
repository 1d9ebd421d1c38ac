//! Archives of files: what Debian's packages consist of, and one by itself.

use std::collections::BTreeSet;
use std::io::Write as _;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Installed;

/// Returns an archive of these files, with the folders they are in, below `root` (`.` for the root of a system).
pub(super) fn tar(files: &[Installed], date: u32, root: &str) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut folders = BTreeSet::new();
    for file in files {
        let parts: Vec<&str> = file.path.split('/').collect();
        for length in 0..parts.len() {
            let inner = parts.get(..length).unwrap_or_default().join("/");
            let folder =
                if inner.is_empty() { format!("{root}/") } else { format!("{root}/{inner}/") };
            if folders.insert(folder.clone()) {
                let mut header = header(0o755, 0, date);
                header.set_entry_type(tar::EntryType::Directory);
                builder.append_data(&mut header, folder, &[][..])?;
            }
        }
        let mut header = header(file.mode, file.content.len(), date);
        builder.append_data(&mut header, format!("{root}/{}", file.path), &*file.content)?;
    }
    Ok(builder.into_inner()?)
}

fn header(mode: u32, length: usize, date: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(length as u64);
    header.set_mtime(date.into());
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Compresses it; the same bytes always become the same.
pub(super) fn gzipped(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
