//! What each operator does, what its inputs mean to it, and within which bounds it keeps its elements, in the words
//! of the contract.
//!
//! Sources: the operator documents of ONNX (opsets 1 to 25) and of ONNX Runtime's `com.microsoft` domain.

mod table;

use crate::graph::{Layer, ValueId};
use crate::quant::operator;
use crate::quant::parameters::Reader;
use qp_abi::sdk::{
    Bounds, DType, InputCodes, InputRole, LayerKind, QuantizationParameters, RNone, ROption, RSome, RString,
    RVec, ValueOrigin, WeightUse,
};
use table::{is_product, is_stored_transposed, rounds_input};
pub use table::{of_input, of_operator};

/// At most this many operators that only move a weight are seen through.
const MAX_MOVES: usize = 16;

/// What is known about a layer's part in the network.
pub struct Part {
    pub kind: LayerKind,
    pub roles: RVec<InputRole>,
    pub weights: RVec<WeightUse>,
    pub bounds: ROption<Bounds>,
    pub input_codes: RVec<InputCodes>,
}

/// What a layer does; `names` gives the names under which stored tensors are listed.
pub fn of<'a>(
    reader: Reader<'a>,
    layer: &'a Layer,
    origins: &[ValueOrigin],
    names: impl Fn(usize) -> RString,
) -> Part {
    let op = reader.op(layer);
    let roles = roles(op, layer, origins);
    let bounds = bounds(reader, op, layer);
    let mut weights: Vec<WeightUse> = Vec::new();
    for (slot, role) in roles.iter().enumerate() {
        let Some(value) = layer.input(slot).filter(|_| matches!(*role, InputRole::WEIGHT | InputRole::BIAS))
        else {
            continue;
        };
        if let Some((tensor, axis, is_transposed)) =
            stored(reader, value, channel_axis(reader, op, layer, slot))
        {
            weights.push(WeightUse {
                tensor: names(tensor),
                role: *role,
                channel_axis: axis.map_or(RNone, RSome),
                is_transposed: is_transposed != is_stored_transposed(op, layer, slot),
            });
        }
    }
    weights.sort_by_key(|weight| weight.role != InputRole::WEIGHT);
    Part {
        kind: kind_of(reader, op, layer, origins, bounds.is_some()),
        roles: roles.into(),
        weights: weights.into(),
        bounds: bounds.map_or(RNone, RSome),
        input_codes: rounds_input(op).then(computed_codes).into_iter().collect(),
    }
}

/// What `DynamicQuantizeLinear` would make of the first input: uint8, with a new scale and zero point in each run.
fn computed_codes() -> InputCodes {
    let codes = QuantizationParameters {
        scales: RVec::new(),
        zero_points: RVec::new(),
        is_dynamic: true,
        ..QuantizationParameters::per_tensor(DType::UINT8, 1.0, 0.0)
    };
    InputCodes { input: 0, codes }
}

fn kind_of(
    reader: Reader<'_>,
    op: &str,
    layer: &Layer,
    origins: &[ValueOrigin],
    has_bounds: bool,
) -> LayerKind {
    let kind = of_operator(op);
    if matches!(kind, LayerKind::QUANTIZE | LayerKind::DEQUANTIZE | LayerKind::CONTROL_FLOW) {
        return kind;
    }
    let mut computed = layer.outputs.iter().flatten().map(|&value| origins[value]).peekable();
    if computed.peek().is_some() {
        if computed.clone().all(|origin| origin == ValueOrigin::CONSTANT) {
            return LayerKind::CONSTANT;
        }
        if computed.all(|origin| origin != ValueOrigin::ACTIVATION) {
            return LayerKind::SHAPE;
        }
    }
    match op {
        // Scales computed from the input, multiplied by the weight's: a part of quantizing.
        "Mul" if is_scale_product(reader, layer, origins) => LayerKind::QUANTIZE,
        // Codes that are clipped stay codes.
        "Clip" if reader.clips_codes(op, layer) => LayerKind::REQUANTIZE,
        // Computed bounds make it another function.
        "Clip" if !has_bounds => LayerKind::ELEMENTWISE,
        // A stored table is looked up; anything else is moved.
        "Gather" if layer.input(0).is_some_and(|table| origins[table] == ValueOrigin::CONSTANT) => {
            LayerKind::EMBEDDING
        }
        // A cast to real numbers passes them on; one to whole numbers rounds.
        "Cast" | "CastLike" => {
            let to = layer.int("to").and_then(|code| u8::try_from(code).ok()).map(DType);
            let to = to.or_else(|| layer.output(0).and_then(|value| reader.dtype(value)));
            if to.is_none_or(DType::is_float) { LayerKind::IDENTITY } else { LayerKind::OTHER }
        }
        _ => kind,
    }
}

/// Whether a product has only scales as operands, one of them computed by `DynamicQuantizeLinear`.
fn is_scale_product(reader: Reader<'_>, layer: &Layer, origins: &[ValueOrigin]) -> bool {
    let is_scale = |value: ValueId| {
        let computes = reader.graph.values[value].producer;
        computes.is_some_and(|(layer, output)| {
            output == 1 && reader.op(&reader.graph.layers[layer]) == "DynamicQuantizeLinear"
        })
    };
    let mut inputs = layer.inputs.iter().flatten().copied();
    inputs.clone().any(is_scale)
        && inputs.all(|value| is_scale(value) || origins[value] == ValueOrigin::CONSTANT)
}

