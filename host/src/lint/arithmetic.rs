//! What the codes of weights and the scales reveal about integer arithmetic.

use super::{LintFinding, Rule};
use crate::backend::Progress;
use crate::capture::products::Product;
use crate::error::Result;
use crate::inspect::elements::Elements;
use crate::inspect::graph::{Edge, Graph};
use crate::inspect::survey;
use crate::inspect::weight::channel_axis;
use crate::model::{LayerInfo, LayerKind, ModelInfo, QuantizationParameters, TensorInfo};
use crate::playground::Loaded;
use qp_analysis::accumulator::{Accumulator, fits_32_bits, tie_period};

/// Ties that are rarer than this do not explain a difference.
const RAREST_TIES: u32 = 16;

/// A layer that multiplies codes of activations by codes of a weight.
struct Multiplying<'a> {
    layer: &'a LayerInfo,
    weight: &'a TensorInfo,
    weight_codes: &'a QuantizationParameters,
    input_codes: &'a QuantizationParameters,
}

impl<'a> Multiplying<'a> {
    fn all(info: &'a ModelInfo, graph: &Graph<'a>) -> Vec<Self> {
        let of = |layer: &'a LayerInfo| {
            if !matches!(layer.kind, LayerKind::Convolution | LayerKind::Linear) {
                return None;
            }
            let used = layer.weights.iter().find(|used| !used.is_bias)?;
            let weight = info.tensor(&used.tensor)?;
            let weight_codes = weight.quantization.as_ref()?;
            let node = graph.layer(&layer.path)?;
            let codes = |edge: &Edge<'a>| edge.quantization.filter(|_| edge.is_data);
            let input_codes = graph.incoming(node).find_map(codes)?;
            let is_whole =
                |codes: &QuantizationParameters| codes.codes().is_some() && codes.dtype.is_integer();
            (is_whole(weight_codes) && is_whole(input_codes) && input_codes.scales.len() == 1)
                .then_some(Self { layer, weight, weight_codes, input_codes })
        };
        info.layers.iter().filter_map(of).collect()
    }
}

/// Layers whose sums can exceed 32 bits for some activations.
pub(super) fn accumulators<'a>(
    model: &'a Loaded,
    graph: &Graph<'a>,
    progress: &dyn Progress,
) -> Result<Vec<LintFinding>> {
    let info = model.info();
    let mut layers = Multiplying::all(info, graph);
    layers.retain(can_exceed_32_bits);
    let sizes: Vec<u64> = layers.iter().map(|one| one.weight.bytes).collect();
    let sums =
        survey::each(&sizes, "adding up codes", progress, |index| of_layer(model, &layers[index], progress))?;
    let mut findings = Vec::new();
    for (one, sums) in layers.iter().zip(sums) {
        // A weight that cannot be read has a finding of its own.
        let Ok(sums) = sums else { continue };
        let (low, high) = activations(one.input_codes);
        let bounds = sums.iter().map(|sum| sum.bounds(low, high));
        let over: Vec<(f64, f64)> = bounds.filter(|bounds| !fits_32_bits(*bounds)).collect();
        let largest = over.iter().map(|(low, high)| high.abs().max(low.abs())).fold(0.0, f64::max);
        if largest > 0.0 {
            findings.push(LintFinding {
                layer: Some(one.layer.path.clone()),
                tensor: Some(one.weight.name.clone()),
                count: over.len() as u64,
                value: Some(largest),
                ..LintFinding::new(
                    Rule::AccumulatorOverflow,
                    format!(
                        "sums of {} products of {} by {} can reach {largest:.2e}, but 32 bits only hold up to 2.15e9",
                        products_per_output(one),
                        one.input_codes.dtype,
                        one.weight_codes.dtype
                    ),
                )
            });
        }
    }
    Ok(findings)
}

/// Whether the largest codes could exceed 32 bits: if not, the weight need not be read.
fn can_exceed_32_bits(one: &Multiplying<'_>) -> bool {
    let Some((low, high)) = one.weight_codes.codes() else { return false };
    let weight = low.unsigned_abs().max(high.unsigned_abs()) as f64;
    let (least, most) = activations(one.input_codes);
    let largest = products_per_output(one) as f64 * weight * 2.0 * most.abs().max(least.abs());
    !fits_32_bits((-largest, largest))
}

fn products_per_output(one: &Multiplying<'_>) -> u64 {
    let axis = channel_axis(Some(one.layer), one.weight).and_then(|axis| usize::try_from(axis).ok());
    let channels = axis.and_then(|axis| one.weight.shape.get(axis)).copied().unwrap_or(1);
    one.weight.element_count() / channels.max(1)
}

