//! The graph of an exported program: its layers, values, tensors, and what is quantized.
//!
//! The operators of `quantized_decomposed` give the quantization parameters; weights of torchao's have their own, or
//! those of the operator that turns them into real values.

use super::json;
use super::layers::{self, Layer, module, node_target, outputs, target};
use super::weights::{Weight, Weights};
use crate::document::{Collector, precision};
use crate::quant::dtype::from_export_type;
use crate::rebuild::Found;
use crate::tensor::numbers;
use crate::weight::torchao::Subclass;
use crate::weight::{self, Activations, Affine, Sharing, Side};
use qp_abi::abi_stable::std_types::Tuple2;
use qp_abi::sdk::{
    BackendError, DType, Finding, LayerInfo, ModelInfo, QuantizationParameters, RNone, RSome, RString, RVec,
    Result, Severity, TensorInfo, TensorRole, ValueInfo,
};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Subjects that a finding lists at most.
const MAX_SUBJECTS: usize = 64;
/// More than a description may have: the file is then refused.
const MAX_NAME_BYTES: usize = 128 << 20;

/// Adds the graph of `program` to `collector`.
///
/// # Errors
/// `CorruptFile` when the program has no graph or its weights make no sense.
pub fn read(program: &Value, weights: &Weights, collector: &mut Collector) -> Result<()> {
    let missing = || BackendError::corrupt_file("the program has no graph");
    let graph_module = program.get("graph_module").ok_or_else(missing)?;
    let graph = graph_module.get("graph").ok_or_else(missing)?;
    let nodes = graph.get("nodes").and_then(Value::as_array).ok_or_else(missing)?;
    if nodes.len() > collector.document.parts() {
        return Err(BackendError::corrupt_file("the graph of the program has too many nodes"));
    }
    let signature = Signature::read(graph_module);
    let mut reader = Reader {
        values: graph.get("tensor_values"),
        weights: weights.all.iter().map(|weight| (weight.name.as_str(), weight)).collect(),
        stored: signature.stored,
        quantization: HashMap::new(),
        weight_of: HashMap::new(),
        owners: HashMap::new(),
        scales: HashSet::new(),
        name_bytes: 0,
    };
    reader.parameters(nodes, collector);
    let returned = signature.outputs.iter().map(|(value, _)| value.as_str()).collect();
    let layers = layers::of(nodes, &returned).into_iter();
    let mut layers: Vec<LayerInfo> = layers.map(|layer| reader.layer(layer)).collect();
    collector.spend(reader.name_bytes)?;
    let mut quantized = reader.quantized(&weights.subclasses, nodes, collector)?;
    reader.tensors(&weights.all, &mut quantized, collector)?;
    for layer in &mut layers {
        if let Some(form) = quantized.form(&layer.path) {
            layer.quantization = form.into();
        }
        layer.attributes.extend(quantized.attributes(&layer.path));
    }
    let mut seen = HashSet::new();
    let computed = layers.iter().flat_map(|layer| &layer.outputs).filter(|name| seen.insert((*name).clone()));
    let values = computed.map(|name| reader.value(name)).collect();
    let info = &mut collector.document.info;
    info.inputs = signature.inputs.iter().map(|name| reader.value(name)).collect();
    let outputs = signature.outputs.iter();
    info.outputs = outputs
        .map(|(value, name)| ValueInfo { name: name.as_str().into(), ..reader.value(value) })
        .collect();
    info.values = values;
    info.layers = layers.into();
    let has = |domain: &str| nodes.iter().any(|node| target(node).0 == domain);
    info.scheme = match quantized.scheme() {
        _ if has(layers::QUANTIZERS) => "PT2E".into(),
        scheme if scheme.is_empty() && has("torchao") => "torchao".into(),
        scheme => scheme.into(),
    };
    judge_tensors(info, &quantized);
    if info.scheme == "PT2E" && is_dynamic(nodes) && info.precision != "mixed" {
        info.precision = format!("dynamic-{}", info.precision).into();
    }
    quantized.finish(info);
    Ok(())
}

/// Whether PT2E quantizes activations, and none of them with parameters that are in the file.
fn is_dynamic(nodes: &[Value]) -> bool {
    // With numbers out of the file it is `default`, with those that were chosen `tensor`.
    let is_static = |node: &Value| node_target(node).ends_with(".quantize_per_tensor.default");
    let chooses =
        |node: &Value| target(node).0 == layers::QUANTIZERS && target(node).1.starts_with("choose_qparams");
    nodes.iter().any(chooses) && !nodes.iter().any(is_static)
}

