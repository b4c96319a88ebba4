//! What a plugin's author uses: two ordinary Rust traits, [`export_plugin!`](crate::export_plugin), and a
//! [conformance check](conformance) that runs against any backend.
//!
//! Nothing here crosses the boundary by itself: [`boundary`] turns an implementation of these traits into the objects
//! that do, with the panic guard around every entry.

pub mod boundary;
pub mod conformance;
mod handles;
pub mod kernels;
mod mapped;
mod names;
mod pages;
mod payload;
pub mod quantizable;
mod settle;

pub use crate::backend::{Edit, Fetch, ModelBox, RunReport, RunRequest, RuntimeStatus};
pub use crate::dtype::DType;
pub use crate::error::{BackendError, ErrorKind, loader_reason};
pub use crate::layer::{Bounds, InputCodes, InputRole, LayerKind, ValueOrigin, WeightUse};
pub use crate::manifest::{Format, Manifest, OptionInfo, Pair, Setup, lookup, pair};
pub use crate::model::{
    Attribute, AttributeValue, Dimension, Finding, LayerInfo, ModelInfo, Severity, TensorInfo, TensorRole,
    ValueInfo,
};
pub use crate::quant::QuantizationParameters;
pub use crate::tensor::{MOST_DIMENSIONS, TensorView, element_count};
pub use abi_stable::std_types::{RNone, ROption, RSome, RString, RVec};
pub use handles::{Progress, Sink};
pub use kernels::{Arithmetic, FloatReason, Kernel, Kernels, KernelsOf, QuantizedLayer};
pub use mapped::{MappedFile, read_file, watched};
pub use names::Names;
pub use pages::offset_in;
use pages::pages_of;
pub use qp_elements::{ElementType, NF4};
pub use quantizable::{
    Activations, FoldedClamp, Quantizable, QuantizableBias, QuantizableLayer, QuantizableOf,
    QuantizableTensor, QuantizableValue,
};
pub use settle::settle;

/// The result of a plugin's functions.
pub type Result<T, E = BackendError> = std::result::Result<T, E>;

/// A backend, as its author writes it. See [`crate::backend::Backend`] for the contract of each method.
pub trait Backend: Sized + Send + Sync + 'static {
    /// The backend's open models.
    type Model: Model;

    /// What the plugin is and can do; cheap, always the same, and opens nothing.
    fn manifest() -> Manifest;

    /// Makes the backend; loads nothing native.
    fn create(setup: Setup) -> Result<Self>;

    /// The format of a file, judged by its first bytes and its name.
    fn probe(&self, head: &[u8], file_name: &str) -> Option<String>;

    /// Reads the content of the file at the path `location`, without a runtime.
    fn inspect(&self, location: &str, options: &[Pair], progress: &Progress<'_>) -> Result<ModelInfo>;

    /// Whether the native runtime can be used, determined without loading it.
    fn runtime(&self) -> RuntimeStatus;

    /// Opens a model; nothing native is loaded before its first `run`.
    fn open(&self, location: &str, options: &[Pair], progress: &Progress<'_>) -> Result<Self::Model>;

    /// Takes one more folder that may hold native runtimes, to be searched after those of the setup (feature
    /// `runtime-folder`). It may be a folder of Python's packages.
    fn add_runtime_folder(&self, _folder: &str) -> Result<()> {
        Err(unknown_request(RUNTIME_FOLDER))
    }

    /// Frees memory that is only kept for the next run: none follows for now (feature `idle`).
    fn idle(&self) -> Result<()> {
        Err(unknown_request(IDLE))
    }

    /// Answers a named request about the backend; the payload and the answer are JSON.
    fn request(&self, name: &str, _payload: &str, _progress: &Progress<'_>) -> Result<String> {
        Err(unknown_request(name))
    }
}

/// An open model, as its author writes it. See [`crate::backend::Model`] for the contract of each method.
pub trait Model: Send + Sync + 'static {
    /// The result of inspection.
    fn info(&self) -> Result<ModelInfo>;

    /// Delivers a stored tensor, as stored.
    fn read_tensor(&self, name: &str, sink: &mut Sink<'_>, progress: &Progress<'_>) -> Result<()>;

    /// Delivers the real values of a stored tensor whose type scales and zero points cannot express: as float32, in
    /// the tensor's own shape (feature `read-real`). `UnsupportedOp` for an unknown type.
    fn read_real(&self, _name: &str, _sink: &mut Sink<'_>, _progress: &Progress<'_>) -> Result<()> {
        Err(unknown_request(READ_REAL))
    }

    /// Computes, and delivers what was requested.
    fn run(
        &self,
        request: &RunRequest<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<RunReport>;

    /// The same model with changes.
    fn edit(&self, _edits: &[Edit], _progress: &Progress<'_>) -> Result<ModelBox> {
        Err(BackendError::unsupported_op("this backend cannot edit models"))
    }

    /// Writes the model to a new file.
    fn export(&self, _path: &str, _options: &[Pair], _progress: &Progress<'_>) -> Result<()> {
        Err(BackendError::unsupported_op("this backend cannot write models"))
    }

    /// What the runtime makes of the model (feature `kernels`).
    fn kernels(&self, _of: &KernelsOf, _progress: &Progress<'_>) -> Result<Kernels> {
        Err(unknown_request(KERNELS))
    }

    /// What of the model can be quantized (feature `quantize`).
    fn quantizable(&self, _of: &QuantizableOf, _progress: &Progress<'_>) -> Result<Quantizable> {
        Err(unknown_request(QUANTIZABLE))
    }

    /// Answers a named request about the model; the payload and the answer are JSON, bulk data goes to the
    /// sink.
    fn request(
        &self,
        name: &str,
        _payload: &str,
        _sink: &mut Sink<'_>,
        _progress: &Progress<'_>,
    ) -> Result<String> {
        Err(unknown_request(name))
    }
}

/// The request that [`Model::read_real`] answers.
pub const READ_REAL: &str = "read-real/1";

/// The request that [`Model::kernels`] answers.
pub const KERNELS: &str = "kernels/1";

/// The request that [`Model::quantizable`] answers.
pub const QUANTIZABLE: &str = "quantizable/1";

/// The option of a run that asks for the times of its kernels; its value is a folder that the runtime may write to.
pub const PROFILE: &str = "profile";

/// The option of a run that computes one layer after the other, and tells each before it begins: as a stage of the progress,
/// [`step_stage`]. It finds the layer in which a runtime crashes. Backends that have it name it among their features.
pub const STEPS: &str = "steps";

/// What the stage of a layer begins with.
pub const STEP_STAGE: &str = "layer ";

/// The stage of this layer.
pub fn step_stage(layer: &str) -> String {
    format!("{STEP_STAGE}{layer}")
}

/// The request that [`Backend::idle`] answers.
pub const IDLE: &str = "idle/1";

/// The request that [`Backend::add_runtime_folder`] answers.
pub const RUNTIME_FOLDER: &str = "runtime-folder/1";

/// The answer to an unknown request.
pub fn unknown_request(name: &str) -> BackendError {
    BackendError::unsupported_op(format!("this backend does not support the request `{name}`"))
        .with_help("Update the plugin, or see `backends info` for what it can do.")
}
