//! The contract's versioned extension point: requests about a model, by name.

use super::error::{Breach, breach};
use super::progress::{Progress, Ticker};
use super::receive::{Due, Receiver};
use super::session::{RunOptions, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    Activations, DType, Kernels, Listing, ModelInfo, Quantizable, QuantizableOf, TensorChunk,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Size limit of an answer: more than the code of any model.
const MOST_BYTES: usize = 256 << 20;

/// What `code/1` asks.
#[derive(Serialize)]
struct CodeOf<'a> {
    /// The path of the layer; empty for the model itself.
    layer: &'a str,
}

/// What `read-real/1` asks.
#[derive(Serialize)]
struct RealOf<'a> {
    /// The name of the stored tensor.
    tensor: &'a str,
}

/// What `kernels/1` asks.
#[derive(Serialize)]
struct KernelsOf<'a> {
    folder: &'a Path,
    options: &'a RunOptions,
    timed: bool,
}

/// The run option that asks for the times of kernels.
const PROFILE: &str = "profile";

impl Session {
    /// The kernels that runs with these options consist of (feature `kernels`). The runtime may write to `folder`.
    ///
    /// # Errors
    /// `UnsupportedOp` when the backend does not know them; those of preparing a run.
    pub fn kernels(&self, options: &RunOptions, folder: &Path, progress: &dyn Progress) -> Result<Kernels> {
        self.ask_for_kernels(&KernelsOf { folder, options, timed: false }, progress)
    }

    /// The options of a run whose kernels are timed; [`Self::profiled`] tells what all of them took.
    ///
    /// # Errors
    /// `UnsupportedOp` when the backend cannot.
    pub fn profiling(&self, options: &RunOptions, folder: &Path) -> Result<RunOptions> {
        self.require_kernels()?;
        let mut options = options.clone();
        options.insert(PROFILE.to_owned(), folder.to_string_lossy().into_owned());
        Ok(options)
    }

    /// The kernels of all runs so far with the options of [`Self::profiling`], with their times.
    ///
    /// # Errors
    /// As [`Self::kernels`].
    pub fn profiled(&self, profiling: &RunOptions, progress: &dyn Progress) -> Result<Kernels> {
        let mut options = profiling.clone();
        let folder = options.remove(PROFILE).ok_or_else(|| Error::internal("no run was profiled"))?;
        let asked = KernelsOf { folder: Path::new(&folder), options: &options, timed: true };
        self.ask_for_kernels(&asked, progress)
    }

    /// Whether the backend knows the kernels of its runs.
    ///
    /// # Errors
    /// `UnsupportedOp` if it does not.
    pub fn require_kernels(&self) -> Result<()> {
        if self.manifest.has_feature("kernels") {
            return Ok(());
        }
        let message = format!("{} does not tell which kernels it runs", self.manifest.name);
        Err(Error::new(ErrorKind::UnsupportedOp, message)
            .with_hint("See `backends info` for what a backend can do: `kernels` is among its features."))
    }

    fn ask_for_kernels(&self, asked: &KernelsOf<'_>, progress: &dyn Progress) -> Result<Kernels> {
        self.require_kernels()?;
        self.backend.find_runtime()?;
        let found: Kernels =
            self.request("kernels/1", asked, progress).map_err(|error| self.backend.explained(error))?;
        let layers = self.info().layers.iter().map(|layer| layer.path.as_str()).collect();
        check_kernels(&found, &layers).map_err(|fault| breach(&self.manifest.id, &fault))?;
        Ok(found)
    }

    /// What of the model can be quantized (feature `quantize`).
    ///
    /// # Errors
    /// `UnsupportedOp` when the backend does not know.
    pub fn quantizable(&self, of: &QuantizableOf, progress: &dyn Progress) -> Result<Quantizable> {
        self.require("quantize", "quantize models")?;
        let found: Quantizable = self.request("quantizable/1", of, progress)?;
        if of.activations != Activations::Calibrated && !found.values.is_empty() {
            let fault =
                "its answer to `quantizable/1` names values, where none was to be calibrated".to_owned();
            return Err(breach(&self.manifest.id, &fault));
        }
        check_quantizable(&found, self.info()).map_err(|fault| breach(&self.manifest.id, &fault))?;
        Ok(found)
    }

