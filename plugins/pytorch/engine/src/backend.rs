//! The engine as the `pytorch` plugin sees it.

use crate::model::Model;
use crate::operators;
use crate::shim;
use qp_abi::sdk::{
    self, BackendError, Manifest, ModelInfo, Pair, Progress, RNone, RVec, Result, RuntimeStatus, Setup,
};

/// Runs TorchScript files. It reads none: `inspect` and `info` are the work of the `pytorch` plugin.
pub struct Engine {
    library: String,
}

impl sdk::Backend for Engine {
    type Model = Model;

    fn manifest() -> Manifest {
        Manifest {
            id: "pytorch-engine".into(),
            name: "libtorch".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            description: "runs what the `pytorch` plugin has read".into(),
            formats: RVec::new(),
            url_schemes: RVec::new(),
            features: vec!["run".into(), "capture".into()].into(),
            options: RVec::new(),
            extra: RVec::new(),
        }
    }

    fn create(setup: Setup) -> Result<Self> {
        shim::silence();
        shim::keep_memory();
        operators::restrict()?;
        // The profiling executor rewrites a graph at its second run: later runs would take another path than
        // the first, in time and in the last digits.
        let set = tch::jit::f_set_profiling_mode(false)
            .and_then(|()| tch::jit::f_set_graph_executor_optimize(false));
        set.map_err(|error| crate::error::failed("libtorch could not be set up", error))?;
        Ok(Self { library: setup.library_path.into() })
    }

    fn probe(&self, _head: &[u8], _file_name: &str) -> Option<String> {
        None
    }

    fn inspect(&self, _location: &str, _options: &[Pair], _progress: &Progress<'_>) -> Result<ModelInfo> {
        Err(not_here())
    }

    fn runtime(&self) -> RuntimeStatus {
        RuntimeStatus {
            name: "libtorch".into(),
            version: shim::version().into(),
            path: self.library.as_str().into(),
            is_loaded: true,
            obstacle: RNone,
        }
    }

    fn open(&self, location: &str, options: &[Pair], progress: &Progress<'_>) -> Result<Model> {
        Model::load(location, options, progress)
    }
}

/// The answer to requests that the `pytorch` plugin answers itself.
pub(crate) fn not_here() -> BackendError {
    BackendError::unsupported_op("the engine only runs models; the `pytorch` plugin reads them")
}
