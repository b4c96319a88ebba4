//! Cross-layer equalization: channels between two layers are scaled so that one scale fits all of them.

use super::is_standard;
use crate::backend::{Edit, Progress, Session};
use crate::error::{Error, Result};
use crate::model::{AttributeValue, Bounds, DType, LayerInfo, LayerKind, ModelInfo};
use crate::quantization::values::reals;
use qp_analysis::calibration::{channel_magnitudes, equalization_factors, scale_channels};
use qp_analysis::{Granularity, ParameterMap};
use std::collections::{BTreeMap, HashMap, HashSet};

/// At most this often all pairs are scaled: in chains, a pair changes what its neighbours have.
const SWEEPS: usize = 40;
/// Factors that are this close to 1 change nothing worth mentioning.
const CLOSE: f32 = 1e-3;

/// Two layers that only a function lies between for which f(s · x) = s · f(x), s > 0.
#[derive(Debug)]
struct Pair<'a> {
    /// The weight of the layer before, and its axis of output channels.
    first: (&'a str, usize),
    /// What is added to its outputs, one number for each channel.
    bias: Option<&'a str>,
    /// The weight of the layer behind, and its axis of input channels.
    second: (&'a str, usize),
}

/// The changes that equalize all pairs, and how many pairs there are.
///
/// # Errors
/// Those of reading weights; `Cancelled`.
pub(super) fn edits(session: &Session, progress: &dyn Progress) -> Result<(Vec<Edit>, usize)> {
    let info = session.info();
    let pairs = pairs(info);
    let mut stored: BTreeMap<&str, (Vec<u64>, Vec<f32>)> = BTreeMap::new();
    for pair in &pairs {
        for name in [Some(pair.first.0), pair.bias, Some(pair.second.0)].into_iter().flatten() {
            if !stored.contains_key(name) {
                let tensor = session.read_whole_tensor(name, progress)?;
                let mut numbers = Vec::new();
                reals(&tensor, &mut numbers)?;
                stored.insert(name, (tensor.shape, numbers));
            }
        }
    }
    let mut changed = HashSet::new();
    for sweep in 0..SWEEPS {
        progress.update("equalizing", sweep as u64, SWEEPS as u64);
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        let mut is_settled = true;
        for pair in &pairs {
            let magnitudes = |(name, axis): (&str, usize)| {
                let (shape, numbers) = &stored[name];
                channel_magnitudes(numbers, &channels(shape, axis)?).ok()
            };
            let (Some(first), Some(second)) = (magnitudes(pair.first), magnitudes(pair.second)) else {
                continue;
            };
            if first.len() != second.len() {
                continue;
            }
            let factors = equalization_factors(&first, &second);
            if factors.iter().all(|factor| (factor - 1.0).abs() < CLOSE) {
                continue;
            }
            is_settled = false;
            let reciprocals: Vec<f32> = factors.iter().map(|factor| 1.0 / factor).collect();
            let parts = [
                (Some(pair.first), &reciprocals),
                (pair.bias.map(|bias| (bias, 0)), &reciprocals),
                (Some(pair.second), &factors),
            ];
            for ((name, axis), factors) in parts.iter().filter_map(|(part, by)| Some(((*part)?, *by))) {
                if let Some((shape, numbers)) = stored.get_mut(name)
                    && let Some(map) = channels(shape, axis)
                    && scale_channels(numbers, &map, factors).is_ok()
                {
                    changed.insert(name);
                }
            }
        }
        if is_settled {
            break;
        }
    }
    let count = pairs.len();
    let edits = stored.into_iter().filter(|(name, _)| changed.contains(name));
    let edit = |(name, (shape, numbers)): (&str, (Vec<u64>, Vec<f32>))| Edit {
        action: "replace",
        target: name.to_owned(),
        arguments: Vec::new(),
        elements: Some((
            DType::FLOAT32,
            shape,
            numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        )),
    };
    Ok((edits.map(edit).collect(), count))
}

fn channels(shape: &[u64], axis: usize) -> Option<ParameterMap> {
    ParameterMap::new(shape, Granularity::PerChannel { axis: axis as i64 }).ok()
}

/// Where a layer stores what is scaled.
struct Scaled<'a> {
    weight: &'a str,
    bias: Option<&'a str>,
    output_axis: usize,
    input_axis: Option<usize>,
}

