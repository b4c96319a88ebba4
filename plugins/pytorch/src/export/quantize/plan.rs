//! The plan: the answer to `quantizable/1`.

use super::super::json;
use super::super::layers;
use super::super::operator::{is_transposition, rule};
use super::super::wiring::Wiring;
use super::walk::{Obstacle, Walk};
use qp_abi::sdk::{
    Activations, FloatReason, LayerInfo, ModelInfo, Quantizable, QuantizableLayer, QuantizableOf,
    QuantizableTensor, QuantizableValue,
};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// What of the program with that graph module can be quantized. `info` is its description.
pub fn plan(module: &Value, info: &ModelInfo, of: &QuantizableOf) -> Quantizable {
    let graph = module.get("graph").unwrap_or(&Value::Null);
    let signature = module.get("signature").unwrap_or(&Value::Null);
    let wiring =
        Wiring::of(json::rows(graph, "nodes"), graph.get("tensor_values").and_then(Value::as_object));
    let stored: HashMap<&str, &str> = json::stored_names(signature).into_iter().collect();
    let inputs: Vec<&str> = json::given(signature).map(|(name, _)| name).collect();
    let returned: HashSet<&str> = returned(module);
    let computed = info.layers.iter().filter(|layer| !layer.is_inner).flat_map(|layer| &layer.outputs);
    let known: HashSet<&str> = computed.map(|name| name.as_str()).chain(inputs.iter().copied()).collect();
    let owners = Owners::of(&wiring, &returned, info);
    let is_wanted = (0..wiring.nodes.len()).map(|index| owners.is_wanted(index, &wiring, of)).collect();
    let mut walk = Walk::new(of, &wiring, (stored, &inputs), (known, returned), is_wanted);
    for index in 0..wiring.nodes.len() {
        if walk.is_wanted.get(index) == Some(&true) {
            walk.visit(index);
        }
    }
    let values = walk.marks.iter().map(|mark| QuantizableValue {
        name: mark.name.clone(),
        same_as: mark.same_as.clone(),
        ..QuantizableValue::default()
    });
    let tensors = walk.tensors.iter().map(|tensor| QuantizableTensor {
        name: walk.stored.get(tensor.in_graph.as_str()).map(|name| (*name).to_owned()).unwrap_or_default(),
        axis: tensor.axis,
        is_operand: tensor.is_operand,
        layers: owners.readers(&tensor.in_graph, &walk),
        ..QuantizableTensor::default()
    });
    Quantizable {
        values: values.collect(),
        tensors: tensors.collect(),
        layers: owners.layers(&walk, of),
        ..Quantizable::default()
    }
}

/// All values that leave the program: those that are returned, and those that change what is stored.
pub fn returned(module: &Value) -> HashSet<&str> {
    let specs = module.get("signature").map(|signature| json::rows(signature, "output_specs"));
    let mut names: HashSet<&str> = json::returned(module).into_iter().map(|(value, _)| value).collect();
    let arguments =
        specs.into_iter().flatten().filter_map(|spec| spec.as_object()?.values().next()?.get("arg"));
    for argument in arguments {
        names.extend(json::tensor_names(argument));
        names.extend(argument.get("name").and_then(Value::as_str));
    }
    names
}

/// Which layers the nodes belong to.
struct Owners<'a> {
    layers: Vec<&'a LayerInfo>,
    /// The place of its layer, by the place of a node.
    of_node: HashMap<usize, usize>,
}

impl<'a> Owners<'a> {
    fn of(wiring: &Wiring<'_>, returned: &HashSet<&str>, info: &'a ModelInfo) -> Self {
        let places: HashMap<*const Value, usize> =
            wiring.nodes.iter().enumerate().map(|(index, node)| (std::ptr::from_ref(node), index)).collect();
        let known: HashMap<&str, usize> =
            info.layers.iter().enumerate().map(|(at, layer)| (layer.path.as_str(), at)).collect();
        let mut of_node = HashMap::new();
        for layer in layers::of(wiring.nodes, returned) {
            let Some(at) = known.get(layer.info.path.as_str()) else { continue };
            let places = layer.nodes.iter().filter_map(|node| places.get(&std::ptr::from_ref(*node)));
            of_node.extend(places.map(|place| (*place, *at)));
        }
        Self { layers: info.layers.iter().collect(), of_node }
    }

