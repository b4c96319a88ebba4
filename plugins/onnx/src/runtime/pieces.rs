//! A graph in pieces, each with its own session, so that many values can be delivered and freed piece by piece:
//! memory holds the values of one piece and what later pieces read.
//!
//! The graph is cut where few bytes are alive. Values that depend only on stored tensors, such as dequantized
//! weights, are computed in each piece that reads them and cross no cut. A piece's session is created once its inputs
//! exist: they determine their types.

use crate::proto::type_proto::{Tensor, Value};
use crate::proto::{GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto};
use qp_abi::sdk::DType;
use std::collections::{HashMap, HashSet};

/// Operators whose result differs each time.
const RANDOM: [&str; 6] =
    ["RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"];

/// The domains of operators known to be deterministic.
const PURE: [&str; 3] = ["", "ai.onnx", "com.microsoft"];

/// A piece of a graph.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// The nodes, by their positions in the graph.
    pub nodes: Vec<usize>,
    /// The inputs of the model and values of earlier pieces that it reads.
    pub takes: Vec<String>,
    /// Requested values that it computes.
    pub gives: Vec<String>,
    /// Values that it computes and that later pieces read.
    pub hands_on: Vec<String>,
    /// The stored tensors that it reads.
    pub stored: Vec<usize>,
}

/// Cuts a graph into pieces that take about `budget` bytes each, in requested values, stored tensors and what is computed from
/// these alone, as far as `bytes` knows the sizes of values and `stored_bytes` those of stored tensors.
///
/// `None` for a graph that is not cut: one whose nodes are not in the order of computation, one that only passes on
/// inputs or stored tensors, and one that fits whole.
pub fn cut(
    graph: &GraphProto,
    wanted: &[&str],
    bytes: &dyn Fn(&str) -> Option<u64>,
    stored_bytes: &dyn Fn(&TensorProto) -> u64,
    budget: u64,
) -> Option<Vec<Piece>> {
    let wiring = Wiring::of(graph)?;
    let order = wiring.needed(wanted)?;
    let place: HashMap<usize, usize> = order.iter().enumerate().map(|(place, node)| (*node, place)).collect();
    let sizes = wiring.sizes(&order, bytes);
    let wanted: HashSet<&str> = wanted.iter().copied().collect();
    let constants = wiring.constant_bytes(&order, bytes, stored_bytes);
    let ends = ends(&wiring, &order, &sizes, &wanted, &constants, budget);
    (ends.len() > 1).then(|| wiring.pieces(&order, &place, &ends, &wanted))
}

/// Cuts a graph into pieces of one node each, and what that needs of nodes that depend on stored tensors alone.
///
/// `None` for a graph whose nodes are not in the order of computation, or that computes nothing.
pub fn by_node(graph: &GraphProto, wanted: &[&str]) -> Option<Vec<Piece>> {
    let wiring = Wiring::of(graph)?;
    let order = wiring.needed(wanted)?;
    let place: HashMap<usize, usize> = order.iter().enumerate().map(|(place, node)| (*node, place)).collect();
    let ends: Vec<usize> = (0..order.len()).collect();
    let wanted: HashSet<&str> = wanted.iter().copied().collect();
    (!ends.is_empty()).then(|| wiring.pieces(&order, &place, &ends, &wanted))
}

