//! An open model.

use super::written::Written;
use crate::code::{self, Wanted};
use crate::container::deep;
use crate::document::Document;
use crate::export;
use crate::kernels::{self, Profile};
use crate::runtime::{Prepared, Runtime};
use qp_abi::abi_stable::std_types::RSlice;
use qp_abi::sdk::boundary::model_object;
use qp_abi::sdk::{
    self, BackendError, Edit, ErrorKind, Kernels, KernelsOf, ModelBox, ModelInfo, Pair, Progress,
    Quantizable, QuantizableOf, ROption, Result, RunReport, RunRequest, Sink, watched,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Options that a model is prepared with: weights are packed for an engine, and kept in a precision.
const PREPARED: [&str; 2] = ["qengine", "precision"];

/// A model of this backend.
pub struct Model {
    document: Document,
    path: PathBuf,
    options: Vec<Pair>,
    runtime: Arc<Runtime>,
    /// The model as the engine has prepared it for the last run, and with which options.
    prepared: Mutex<Option<(Vec<Pair>, Prepared)>>,
    /// The runs since the last request for their times.
    profile: Mutex<Profile>,
}

impl Model {
    /// The model of a file that was read.
    pub fn new(document: Document, path: PathBuf, options: &[Pair], runtime: Arc<Runtime>) -> Self {
        Self {
            document,
            path,
            options: options.to_vec(),
            runtime,
            prepared: Mutex::new(None),
            profile: Mutex::default(),
        }
    }
}

impl Model {
    /// Notes what the layers took in a run that is profiled.
    fn note(&self, folder: &str, elapsed_ns: u64, model: &Prepared) -> Result<()> {
        let mut profile = self.profile.lock().unwrap_or_else(PoisonError::into_inner);
        if profile.folder != folder {
            *profile = Profile { folder: folder.to_owned(), values: model.computed()?, runs: Vec::new() };
        }
        profile.runs.push((elapsed_ns, model.times()?));
        Ok(())
    }

    /// What `work` returns, or the error of a file that changed meanwhile.
    fn watched<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        watched(|| self.document.data.files(), work).unwrap_or_else(|changed| {
            // It may have been prepared from anything.
            *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = None;
            Err(changed)
        })
    }
}

/// What the model does; [`sdk::Model`] watches the files meanwhile.
impl Model {
    fn deliver(&self, name: &str, sink: &mut Sink<'_>, progress: &Progress<'_>) -> Result<()> {
        let (tensor, info) = self.document.tensor(name)?;
        if !info.type_name.is_empty() && tensor.book().is_none() {
            return Err(BackendError::unsupported_op(format!(
                "`{name}` has the unknown type {}",
                info.type_name
            )));
        }
        let quantization = match &info.quantization {
            ROption::RSome(parameters) => Some(parameters),
            ROption::RNone => None,
        };
        tensor.deliver(name, &self.document.data, quantization, sink, progress)
    }

    fn compute(
        &self,
        request: &RunRequest<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<RunReport> {
        if let ROption::RSome(obstacle) = &self.document.info.run_obstacle {
            return Err(obstacle.clone());
        }
        let mut prepared =
            self.prepared.lock().map_err(|_| BackendError::internal("an earlier run panicked"))?;
        let all = self.options.iter().chain(request.options.as_slice()).cloned();
        let (fixed, of_run): (Vec<Pair>, Vec<Pair>) =
            all.partition(|option| PREPARED.contains(&option.0.as_str()));
        let model = match prepared.take() {
            Some((options, model)) if options == fixed => model,
            _ => {
                let opened = self.runtime.open(&self.path, &fixed, &self.document, progress);
                opened.map_err(|error| with_layer(error, &self.document))?
            }
        };
        let (fixed, model) = prepared.insert((fixed, model));
        let has_precision = fixed.iter().any(|option| option.0 == "precision");
        let request = RunRequest { options: RSlice::from_slice(&of_run), ..*request };
        let ran = model.run(&self.document.info, &request, sink, progress);
        if let (Ok(report), Some(folder)) = (&ran, sdk::lookup(&of_run, sdk::PROFILE)) {
            self.note(folder, report.elapsed_ns, model)?;
        }
        ran.map_err(|error| if has_precision { error } else { with_precision(error, &self.document.info) })
    }
}

impl sdk::Model for Model {
    fn info(&self) -> Result<ModelInfo> {
        Ok(self.document.info.clone())
    }

    fn read_tensor(&self, name: &str, sink: &mut Sink<'_>, progress: &Progress<'_>) -> Result<()> {
        let (tensor, _) = self.document.tensor(name)?;
        let files = || self.document.data.files_of(&tensor.place);
        watched(files, || self.deliver(name, sink, progress))?
    }

