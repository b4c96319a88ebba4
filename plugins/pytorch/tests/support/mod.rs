//! What the tests of this crate share: the backend as the host sees it, and the sample files.

#![allow(dead_code, reason = "each test target uses a part of it")]

pub mod cases;
pub mod deep;
pub mod native;
pub mod npz;

use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::{RSlice, RVec};
use qp_abi::abi_stable::{RMut, RRef};
use qp_abi::sdk::{BackendError, DType, ModelInfo, QuantizationParameters, ROption, Setup};
use qp_abi::sink::{FnProgress, FnSink, Progress_TO, TensorSink_TO};
use qp_abi::{BackendBox, ModelBox, TensorView, sdk};
use std::path::{Path, PathBuf};

/// A tensor that a sink received.
#[derive(Debug, Clone, Default)]
pub struct Received {
    pub name: String,
    pub dtype: Option<DType>,
    pub shape: Vec<i64>,
    pub bytes: Vec<u8>,
    pub quantization: Option<QuantizationParameters>,
}

impl Received {
    pub fn floats(&self) -> Vec<f32> {
        assert_eq!(self.dtype, Some(DType::FLOAT32));
        self.bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    }
}

pub fn backend() -> BackendBox {
    backend_with(Setup::default())
}

pub fn backend_with(setup: Setup) -> BackendBox {
    sdk::boundary::create::<qp_plugin_pytorch::Backend>(setup).into_result().unwrap()
}

/// The sample family of the project.
pub fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(name)
}

pub fn inspect(path: &Path) -> Result<ModelInfo, BackendError> {
    let progress = FnProgress(|_: &str, _, _| false);
    let progress = Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque);
    let info = backend().inspect(path.to_str().unwrap().into(), RSlice::EMPTY, progress).into_result()?;
    keeps_the_contract(&info, path);
    Ok(info)
}

/// What the host would not accept, a test does not either.
fn keeps_the_contract(info: &ModelInfo, path: &Path) {
    let manifest = <qp_plugin_pytorch::Backend as sdk::Backend>::manifest();
    let verdict = sdk::conformance::description(&manifest, info);
    assert_eq!(verdict, sdk::conformance::Verdict::Passed, "{}", path.display());
}

pub fn open(backend: &BackendBox, path: &Path) -> Result<ModelBox, BackendError> {
    let progress = FnProgress(|_: &str, _, _| false);
    let progress = Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque);
    let model = backend.open(path.to_str().unwrap().into(), RSlice::EMPTY, progress).into_result()?;
    keeps_the_contract(&model.info().into_result()?, path);
    Ok(model)
}

/// Reads a stored tensor, its pieces joined.
pub fn read_tensor(model: &ModelBox, name: &str) -> Result<Received, BackendError> {
    let mut received = Received::default();
    deliver(model, name, |view| append(&mut received, &view))?;
    Ok(received)
}

/// Reads a stored tensor, and gives each piece to `take`.
pub fn read_pieces(
    model: &ModelBox,
    name: &str,
    take: &mut (dyn FnMut(&[u8]) + Send),
) -> Result<(), BackendError> {
    deliver(model, name, |view| take(view.bytes.as_slice()))
}

fn deliver(
    model: &ModelBox,
    name: &str,
    mut take: impl FnMut(TensorView<'_>) + Send,
) -> Result<(), BackendError> {
    let mut sink = FnSink(|view: TensorView<'_>| {
        take(view);
        Ok(())
    });
    let progress = FnProgress(|_: &str, _, _| false);
    let progress = Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque);
    let sink = TensorSink_TO::from_ptr(RMut::new(&mut sink), TD_Opaque);
    model.read_tensor(name.into(), sink, progress).into_result()
}

/// Reads the real values of a stored tensor, their pieces joined.
pub fn read_real(model: &ModelBox, name: &str) -> Result<Received, BackendError> {
    let mut received = Received::default();
    let mut sink = FnSink(|view: TensorView<'_>| {
        append(&mut received, &view);
        Ok(())
    });
    let progress = FnProgress(|_: &str, _, _| false);
    let progress = Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque);
    let sink = TensorSink_TO::from_ptr(RMut::new(&mut sink), TD_Opaque);
    let payload = format!(r#"{{"tensor": "{name}"}}"#);
    model.request(sdk::READ_REAL.into(), payload.as_str().into(), sink, progress).into_result()?;
    Ok(received)
}

pub fn append(received: &mut Received, view: &TensorView<'_>) {
    received.name = view.name.to_string();
    received.dtype = Some(view.dtype);
    received.shape = view.shape.to_vec();
    received.bytes.extend_from_slice(view.bytes.as_slice());
    received.quantization = match view.quantization {
        ROption::RSome(parameters) => Some(parameters.clone()),
        ROption::RNone => None,
    };
}

pub fn names(names: &RVec<sdk::RString>) -> Vec<&str> {
    names.iter().map(|name| name.as_str()).collect()
}
