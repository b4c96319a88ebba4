#![no_main]

#[path = "../src/onnx.rs"]
mod onnx;
#[path = "../src/mutator.rs"]
#[macro_use]
mod mutator;
#[path = "../src/random.rs"]
mod random;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| onnx::onnx(bytes));

by_structure!(|random, bytes| onnx::mutate(random, bytes, bytes));
