//! More than a hundred files that mean harm, made by `tests/malicious/make.py`: each is judged or refused, what
//! can be listed of it is listed, and nothing in it happens. Python, given the same files, does what they want.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use qp_abi::sdk::{ErrorKind, ModelInfo};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{backend, inspect, open, read_tensor};
use tempfile::TempDir;

#[derive(Deserialize)]
struct Sample {
    file: String,
    verdict: String,
    names: Vec<String>,
    calls: Vec<String>,
    tensors: Vec<String>,
    load: Option<String>,
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/malicious").join(name)
}

fn python(name: &str, folder: &Path, more: &[&str]) -> String {
    let output = Command::new("python3")
        .args(["-W", "ignore"])
        .arg(script(name))
        .arg(folder)
        .args(more)
        .output()
        .unwrap_or_else(|error| panic!("the samples need python3: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn samples(name: &str, folder: &Path) -> Vec<Sample> {
    python(name, folder, &[]);
    serde_json::from_str(&std::fs::read_to_string(folder.join("manifest.json")).unwrap()).unwrap()
}

fn verdict(info: &ModelInfo) -> &str {
    info.extra.iter().find(|pair| pair.0 == "verdict").map_or("none", |pair| pair.1.as_str())
}

fn subjects<'a>(info: &'a ModelInfo, code: &str) -> Vec<&'a str> {
    let found = info.findings.iter().filter(|finding| finding.code == code);
    found.flat_map(|finding| finding.subjects.iter().map(|subject| subject.as_str())).collect()
}

/// What is wrong with the answer to a sample; none when it is as it should be.
fn faults(folder: &Path, sample: &Sample) -> Vec<String> {
    let path = folder.join(&sample.file);
    let info = match inspect(&path) {
        Ok(info) => info,
        Err(error) => {
            let kinds = [
                ("CorruptFile", ErrorKind::CORRUPT_FILE),
                ("UnsafeFile", ErrorKind::UNSAFE_FILE),
                ("UnsupportedFormat", ErrorKind::UNSUPPORTED_FORMAT),
            ];
            let is_expected = kinds.contains(&(sample.verdict.as_str(), error.kind));
            let is_a_line = !error.message.is_empty() && !error.message.contains('\n');
            return if is_expected && is_a_line { Vec::new() } else { vec![format!("{error:?}")] };
        }
    };
    let mut faults = Vec::new();
    let mut claim = |holds: bool, fault: String| faults.extend((!holds).then_some(fault));
    claim(verdict(&info) == sample.verdict, format!("the verdict is {}", verdict(&info)));
    let is_refused =
        info.run_obstacle.as_ref().into_option().is_some_and(|error| error.kind == ErrorKind::UNSAFE_FILE);
    claim(is_refused == (sample.verdict == "dangerous"), "whether it is refused".to_owned());
    let findings = format!("{:?}", info.findings);
    for name in &sample.names {
        claim(findings.contains(name.as_str()), format!("`{name}` is not named in {findings}"));
    }
    let calls = subjects(&info, "pickle.calls");
    if !sample.calls.is_empty() {
        claim(calls == sample.calls, format!("the calls are {calls:#?}"));
    }
    let is_called = sample.verdict == "dangerous" && sample.load.is_some();
    claim(!is_called || !calls.is_empty(), "no call is listed".to_owned());
    claim(
        calls.len() <= 65 && calls.iter().all(|call| call.chars().count() <= 241),
        "calls are too long".to_owned(),
    );
    let model = open(&backend(), &path).unwrap();
    for name in &sample.tensors {
        let is_listed = info.tensors.iter().any(|tensor| tensor.name == name.as_str());
        claim(is_listed, format!("tensor `{name}` is not listed"));
        claim(read_tensor(&model, name).is_ok(), format!("tensor `{name}` cannot be read"));
    }
    faults
}

#[test]
fn each_sample_is_judged_and_none_does_its_harm_but_to_python() {
    let folder = TempDir::new().unwrap();
    let samples = samples("make.py", folder.path());
    assert!(samples.len() >= 40);
    let wrong: Vec<String> = samples
        .iter()
        .filter_map(|sample| {
            let faults = faults(folder.path(), sample);
            (!faults.is_empty()).then(|| format!("{}: {}", sample.file, faults.join("; ")))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), samples.len(), wrong.join("\n"));
    let markers: Vec<_> = std::fs::read_dir(folder.path().join("markers")).unwrap().collect();
    assert!(markers.is_empty(), "something was executed: {markers:?}");
    // The samples are real: loading them makes the markers.
    let did_harm: Vec<String> =
        serde_json::from_str(&python("make.py", folder.path(), &["--check"])).unwrap();
    let harmful = samples.iter().filter(|sample| sample.load.is_some()).map(|sample| sample.file.clone());
    assert_eq!(did_harm, harmful.collect::<Vec<_>>());
}

/// Names and forms with which a list of harmless names could be fooled; `scripts/check/verdict.py` loads the same files
/// with PyTorch in a sandbox, and says which of them execute.
#[test]
fn none_of_the_files_that_could_fool_a_list_is_safe() {
    let folder = TempDir::new().unwrap();
    let samples = samples("gadgets.py", folder.path());
    assert!(samples.len() >= 200);
    let mut fooled = Vec::new();
    for sample in samples.iter().filter(|sample| sample.verdict != "any") {
        // What is refused is not called safe.
        if let Ok(info) = inspect(&folder.path().join(&sample.file))
            && verdict(&info) == "safe"
        {
            fooled.push(sample.file.as_str());
        }
    }
    assert!(fooled.is_empty(), "{fooled:?}");
    assert!(!folder.path().join("pwned").exists(), "something was executed");
}
