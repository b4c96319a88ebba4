//! Converts the contract's types to the host's. What a plugin says is checked here and trusted afterwards.

use super::error::{Breach, from_plugin};
use super::manifest::Manifest;
use crate::model::{
    Attribute, AttributeValue, Bounds, DType, Dimension, Finding, Index, InputRole, LayerInfo, LayerKind,
    ModelInfo, Property, QuantizationParameters, Severity, TensorInfo, TensorRole, ValueInfo, ValueOrigin,
    WeightUse, element_count,
};
use qp_abi::abi_stable::std_types::{RNone, RSome, RString, RVec, Tuple2};
use qp_abi::manifest::{Pair, pair};
use qp_abi::tensor::MOST_DIMENSIONS;
use qp_abi::{model as abi, quant};
use std::collections::HashSet;

/// A model's description in types of the host.
pub(super) fn model_info(manifest: &Manifest, info: abi::ModelInfo) -> Result<ModelInfo, Breach> {
    if let Some(what) = info.excess() {
        return Err(format!("it lists {what}"));
    }
    let format = info.format.into_string();
    if !manifest.formats.iter().any(|known| known.name == format) {
        return Err(format!(
            "it describes a model of the format `{format}`, which its manifest does not have"
        ));
    }
    let tensors = info.tensors.into_iter().map(tensor_info).collect::<Result<Vec<_>, _>>()?;
    require_unique("stored tensor", tensors.iter().map(|tensor| tensor.name.as_str()))?;
    let layers: Vec<LayerInfo> = info.layers.into_iter().map(layer).collect::<Result<_, _>>()?;
    require_unique("layer", layers.iter().map(|layer| layer.path.as_str()))?;
    Ok(ModelInfo {
        format,
        precision: info.precision.into_string(),
        scheme: text(info.scheme),
        producer: text(info.producer),
        versions: properties(info.versions),
        inputs: values(info.inputs)?,
        outputs: values(info.outputs)?,
        values: values(info.values)?,
        layers,
        tensors,
        metadata: properties(info.metadata),
        findings: info.findings.into_iter().map(finding).collect(),
        run_obstacle: info.run_obstacle.into_option().map(|error| from_plugin(&manifest.id, error)),
        extra: properties(info.extra),
        index: Index::default(),
    })
}

fn require_unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), Breach> {
    let mut seen = HashSet::new();
    for name in names {
        if name.is_empty() {
            return Err(format!("it lists a {what} without a name"));
        }
        if !seen.insert(name) {
            return Err(format!("it lists the {what} `{name}` twice"));
        }
    }
    Ok(())
}

fn tensor_info(info: abi::TensorInfo) -> Result<TensorInfo, Breach> {
    let name = info.name.into_string();
    let dtype = DType::from_code(info.dtype.0);
    let shape = shape(&format!("tensor `{name}`"), &info.shape)?;
    let elements = element_count(&shape)
        .ok_or_else(|| format!("the shape {shape:?} of its tensor `{name}` has too many elements"))?;
    if dtype.bits() > 0 && dtype.packed_bytes(elements) != Some(info.bytes) {
        return Err(format!("its tensor `{name}`, {dtype} {shape:?}, claims {} bytes", info.bytes));
    }
    let rank = Some(shape.len());
    let quantization = quantization(&name, rank, info.quantization.into_option().as_ref())?;
    Ok(TensorInfo {
        role: match info.role {
            abi::TensorRole::PARAMETER => TensorRole::Parameter,
            abi::TensorRole::BUFFER => TensorRole::Buffer,
            abi::TensorRole::QUANTIZATION => TensorRole::Quantization,
            _ => TensorRole::Constant,
        },
        dtype,
        shape,
        bytes: info.bytes,
        layer: text(info.layer),
        quantization,
        external_file: text(info.external_file),
        alias_of: text(info.alias_of),
        type_name: text(info.type_name),
        name,
    })
}

/// A shape of sizes that are all known. `of` names its tensor.
pub(super) fn shape(of: &str, sizes: &[i64]) -> Result<Vec<u64>, Breach> {
    if sizes.len() > MOST_DIMENSIONS {
        return Err(format!("its {of} has {} dimensions", sizes.len()));
    }
    sizes
        .iter()
        .map(|size| u64::try_from(*size))
        .collect::<Result<_, _>>()
        .map_err(|_| format!("its {of} has a negative dimension: {sizes:?}"))
}

