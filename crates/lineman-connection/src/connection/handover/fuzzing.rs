//! The fuzz target `handover_records`: what one process may send another in a handover. Called by `fuzz/` and by
//! the test below, which replays `fuzz/seeds/handover_records/*`; absent from ordinary builds.

use super::pair::Frame;
use super::words::{Agreed, HowMany, Introduction, NotAgreed, Numbers, Records, Sums, read};
use crate::connection::record::Record;

/// Reads the bytes as records one behind the other, and as each of the other things that are said.
///
/// # Panics
/// Panics if a record that was read is not written as the same one.
pub fn records(data: &[u8]) {
    let mut rest = data;
    while let Ok(bytes) = Records::split_first(&mut rest) {
        let Ok(record) = rmp_serde::from_slice::<Record>(bytes) else { continue };
        let again = rmp_serde::to_vec_named(&record).expect("it is written");
        assert_eq!(rmp_serde::from_slice::<Record>(&again).ok(), Some(record));
    }
    let frame = Frame { body: data.to_vec().into(), ..Frame::default() };
    drop(read::<Introduction>(&frame));
    drop(read::<Agreed>(&frame));
    drop(read::<NotAgreed>(&frame));
    drop(read::<Numbers>(&frame));
    drop(read::<HowMany>(&frame));
    drop(read::<Sums>(&frame));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_seed_passes() {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/handover_records");
        let mut replayed = 0;
        for seed in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(seed.unwrap().path()).unwrap();
            records(&bytes);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let record = Records::split_first(&mut rest).expect("a record of the first format");
                rmp_serde::from_slice::<Record>(record).expect("it is understood");
            }
            replayed += 1;
        }
        assert!(replayed >= 4, "only {replayed} seeds were found");
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes in vec(any::<u8>(), 0..400)) {
            records(&bytes);
        }
    }
}
