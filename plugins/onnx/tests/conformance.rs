//! The contract's own check, on the sample models.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

mod support;

use qp_abi::sdk::{Backend, boundary, conformance};
use qp_plugin_onnx::OnnxBackend;
use support::{runner, sample};

#[test]
fn the_backend_keeps_the_contract() {
    let samples = ["resnet8.onnx", "resnet8_int8.onnx", "resnet8_uint8.onnx"].map(sample);
    let scratch = tempfile::tempdir().unwrap();
    let backend = boundary::backend_object(runner());
    let checks = conformance::check(&OnnxBackend::manifest(), &backend, &samples, scratch.path());
    let failed: Vec<String> =
        checks.iter().filter(|check| check.has_failed()).map(ToString::to_string).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let skipped = checks.iter().filter(|check| matches!(check.verdict, conformance::Verdict::Skipped(_)));
    assert!(checks.len() > 20 && skipped.count() * 2 < checks.len(), "{checks:#?}");
}
