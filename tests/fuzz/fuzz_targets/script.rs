#![no_main]

#[path = "../src/script.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::script(bytes));
