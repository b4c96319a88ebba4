//! The contract, tried on every backend with the sample models.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod support;

use qp::backend::{
    BackendConfig, Backends, CheckReport, CheckVerdict, Isolation, NoProgress, RuntimeFolder, RuntimeOrigin,
    Workers,
};
use qp::model::TensorChunk;
use std::path::{Path, PathBuf};
use support::plugin::{install, library, model, runtime_folders};

/// Tries the plugin of `package` on the samples, with models in this process and with models in a worker. Nothing may fail, and both ways
/// try the same.
fn conforms(package: &str, samples: &[PathBuf]) -> CheckReport {
    let report = conforms_with(Isolation::None, package, samples);
    let workers = Workers {
        program: env!("CARGO_BIN_EXE_qp").into(),
        memory_limit: None,
        time_limit: None,
        heard: None,
    };
    let isolated = conforms_with(Isolation::Worker(workers), package, samples);
    assert_eq!(isolated, report);
    report
}

fn conforms_with(isolation: Isolation, package: &str, samples: &[PathBuf]) -> CheckReport {
    let runtime_folders = runtime_folders().into_iter();
    let runtime_folders =
        runtime_folders.map(|path| RuntimeFolder::new(path, RuntimeOrigin::DataFolder)).collect();
    let config = BackendConfig { runtime_folders, isolation, ..BackendConfig::default() };
    let report = Backends::discover(config).check(&library(package), samples).unwrap();
    let failed: Vec<_> = report.lines.iter().filter(|line| line.verdict == CheckVerdict::Failed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    report
}

fn samples(files: &[&str]) -> Vec<PathBuf> {
    files.iter().map(|file| model(file)).collect()
}

#[test]
fn toy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.toy");
    let text = "toy 1\ninput x float32 N,3\ntensor w int8 3 scale=0.5 zero_point=1 = 3 1 -1\n\
                tensor b book 3 numbers=-1:0:0.5 scales=2:4 block=2 = 2 0 1\n\
                layer fc.add Add x b -> a\nlayer fc.mul Mul x w -> h\nlayer fc.round Quantize h -> y scale=0.25\noutput y\n";
    std::fs::write(&path, text).unwrap();
    let report = conforms("qp-plugin-toy", &[path]);
    // It needs no runtime, so nothing is left untried.
    assert!(report.lines.iter().all(|line| line.verdict == CheckVerdict::Passed), "{report:#?}");
}

#[test]
fn onnx() {
    conforms("qp-plugin-onnx", &samples(&["resnet8.onnx", "resnet8_int8.onnx", "resnet8_uint8.onnx"]));
}

#[test]
fn pytorch() {
    conforms("qp-plugin-pytorch", &samples(&["resnet8.pt", "resnet8_int8.pt", "resnet8_traced.pt"]));
}

#[test]
fn what_the_plugins_say_of_the_samples_passes_the_hosts_own_checks() {
    let folder = tempfile::tempdir().unwrap();
    install("qp-plugin-onnx", folder.path(), "onnx");
    install("qp-plugin-pytorch", folder.path(), "pytorch");
    let plugin_folders = vec![folder.path().to_owned()];
    let backends = Backends::discover(BackendConfig { plugin_folders, ..BackendConfig::default() });
    for (file, backend) in [
        ("resnet8.onnx", "onnx"),
        ("resnet8_int8.onnx", "onnx"),
        ("resnet8_uint8.onnx", "onnx"),
        ("resnet8.pt", "pytorch"),
        ("resnet8_int8.pt", "pytorch"),
        ("resnet8_traced.pt", "pytorch"),
    ] {
        let path = model(file);
        let recognized = backends.recognize(&path).unwrap();
        assert_eq!(recognized.backend, backend, "{file}");
        let info = backends.inspect(&path, &NoProgress).unwrap();
        assert_eq!(info.format, recognized.format, "{file}");
        let session = backends.open(&path, &NoProgress).unwrap();
        let mut bytes = 0;
        for tensor in session.info().tensors.iter().filter(|tensor| tensor.alias_of.is_none()) {
            let mut count = |chunk: TensorChunk<'_>| {
                bytes += chunk.bytes.len() as u64;
                Ok(())
            };
            session.read_tensor(&tensor.name, &mut count, &NoProgress).unwrap();
        }
        assert_eq!(bytes, info.stored_bytes(), "{file}");
    }
}

#[test]
fn a_backend_that_breaks_the_contract_fails_the_claims_it_breaks() {
    let folder = tempfile::tempdir().unwrap();
    for (way, claim) in [
        ("duplicate-names", "the description is consistent"),
        ("short-bytes", "every stored tensor arrives whole, as described, the same twice"),
        ("ignore-refusal", "an error of the sink is returned unchanged"),
        ("panic-in-run", "a run with wrong inputs is InvalidInput"),
        ("panic-in-read", "a truncated file is rejected or read, without a panic"),
        ("twice", "a capture gives values, each once"),
        ("reals-as-integers", "real values arrive whole, as float32, the same twice"),
    ] {
        let path = folder.path().join(format!("{way}.toy"));
        let text = "toy 1\ninput x float32 3\ntensor w float32 3 = 1 2 3\n\
                    tensor b book 3 numbers=0:1 scales=1 block=3 = 0 1 0\n\
                    layer m Mul x w -> y\nlayer a Add y b -> z\noutput z\n";
        std::fs::write(&path, format!("{text}misbehave {way}\n")).unwrap();
        let report = Backends::discover(BackendConfig::default())
            .check(&library("qp-plugin-toy"), std::slice::from_ref(&path))
            .unwrap();
        let line = report.lines.iter().find(|line| line.claim == claim).expect(claim);
        assert_eq!(line.verdict, CheckVerdict::Failed, "{way}: {line:?}");
        assert!(line.reason.as_ref().is_some_and(|reason| !reason.is_empty()));
    }
}

#[test]
fn a_library_that_is_no_plugin_fails_the_first_claim() {
    let backends = Backends::discover(BackendConfig::default());
    let report = backends.check(&library("qp-fixture-not-a-plugin"), &[]).unwrap();
    let [line] = report.lines.as_slice() else { panic!("{report:#?}") };
    assert_eq!(
        (line.claim.as_str(), line.verdict),
        ("the library opens as a plugin of this qp", CheckVerdict::Failed)
    );
    assert!(backends.check(Path::new("/nowhere/libqp_plugin_x.so"), &[]).is_err());
}
