//! One model prepared to run, and one run of it.

use super::tensor::{deliver, to_input};
use super::{NAME, Runtime};
use crate::source::Source;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{NoSelectedOutputs, RunOptions, SessionInputValue, SessionOutputs};
use qp_abi::manifest::pair;
use qp_abi::sdk::{
    BackendError, DType, ErrorKind, Fetch, ModelInfo, Progress, Result, RunReport, RunRequest, Sink,
    TensorView, ValueInfo, element_count,
};
use std::borrow::Cow;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A run that is expected to take no longer is not watched for cancellation: to start the watcher would cost
/// more than it is worth.
const UNWATCHED: Duration = Duration::from_millis(30);

/// How often the host is asked whether a run is still wanted.
const POLL: Duration = Duration::from_millis(20);

/// How a model is prepared; a run with other settings needs another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    optimization: Optimization,
    /// Threads of its own; `None` for the pool that all sessions share.
    threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Optimization {
    Disable,
    Basic,
    Extended,
    All,
}

impl Optimization {
    const NAMES: [(&'static str, Self); 4] = [
        ("disable", Self::Disable),
        ("basic", Self::Basic),
        ("extended", Self::Extended),
        ("all", Self::All),
    ];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, level)| *level == self).map_or("all", |(name, _)| name)
    }

    fn level(self) -> GraphOptimizationLevel {
        match self {
            Self::Disable => GraphOptimizationLevel::Disable,
            Self::Basic => GraphOptimizationLevel::Level1,
            Self::Extended => GraphOptimizationLevel::Level2,
            Self::All => GraphOptimizationLevel::All,
        }
    }
}

impl Settings {
    /// More threads than any machine has are a mistake, and would each take memory.
    const MAX_THREADS: usize = 1024;

    fn of(request: &RunRequest<'_>) -> Result<Self> {
        let mut settings = Self { optimization: Optimization::All, threads: None };
        for option in request.options.as_slice() {
            let (name, value) = (option.0.as_str(), option.1.as_str());
            match name {
                "optimization" => {
                    let known = Optimization::NAMES.iter().find(|(name, _)| *name == value);
                    settings.optimization = known.map(|(_, level)| *level).ok_or_else(|| {
                        BackendError::invalid_input(format!("the optimization `{value}` does not exist"))
                            .with_help("Choose `disable`, `basic`, `extended` or `all`.")
                    })?;
                }
                "threads" => {
                    let threads = value.parse().ok().filter(|count| (1..=Self::MAX_THREADS).contains(count));
                    settings.threads = Some(threads.ok_or_else(|| {
                        BackendError::invalid_input(format!("`{value}` is no number of threads"))
                            .with_help(format!("Choose a number from 1 to {}.", Self::MAX_THREADS))
                    })?);
                }
                _ => {
                    return Err(BackendError::invalid_input(format!("`{name}` is no option of a run"))
                        .with_help("The options are `optimization` and `threads`."));
                }
            }
        }
        Ok(settings)
    }
}

/// A request that fits the model, checked before the runtime sees it.
#[derive(Debug)]
pub struct Plan<'a> {
    settings: Settings,
    inputs: Vec<&'a str>,
    views: Vec<ViewOf<'a>>,
    /// The indices of the outputs to deliver, in order.
    wanted: Vec<usize>,
}

struct ViewOf<'a>(TensorView<'a>);

impl std::fmt::Debug for ViewOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.0.dtype, self.0.shape.as_slice())
    }
}

impl<'a> Plan<'a> {
    /// Checks the request against the model.
    ///
    /// # Errors
    /// `InvalidInput` for inputs or options that do not fit, `NotFound` for an unknown output, `UnsupportedOp`
    /// for what cannot be delivered.
    pub fn new(info: &'a ModelInfo, request: &RunRequest<'a>) -> Result<Self> {
        let settings = Settings::of(request)?;
        let wanted = wanted(info, request)?;
        let views = request.inputs.as_slice();
        if let Some(view) = views.iter().find(|view| !info.inputs.iter().any(|input| input.name == view.name))
        {
            return Err(BackendError::invalid_input(format!("the model has no input `{}`", view.name))
                .with_help(format!("Its inputs are {}.", names(info.inputs.as_slice()))));
        }
        let mut plan = Self { settings, inputs: Vec::new(), views: Vec::new(), wanted };
        for input in &info.inputs {
            let mut given = views.iter().filter(|view| view.name == input.name);
            let view = given.next().ok_or_else(|| {
                BackendError::invalid_input(format!("the input `{}` is missing", input.name))
                    .with_help(format!("The model's inputs are {}.", names(info.inputs.as_slice())))
            })?;
            if given.next().is_some() {
                return Err(BackendError::invalid_input(format!(
                    "the input `{}` is given twice",
                    input.name
                )));
            }
            check_input(input, view)?;
            plan.inputs.push(input.name.as_str());
            plan.views.push(ViewOf(*view));
        }
        Ok(plan)
    }

