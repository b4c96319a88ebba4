//! The two traits that a plugin provides, as they cross the boundary. Frozen: new abilities come as a feature in the
//! manifest and a named `request`, never as a new method.
//!
//! A plugin's author implements [`sdk::Backend`](crate::sdk::Backend) and
//! [`sdk::Model`](crate::sdk::Model), which are ordinary Rust; the SDK puts the guard around them.

use crate::dtype::DType;
use crate::error::BackendError;
use crate::manifest::Pair;
use crate::model::ModelInfo;
use crate::sink::{ProgressRef, TensorSinkMut};
use crate::tensor::TensorView;
use abi_stable::StableAbi;
use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, ROption, RResult, RSlice, RStr, RString, RVec};

/// Whether the native runtime of a backend can be used here. The check must not load it.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq)]
pub struct RuntimeStatus {
    /// The runtime's name: `ONNX Runtime`; empty for a backend that needs none.
    pub name: RString,
    /// The version found, or the one required if none was found.
    pub version: RString,
    /// Where it was found; empty if it was not.
    pub path: RString,
    /// Whether it is already loaded in this process.
    pub is_loaded: bool,
    /// Why it cannot be used, with the remedy; `RNone` if it can.
    pub obstacle: ROption<BackendError>,
}

/// What a run delivers to the sink. An open set of codes.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch(pub u8);

impl Fetch {
    /// The graph's outputs, in order.
    pub const OUTPUTS: Self = Self(0);
    /// The values named in the request, in that order.
    pub const NAMED: Self = Self(1);
    /// Every value that a layer computes, in the order of computation (feature `capture`).
    pub const LAYERS: Self = Self(2);
}

/// What to run.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RunRequest<'a> {
    /// One tensor per input of the graph, by name, in any order.
    pub inputs: RSlice<'a, TensorView<'a>>,
    /// What to deliver.
    pub fetch: Fetch,
    /// The names of the values for [`Fetch::NAMED`].
    pub names: RSlice<'a, RString>,
    /// Settings of this run: `threads`, `optimization`, …; an unknown name is rejected with `InvalidInput`.
    pub options: RSlice<'a, Pair>,
}

/// What happened in a run, apart from the tensors.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct RunReport {
    /// The runtime: `ONNX Runtime`.
    pub runtime: RString,
    /// Its version.
    pub runtime_version: RString,
    /// Time in the runtime alone: no input preparation, no delivery.
    pub elapsed_ns: u64,
    /// The settings that took effect: `threads`, `optimization`, `provider`, …
    pub settings: RVec<Pair>,
}

/// One change to a model (feature `edit`).
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct Edit {
    /// What to do: `set-scale`, `set-zero-point`, `bypass`, …
    pub action: RString,
    /// The layer, value or tensor to change.
    pub target: RString,
    /// Arguments of the action.
    pub arguments: RVec<Pair>,
    /// The element type of `bytes`.
    pub dtype: DType,
    /// The shape of `bytes`.
    pub shape: RVec<i64>,
    /// New elements, for actions that replace some.
    pub bytes: RVec<u8>,
}

/// A backend: it reads some formats and runs some of them. All threads share it.
#[sabi_trait]
pub trait Backend: Send + Sync + 'static {
    /// The name of a file's format, judged by the file's first bytes (up to 4096; all of a shorter file) and its
    /// name; `RNone` when it is not one of this backend's.
    fn probe(&self, head: RSlice<'_, u8>, file_name: RStr<'_>) -> RResult<ROption<RString>, BackendError>;

    /// Reads the content of the file at `location` (a path), without a runtime.
    fn inspect(
        &self,
        location: RStr<'_>,
        options: RSlice<'_, Pair>,
        progress: ProgressRef<'_>,
    ) -> RResult<ModelInfo, BackendError>;

    /// Whether the native runtime can be used, determined without loading it.
    fn runtime(&self) -> RResult<RuntimeStatus, BackendError>;

    /// Opens the model at `location`. Nothing native is loaded before the first `run`.
    fn open(
        &self,
        location: RStr<'_>,
        options: RSlice<'_, Pair>,
        progress: ProgressRef<'_>,
    ) -> RResult<ModelBox, BackendError>;

    /// The versioned way to extend the contract: `name` is `feature/version`, the payload and the answer are JSON. An
    /// unknown name is `UnsupportedOp`.
    #[sabi(last_prefix_field)]
    fn request(
        &self,
        name: RStr<'_>,
        payload: RStr<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<RString, BackendError>;
}

/// An open model. One thread at a time may call `run`; all other methods may be called from any thread.
#[sabi_trait]
pub trait Model: Send + Sync + 'static {
    /// The result of [`Backend::inspect`] for it.
    fn info(&self) -> RResult<ModelInfo, BackendError>;

    /// Delivers the stored tensor with this name, as stored, in one or several pieces.
    fn read_tensor(
        &self,
        name: RStr<'_>,
        sink: TensorSinkMut<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<(), BackendError>;

    /// Computes, and delivers what was requested. The first run loads the runtime and prepares the model; a prepared
    /// model is kept.
    fn run(
        &self,
        request: RunRequest<'_>,
        sink: TensorSinkMut<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<RunReport, BackendError>;

    /// The same model with changes; this one stays unchanged (feature `edit`).
    fn edit(&self, edits: RSlice<'_, Edit>, progress: ProgressRef<'_>) -> RResult<ModelBox, BackendError>;

    /// Writes the model to a new file (feature `export`).
    fn export(
        &self,
        path: RStr<'_>,
        options: RSlice<'_, Pair>,
        progress: ProgressRef<'_>,
    ) -> RResult<(), BackendError>;

    /// Like [`Backend::request`], about this model; bulk data goes to the sink.
    #[sabi(last_prefix_field)]
    fn request(
        &self,
        name: RStr<'_>,
        payload: RStr<'_>,
        sink: TensorSinkMut<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<RString, BackendError>;
}

/// An owned [`Backend`] as it crosses the boundary.
pub type BackendBox = Backend_TO<RBox<()>>;

/// An owned [`Model`] as it crosses the boundary.
pub type ModelBox = Model_TO<RBox<()>>;
