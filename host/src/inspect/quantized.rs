//! The quantized tensors and activations of a model, each once, with the codes in use and what looks wrong.

use super::Elements;
use super::range::{code_range, representable};
use super::survey;
use super::suspicion::{Wiring, of_channels};
use crate::backend::Progress;
use crate::error::{ErrorKind, Result};
use crate::model::{LayerInfo, ModelInfo, QuantizationParameters, TensorInfo, TensorRole, ValueOrigin};
use crate::playground::Loaded;
use qp_analysis::{AffineList, CodeUsage, Reason, Suspicion, Thresholds};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A quantized tensor or activation.
pub struct Quantized<'a> {
    /// Its name.
    pub name: &'a str,
    /// Stored tensor or activation.
    pub kind: Kind,
    /// The layers that read or compute it.
    pub layers: Vec<&'a str>,
    /// Its scales and zero points.
    pub parameters: &'a QuantizationParameters,
    /// The codes that occur in a stored tensor; `None` if they were not read.
    pub usage: Option<CodeUsage>,
    /// What looks wrong, ordered by reason.
    pub suspicions: Vec<Suspicion>,
}

/// What is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Any stored tensor.
    Weight,
    /// A value between layers.
    Activation,
}

impl<'a> Quantized<'a> {
    /// Those of `model`, or only those of one layer: stored tensors first, each kind in the order of the file.
    ///
    /// # Errors
    /// `Cancelled`. A tensor that cannot be read has no codes and only the suspicions that its parameters give.
    pub fn of(model: &'a Loaded, layer: Option<&str>, progress: &dyn Progress) -> Result<Vec<Self>> {
        let info = model.info();
        let users = Users::of(info);
        let thresholds = Thresholds::default();
        let mut seen_together = Wiring::of(info).suspicions(info, &thresholds);
        let is_wanted = |layers: &[&str]| layer.is_none_or(|layer| layers.contains(&layer));
        // Scales that are quantized themselves are not weights.
        let stored: Vec<(&TensorInfo, &QuantizationParameters, Vec<&str>)> = info
            .tensors
            .iter()
            .filter(|tensor| tensor.role != TensorRole::Quantization)
            .filter_map(|tensor| {
                let mut layers = users.of_name(&tensor.name);
                layers.extend(tensor.layer.as_deref().filter(|layer| !layers.contains(layer)));
                Some((tensor, tensor.quantization.as_ref()?, layers))
            })
            .filter(|(_, _, layers)| is_wanted(layers))
            .collect();
        let sizes: Vec<u64> = stored.iter().map(|(tensor, _, _)| tensor.bytes).collect();
        let read = survey::each(&sizes, "reading codes", progress, |index| {
            let (tensor, _, layers) = &stored[index];
            let owner = tensor.layer.as_deref().or(layers.first().copied()).and_then(|path| info.layer(path));
            of_stored(model, owner, tensor, &thresholds, progress)
        })?;
        let mut all = Vec::new();
        for ((tensor, parameters, layers), read) in stored.into_iter().zip(read) {
            let (usage, mut suspicions) = read?;
            suspicions.extend(seen_together.remove(tensor.name.as_str()).unwrap_or_default());
            suspicions.extend(of_blocks(tensor, parameters, &thresholds));
            let mut quantized = Self::new(&tensor.name, Kind::Weight, layers, parameters, suspicions);
            // The scale of a channel of zeros is arbitrary and says nothing about the others.
            let has = |reason| quantized.suspicions.iter().any(|suspicion| suspicion.reason == reason);
            if has(Reason::ZeroChannel) {
                quantized.suspicions.retain(|suspicion| suspicion.reason != Reason::ScaleSpread);
            }
            quantized.usage = usage;
            all.push(quantized);
        }
        let mut listed = repeated(info);
        listed.extend(all.iter().map(|quantized| quantized.name));
        let values = info.inputs.iter().chain(&info.values).chain(&info.outputs);
        let values = values.filter(|value| value.origin != ValueOrigin::Constant);
        for (value, parameters) in values.filter_map(|value| Some((value, value.quantization.as_ref()?))) {
            let layers = users.of_name(&value.name);
            if is_wanted(&layers) && listed.insert(&value.name) {
                let mut suspicions = seen_together.remove(value.name.as_str()).unwrap_or_default();
                let range = representable(parameters).filter(|_| parameters.dtype.bits() <= 16);
                suspicions.extend(range.and_then(|(low, high)| thresholds.of_activation(low, high)));
                all.push(Self::new(&value.name, Kind::Activation, layers, parameters, suspicions));
            }
        }
        Ok(all)
    }

