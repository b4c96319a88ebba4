//! Regions: parts of a program that were exported under a setting of their own, `torch.no_grad()` or
//! `torch.autocast(…, enabled=False)`, as graphs within the graph. Neither changes what is computed here, so that the
//! nodes of such a graph stand in the place of the node that holds it, in the graphs of a condition as well.

use super::json;
use qp_abi::sdk::Names;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// Regions within regions.
const MAX_DEPTH: u32 = 16;

/// Puts the nodes of all regions into the graph of a graph module. A region that this cannot be done with stays as it
/// is, a node that nothing runs.
pub fn inline(module: &mut Value) {
    let Some(graph) = module.get_mut("graph") else { return };
    let aliases = Inliner::default().graph(graph, 0);
    if let Some(signature) = module.get_mut("signature").filter(|_| !aliases.is_empty()) {
        rename(signature, &aliases);
    }
}

/// New names for values.
pub(super) type Renamed = HashMap<String, String>;

#[derive(Default)]
struct Inliner {
    /// Those that values of the outer graph have.
    names: Names,
}

impl Inliner {
    /// Replaces the regions of a graph; gives back other names for values that a region only passes on.
    fn graph(&mut self, graph: &mut Value, depth: u32) -> Renamed {
        let mut aliases = Renamed::new();
        let Some(nodes) = graph.get_mut("nodes").and_then(Value::as_array_mut) else { return aliases };
        if depth > MAX_DEPTH {
            return aliases;
        }
        for node in nodes.iter_mut().filter(|node| body(node).is_none()) {
            branches(node).for_each(|branch| drop(Self::default().graph(branch, depth + 1)));
        }
        if !nodes.iter().any(|node| body(node).is_some()) {
            return aliases;
        }
        let nodes = std::mem::take(nodes);
        let values = graph.get("tensor_values").and_then(Value::as_object);
        values.into_iter().flat_map(Map::keys).for_each(|name| self.names.take(name));
        nodes.iter().flat_map(json::results).for_each(|name| self.names.take(name));
        let mut flat = Vec::with_capacity(nodes.len());
        let mut described = Map::new();
        for mut node in nodes {
            rename_reads(&mut node, &aliases);
            match self.region(&node, depth) {
                Some(region) => {
                    flat.extend(region.nodes);
                    described.extend(region.values);
                    aliases.extend(region.aliases);
                }
                None => flat.push(node),
            }
        }
        if let Some(outputs) = graph.get_mut("outputs") {
            rename(outputs, &aliases);
        }
        if let Some(nodes) = graph.get_mut("nodes") {
            *nodes = Value::Array(flat);
        }
        if let Some(values) = graph.get_mut("tensor_values").and_then(Value::as_object_mut) {
            values.extend(described);
        }
        aliases
    }

    /// The content of the region that `node` is, under names of the outer graph.
    fn region(&mut self, node: &Value, depth: u32) -> Option<Region> {
        let body = body(node)?;
        let mut graph = body.graph.clone();
        self.graph(&mut graph, depth + 1);
        let (nodes, inputs, outputs) = (graph.get("nodes")?, graph.get("inputs")?, graph.get("outputs")?);
        let given = names_of(body.arguments);
        let inputs = names_of(inputs.as_array()?);
        let outputs = names_of(outputs.as_array()?);
        let computed: Vec<&str> = json::results(node).collect();
        // A constant that is given has no name.
        if inputs.len() != given.len()
            || given.len() != body.arguments.len()
            || outputs.len() != computed.len()
        {
            return None;
        }
        let mut names: Renamed =
            inputs.iter().zip(&given).map(|(inner, outer)| owned(inner, outer)).collect();
        let made: HashSet<&str> = nodes.as_array()?.iter().flat_map(json::results).collect();
        let mut aliases = Renamed::new();
        for (inner, outer) in outputs.iter().zip(&computed) {
            match names.get(*inner) {
                Some(known) => drop(aliases.insert((*outer).to_owned(), known.clone())),
                None if made.contains(inner) => names.extend([owned(inner, outer)]),
                None => return None,
            }
        }
        for name in made {
            if !names.contains_key(name) {
                let unique = self.names.claim(name, '_', 1);
                names.insert(name.to_owned(), unique);
            }
        }
        let mut values = Map::new();
        let described = graph.get("tensor_values").and_then(Value::as_object).into_iter().flatten();
        // Those of inputs are known outside.
        let inputs: HashSet<&str> = inputs.into_iter().collect();
        for (inner, meta) in described.filter(|(inner, _)| !inputs.contains(inner.as_str())) {
            if let Some(name) = names.get(inner) {
                values.insert(name.clone(), meta.clone());
            }
        }
        let mut nodes = nodes.as_array()?.clone();
        nodes.iter_mut().for_each(|node| rename(node, &names));
        Some(Region { nodes, values, aliases })
    }
}