/// The places in `order` at which pieces end that take about `budget` bytes each, in `counted` values and in the `constants`
/// of each place.
pub(super) fn ends(
    wiring: &Wiring<'_>,
    order: &[usize],
    sizes: &HashMap<&str, u64>,
    counted: &HashSet<&str>,
    constants: &[u64],
    budget: u64,
) -> Vec<usize> {
    let size = |name: &str| sizes.get(name).copied().unwrap_or(0);
    let graph = wiring.graph;
    // Of each place: the bytes that count, and those that are alive after it.
    let mut gained = constants.to_vec();
    let mut change = vec![0_i128; order.len() + 1];
    let mut last_read: HashMap<&str, usize> = HashMap::new();
    for (at, node) in order.iter().enumerate() {
        last_read.extend(wiring.reads[*node].iter().map(|name| (*name, at)));
    }
    for (at, node) in order.iter().enumerate() {
        for name in outputs(&graph.node[*node]) {
            if counted.contains(name) {
                gained[at] = gained[at].saturating_add(size(name));
            }
            if let Some(last) = last_read.get(name).filter(|last| **last > at) {
                change[at] += i128::from(size(name));
                change[*last] -= i128::from(size(name));
            }
        }
    }
    let mut alive = Vec::with_capacity(order.len());
    let mut sum = 0;
    for step in &change[..order.len()] {
        sum += step;
        alive.push(sum);
    }
    let mut ends = Vec::new();
    let mut start = 0;
    while start < order.len() {
        let mut gathered = 0_u64;
        let mut best = None;
        let mut end = start;
        while end < order.len() {
            gathered = gathered.saturating_add(gained[end]);
            if gathered > budget && end > start {
                break;
            }
            // The later of equals: fewer pieces.
            if gathered >= budget / 2 && best.is_none_or(|best: usize| alive[end] <= alive[best]) {
                best = Some(end);
            }
            end += 1;
        }
        let last = if end == order.len() { end - 1 } else { best.unwrap_or(end - 1) };
        ends.push(last);
        start = last + 1;
    }
    ends
}

/// What computes and what reads each value.
pub(super) struct Wiring<'a> {
    pub(super) graph: &'a GraphProto,
    pub(super) producers: HashMap<&'a str, usize>,
    stored: HashMap<&'a str, usize>,
    /// What each node reads, including graphs inside it: names of computed values and of inputs.
    pub(super) reads: Vec<Vec<&'a str>>,
    /// Whether a node depends only on stored tensors.
    pub(super) is_constant: Vec<bool>,
}

impl<'a> Wiring<'a> {
    /// `None` for a graph whose nodes are not in the order of computation.
    pub(super) fn of(graph: &'a GraphProto) -> Option<Self> {
        let named = |tensor: (usize, &'a Option<String>)| Some((tensor.1.as_deref()?, tensor.0));
        let stored: HashMap<&str, usize> =
            graph.initializer.iter().map(|tensor| &tensor.name).enumerate().filter_map(named).collect();
        let mut wiring = Self {
            graph,
            producers: HashMap::new(),
            stored,
            reads: Vec::with_capacity(graph.node.len()),
            is_constant: Vec::with_capacity(graph.node.len()),
        };
        let inputs = graph.input.iter().filter_map(|input| input.name.as_deref());
        let sparse =
            graph.sparse_initializer.iter().filter_map(|tensor| tensor.values.as_ref()?.name.as_deref());
        let sparse: HashSet<&str> = sparse.collect();
        let given: HashSet<&str> = inputs.filter(|name| !wiring.stored.contains_key(name)).collect();
        for (index, node) in graph.node.iter().enumerate() {
            let has_graph = node.attribute.iter().any(|it| it.g.is_some() || !it.graphs.is_empty());
            let mut is_constant =
                PURE.contains(&node.domain()) && !RANDOM.contains(&node.op_type()) && !has_graph;
            let mut reads = Vec::new();
            let mut names = Vec::new();
            read_names(node, &mut names);
            names.sort_unstable();
            names.dedup();
            for name in names {
                if let Some(producer) = wiring.producers.get(name) {
                    is_constant &= wiring.is_constant[*producer];
                    reads.push(name);
                } else if given.contains(name) {
                    is_constant = false;
                    reads.push(name);
                } else if !has_graph && !wiring.stored.contains_key(name) && !sparse.contains(name) {
                    // No earlier node computes it: the nodes are out of order.
                    return None;
                }
            }
            for output in outputs(node) {
                if wiring.producers.insert(output, index).is_some() {
                    return None;
                }
            }
            wiring.reads.push(reads);
            wiring.is_constant.push(is_constant);
        }
        // A graph inside a node has its own names; what it reads from outside is also computed earlier.
        let is_late = |(index, node): (usize, &NodeProto)| {
            let mut names = Vec::new();
            read_names(node, &mut names);
            names.iter().any(|name| wiring.producers.get(name).is_some_and(|producer| *producer >= index))
        };
        if graph.node.iter().enumerate().filter(|(_, node)| !node.attribute.is_empty()).any(is_late) {
            return None;
        }
        Some(wiring)
    }

    /// The nodes that the requested values need, in order, without those that depend only on stored tensors, unless
    /// these are requested themselves.
    fn needed(&self, wanted: &[&str]) -> Option<Vec<usize>> {
        let mut is_needed = vec![false; self.graph.node.len()];
        let mut waiting = Vec::new();
        let mut roots = HashSet::new();
        for name in wanted {
            let producer = *self.producers.get(name)?;
            roots.insert(producer);
            waiting.push(producer);
        }
        while let Some(node) = waiting.pop() {
            if !std::mem::replace(&mut is_needed[node], true) {
                waiting.extend(self.reads[node].iter().filter_map(|name| self.producers.get(name)));
            }
        }
        let is_own = |node: &usize| is_needed[*node] && (!self.is_constant[*node] || roots.contains(node));
        Some((0..is_needed.len()).filter(is_own).collect())
    }

    /// The nodes that depend only on stored tensors and that a node reads from, in order.
    pub(super) fn constants_of(&self, node: usize) -> Vec<usize> {
        let mut found = HashSet::new();
        let mut waiting = vec![node];
        while let Some(node) = waiting.pop() {
            for producer in self.reads[node].iter().filter_map(|name| self.producers.get(name)) {
                if self.is_constant[*producer] && found.insert(*producer) {
                    waiting.push(*producer);
                }
            }
        }
        let mut found: Vec<usize> = found.into_iter().collect();
        found.sort_unstable();
        found
    }

    /// The stored tensors that a node reads.
    pub(super) fn stored_of(&self, node: usize) -> Vec<usize> {
        let mut names = Vec::new();
        read_names(&self.graph.node[node], &mut names);
        names.into_iter().filter_map(|name| self.stored.get(name).copied()).collect()
    }

    /// The bytes of the nodes' values; for an unknown size, as much as the largest value that the nodes read.
    pub(super) fn sizes(
        &self,
        order: &[usize],
        bytes: &dyn Fn(&str) -> Option<u64>,
    ) -> HashMap<&'a str, u64> {
        let mut sizes: HashMap<&str, u64> = HashMap::new();
        for node in order {
            let read = |name: &&str| sizes.get(name).copied().or_else(|| bytes(name)).unwrap_or(0);
            let largest = self.reads[*node].iter().map(read).max().unwrap_or(0);
            for name in outputs(&self.graph.node[*node]) {
                sizes.insert(name, bytes(name).unwrap_or(largest));
            }
        }
        sizes
    }

