//! Version vectors as text.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| laterbase_fuzz::vv(data));
