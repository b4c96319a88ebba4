//! The fuzz target of ONNX, run for some seconds: over seeds, and over the same mutations of them each time.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a test fails by panicking"
)]

#[path = "../../../tests/fuzz/src/mutations.rs"]
mod mutations;

#[path = "../../../tests/fuzz/src/onnx.rs"]
mod onnx;

#[path = "../../../tests/fuzz/src/random.rs"]
mod random;

#[test]
fn mutated_models_are_described_or_refused() {
    mutations::run("onnx", onnx::onnx);
}

#[test]
fn models_mutated_by_structure_are_described_or_refused() {
    mutations::run_with("onnx", onnx::onnx, onnx::mutate);
}
