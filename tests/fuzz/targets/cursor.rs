//! Cursors of the feed, up to the page that they ask for.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| laterbase_fuzz::cursor(data));
