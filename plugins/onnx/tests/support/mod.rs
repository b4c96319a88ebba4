//! Shared test support: a backend with the machine's runtime, handles as a host would pass them, and the sample
//! models.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

pub mod build;

use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::{RMut, RRef};
use qp_abi::sdk::{
    Backend, BackendError, DType, Fetch, Model, Pair, Progress, RString, RunReport, RunRequest, Setup, Sink,
    TensorView, conformance,
};
use qp_abi::sink::{FnProgress, FnSink, Progress_TO, TensorSink_TO};
use qp_plugin_onnx::OnnxBackend;
use qp_plugin_onnx::model::OnnxModel;
use std::path::{Path, PathBuf};

/// A tensor that the sink received, all pieces together.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<i64>,
    pub bytes: Vec<u8>,
    pub pieces: usize,
}

impl Received {
    pub fn floats(&self) -> Vec<f32> {
        assert_eq!(self.dtype, DType::FLOAT32);
        self.bytes.as_chunks::<4>().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect()
    }
}

/// Progress that is never cancelled.
pub fn with_progress<T>(work: impl FnOnce(&Progress<'_>) -> T) -> T {
    with_answer(|| false, work)
}

/// Progress with a closure that decides about cancellation.
pub fn with_answer<T>(answer: impl Fn() -> bool + Send + Sync, work: impl FnOnce(&Progress<'_>) -> T) -> T {
    let progress = FnProgress(|_: &str, _, _| answer());
    work(&Progress::new(Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque)))
}

/// Progress that is never cancelled, and tells its stages.
pub fn with_stages<T>(tell: impl Fn(&str) + Send + Sync, work: impl FnOnce(&Progress<'_>) -> T) -> T {
    let progress = FnProgress(|stage: &str, _, _| {
        tell(stage);
        false
    });
    work(&Progress::new(Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque)))
}

/// A sink that keeps everything it receives.
pub fn collect(
    work: impl FnOnce(&mut Sink<'_>) -> Result<(), BackendError>,
) -> Result<Vec<Received>, BackendError> {
    let mut received: Vec<Received> = Vec::new();
    let mut sink = FnSink(|view: TensorView<'_>| {
        match received.last_mut() {
            Some(last) if view.first_element > 0 => {
                last.bytes.extend_from_slice(view.bytes.as_slice());
                last.pieces += 1;
            }
            _ => received.push(Received {
                name: view.name.to_string(),
                dtype: view.dtype,
                shape: view.shape.to_vec(),
                bytes: view.bytes.to_vec(),
                pieces: 1,
            }),
        }
        Ok(())
    });
    work(&mut Sink::new(TensorSink_TO::from_ptr(RMut::new(&mut sink), TD_Opaque)))?;
    Ok(received)
}

/// A backend without a runtime.
pub fn reader() -> OnnxBackend {
    OnnxBackend::create(Setup::default()).unwrap()
}

/// The folders that hold runtimes: `QP_RUNTIMES`, or qp's data folder.
pub fn runtime_folders() -> Vec<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a test may ask where the runtimes are")]
    let (named, home) = (std::env::var_os("QP_RUNTIMES"), std::env::var_os("HOME"));
    match named {
        Some(named) => std::env::split_paths(&named).collect(),
        None => vec![PathBuf::from(home.unwrap_or_default()).join(".local/share/qp/runtimes")],
    }
}

/// A backend with the machine's ONNX Runtime; a test without one fails.
pub fn runner() -> OnnxBackend {
    let folders =
        runtime_folders().iter().map(|folder| RString::from(folder.to_string_lossy().into_owned())).collect();
    let backend = OnnxBackend::create(Setup { runtime_folders: folders, ..Setup::default() }).unwrap();
    let status = backend.runtime();
    assert!(status.obstacle.is_none(), "no ONNX Runtime in {:?}: run scripts/setup.sh", runtime_folders());
    backend
}

/// The path of a sample model.
pub fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(name)
}

pub fn open(backend: &OnnxBackend, path: &Path) -> Result<OnnxModel, BackendError> {
    let model = with_progress(|progress| backend.open(path.to_str().unwrap(), &[], progress))?;
    // A test accepts only what the host would accept.
    let verdict = conformance::description(&OnnxBackend::manifest(), &model.info()?);
    assert_eq!(verdict, conformance::Verdict::Passed, "{}", path.display());
    Ok(model)
}

pub fn read(model: &OnnxModel, name: &str) -> Result<Received, BackendError> {
    let received = collect(|sink| with_progress(|progress| model.read_tensor(name, sink, progress)))?;
    assert_eq!(received.len(), 1, "one tensor, in any number of pieces");
    Ok(received[0].clone())
}

/// What a run requests, besides its inputs.
#[derive(Default)]
pub struct Ask<'a> {
    pub names: Option<&'a [&'a str]>,
    pub options: &'a [(&'a str, &'a str)],
    pub fetch: Option<Fetch>,
}

pub fn run(
    model: &OnnxModel,
    inputs: &[TensorView<'_>],
    ask: &Ask<'_>,
) -> Result<(Vec<Received>, RunReport), BackendError> {
    with_progress(|progress| run_with(model, inputs, ask, progress))
}

pub fn run_with(
    model: &OnnxModel,
    inputs: &[TensorView<'_>],
    ask: &Ask<'_>,
    progress: &Progress<'_>,
) -> Result<(Vec<Received>, RunReport), BackendError> {
    let names: Vec<RString> = ask.names.unwrap_or_default().iter().map(|&name| name.into()).collect();
    let options: Vec<Pair> =
        ask.options.iter().map(|(name, value)| qp_abi::manifest::pair(*name, *value)).collect();
    let default = if ask.names.is_some() { Fetch::NAMED } else { Fetch::OUTPUTS };
    let request = RunRequest {
        inputs: inputs.into(),
        fetch: ask.fetch.unwrap_or(default),
        names: names.as_slice().into(),
        options: options.as_slice().into(),
    };
    let mut report = None;
    let received = collect(|sink| {
        report = Some(model.run(&request, sink, progress)?);
        Ok(())
    })?;
    Ok((received, report.unwrap()))
}

/// The bytes of floats.
pub fn bytes_of(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
