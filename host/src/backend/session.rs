//! An open model of a plugin.

use super::convert;
use super::error::{breach, from_plugin};
use super::manifest::Manifest;
use super::progress::{Progress, Ticker};
use super::receive::{Due, Receiver};
use super::runtime::{Reach, Started};
use super::spare::{Spare, with_room};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{DType, ModelInfo, Property, Tensor, TensorChunk, TensorInfo, element_count};
use qp_abi::abi_stable::std_types::{ROption, RString};
use qp_abi::backend::{self as abi, RunRequest};
use qp_abi::{ModelBox, QuantizationParameters, TensorView};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A model prepared to be read and run. Threads may share it; runs of one session wait for each other.
pub struct Session {
    pub(super) manifest: Arc<Manifest>,
    info: ModelInfo,
    pub(super) model: ModelBox,
    /// Held by the one thread that runs.
    running: Mutex<()>,
    pub(super) backend: Arc<Started>,
}

/// What a run should deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// The graph's outputs, in order.
    Outputs,
    /// These values, in this order.
    Named(Vec<String>),
    /// Every value that a layer computes, in the order of computation (feature `capture`).
    Layers,
}

/// One change to a model; actions and their arguments are defined by the plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edit {
    /// What to do.
    pub action: &'static str,
    /// The layer, value or tensor to change.
    pub target: String,
    /// Arguments of the action.
    pub arguments: Vec<(String, String)>,
    /// The element type that the action needs, and the elements, if it needs any.
    pub elements: Option<(DType, Vec<u64>, Vec<u8>)>,
}

impl Edit {
    fn into_plugin(self) -> Result<abi::Edit> {
        let (dtype, shape, bytes) = self.elements.unwrap_or((DType::UNDEFINED, Vec::new(), Vec::new()));
        let sizes = shape.iter().map(|size| i64::try_from(*size)).collect::<std::result::Result<Vec<_>, _>>();
        let sizes = sizes.map_err(|_| Error::invalid_input(format!("the shape {shape:?} is too large")))?;
        let pair = |(name, text): &(String, String)| qp_abi::manifest::pair(name.clone(), text.clone());
        Ok(abi::Edit {
            action: self.action.into(),
            target: self.target.as_str().into(),
            arguments: self.arguments.iter().map(pair).collect::<Vec<_>>().into(),
            dtype: qp_abi::DType(dtype.code()),
            shape: sizes.into(),
            bytes: bytes.into(),
        })
    }
}

/// Settings of one run: `threads`, `optimization`, …
pub type RunOptions = BTreeMap<String, String>;

/// What happened in a run, besides the tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunReport {
    /// The runtime: `ONNX Runtime`.
    pub runtime: String,
    /// Its version.
    pub runtime_version: String,
    /// Time in the runtime alone: no input preparation, no delivery.
    pub elapsed: Duration,
    /// The settings that took effect.
    pub settings: Vec<Property>,
}

/// A run's report with the tensors it delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct RunOutcome {
    /// What was fetched, in the order of its delivery.
    pub tensors: Vec<Tensor>,
    /// What happened.
    pub report: RunReport,
}

impl Session {
    /// Wraps a model that a plugin opened, once its description is checked.
    pub(super) fn new(backend: &Arc<Started>, model: ModelBox) -> Result<Self> {
        let (manifest, backend) = (Arc::clone(&backend.manifest), Arc::clone(backend));
        let info = model.info().into_result().map_err(|error| from_plugin(&manifest.id, error))?;
        let info = convert::model_info(&manifest, info).map_err(|fault| breach(&manifest.id, &fault))?;
        Ok(Self { manifest, info, model, running: Mutex::new(()), backend })
    }

    /// The model's description.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The runtime that would run it, with its version and place, as far as that is known without loading it.
    pub fn runtime_text(&self) -> Option<String> {
        let status = self.backend.runtime(Reach::Files).ok()?;
        Some(format!("{} {} {}", status.name?, status.version?, status.path?.display()))
    }

