//! One model prepared to run, and one run of it.

use super::capture;
use super::kernels::Files;
use super::plan::{Plan, Settings};
use super::tensor::{deliver, to_input};
use super::{NAME, Runtime};
use crate::source::Source;
use ort::session::builder::SessionBuilder;
use ort::session::{NoSelectedOutputs, RunOptions, SessionInputValue, SessionOutputs};
use qp_abi::manifest::pair;
use qp_abi::sdk::{BackendError, ErrorKind, Pair, Progress, Result, RunReport, Sink};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A run expected to take no longer is not watched for cancellation: starting the watcher would cost more than it
/// gains.
const UNWATCHED: Duration = Duration::from_millis(30);

/// The session option that names the external data folder of a model in memory; ONNX Runtime 1.20 and later.
const EXTERNAL_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// The session option that names the file for the tensors of the optimized graph.
const TENSORS_FILE: &str = "session.optimized_model_external_initializers_file_name";

/// How often the host is asked whether to cancel a run.
const POLL: Duration = Duration::from_millis(20);

/// A model that ONNX Runtime has prepared.
#[derive(Debug)]
pub struct Session {
    inner: ort::session::Session,
    settings: Settings,
    /// Values that are not outputs of the model but are delivered.
    captured: Vec<String>,
    threads: usize,
    version: String,
    /// Time and input bytes of the last run, to estimate how long the next one takes.
    last: Option<(Duration, u64)>,
}

impl Session {
    /// Prepares the model, with additional values as outputs; loads the runtime the first time.
    ///
    /// # Errors
    /// Those of [`Runtime::load`], `RuntimeFailed` or `UnsupportedOp` if the runtime rejects the model.
    pub fn open(
        runtime: &Runtime,
        source: &Source,
        has_external: bool,
        plan: &Plan<'_>,
        progress: &Progress<'_>,
    ) -> Result<Self> {
        Self::observed(runtime, source, has_external, (plan.settings, &plan.captured), None, progress)
    }

    /// The same; the runtime writes the graph that it makes, and perhaps a profile, to a folder.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn observed(
        runtime: &Runtime,
        source: &Source,
        has_external: bool,
        (settings, captured): (Settings, &[&str]),
        observation: Option<&Observation<'_>>,
        progress: &Progress<'_>,
    ) -> Result<Self> {
        progress.update("preparing the model", 0, 0)?;
        let is_unchanged = source.is_unchanged();
        check_source(source, has_external)?;
        let loaded = runtime.load()?;
        let capture_threads = (!captured.is_empty()).then_some(loaded.threads);
        let refused = |error: &ort::Error| match observation {
            Some(observation) if observation.is_at_fault(error) => observation.explain(error),
            _ => explain(error, &format!("{NAME} refuses `{}`", source.name())),
        };
        let mut builder =
            builder(&loaded.environment, settings, capture_threads).map_err(|error| refused(&error))?;
        if let Some(observation) = observation {
            builder = observation.ask(builder).map_err(|error| refused(&error))?;
        }
        let captured: Vec<String> = captured.iter().map(|name| (*name).to_owned()).collect();
        let inner = if !captured.is_empty() || source.is_edited() {
            builder = with_external(builder, source, has_external, |_| true)?;
            builder.commit_from_memory(&capture::with_outputs(source.bytes(), &captured))
        } else if is_unchanged {
            builder.commit_from_file(source.path())
        } else {
            builder.commit_from_memory(source.bytes())
        }
        .map_err(|error| refused(&error));
        if is_unchanged && !source.is_edited() && !source.is_unchanged() {
            // The runtime may have read anything.
            return Err(changed(source));
        }
        let inner = inner?;
        Ok(Self {
            inner,
            settings,
            captured,
            threads: settings.threads.unwrap_or(loaded.threads),
            version: loaded.version.to_string(),
            last: None,
        })
    }

    /// The settings that it is prepared with.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Ends the profile of its runs; returns its file.
    ///
    /// # Errors
    /// `RuntimeFailed`.
    pub fn end_profile(&mut self) -> Result<PathBuf> {
        let ended = self.inner.end_profiling();
        ended.map(PathBuf::from).map_err(|error| explain(&error, "ONNX Runtime cannot write the profile"))
    }

    /// Whether it is prepared as the plan requires.
    pub fn fits(&self, plan: &Plan<'_>) -> bool {
        self.settings == plan.settings
            && self.captured.len() == plan.captured.len()
            && self.captured.iter().zip(&plan.captured).all(|(ours, wanted)| ours == wanted)
    }

    /// Runs the plan and delivers what it requests.
    ///
    /// # Errors
    /// `RuntimeFailed`, `Cancelled`, or the sink's own.
    pub fn run(
        &mut self,
        plan: &Plan<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<RunReport> {
        progress.update("running", 0, 0)?;
        let inputs = plan
            .inputs
            .iter()
            .map(|(name, view)| Ok((Cow::Borrowed(*name), to_input(view)?)))
            .collect::<Result<Vec<_>>>()?;
        let options =
            RunOptions::new().map_err(|error| explain(&error, "ONNX Runtime cannot start a run"))?;
        let bytes = plan.input_bytes();
        let is_watched = self.guess(bytes).is_none_or(|guess| guess > UNWATCHED);
        let start = Instant::now();
        let outcome = execute(&mut self.inner, inputs, &options, is_watched, progress);
        let elapsed = start.elapsed();
        let outputs = outcome?;
        self.last = Some((elapsed, bytes));
        let by_name: HashMap<&str, _> = outputs.iter().collect();
        for &name in &plan.wanted {
            let value = by_name
                .get(name)
                .ok_or_else(|| BackendError::runtime_failed(format!("{NAME} did not compute `{name}`")))?;
            deliver(name, value, sink)?;
        }
        Ok(report(&self.version, self.settings, self.threads, elapsed, left_out(plan)))
    }

    /// How long a run with this many input bytes may take, judging by the last one; `None` for the first.
    fn guess(&self, bytes: u64) -> Option<Duration> {
        let (elapsed, last_bytes) = self.last?;
        let factor = u32::try_from(bytes.div_ceil(last_bytes.max(1))).unwrap_or(u32::MAX).max(1);
        Some(elapsed.saturating_mul(factor))
    }
}

