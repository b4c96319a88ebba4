#![no_main]

#[path = "../src/changes.rs"]
mod changes;
#[path = "../src/fx.rs"]
mod fx;
#[path = "../src/mutator.rs"]
#[macro_use]
mod mutator;
#[path = "../src/random.rs"]
mod random;
#[path = "../src/text.rs"]
mod text;
#[path = "../src/words.rs"]
mod words;

mod targets {
    pub use qp_fuzz::*;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fx::fx(bytes));

by_structure!(|random, bytes| text::mutate(random, bytes, bytes, &words::FX));
