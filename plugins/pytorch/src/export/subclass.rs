//! Tensors of subclasses in a program: the graph takes them apart with an operator of their own, and computes with the
//! parts. Here each part becomes a stored tensor like any other.

use super::json;
use crate::weight::torchao::Subclass;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// The operator that gives the tensor under an attribute of a tensor.
const ACCESS: &str = "torch.ops.export.access_subclass_inner_tensor.default";

/// Makes the parts of subclasses inputs of a graph module. An access to what is no part stays as it is, a node that
/// nothing runs.
pub fn resolve(module: &mut Value, subclasses: &[Subclass]) {
    if subclasses.is_empty() {
        return;
    }
    let names: HashSet<&str> = subclasses.iter().map(|subclass| subclass.name.as_str()).collect();
    let stored = json::stored_names(module.get("signature").unwrap_or(&Value::Null)).into_iter();
    // The path of each value that is a subclass, or a part of one: `fc.weight`, `fc.weight.qdata`.
    let mut paths: HashMap<String, String> = stored
        .filter(|(_, name)| names.contains(name))
        .map(|(in_graph, name)| (in_graph.to_owned(), name.to_owned()))
        .collect();
    let parts = Parts::of(subclasses);
    let mut specs = Vec::new();
    if let Some(nodes) = module.pointer_mut("/graph/nodes").and_then(Value::as_array_mut) {
        nodes.retain(|node| {
            let Some((output, path)) = accessed(node, &paths) else { return true };
            if parts.tensors.contains(&path) {
                specs.push(serde_json::json!({
                    "parameter": {"arg": {"name": output}, "parameter_name": path}
                }));
            } else if !parts.within.contains(&path) {
                return true;
            }
            paths.insert(output, path);
            false
        });
    }
    if let Some(known) = module.pointer_mut("/signature/input_specs").and_then(Value::as_array_mut) {
        known.extend(specs);
    }
}

/// The paths of what subclasses are made of.
struct Parts {
    /// Those of tensors.
    tensors: HashSet<String>,
    /// Those on the way to a tensor.
    within: HashSet<String>,
}

impl Parts {
    fn of(subclasses: &[Subclass]) -> Self {
        let mut parts = Self { tensors: HashSet::new(), within: HashSet::new() };
        for subclass in subclasses {
            for (part, _) in &subclass.parts {
                let path = |end: usize| part.get(..end).map(|part| format!("{}.{part}", subclass.name));
                parts.within.extend(part.match_indices('.').filter_map(|(dot, _)| path(dot)));
                parts.tensors.extend(path(part.len()));
            }
        }
        parts
    }
}

/// The value that a node takes out of a subclass, and its path.
fn accessed(node: &Value, paths: &HashMap<String, String>) -> Option<(String, String)> {
    if node.get("target")?.as_str()? != ACCESS {
        return None;
    }
    let inputs: Vec<&Value> = json::inputs(node).collect();
    let [tensor, attribute, ..] = inputs[..] else { return None };
    let path = paths.get(*json::tensor_names(tensor).first()?)?;
    let output = json::tensor_names(node.get("outputs")?.as_array()?.first()?).first()?.to_string();
    Some((output, format!("{path}.{}", attribute.get("as_string")?.as_str()?)))
}
