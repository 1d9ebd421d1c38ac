//! Replays the fuzz targets' seeds, `fuzz/seeds/<target>/*`, through the very bodies that are fuzzed.
#![expect(
    clippy::disallowed_methods,
    reason = "the seeds are files; it is the library that does no I/O"
)]

use std::path::Path;

#[path = "../../../fuzz/src/lib.rs"]
pub mod targets;

#[test]
fn every_seed_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let mut replayed = 0;
    for target in std::fs::read_dir(&folder).expect("the seeds' folder is there") {
        let target = target.expect("the folder can be listed");
        let name = target.file_name().into_string().expect("targets have plain names");
        let body = folder.join(format!("../fuzz_targets/{name}.rs"));
        assert!(body.exists(), "there is no target {name}");
    }
    for name in targets::names() {
        for seed in std::fs::read_dir(folder.join(name)).expect("a target's seeds are a folder") {
            let bytes = std::fs::read(seed.expect("the folder can be listed").path())
                .expect("a seed is a file");
            targets::run(name, &bytes);
            // The first byte is the size of the pieces: one byte at a time is the hardest.
            let mut one_by_one = bytes;
            if let Some(first) = one_by_one.first_mut() {
                *first = 0;
            }
            targets::run(name, &one_by_one);
            replayed += 1;
        }
    }
    assert!(replayed > 150, "only {replayed} seeds were found");
}
