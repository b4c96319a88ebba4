//! What a model becomes when its functions are inlined, which ONNX Runtime does before anything else.
//!
//! A file of a few kilobytes may describe a graph of 2⁴⁰ nodes, or calls nested until the runtime's stack overflows.
//! Both are counted here from the file, each function once; such a model is described but never passed to the
//! runtime.

use crate::graph::domain;
use crate::proto::{FunctionProto, ModelProto, NodeProto};
use qp_abi::sdk::BackendError;
use std::collections::HashMap;

/// The most nodes of the whole inlined model, as a multiple of those in the file. The runtime's time grows with their
/// square: a second for this many, minutes for ten times as many.
const MAX_NODES: u64 = 8192;
const MAX_GROWTH: u64 = 4;
/// Graphs within graphs, by calls and by attributes. At each level the runtime goes several functions deeper, on a
/// stack of unknown size; exporters need five.
const MAX_DEPTH: u32 = 32;

/// The size of a graph with everything in it, and how deeply that is nested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Extent {
    nodes: u64,
    depth: u32,
}

/// What identifies a called function: domain, name, overload.
type Key<'a> = (String, &'a str, &'a str);

/// Why the model cannot be passed to ONNX Runtime; `None` if it can.
pub fn obstacle(model: &ModelProto) -> Option<BackendError> {
    let functions = Functions::of(&model.functions);
    let own = match functions.extents() {
        Ok(extents) => extents,
        Err(at) => {
            let name = functions.name(at);
            return Some(refused(&format!("the function `{name}` calls itself")));
        }
    };
    let nodes = model.graph.as_ref().map(|graph| graph.node.as_slice()).unwrap_or_default();
    let (plain, calls) = walk(nodes, &functions);
    let said = functions.bodies.iter().fold(plain.nodes, |sum, (body, _)| sum.saturating_add(body.nodes));
    for (at, extent) in own.iter().enumerate() {
        if let Some(what) = too_much(*extent, said) {
            return Some(refused(&format!("the function `{}` {what}", functions.name(at))));
        }
    }
    too_much(plain.with(&calls, &own), said).map(|what| refused(&format!("the graph {what}")))
}

/// The limit that a graph exceeds in a model whose file has `said` nodes, if any.
fn too_much(extent: Extent, said: u64) -> Option<String> {
    let most = MAX_NODES.max(said.saturating_mul(MAX_GROWTH));
    if extent.depth > MAX_DEPTH {
        Some(format!("is nested {} graphs deep, more than {MAX_DEPTH}", extent.depth))
    } else if extent.nodes > most {
        Some(format!("becomes more than {most} nodes when its functions are inlined"))
    } else {
        None
    }
}

fn refused(what: &str) -> BackendError {
    BackendError::unsupported_op(format!("{what}, which would crash ONNX Runtime"))
        .with_help("Inline the model's functions first, or export it without them.")
}

/// A call: at which depth it happens, and the index of what it calls.
type Call = (u32, usize);

impl Extent {
    /// The same including what is called.
    fn with(self, calls: &HashMap<Call, u64>, of: &[Self]) -> Self {
        calls.iter().fold(self, |sum, ((depth, callee), count)| {
            let callee = of.get(*callee).copied().unwrap_or_default();
            Self {
                nodes: sum.nodes.saturating_add(callee.nodes.saturating_mul(*count)),
                depth: sum.depth.max(depth.saturating_add(callee.depth)),
            }
        })
    }
}

struct Functions<'a> {
    all: &'a [FunctionProto],
    places: HashMap<Key<'a>, usize>,
    /// The extent of each without what it calls, and its calls.
    bodies: Vec<(Extent, HashMap<Call, u64>)>,
}

