#![no_main]

#[path = "../src/header.rs"]
mod header;
#[path = "../src/mutator.rs"]
#[macro_use]
mod mutator;
#[path = "../src/random.rs"]
mod random;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| qp_fuzz::safetensors(bytes));

by_structure!(|random, bytes| header::mutate(random, bytes));
