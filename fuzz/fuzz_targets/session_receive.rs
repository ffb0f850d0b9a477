#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pilot_session::fuzz::receive(
    std::time::Instant::now(),
    data
));