impl<'a> Functions<'a> {
    fn of(all: &'a [FunctionProto]) -> Self {
        let key = |function: &'a FunctionProto| {
            (
                domain(function.domain.as_deref()),
                function.name.as_deref().unwrap_or_default(),
                function.overload.as_deref().unwrap_or_default(),
            )
        };
        let places = all.iter().enumerate().map(|(place, function)| (key(function), place)).collect();
        let mut functions = Self { all, places, bodies: Vec::new() };
        functions.bodies = all.iter().map(|function| walk(&function.node, &functions)).collect();
        functions
    }

    fn name(&self, at: usize) -> &'a str {
        self.all.get(at).and_then(|function| function.name.as_deref()).unwrap_or_default()
    }

    fn called(&self, node: &NodeProto) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        let key = (
            domain(node.domain.as_deref()),
            node.op_type.as_deref().unwrap_or_default(),
            node.overload.as_deref().unwrap_or_default(),
        );
        self.places.get(&key).copied()
    }

    /// The extent of each function including everything it calls; the index of a function that calls itself as the
    /// error. A file may nest any number of functions: the way back is kept here, not on the stack.
    fn extents(&self) -> Result<Vec<Extent>, usize> {
        let callees: Vec<Vec<usize>> =
            self.bodies.iter().map(|(_, calls)| calls.keys().map(|(_, callee)| *callee).collect()).collect();
        let mut states = vec![State::New; self.all.len()];
        let mut extents = vec![Extent::default(); self.all.len()];
        for start in 0..self.all.len() {
            let mut open = vec![(start, 0)];
            while let Some((at, next)) = open.pop() {
                let (Some(state), Some(called)) = (states.get_mut(at), callees.get(at)) else { continue };
                match (*state, next) {
                    (State::Done, _) => continue,
                    (State::Open, 0) => return Err(at),
                    _ => *state = State::Open,
                }
                if let Some(callee) = called.get(next) {
                    open.push((at, next + 1));
                    open.push((*callee, 0));
                    continue;
                }
                *state = State::Done;
                if let (Some((plain, calls)), true) = (self.bodies.get(at), at < extents.len()) {
                    extents[at] = plain.with(calls, &extents);
                }
            }
        }
        Ok(extents)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

/// The nodes of a graph with those of the graphs in their attributes, and how often it calls what at which depth. The
/// decoder limits the nesting of such graphs.
fn walk(nodes: &[NodeProto], functions: &Functions<'_>) -> (Extent, HashMap<Call, u64>) {
    let (mut extent, mut calls) = (Extent { nodes: 0, depth: 1 }, HashMap::new());
    let mut waiting: Vec<(&[NodeProto], u32)> = vec![(nodes, 1)];
    while let Some((nodes, depth)) = waiting.pop() {
        extent.depth = extent.depth.max(depth);
        extent.nodes = extent.nodes.saturating_add(nodes.len() as u64);
        for node in nodes {
            if let Some(callee) = functions.called(node) {
                *calls.entry((depth, callee)).or_insert(0) += 1;
            }
            let graphs =
                node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs));
            waiting.extend(graphs.map(|graph| (graph.node.as_slice(), depth + 1)));
        }
    }
    (extent, calls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::GraphProto;

    fn node(op_type: &str, domain: &str) -> NodeProto {
        NodeProto {
            op_type: Some(op_type.to_owned()),
            domain: Some(domain.to_owned()),
            ..NodeProto::default()
        }
    }

    fn function(name: &str, node: Vec<NodeProto>) -> FunctionProto {
        FunctionProto {
            name: Some(name.to_owned()),
            domain: Some("f".to_owned()),
            node,
            ..FunctionProto::default()
        }
    }

    fn model(nodes: Vec<NodeProto>, functions: Vec<FunctionProto>) -> ModelProto {
        let graph = Some(GraphProto { node: nodes, ..GraphProto::default() });
        ModelProto { graph, functions, ..ModelProto::default() }
    }

    /// `f0` calls `f1` this often, and so on; the last one is an operator.
    fn tower(levels: usize, times: usize) -> ModelProto {
        let body = |level: usize| match level + 1 == levels {
            true => vec![node("Relu", "")],
            false => vec![node(&format!("f{}", level + 1), "f"); times],
        };
        let functions = (0..levels).map(|level| function(&format!("f{level}"), body(level))).collect();
        model(vec![node("f0", "f")], functions)
    }

    #[test]
    fn what_doubles_or_is_nested_too_deep_is_refused_and_named() {
        assert_eq!(obstacle(&tower(10, 2)), None);
        let refused = |model: &ModelProto| obstacle(model).unwrap().message.to_string();
        assert!(refused(&tower(30, 2)).starts_with("the function `f0` becomes more than 8192 nodes"));
        assert!(refused(&tower(64, 2)).contains("is nested 64 graphs deep"));
        for levels in [100, 1000, 10_000, 100_000] {
            assert!(refused(&tower(levels, 1)).starts_with("the function `f0` is nested"), "{levels}");
        }
    }

    #[test]
    fn a_function_that_calls_itself_is_named() {
        let around =
            vec![function("a", vec![node("b", "f")]), function("b", vec![node("Relu", ""), node("a", "f")])];
        let found = obstacle(&model(vec![node("Relu", "")], around)).unwrap();
        assert!(found.message.contains("calls itself"), "{found:?}");
        let found = obstacle(&model(Vec::new(), vec![function("a", vec![node("a", "f")])])).unwrap();
        assert!(found.message.starts_with("the function `a` calls itself"), "{found:?}");
    }

    #[test]
    fn a_graph_as_large_as_it_says_is_no_obstacle() {
        assert_eq!(obstacle(&model(vec![node("Relu", ""); 300_000], Vec::new())), None);
        let many = model(vec![node("f0", "f"); 500], vec![function("f0", vec![node("Relu", ""); 10])]);
        assert_eq!(obstacle(&many), None);
        let honest = model(vec![node("f0", "f"); 20_000], vec![function("f0", vec![node("Relu", ""); 3])]);
        assert_eq!(obstacle(&honest), None);
    }
}
