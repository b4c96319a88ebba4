//! A plugin whose panics would end the process cannot be built.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// This crate's library that was built last, next to the test itself.
fn contract() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let entries = std::fs::read_dir(test.parent().unwrap()).unwrap().flatten();
    let libraries = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("libqp_abi-") && name.ends_with(".rlib")
    });
    libraries.max_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).unwrap()).unwrap()
}

/// Compiles one of the fixtures, as far as its types go.
fn compile(panic: &str) -> Output {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/plugins/same-format/src/lib.rs")
        .canonicalize()
        .unwrap();
    let (contract, folder) = (contract(), tempfile::tempdir().unwrap());
    let mut command = Command::new("rustc");
    command
        .current_dir(folder.path())
        .args(["--edition=2024", "--crate-type=cdylib", "--crate-name=qp_plugin_x", "--emit=metadata"])
        .arg(format!("-Cpanic={panic}"))
        .arg(format!("-Ldependency={}", contract.parent().unwrap().display()))
        .arg(format!("--extern=qp_abi={}", contract.display()))
        .arg(source);
    command.output().unwrap()
}

#[test]
fn a_plugin_that_aborts_at_a_panic_does_not_compile_and_says_what_to_set() {
    let unwinds = compile("unwind");
    assert!(unwinds.status.success(), "{}", String::from_utf8_lossy(&unwinds.stderr));
    let aborts = compile("abort");
    let text = String::from_utf8_lossy(&aborts.stderr);
    assert!(!aborts.status.success(), "{text}");
    assert!(text.contains("a qp plugin needs `panic = \"unwind\"`"), "{text}");
    assert!(text.contains("Take `panic = \"abort\"` out of the profile"), "{text}");
    assert_eq!(text.matches("error: ").count(), 2, "one error and the summary: {text}");
}
