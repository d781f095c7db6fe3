//! Messages of the set reconciliation, as the side that was dialled meets them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| laterbase_fuzz::negentropy(data));
