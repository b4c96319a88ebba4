//! The fuzz targets, run for some seconds: over seeds, and over the same mutations of them each time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../../tests/fuzz/src/lib.rs"]
mod targets;

#[path = "../../../tests/fuzz/src/changes.rs"]
mod changes;

#[path = "../../../tests/fuzz/src/fx.rs"]
mod fx;

#[path = "../../../tests/fuzz/src/program.rs"]
mod program;

#[path = "../../../tests/fuzz/src/mutations.rs"]
mod mutations;

#[path = "../../../tests/fuzz/src/header.rs"]
mod header;

#[path = "../../../tests/fuzz/src/random.rs"]
mod random;

#[path = "../../../tests/fuzz/src/text.rs"]
mod text;

#[path = "../../../tests/fuzz/src/tree.rs"]
mod tree;

#[path = "../../../tests/fuzz/src/words.rs"]
mod words;

use mutations::{FEW, run, run_some, run_with};

#[test]
fn mutated_pickles_are_described_or_refused() {
    run("pickle", targets::pickle);
}

#[test]
fn mutated_archives_are_described_or_refused() {
    run("archive", targets::archive);
}

#[test]
fn mutated_programs_are_described_or_refused() {
    run("program", targets::program);
}

#[test]
fn programs_mutated_by_structure_are_changed_or_refused() {
    run_some(FEW, "program", program::program, tree::mutate);
}

#[test]
fn mutated_fx_graphs_are_made_programs_or_refused() {
    run_some(FEW, "fx", fx::fx, |random, seed, other| text::mutate(random, seed, other, &words::FX));
}

#[test]
fn mutated_safetensors_are_described_or_refused() {
    run("safetensors", targets::safetensors);
}

#[test]
fn headers_of_safetensors_mutated_by_structure_are_described_or_refused() {
    run_with("safetensors", targets::safetensors, |random, seed, _| header::mutate(random, seed));
}

#[test]
fn mutated_torchscript_is_described_or_refused() {
    run_with("torchscript", targets::torchscript, |random, seed, other| {
        text::mutate(random, seed, other, &words::TORCHSCRIPT)
    });
}
