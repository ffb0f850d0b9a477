#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pilot_session::fuzz::operations(
    std::time::Instant::now(),
    data
));
