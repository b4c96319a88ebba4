//! The graph of an exported program, as layers and values.
//!
//! A module that computes with one operator is one layer under the module's path; every other operator is a
//! layer under its own name. Operators of `quantized_decomposed` give the quantization parameters.

use super::json;
use super::weights::Weight;
use crate::document::Collector;
use crate::names::Names;
use crate::precision::precision;
use crate::quant::dtype::from_export_type;
use crate::quant::numbers;
use qp_abi::sdk::{
    Attribute, AttributeValue, BackendError, DType, Finding, LayerInfo, QuantizationParameters, RNone, RSome,
    RString, RVec, Result, Severity, TensorInfo, TensorRole, ValueInfo,
};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Adds the graph of `program` to `collector`.
///
/// # Errors
/// `CorruptFile` when the program has no graph or its weights make no sense.
pub fn read(program: &Value, weights: &[Weight], collector: &mut Collector) -> Result<()> {
    let missing = || BackendError::corrupt_file("the program has no graph");
    let module = program.get("graph_module").ok_or_else(missing)?;
    let graph = module.get("graph").ok_or_else(missing)?;
    let nodes = graph.get("nodes").and_then(Value::as_array).ok_or_else(missing)?;
    let signature = Signature::read(module.get("signature").unwrap_or(&Value::Null));
    let mut reader = Reader {
        values: graph.get("tensor_values"),
        weights: weights.iter().map(|weight| (weight.name.as_str(), weight)).collect(),
        stored: signature.stored,
        quantization: HashMap::new(),
        weight_of: HashMap::new(),
        owners: HashMap::new(),
        scales: HashSet::new(),
    };
    reader.parameters(nodes, collector);
    let layers = reader.layers(nodes);
    reader.tensors(weights, collector)?;
    let mut values = Vec::new();
    let mut seen = HashSet::new();
    for layer in &layers {
        values.extend(
            layer.outputs.iter().filter(|name| seen.insert((*name).clone())).map(|name| reader.value(name)),
        );
    }
    let info = &mut collector.document.info;
    info.inputs = signature.inputs.iter().map(|name| reader.value(name)).collect();
    info.outputs = signature.outputs.iter().map(|name| reader.value(name)).collect();
    info.values = values.into();
    let is_quantized = layers.iter().any(|layer| layer.domain == "quantized_decomposed");
    let is_torchao = layers.iter().any(|layer| layer.domain == "torchao");
    info.scheme = if is_quantized {
        "PT2E".into()
    } else if is_torchao {
        "torchao".into()
    } else {
        RString::new()
    };
    info.layers = layers.into();
    let used: HashSet<&RString> = info.layers.iter().flat_map(|layer| &layer.tensors).collect();
    let (used, unused): (Vec<TensorInfo>, Vec<TensorInfo>) =
        info.tensors.iter().cloned().partition(|tensor| used.contains(&tensor.name));
    info.precision = precision(&used).into();
    if !unused.is_empty() {
        info.findings.push(Finding {
            severity: Severity::NOTE,
            code: "pt2.unused-tensors".into(),
            message: match &unused[..] {
                [one] => format!("`{}` is used by no operator of the graph", one.name),
                all => format!("{} stored tensors are used by no operator of the graph", all.len()),
            }
            .into(),
            subjects: unused.iter().take(64).map(|tensor| tensor.name.clone()).collect(),
        });
    }
    Ok(())
}

/// What the inputs and outputs of the graph stand for.
struct Signature {
    /// Names in the graph to names of stored tensors.
    stored: HashMap<String, String>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Signature {
    fn read(signature: &Value) -> Self {
        let mut read = Self { stored: HashMap::new(), inputs: Vec::new(), outputs: Vec::new() };
        let rows = |name: &str| signature.get(name).and_then(Value::as_array).into_iter().flatten();
        let stored = json::stored_names(signature);
        read.stored.extend(stored.into_iter().map(|(graph, name)| (graph.to_owned(), name.to_owned())));
        for spec in rows("input_specs") {
            if let Some(argument) = spec.pointer("/user_input/arg") {
                read.inputs.extend(json::value_names(argument).into_iter().map(|(name, _)| name.to_owned()));
            }
        }
        for spec in rows("output_specs") {
            if let Some(argument) = spec.pointer("/user_output/arg") {
                read.outputs.extend(json::value_names(argument).into_iter().map(|(name, _)| name.to_owned()));
            }
        }
        read
    }
}

struct Reader<'a> {
    values: Option<&'a Value>,
    /// The stored tensors by name.
    weights: HashMap<&'a str, &'a Weight>,
    stored: HashMap<String, String>,
    /// The parameters of values and stored tensors, by name in the graph.
    quantization: HashMap<String, QuantizationParameters>,
    /// Values that are dequantized weights: the weight's name in the graph.
    weight_of: HashMap<String, String>,
    /// The layers that stored tensors belong to.
    owners: HashMap<String, String>,
    /// Stored tensors that are scales and zero points.
    scales: HashSet<String>,
}

