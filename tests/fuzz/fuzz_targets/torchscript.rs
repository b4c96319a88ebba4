#![no_main]

#[path = "../src/mutator.rs"]
#[macro_use]
mod mutator;
#[path = "../src/random.rs"]
mod random;
#[path = "../src/text.rs"]
mod text;
#[path = "../src/words.rs"]
mod words;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| qp_fuzz::torchscript(bytes));

by_structure!(|random, bytes| text::mutate(random, bytes, bytes, &words::TORCHSCRIPT));