/// Quantization parameters of the tensor or value with that name; `rank` is the number of its dimensions, where
/// that is known.
pub(super) fn quantization(
    name: &str,
    rank: Option<usize>,
    parameters: Option<&quant::QuantizationParameters>,
) -> Result<Option<QuantizationParameters>, Breach> {
    let Some(found) = parameters else { return Ok(None) };
    let (scales, zero_points) = (found.scales.len(), found.zero_points.len());
    if scales > 0 && scales as u64 != found.scale_count {
        return Err(format!("`{name}` claims {} scales and lists {scales}", found.scale_count));
    }
    if zero_points > 1 && zero_points != scales {
        return Err(format!("`{name}` has {scales} scales and {zero_points} zero points"));
    }
    let block_size = match found.block_size {
        RNone => None,
        RSome(size) => match u64::try_from(size) {
            Ok(size) if size > 0 => Some(size),
            _ => return Err(format!("`{name}` is quantized in blocks of {size}")),
        },
    };
    Ok(Some(QuantizationParameters {
        dtype: DType::from_code(found.dtype.0),
        scales: found.scales.to_vec(),
        zero_points: found.zero_points.to_vec(),
        scale_count: found.scale_count,
        axis: axis(name, rank, found)?,
        block_size,
        scale_name: text(found.scale_name.clone()),
        zero_point_name: text(found.zero_point_name.clone()),
        is_dynamic: found.is_dynamic,
        code_range: found.code_range.into_option().map(|range| (range.0, range.1)),
    }))
}

/// The axis within the rank. A single scale needs no axis, so a stray one is dropped.
fn axis(
    name: &str,
    rank: Option<usize>,
    found: &quant::QuantizationParameters,
) -> Result<Option<i64>, Breach> {
    let (RSome(axis), Some(rank)) = (found.axis, rank) else {
        return Ok(found.axis.into_option());
    };
    let rank = rank as i64;
    let from_the_front = if axis < 0 { axis + rank } else { axis };
    if (0..rank).contains(&from_the_front) {
        Ok(Some(from_the_front))
    } else if found.scale_count <= 1 && found.block_size.is_none() {
        Ok(None)
    } else {
        Err(format!("`{name}` of {rank} dimensions is quantized along axis {axis}"))
    }
}

fn values(values: RVec<abi::ValueInfo>) -> Result<Vec<ValueInfo>, Breach> {
    values.into_iter().map(value).collect()
}

fn value(info: abi::ValueInfo) -> Result<ValueInfo, Breach> {
    let name = info.name.into_string();
    let shape: Option<Vec<Dimension>> =
        info.shape.into_option().map(|shape| shape.into_iter().map(dimension).collect());
    let rank = shape.as_ref().map(Vec::len);
    if rank.is_some_and(|rank| rank > MOST_DIMENSIONS) {
        return Err(format!("its value `{name}` has {} dimensions", rank.unwrap_or_default()));
    }
    let quantization = quantization(&name, rank, info.quantization.into_option().as_ref())?;
    Ok(ValueInfo {
        dtype: DType::from_code(info.dtype.0),
        shape,
        quantization,
        type_name: text(info.type_name),
        origin: match info.origin {
            qp_abi::ValueOrigin::CONSTANT => ValueOrigin::Constant,
            qp_abi::ValueOrigin::SHAPE => ValueOrigin::Shape,
            _ => ValueOrigin::Activation,
        },
        is_optional: info.is_optional,
        name,
    })
}

fn dimension(dimension: abi::Dimension) -> Dimension {
    match (u64::try_from(dimension.size), text(dimension.symbol)) {
        (Ok(size), _) => Dimension::Fixed(size),
        (Err(_), Some(name)) => Dimension::Symbolic(name),
        (Err(_), None) => Dimension::Unknown,
    }
}

