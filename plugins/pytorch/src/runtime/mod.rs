//! The native half: libtorch and the engine that links it, opened at the first run.

mod capture;
mod library;
mod search;

use crate::document::Document;
use crate::program::{Program, STORE};
pub use capture::Prepared;
use library::Engine;
use qp_abi::abi_stable::RMut;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::RSlice;
use qp_abi::manifest::{Pair, pair};
use qp_abi::sdk::{
    BackendError, DType, Fetch, ModelBox, ModelInfo, Progress, RNone, RSome, Result, RunRequest,
    RuntimeStatus, Setup, TensorView, ValueInfo,
};
use qp_abi::sink::{FnSink, TensorSink_TO};
use search::Found;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Mutex;

/// Finds libtorch and the engine, and keeps the engine once it is open.
pub struct Runtime {
    setup: Setup,
    engine: Mutex<Option<Engine>>,
}

impl Runtime {
    /// Loads nothing.
    pub fn new(setup: Setup) -> Self {
        Self { setup, engine: Mutex::new(None) }
    }

    /// Whether libtorch and the engine are there.
    pub fn status(&self) -> RuntimeStatus {
        let is_loaded = self.engine.lock().is_ok_and(|engine| engine.is_some());
        let (version, path, obstacle) = match search::find(&self.setup) {
            Ok(Found { libtorch, version, .. }) => (version, libtorch.display().to_string(), RNone),
            Err(error) => (search::WANTED_VERSION.to_owned(), String::new(), RSome(error)),
        };
        RuntimeStatus {
            name: "libtorch".into(),
            version: version.into(),
            path: path.into(),
            is_loaded,
            obstacle,
        }
    }

    /// Hands the model at `path` to the engine, which is opened now if it was not: a file that libtorch loads by
    /// itself, or the program that was read from it, with its stored tensors.
    ///
    /// # Errors
    /// `RuntimeMissing` when libtorch or the engine is not there, `RuntimeFailed` when they refuse.
    pub fn open(
        &self,
        path: &Path,
        options: &[Pair],
        document: &Document,
        progress: &Progress<'_>,
    ) -> Result<Prepared> {
        let mut engine =
            self.engine.lock().map_err(|_| BackendError::internal("opening the engine panicked"))?;
        let engine = match &mut *engine {
            Some(engine) => engine,
            none => {
                progress.update("loading libtorch", 0, 0)?;
                none.insert(Engine::open(&search::find(&self.setup)?)?)
            }
        };
        let path =
            path.to_str().ok_or_else(|| BackendError::invalid_input("the path of the file is no UTF-8"))?;
        let mut options = options.to_vec();
        if let Some(program) = &document.program {
            let text = serde_json::to_string(program).map_err(|error| {
                BackendError::internal("the program cannot be written").with_cause(error.to_string())
            })?;
            options.push(pair("program", text));
        }
        let model = engine
            .backend
            .open(path.into(), RSlice::from_slice(&options), progress.as_raw())
            .into_result()?;
        let computed = model.info().into_result()?;
        let values = match &document.program {
            Some(program) => {
                store(&model, program, document, progress)?;
                computed.layers.into_iter().flat_map(|layer| layer.outputs).collect()
            }
            None => capture::values(&document.info, &computed),
        };
        Ok(Prepared { model, values })
    }
}

/// Gives the engine the stored tensors of a program, borrowed from the file where they lie in it as they are.
fn store(model: &ModelBox, program: &Program, document: &Document, progress: &Progress<'_>) -> Result<()> {
    let mut tensors = Vec::with_capacity(program.stored.len());
    let described = document.described();
    for stored in &program.stored {
        let known = document.tensors.get(&stored.name).zip(described.get(stored.name.as_str()));
        let (tensor, info) = known.ok_or_else(|| {
            BackendError::internal(format!(
                "the program reads `{}`, which the file does not have",
                stored.name
            ))
        })?;
        let quantization = if stored.is_quantized { info.quantization.as_ref() } else { RNone };
        let tensor = document.raw.get(&stored.name).unwrap_or(tensor);
        tensors.push((tensor, info.name.as_str(), quantization, tensor.dense(&document.data)?));
    }
    let views: Vec<TensorView<'_>> = tensors
        .iter()
        .map(|(tensor, name, quantization, bytes)| TensorView {
            quantization: *quantization,
            ..TensorView::whole(name, tensor.dtype, &tensor.shape, bytes)
        })
        .collect();
    let request = RunRequest {
        inputs: RSlice::from_slice(&views),
        fetch: Fetch(STORE),
        names: RSlice::EMPTY,
        options: RSlice::EMPTY,
    };
    let mut nothing = FnSink(|_: TensorView<'_>| Ok(()));
    let nothing = TensorSink_TO::from_ptr(RMut::new(&mut nothing), TD_Opaque);
    model.run(request, nothing, progress.as_raw()).into_result().map(drop)
}

/// The inputs of the request in the order of `forward`, checked before libtorch sees them.
fn in_order<'a>(info: &ModelInfo, request: &RunRequest<'a>) -> Result<Vec<TensorView<'a>>> {
    let expected = || {
        let names: Vec<String> = info.inputs.iter().map(|input| format!("`{}`", input.name)).collect();
        format!("The model takes {}.", names.join(", "))
    };
    let known: HashSet<&str> = info.inputs.iter().map(|input| input.name.as_str()).collect();
    let mut given: HashMap<&str, &TensorView<'a>> = HashMap::new();
    for view in request.inputs.as_slice() {
        let name = view.name.as_str();
        if !known.contains(name) {
            return Err(
                BackendError::invalid_input(format!("the model has no input `{name}`")).with_help(expected())
            );
        }
        if given.insert(name, view).is_some() {
            return Err(BackendError::invalid_input(format!("input `{name}` is given twice")));
        }
    }
    let is_there = |input: &&ValueInfo| !input.is_optional || given.contains_key(input.name.as_str());
    let views = info.inputs.iter().filter(is_there).map(|input| {
        let view = *given.get(input.name.as_str()).ok_or_else(|| {
            BackendError::invalid_input(format!("input `{}` is missing", input.name)).with_help(expected())
        })?;
        if input.dtype != DType::UNDEFINED && input.dtype != view.dtype {
            let message =
                format!("input `{}` is {}, the model takes {}", input.name, view.dtype, input.dtype);
            return Err(BackendError::invalid_input(message));
        }
        if let RSome(shape) = &input.shape
            && shape.len() != view.shape.len()
        {
            let message = format!(
                "input `{}` has {} dimensions, the model takes {}",
                input.name,
                view.shape.len(),
                shape.len()
            );
            return Err(BackendError::invalid_input(message));
        }
        Ok(*view)
    });
    views.collect()
}