    /// The manifest of the plugin that has it open.
    pub fn plugin(&self) -> &Manifest {
        &self.manifest
    }

    /// Hands the stored tensor `name` to `receive`, as stored, in one or several pieces.
    ///
    /// # Errors
    /// `NotFound` for a name that is not stored; the error of `receive`, after which nothing more comes.
    pub fn read_tensor(
        &self,
        name: &str,
        receive: &mut dyn FnMut(TensorChunk<'_>) -> Result<()>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let stored = self.stored(name)?;
        let mut as_declared = |chunk: TensorChunk<'_>| {
            if chunk.dtype != stored.dtype || chunk.shape != stored.shape {
                let fault = format!(
                    "it describes the tensor `{name}` as {} {:?} and delivers {} {:?}",
                    stored.dtype, stored.shape, chunk.dtype, chunk.shape
                );
                return Err(breach(&self.manifest.id, &fault));
            }
            receive(chunk)
        };
        let mut receiver = Receiver::new(&self.manifest.id, Due::Exactly(vec![name]), &mut as_declared);
        let answer = self.model.read_tensor(name.into(), receiver.as_object(), Ticker(progress).as_object());
        receiver.finish(answer)
    }

    /// The description of the stored tensor `name`.
    pub(super) fn stored(&self, name: &str) -> Result<&TensorInfo> {
        self.info.tensor(name).ok_or_else(|| {
            Error::not_found(format!("the model stores no tensor `{name}`"))
                .with_hint("List its tensors with `stats`.")
        })
    }

    /// The stored tensor `name` as a whole.
    ///
    /// # Errors
    /// As [`Self::read_tensor`].
    pub fn read_whole_tensor(&self, name: &str, progress: &dyn Progress) -> Result<Tensor> {
        let mut collected = Collector::default();
        self.read_tensor(name, &mut |chunk| collected.add(chunk), progress)?;
        collected
            .tensors
            .pop()
            .ok_or_else(|| Error::internal(format!("the tensor `{name}` was delivered without a piece")))
    }

