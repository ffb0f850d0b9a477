#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pilot_api::fuzz::local_api(data));
