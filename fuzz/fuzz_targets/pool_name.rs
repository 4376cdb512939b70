#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::pool_name(data));