    /// Computes, and hands what was asked for to `receive`, tensor by tensor. The first run loads the runtime.
    ///
    /// # Errors
    /// `InvalidInput` for inputs that do not fit the graph, `RuntimeMissing` and `RuntimeFailed` of the
    /// runtime; the error of `receive`, after which nothing more comes.
    pub fn run_into(
        &self,
        inputs: &[Tensor],
        fetch: &Fetch,
        options: &RunOptions,
        receive: &mut dyn FnMut(TensorChunk<'_>) -> Result<()>,
        progress: &dyn Progress,
    ) -> Result<RunReport> {
        let inputs: Vec<Input<'_>> = inputs.iter().map(Input::new).collect::<Result<_>>()?;
        let views: Vec<TensorView<'_>> = inputs.iter().map(Input::view).collect();
        let (code, names) = match fetch {
            Fetch::Outputs => (abi::Fetch::OUTPUTS, [].as_slice()),
            Fetch::Named(names) => (abi::Fetch::NAMED, names.as_slice()),
            Fetch::Layers => (abi::Fetch::LAYERS, [].as_slice()),
        };
        let due = match fetch {
            Fetch::Outputs => self.due_outputs(),
            Fetch::Named(names) if options.contains_key("budget") => {
                Due::Each(names.iter().map(String::as_str).collect())
            }
            Fetch::Named(names) => Due::Exactly(names.iter().map(String::as_str).collect()),
            Fetch::Layers => Due::Any,
        };
        let names: Vec<RString> = names.iter().map(|name| RString::from(name.as_str())).collect();
        let options = convert::pairs(options);
        let request = RunRequest {
            inputs: views.as_slice().into(),
            fetch: code,
            names: names.as_slice().into(),
            options: options.as_slice().into(),
        };
        let mut receiver = Receiver::new(&self.manifest.id, due, receive);
        // A run that panicked in the host leaves no half-changed state.
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        self.backend.find_runtime()?;
        let answer = self.model.run(request, receiver.as_object(), Ticker(progress).as_object());
        drop(running);
        let report = receiver.finish(answer).map_err(|error| self.backend.explained(error))?;
        Ok(RunReport {
            runtime: report.runtime.into_string(),
            runtime_version: report.runtime_version.into_string(),
            elapsed: Duration::from_nanos(report.elapsed_ns),
            settings: convert::properties(report.settings),
        })
    }

    /// Computes, and passes on what was asked for, each tensor as a whole, in memory from `spare`; holds one at a time.
    ///
    /// # Errors
    /// As [`Self::run_into`].
    pub fn run_each(
        &self,
        inputs: &[Tensor],
        fetch: &Fetch,
        options: &RunOptions,
        (spare, receive): (&Spare, &mut dyn FnMut(Tensor) -> Result<()>),
        progress: &dyn Progress,
    ) -> Result<RunReport> {
        let mut collected = Collector::default();
        let report = self.run_into(
            inputs,
            fetch,
            options,
            &mut |chunk| {
                let is_last = chunk.is_last;
                collected.add_to(chunk, |bytes| spare.take(bytes));
                collected.tensors.pop_if(|_| is_last).map_or(Ok(()), &mut *receive)
            },
            progress,
        )?;
        Ok(report)
    }

    /// Computes, and collects what was asked for.
    ///
    /// # Errors
    /// As [`Self::run_into`].
    pub fn run(
        &self,
        inputs: &[Tensor],
        fetch: &Fetch,
        options: &RunOptions,
        progress: &dyn Progress,
    ) -> Result<RunOutcome> {
        let mut collected = Collector::default();
        let report = self.run_into(inputs, fetch, options, &mut |chunk| collected.add(chunk), progress)?;
        Ok(RunOutcome { tensors: collected.tensors, report })
    }

    /// Writes the model to a new file; large weights go to a second one beside it, of the same name and `.data`.
    ///
    /// # Errors
    /// `UnsupportedOp` when the backend cannot; `Io` for what cannot be written.
    pub fn export(&self, path: &Path, progress: &dyn Progress) -> Result<()> {
        self.require("export", "write models")?;
        let text = path.to_str().ok_or_else(|| {
            Error::invalid_input(format!("the path `{}` is not valid Unicode", path.display()))
        })?;
        let written =
            self.model.export(text.into(), [].as_slice().into(), Ticker(progress).as_object()).into_result();
        written.map_err(|error| from_plugin(&self.manifest.id, error))
    }

    /// Checks that the backend can change models.
    ///
    /// # Errors
    /// `UnsupportedOp` if it cannot.
    pub fn require_edits(&self) -> Result<()> {
        self.require("edit", "change models")
    }

    pub(super) fn require(&self, feature: &str, what: &str) -> Result<()> {
        if self.manifest.has_feature(feature) {
            return Ok(());
        }
        let message = format!("{} cannot {what}", self.manifest.name);
        Err(Error::new(ErrorKind::UnsupportedOp, message).with_hint(format!(
            "See `backends info` for what a backend can do: `{feature}` is among its features."
        )))
    }

    /// The same model with changes; this one stays as it is (feature `edit`).
    ///
    /// # Errors
    /// Those of the plugin, for changes that do not fit.
    pub fn edit(&self, edits: Vec<Edit>, progress: &dyn Progress) -> Result<Self> {
        let edits: Vec<abi::Edit> = edits.into_iter().map(Edit::into_plugin).collect::<Result<_>>()?;
        let model = self.model.edit(edits.as_slice().into(), Ticker(progress).as_object()).into_result();
        let model = model.map_err(|error| from_plugin(&self.manifest.id, error))?;
        Self::new(&self.backend, model)
    }

    /// The outputs that a run must deliver, if the model declares each to be one tensor. A sequence comes as several, and
    /// TorchScript does not declare its outputs.
    fn due_outputs(&self) -> Due<'_> {
        let outputs = &self.info.outputs;
        let are_tensors = outputs.iter().all(|output| output.type_name.is_none() && output.dtype.bits() > 0);
        if are_tensors && !outputs.is_empty() {
            Due::Exactly(outputs.iter().map(|output| output.name.as_str()).collect())
        } else {
            Due::Any
        }
    }
}