/// What each input means to the layer.
fn roles(op: &str, layer: &Layer, origins: &[ValueOrigin]) -> Vec<InputRole> {
    (0..layer.inputs.len())
        .map(|slot| {
            let is_constant = layer.input(slot).is_some_and(|value| origins[value] == ValueOrigin::CONSTANT);
            match of_input(op, slot, layer.inputs.len()) {
                // Values computed from the inputs are data, wherever the operator reads them.
                InputRole::WEIGHT | InputRole::BIAS if !is_constant => InputRole::DATA,
                InputRole::DATA if is_constant && is_product(op) => InputRole::WEIGHT,
                role => role,
            }
        })
        .collect()
}

/// The axis of the output channels of the weight at this input, as the operator reads it.
fn channel_axis(reader: Reader<'_>, op: &str, layer: &Layer, slot: usize) -> Option<i64> {
    let rank = layer.input(slot).and_then(|value| rank_of(reader, value))?;
    let last = rank - 1;
    if of_input(op, slot, layer.inputs.len()) == InputRole::BIAS {
        return (rank > 0).then_some(last);
    }
    let is_set = |name: &str| layer.int(name).unwrap_or(0) != 0;
    let axis = match op {
        "ConvTranspose" => 1,
        // (directions, channels, inputs)
        "LSTM" | "GRU" | "RNN" => 1,
        "DynamicQuantizeLSTM" => 2,
        "Gemm" | "FusedGemm" | "QGemm" => match slot {
            0 => i64::from(is_set("transA")),
            _ => i64::from(!is_set("transB")),
        },
        // Rows of the left operand, columns of the right one, after batch dimensions.
        "MatMul" | "FusedMatMul" | "TransposeMatMul" | "MatMulInteger" | "QLinearMatMul" if rank > 1 => {
            let is_left = slot == 0;
            let is_turned = is_set(if is_left { "transA" } else { "transB" });
            if is_left == is_turned { last } else { last - 1 }
        }
        "MatMulIntegerToFloat" | "DynamicQuantizeMatMul" | "Attention" | "QAttention" => last,
        "Gather" | "GatherBlockQuantized" => {
            let axis = layer.int("axis").unwrap_or(0);
            if axis < 0 { axis + rank } else { axis }
        }
        _ => 0,
    };
    (0..rank).contains(&axis).then_some(axis)
}

fn rank_of(reader: Reader<'_>, value: ValueId) -> Option<i64> {
    if let Some(rank) = reader.rank(value) {
        return Some(rank);
    }
    // Of everything that passes a weight on, only a reshape changes its rank.
    let (stored, is_reshaped) = reader.root(value, &["Reshape", "Squeeze", "Unsqueeze", "Flatten"])?;
    (!is_reshaped).then(|| i64::try_from(reader.tensors.get(stored).shape.len()).ok()).flatten()
}

/// The stored tensor behind a value, with the axis in that tensor, and whether a matrix was transposed on the way.
/// Beyond a reshape the axis is unknown.
fn stored(reader: Reader<'_>, value: ValueId, axis: Option<i64>) -> Option<(usize, Option<i64>, bool)> {
    let (mut at, mut axis, mut is_transposed) = (value, axis, false);
    for _ in 0..MAX_MOVES {
        if let Some(stored) = reader.graph.values[at].stored {
            return Some((stored, axis, is_transposed));
        }
        let (op, layer) = reader.producer(at).filter(|(op, _)| operator::passes_on(op))?;
        match op {
            "Transpose" => {
                match layer.ints("perm") {
                    Some(order) => {
                        axis = axis.and_then(|axis| order.get(usize::try_from(axis).ok()?).copied());
                        is_transposed ^= order == [1, 0];
                    }
                    None => {
                        // All axes swap places.
                        axis = axis.and_then(|axis| Some(rank_of(reader, at)? - 1 - axis));
                        is_transposed ^= rank_of(reader, at) == Some(2);
                    }
                }
            }
            "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => axis = None,
            _ => {}
        }
        at = layer.input(0)?;
    }
    None
}

/// The bounds within which the layer keeps its elements.
fn bounds(reader: Reader<'_>, op: &str, layer: &Layer) -> Option<Bounds> {
    let unbounded = Bounds { low: f64::NEG_INFINITY, high: f64::INFINITY };
    match op {
        "Relu" => Some(Bounds { low: 0.0, ..unbounded }),
        "Clip" => {
            let bound = |slot: usize, name: &str, missing: f64| match layer.input(slot) {
                Some(value) => number(reader, value),
                None => Some(layer.float(name).unwrap_or(missing)),
            };
            let (low, high) = (bound(1, "min", unbounded.low)?, bound(2, "max", unbounded.high)?);
            Some(Bounds { low, high })
        }
        "FusedConv" | "NhwcFusedConv" | "FusedGemm" => {
            match (layer.text("activation")?, layer.floats("activation_params")) {
                ("Relu", _) => Some(Bounds { low: 0.0, ..unbounded }),
                ("Clip", Some(&[low, high])) => Some(Bounds { low, high }),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The single real number of a constant.
fn number(reader: Reader<'_>, value: ValueId) -> Option<f64> {
    let (stored, is_code) = reader.root(value, &["QuantizeLinear", "DequantizeLinear"])?;
    if is_code || reader.tensors.get(stored).dtype.bits() < 16 {
        return None;
    }
    match reader.numbers(value).values?.as_slice() {
        &[number] => Some(number),
        _ => None,
    }
}