/// What a session writes to a folder.
#[derive(Debug)]
pub struct Observation<'a> {
    /// Where.
    pub files: Files<'a>,
    /// Whether the runs are profiled.
    pub is_timed: bool,
}

impl Observation<'_> {
    /// Whether the runtime could not write to the folder.
    fn is_at_fault(&self, error: &ort::Error) -> bool {
        error.to_string().contains(&*self.files.0.to_string_lossy())
    }

    fn explain(&self, error: &ort::Error) -> BackendError {
        let folder = self.files.0.parent().unwrap_or(self.files.0).display();
        let message = format!("{NAME} cannot write the graph that it has made to `{folder}`");
        BackendError::new(ErrorKind::IO, message)
            .with_help("Make space there, or name another folder for temporary files in `TMPDIR`.")
            .with_detail(error.to_string())
    }

    fn ask(&self, builder: SessionBuilder) -> std::result::Result<SessionBuilder, ort::Error> {
        // The stored tensors are not read again; beside the graph they are written without a copy in memory.
        let builder = builder
            .with_optimized_model_path(self.files.graph())?
            .with_config_entry(TENSORS_FILE, Files::TENSORS)?;
        if self.is_timed { Ok(builder.with_profiling(self.files.profile())?) } else { Ok(builder) }
    }
}

/// Checks that the files a session is made from are still those that were opened.
pub(super) fn check_source(source: &Source, has_external: bool) -> Result<()> {
    if !source.is_unchanged() && (has_external || !source.is_in_memory()) {
        return Err(changed(source));
    }
    Ok(())
}

fn changed(source: &Source) -> BackendError {
    let message = format!("`{}` has changed since it was opened", source.name());
    BackendError::new(ErrorKind::IO, message).with_help("Reload the model.")
}

/// With a model in memory, the runtime does not know where elements outside of it are: in files beside it if it
/// `has_external` ones, and in memory if edits have stored some. `has_tensor` says of which names the model has tensors.
pub(super) fn with_external(
    mut builder: SessionBuilder,
    source: &Source,
    has_external: bool,
    has_tensor: impl Fn(&str) -> bool,
) -> Result<SessionBuilder> {
    let refused = |error: ort::Error| explain(&error, &format!("{NAME} refuses `{}`", source.name()));
    if has_external && let Some(folder) = source.path().parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        builder = builder
            .with_config_entry(EXTERNAL_FOLDER, folder.to_string_lossy())
            .map_err(|error| refused(error.into()))?;
    }
    for tensor in source.held().values().filter(|tensor| has_tensor(tensor.name())) {
        let value = tensor.value().map_err(refused)?;
        builder =
            builder.with_external_initializer(tensor.name(), value).map_err(|error| refused(error.into()))?;
    }
    Ok(builder)
}

