//! One word for a model's numeric precision, and the form of its quantization.

use super::Quantization;
use super::operator::{self, Form};
use super::parameters::Reader;
use qp_abi::sdk::{DType, TensorRole};
use std::collections::BTreeSet;

/// Precision and scheme of a model, by these rules:
///
/// 1. The *schemes* are those in use: `QDQ` and `QOperator` (static), `dynamic`, `weight-only`.
/// 2. With one scheme, the precision is the type of the weights' codes, `int8`, whatever the type of the activations'
///    codes; weights of several types make it `mixed`. Biases (of int32), scales and zero points do not count. Without
///    any quantized weight, the types of the activations' codes decide in the same way.
/// 3. `dynamic` and `weight-only` come before the type: `dynamic-int8`, `weight-only-int4`. Packed unsigned codes
///    without zero points, which are centered, count as signed: `MatMulNBits` with 4 bits and no zero points is `int4`,
///    with zero points `uint4`.
/// 4. Several schemes with the same type of weights have the precision of the static one, or of the dynamic one if
///    there is no static one; with different types they are `mixed`.
/// 5. Without quantization the precision is the float type of the parameters, `mixed` for several; without
///    parameters that of the inputs, and `unknown` without that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The precision.
    pub precision: String,
    /// The schemes, joined with ` + `; empty for a float model.
    pub scheme: String,
    /// Layers with a quantized weight, and layers with a weight.
    pub quantized_layers: (usize, usize),
}

pub fn of(reader: Reader<'_>, found: &Quantization, has_static_activations: bool) -> Verdict {
    let mut schemes = BTreeSet::new();
    for (layer, form) in reader.graph.layers.iter().zip(&found.layers) {
        let is_plumbing = operator::form(reader.op(layer)) == Some(Form::Plumbing);
        match *form {
            "qdq" if is_plumbing => schemes.insert("QDQ"),
            "qoperator" => schemes.insert("QOperator"),
            "dynamic" => schemes.insert("dynamic"),
            "weight-only" => schemes.insert("weight-only"),
            _ => false,
        };
    }
    // A QOperator graph has a Q at its start and a DQ at its end: it is not QDQ if nothing computes between them.
    let computes_between = reader.graph.layers.iter().zip(&found.layers).any(|(layer, form)| {
        let op = reader.op(layer);
        *form == "qdq" && operator::form(op).is_none() && operator::role(op, 1) == Some(TensorRole::PARAMETER)
    });
    if schemes.contains("QOperator") && !computes_between {
        schemes.remove("QDQ");
    }
    let weights = weight_types(reader, found);
    let mut types = weights.types;
    if types.is_empty() && (has_static_activations || schemes.contains("QOperator")) {
        let codes = found.values.iter().zip(&reader.graph.values).filter(|(_, value)| value.stored.is_none());
        types = codes.filter_map(|(found, _)| found.as_ref().map(|known| known.dtype)).collect();
    }
    let one = |types: &BTreeSet<DType>| match types.iter().collect::<Vec<_>>().as_slice() {
        [] => "unknown".to_owned(),
        [dtype] => dtype.to_string(),
        _ => "mixed".to_owned(),
    };
    let dtype = one(&types);
    let precision = if schemes.is_empty() {
        float_precision(reader, found)
    } else if dtype == "mixed" || schemes.contains("QDQ") || schemes.contains("QOperator") {
        dtype
    } else if schemes.contains("dynamic") {
        format!("dynamic-{dtype}")
    } else {
        format!("weight-only-{dtype}")
    };
    let order = ["QDQ", "QOperator", "dynamic", "weight-only"];
    let scheme: Vec<&str> = order.into_iter().filter(|name| schemes.contains(name)).collect();
    Verdict { precision, scheme: scheme.join(" + "), quantized_layers: weights.layers }
}

struct WeightTypes {
    types: BTreeSet<DType>,
    layers: (usize, usize),
}

/// The types of the codes of all weights, and how many layers with weights have quantized ones.
fn weight_types(reader: Reader<'_>, found: &Quantization) -> WeightTypes {
    let mut types = BTreeSet::new();
    let mut layers = (0, 0);
    for layer in &reader.graph.layers {
        let op = reader.op(layer);
        let mut has_weight = false;
        let mut is_quantized = false;
        let is_convolution = matches!(op, "Conv" | "ConvTranspose" | "ConvInteger" | "QLinearConv");
        for (slot, value) in layer.inputs.iter().enumerate() {
            let Some(value) = *value else { continue };
            if operator::role(op, slot) != Some(TensorRole::PARAMETER) {
                continue;
            }
            let Some((stored, _)) = reader.root(value, &[]) else { continue };
            let description = reader.tensors.get(stored);
            if found.roles[stored] != TensorRole::PARAMETER || description.shape.is_empty() {
                continue;
            }
            // A weight has at least two dimensions; a bias or a slope of one says nothing.
            has_weight |= description.shape.len() >= 2 && (slot <= 1 || !is_convolution);
            // Codes stored as such, or a float weight that passes through a QuantizeLinear.
            let codes = found.tensors[stored].as_ref().or_else(|| codes_of_float(reader, found, value));
            let is_weight = description.shape.len() >= 2 && slot <= 1;
            if let Some(known) = codes
                && (is_weight || known.dtype != DType::INT32)
            {
                is_quantized = true;
                types.insert(as_signed(found, stored, known.dtype));
            }
        }
        layers.0 += usize::from(is_quantized);
        layers.1 += usize::from(has_weight || is_quantized);
    }
    WeightTypes { types, layers }
}

fn codes_of_float<'a>(
    reader: Reader<'_>,
    found: &'a Quantization,
    value: usize,
) -> Option<&'a qp_abi::sdk::QuantizationParameters> {
    let (_, is_quantized) = reader.root(value, &["QuantizeLinear"])?;
    is_quantized.then(|| found.values[value].as_ref()).flatten()
}

/// Unsigned codes centered on the middle, which no tensor of zero points could move, are signed codes in another
/// form.
fn as_signed(found: &Quantization, stored: usize, dtype: DType) -> DType {
    let middle = f64::from(dtype.bits().saturating_sub(1)).exp2();
    let is_centred = found.tensors[stored]
        .as_ref()
        .is_some_and(|known| known.zero_point_name.is_empty() && known.zero_points.as_slice() == [middle]);
    match dtype {
        DType::UINT2 if is_centred => DType::INT2,
        DType::UINT4 if is_centred => DType::INT4,
        DType::UINT8 if is_centred => DType::INT8,
        other => other,
    }
}

fn float_precision(reader: Reader<'_>, found: &Quantization) -> String {
    let parameters = reader.tensors.descriptions().iter().zip(&found.roles).filter(|(tensor, role)| {
        tensor.dtype.is_float() && matches!(**role, TensorRole::PARAMETER | TensorRole::BUFFER)
    });
    let types: BTreeSet<DType> = parameters.map(|(tensor, _)| tensor.dtype).collect();
    let inputs = reader.graph.inputs.iter().chain(&reader.graph.outputs);
    let fallback = || {
        let types: Vec<DType> = inputs.filter_map(|&value| reader.dtype(value)).collect();
        let float = types.iter().find(|dtype| dtype.is_float()).or(types.first());
        float.map_or_else(|| "unknown".to_owned(), ToString::to_string)
    };
    match types.iter().collect::<Vec<_>>().as_slice() {
        [] => fallback(),
        [dtype] => dtype.to_string(),
        _ => "mixed".to_owned(),
    }
}
