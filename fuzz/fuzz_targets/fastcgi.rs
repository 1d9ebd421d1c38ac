//! Fuzzes the target of the same name, see `src/lib.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lineman_fuzz::run("fastcgi", data));