impl Reader<'_> {
    fn value(&self, name: &str) -> ValueInfo {
        let meta = self.values.and_then(|values| values.get(name));
        let sizes = meta.and_then(|meta| meta.get("sizes")).and_then(Value::as_array);
        ValueInfo {
            name: name.into(),
            dtype: meta.map_or(DType::UNDEFINED, json::dtype),
            shape: sizes.map_or(RNone, |sizes| RSome(sizes.iter().map(json::dimension).collect())),
            quantization: self.quantization.get(name).cloned().into(),
            type_name: RString::new(),
        }
    }

    /// Takes the parameters from the operators that quantize and dequantize.
    fn parameters(&mut self, nodes: &[Value], collector: &Collector) {
        for node in nodes {
            let (domain, operator) = target(node);
            if domain != "quantized_decomposed" || !operator.contains("quantize_per_") {
                continue;
            }
            let input = json::argument(node, "input")
                .map(json::tensor_names)
                .and_then(|names| names.first().copied());
            let output = outputs(node).into_iter().next();
            let Some((input, output)) = input.zip(output) else { continue };
            let Some(parameters) = self.parameters_of(node, collector) else { continue };
            if operator.starts_with("dequantize") && self.stored.contains_key(input) {
                self.weight_of.insert(output.to_owned(), input.to_owned());
            }
            // The codes, the values rounded to them, and the values before: all have these parameters.
            self.quantization.entry(input.to_owned()).or_insert_with(|| parameters.clone());
            self.quantization.insert(output.to_owned(), parameters);
        }
    }

    fn parameters_of(&mut self, node: &Value, collector: &Collector) -> Option<QuantizationParameters> {
        let argument = |names: [&str; 2]| names.into_iter().find_map(|name| json::argument(node, name));
        let dtype = json::argument(node, "dtype")?.get("as_scalar_type")?.as_i64()?;
        let dtype = from_export_type(dtype)?.dtype;
        let (scale, zero_point) = (argument(["scale", "scales"])?, argument(["zero_point", "zero_points"])?);
        let axis = argument(["axis", "axis"]).and_then(json::number);
        if let (Some(scale), Some(zero_point)) = (json::number(scale), json::number(zero_point)) {
            return Some(QuantizationParameters::per_tensor(dtype, scale, zero_point));
        }
        let mut stored = |argument: &Value| {
            let name = self.stored.get(*json::tensor_names(argument).first()?)?.clone();
            let weight = self.weights.get(name.as_str())?;
            let values = numbers(&weight.found.tensor, &collector.document.data).ok()?;
            self.scales.insert(name.clone());
            Some((name, values))
        };
        let (scale_name, scales) = stored(scale)?;
        let (zero_point_name, zero_points) = stored(zero_point).unwrap_or_default();
        let mut parameters =
            QuantizationParameters::per_channel(dtype, scales, zero_points, axis.unwrap_or(0.0) as i64);
        if axis.is_none() {
            parameters.axis = RNone;
        }
        parameters.scale_name = scale_name.into();
        parameters.zero_point_name = zero_point_name.into();
        Some(parameters)
    }

    fn layers(&mut self, nodes: &[Value]) -> Vec<LayerInfo> {
        let mut computing: HashMap<&str, usize> = HashMap::new();
        let mut parents: HashSet<&str> = HashSet::new();
        for node in nodes.iter().filter(|node| target(node).0 != "quantized_decomposed") {
            let path = module(node).0;
            *computing.entry(path).or_default() += 1;
            parents.extend(path.match_indices('.').filter_map(|(dot, _)| path.get(..dot)));
        }
        let mut names = Names::default();
        let mut layers = Vec::with_capacity(nodes.len());
        for node in nodes {
            let (domain, operator) = target(node);
            let (path, class) = module(node);
            let is_module = domain != "quantized_decomposed"
                && !path.is_empty()
                && computing.get(path) == Some(&1)
                && !parents.contains(path);
            let is_quantizer = domain == "quantized_decomposed";
            let name = node.get("name").and_then(Value::as_str).or_else(|| outputs(node).first().copied());
            let stem = match (is_module, is_quantizer, path) {
                (true, ..) => path.to_owned(),
                (_, true, _) => name.unwrap_or(operator).to_owned(),
                (_, _, "") => operator.to_owned(),
                _ => format!("{path}.{operator}"),
            };
            let unique = names.claim(&stem, '_', 1);
            let mut layer = LayerInfo {
                path: unique.as_str().into(),
                op_type: if is_module {
                    class.rsplit('.').next().unwrap_or(operator).into()
                } else {
                    operator.into()
                },
                domain: domain.into(),
                scope: if is_module {
                    path.rsplit_once('.').map_or("", |(scope, _)| scope).into()
                } else {
                    path.into()
                },
                inputs: RVec::new(),
                outputs: outputs(node).into_iter().map(RString::from).collect(),
                tensors: RVec::new(),
                attributes: RVec::new(),
                quantization: RString::new(),
            };
            self.inputs(node, &mut layer, is_quantizer);
            if is_quantizer || layer.inputs.iter().any(|input| self.quantization.contains_key(input.as_str()))
            {
                layer.quantization = "qdq".into();
            }
            layers.push(layer);
        }
        layers
    }

    /// The arguments of a node: values and stored tensors it reads, and settings.
    fn inputs(&mut self, node: &Value, layer: &mut LayerInfo, is_quantizer: bool) {
        for input in node.get("inputs").and_then(Value::as_array).into_iter().flatten() {
            let Some(argument) = input.get("arg") else { continue };
            for name in json::tensor_names(argument) {
                let weight = self.weight_of.get(name).map_or(name, String::as_str);
                let Some(stored) = self.stored.get(weight).cloned() else {
                    layer.inputs.push(name.into());
                    continue;
                };
                // A weight behind a dequantize belongs to the layer that computes with it.
                layer.inputs.push(if weight == name { stored.as_str().into() } else { name.into() });
                layer.tensors.push(stored.as_str().into());
                let owner = layer.path.to_string();
                if is_quantizer {
                    self.owners.entry(stored).or_insert(owner);
                } else {
                    self.owners.insert(stored, owner);
                }
            }
            let name = input.get("name").and_then(Value::as_str).unwrap_or_default();
            if let Some(value) = setting(argument) {
                layer.attributes.push(Attribute { name: name.into(), value });
            }
        }
    }

    fn tensors(&self, weights: &[Weight], collector: &mut Collector) -> Result<()> {
        let in_graph: HashMap<&str, &str> =
            self.stored.iter().map(|(graph, stored)| (stored.as_str(), graph.as_str())).collect();
        for weight in weights {
            let graph = in_graph.get(weight.name.as_str()).copied().unwrap_or_default();
            let quantization = self.quantization.get(graph);
            // PT2E leaves the float weights in the file when it has put quantized ones in their place.
            let is_left_over = !self.quantization.is_empty() && !self.owners.contains_key(&weight.name);
            let role = if self.scales.contains(&weight.name) {
                TensorRole::QUANTIZATION
            } else if is_left_over {
                TensorRole::CONSTANT
            } else if weight.found.is_parameter || quantization.is_some() {
                TensorRole::PARAMETER
            } else if weight.is_constant {
                TensorRole::CONSTANT
            } else {
                TensorRole::BUFFER
            };
            let owner = self.owners.get(&weight.name).map(String::as_str).unwrap_or_default();
            let name = collector.add(&weight.name, owner, role, weight.found.clone())?;
            if let (Some(quantization), Some(info)) =
                (quantization, collector.document.info.tensors.last_mut())
                && info.name == name
            {
                info.quantization = RSome(quantization.clone());
            }
        }
        Ok(())
    }
}

