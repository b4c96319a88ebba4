//! A model to capture the layers of, and how to run it.

use crate::backend::{Fetch, Progress, RunOptions, RunOutcome, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::input::Input;
use crate::model::{ModelInfo, Tensor};
use crate::playground::{Loaded, Playground};
use std::num::NonZero;

/// A model with what it runs on.
#[derive(Clone)]
pub struct Side<'a> {
    /// The model.
    pub model: &'a Loaded,
    /// Another variant that fills in what this one does not declare about its inputs.
    pub sibling: Option<ModelInfo>,
    /// The settings of its runs.
    pub options: RunOptions,
}

impl<'a> Side<'a> {
    /// A model, another variant of its network, and the settings of its runs.
    pub fn new(model: &'a Loaded, sibling: Option<ModelInfo>, options: RunOptions) -> Self {
        Self { model, sibling, options }
    }

    /// A model of the session; another variant is only searched for if the model leaves something undeclared.
    pub fn of(
        model: &'a Loaded,
        options: RunOptions,
        playground: &Playground,
        progress: &dyn Progress,
    ) -> Self {
        Self::new(model, playground.outspoken_sibling(model, progress), options)
    }

    /// The tensors that the model takes for a batch.
    ///
    /// # Errors
    /// `InvalidInput` when the batch does not fit.
    pub fn fit(&self, batch: &Input) -> Result<Vec<Tensor>> {
        Ok(batch.fit(self.model.info(), self.sibling.as_ref())?.tensors)
    }

    /// Fits a batch and runs it.
    ///
    /// # Errors
    /// `InvalidInput` when the batch does not fit; those of the backend.
    pub fn run(&self, batch: &Input, fetch: &Fetch, progress: &dyn Progress) -> Result<RunOutcome> {
        self.run_on(&self.model.session, &self.fit(batch)?, fetch, progress)
    }

    /// Runs `session`, the model or an edited form of it, on a fitted batch.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn run_on(
        &self,
        session: &Session,
        inputs: &[Tensor],
        fetch: &Fetch,
        progress: &dyn Progress,
    ) -> Result<RunOutcome> {
        session.run(inputs, fetch, &self.options, &OnlyCancel(progress))
    }
}

/// Checks that what a model's layers compute can be captured.
///
/// # Errors
/// The reason why it cannot be run; `UnsupportedOp` for a backend that cannot capture.
pub fn can_be_captured(model: &Loaded) -> Result<()> {
    model.runnable()?;
    let manifest = model.session.plugin();
    if manifest.has_feature("capture") {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::UnsupportedOp,
        format!("the backend `{}` of `{}` cannot capture what layers compute", manifest.id, model.id),
    )
    .with_hint("Compare ONNX models; see the features in `backends info`."))
}

/// Whether the backend can measure with changed forms of the model.
pub fn can_emulate(model: &Loaded) -> bool {
    model.session.plugin().has_feature("emulate")
}

/// Progress of a run within longer work: the run's own progress is not shown.
pub struct OnlyCancel<'a>(pub &'a dyn Progress);

impl Progress for OnlyCancel<'_> {
    fn update(&self, _stage: &str, _done: u64, _total: u64) {}

    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Whether the runtime may optimize the graph before it runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// The graph as written.
    AsWritten,
    /// As the runtime runs it if nothing is captured.
    Optimized,
}

impl Execution {
    /// As the user chose.
    pub fn new(is_optimized: bool) -> Self {
        if is_optimized { Self::Optimized } else { Self::AsWritten }
    }

    /// The settings for a run of `model` on this many threads; a backend that always executes the graph as written
    /// has no optimization levels, and one without the feature `threads` gets no number of threads.
    pub fn options(self, model: &Loaded, threads: Option<usize>) -> RunOptions {
        let mut options = RunOptions::new();
        if model.session.plugin().has_feature("optimization") {
            let level = if self == Self::Optimized { "all" } else { "disable" };
            options.insert("optimization".to_owned(), level.to_owned());
        }
        if let Some(threads) = threads.filter(|_| model.session.plugin().has_feature("threads")) {
            options.insert("threads".to_owned(), threads.to_string());
        }
        options
    }
}

/// The run option, and the backend feature, that limits how many bytes of captured values are kept at a time.
pub const BUDGET_OPTION: &str = "budget";

/// The options of a run that keeps about `bytes` of captured values at a time, if the backend can do that.
pub fn budgeted(mut options: RunOptions, model: &Loaded, bytes: u64) -> RunOptions {
    if model.session.plugin().has_feature(BUDGET_OPTION) {
        options.insert(BUDGET_OPTION.to_owned(), bytes.to_string());
    }
    options
}

/// The threads of each of two models that run side by side: half of the machine's.
pub fn half_of_the_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get).div_ceil(2)
}