    fn read_real(&self, name: &str, sink: &mut Sink<'_>, progress: &Progress<'_>) -> Result<()> {
        let (tensor, _) = self.document.tensor(name)?;
        let files = || self.document.data.files_of(&tensor.place);
        watched(files, || tensor.deliver_real(name, &self.document.data, sink, progress))?
    }

    fn edit(&self, edits: &[Edit], progress: &Progress<'_>) -> Result<ModelBox> {
        progress.update("changing the program", 0, 0)?;
        let document = self.watched(|| deep(|| Written::of(&self.document, edits)?.edited(edits)))?;
        let runtime = Arc::clone(&self.runtime);
        Ok(model_object(Self::new(document, self.path.clone(), &self.options, runtime)))
    }

    fn export(&self, path: &str, options: &[Pair], progress: &Progress<'_>) -> Result<()> {
        if let Some(option) = options.first() {
            return Err(BackendError::invalid_input(format!("unknown option `{}` of an export", option.0)));
        }
        self.watched(|| {
            export::write(&deep(|| Written::of(&self.document, &[]))?.archive, Path::new(path), progress)
        })
    }

    fn quantizable(&self, of: &QuantizableOf, progress: &Progress<'_>) -> Result<Quantizable> {
        progress.update("planning", 0, 0)?;
        self.watched(|| deep(|| Written::of(&self.document, &[])?.quantizable(&self.document, of)))
    }

    fn run(
        &self,
        request: &RunRequest<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<RunReport> {
        self.watched(|| self.compute(request, sink, progress))
    }

    fn kernels(&self, of: &KernelsOf, _progress: &Progress<'_>) -> Result<Kernels> {
        if let ROption::RSome(obstacle) = &self.document.info.run_obstacle {
            return Err(obstacle.clone());
        }
        if !of.timed {
            return Ok(kernels::answer(&self.document, &Profile::default()));
        }
        let noted = std::mem::take(&mut *self.profile.lock().unwrap_or_else(PoisonError::into_inner));
        if noted.runs.is_empty() || of.folder.as_os_str() != noted.folder.as_str() {
            return Err(BackendError::invalid_input("no run was profiled in this folder"));
        }
        Ok(kernels::answer(&self.document, &noted))
    }

    fn request(
        &self,
        name: &str,
        payload: &str,
        _sink: &mut Sink<'_>,
        _progress: &Progress<'_>,
    ) -> Result<String> {
        match name {
            "code/1" => {
                self.watched(|| code::listing(&self.document, &Wanted::read(payload)?.layer)?.to_json())
            }
            _ => Err(sdk::unknown_request(name)),
        }
    }
}

/// The error of a model whose weights are of half a float, with the way to give it inputs of the same type: those that
/// are given are float32.
fn with_precision(error: BackendError, info: &ModelInfo) -> BackendError {
    let half = ["bfloat16", "float16"].into_iter().find(|half| info.precision == *half);
    match half.filter(|_| error.kind == ErrorKind::RUNTIME_FAILED && error.help.is_empty()) {
        Some(half) => error.with_help(format!(
            "The weights are {half}: add `--precision {half}`, or compute in `--precision float32`."
        )),
        None => error,
    }
}

/// An error about an operator that the runtime lacks, with the layer that needs it: libtorch says which operator a
/// TorchScript file needs, and not who calls it. The error of a program says both.
fn with_layer(error: BackendError, document: &Document) -> BackendError {
    let operator = error.message.split('`').nth(1).and_then(|name| name.split_once("::"));
    let is_named = document.program.is_none() && error.kind == ErrorKind::UNSUPPORTED_OP;
    let Some((namespace, name)) = operator.filter(|_| is_named) else {
        return error;
    };
    let call = format!("ops.{namespace}.{name}(");
    let steps = code::listing(document, "").map(|listing| listing.inlined).unwrap_or_default();
    match steps.into_iter().find(|step| step.text.contains(&call)) {
        Some(step) if step.layer.is_empty() => error.with_cause("the model itself computes with it"),
        Some(step) => error.with_cause(format!("the layer `{}` computes with it", step.layer)),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_run_of_half_floats_names_the_precision() {
        let failed = || BackendError::new(ErrorKind::RUNTIME_FAILED, "libtorch failed to compute `0`");
        let help = |error: BackendError, precision: &str| {
            let info = ModelInfo { precision: precision.into(), ..ModelInfo::new("pickle") };
            with_precision(error, &info).help.to_string()
        };
        assert!(help(failed(), "bfloat16").contains("`--precision bfloat16`"));
        assert!(help(failed(), "float16").contains("`--precision float16`"));
        assert_eq!(help(failed(), "float32"), "");
        assert_eq!(help(failed().with_help("Do it."), "bfloat16"), "Do it.");
        assert_eq!(help(BackendError::invalid_input("no"), "bfloat16"), "");
    }
}