/// The activations' codes without their zero point.
fn activations(codes: &QuantizationParameters) -> (f64, f64) {
    let (low, high) = codes.codes().unwrap_or_default();
    (low as f64 - codes.zero_point(0), high as f64 - codes.zero_point(0))
}

/// The sums of each output channel, without the bias: it is added in the same 32 bits, but is small beside bounds that
/// are this large.
fn of_layer(model: &Loaded, one: &Multiplying<'_>, progress: &dyn Progress) -> Result<Vec<Accumulator>> {
    let axis = channel_axis(Some(one.layer), one.weight).unwrap_or(0);
    let elements = if one.weight.dtype.is_float() {
        Elements::values(model, one.weight, progress)?
    } else {
        Elements::stored(model, one.weight)?
    };
    elements.fold_channel_codes(axis, &Accumulator::default(), progress, &mut |sum, run| {
        let zero_point = one.weight_codes.zero_point(run.channel);
        sum.add(run.numbers.iter().map(|code| code - zero_point));
    })
}

/// Layers whose sums of two products can exceed 16 bits on some x86 processors.
pub(super) fn pairs(products: &[Product<'_>]) -> Vec<LintFinding> {
    let at_risk = products.iter().filter(|product| product.is_at_risk());
    let finding = |product: &Product<'_>| {
        let (channels, _) = product.channels_at_risk();
        let (low, high) = product.bounds;
        let largest = if high > -low { high } else { low };
        LintFinding {
            layer: Some(product.layer.path.clone()),
            count: channels as u64,
            value: Some(f64::from(largest)),
            ..LintFinding::new(
                Rule::PairOverflow,
                format!(
                    "sums of two products can reach {largest}; 16 bits hold up to 32767 on x86 without VNNI"
                ),
            )
        }
    };
    at_risk.map(finding).collect()
}

/// Layers whose scaled sums often lie exactly between two codes.
pub(super) fn ties<'a>(info: &'a ModelInfo, graph: &Graph<'a>) -> Vec<LintFinding> {
    info.layers.iter().filter_map(|layer| ties_of(layer, info, graph)).collect()
}

fn ties_of<'a>(layer: &'a LayerInfo, info: &'a ModelInfo, graph: &Graph<'a>) -> Option<LintFinding> {
    let node = graph.layer(&layer.path)?;
    let output = output_scale(graph, node)?;
    let data = graph.incoming(node).filter(|edge| edge.is_data);
    let inputs: Vec<f64> =
        data.map(|edge| edge.quantization.and_then(only_scale).unwrap_or(f64::NAN)).collect();
    let weight = layer.weights.iter().find(|used| !used.is_bias).and_then(|used| info.tensor(&used.tensor));
    let weight = weight.map(|weight| weight.quantization.as_ref());
    let units: Vec<f64> = match (layer.kind, &inputs[..], weight) {
        (LayerKind::Convolution | LayerKind::Linear, [input, ..], Some(weight)) => {
            weight?.scales.iter().map(|scale| scale * input).collect()
        }
        (LayerKind::Multiplication | LayerKind::Linear, [left, right], None) => vec![left * right],
        (LayerKind::Addition, [_, _, ..], None) => inputs,
        _ => return None,
    };
    let periods: Vec<u32> = units.iter().filter_map(|unit| tie_period(*unit, output, RAREST_TIES)).collect();
    // A sum of products in several units ties only if each of them can.
    let can_tie = layer.kind != LayerKind::Addition || periods.len() == units.len();
    let period = periods.iter().min().filter(|_| can_tie)?;
    Some(LintFinding {
        layer: Some(layer.path.clone()),
        count: periods.len() as u64,
        value: Some(f64::from(*period)),
        ..LintFinding::new(
            Rule::RoundingTies,
            format!("because of the scales, one in {period} sums lies exactly between two codes"),
        )
    })
}

/// The scale that a layer's output is rounded with.
fn output_scale(graph: &Graph<'_>, node: usize) -> Option<f64> {
    let own = graph.output(node).and_then(|output| output.quantization.as_ref());
    own.or_else(|| graph.outgoing(node).find_map(|edge| edge.quantization)).and_then(only_scale)
}

fn only_scale(codes: &QuantizationParameters) -> Option<f64> {
    match codes.scales[..] {
        [scale] if codes.dtype.is_integer() => Some(scale),
        _ => None,
    }
}