/// Says what the tensors that are used make of the model, and which ones are not.
fn judge_tensors(info: &mut ModelInfo, quantized: &weight::Weights) {
    let used: HashSet<&RString> = info.layers.iter().flat_map(|layer| &layer.tensors).collect();
    let (used, unused): (Vec<TensorInfo>, Vec<TensorInfo>) =
        info.tensors.iter().cloned().partition(|tensor| used.contains(&tensor.name));
    info.precision = precision(&used).into();
    // A part of a weight may be a zero point that is zero.
    let unused: Vec<&RString> =
        unused.iter().map(|tensor| &tensor.name).filter(|name| !quantized.has(name)).collect();
    let message = match &unused[..] {
        [] => return,
        [one] => format!("`{one}` is used by no operator of the graph"),
        all => format!("{} stored tensors are used by no operator of the graph", all.len()),
    };
    info.findings.push(Finding {
        severity: Severity::NOTE,
        code: "pt2.unused-tensors".into(),
        message: message.into(),
        subjects: unused.into_iter().take(MAX_SUBJECTS).cloned().collect(),
    });
}

/// What the inputs and outputs of the graph stand for.
struct Signature {
    /// Names in the graph to names of stored tensors.
    stored: HashMap<String, String>,
    inputs: Vec<String>,
    /// The values that are returned, and what they are called.
    outputs: Vec<(String, String)>,
}

impl Signature {
    fn read(module: &Value) -> Self {
        let signature = module.get("signature").unwrap_or(&Value::Null);
        let mut read = Self { stored: HashMap::new(), inputs: Vec::new(), outputs: Vec::new() };
        let stored = json::stored_names(signature);
        read.stored.extend(stored.into_iter().map(|(graph, name)| (graph.to_owned(), name.to_owned())));
        read.inputs.extend(json::given(signature).map(|(name, _)| name.to_owned()));
        let returned = json::returned(module).into_iter();
        read.outputs.extend(returned.map(|(value, name)| (value.to_owned(), name)));
        read
    }
}

struct Reader<'a> {
    values: Option<&'a Value>,
    /// The stored tensors by name.
    weights: HashMap<&'a str, &'a Weight>,
    /// Their names by those in the graph.
    stored: HashMap<String, String>,
    /// The parameters of values and stored tensors, by name in the graph.
    quantization: HashMap<String, QuantizationParameters>,
    /// Values that are dequantized weights: the weight's name in the graph.
    weight_of: HashMap<String, String>,
    /// The layers that stored tensors belong to.
    owners: HashMap<String, String>,
    /// Stored tensors that are scales and zero points.
    scales: HashSet<String>,
    /// Bytes of the names of stored tensors that layers read: a file may have one long name for a million reads.
    name_bytes: usize,
}

impl<'a> Reader<'a> {
    fn value(&self, name: &str) -> ValueInfo {
        let meta = self.values.and_then(|values| values.get(name));
        let sizes = meta.and_then(|meta| meta.get("sizes")).and_then(Value::as_array);
        ValueInfo {
            name: name.into(),
            dtype: meta.map_or(DType::UNDEFINED, json::dtype),
            shape: sizes.map_or(RNone, |sizes| RSome(sizes.iter().map(json::dimension).collect())),
            quantization: self.quantization.get(name).cloned().into(),
            ..ValueInfo::default()
        }
    }

