//! Libraries that are not ONNX Runtime. In a separate process: once a runtime is loaded, no other is searched.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail where it stands"
)]

mod support;

use qp_abi::manifest::pair;
use qp_abi::sdk::{Backend, DType, ErrorKind, RSome, Setup, TensorView};
use qp_plugin_onnx::OnnxBackend;
use support::{Ask, bytes_of, open, run, sample};

fn named(path: &str) -> OnnxBackend {
    let settings = vec![pair("runtime.path", path)].into();
    OnnxBackend::create(Setup { settings, ..Setup::default() }).unwrap()
}

fn refused(backend: &OnnxBackend) -> qp_abi::BackendError {
    let model = open(backend, &sample("resnet8.onnx")).unwrap();
    let pixels = bytes_of(&[0.0; 32 * 32 * 3]);
    let info = qp_abi::sdk::Model::info(&model).unwrap();
    let input = TensorView::whole(&info.inputs[0].name, DType::FLOAT32, &[1, 32, 32, 3], &pixels);
    run(&model, &[input], &Ask::default()).unwrap_err()
}

#[test]
fn without_a_runtime_reading_works_and_running_says_what_to_do() {
    let backend = support::reader();
    let status = backend.runtime();
    assert!(!status.is_loaded && status.path.is_empty());
    let error = refused(&backend);
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::RUNTIME_MISSING, "ONNX Runtime was not found")
    );
    assert!(error.help.contains("scripts/setup.sh"));
    assert_eq!(status.obstacle, RSome(error));
}

#[test]
fn a_place_without_a_library_is_named() {
    let error = refused(&named("/nowhere/libonnxruntime.so"));
    assert_eq!(error.kind, ErrorKind::RUNTIME_MISSING);
    assert!(error.message.contains("/nowhere/libonnxruntime.so"), "{error:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn other_files_and_other_libraries_are_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libonnxruntime.so");
    std::fs::write(&text, "not a library").unwrap();
    let error = refused(&named(text.to_str().unwrap()));
    assert!(error.kind == ErrorKind::RUNTIME_FAILED && error.message.contains("cannot load"), "{error:?}");
    // The words of glibc's loader.
    assert_eq!(error.causes[0], "file too short", "{error:?}");
    // A library that any process has, under the name of another.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc =
        maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("/libc.so"));
    let error = refused(&named(libc.unwrap()));
    assert!(
        error.kind == ErrorKind::RUNTIME_FAILED && error.message.contains("is not an ONNX Runtime"),
        "{error:?}"
    );
    assert!(error.causes[0].ends_with("undefined symbol: OrtGetApiBase"), "{error:?}");
}