    /// For each place in `order`, the bytes of the stored tensors, and of what is computed of these alone, that are read
    /// there for the first time.
    fn constant_bytes(
        &self,
        order: &[usize],
        bytes: &dyn Fn(&str) -> Option<u64>,
        stored_bytes: &dyn Fn(&TensorProto) -> u64,
    ) -> Vec<u64> {
        let (mut seen_nodes, mut seen_tensors) = (HashSet::new(), HashSet::new());
        let mut at_place = Vec::with_capacity(order.len());
        for node in order {
            let mut sum = 0_u64;
            let mut constants = self.constants_of(*node);
            constants.retain(|constant| seen_nodes.insert(*constant));
            for constant in &constants {
                let computed = outputs(&self.graph.node[*constant]).filter_map(bytes);
                sum = computed.fold(sum, u64::saturating_add);
            }
            for tensor in constants.iter().chain([node]).flat_map(|node| self.stored_of(*node)) {
                if seen_tensors.insert(tensor) {
                    sum = sum.saturating_add(stored_bytes(&self.graph.initializer[tensor]));
                }
            }
            at_place.push(sum);
        }
        at_place
    }

    fn pieces(
        &self,
        order: &[usize],
        place: &HashMap<usize, usize>,
        ends: &[usize],
        wanted: &HashSet<&str>,
    ) -> Vec<Piece> {
        let piece_of = |node: usize| ends.partition_point(|end| *end < place[&node]);
        let mut pieces: Vec<Piece> = ends.iter().map(|_| Piece::default()).collect();
        let mut start = 0;
        let mut given_once = HashSet::new();
        for (index, end) in ends.iter().enumerate() {
            let own = &order[start..=*end];
            start = end + 1;
            let mut nodes: Vec<usize> =
                own.iter().flat_map(|node| self.constants_of(*node)).chain(own.iter().copied()).collect();
            nodes.sort_unstable();
            nodes.dedup();
            let inside: HashSet<usize> = nodes.iter().copied().collect();
            let (mut takes, mut stored) = (Vec::new(), Vec::new());
            for node in &nodes {
                for name in &self.reads[*node] {
                    match self.producers.get(name) {
                        Some(producer) if inside.contains(producer) => {}
                        Some(producer) => {
                            takes.push((*name).to_owned());
                            pieces[piece_of(*producer)].hands_on.push((*name).to_owned());
                        }
                        None => takes.push((*name).to_owned()),
                    }
                }
                stored.extend(self.stored_of(*node));
            }
            let computed = nodes.iter().flat_map(|node| outputs(&self.graph.node[*node]));
            let gives = computed.filter(|name| wanted.contains(name) && given_once.insert(*name));
            let gives = gives.map(str::to_owned).collect();
            takes.sort_unstable();
            takes.dedup();
            stored.sort_unstable();
            stored.dedup();
            let piece = &mut pieces[index];
            (piece.nodes, piece.takes, piece.gives, piece.stored) = (nodes, takes, gives, stored);
        }
        for piece in &mut pieces {
            piece.hands_on.sort_unstable();
            piece.hands_on.dedup();
        }
        pieces
    }
}

