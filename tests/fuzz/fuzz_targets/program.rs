#![no_main]

#[path = "../src/changes.rs"]
mod changes;
#[path = "../src/program.rs"]
mod program;
#[path = "../src/mutator.rs"]
#[macro_use]
mod mutator;
#[path = "../src/random.rs"]
mod random;
#[path = "../src/tree.rs"]
mod tree;

mod targets {
    pub use qp_fuzz::*;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| program::program(bytes));

by_structure!(|random, bytes| tree::mutate(random, bytes, bytes));
