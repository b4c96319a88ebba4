//! A loaded TorchScript module.

use crate::backend::not_here;
use crate::error::failed;
use crate::{shim, tensor};
use qp_abi::manifest::pair;
use qp_abi::sdk::{
    self, BackendError, Fetch, ModelInfo, Pair, Progress, Result, RunReport, RunRequest, Sink, lookup,
};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::Instant;
use tch::{CModule, IValue, Tensor};

/// Threads that libtorch uses unless a run wants another number.
static DEFAULT_THREADS: OnceLock<i32> = OnceLock::new();
const MAX_THREADS: i32 = 1024;

/// A module in libtorch's memory.
pub struct Model {
    module: Mutex<Module>,
    threads: Option<i32>,
}

/// A module of libtorch's.
struct Module(CModule);

#[expect(unsafe_code, reason = "libtorch's modules may move between threads")]
// SAFETY: a `CModule` owns a reference-counted module of libtorch, which is bound to no thread; the mutex
// around it keeps two threads from using it at once.
unsafe impl Send for Module {}

impl Model {
    /// Loads the file at `path`.
    ///
    /// # Errors
    /// `RuntimeFailed` when libtorch refuses it, `InvalidInput` for an unknown option.
    pub(crate) fn load(path: PathBuf, options: &[Pair], progress: &Progress<'_>) -> Result<Self> {
        shim::silence();
        DEFAULT_THREADS.get_or_init(tch::get_num_threads);
        let threads = threads(options)?;
        progress.update("loading into libtorch", 0, 0)?;
        let mut module = CModule::load(&path).map_err(|error| {
            failed(&format!("libtorch cannot load `{}`", path.display()), &error).with_help(
                "Save the model again with the PyTorch that made it, or inspect it without running it.",
            )
        })?;
        module
            .f_set_eval()
            .map_err(|error| failed("libtorch cannot set the module to evaluation", &error))?;
        Ok(Self { module: Mutex::new(Module(module)), threads })
    }
}

impl sdk::Model for Model {
    fn info(&self) -> Result<ModelInfo> {
        Err(not_here())
    }

    fn read_tensor(&self, _name: &str, _sink: &mut Sink<'_>, _progress: &Progress<'_>) -> Result<()> {
        Err(not_here())
    }

    /// Runs `forward` with the inputs in the order of the request. `names` are those of the outputs, in
    /// order; outputs beyond them, and all when their number differs, are called `output_0`, `output_1`, …
    fn run(
        &self,
        request: &RunRequest<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<RunReport> {
        if request.fetch != Fetch::OUTPUTS {
            return Err(BackendError::unsupported_op("the engine delivers the outputs of a model only"));
        }
        shim::silence();
        let threads = threads(request.options.as_slice())?.or(self.threads);
        let threads = threads.or(DEFAULT_THREADS.get().copied()).unwrap_or(1);
        let inputs = request.inputs.iter().map(|view| Ok(IValue::Tensor(tensor::input(view)?)));
        let inputs: Vec<IValue> = inputs.collect::<Result<_>>()?;
        let module = self.module.lock().map_err(|_| BackendError::internal("an earlier run panicked"))?;
        progress.update("running", 0, 0)?;
        if tch::get_num_threads() != threads {
            tch::set_num_threads(threads);
        }
        let start = Instant::now();
        let result = tch::no_grad(|| module.0.forward_is(&inputs));
        let elapsed = start.elapsed();
        let result = result.map_err(|error| failed("libtorch failed to run the model", &error))?;
        drop(module);
        // libtorch cannot be interrupted: what was asked meanwhile is answered now.
        progress.update("running", 1, 1)?;
        let outputs = tensor::flatten(result)?;
        tch::no_grad(|| deliver(&outputs, request, sink))?;
        Ok(RunReport {
            runtime: "libtorch".into(),
            runtime_version: shim::version().into(),
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            settings: vec![
                pair("threads", threads.to_string()),
                pair("qengine", shim::quantized_engine()),
                pair("device", "cpu"),
                pair("mode", "eval"),
            ]
            .into(),
        })
    }
}

fn deliver(
    outputs: &[(Option<String>, Tensor)],
    request: &RunRequest<'_>,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let has_names = outputs.len() == request.names.len();
    for (index, (key, output)) in outputs.iter().enumerate() {
        let given = request.names.get(index).filter(|_| has_names).map(|name| name.to_string());
        let name = given.or_else(|| key.clone());
        let name = name.unwrap_or_else(|| {
            if outputs.len() == 1 { "output".to_owned() } else { format!("output_{index}") }
        });
        tensor::deliver(&name, output, sink)?;
    }
    Ok(())
}

/// The option `threads`; any other is refused.
fn threads(options: &[Pair]) -> Result<Option<i32>> {
    if let Some(unknown) = options.iter().find(|option| option.0 != "threads") {
        return Err(BackendError::invalid_input(format!("option `{}` is unknown to libtorch", unknown.0))
            .with_help("Use `threads`."));
    }
    let Some(text) = lookup(options, "threads") else { return Ok(None) };
    let number = text.parse().ok().filter(|number| (1..=MAX_THREADS).contains(number));
    let message = || BackendError::invalid_input(format!("option `threads` is `{text}`"));
    number.map(Some).ok_or_else(|| message().with_help(format!("Use a number from 1 to {MAX_THREADS}.")))
}
