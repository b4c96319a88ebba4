//! Which layer each node belongs to: `nn_module_stack`, from which readers take the names of layers.

use super::super::layers;
use qp_abi::sdk::{LayerInfo, ModelInfo};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Bytes of the stacks of all nodes: modules may be nested deep and have long names.
const MAX_STACK_BYTES: usize = 64 << 20;
/// How often the names are looked at: another name for one layer may change the number of the next.
const MAX_ROUNDS: usize = 3;

/// The nodes of a program with the layers that they compute.
pub struct Layers<'a> {
    /// By path.
    known: HashMap<&'a str, &'a LayerInfo>,
    /// By the values that they compute.
    of_value: HashMap<&'a str, &'a str>,
    nodes: Vec<Value>,
    /// The layer of each node; empty for what belongs to none.
    paths: Vec<&'a str>,
    class: String,
}

impl<'a> Layers<'a> {
    /// Those of a description.
    pub fn of(info: &'a ModelInfo) -> Self {
        let known = info.layers.iter().map(|layer| (layer.path.as_str(), layer)).collect();
        let values = info.layers.iter().flat_map(|layer| {
            let path = layer.path.as_str();
            layer.outputs.iter().map(move |name| (name.as_str(), path))
        });
        let of_value = values.collect();
        let class = info.metadata.iter().find(|pair| pair.0 == "class").map(|pair| pair.1.to_string());
        Self { known, of_value, nodes: Vec::new(), paths: Vec::new(), class: class.unwrap_or_default() }
    }

    /// The layer of a call at that place, which computes the value `name`; empty for a call that belongs to none.
    pub fn path(&self, place: &'a str, name: &str) -> &'a str {
        let own = self.known.contains_key(place).then_some(place);
        own.or_else(|| self.of_value.get(name).copied()).unwrap_or_default()
    }

    /// Adds a node of a layer.
    pub fn add(&mut self, node: Value, path: &'a str) {
        self.nodes.push(node);
        self.paths.push(path);
    }

    /// The nodes, each with the stack that gives its layer the path that it has in the description. `names` are those of the
    /// values in the graph, by those in the description.
    pub fn finish(&mut self, returned: &HashSet<&str>, names: &HashMap<String, String>) -> Vec<Value> {
        // A layer of several nodes is one only as a module.
        let mut counts: HashMap<&str, usize> = HashMap::new();
        self.paths.iter().for_each(|path| *counts.entry(path).or_default() += 1);
        let several = counts.iter().filter(|(path, count)| **count > 1 && !path.is_empty());
        let mut as_modules: HashSet<&str> = several.map(|(path, _)| *path).collect();
        let own = |(value, path): (&&str, &&'a str)| Some((names.get(*value)?.as_str(), *path));
        let paths: HashMap<&str, &'a str> = self.of_value.iter().filter_map(own).collect();
        let mut left = MAX_STACK_BYTES;
        for _ in 0..MAX_ROUNDS {
            for (node, path) in self.nodes.iter_mut().zip(&self.paths) {
                if left == 0 {
                    break;
                }
                let stack = stack(&self.known, &self.class, path, as_modules.contains(path));
                left = left.saturating_sub(stack.len());
                if let Some(metadata) = node.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.insert("nn_module_stack".to_owned(), Value::String(stack));
                }
            }
            let found = layers::of(&self.nodes, returned);
            let before = as_modules.len();
            for layer in found {
                let expected = layer.info.outputs.first().and_then(|name| paths.get(name.as_str()));
                as_modules.extend(expected.filter(|path| layer.info.path != **path));
            }
            if as_modules.len() == before {
                break;
            }
        }
        std::mem::take(&mut self.nodes)
    }
}

/// The modules around a node, each as a key, a path and a class. A function that is no module counts as one if its name does not
/// follow from its operator.
fn stack(known: &HashMap<&str, &LayerInfo>, class: &str, path: &str, as_module: bool) -> String {
    let mut stack = format!("L__self__,,{}", plain(class));
    let mut add = |path: &str, class: &str| {
        stack.push_str(&format!(";L__self__{0},{0},{1}", plain(path), plain(class)))
    };
    for (dot, _) in path.match_indices('.') {
        let container = path.get(..dot).unwrap_or_default();
        if let Some(layer) = known.get(container) {
            add(container, &class_of(layer));
        }
    }
    match known.get(path) {
        Some(layer) if layer.domain.contains('.') => add(path, &class_of(layer)),
        Some(layer) if as_module => add(path, &format!("torch.nn.functional.{}", layer.op_type)),
        _ => {}
    }
    stack
}

fn class_of(layer: &LayerInfo) -> String {
    format!("{}.{}", layer.domain, layer.op_type)
}

/// A text without the characters that separate the parts of a stack.
fn plain(text: &str) -> String {
    text.replace([',', ';'], "_")
}
