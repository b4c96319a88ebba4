//! Puts everything found in a model file into the ABI's form.

use crate::document::Document;
use crate::findings;
use crate::graph::{Layer, ValueId};
use crate::quant::Quantization;
use crate::quant::parameters::{Reader, listed};
use crate::shape::{Fact, Facts};
use crate::value_type::ValueType;
use crate::{kind, origin};
use qp_abi::manifest::pair;
use qp_abi::sdk::{
    DType, LayerInfo, ModelInfo, Pair, QuantizationParameters, RNone, ROption, RSome, RString, RVec, Result,
    TensorInfo, ValueInfo, ValueOrigin, settle,
};
use std::collections::BTreeSet;

/// The only format that this backend reads.
pub const FORMAT: &str = "onnx";

/// The description of a model.
///
/// `extra` holds `functions` (how many the model defines), `quantized layers` (`9 of 10`: layers with a quantized
/// weight, of those with a weight), `external files`, and `sparse tensors`, each only if there are any.
///
/// # Errors
/// `CorruptFile` for a graph that contradicts itself.
pub fn describe(document: &Document, found: &Quantization) -> Result<ModelInfo> {
    let model = &document.model;
    let findings = findings::of(document, found);
    let left = listed(document);
    let reader = Reader::new(document, &left);
    let facts = Facts::of(document);
    let origins = origin::of(reader);
    // A damaged file may list a value twice, or one without a name.
    let values = |ids: &[ValueId]| {
        let mut names = BTreeSet::new();
        let all = ids.iter().map(|&id| value_info(reader, found, &facts, &origins, id));
        all.filter(|value| !value.name.is_empty() && names.insert(value.name.clone())).collect()
    };
    let mut info = ModelInfo {
        precision: found.verdict.precision.as_str().into(),
        scheme: found.verdict.scheme.as_str().into(),
        producer: producer(document).into(),
        versions: versions(document),
        inputs: values(&document.graph.inputs),
        outputs: values(&document.graph.outputs),
        values: activations(reader, found, &facts, &origins),
        layers: layers(reader, found, &origins),
        tensors: tensors(document, found),
        metadata: model
            .metadata_props
            .iter()
            .map(|entry| pair(entry.key.clone().unwrap_or_default(), text(entry.value.as_deref())))
            .collect(),
        findings: findings.list.into(),
        run_obstacle: findings.run_obstacle.map_or(RNone, RSome),
        extra: extra(document, found),
        ..ModelInfo::new(FORMAT)
    };
    settle(&mut info)?;
    Ok(info)
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

fn producer(document: &Document) -> String {
    let name = document.model.producer_name.as_deref().unwrap_or_default();
    let version = document.model.producer_version.as_deref().unwrap_or_default();
    [name, version].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn versions(document: &Document) -> RVec<Pair> {
    let model = &document.model;
    let ir_version = model.ir_version.map(|version| pair("ir_version", version.to_string()));
    let opsets = model.opset_import.iter().map(|opset| {
        let domain = opset.domain.as_deref().filter(|domain| !domain.is_empty()).unwrap_or("ai.onnx");
        pair(format!("opset {domain}"), opset.version.unwrap_or_default().to_string())
    });
    let model_version = model.model_version.filter(|&version| version != 0);
    let model_version = model_version.map(|version| pair("model_version", version.to_string()));
    ir_version.into_iter().chain(opsets).chain(model_version).collect()
}

fn extra(document: &Document, found: &Quantization) -> RVec<Pair> {
    let mut extra = Vec::new();
    if !document.model.functions.is_empty() {
        extra.push(pair("functions", document.model.functions.len().to_string()));
    }
    let (quantized, weighted) = found.verdict.quantized_layers;
    if !found.verdict.scheme.is_empty() {
        extra.push(pair("quantized layers", format!("{quantized} of {weighted}")));
    }
    let files: BTreeSet<&str> = document
        .tensors
        .descriptions()
        .iter()
        .map(|tensor| tensor.external_file.as_str())
        .filter(|file| !file.is_empty())
        .collect();
    if !files.is_empty() {
        extra.push(pair("external files", files.into_iter().collect::<Vec<_>>().join(", ")));
    }
    let sparse = document.tensors.descriptions().iter().filter(|tensor| tensor.is_sparse).count();
    if sparse > 0 {
        extra.push(pair("sparse tensors", sparse.to_string()));
    }
    extra.into()
}

fn quantization(found: Option<&QuantizationParameters>) -> ROption<QuantizationParameters> {
    found.map_or(RNone, |found| RSome(found.clone()))
}

fn value_info(
    reader: Reader<'_>,
    found: &Quantization,
    facts: &Facts,
    origins: &[ValueOrigin],
    id: ValueId,
) -> ValueInfo {
    let value = &reader.graph.values[id];
    let ty = value.ty.as_ref();
    let is_other = ty.is_some_and(|ty| !matches!(ty, ValueType::Tensor(..)));
    let fact = facts.get(id);
    let codes =
        || found.values[id].as_ref().filter(|_| is_code(reader, id)).map(|parameters| parameters.dtype);
    ValueInfo {
        name: value.name.as_str().into(),
        dtype: fact.dtype.or_else(codes).unwrap_or(DType::UNDEFINED),
        shape: fact.shape.clone().map_or(RNone, |shape| RSome(shape.into())),
        quantization: quantization(found.values[id].as_ref()),
        type_name: ty.filter(|_| is_other).map_or_else(RString::new, |ty| ty.to_string().into()),
        origin: origins[id],
        is_optional: false,
    }
}

/// Whether a value is computed as codes: whether its type is that of its parameters.
fn is_code(reader: Reader<'_>, id: ValueId) -> bool {
    reader.producer(id).is_some_and(|(op, _)| op == "QuantizeLinear" || op.starts_with("QLinear"))
}

/// The values between layers whose type or parameters are known, without the graph's own inputs and outputs and
/// without the stored tensors.
fn activations(
    reader: Reader<'_>,
    found: &Quantization,
    facts: &Facts,
    origins: &[ValueOrigin],
) -> RVec<ValueInfo> {
    let outer: BTreeSet<ValueId> = reader.graph.inputs.iter().chain(&reader.graph.outputs).copied().collect();
    let is_known = |id: ValueId| {
        let value = &reader.graph.values[id];
        let is_said = value.ty.is_some() || found.values[id].is_some() || *facts.get(id) != Fact::default();
        value.stored.is_none() && !outer.contains(&id) && is_said
    };
    (0..reader.graph.values.len())
        .filter(|&id| is_known(id))
        .map(|id| value_info(reader, found, facts, origins, id))
        .collect()
}

fn layers(reader: Reader<'_>, found: &Quantization, origins: &[ValueOrigin]) -> RVec<LayerInfo> {
    let graph = reader.graph;
    // A stored tensor is named as in the list of tensors.
    let tensor = |stored: usize| RString::from(reader.tensors.get(stored).name.as_str());
    let name = |id: &Option<ValueId>| {
        id.map_or_else(RString::new, |id| match graph.values[id].stored {
            Some(stored) => tensor(stored),
            None => graph.values[id].name.as_str().into(),
        })
    };
    let layer = |(index, layer): (usize, &Layer)| {
        let part = kind::of(reader, layer, origins, tensor);
        LayerInfo {
            path: layer.path.as_str().into(),
            op_type: layer.op_type.as_str().into(),
            domain: layer.domain.as_str().into(),
            scope: layer.scope.as_str().into(),
            inputs: layer.inputs.iter().map(name).collect(),
            outputs: layer.outputs.iter().map(name).collect(),
            tensors: found.belongings[index].iter().map(|&stored| tensor(stored)).collect(),
            attributes: layer.attributes.clone().into(),
            quantization: found.layers[index].into(),
            kind: part.kind,
            is_inner: !layer.scope.is_empty(),
            roles: part.roles,
            weights: part.weights,
            bounds: part.bounds,
            input_codes: part.input_codes,
        }
    };
    graph.layers.iter().enumerate().map(layer).collect()
}

fn tensors(document: &Document, found: &Quantization) -> RVec<TensorInfo> {
    let layers: &[Layer] = &document.graph.layers;
    let tensor = |(index, tensor): (usize, &crate::document::Description)| {
        let (dtype, shape, rows) = match found.unpacked.get(&index) {
            Some(unpacked) => (unpacked.dtype, unpacked.shape.clone(), unpacked.rows),
            None => (tensor.dtype, tensor.shape.clone(), None),
        };
        let bytes = rows.map_or(tensor.bytes, |(stored, kept)| tensor.bytes / stored as u64 * kept as u64);
        TensorInfo {
            name: tensor.name.as_str().into(),
            role: found.roles[index],
            dtype,
            shape: shape.into(),
            bytes,
            layer: found.owners[index].map_or_else(RString::new, |layer| layers[layer].path.as_str().into()),
            quantization: quantization(found.tensors[index].as_ref()),
            external_file: tensor.external_file.as_str().into(),
            alias_of: RString::new(),
            type_name: RString::new(),
        }
    };
    document.tensors.descriptions().iter().enumerate().map(tensor).collect()
}
