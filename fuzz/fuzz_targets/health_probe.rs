//! Fuzzes the target of the same name, see `crates/lineman-master/src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lineman_master::fuzzing::health_probe(data));
