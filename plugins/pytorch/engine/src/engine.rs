//! The engine as the `pytorch` plugin sees it.

use crate::model::Model;
use crate::operators;
use crate::shim;
use qp_abi::sdk::{Pair, Progress, Result, TensorView};
use qp_pytorch_contract::boundary;
use qp_pytorch_contract::program::Program;

/// Runs what the `pytorch` plugin has read.
pub struct Engine;

impl boundary::Engine for Engine {
    type Model = Model;

    fn create() -> Result<Self> {
        shim::silence();
        shim::keep_memory();
        operators::restrict()?;
        // The profiling executor rewrites a graph at its second run: later runs would then differ from the first, in
        // time and in the last digits.
        let set = tch::jit::f_set_profiling_mode(false)
            .and_then(|()| tch::jit::f_set_graph_executor_optimize(false));
        set.map_err(|error| crate::error::failed("libtorch could not be set up", error))?;
        Ok(Self)
    }

    fn load(&self, path: &str, options: &[Pair], progress: &Progress<'_>) -> Result<Model> {
        Model::load(path, options, progress)
    }

    fn prepare(
        &self,
        program: &Program,
        stored: &[TensorView<'_>],
        options: &[Pair],
        progress: &Progress<'_>,
    ) -> Result<Model> {
        Model::prepare(program, stored, options, progress)
    }
}
