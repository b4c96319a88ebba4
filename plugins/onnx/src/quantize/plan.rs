//! The plan: the answer to `quantizable/1`.

use super::mark::Walk;
use super::operator::{Rule, input_axis, op, rule};
use super::weights;
use crate::external_data::ExternalFiles;
use crate::proto::{ModelProto, NodeProto};
use qp_abi::sdk::{
    Activations, DType, FloatReason, FoldedClamp, ModelInfo, Quantizable, QuantizableBias, QuantizableLayer,
    QuantizableOf, QuantizableTensor, QuantizableValue,
};
use std::collections::{HashMap, HashSet};

/// What of the model can be quantized. `info` is the description of the model.
pub fn plan(
    model: &ModelProto,
    external: &ExternalFiles,
    info: &ModelInfo,
    of: &QuantizableOf,
) -> Quantizable {
    if of.activations != Activations::Calibrated {
        return weights::plan(model, info, of);
    }
    let Some(graph) = &model.graph else { return Quantizable::default() };
    let values = info.values.iter().chain(&info.outputs).chain(&info.inputs);
    // A Constant node's output is a value of the graph, although it is listed as a stored tensor.
    let constants = info.tensors.iter().map(|tensor| (tensor.name.to_string(), tensor.dtype));
    let types: HashMap<String, DType> =
        constants.chain(values.map(|value| (value.name.to_string(), value.dtype))).collect();
    let mut walk = Walk::new(of, graph, external, types, crate::edit::opset(model));
    let paths = paths(&walk.nodes, info);
    let takes_op = |name: &str| of.op_types.is_empty() && rule(name).is_some() || of.op_types.contains(name);
    let is_wanted: Vec<bool> = (walk.nodes.iter().zip(&paths))
        .map(|(node, path)| takes_op(op(node)) && !is_made_of_codes(op(node)) && !of.exclude.contains(path))
        .collect();
    for node in walk.nodes.iter().filter(|node| takes_op(op(node))) {
        let names = node.input.iter().chain(&node.output);
        let is_ranged = |name: &&String| !walk.stored.contains_key(*name) && walk.is_real(name);
        walk.ranged.extend(names.filter(is_ranged).cloned().collect::<Vec<_>>());
    }
    let ranges = ranges(&walk, &is_wanted);
    for index in (0..walk.nodes.len()).filter(|index| is_wanted[*index]) {
        walk.visit(index);
    }
    let mut plan = answer(&walk, &paths, &ranges);
    plan.layers = layers(&walk, &paths, &is_wanted, &takes_op, &plan);
    plan
}

fn is_made_of_codes(op: &str) -> bool {
    matches!(op, "QuantizeLinear" | "DequantizeLinear")
}

/// The path of each node of the main graph, by what it computes.
pub(super) fn paths(nodes: &[NodeProto], info: &ModelInfo) -> Vec<String> {
    let layers = info.layers.iter().filter(|layer| !layer.is_inner);
    let known: HashMap<&str, &str> = layers
        .flat_map(|layer| layer.outputs.iter().map(|name| (name.as_str(), layer.path.as_str())))
        .collect();
    let path = |node: &NodeProto| {
        let found = node.output.iter().find_map(|name| known.get(name.as_str()).copied());
        found.unwrap_or_default().to_owned()
    };
    nodes.iter().map(path).collect()
}

/// Why a layer that is excluded stays as it is.
pub(super) fn excluded() -> FloatReason {
    FloatReason::new("excluded", "it is excluded", "")
}

/// Why a layer of another operator stays as it is.
pub(super) fn left_out(op_type: &str) -> FloatReason {
    FloatReason::new("operator", format!("`{op_type}` is not among the quantized operators"), "")
}

/// Where a value's range comes from.
#[derive(Clone)]
enum Source {
    Value(String),
    Fixed(f32, f32),
}

/// Ranges that are not a value's own: what is clamped has the range of the result, probabilities lie between 0 and 1.
fn ranges(walk: &Walk<'_>, is_wanted: &[bool]) -> HashMap<String, Source> {
    let mut sources: HashMap<String, Source> = HashMap::new();
    for (node, _) in walk.nodes.iter().zip(is_wanted).filter(|(_, is_wanted)| **is_wanted) {
        let (Some(input), Some(output)) = (node.input.first(), node.output.first()) else { continue };
        if rule(op(node)) == Some(Rule::Clamp) {
            let are_known = walk.ranged.contains(input) && walk.ranged.contains(output);
            if are_known && walk.readers(input) == 1 {
                let source = sources.get(output).cloned().unwrap_or_else(|| Source::Value(output.clone()));
                sources.insert(input.clone(), source);
            }
        } else if op(node) == "Softmax" {
            sources.insert(output.clone(), Source::Fixed(0.0, 1.0));
        }
    }
    sources
}

