//! A capture in pieces: the values of one piece are delivered and let go before the next is run.

use super::pieces::{Piece, cut};
use super::plan::{Optimization, Plan, Settings};
use super::session::{builder, check_source, execute, explain, report, with_external};
use super::tensor::{deliver, dtype_of, to_input};
use super::{NAME, Runtime};
use crate::proto::type_proto::{Tensor, Value};
use crate::proto::{ModelProto, TypeProto, decode_model, dtype};
use crate::source::Source;
use ort::session::{RunOptions, SessionInputValue};
use ort::value::{DynValue, ValueType};
use prost::Message;
use qp_abi::sdk::{
    BackendError, DType, ModelInfo, Progress, Result, RunReport, Sink, TensorView, element_count,
};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Sessions are kept while what they store is not more than so many budgets.
const HEAVY: u64 = 4;

/// A model of which each piece has a session.
#[derive(Debug)]
pub struct Piecewise {
    settings: Settings,
    wanted: Vec<String>,
    /// The bytes of the inputs that the pieces were cut for.
    input_bytes: u64,
    model: ModelProto,
    pieces: Vec<Prepared>,
    has_external: bool,
    /// Whether a session is let go when its piece was run: all of them together would take more than a new one costs.
    is_heavy: bool,
    threads: usize,
    version: String,
}

#[derive(Debug)]
struct Prepared {
    piece: Piece,
    session: Option<ort::session::Session>,
    /// Values of earlier pieces that no later one reads.
    last: Vec<String>,
}

/// How far a run came.
pub enum Outcome {
    /// To its end.
    Done(RunReport),
    /// A value that is no tensor would have to be handed on; these were delivered.
    Stuck(HashSet<String>),
}

impl Piecewise {
    /// Cuts the model for what the plan wants; without pieces where the graph cannot be cut. `None` where it is better run
    /// whole: nothing is captured, the graph may be changed by the runtime, no budget is given, or all fits.
    ///
    /// # Errors
    /// Those of [`Runtime::load`] and of decoding the file.
    pub fn prepare(
        runtime: &Runtime,
        source: &Source,
        info: &ModelInfo,
        plan: &Plan<'_>,
        progress: &Progress<'_>,
    ) -> Result<Option<Self>> {
        let Some(budget) = plan.settings.budget else { return Ok(None) };
        if plan.captured.is_empty() || plan.settings.optimization != Optimization::Disable {
            return Ok(None);
        }
        let sizes = Sizes::of(info, plan);
        let known: Option<u64> = plan.wanted.iter().map(|name| sizes.bytes(name)).sum();
        if known.is_some_and(|bytes| bytes <= budget) {
            return Ok(None);
        }
        progress.update("cutting the model into pieces", 0, 0)?;
        let mut has_external = info.tensors.iter().any(|tensor| !tensor.external_file.is_empty());
        check_source(source, has_external)?;
        let mut model = decode_model(source.bytes(), &source.name())?;
        let Some(graph) = &mut model.graph else { return Ok(None) };
        has_external |= source.refer(&mut graph.initializer);
        let cut = cut(graph, &plan.wanted, &|name| sizes.bytes(name), budget);
        let mut pieces = cut.unwrap_or_default();
        let others = info.values.iter().chain(&info.outputs).filter(|value| !value.type_name.is_empty());
        let others: HashSet<&str> = others.map(|value| value.name.as_str()).collect();
        if pieces.iter().any(|piece| piece.hands_on.iter().any(|name| others.contains(name.as_str()))) {
            pieces.clear();
        }
        let mut last: HashMap<&str, usize> = HashMap::new();
        for (index, piece) in pieces.iter().enumerate() {
            last.extend(piece.takes.iter().map(|name| (name.as_str(), index)));
        }
        let mut ends: Vec<Vec<String>> = vec![Vec::new(); pieces.len()];
        for (name, index) in last {
            ends[index].push(name.to_owned());
        }
        let pieces = pieces.into_iter().zip(ends);
        let loaded = runtime.load()?;
        Ok(Some(Self {
            settings: plan.settings,
            wanted: plan.wanted.iter().map(|name| (*name).to_owned()).collect(),
            input_bytes: plan.input_bytes(),
            pieces: pieces.map(|(piece, last)| Prepared { piece, session: None, last }).collect(),
            is_heavy: stored_bytes(&model) > budget.saturating_mul(HEAVY),
            model,
            has_external,
            threads: plan.settings.threads.unwrap_or(loaded.threads),
            version: loaded.version.to_string(),
        }))
    }