/// The pairs of a model, in its order. A bound such as that of ReLU6 belongs to all channels and ends a chain.
fn pairs(info: &ModelInfo) -> Vec<Pair<'_>> {
    let mut readers: HashMap<&str, Vec<&LayerInfo>> = HashMap::new();
    for layer in &info.layers {
        for name in layer.inputs.iter().filter(|name| !name.is_empty()) {
            readers.entry(name).or_default().push(layer);
        }
    }
    let outputs: HashSet<&str> = info.outputs.iter().map(|output| output.name.as_str()).collect();
    let only_reader = |name: &str| match readers.get(name).map(Vec::as_slice) {
        Some([one]) if !outputs.contains(name) && !one.is_inner => Some(*one),
        _ => None,
    };
    let mut pairs = Vec::new();
    for layer in info.layers.iter().filter(|layer| !layer.is_inner) {
        let Some(scaled) = scaled(info, layer, &readers) else { continue };
        let mut value = layer.outputs.first();
        // No way is longer than the model has layers; a description that runs in a circle has one without end.
        let mut left = info.layers.len();
        while let Some(name) = value
            && let Some(next) = only_reader(name)
            && left > 0
        {
            left -= 1;
            if is_homogeneous(next) {
                value = next.outputs.first();
                continue;
            }
            let behind = self::scaled(info, next, &readers).filter(|_| next.inputs.first() == Some(name));
            if let Some(behind) = behind
                && let Some(input_axis) = behind.input_axis
            {
                pairs.push(Pair {
                    first: (scaled.weight, scaled.output_axis),
                    bias: scaled.bias,
                    second: (behind.weight, input_axis),
                });
            }
            break;
        }
    }
    pairs
}

/// Whether f(s · x) = s · f(x) for s > 0, channel by channel.
fn is_homogeneous(layer: &LayerInfo) -> bool {
    let is_relu = |bounds: &Bounds| bounds.low == 0.0 && bounds.high == f64::INFINITY;
    is_standard(layer)
        && match layer.kind {
            LayerKind::Identity | LayerKind::Pooling => true,
            LayerKind::Clamp => layer.bounds.as_ref().is_some_and(is_relu),
            _ => false,
        }
        && layer.outputs.len() == 1
}

/// The weight and bias of a layer if nothing else reads them.
fn scaled<'a>(
    info: &'a ModelInfo,
    layer: &'a LayerInfo,
    readers: &HashMap<&str, Vec<&LayerInfo>>,
) -> Option<Scaled<'a>> {
    if !is_standard(layer) || !matches!(layer.kind, LayerKind::Convolution | LayerKind::Linear) {
        return None;
    }
    let own = |slot: usize| {
        let name = layer.inputs.get(slot).filter(|name| !name.is_empty())?;
        let tensor = info.tensor(name)?;
        let is_own = readers.get(name.as_str()).is_some_and(|readers| readers.len() == 1);
        (is_own && tensor.dtype == DType::FLOAT32 && tensor.alias_of.is_none()).then_some(tensor)
    };
    let int = |name: &str, default: i64| match layer.attribute(name) {
        Some(AttributeValue::Int(number)) => *number,
        _ => default,
    };
    let weight = own(1)?;
    let has_bias = layer.inputs.get(2).is_some_and(|name| !name.is_empty());
    let used = layer.weights.iter().find(|used| !used.is_bias && used.tensor == weight.name)?;
    let (output_axis, input_axis) = match layer.kind {
        // A transposed one has its outputs along another axis.
        LayerKind::Convolution if weight.shape.len() >= 3 && used.channel_axis == Some(0) => {
            match (int("group", int("groups", 1)), &weight.shape[..]) {
                (1, _) => (0, Some(1)),
                (groups, [outputs, 1, ..]) if u64::try_from(groups).ok() == Some(*outputs) => (0, Some(0)),
                _ => (0, None),
            }
        }
        LayerKind::Linear
            if weight.shape.len() == 2 && int("transA", 0) == 0 && layer.attribute("equation").is_none() =>
        {
            if used.is_transposed {
                (1, Some(0))
            } else {
                (0, Some(1))
            }
        }
        _ => return None,
    };
    let bias = if has_bias {
        let bias = own(2)?;
        let is_of_channels = bias.shape.len() == 1 && weight.shape.get(output_axis) == bias.shape.first();
        Some(is_of_channels.then_some(bias.name.as_str())?)
    } else {
        None
    };
    Some(Scaled { weight: &weight.name, bias, output_axis, input_axis })
}
