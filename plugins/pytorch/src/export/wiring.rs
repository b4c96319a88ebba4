//! Who computes and who reads the values of a graph.

use super::json;
use super::operator;
use qp_abi::sdk::DType;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// A graph by the names of its values.
pub struct Wiring<'a> {
    /// The nodes.
    pub nodes: &'a [Value],
    values: Option<&'a Map<String, Value>>,
    makers: HashMap<&'a str, usize>,
    readers: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Wiring<'a> {
    /// Of these nodes; `values` describes what they compute.
    pub fn of(nodes: &'a [Value], values: Option<&'a Map<String, Value>>) -> Self {
        let mut wiring = Self { nodes, values, makers: HashMap::new(), readers: HashMap::new() };
        for (index, node) in nodes.iter().enumerate() {
            wiring.makers.extend(json::results(node).map(|name| (name, index)));
            for (name, _) in json::inputs(node).flat_map(json::value_names) {
                let readers = wiring.readers.entry(name).or_default();
                // A node may read one value twice.
                if readers.last() != Some(&index) {
                    readers.push(index);
                }
            }
        }
        wiring
    }

    /// The place of the node that computes a value.
    pub fn maker(&self, name: &str) -> Option<usize> {
        self.makers.get(name).copied()
    }

    /// The node that computes a value.
    pub fn made_by(&self, name: &str) -> Option<&'a Value> {
        self.nodes.get(self.maker(name)?)
    }

    /// The places of the nodes that read a value.
    pub fn readers(&self, name: &str) -> &[usize] {
        self.readers.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The type of a value.
    pub fn dtype(&self, name: &str) -> DType {
        self.meta(name).map_or(DType::UNDEFINED, json::dtype)
    }

    /// The number of dimensions of a value.
    pub fn rank(&self, name: &str) -> Option<usize> {
        Some(self.meta(name)?.get("sizes")?.as_array()?.len())
    }

    fn meta(&self, name: &str) -> Option<&'a Value> {
        self.values?.get(name)
    }

    /// Values whose elements a node in place changes while others may still read them.
    pub fn mutated(&self) -> HashSet<&'a str> {
        let mut found = HashSet::new();
        for node in self.nodes.iter().filter(|node| operator::is_in_place(node)) {
            let mut chain = Vec::new();
            let mut is_shared = false;
            let mut next = first_operand(node);
            // The values that may lie in the memory that is written to.
            while let Some(name) = next.filter(|name| !chain.contains(name)) {
                chain.push(name);
                is_shared |= self.readers(name).len() > 1 || chain.len() > MAX_VIEWS;
                next = self.made_by(name).filter(|maker| operator::is_view(maker)).and_then(first_operand);
                if chain.len() > MAX_VIEWS {
                    break;
                }
            }
            if is_shared {
                found.extend(chain);
            }
        }
        found
    }
}

/// Views of views that are followed.
const MAX_VIEWS: usize = 64;

/// The tensor that a node reads first.
pub fn first_operand(node: &Value) -> Option<&str> {
    json::tensor_names(json::inputs(node).next()?).first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(target: &str, input: &str, output: &str) -> Value {
        json!({
            "target": format!("torch.ops.aten.{target}"),
            "inputs": [{"name": "self", "arg": {"as_tensor": {"name": input}}}],
            "outputs": [{"as_tensor": {"name": output}}],
        })
    }

    #[test]
    fn what_is_written_to_is_a_hazard_only_for_other_readers() {
        let alone = [node("sigmoid.default", "x", "a"), node("relu_.default", "a", "b")];
        assert!(Wiring::of(&alone, None).mutated().is_empty());
        let shared = [
            node("sigmoid.default", "x", "a"),
            node("view.default", "a", "v"),
            node("relu_.default", "v", "b"),
            node("tanh.default", "a", "c"),
        ];
        assert_eq!(Wiring::of(&shared, None).mutated(), HashSet::from(["a", "v"]));
    }
}
