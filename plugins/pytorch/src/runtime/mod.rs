//! The native half: libtorch and the engine that links it, opened at the first run.

mod capture;
mod inputs;
mod library;
mod search;

use crate::document::Document;
pub use capture::Prepared;
use qp_abi::abi_stable::std_types::RSlice;
use qp_abi::sdk::{BackendError, Pair, Progress, RNone, RSome, Result, RuntimeStatus, Setup, TensorView};
use qp_pytorch_contract::program::Program;
use qp_pytorch_contract::{EngineBox, ModelBox};
use search::Found;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Finds libtorch and the engine, and keeps the engine once it is open.
pub struct Runtime {
    setup: Mutex<Setup>,
    engine: Mutex<Option<EngineBox>>,
}

impl Runtime {
    /// Loads nothing.
    pub fn new(setup: Setup) -> Self {
        Self { setup: Mutex::new(setup), engine: Mutex::new(None) }
    }

    /// One more folder to search for libtorch, after all others.
    pub fn add_folder(&self, folder: &str) {
        let mut setup = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        setup.runtime_folders.push(folder.into());
    }

    fn find(&self) -> Result<Found> {
        search::find(&self.setup.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether libtorch and the engine are there.
    pub fn status(&self) -> RuntimeStatus {
        let is_loaded = self.engine.lock().is_ok_and(|engine| engine.is_some());
        let (version, path, obstacle) = match self.find() {
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
                none.insert(library::open(&self.find()?)?)
            }
        };
        let options = RSlice::from_slice(options);
        let Some(program) = &document.program else {
            let path = path
                .to_str()
                .ok_or_else(|| BackendError::invalid_input("the path of the file is not UTF-8"))?;
            let model = engine.load(path.into(), options, progress.as_raw()).into_result()?;
            let values = capture::values(&document.info, model.values().into_result()?.as_slice());
            return Ok(Prepared { model, values });
        };
        let model = prepared(engine, program, document, options, progress)?;
        let values = model.values().into_result()?.into();
        Ok(Prepared { model, values })
    }
}

/// Gives the engine a program with its stored tensors, borrowed from the file where they lie in it as they are.
fn prepared(
    engine: &EngineBox,
    program: &Program,
    document: &Document,
    options: RSlice<'_, Pair>,
    progress: &Progress<'_>,
) -> Result<ModelBox> {
    let mut tensors = Vec::with_capacity(program.stored.len());
    let described = document.described();
    for stored in &program.stored {
        let known = document.tensors.get(stored.name.as_str()).zip(described.get(stored.name.as_str()));
        let (tensor, info) = known.ok_or_else(|| {
            BackendError::internal(format!(
                "the program reads `{}`, which the file does not have",
                stored.name
            ))
        })?;
        let quantization = if stored.is_quantized { info.quantization.as_ref() } else { RNone };
        let tensor = document.raw.get(stored.name.as_str()).unwrap_or(tensor);
        tensors.push((tensor, info.name.as_str(), quantization, tensor.dense(&document.data)?));
    }
    let views: Vec<TensorView<'_>> = tensors
        .iter()
        .map(|(tensor, name, quantization, bytes)| TensorView {
            quantization: *quantization,
            ..TensorView::whole(name, tensor.dtype, &tensor.shape, bytes)
        })
        .collect();
    engine.prepare(program, RSlice::from_slice(&views), options, progress.as_raw()).into_result()
}
