#![no_main]

#[path = "../src/mutator.rs"]
#[macro_use]
mod mutator;
#[path = "../src/random.rs"]
mod random;
#[path = "../src/script.rs"]
mod targets;
#[path = "../src/text.rs"]
mod text;
#[path = "../src/words.rs"]
mod words;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::script(bytes));

by_structure!(|random, bytes| text::mutate(random, bytes, bytes, &words::SCRIPT));