    /// Whether there are any.
    pub fn is_cut(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// From now on the model is run whole.
    pub fn give_up(&mut self) {
        self.pieces.clear();
    }

    /// Whether it is cut as the plan needs it.
    pub fn fits(&self, plan: &Plan<'_>) -> bool {
        self.settings == plan.settings
            && plan.input_bytes() <= self.input_bytes
            && self.wanted.len() == plan.wanted.len()
            && self.wanted.iter().zip(&plan.wanted).all(|(ours, wanted)| ours == wanted)
    }

    /// Runs piece after piece, and delivers the wanted values of each before the next.
    ///
    /// # Errors
    /// `RuntimeFailed`, `Cancelled`, or the sink's own.
    pub fn run(
        &mut self,
        runtime: &Runtime,
        source: &Source,
        plan: &Plan<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<Outcome> {
        progress.update("running", 0, 0)?;
        let given: HashMap<&str, &TensorView<'_>> =
            plan.inputs.iter().map(|(name, view)| (*name, view)).collect();
        let mut alive: HashMap<String, DynValue> = HashMap::new();
        let mut delivered = HashSet::new();
        let mut elapsed = Duration::ZERO;
        for prepared in &mut self.pieces {
            let session = match &mut prepared.session {
                Some(session) => session,
                empty => {
                    let Some(types) = types(&prepared.piece, &given, &alive) else {
                        return Ok(Outcome::Stuck(delivered));
                    };
                    let piece = prepared
                        .piece
                        .model(&self.model, |name| types.get(name).cloned().unwrap_or_default());
                    empty.insert(open(runtime, source, self.settings, self.has_external, &piece)?)
                }
            };
            let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::new();
            for name in &prepared.piece.takes {
                let value = match (given.get(name.as_str()), alive.get(name)) {
                    (Some(view), _) => to_input(view)?,
                    (None, Some(value)) => value.into(),
                    (None, None) => {
                        return Err(BackendError::internal(format!("`{name}` was not handed on")));
                    }
                };
                inputs.push((Cow::Borrowed(name.as_str()), value));
            }
            let options =
                RunOptions::new().map_err(|error| explain(&error, "ONNX Runtime cannot start a run"))?;
            let start = Instant::now();
            let outputs = execute(session, inputs, &options, true, progress);
            elapsed += start.elapsed();
            let mut outputs = outputs?;
            for name in &prepared.piece.gives {
                let lost = || BackendError::runtime_failed(format!("{NAME} did not compute `{name}`"));
                deliver(name, outputs.get(name).ok_or_else(lost)?, sink)?;
                delivered.insert(name.clone());
            }
            for name in &prepared.piece.hands_on {
                alive.extend(outputs.remove(name).map(|value| (name.clone(), value)));
            }
            drop(outputs);
            if self.is_heavy {
                prepared.session = None;
            }
            for name in &prepared.last {
                alive.remove(name);
            }
            progress.update("running", delivered.len() as u64, plan.wanted.len() as u64)?;
        }
        Ok(Outcome::Done(report(&self.version, self.settings, self.threads, elapsed, None)))
    }
}

/// What the stored tensors of a model take in a session.
pub(super) fn stored_bytes(model: &ModelProto) -> u64 {
    let tensors = model.graph.iter().flat_map(|graph| &graph.initializer);
    let bytes = tensors.map(|tensor| {
        let elements = element_count(&tensor.dims).unwrap_or(0);
        dtype(tensor.data_type).packed_bytes(elements).unwrap_or(0)
    });
    bytes.fold(0, u64::saturating_add)
}

/// The types of what a piece takes; `None` where one of these is no tensor.
fn types(
    piece: &Piece,
    given: &HashMap<&str, &TensorView<'_>>,
    alive: &HashMap<String, DynValue>,
) -> Option<HashMap<String, TypeProto>> {
    let of = |name: &String| -> Option<(String, TypeProto)> {
        let dtype = match given.get(name.as_str()) {
            Some(view) => view.dtype,
            None => dtype_of_value(alive.get(name)?)?,
        };
        let tensor = Tensor { elem_type: Some(i32::from(dtype.0)), shape: None };
        Some((name.clone(), TypeProto { value: Some(Value::TensorType(tensor)), denotation: None }))
    };
    piece.takes.iter().map(of).collect()
}

/// The element type of a tensor; `None` for what is none.
pub(super) fn dtype_of_value(value: &DynValue) -> Option<DType> {
    match value.dtype() {
        ValueType::Tensor { ty, .. } => dtype_of(*ty),
        _ => None,
    }
}

/// Prepares a piece.
///
/// # Errors
/// Those of [`Runtime::load`], and what the runtime says of the piece.
pub(super) fn open(
    runtime: &Runtime,
    source: &Source,
    settings: Settings,
    has_external: bool,
    piece: &ModelProto,
) -> Result<ort::session::Session> {
    let loaded = runtime.load()?;
    let refused = |error: &ort::Error| explain(error, &format!("{NAME} refuses `{}`", source.name()));
    let mut builder =
        builder(&loaded.environment, settings, Some(loaded.threads)).map_err(|error| refused(&error))?;
    // An arena would keep the memory of each piece until the end.
    let no_arena = ort::ep::CPU::default().with_arena_allocator(false).build();
    builder = builder
        .with_execution_providers([no_arena])
        .and_then(|builder| builder.with_memory_pattern(false))
        .map_err(|error| refused(&error.into()))?;
    if has_external {
        builder = with_external(builder, source)?;
    }
    builder.commit_from_memory(&piece.encode_to_vec()).map_err(|error| refused(&error))
}

/// The sizes of values, as far as their shapes are known once the inputs are.
pub(super) struct Sizes<'a> {
    values: HashMap<&'a str, &'a qp_abi::sdk::ValueInfo>,
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
        let size = |dimension: &qp_abi::sdk::Dimension| match dimension.size {
            size if size >= 0 => Some(size),
            _ => self.symbols.get(dimension.symbol.as_str()).copied(),
        };
        let shape: Vec<i64> = value.shape.as_ref().into_option()?.iter().map(size).collect::<Option<_>>()?;
        let dtype = if value.dtype == DType::UNDEFINED { DType::FLOAT32 } else { value.dtype };
        dtype.packed_bytes(element_count(&shape)?)
    }
}