/// What a node computes; an omitted output has no name.
fn outputs(node: &NodeProto) -> impl Iterator<Item = &str> {
    node.output.iter().map(String::as_str).filter(|name| !name.is_empty())
}

/// All names that a node reads, including those in graphs inside it.
fn read_names<'a>(node: &'a NodeProto, names: &mut Vec<&'a str>) {
    names.extend(node.input.iter().map(String::as_str).filter(|name| !name.is_empty()));
    let graphs = node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs));
    for graph in graphs {
        graph.node.iter().for_each(|inner| read_names(inner, names));
        names.extend(graph.output.iter().filter_map(|output| output.name.as_deref()));
    }
}

impl Piece {
    /// The piece as a model; `types` has the types of its inputs.
    pub fn model(&self, whole: &ModelProto, types: &HashMap<&str, DType>) -> ModelProto {
        let Some(graph) = &whole.graph else { return ModelProto::default() };
        let type_of = |name: &String| {
            let elem_type = types.get(name.as_str()).map(|dtype| i32::from(dtype.0));
            TypeProto { value: Some(Value::TensorType(Tensor { elem_type, shape: None })), denotation: None }
        };
        let value = |name: &String, is_input: bool| ValueInfoProto {
            name: Some(name.clone()),
            r#type: is_input.then(|| type_of(name)),
            ..ValueInfoProto::default()
        };
        let mut outputs: Vec<&String> = self.gives.iter().chain(&self.hands_on).collect();
        outputs.sort_unstable();
        outputs.dedup();
        let piece = GraphProto {
            name: Some("piece".to_owned()),
            node: self.nodes.iter().map(|node| graph.node[*node].clone()).collect(),
            initializer: self.stored.iter().map(|index| graph.initializer[*index].clone()).collect(),
            input: self.takes.iter().map(|name| value(name, true)).collect(),
            output: outputs.into_iter().map(|name| value(name, false)).collect(),
            sparse_initializer: graph.sparse_initializer.clone(),
            ..GraphProto::default()
        };
        ModelProto {
            ir_version: whole.ir_version,
            opset_import: whole.opset_import.clone(),
            functions: whole.functions.clone(),
            graph: Some(piece),
            ..ModelProto::default()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;

    fn node(op_type: &str, inputs: &[&str], output: &str) -> NodeProto {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        NodeProto {
            op_type: Some(op_type.to_owned()),
            input: owned(inputs),
            output: owned(&[output]),
            ..NodeProto::default()
        }
    }

    /// x, four layers that each read a stored weight through a node, and a node that reads the first of them at the
    /// end.
    fn chain() -> GraphProto {
        let mut node_list = Vec::new();
        for (index, from) in ["x", "a", "b", "c"].into_iter().enumerate() {
            let (codes, weight) = (format!("w{index}"), format!("w{index}.real"));
            node_list.push(node("Cast", &[&codes], &weight));
            node_list.push(node("Mul", &[from, &weight], ["a", "b", "c", "d"][index]));
        }
        node_list.push(node("Add", &["d", "a"], "y"));
        let stored = |index: usize| TensorProto { name: Some(format!("w{index}")), ..TensorProto::default() };
        let input = ValueInfoProto { name: Some("x".to_owned()), ..ValueInfoProto::default() };
        GraphProto {
            node: node_list,
            initializer: (0..4).map(stored).collect(),
            input: vec![input],
            ..GraphProto::default()
        }
    }

    fn texts(names: &[String]) -> Vec<&str> {
        names.iter().map(String::as_str).collect()
    }

    /// Each value has 10 bytes and the budget is 20: two of them per piece, except for the first, after which only
    /// `a` is alive and is passed on to the end. Stored tensors cross no cut.
    #[test]
    fn pieces_have_about_a_budget_of_wanted_values() {
        let graph = chain();
        let bytes = |name: &str| Some(if name.starts_with('w') { 0 } else { 10 });
        let pieces = cut(&graph, &["a", "b", "c", "d", "y"], &bytes, &|_| 0, 20).unwrap();
        let gives: Vec<Vec<&str>> = pieces.iter().map(|piece| texts(&piece.gives)).collect();
        assert_eq!(gives, [vec!["a"], vec!["b", "c"], vec!["d", "y"]]);
        assert_eq!(texts(&pieces[0].takes), ["x"]);
        assert_eq!(texts(&pieces[0].hands_on), ["a"]);
        assert_eq!(texts(&pieces[1].takes), ["a"]);
        assert_eq!(pieces[1].stored, [1, 2]);
        assert_eq!(texts(&pieces[2].takes), ["a", "c"]);
        assert!(pieces[2].hands_on.is_empty());
        assert_eq!(pieces[0].nodes, [0, 1]);
    }

    /// Each stored tensor takes 10 bytes and becomes a weight of 10 bytes, which no value of the graph tells: with the value
    /// itself 30 bytes a layer.
    #[test]
    fn stored_tensors_and_what_is_computed_of_them_count() {
        let graph = chain();
        let pieces = cut(&graph, &["a", "b", "c", "d"], &|_| Some(10), &|_| 10, 60).unwrap();
        let gives: Vec<Vec<&str>> = pieces.iter().map(|piece| texts(&piece.gives)).collect();
        assert_eq!(gives, [vec!["a", "b"], vec!["c", "d"]]);
        assert!(cut(&graph, &["a", "b", "c", "d"], &|_| Some(10), &|_| 10, 120).is_none());
    }

    /// Of two positions at which a piece may end, the one after which less is alive.
    #[test]
    fn a_piece_ends_where_little_is_alive() {
        let graph = chain();
        let bytes = |name: &str| Some(if name == "b" { 100 } else { 10 });
        let pieces = cut(&graph, &["a", "c", "d", "y"], &bytes, &|_| 0, 20).unwrap();
        // After `a`, a and b's 100 bytes are still to come; after `b` they are alive.
        assert_eq!(texts(&pieces[0].gives), ["a"]);
        assert_eq!(texts(&pieces[0].hands_on), ["a"]);
    }

    #[test]
    fn what_is_not_needed_is_not_computed_and_what_fits_is_not_cut() {
        let graph = chain();
        assert!(cut(&graph, &["a", "b"], &|_| Some(10), &|_| 0, 100).is_none());
        let pieces = cut(&graph, &["a", "b"], &|_| Some(10), &|_| 0, 5).unwrap();
        let nodes: Vec<usize> = pieces.iter().flat_map(|piece| piece.nodes.iter().copied()).collect();
        assert_eq!(nodes, [0, 1, 2, 3]);
        // A value that no layer computes belongs to no piece.
        assert!(cut(&graph, &["x"], &|_| Some(10), &|_| 0, 5).is_none());
    }

    #[test]
    fn nodes_that_are_not_in_the_order_of_computing_are_left_alone() {
        let mut graph = chain();
        graph.node.swap(1, 3);
        assert!(cut(&graph, &["a", "b", "y"], &|_| Some(10), &|_| 0, 5).is_none());
    }
}