struct Region {
    nodes: Vec<Value>,
    values: Map<String, Value>,
    aliases: Renamed,
}

/// The graph within a node, and what is given to it.
struct Body<'a> {
    graph: &'a Value,
    arguments: &'a [Value],
}

/// What the node of a region holds; `None` for any other node, and for a region whose setting matters.
fn body(node: &Value) -> Option<Body<'_>> {
    let operator = node.get("target")?.as_str()?.strip_prefix("torch.ops.higher_order.")?;
    let inputs = node.get("inputs")?.as_array()?;
    let at = match operator {
        // (is enabled, graph, arguments…)
        "wrap_with_set_grad_enabled" => 1,
        // (device, type, is enabled, caches, graph, arguments…)
        "wrap_with_autocast" => {
            let is_enabled = inputs.get(2)?.pointer("/arg/as_bool")?.as_bool()?;
            (!is_enabled).then_some(4)?
        }
        _ => return None,
    };
    Some(Body { graph: inputs.get(at)?.pointer("/arg/as_graph/graph")?, arguments: inputs.get(at + 1..)? })
}

/// The graphs in a node, which have names of their own.
fn branches(node: &mut Value) -> impl Iterator<Item = &mut Value> {
    let inputs = node.get_mut("inputs").and_then(Value::as_array_mut).into_iter().flatten();
    inputs.filter_map(|input| input.pointer_mut("/arg/as_graph/graph"))
}

fn owned(from: &str, to: &str) -> (String, String) {
    (from.to_owned(), to.to_owned())
}

/// The names in arguments; an argument of a node has its value in `arg`.
fn names_of(arguments: &[Value]) -> Vec<&str> {
    let value = |argument| Value::get(argument, "arg").unwrap_or(argument);
    arguments.iter().map(value).flat_map(json::value_names).map(|(name, _)| name).collect()
}

/// Gives the values that a node reads their new names.
pub(super) fn rename_reads(node: &mut Value, names: &Renamed) {
    if let Some(inputs) = node.get_mut("inputs").filter(|_| !names.is_empty()) {
        rename(inputs, names);
    }
}

/// Gives values their new names, wherever one is named; not within a graph, which has names of its own.
fn rename(value: &mut Value, names: &Renamed) {
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(|element| rename(element, names)),
        Value::Object(entries) => {
            for (key, entry) in entries.iter_mut() {
                match key.as_str() {
                    "as_graph" => {}
                    "as_name" => replace(entry, names),
                    "as_tensor" => rename_in(entry, names),
                    "as_tensors" => {
                        entry.as_array_mut().into_iter().flatten().for_each(|entry| rename_in(entry, names));
                    }
                    "as_nested_tensors" => {
                        let lists = entry.as_array_mut().into_iter().flatten();
                        let tensors = lists.filter_map(Value::as_array_mut).flatten();
                        tensors.for_each(|entry| rename_in(entry, names));
                    }
                    _ => rename(entry, names),
                }
            }
        }
        _ => {}
    }
}

fn rename_in(tensor: &mut Value, names: &Renamed) {
    if let Some(name) = tensor.get_mut("name") {
        replace(name, names);
    }
}

fn replace(name: &mut Value, names: &Renamed) {
    if let Some(new) = name.as_str().and_then(|name| names.get(name)) {
        *name = Value::String(new.clone());
    }
}
