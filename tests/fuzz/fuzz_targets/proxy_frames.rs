#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| marque_tests::hostile::proxy_frames(data));
