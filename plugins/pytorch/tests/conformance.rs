//! The contract, tried on a file of each format.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use qp_abi::sdk::{Backend, boundary, conformance};
use std::path::Path;
use support::sample;

#[test]
fn the_backend_keeps_the_contract() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let samples = [
        sample("resnet8.pt"),
        sample("resnet8_traced.pt"),
        sample("resnet8_int8.pt"),
        data.join("dynamic.pt"),
        data.join("exported.pt2"),
        data.join("subclass.pt"),
        data.join("tensors_legacy.pt"),
        data.join("packed.safetensors"),
        data.join("torchao.safetensors"),
        data.join("torchao.pt"),
        data.join("lightning.ckpt"),
    ];
    let setup = support::native::setup().unwrap_or_default();
    let backend = boundary::backend_object(qp_plugin_pytorch::Backend::create(setup).unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let manifest = qp_plugin_pytorch::Backend::manifest();
    let checks = conformance::check(&manifest, &backend, &samples, scratch.path());
    let failed: Vec<String> =
        checks.iter().filter(|check| check.has_failed()).map(ToString::to_string).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(!checks.is_empty());
}
