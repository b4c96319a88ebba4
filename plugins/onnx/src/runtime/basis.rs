//! What runs in pieces share: the whole model that pieces are parts of, how a piece is prepared, and what it is fed.

use super::plan::{Plan, Settings};
use super::session::{builder, check_source, execute, explain, report, with_external};
use super::tensor::{dtype_of, to_input};
use super::{Loaded, NAME, Runtime, idle};
use crate::proto::{GraphProto, ModelProto, TensorProto, decode_model, dtype};
use crate::source::Source;
use ort::session::builder::SessionBuilder;
use ort::session::{NoSelectedOutputs, RunOptions, SessionInputValue, SessionOutputs};
use ort::value::{DynValue, ValueType};
use prost::Message;
use qp_abi::sdk::{
    BackendError, DType, Dimension, ModelInfo, Pair, Progress, Result, RunReport, TensorView, ValueInfo,
    element_count,
};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How far a run in pieces got.
pub enum Outcome {
    /// To the end.
    Done(RunReport),
    /// A value other than a tensor would have to be passed on; these were delivered.
    Stuck(HashSet<String>),
}

/// The model that pieces are parts of.
#[derive(Debug)]
pub(super) struct Basis {
    settings: Settings,
    wanted: Vec<String>,
    pub(super) model: ModelProto,
    has_external: bool,
    threads: usize,
    version: String,
}

impl Basis {
    /// Decodes the model; its large stored tensors refer to the file.
    ///
    /// # Errors
    /// Those of [`Runtime::load`] and of decoding the file; `Io` when it has changed.
    pub(super) fn of(
        runtime: &Runtime,
        source: &Source,
        info: &ModelInfo,
        plan: &Plan<'_>,
        progress: &Progress<'_>,
    ) -> Result<Self> {
        progress.update("cutting the model into pieces", 0, 0)?;
        let mut has_external = info.tensors.iter().any(|tensor| !tensor.external_file.is_empty());
        check_source(source, has_external)?;
        let mut model = decode_model(source.bytes(), &source.name())?;
        if let Some(graph) = &mut model.graph {
            has_external |= source.refer(&mut graph.initializer);
        }
        let loaded = runtime.load()?;
        Ok(Self {
            settings: plan.settings,
            wanted: plan.wanted.iter().map(|name| (*name).to_owned()).collect(),
            model,
            has_external,
            threads: plan.settings.threads.unwrap_or(loaded.threads),
            version: loaded.version.to_string(),
        })
    }

    /// The main graph.
    pub(super) fn graph(&self) -> Option<&GraphProto> {
        self.model.graph.as_ref()
    }

    /// What the run should deliver.
    pub(super) fn wanted(&self) -> &[String] {
        &self.wanted
    }

    /// Whether it matches the plan's needs.
    pub(super) fn fits(&self, plan: &Plan<'_>) -> bool {
        self.settings == plan.settings
            && self.wanted.len() == plan.wanted.len()
            && self.wanted.iter().zip(&plan.wanted).all(|(ours, wanted)| ours == wanted)
    }

    /// Prepares a piece.
    ///
    /// # Errors
    /// Those of [`Runtime::load`], and those of the runtime for the piece.
    pub(super) fn open(
        &self,
        runtime: &Runtime,
        source: &Source,
        piece: &ModelProto,
    ) -> Result<ort::session::Session> {
        let loaded = runtime.load()?;
        let refused = |error: &ort::Error| explain(error, &format!("{NAME} refuses `{}`", source.name()));
        idle::note_use();
        let mut builder = environment_builder(&loaded, self.settings).map_err(|error| refused(&error))?;
        let tensors = piece.graph.iter().flat_map(|graph| &graph.initializer);
        let names: HashSet<&str> = tensors.filter_map(|tensor| tensor.name.as_deref()).collect();
        builder = with_external(builder, source, self.has_external, |name| names.contains(name))?;
        builder.commit_from_memory(&piece.encode_to_vec()).map_err(|error| refused(&error))
    }

    /// The report of a run that took this long, with additional entries.
    pub(super) fn report(&self, elapsed: Duration, more: Option<Pair>) -> RunReport {
        report(&self.version, self.settings, self.threads, elapsed, more)
    }
}

/// What pieces read: the run's inputs, and what earlier pieces passed on.
pub(super) struct Feed<'r> {
    given: HashMap<&'r str, &'r TensorView<'r>>,
    /// By name; the runtime's own values, which are shared and never copied.
    pub(super) alive: HashMap<String, Arc<DynValue>>,
    /// The time spent in the runtime so far.
    pub(super) elapsed: Duration,
}

impl<'r> Feed<'r> {
    /// The values that the plan provides.
    pub(super) fn of(plan: &'r Plan<'r>) -> Self {
        let given = plan.inputs.iter().map(|(name, view)| (*name, view)).collect();
        Self { given, alive: HashMap::new(), elapsed: Duration::ZERO }
    }