    /// The code of the layer with this path, or of the model itself (feature `code`).
    ///
    /// # Errors
    /// `UnsupportedOp` when the backend, or the format of the file, has no code to show.
    pub fn listing(&self, layer: Option<&str>, progress: &dyn Progress) -> Result<Listing> {
        if !self.manifest.has_feature("code") {
            let message = format!("the backend `{}` cannot show a model's code", self.manifest.id);
            return Err(Error::new(ErrorKind::UnsupportedOp, message)
                .with_hint("See `layer PATH` for what a layer reads and computes."));
        }
        self.request("code/1", &CodeOf { layer: layer.unwrap_or_default() }, progress)
    }

    /// Hands the real values of the stored tensor `name` to `receive`, as float32 and in its own shape, where its type is
    /// one that scales and zero points cannot express (feature `read-real`).
    ///
    /// # Errors
    /// `UnsupportedOp` for a type whose values the backend does not know; as [`Self::read_tensor`].
    pub fn read_real(
        &self,
        name: &str,
        receive: &mut dyn FnMut(TensorChunk<'_>) -> Result<()>,
        progress: &dyn Progress,
    ) -> Result<()> {
        const REQUEST: &str = "read-real/1";
        let plugin = self.manifest.id.as_str();
        let stored = self.stored(name)?;
        let mut as_due = |chunk: TensorChunk<'_>| {
            if chunk.dtype != DType::FLOAT32 || chunk.shape != stored.shape {
                let fault = format!(
                    "it delivers the real values of the tensor `{name}`, which is {:?}, as {} {:?}",
                    stored.shape, chunk.dtype, chunk.shape
                );
                return Err(breach(plugin, &fault));
            }
            receive(chunk)
        };
        let payload = serde_json::to_string(&RealOf { tensor: name }).map_err(|error| {
            Error::internal(format!("the request `{REQUEST}` cannot be written"))
                .with_cause(error.to_string())
        })?;
        let mut receiver = Receiver::new(plugin, Due::Exactly(vec![name]), &mut as_due);
        let answer = self.model.request(
            REQUEST.into(),
            payload.as_str().into(),
            receiver.as_object(),
            Ticker(progress).as_object(),
        );
        let answer = receiver.finish(answer)?;
        let answer: Result<serde_json::Map<String, serde_json::Value>, Breach> =
            parsed(REQUEST, answer.as_str());
        answer.map(drop).map_err(|fault| breach(plugin, &fault))
    }

    /// Asks the plugin for what the contract has no method for; checks that the answer has the expected form.
    ///
    /// # Errors
    /// `UnsupportedOp` for a request that the plugin does not know, its own errors, and `Plugin` for an answer in the
    /// wrong form.
    fn request<Answer: DeserializeOwned>(
        &self,
        name: &str,
        payload: &impl Serialize,
        progress: &dyn Progress,
    ) -> Result<Answer> {
        let payload = serde_json::to_string(payload).map_err(|error| {
            Error::internal(format!("the request `{name}` cannot be written")).with_cause(error.to_string())
        })?;
        let plugin = self.manifest.id.as_str();
        let mut unasked =
            |_: TensorChunk<'_>| Err(breach(plugin, &format!("it answers `{name}` with a tensor")));
        let mut receiver = Receiver::new(plugin, Due::Any, &mut unasked);
        let answer = self.model.request(
            name.into(),
            payload.as_str().into(),
            receiver.as_object(),
            Ticker(progress).as_object(),
        );
        let answer = receiver.finish(answer)?;
        parsed(name, answer.as_str()).map_err(|fault| breach(plugin, &fault))
    }
}

/// Kernels name layers of the model, and there are as many times as runs.
fn check_kernels(found: &Kernels, known: &HashSet<&str>) -> Result<(), Breach> {
    let of_kernels = found.kernels.iter().flat_map(|kernel| &kernel.layers);
    let mut named = of_kernels.chain(found.quantized.iter().map(|quantized| &quantized.layer));
    if let Some(name) = named.find(|name| !known.contains(name.as_str())) {
        return Err(format!("its answer to `kernels/1` names `{name}`, which is no layer of the model"));
    }
    match found.kernels.iter().find(|kernel| kernel.times_ns.len() != found.runs_ns.len()) {
        Some(kernel) => Err(format!(
            "its answer to `kernels/1` has {} times of `{}` and {} runs",
            kernel.times_ns.len(),
            kernel.name,
            found.runs_ns.len()
        )),
        None => Ok(()),
    }
}