fn layer(info: abi::LayerInfo) -> Result<LayerInfo, Breach> {
    let mut input_codes = Vec::new();
    for rounded in &info.input_codes {
        let codes = quantization(info.path.as_str(), None, Some(&rounded.codes))?;
        input_codes.extend(codes.map(|codes| (rounded.input as usize, codes)));
    }
    Ok(LayerInfo {
        input_codes,
        path: info.path.into_string(),
        op_type: info.op_type.into_string(),
        domain: text(info.domain),
        scope: text(info.scope),
        inputs: strings(info.inputs),
        outputs: strings(info.outputs),
        tensors: strings(info.tensors),
        attributes: info
            .attributes
            .into_iter()
            .map(|attribute| Attribute {
                name: attribute.name.into_string(),
                value: attribute_value(attribute.value),
            })
            .collect(),
        quantization: text(info.quantization),
        kind: LayerKind::of_name(info.kind.name()),
        is_inner: info.is_inner,
        roles: info.roles.into_iter().map(role).collect(),
        weights: info.weights.into_iter().map(weight).collect(),
        bounds: info.bounds.into_option().map(|bounds| Bounds { low: bounds.low, high: bounds.high }),
    })
}

fn role(role: qp_abi::InputRole) -> InputRole {
    match role {
        qp_abi::InputRole::DATA => InputRole::Data,
        qp_abi::InputRole::WEIGHT => InputRole::Weight,
        qp_abi::InputRole::BIAS => InputRole::Bias,
        qp_abi::InputRole::BOUND => InputRole::Bound,
        _ => InputRole::Parameter,
    }
}

fn weight(weight: qp_abi::WeightUse) -> WeightUse {
    WeightUse {
        tensor: weight.tensor.into_string(),
        is_bias: weight.role == qp_abi::InputRole::BIAS,
        channel_axis: weight.channel_axis.into_option(),
        is_transposed: weight.is_transposed,
    }
}

fn attribute_value(value: abi::AttributeValue) -> AttributeValue {
    match value {
        abi::AttributeValue::Int(number) => AttributeValue::Int(number),
        abi::AttributeValue::Float(number) => AttributeValue::Float(number),
        abi::AttributeValue::Text(text) => AttributeValue::Text(text.into_string()),
        abi::AttributeValue::Ints(numbers) => AttributeValue::Ints(numbers.into_vec()),
        abi::AttributeValue::Floats(numbers) => AttributeValue::Floats(numbers.into_vec()),
        abi::AttributeValue::Texts(texts) => AttributeValue::Texts(strings(texts)),
        abi::AttributeValue::Tensor(name) => AttributeValue::Tensor { tensor: name.into_string() },
        abi::AttributeValue::Graphs(names) => AttributeValue::Graphs { graphs: strings(names) },
        abi::AttributeValue::Other(words) => AttributeValue::Other { other: words.into_string() },
    }
}

fn finding(finding: abi::Finding) -> Finding {
    Finding {
        severity: match finding.severity {
            abi::Severity::NOTE => Severity::Note,
            abi::Severity::DANGER => Severity::Danger,
            _ => Severity::Warning,
        },
        code: finding.code.into_string(),
        message: finding.message.into_string(),
        subjects: strings(finding.subjects),
    }
}

/// Names and texts as the host keeps them.
pub(super) fn properties(pairs: RVec<Pair>) -> Vec<Property> {
    pairs
        .into_iter()
        .map(|pair| Property { name: pair.0.into_string(), value: pair.1.into_string() })
        .collect()
}

/// Names and texts as a plugin gets them.
pub(super) fn pairs<'a>(texts: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<Pair> {
    texts.into_iter().map(|(name, text)| pair(name.as_str(), text.as_str())).collect()
}

/// The host's quantization parameters as a plugin gets them.
pub(super) fn to_plugin(parameters: &QuantizationParameters) -> quant::QuantizationParameters {
    let name = |name: &Option<String>| RString::from(name.as_deref().unwrap_or_default());
    quant::QuantizationParameters {
        dtype: qp_abi::DType(parameters.dtype.code()),
        scales: parameters.scales.clone().into(),
        zero_points: parameters.zero_points.clone().into(),
        scale_count: parameters.scale_count,
        axis: parameters.axis.into(),
        block_size: parameters.block_size.and_then(|size| i64::try_from(size).ok()).into(),
        scale_name: name(&parameters.scale_name),
        zero_point_name: name(&parameters.zero_point_name),
        is_dynamic: parameters.is_dynamic,
        code_range: parameters.code_range.map(|(low, high)| Tuple2(low, high)).into(),
    }
}