/// The namespace and the name of a node's operator: `torch.ops.aten.conv2d.default`.
fn target(node: &Value) -> (&str, &str) {
    let target = node.get("target").and_then(Value::as_str).unwrap_or_default();
    match target.strip_prefix("torch.ops.").map(|rest| rest.splitn(3, '.').collect::<Vec<_>>()).as_deref() {
        Some([namespace, name, ..]) => (namespace, name),
        _ => ("", target.rsplit('.').next().unwrap_or(target)),
    }
}

/// The path and the class of the module a node is in, the innermost of `nn_module_stack`.
fn module(node: &Value) -> (&str, &str) {
    let stack = node.pointer("/metadata/nn_module_stack").and_then(Value::as_str).unwrap_or_default();
    let innermost = stack.split(';').next_back().unwrap_or_default();
    let mut parts = innermost.splitn(3, ',').skip(1);
    let path = parts.next().unwrap_or_default();
    (path.trim_start_matches("L['self'].").trim_start_matches("L__self__."), parts.next().unwrap_or_default())
}

fn outputs(node: &Value) -> Vec<&str> {
    let outputs = node.get("outputs").and_then(Value::as_array);
    outputs.into_iter().flatten().flat_map(json::tensor_names).collect()
}

/// An argument that is no tensor.
fn setting(argument: &Value) -> Option<AttributeValue> {
    let (kind, value) = argument.as_object()?.iter().next()?;
    match kind.as_str() {
        "as_int" => value.as_i64().map(AttributeValue::Int),
        "as_bool" => value.as_bool().map(|flag| AttributeValue::Int(flag.into())),
        "as_float" => value.as_f64().map(AttributeValue::Float),
        "as_string" => value.as_str().map(|text| AttributeValue::Text(text.into())),
        "as_ints" => {
            let numbers: Option<RVec<i64>> = value.as_array()?.iter().map(Value::as_i64).collect();
            numbers.map(AttributeValue::Ints)
        }
        "as_scalar_type" => {
            let dtype = from_export_type(value.as_i64()?)?.dtype;
            Some(AttributeValue::Text(dtype.to_string().into()))
        }
        _ => None,
    }
}