/// What is quantized is of the model, and who shares parameters shares them with what has some.
fn check_quantizable(found: &Quantizable, info: &ModelInfo) -> Result<(), Breach> {
    let stored: HashMap<&str, usize> =
        info.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.len())).collect();
    for tensor in &found.tensors {
        let rank = stored.get(tensor.name.as_str()).copied();
        if rank.is_none_or(|rank| tensor.axis.is_some_and(|axis| axis >= rank)) {
            return Err(format!(
                "its answer to `quantizable/1` names `{}`, which has no such axis",
                tensor.name
            ));
        }
    }
    let values = found.values.iter().map(|value| value.name.as_str());
    let mut known: HashSet<&str> =
        values.chain(found.tensors.iter().map(|tensor| tensor.name.as_str())).collect();
    let shared = found.values.iter().filter_map(|value| value.same_as.as_deref());
    let of_biases = found.biases.iter().flat_map(|bias| [bias.input.as_str(), bias.weight.as_str()]);
    if let Some(name) = shared.chain(of_biases).find(|name| !known.contains(name)) {
        return Err(format!("its answer to `quantizable/1` needs the scale of `{name}`, which gets none"));
    }
    if let Some(bias) = found.biases.iter().find(|bias| !stored.contains_key(bias.tensor.as_str())) {
        return Err(format!("its answer to `quantizable/1` names `{}`, which is not stored", bias.tensor));
    }
    known.clear();
    known.extend(info.layers.iter().map(|layer| layer.path.as_str()));
    match found.layers.iter().find(|layer| !known.contains(layer.layer.as_str())) {
        Some(layer) => {
            Err(format!("its answer to `quantizable/1` names `{}`, which is no layer", layer.layer))
        }
        None => Ok(()),
    }
}

fn parsed<Answer: DeserializeOwned>(name: &str, answer: &str) -> Result<Answer, Breach> {
    if answer.len() > MOST_BYTES {
        return Err(format!("it answers `{name}` with {} bytes", answer.len()));
    }
    serde_json::from_str(answer)
        .map_err(|error| format!("its answer to `{name}` has the wrong form: {error}"))
}

#[cfg(test)]
mod tests {
    use super::{check_kernels, parsed};
    use crate::model::{Arithmetic, Kernels, Listing};
    use std::collections::HashSet;

    #[test]
    fn kernels_are_of_the_model_and_have_a_time_for_each_run() {
        let info = HashSet::new();
        let answer = |text: &str| parsed::<Kernels>("kernels/1", text).unwrap();
        let good = r#"{"kernels": [{"name": "a", "operator": "Conv", "arithmetic": "new", "times_ns": [5]}], "runs_ns": [9]}"#;
        assert_eq!(answer(good).kernels[0].arithmetic, Arithmetic::Other);
        assert!(check_kernels(&answer(good), &info).is_ok());
        let foreign = r#"{"kernels": [], "quantized": [{"layer": "x"}]}"#;
        assert!(check_kernels(&answer(foreign), &info).unwrap_err().contains("`x`, which is no layer"));
        let short =
            r#"{"kernels": [{"name": "a", "operator": "Conv", "arithmetic": "float"}], "runs_ns": [9]}"#;
        assert!(check_kernels(&answer(short), &info).unwrap_err().contains("0 times of `a` and 1 runs"));
    }

    #[test]
    fn an_answer_may_have_more_than_is_asked_for_and_not_less() {
        let listing: Listing =
            parsed("code/1", r#"{"language": "toy", "inlined": [{"text": "x"}], "new": 1}"#).unwrap();
        assert_eq!((listing.language.as_str(), listing.inlined[0].text.as_str()), ("toy", "x"));
        assert!(listing.methods.is_empty());
        for answer in ["", "[]", "{}", r#"{"language": 1}"#, r#"{"language": "toy"} x"#] {
            let fault = parsed::<Listing>("code/1", answer).unwrap_err();
            assert!(fault.starts_with("its answer to `code/1` has the wrong form: "), "{fault}");
        }
    }
}
