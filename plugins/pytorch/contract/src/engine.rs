//! The two traits that the engine provides, as they cross the boundary.

use crate::program::Program;
use abi_stable::StableAbi;
use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, RResult, RSlice, RStr, RString, RVec};
use qp_abi::backend::{Fetch, RunReport};
use qp_abi::manifest::Pair;
use qp_abi::sink::{ProgressRef, TensorSinkMut};
use qp_abi::{BackendError, TensorView};

/// What to run.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RunRequest<'a> {
    /// The inputs, in the order of the model's own.
    pub inputs: RSlice<'a, TensorView<'a>>,
    /// Values of [`Model::values`] that replace the computed ones, each as soon as the computed one is delivered.
    pub substitutes: RSlice<'a, TensorView<'a>>,
    /// What to deliver.
    pub fetch: Fetch,
    /// For outputs: their names, in order; outputs beyond them, and all outputs if the numbers differ, are named
    /// `output_0`, `output_1`, …  For values by name: those of [`Model::values`], followed by `:N` for tensor N of
    /// several, or `output:N` for output N. For layers: such names in the order of execution; names that a run does
    /// not compute are left out.
    pub names: RSlice<'a, RString>,
    /// `threads`, `qengine`, `precision`, `profile` (see [`Model::times`]); an unknown name is rejected with
    /// `InvalidInput`.
    pub options: RSlice<'a, Pair>,
}

/// Runs models with libtorch. All threads share it.
#[sabi_trait]
pub trait Engine: Send + Sync + 'static {
    /// Loads the TorchScript archive at `path`, which is checked before any of it is executed.
    fn load(
        &self,
        path: RStr<'_>,
        options: RSlice<'_, Pair>,
        progress: ProgressRef<'_>,
    ) -> RResult<ModelBox, BackendError>;

    /// Builds a model from a program and the stored tensors that it names, in its order. A view with quantization
    /// parameters is one of PyTorch's quantized tensors.
    #[sabi(last_prefix_field)]
    fn prepare(
        &self,
        program: &Program,
        stored: RSlice<'_, TensorView<'_>>,
        options: RSlice<'_, Pair>,
        progress: ProgressRef<'_>,
    ) -> RResult<ModelBox, BackendError>;
}

/// A model in libtorch's memory. One thread at a time may call `run`.
#[sabi_trait]
pub trait Model: Send + Sync + 'static {
    /// The values that a run can capture or replace, by their unique names, in the order of execution.
    fn values(&self) -> RResult<RVec<RString>, BackendError>;

    /// What each of [`values`](Self::values) took in the last run with the option `profile`, in nanoseconds: from the
    /// value before it until it was computed. 0 where the run did not compute it; empty if there was no such run.
    fn times(&self) -> RResult<RVec<u64>, BackendError>;

    /// Runs `forward`, and delivers what was requested.
    #[sabi(last_prefix_field)]
    fn run(
        &self,
        request: RunRequest<'_>,
        sink: TensorSinkMut<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<RunReport, BackendError>;
}

/// The engine as it crosses the boundary.
pub type EngineBox = Engine_TO<RBox<()>>;

/// One of the engine's models as it crosses the boundary.
pub type ModelBox = Model_TO<RBox<()>>;
