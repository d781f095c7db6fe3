//! Bundles of events with their dots, up to their readmission.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| laterbase_fuzz::bundle(data));