    fn layer(&self, node: usize) -> Option<&'a LayerInfo> {
        self.layers.get(*self.of_node.get(&node)?).copied()
    }

    fn is_wanted(&self, index: usize, wiring: &Wiring<'_>, of: &QuantizableOf) -> bool {
        let Some(layer) = self.layer(index) else { return false };
        let is_asked = of.op_types.is_empty() || of.op_types.contains(layer.op_type.as_str());
        is_asked
            && !of.exclude.contains(layer.path.as_str())
            && wiring.nodes.get(index).is_some_and(|node| rule(node).is_some())
    }

    /// The layers that read a stored tensor, perhaps through a transposition.
    fn readers(&self, name: &str, walk: &Walk<'_>) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut add = |node: &usize| {
            let path = self.layer(*node).map(|layer| layer.path.to_string());
            found.extend(path.filter(|_| walk.done.contains(node)));
        };
        let rank = walk.wiring.rank(name).unwrap_or(0);
        for reader in walk.wiring.readers(name) {
            add(reader);
            let node = walk.wiring.nodes.get(*reader).filter(|node| is_transposition(node, rank));
            let moved = node.and_then(|node| json::results(node).next());
            moved.map(|moved| walk.wiring.readers(moved)).unwrap_or_default().iter().for_each(&mut add);
        }
        let mut seen = HashSet::new();
        found.retain(|path| seen.insert(path.clone()));
        found
    }

    fn layers(&self, walk: &Walk<'_>, of: &QuantizableOf) -> Vec<QuantizableLayer> {
        let mut nodes: Vec<Vec<usize>> = vec![Vec::new(); self.layers.len()];
        for (node, layer) in &self.of_node {
            if let Some(nodes) = nodes.get_mut(*layer) {
                nodes.push(*node);
            }
        }
        let rows = self.layers.iter().zip(&nodes);
        rows.map(|(layer, nodes)| QuantizableLayer {
            layer: layer.path.to_string(),
            reason: reason(layer, nodes, walk, of),
        })
        .collect()
    }
}

/// Why a layer stays as it is.
fn reason(layer: &LayerInfo, nodes: &[usize], walk: &Walk<'_>, of: &QuantizableOf) -> Option<FloatReason> {
    if nodes.iter().any(|node| walk.done.contains(node)) {
        return None;
    }
    let op = &layer.op_type;
    let has_rule = |node: &usize| walk.wiring.nodes.get(*node).is_some_and(|node| rule(node).is_some());
    let obstacle = nodes.iter().find_map(|node| walk.obstacles.get(node));
    Some(if of.exclude.contains(layer.path.as_str()) {
        FloatReason::new("excluded", "it is excluded", "")
    } else if of.activations == Activations::Float && obstacle.is_none() {
        FloatReason::new("operator", format!("`{op}` has no weight that becomes codes"), "")
    } else if nodes.len() > 1 && nodes.iter().any(has_rule) {
        let text = format!("`{op}` is one layer of several operators, whose values are not calibrated");
        FloatReason::new("module", text, "")
    } else if !nodes.iter().any(has_rule) || !of.op_types.is_empty() && !of.op_types.contains(op.as_str()) {
        FloatReason::new("operator", format!("`{op}` is not among the quantized operators"), "")
    } else {
        match obstacle {
            Some(Obstacle::Weight) => {
                let text = "its weight is not stored as float32, or shared with a layer that stays as it is";
                FloatReason::new("weight", text, "")
            }
            Some(Obstacle::Result) => {
                FloatReason::new("result", "no quantized layer reads what it computes", "")
            }
            Some(Obstacle::Input) => FloatReason::new(
                "type",
                "what it computes with is not all float32 that depends on the input",
                "",
            ),
            None => FloatReason::new("input", "no layer before it gives it codes", ""),
        }
    })
}