fn strings(texts: RVec<RString>) -> Vec<String> {
    texts.into_iter().map(String::from).collect()
}

/// An empty text in the contract is `None` here.
pub(super) fn text(text: RString) -> Option<String> {
    (!text.is_empty()).then(|| text.into_string())
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Format;
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            id: "toy".into(),
            name: "Toy".into(),
            version: "1.0.0".into(),
            description: String::new(),
            formats: vec![Format {
                name: "toy".into(),
                extensions: Vec::new(),
                magic: Vec::new(),
                description: String::new(),
            }],
            features: Vec::new(),
            options: Vec::new(),
        }
    }

    fn tensor(name: &str, shape: &[i64], bytes: u64) -> abi::TensorInfo {
        abi::TensorInfo {
            name: name.into(),
            role: abi::TensorRole::PARAMETER,
            dtype: qp_abi::DType::FLOAT32,
            shape: shape.to_vec().into(),
            bytes,
            layer: RString::new(),
            quantization: RNone,
            external_file: RString::new(),
            alias_of: RString::new(),
            type_name: RString::new(),
        }
    }

    fn breach(change: impl FnOnce(&mut abi::ModelInfo)) -> Breach {
        let mut info = abi::ModelInfo::new("toy");
        change(&mut info);
        model_info(&manifest(), info).unwrap_err()
    }

    #[test]
    fn the_two_tables_of_kinds_agree() {
        for kind in qp_abi::LayerKind::ALL {
            assert_eq!(LayerKind::of_name(kind.name()).name(), kind.name());
        }
    }

    #[test]
    fn names_must_be_unique_and_not_empty() {
        let twice = |info: &mut abi::ModelInfo| info.tensors = vec![tensor("w", &[1], 4); 2].into();
        assert_eq!(breach(twice), "it lists the stored tensor `w` twice");
        let unnamed = |info: &mut abi::ModelInfo| info.tensors = vec![tensor("", &[1], 4)].into();
        assert_eq!(breach(unnamed), "it lists a stored tensor without a name");
    }

    #[test]
    fn bytes_must_be_those_of_the_shape() {
        let short = |info: &mut abi::ModelInfo| info.tensors = vec![tensor("w", &[2, 3], 23)].into();
        assert_eq!(breach(short), "its tensor `w`, float32 [2, 3], claims 23 bytes");
        let negative = |info: &mut abi::ModelInfo| info.tensors = vec![tensor("w", &[-1], 4)].into();
        assert_eq!(breach(negative), "its tensor `w` has a negative dimension: [-1]");
        let huge = |info: &mut abi::ModelInfo| info.tensors = vec![tensor("w", &[i64::MAX, 4], 4)].into();
        assert!(breach(huge).ends_with("has too many elements"));
    }

    #[test]
    fn a_format_that_the_manifest_does_not_have_is_a_breach() {
        assert_eq!(
            model_info(&manifest(), abi::ModelInfo::new("onnx")).unwrap_err(),
            "it describes a model of the format `onnx`, which its manifest does not have"
        );
    }

    #[test]
    fn an_axis_is_counted_from_the_front_and_must_exist() {
        let along = |axis| {
            quant::QuantizationParameters::per_channel(qp_abi::DType::INT8, vec![1.0, 2.0], vec![], axis)
        };
        let axis =
            |parameters| quantization("w", Some(2), Some(&parameters)).map(|found| found.unwrap().axis);
        assert_eq!(axis(along(-1)), Ok(Some(1)));
        assert_eq!(axis(along(2)), Err("`w` of 2 dimensions is quantized along axis 2".into()));
        let stray = quant::QuantizationParameters {
            axis: RSome(5),
            ..quant::QuantizationParameters::per_tensor(qp_abi::DType::INT8, 1.0, 0.0)
        };
        assert_eq!(axis(stray), Ok(None));
    }

    #[test]
    fn parameters_survive_the_way_there_and_back() {
        let there = QuantizationParameters {
            axis: Some(1),
            scale_name: Some("s".into()),
            ..QuantizationParameters::per_tensor(DType::UINT8, 0.5, 3.0)
        };
        assert_eq!(quantization("w", Some(2), Some(&to_plugin(&there))), Ok(Some(there)));
    }
}