    /// How the model must be prepared.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    fn input_bytes(&self) -> u64 {
        self.views.iter().map(|view| view.0.bytes.len() as u64).sum()
    }
}

fn names(values: &[ValueInfo]) -> String {
    values.iter().map(|value| format!("`{}`", value.name)).collect::<Vec<_>>().join(", ")
}

fn wanted(info: &ModelInfo, request: &RunRequest<'_>) -> Result<Vec<usize>> {
    let wanted = match request.fetch {
        Fetch::OUTPUTS => (0..info.outputs.len()).collect(),
        Fetch::NAMED => {
            let names = request.names.as_slice().iter();
            names.map(|name| output(info, name.as_str())).collect::<Result<Vec<_>>>()?
        }
        Fetch::LAYERS => {
            return Err(BackendError::unsupported_op("this version cannot capture the values of layers"));
        }
        other => {
            return Err(BackendError::unsupported_op(format!("the request to fetch {} is unknown", other.0)));
        }
    };
    for &index in &wanted {
        let output = &info.outputs[index];
        if output.type_name.contains("map(") {
            return Err(BackendError::unsupported_op(format!(
                "the output `{}` is of type `{}`, which is no tensor",
                output.name, output.type_name
            )));
        }
    }
    Ok(wanted)
}

fn output(info: &ModelInfo, name: &str) -> Result<usize> {
    if let Some(index) = info.outputs.iter().position(|output| output.name == name) {
        return Ok(index);
    }
    let is_inner = info.values.iter().any(|value| value.name == name)
        || info.layers.iter().any(|layer| layer.outputs.iter().any(|output| output == name));
    Err(if is_inner {
        BackendError::unsupported_op(format!(
            "`{name}` is no output, and this version cannot capture other values"
        ))
    } else {
        BackendError::not_found(format!("the model has no output `{name}`"))
            .with_help(format!("Its outputs are {}.", names(info.outputs.as_slice())))
    })
}

fn check_input(input: &ValueInfo, view: &TensorView<'_>) -> Result<()> {
    let refuse =
        |what: String| Err(BackendError::invalid_input(format!("the input `{}` {what}", input.name)));
    if input.dtype != DType::UNDEFINED && input.dtype != view.dtype {
        return refuse(format!("is {}, the model wants {}", view.dtype, input.dtype));
    }
    let given = view.shape.as_slice();
    if let Some(wanted) = input.shape.as_ref().into_option() {
        let fits = wanted.len() == given.len()
            && wanted.iter().zip(given).all(|(wanted, &given)| wanted.size < 0 || wanted.size == given);
        if !fits {
            return refuse(format!(
                "is of shape {given:?}, the model wants {}",
                shape_text(wanted.as_slice())
            ));
        }
    }
    let elements = element_count(given);
    let bytes = view.bytes.len() as u64;
    let fits = match (view.dtype, elements) {
        (_, None) => false,
        (DType::STRING, Some(count)) => super::tensor::unpack_strings(view.bytes.as_slice())
            .is_some_and(|texts| texts.len() as u64 == count),
        (dtype, Some(count)) => dtype.packed_bytes(count) == Some(bytes),
    };
    if !fits || view.first_element != 0 {
        return refuse(format!("holds {bytes} bytes, which is not {} of shape {given:?}", view.dtype));
    }
    Ok(())
}

fn shape_text(shape: &[qp_abi::sdk::Dimension]) -> String {
    let sizes = shape.iter().map(|dimension| match (dimension.size, dimension.symbol.as_str()) {
        (size, _) if size >= 0 => size.to_string(),
        (_, "") => "?".to_owned(),
        (_, symbol) => symbol.to_owned(),
    });
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}

/// A model that ONNX Runtime has prepared.
#[derive(Debug)]
pub struct Session {
    inner: ort::session::Session,
    settings: Settings,
    threads: usize,
    version: String,
    /// Time and input bytes of the last run, to guess how long the next one takes.
    last: Option<(Duration, u64)>,
}

