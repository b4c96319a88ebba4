//! The native half: libtorch and the engine that links it, opened at the first run.

use qp_abi::sdk::{
    BackendError, ModelBox, ModelInfo, Pair, Progress, RSome, Result, RunReport, RunRequest, RuntimeStatus,
    Setup, Sink,
};
use std::path::Path;

/// Where the runtime is looked for.
pub struct Runtime {
    setup: Setup,
}

impl Runtime {
    /// Loads nothing.
    pub fn new(setup: Setup) -> Self {
        Self { setup }
    }

    /// Whether libtorch and the engine are there.
    pub fn status(&self) -> RuntimeStatus {
        let _ = &self.setup;
        RuntimeStatus {
            name: "libtorch".into(),
            version: "2.13.0".into(),
            path: "".into(),
            is_loaded: false,
            obstacle: RSome(BackendError::runtime_missing("x")),
        }
    }

    /// Opens.
    pub fn open(&self, _path: &Path, _options: &[Pair], _progress: &Progress<'_>) -> Result<ModelBox> {
        Err(BackendError::runtime_missing("x"))
    }

    /// Runs.
    pub fn run(
        &self,
        _model: &ModelBox,
        _info: &ModelInfo,
        _request: &RunRequest<'_>,
        _sink: &mut Sink<'_>,
        _progress: &Progress<'_>,
    ) -> Result<RunReport> {
        Err(BackendError::runtime_missing("x"))
    }
}