    fn new(
        name: &'a str,
        kind: Kind,
        layers: Vec<&'a str>,
        parameters: &'a QuantizationParameters,
        seen: Vec<Suspicion>,
    ) -> Self {
        let thresholds = Thresholds::default();
        let mut suspicions = match AffineList::new(&parameters.scales, &parameters.zero_points) {
            Ok(list) => thresholds.of_parameters(list, code_range(parameters)),
            Err(mismatch) => vec![Suspicion {
                reason: Reason::CountMismatch,
                count: mismatch.expected,
                first_index: 0,
                value: mismatch.found as f64,
            }],
        };
        suspicions.extend(seen);
        suspicions.sort_by_key(|suspicion| suspicion.reason);
        Self { name, kind, layers, parameters, usage: None, suspicions }
    }
}

/// The codes in use of a stored tensor, and the suspicions from them and its channels. None if it cannot be read.
fn of_stored(
    model: &Loaded,
    owner: Option<&LayerInfo>,
    tensor: &TensorInfo,
    thresholds: &Thresholds,
    progress: &dyn Progress,
) -> Result<(Option<CodeUsage>, Vec<Suspicion>)> {
    // The codes of real numbers that the graph rounds are those they are rounded to.
    let elements = if tensor.dtype.is_float() {
        Elements::values(model, tensor, progress)
    } else {
        Elements::stored(model, tensor)
    };
    let Ok(elements) = elements else { return Ok((None, Vec::new())) };
    let usage = elements.code_usage(progress)?;
    let mut suspicions: Vec<Suspicion> =
        usage.as_ref().and_then(|usage| thresholds.of_codes(usage)).into_iter().collect();
    if tensor.dtype.bits() == 32 && tensor.dtype.is_integer() {
        match elements.statistics(progress) {
            Ok(statistics) => {
                let ends = statistics.min().zip(statistics.max());
                suspicions.extend(ends.and_then(|(low, high)| thresholds.of_bias_codes(low, high)));
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(_) => {}
        }
    }
    suspicions.extend(of_channels(model, owner, tensor, thresholds, progress)?);
    Ok((usage, suspicions))
}

fn of_blocks(
    tensor: &TensorInfo,
    parameters: &QuantizationParameters,
    thresholds: &Thresholds,
) -> Option<Suspicion> {
    let axis = usize::try_from(parameters.axis?).ok()?;
    thresholds.of_blocks(*tensor.shape.get(axis)?, parameters.block_size?)
}

/// The values inside or after a quantize-dequantize pair, and dequantized stored tensors: their parameters are those of
/// the value before the pair, which is already listed.
fn repeated(info: &ModelInfo) -> BTreeSet<&str> {
    let values = info.inputs.iter().chain(&info.values).chain(&info.outputs);
    let quantized: BTreeSet<&str> = values
        .filter(|value| value.quantization.is_some())
        .map(|value| value.name.as_str())
        .chain(
            info.tensors
                .iter()
                .filter(|tensor| tensor.quantization.is_some())
                .map(|tensor| tensor.name.as_str()),
        )
        .collect();
    info.layers
        .iter()
        .filter(|layer| layer.kind.is_plumbing())
        .filter(|layer| layer.inputs.first().is_some_and(|source| quantized.contains(source.as_str())))
        .flat_map(|layer| layer.outputs.iter().map(String::as_str))
        .collect()
}

/// Which layers read or compute a name.
struct Users<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Users<'a> {
    fn of(info: &'a ModelInfo) -> Self {
        let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for layer in &info.layers {
            for name in layer.inputs.iter().chain(&layer.outputs).chain(&layer.tensors) {
                let layers = users.entry(name).or_default();
                if layers.last() != Some(&layer.path.as_str()) {
                    layers.push(&layer.path);
                }
            }
        }
        Self(users)
    }

    fn of_name(&self, name: &str) -> Vec<&'a str> {
        self.0.get(name).cloned().unwrap_or_default()
    }
}