    /// The stored tensor that an argument is.
    fn stored_tensor(&self, argument: &Value) -> Option<&'a Weight> {
        let name = self.stored.get(*json::tensor_names(argument).first()?)?;
        self.weights.get(name.as_str()).copied()
    }

    /// Takes the parameters from the operators of PT2E.
    fn parameters(&mut self, nodes: &[Value], collector: &Collector) {
        // One tensor of scales may be that of a hundred thousand values.
        let mut left = collector.document.scales();
        for node in nodes {
            let (domain, operator) = target(node);
            if domain != layers::QUANTIZERS || !operator.contains("quantize_per_") {
                continue;
            }
            let input = json::argument(node, "input")
                .map(json::tensor_names)
                .and_then(|names| names.first().copied());
            let output = outputs(node).into_iter().next();
            let Some((input, output)) = input.zip(output) else { continue };
            let Some(mut parameters) = self.parameters_of(node, collector) else { continue };
            match left.checked_sub(2 * parameters.scales.len()) {
                Some(rest) => left = rest,
                None => {
                    parameters.scale_count = parameters.scales.len() as u64;
                    (parameters.scales, parameters.zero_points) = (RVec::new(), RVec::new());
                }
            }
            if operator.starts_with("dequantize") && self.stored.contains_key(input) {
                self.weight_of.insert(output.to_owned(), input.to_owned());
            }
            // The codes, the values rounded to them, and the values before: all have these parameters.
            self.quantization.entry(input.to_owned()).or_insert_with(|| parameters.clone());
            self.quantization.insert(output.to_owned(), parameters);
        }
    }

    /// What a quantizer's arguments say, with the range of codes where that is not all of their type.
    fn parameters_of(&mut self, node: &Value, collector: &Collector) -> Option<QuantizationParameters> {
        let mut parameters = self.affine_of(node, collector)?;
        let bound = |name: &str| json::argument(node, name)?.get("as_int")?.as_i64();
        if let (Some(low), Some(high), Some(all)) =
            (bound("quant_min"), bound("quant_max"), parameters.dtype.code_range())
            && low <= high
            && (low, high) != all
            && low >= all.0
            && high <= all.1
        {
            parameters.code_range = RSome(Tuple2(low, high));
        }
        Some(parameters)
    }

    fn affine_of(&mut self, node: &Value, collector: &Collector) -> Option<QuantizationParameters> {
        let argument = |name: &str| json::argument(node, name);
        let either = |one: &str, many: &str| argument(one).or_else(|| argument(many));
        let dtype = argument("dtype")?.get("as_scalar_type")?.as_i64()?;
        let dtype = from_export_type(dtype)?.dtype;
        let (scale, zero_point) = (either("scale", "scales")?, either("zero_point", "zero_points")?);
        let axis = argument("axis").and_then(json::number);
        if let (Some(scale), Some(zero_point)) = (json::number(scale), json::number(zero_point)) {
            return Some(QuantizationParameters::per_tensor(dtype, scale, zero_point));
        }
        let mut stored = |argument: &Value| {
            let weight = self.stored_tensor(argument)?;
            let values = numbers(&weight.found.tensor, &collector.document.data).ok()?;
            self.scales.insert(weight.name.clone());
            Some((weight.name.as_str(), values))
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

    /// The weights that are quantized by torchao: subclasses, and codes that its operators turn into real values.
    fn quantized(
        &self,
        subclasses: &[Subclass],
        nodes: &[Value],
        collector: &mut Collector,
    ) -> Result<weight::Weights> {
        let mut quantized = weight::Weights::default();
        for subclass in subclasses {
            let mut parts = subclass.parts.iter().map(|(part, _)| format!("{}.{part}", subclass.name));
            let owner = parts.find_map(|part| self.owners.get(&part)).cloned().unwrap_or_default();
            quantized.add_subclass(subclass, &owner, &mut collector.document)?;
        }
        for weight in self.affine(nodes, &quantized) {
            let owner = self.owners.get(&weight.codes_name).cloned().unwrap_or_default();
            quantized.add(weight, &owner, &mut collector.document)?;
        }
        Ok(quantized)
    }

    /// The stored codes that torchao's operators turn into real values, but for those of `known` weights.
    fn affine(&self, nodes: &[Value], known: &weight::Weights) -> Vec<weight::Weight> {
        let is_torchao = |node: &&Value, name: &str| target(node) == ("torchao", name);
        // Modules that choose scales for what they are given.
        let chosen = nodes.iter().filter(|node| is_torchao(node, "choose_qparams_affine"));
        let dynamic: HashSet<&str> = chosen.map(|node| module(node).0).collect();
        let dequantized = nodes.iter().filter(|node| is_torchao(node, "dequantize_affine"));
        let weights = dequantized.filter_map(|node| {
            let argument = |name: &str| json::argument(node, name);
            let codes = self.stored_tensor(argument("input")?)?;
            let scale = self.stored_tensor(argument("scale")?)?;
            if known.has(&codes.name) {
                return None;
            }
            let zero_point = argument("zero_point").and_then(|argument| self.stored_tensor(argument));
            let block_size = argument("block_size")?.get("as_ints")?.as_array()?;
            let block_size: Option<Vec<i64>> = block_size.iter().map(Value::as_i64).collect();
            let range = |name: &str| argument(name)?.get("as_int")?.as_i64();
            let narrow =
                (range("quant_min") == Some(-8) && range("quant_max") == Some(7)).then_some(DType::INT4);
            let tensor = &codes.found.tensor;
            let side = |weight: &Weight| Side::stored(weight.name.as_str(), &weight.found.tensor);
            let affine = Sharing::of_blocks(&tensor.shape, &block_size?).map(|sharing| Affine {
                dtype: narrow.unwrap_or(tensor.dtype),
                sharing,
                scales: side(scale),
                zero_points: zero_point.map(side),
            });
            let is_dynamic = dynamic.contains(module(node).0);
            Some(weight::Weight {
                scheme: "torchao",
                activations: if is_dynamic { Activations::Dynamic } else { Activations::Real },
                codes_name: codes.name.clone(),
                codes: tensor.clone(),
                parts: [Some(scale), zero_point]
                    .into_iter()
                    .flatten()
                    .map(|part| (part.name.clone(), None))
                    .collect(),
                gap: affine.is_none().then(|| "its scales fit no axis and no block of its shape".to_owned()),
                affine,
                precision: narrow.map(|dtype| dtype.to_string()),
                attributes: Vec::new(),
            })
        });
        weights.collect()
    }

    /// A layer with what its nodes read: values, stored tensors, and the settings of a single one.
    fn layer(&mut self, layer: Layer<'_>) -> LayerInfo {
        let Layer { nodes, mut info, is_quantizer, inner } = layer;
        let is_single = nodes.len() == 1;
        for node in nodes {
            for name in json::inputs(node).flat_map(json::tensor_names).filter(|name| !inner.contains(name)) {
                self.read_by(&mut info, name, is_quantizer);
            }
            if is_single {
                info.attributes.extend(layers::settings(node));
            }
        }
        if !is_single {
            info.inputs.retain({
                let own: HashSet<RString> = info.outputs.iter().cloned().collect();
                let mut seen = HashSet::new();
                move |name: &RString| !own.contains(name) && seen.insert(name.clone())
            });
        }
        let mut seen = HashSet::new();
        info.tensors.retain(|name| seen.insert(name.clone()));
        if is_quantizer || info.inputs.iter().any(|input| self.quantization.contains_key(input.as_str())) {
            info.quantization = "qdq".into();
        }
        info
    }

    /// Notes that a layer reads a value or a stored tensor.
    fn read_by(&mut self, layer: &mut LayerInfo, name: &str, is_quantizer: bool) {
        let weight = self.weight_of.get(name).map_or(name, String::as_str);
        let Some(stored) = self.stored.get(weight).cloned() else {
            layer.inputs.push(name.into());
            return;
        };
        self.name_bytes = self.name_bytes.saturating_add(2 * stored.len() + layer.path.len());
        if self.name_bytes > MAX_NAME_BYTES {
            return;
        }
        // A weight after a dequantize belongs to the layer that computes with it.
        layer.inputs.push(if weight == name { stored.as_str().into() } else { name.into() });
        if !self.weights.contains_key(stored.as_str()) {
            return;
        }
        layer.tensors.push(stored.as_str().into());
        let owner = layer.path.to_string();
        if is_quantizer {
            self.owners.entry(stored).or_insert(owner);
        } else {
            self.owners.insert(stored, owner);
        }
    }

    fn tensors(
        &self,
        weights: &[Weight],
        quantized: &mut weight::Weights,
        collector: &mut Collector,
    ) -> Result<()> {
        let in_graph: HashMap<&str, &str> =
            self.stored.iter().map(|(graph, stored)| (stored.as_str(), graph.as_str())).collect();
        let mut sides: Vec<(&str, Side)> = Vec::new();
        for weight in weights {
            let graph = in_graph.get(weight.name.as_str()).copied().unwrap_or_default();
            let quantization = self.quantization.get(graph);
            // PT2E leaves the float weights in the file when it has put quantized ones in their place.
            let is_left_over = !self.quantization.is_empty() && !self.owners.contains_key(&weight.name);
            let role = if let Some(role) = quantized.role(&weight.name) {
                role
            } else if self.scales.contains(&weight.name) {
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
            let (codes, computed) = quantized.take_codes(&weight.name);
            let mut found = weight.found.clone();
            if let Some(view) = quantized.view(&weight.name).filter(|view| *view != found.tensor) {
                // The program reads what is stored.
                collector.document.raw.insert(weight.name.clone(), found.tensor);
                found.tensor = view;
            }
            let name = collector.add(&weight.name, owner, role, found)?;
            if let (Some(quantization), Some(info)) =
                (codes.or_else(|| quantization.cloned()), collector.document.info.tensors.last_mut())
                && info.name == name
            {
                info.quantization = RSome(quantization);
            }
            sides.extend(computed.into_iter().map(|side| (owner, side)));
        }
        // What is computed from a tensor comes after it.
        for (owner, side) in sides {
            let found = Found { tensor: side.tensor, quantizer: None, is_parameter: false };
            let name = collector.add(&side.name, owner, TensorRole::QUANTIZATION, found)?;
            quantized.note_computed(&name, side.origin.as_deref());
        }
        Ok(())
    }
}
