//! Suspicious quantization parameters, found by looking at several together: those of a layer's inputs, those of a
//! pair of quantize and dequantize, and those of the channels they apply to.

use super::Elements;
use super::weight::channel_axis;
use crate::backend::Progress;
use crate::error::{ErrorKind, Result};
use crate::model::{
    InputRole, LayerInfo, LayerKind, ModelInfo, QuantizationParameters, TensorInfo, TensorRole,
};
use crate::playground::Loaded;
use qp_analysis::{Affine, Suspicion, Thresholds};
use std::collections::HashMap;

/// The quantization parameters of every name in a model, and what computes it.
pub struct Wiring<'a> {
    parameters: HashMap<&'a str, &'a QuantizationParameters>,
    producers: HashMap<&'a str, &'a LayerInfo>,
}

impl<'a> Wiring<'a> {
    /// Of this model.
    pub fn of(info: &'a ModelInfo) -> Self {
        let values = info.inputs.iter().chain(&info.outputs).chain(&info.values);
        let values = values.filter_map(|value| Some((value.name.as_str(), value.quantization.as_ref()?)));
        let stored = info.tensors.iter();
        let stored = stored.filter_map(|tensor| Some((tensor.name.as_str(), tensor.quantization.as_ref()?)));
        let producers = info
            .layers
            .iter()
            .flat_map(|layer| layer.outputs.iter().map(move |name| (name.as_str(), layer)))
            .collect();
        Self { parameters: values.chain(stored).collect(), producers }
    }

    /// The parameters of a stored tensor or a value.
    pub fn parameters(&self, name: &str) -> Option<&'a QuantizationParameters> {
        self.parameters.get(name).copied()
    }

    /// Where a quantized name comes from, through the layers that quantize and dequantize it.
    pub fn origin(&self, name: &'a str) -> &'a str {
        let mut origin = name;
        // A longer chain of such layers is a loop.
        for _ in 0..8 {
            let Some(layer) = self.producers.get(origin).filter(|layer| layer.kind.is_plumbing()) else {
                break;
            };
            match layer.inputs.first() {
                Some(source) if self.parameters.contains_key(source.as_str()) => origin = source,
                _ => break,
            }
        }
        origin
    }

    /// The suspicions about biases and pairs, each under the name that [`origin`](Self::origin) gives.
    pub fn suspicions(
        &self,
        info: &'a ModelInfo,
        thresholds: &Thresholds,
    ) -> HashMap<&'a str, Vec<Suspicion>> {
        let mut found: HashMap<&str, Vec<Suspicion>> = HashMap::new();
        let mut note = |name: &'a str, suspicion: Option<Suspicion>| {
            if let Some(suspicion) = suspicion {
                let suspicions = found.entry(self.origin(name)).or_default();
                if !suspicions.contains(&suspicion) {
                    suspicions.push(suspicion);
                }
            }
        };
        for layer in &info.layers {
            match layer.kind {
                // Runtimes add the bias to sums of products of codes: it has no scale of its own.
                LayerKind::Convolution | LayerKind::Linear => {
                    let of = |role: InputRole| {
                        let place = (0..layer.inputs.len()).find(|place| layer.role(*place) == role)?;
                        Some(layer.inputs[place].as_str())
                    };
                    let (input, weight, bias) =
                        (of(InputRole::Data), of(InputRole::Weight), of(InputRole::Bias));
                    if let (Some(input), Some(weight), Some(bias)) = (input, weight, bias) {
                        note(bias, self.of_bias(input, weight, bias, thresholds));
                    }
                }
                LayerKind::Dequantize => {
                    if let (Some(codes), Some(output)) = (layer.inputs.first(), layer.outputs.first()) {
                        note(codes, self.of_pair(codes, output, thresholds));
                    }
                }
                _ => {}
            }
        }
        found
    }

    fn of_bias(&self, input: &str, weight: &str, bias: &str, thresholds: &Thresholds) -> Option<Suspicion> {
        let scales =
            |name: &str| Some(&self.parameters(name)?.scales[..]).filter(|scales| !scales.is_empty());
        // Products of codes whose weight has a scale per block are real numbers when the bias is added.
        if self.parameters(weight)?.block_size.is_some() {
            return None;
        }
        match scales(input)? {
            [input] => thresholds.of_bias(scales(bias)?, *input, scales(weight)?),
            _ => None,
        }
    }

    /// For a layer that dequantizes codes which another computed from real numbers.
    fn of_pair(&self, codes: &str, output: &str, thresholds: &Thresholds) -> Option<Suspicion> {
        self.producers.get(codes).filter(|layer| layer.kind == LayerKind::Quantize)?;
        let (begin, end) = (self.parameters(codes)?, self.parameters(output)?);
        let affine = |parameters: &QuantizationParameters, index: usize| {
            parameters.scales.get(index).map(|scale| Affine::new(*scale, parameters.zero_point(index)))
        };
        (0..begin.scales.len().max(end.scales.len()))
            .find_map(|index| thresholds.of_pair(affine(begin, index)?, affine(end, index)?))
    }
}

/// Suspicions about the channels of a quantized weight: those that are all zero, and those that use only a few codes of
/// a shared scale.
///
/// # Errors
/// `Cancelled`; a tensor whose scales do not fit has no channels to check.
pub fn of_channels(
    model: &Loaded,
    layer: Option<&LayerInfo>,
    tensor: &TensorInfo,
    thresholds: &Thresholds,
    progress: &dyn Progress,
) -> Result<Vec<Suspicion>> {
    if tensor.role != TensorRole::Parameter || tensor.shape.len() < 2 {
        return Ok(Vec::new());
    }
    let Some(axis) = channel_axis(layer, tensor) else { return Ok(Vec::new()) };
    let statistics = Elements::values(model, tensor, progress)
        .and_then(|elements| elements.channel_statistics(axis, progress));
    let channels: Vec<Option<f64>> = match statistics {
        Ok(channels) => channels.iter().map(qp_analysis::Statistics::abs_max).collect(),
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(_) => return Ok(Vec::new()),
    };
    let mut found: Vec<Suspicion> = thresholds.of_channels(channels.iter().copied()).into_iter().collect();
    let computes =
        layer.is_some_and(|layer| matches!(layer.kind, LayerKind::Convolution | LayerKind::Linear));
    let scales = tensor.quantization.as_ref().map(|parameters| &parameters.scales[..]).unwrap_or_default();
    if let ([scale], true) = (scales, computes) {
        found.extend(thresholds.of_shared_scale(channels, *scale));
    }
    Ok(found)
}
