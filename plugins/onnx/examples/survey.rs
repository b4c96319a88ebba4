//! Reads every ONNX file under some folders and reports the outcome: for checks against a corpus.
//!
//! `survey PATH…` prints a count, the time, and the errors by message. `survey --tensors FILE` prints each stored
//! tensor with the Adler-32 sum of its elements, `survey --info FILE` a short description.

#![allow(clippy::print_stdout, reason = "a tool for the terminal")]

use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::{RMut, RRef};
use qp_abi::sdk::{
    Backend, BackendError, Model, ModelInfo, Progress, QuantizationParameters, Setup, Sink, TensorView,
};
use qp_abi::sink::{FnProgress, FnSink, Progress_TO, TensorSink_TO};
use qp_plugin_onnx::OnnxBackend;
use qp_plugin_onnx::model::OnnxModel;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn main() -> Result<(), BackendError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let backend = OnnxBackend::create(Setup::default())?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--tensors", file] => tensors(&open(&backend, Path::new(file))?),
        ["--info", file] => {
            describe(&open(&backend, Path::new(file))?.info()?);
            Ok(())
        }
        paths => {
            survey(&backend, paths);
            Ok(())
        }
    }
}

fn describe(info: &ModelInfo) {
    println!("{} | {} | {} | {:?}", info.precision, info.scheme, info.producer, info.extra);
    for finding in &info.findings {
        println!("finding {} {} {:?}", finding.code, finding.message, finding.subjects);
    }
    for value in info.inputs.iter().chain(&info.outputs).chain(&info.values) {
        let sizes =
            value.shape.as_ref().into_option().map(|shape| shape.iter().map(|d| d.size).collect::<Vec<_>>());
        let quantization = grid(value.quantization.as_ref().into_option());
        println!("value {} {} {sizes:?} {}{quantization}", value.name, value.dtype, value.type_name);
    }
    for layer in &info.layers {
        let (path, op, form) = (&layer.path, &layer.op_type, &layer.quantization);
        println!(
            "layer {path} {op} [{form}] {:?} -> {:?} owns {:?}",
            layer.inputs, layer.outputs, layer.tensors
        );
    }
    for tensor in &info.tensors {
        let (name, role, layer) = (&tensor.name, tensor.role.name(), &tensor.layer);
        let quantization = grid(tensor.quantization.as_ref().into_option());
        println!("tensor {name} {role} {} {:?} of `{layer}`{quantization}", tensor.dtype, tensor.shape);
    }
}

fn grid(found: Option<&QuantizationParameters>) -> String {
    let Some(found) = found else { return String::new() };
    let first = |list: &[f64]| format!("{:?}… {}", list.first(), list.len());
    format!(
        " | {} scale {} zero_point {} count {} axis {:?} block {:?} dynamic {} ({}, {})",
        found.dtype,
        first(&found.scales),
        first(&found.zero_points),
        found.scale_count,
        found.axis.into_option(),
        found.block_size.into_option(),
        found.is_dynamic,
        found.scale_name,
        found.zero_point_name
    )
}

fn open(backend: &OnnxBackend, path: &Path) -> Result<OnnxModel, BackendError> {
    with_progress(|progress| backend.open(&path.to_string_lossy(), &[], progress))
}

fn with_progress<T>(work: impl FnOnce(&Progress<'_>) -> T) -> T {
    let never = FnProgress(|_: &str, _, _| false);
    work(&Progress::new(Progress_TO::from_ptr(RRef::new(&never), TD_Opaque)))
}

/// Reads one tensor, piece by piece.
fn read(model: &OnnxModel, name: &str, mut each: impl FnMut(&[u8])) -> Result<(), BackendError> {
    let mut sink = FnSink(|view: TensorView<'_>| {
        each(view.bytes.as_slice());
        Ok(())
    });
    let mut sink = Sink::new(TensorSink_TO::from_ptr(RMut::new(&mut sink), TD_Opaque));
    with_progress(|progress| model.read_tensor(name, &mut sink, progress))
}

fn tensors(model: &OnnxModel) -> Result<(), BackendError> {
    for tensor in &model.info()?.tensors {
        let (mut a, mut b) = (1_u32, 0_u32);
        read(model, &tensor.name, |bytes| {
            for &byte in bytes {
                a = (a + u32::from(byte)) % 65_521;
                b = (b + a) % 65_521;
            }
        })?;
        println!("{}\t{}\t{:?}\t{:08x}", tensor.name, tensor.dtype, tensor.shape, b << 16 | a);
    }
    Ok(())
}

fn survey(backend: &OnnxBackend, paths: &[&str]) {
    let mut files = Vec::new();
    paths.iter().for_each(|path| collect(Path::new(path), &mut files));
    files.sort();
    let mut errors: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut schemes: BTreeMap<String, usize> = BTreeMap::new();
    let (mut inspected, mut tensors, mut slowest) = (0, 0, (Duration::ZERO, PathBuf::new()));
    let start = Instant::now();
    for file in &files {
        let begin = Instant::now();
        let outcome = open(backend, file).and_then(|model| {
            let info = model.info()?;
            slowest = slowest.clone().max((begin.elapsed(), file.clone()));
            inspected += 1;
            *schemes.entry(format!("{} / {}", info.precision, info.scheme)).or_default() += 1;
            for tensor in &info.tensors {
                tensors += 1;
                read(&model, &tensor.name, |_| {})?;
            }
            match info.run_obstacle.into_option() {
                Some(obstacle) => {
                    let key = format!("(no run) {:?}: {}", obstacle.kind, obstacle.message);
                    errors.entry(key).or_default().push(file.clone());
                    Ok(())
                }
                None => Ok(()),
            }
        });
        if let Err(error) = outcome {
            let key = format!("{:?}: {} {:?}", error.kind, error.message, error.causes);
            errors.entry(key).or_default().push(file.clone());
        }
    }
    println!("{} files, {inspected} inspected, {tensors} tensors, {:?}", files.len(), start.elapsed());
    println!("slowest inspection: {:?} {}", slowest.0, slowest.1.display());
    for (scheme, count) in schemes {
        println!("{count:6} {scheme}");
    }
    for (error, files) in errors {
        println!("{:6} {error}\n       {}", files.len(), files[0].display());
    }
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.for_each(|entry| collect(&entry.path(), files));
    } else if path.extension().is_some_and(|extension| extension == "onnx") {
        files.push(path.to_owned());
    }
}
