//! The fuzz targets, run for some seconds: over seeds, and over the same mutations of them each time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../../tests/fuzz/src/lib.rs"]
mod targets;

#[path = "../../../tests/fuzz/src/mutations.rs"]
mod mutations;

use mutations::run;

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
fn mutated_safetensors_are_described_or_refused() {
    run("safetensors", targets::safetensors);
}
