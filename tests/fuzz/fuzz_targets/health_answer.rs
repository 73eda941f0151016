#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| marque_tests::hostile::health_answer(data));
