//! Fuzzes the target of the same name, see `crates/lineman-connection/src/connection/handover/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    lineman_connection::connection::handover::fuzzing::records(data);
});