fn answer(walk: &Walk<'_>, paths: &[String], ranges: &HashMap<String, Source>) -> Quantizable {
    // What another tool has quantized stays as it is.
    let known: HashSet<&str> = (walk.nodes.iter())
        .filter(|node| op(node) == "DequantizeLinear")
        .flat_map(|node| node.output.iter().map(String::as_str))
        .collect();
    let mut layers_of: HashMap<&str, Vec<&str>> = HashMap::new();
    for (node, path) in walk.nodes.iter().zip(paths) {
        for name in node.input.iter().filter(|name| walk.stored.contains_key(*name)) {
            layers_of.entry(name).or_default().push(path);
        }
    }
    let mut plan = Quantizable::default();
    for mark in walk.marks().filter(|mark| !known.contains(mark.name.as_str())) {
        if walk.stored.contains_key(&mark.name) {
            let layers = layers_of.get(mark.name.as_str()).into_iter().flatten();
            let (input_axis, values) = match walk.of.in_blocks && mark.is_weight {
                true => matrix(walk, &mark.name).unwrap_or_default(),
                false => (None, Vec::new()),
            };
            plan.tensors.push(QuantizableTensor {
                name: mark.name.clone(),
                axis: mark.axis,
                input_axis,
                is_operand: !mark.is_weight,
                layers: layers.map(|path| (*path).to_owned()).collect(),
                values,
                ..QuantizableTensor::default()
            });
            continue;
        }
        let (range_of, range) = match ranges.get(&mark.name) {
            Some(Source::Value(source)) => (Some(source.clone()).filter(|name| *name != mark.name), None),
            Some(Source::Fixed(low, high)) => (None, Some((*low, *high))),
            None => (None, None),
        };
        plan.values.push(QuantizableValue {
            name: mark.name.clone(),
            same_as: mark.same_as.clone(),
            range_of,
            range,
        });
    }
    // Codes that would be shared with what has none.
    loop {
        let own = plan.values.iter().map(|value| value.name.as_str());
        let all: HashSet<String> =
            own.chain(plan.tensors.iter().map(|tensor| tensor.name.as_str())).map(str::to_owned).collect();
        let before = plan.values.len();
        plan.values.retain(|value| value.same_as.as_ref().is_none_or(|other| all.contains(other)));
        if plan.values.len() == before {
            plan.biases = biases(walk, paths, &all);
            // Sums over blocks have no scale that a bias could share.
            let in_blocks = plan.tensors.iter().filter(|tensor| tensor.input_axis.is_some());
            let in_blocks: HashSet<&str> = in_blocks.map(|tensor| tensor.name.as_str()).collect();
            plan.biases.retain(|bias| !in_blocks.contains(bias.weight.as_str()));
            break;
        }
    }
    let folded = |(node, _): &(usize, String)| FoldedClamp {
        value: walk.nodes[*node].output.first().cloned().unwrap_or_default(),
        layer: paths[*node].clone(),
    };
    plan.folded = walk.folded.iter().map(folded).collect();
    plan
}

/// The axis along which a stored matrix is multiplied, if all that read it multiply so, and a value that each of them
/// computes.
fn matrix(walk: &Walk<'_>, name: &str) -> Option<(Option<u32>, Vec<String>)> {
    walk.stored.get(name).filter(|tensor| tensor.dims.len() == 2)?;
    let (mut axis, mut values) = (None, Vec::new());
    for node in walk.nodes.iter().filter(|node| node.input.iter().any(|input| input == name)) {
        let own = input_axis(node)?;
        let is_weight = node.input.iter().position(|input| input == name) == Some(1);
        if !is_weight || axis.is_some_and(|axis| axis != own) {
            return None;
        }
        axis = Some(own);
        values.extend(node.output.first().cloned());
    }
    Some((axis, values))
}

/// Those whose input and weight have scales, and that are not codes already.
fn biases(walk: &Walk<'_>, paths: &[String], known: &HashSet<String>) -> Vec<QuantizableBias> {
    let has_scales = |bias: &&super::mark::BiasMark| {
        known.contains(&bias.input) && known.contains(&bias.weight) && !known.contains(&bias.tensor)
    };
    let wanted = walk.biases.iter().filter(has_scales);
    let bias = |bias: &super::mark::BiasMark| QuantizableBias {
        tensor: bias.tensor.clone(),
        copy: bias.copy.clone(),
        layer: paths[bias.node].clone(),
        value: walk.nodes[bias.node].output.first().cloned().unwrap_or_default(),
        input: bias.input.clone(),
        weight: bias.weight.clone(),
        factor: bias.factor,
    };
    wanted.map(bias).collect()
}

fn layers(
    walk: &Walk<'_>,
    paths: &[String],
    is_wanted: &[bool],
    takes_op: &dyn Fn(&str) -> bool,
    plan: &Quantizable,
) -> Vec<QuantizableLayer> {
    let values = plan.values.iter().map(|value| value.name.as_str());
    let known: HashSet<&str> = values.chain(plan.tensors.iter().map(|tensor| tensor.name.as_str())).collect();
    let folded: HashSet<usize> = walk.folded.iter().map(|(node, _)| *node).collect();
    let mut layers = Vec::new();
    for (index, (node, path)) in walk.nodes.iter().zip(paths).enumerate() {
        if path.is_empty() {
            continue;
        }
        let kind = op(node);
        let has_reals = node.input.iter().chain(&node.output).any(|name| walk.is_real(name));
        let has_codes = node.input.iter().any(|name| known.contains(name.as_str()));
        let reason = if folded.contains(&index) || is_wanted[index] && has_codes {
            None
        } else if walk.of.exclude.contains(path) {
            Some(excluded())
        } else if !takes_op(kind) {
            Some(left_out(kind))
        } else if !has_reals {
            Some(FloatReason::new("type", "it computes with no float32 or float16 values", ""))
        } else {
            Some(FloatReason::new("input", "no layer before it gives it codes", ""))
        };
        layers.push(QuantizableLayer { layer: path.clone(), reason });
    }
    layers
}
