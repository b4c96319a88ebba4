#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| qp_fuzz::program(bytes));
