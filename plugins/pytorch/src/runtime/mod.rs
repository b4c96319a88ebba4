//! The native half: libtorch and the engine that links it, opened at the first run.

mod capture;
mod library;
mod search;

pub use capture::Prepared;
use library::Engine;
use qp_abi::abi_stable::std_types::RSlice;
use qp_abi::manifest::Pair;
use qp_abi::sdk::{
    BackendError, DType, ModelInfo, Progress, RNone, RSome, Result, RunRequest, RuntimeStatus, Setup,
    TensorView,
};
use search::Found;
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

    /// Hands the file at `path` to the engine, which is opened now if it was not.
    ///
    /// # Errors
    /// `RuntimeMissing` when libtorch or the engine is not there, `RuntimeFailed` when they refuse.
    pub fn open(
        &self,
        path: &Path,
        options: &[Pair],
        info: &ModelInfo,
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
        let model =
            engine.backend.open(path.into(), RSlice::from_slice(options), progress.as_raw()).into_result()?;
        let computed = model.info().into_result()?;
        Ok(Prepared { model, values: capture::values(info, &computed) })
    }
}

/// The inputs of the request in the order of `forward`, checked before libtorch sees them.
fn in_order<'a>(info: &ModelInfo, request: &RunRequest<'a>) -> Result<Vec<TensorView<'a>>> {
    let expected = || {
        let names: Vec<String> = info.inputs.iter().map(|input| format!("`{}`", input.name)).collect();
        format!("The model takes {}.", names.join(", "))
    };
    for (index, view) in request.inputs.iter().enumerate() {
        if !info.inputs.iter().any(|input| input.name == view.name.as_str()) {
            return Err(BackendError::invalid_input(format!("the model has no input `{}`", view.name))
                .with_help(expected()));
        }
        if request.inputs.iter().take(index).any(|earlier| earlier.name == view.name) {
            return Err(BackendError::invalid_input(format!("input `{}` is given twice", view.name)));
        }
    }
    let views = info.inputs.iter().map(|input| {
        let view = request.inputs.iter().find(|view| input.name == view.name.as_str()).ok_or_else(|| {
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