    /// The element types of these values; `None` if one is not a tensor.
    pub(super) fn types<'n>(&self, names: impl Iterator<Item = &'n str>) -> Option<HashMap<&'n str, DType>> {
        let of = |name: &'n str| match self.given.get(name) {
            Some(view) => Some((name, view.dtype)),
            None => Some((name, dtype_of_value(self.alive.get(name)?)?)),
        };
        names.map(of).collect()
    }

    /// The shape of a value, if it is a tensor.
    pub(super) fn shape(&self, name: &str) -> Option<Vec<i64>> {
        match (self.given.get(name), self.alive.get(name).map(|value| value.dtype())) {
            (Some(view), _) => Some(view.shape.to_vec()),
            (None, Some(ValueType::Tensor { shape, .. })) => Some(shape.to_vec()),
            _ => None,
        }
    }

    /// Runs a piece on these values.
    ///
    /// # Errors
    /// `RuntimeFailed`, `Cancelled`.
    pub(super) fn run<'s, 'n>(
        &mut self,
        session: &'s mut ort::session::Session,
        names: impl Iterator<Item = &'n str>,
        options: &'s RunOptions<NoSelectedOutputs>,
        progress: &Progress<'_>,
    ) -> Result<SessionOutputs<'s>> {
        let input = |name: &'n str| -> Result<(Cow<'n, str>, SessionInputValue<'_>)> {
            let value = match (self.given.get(name), self.alive.get(name)) {
                (Some(view), _) => to_input(view)?,
                (None, Some(value)) => (&**value).into(),
                (None, None) => return Err(BackendError::internal(format!("`{name}` was not passed on"))),
            };
            Ok((Cow::Borrowed(name), value))
        };
        let inputs = names.map(input).collect::<Result<Vec<_>>>()?;
        let start = Instant::now();
        let outputs = execute(session, inputs, options, true, progress);
        self.elapsed += start.elapsed();
        outputs
    }
}

/// The run options of all pieces.
///
/// # Errors
/// `RuntimeFailed`.
pub(super) fn options() -> Result<RunOptions<NoSelectedOutputs>> {
    RunOptions::new().map_err(|error| explain(&error, "ONNX Runtime cannot start a run"))
}

/// A builder of sessions that take their memory from the arena that all of them share.
///
/// # Errors
/// Those of the runtime.
pub(super) fn environment_builder(loaded: &Loaded, settings: Settings) -> ort::Result<SessionBuilder> {
    let builder = builder(&loaded.environment, settings, Some(loaded.threads))?;
    Ok(builder.with_env_allocators()?.with_memory_pattern(false)?)
}

/// The error for a requested value that was not computed.
pub(super) fn not_computed(name: &str) -> BackendError {
    BackendError::runtime_failed(format!("{NAME} did not compute `{name}`"))
}

/// The memory that a model's stored tensors take in a session.
pub(super) fn stored_bytes(model: &ModelProto) -> u64 {
    let tensors = model.graph.iter().flat_map(|graph| &graph.initializer);
    tensors.map(tensor_bytes).fold(0, u64::saturating_add)
}

/// What a stored tensor takes in a session.
pub(super) fn tensor_bytes(tensor: &TensorProto) -> u64 {
    let elements = element_count(&tensor.dims).unwrap_or(0);
    dtype(tensor.data_type).packed_bytes(elements).unwrap_or(0)
}

/// The element type of a tensor; `None` for anything else.
pub(super) fn dtype_of_value(value: &DynValue) -> Option<DType> {
    match value.dtype() {
        ValueType::Tensor { ty, .. } => dtype_of(*ty),
        _ => None,
    }
}

/// The sizes of values, as far as their shapes follow from the inputs'.
pub(super) struct Sizes<'a> {
    values: HashMap<&'a str, &'a ValueInfo>,
    symbols: HashMap<&'a str, i64>,
}

impl<'a> Sizes<'a> {
    pub(super) fn of(info: &'a ModelInfo, plan: &Plan<'a>) -> Self {
        let values = info.values.iter().chain(&info.outputs).chain(&info.inputs);
        let values: HashMap<&str, _> = values.map(|value| (value.name.as_str(), value)).collect();
        let mut symbols = HashMap::new();
        for (name, view) in &plan.inputs {
            let declared = values.get(name).and_then(|value| value.shape.as_ref().into_option());
            for (dimension, size) in declared.into_iter().flatten().zip(view.shape.as_slice()) {
                if !dimension.symbol.is_empty() {
                    symbols.insert(dimension.symbol.as_str(), *size);
                }
            }
        }
        Self { values, symbols }
    }

    pub(super) fn bytes(&self, name: &str) -> Option<u64> {
        let value = self.values.get(name)?;
        let size = |dimension: &Dimension| match dimension.size {
            size if size >= 0 => Some(size),
            _ => self.symbols.get(dimension.symbol.as_str()).copied(),
        };
        let shape: Vec<i64> = value.shape.as_ref().into_option()?.iter().map(size).collect::<Option<_>>()?;
        let dtype = if value.dtype == DType::UNDEFINED { DType::FLOAT32 } else { value.dtype };
        dtype.packed_bytes(element_count(&shape)?)
    }
}
