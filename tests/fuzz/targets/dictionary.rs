//! A peer's dictionary, and what is packed with it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| laterbase_fuzz::dictionary(data));