/// The report of a run.
pub(super) fn report(
    version: &str,
    settings: Settings,
    threads: usize,
    elapsed: Duration,
    more: Option<Pair>,
) -> RunReport {
    RunReport {
        runtime: NAME.into(),
        runtime_version: version.into(),
        elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
        settings: [
            pair("provider", "CPU"),
            pair("optimization", settings.optimization.name()),
            pair("threads", threads.to_string()),
        ]
        .into_iter()
        .chain(more)
        .collect(),
    }
}

/// Runs a session; with `is_watched` the host is asked from time to time whether to cancel.
pub(super) fn execute<'r>(
    session: &'r mut ort::session::Session,
    inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)>,
    options: &'r RunOptions<NoSelectedOutputs>,
    is_watched: bool,
    progress: &Progress<'_>,
) -> Result<SessionOutputs<'r>> {
    if is_watched {
        watched(session, inputs, options, progress)
    } else {
        session.run_with_options(inputs, options).map_err(|error| failed(&error))
    }
}

/// Names the outputs that were not delivered.
fn left_out(plan: &Plan<'_>) -> Option<Pair> {
    let names: Vec<String> =
        plan.left_out.iter().map(|output| format!("{} ({})", output.name, output.type_name)).collect();
    (!names.is_empty()).then(|| pair("left out", names.join(", ")))
}

pub(super) fn builder(
    environment: &ort::environment::Environment,
    settings: Settings,
    capture_threads: Option<usize>,
) -> std::result::Result<SessionBuilder, ort::Error> {
    let mut builder = ort::session::Session::builder(environment)?
        .with_log_level(ort::logging::LogLevel::Fatal)?
        .with_optimization_level(settings.optimization.level())?;
    if let Some(threads) = settings.threads.or(capture_threads) {
        builder = builder.with_independent_thread_pool()?.with_intra_threads(threads)?;
    }
    if capture_threads.is_some() {
        // Between two captures the host computes with the captured values: waiting threads must not spin.
        builder = builder.with_intra_op_spinning(false)?;
    }
    Ok(builder)
}

/// Runs while another thread asks the host from time to time whether to cancel.
fn watched<'r>(
    session: &'r mut ort::session::Session,
    inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)>,
    options: &'r RunOptions<NoSelectedOutputs>,
    progress: &Progress<'_>,
) -> Result<SessionOutputs<'r>> {
    let state = Watch::default();
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| state.watch(options, progress));
        let outcome = {
            // Ends the watch even if the run panics; otherwise the scope would wait for it forever.
            let _end = EndOfWatch(&state);
            session.run_with_options(inputs, options)
        };
        let is_cancelled = watcher.join().unwrap_or(false);
        match outcome {
            Err(_) if is_cancelled => Err(BackendError::cancelled()),
            outcome => outcome.map_err(|error| failed(&error)),
        }
    })
}

#[derive(Default)]
struct Watch {
    is_over: Mutex<bool>,
    wake: Condvar,
}

impl Watch {
    /// Returns whether the run was cancelled.
    fn watch(&self, options: &RunOptions<NoSelectedOutputs>, progress: &Progress<'_>) -> bool {
        let mut is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_over {
            is_over = self.wake.wait_timeout(is_over, POLL).unwrap_or_else(PoisonError::into_inner).0;
            if !*is_over && progress.is_cancelled() {
                return options.terminate().is_ok();
            }
        }
        false
    }
}

struct EndOfWatch<'a>(&'a Watch);

impl Drop for EndOfWatch<'_> {
    fn drop(&mut self) {
        *self.0.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.wake.notify_all();
    }
}

fn failed(error: &ort::Error) -> BackendError {
    explain(error, "ONNX Runtime failed to run the model")
}

/// The runtime's message: its first line is the cause, the whole is the detail.
pub(super) fn explain(error: &ort::Error, message: &str) -> BackendError {
    let kind = match error.code() {
        ort::ErrorCode::NotImplemented => ErrorKind::UNSUPPORTED_OP,
        _ => ErrorKind::RUNTIME_FAILED,
    };
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default().to_owned();
    BackendError::new(kind, message).with_cause(first).with_detail(text)
}