impl Session {
    /// Prepares the model; loads the runtime when this is the first time.
    ///
    /// # Errors
    /// Those of [`Runtime::load`], `RuntimeFailed` or `UnsupportedOp` when the runtime refuses the model.
    pub fn open(
        runtime: &Runtime,
        source: &Source,
        has_external: bool,
        settings: Settings,
        progress: &Progress<'_>,
    ) -> Result<Self> {
        progress.update("preparing the model", 0, 0)?;
        let is_unchanged = source.is_unchanged();
        if !is_unchanged && (has_external || !source.is_in_memory()) {
            return Err(BackendError::new(
                ErrorKind::IO,
                format!("`{}` has changed since it was opened", source.name()),
            )
            .with_help("Reload the model."));
        }
        let loaded = runtime.load()?;
        let refused = |error: &ort::Error| explain(error, &format!("{NAME} refuses `{}`", source.name()));
        let mut builder = builder(&loaded.environment, settings).map_err(|error| refused(&error))?;
        let inner = if is_unchanged {
            builder.commit_from_file(source.path())
        } else {
            builder.commit_from_memory(source.bytes())
        }
        .map_err(|error| refused(&error))?;
        Ok(Self {
            inner,
            settings,
            threads: settings.threads.unwrap_or(loaded.threads),
            version: loaded.version.to_string(),
            last: None,
        })
    }

    /// How it was prepared.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Runs the plan and delivers what it wants.
    ///
    /// # Errors
    /// `RuntimeFailed`, `Cancelled`, or the sink's own.
    pub fn run(
        &mut self,
        plan: &Plan<'_>,
        info: &ModelInfo,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<RunReport> {
        progress.update("running", 0, 0)?;
        let inputs = plan
            .inputs
            .iter()
            .zip(&plan.views)
            .map(|(&name, view)| Ok((Cow::Borrowed(name), to_input(&view.0)?)))
            .collect::<Result<Vec<_>>>()?;
        let options =
            RunOptions::new().map_err(|error| explain(&error, "ONNX Runtime cannot start a run"))?;
        let bytes = plan.input_bytes();
        let is_watched = self.guess(bytes).is_none_or(|guess| guess > UNWATCHED);
        let start = Instant::now();
        let outcome = if is_watched {
            watched(&mut self.inner, inputs, &options, progress)
        } else {
            self.inner.run_with_options(inputs, &options).map_err(|error| failed(&error))
        };
        let elapsed = start.elapsed();
        let outputs = outcome?;
        self.last = Some((elapsed, bytes));
        for &index in &plan.wanted {
            let name = info.outputs[index].name.as_str();
            let value = outputs.get(name).ok_or_else(|| {
                BackendError::runtime_failed(format!("{NAME} did not compute the output `{name}`"))
            })?;
            deliver(name, value, sink)?;
        }
        Ok(RunReport {
            runtime: NAME.into(),
            runtime_version: self.version.as_str().into(),
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            settings: vec![
                pair("provider", "CPU"),
                pair("optimization", self.settings.optimization.name()),
                pair("threads", self.threads.to_string()),
            ]
            .into(),
        })
    }

    /// How long a run with so many input bytes may take, from the last one; `None` for the first.
    fn guess(&self, bytes: u64) -> Option<Duration> {
        let (elapsed, last_bytes) = self.last?;
        let factor = u32::try_from(bytes.div_ceil(last_bytes.max(1))).unwrap_or(u32::MAX).max(1);
        Some(elapsed.saturating_mul(factor))
    }
}

fn builder(
    environment: &ort::environment::Environment,
    settings: Settings,
) -> std::result::Result<SessionBuilder, ort::Error> {
    let mut builder = ort::session::Session::builder(environment)?
        .with_log_level(ort::logging::LogLevel::Fatal)?
        .with_optimization_level(settings.optimization.level())?;
    if let Some(threads) = settings.threads {
        builder = builder.with_independent_thread_pool()?.with_intra_threads(threads)?;
    }
    Ok(builder)
}

/// Runs while another thread asks the host, from time to time, whether the run is still wanted.
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
            // Ends the watch even when the run panics; the scope would wait for it forever.
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
    /// Returns whether the run was told to stop.
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

/// The runtime's words: their first line is the cause, all of them are the detail.
fn explain(error: &ort::Error, message: &str) -> BackendError {
    let kind = match error.code() {
        ort::ErrorCode::NotImplemented => ErrorKind::UNSUPPORTED_OP,
        _ => ErrorKind::RUNTIME_FAILED,
    };
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default().to_owned();
    BackendError::new(kind, message).with_cause(first).with_detail(text)
}
