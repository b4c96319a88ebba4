//! The native half: libtorch and the engine that links it, opened at the first run.

mod library;
mod search;

use library::Engine;
use qp_abi::abi_stable::RMut;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::{RSlice, RString, RVec};
use qp_abi::manifest::Pair;
use qp_abi::sdk::{
    BackendError, DType, Fetch, ModelBox, ModelInfo, Progress, RNone, ROption, RSome, Result, RunReport,
    RunRequest, RuntimeStatus, Setup, Sink, TensorView,
};
use qp_abi::sink::{FnSink, TensorSink_TO};
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
    pub fn open(&self, path: &Path, options: &[Pair], progress: &Progress<'_>) -> Result<ModelBox> {
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
        engine.backend.open(path.into(), RSlice::from_slice(options), progress.as_raw()).into_result()
    }

    /// Runs a model that the engine has opened.
    ///
    /// # Errors
    /// `InvalidInput` for inputs and options that do not fit, `NotFound` for outputs that do not exist,
    /// `RuntimeFailed`, and what the sink and the progress answer.
    pub fn run(
        &self,
        model: &ModelBox,
        info: &ModelInfo,
        request: &RunRequest<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<RunReport> {
        let inputs = in_order(info, request)?;
        let names: Vec<RString> = info.outputs.iter().map(|output| output.name.clone()).collect();
        let all = RunRequest {
            inputs: RSlice::from_slice(&inputs),
            fetch: Fetch::OUTPUTS,
            names: RSlice::from_slice(&names),
            options: request.options,
        };
        match request.fetch {
            Fetch::OUTPUTS => model.run(all, sink.as_raw(), progress.as_raw()).into_result(),
            Fetch::NAMED => {
                let wanted = request.names.as_slice();
                if let Some(missing) = wanted.iter().find(|name| !names.contains(name)) {
                    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                    return Err(BackendError::not_found(format!("the model has no output `{missing}`"))
                        .with_help(format!("Fetch one of {}.", names.join(", "))));
                }
                let mut kept = Vec::new();
                let report = {
                    let mut keep = FnSink(|view: TensorView<'_>| {
                        if wanted.contains(&RString::from(view.name.as_str())) {
                            kept.push(Kept::of(&view));
                        }
                        Ok(())
                    });
                    let keep = TensorSink_TO::from_ptr(RMut::new(&mut keep), TD_Opaque);
                    model.run(all, keep, progress.as_raw()).into_result()?
                };
                for name in wanted {
                    for kept in kept.iter().filter(|kept| kept.name == *name) {
                        sink.tensor(kept.view())?;
                    }
                }
                Ok(report)
            }
            _ => Err(BackendError::unsupported_op("this backend delivers the outputs of a model only")),
        }
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

/// A tensor kept until all are there.
struct Kept {
    name: RString,
    dtype: DType,
    shape: RVec<i64>,
    bytes: Vec<u8>,
    first_element: u64,
    quantization: ROption<qp_abi::QuantizationParameters>,
}

impl Kept {
    fn of(view: &TensorView<'_>) -> Self {
        Self {
            name: view.name.into(),
            dtype: view.dtype,
            shape: view.shape.to_vec().into(),
            bytes: view.bytes.to_vec(),
            first_element: view.first_element,
            quantization: view.quantization.map(Clone::clone),
        }
    }

    fn view(&self) -> TensorView<'_> {
        TensorView {
            first_element: self.first_element,
            quantization: self.quantization.as_ref(),
            ..TensorView::whole(&self.name, self.dtype, &self.shape, &self.bytes)
        }
    }
}