struct Input<'a> {
    tensor: &'a Tensor,
    shape: Vec<i64>,
    quantization: Option<QuantizationParameters>,
}

impl<'a> Input<'a> {
    fn new(tensor: &'a Tensor) -> Result<Self> {
        let Tensor { name, dtype, shape, bytes, quantization } = tensor;
        let due = element_count(shape).and_then(|elements| dtype.packed_bytes(elements));
        if dtype.bits() > 0 && due != Some(bytes.len() as u64) {
            return Err(Error::invalid_input(format!(
                "input `{name}` has {} bytes, which is wrong for {dtype} {shape:?}",
                bytes.len()
            )));
        }
        let shape =
            shape.iter().map(|size| i64::try_from(*size)).collect::<Result<_, _>>().map_err(|_| {
                Error::invalid_input(format!("the shape {shape:?} of input `{name}` is too large"))
            })?;
        Ok(Self { tensor, shape, quantization: quantization.as_ref().map(convert::to_plugin) })
    }

    fn view(&self) -> TensorView<'_> {
        TensorView {
            quantization: self.quantization.as_ref().map_or(ROption::RNone, ROption::RSome),
            ..TensorView::whole(
                &self.tensor.name,
                qp_abi::DType(self.tensor.dtype.code()),
                &self.shape,
                &self.tensor.bytes,
            )
        }
    }
}

/// Joins pieces to tensors.
#[derive(Default)]
struct Collector {
    tensors: Vec<Tensor>,
}

impl Collector {
    fn add(&mut self, chunk: TensorChunk<'_>) -> Result<()> {
        self.add_to(chunk, with_room);
        Ok(())
    }

    /// Adds a piece; a new tensor gets a buffer for all its pieces from `buffer`.
    fn add_to(&mut self, chunk: TensorChunk<'_>, buffer: impl FnOnce(usize) -> Vec<u8>) {
        match self.tensors.last_mut() {
            Some(tensor) if chunk.first_element > 0 => tensor.bytes.extend_from_slice(chunk.bytes),
            _ => {
                let whole = element_count(chunk.shape).and_then(|count| chunk.dtype.packed_bytes(count));
                let room = whole.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
                let mut bytes = buffer(room.max(chunk.bytes.len()));
                bytes.extend_from_slice(chunk.bytes);
                self.tensors.push(Tensor {
                    name: chunk.name.to_owned(),
                    dtype: chunk.dtype,
                    shape: chunk.shape.to_vec(),
                    bytes,
                    quantization: chunk.quantization.cloned(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three values of a tensor that is said to have this shape.
    fn first_piece(shape: &[u64]) -> TensorChunk<'_> {
        TensorChunk {
            name: "v",
            dtype: DType::FLOAT32,
            shape,
            first_element: 0,
            elements: 3,
            is_last: false,
            bytes: &[7; 12],
            quantization: None,
        }
    }

    #[test]
    fn a_tensor_in_pieces_gets_memory_once_for_all_of_it() {
        let (shape, mut asked) = ([2, 3], Vec::new());
        let mut collected = Collector::default();
        for first_element in [0, 3] {
            let chunk = TensorChunk { first_element, is_last: first_element > 0, ..first_piece(&shape) };
            collected.add_to(chunk, |bytes| {
                asked.push(bytes);
                with_room(bytes)
            });
        }
        assert_eq!(asked, [24]);
        assert_eq!((collected.tensors.len(), &collected.tensors[0].bytes), (1, &vec![7; 24]));
    }

    #[test]
    fn what_claims_more_than_there_is_gets_what_it_sends() {
        let mut collected = Collector::default();
        for shape in [[1 << 60, 1], [1 << 40, 1 << 40]] {
            collected.add(first_piece(&shape)).unwrap();
        }
        assert!(collected.tensors.iter().all(|tensor| tensor.bytes == [7; 12]));
    }
}
