//! A model as nodes and edges: what computes a value, and what reads it.

use super::suspicion::Wiring;
use crate::model::{InputRole, LayerInfo, ModelInfo, QuantizationParameters, ValueInfo};
use std::collections::{HashMap, HashSet, VecDeque};

/// At most this many quantizing and dequantizing layers in a row are seen through.
const MAX_PLUMBING: usize = 16;

/// The graph of a model. Stored tensors are not nodes.
pub struct Graph<'a> {
    /// The inputs, the layers in their order, the outputs.
    pub nodes: Vec<Node<'a>>,
    /// The edges, by the node that reads.
    pub edges: Vec<Edge<'a>>,
    /// Layers that only quantize and dequantize, and are not nodes: edges go through them.
    pub hidden: usize,
    values: HashMap<&'a str, &'a ValueInfo>,
    layers: HashMap<&'a str, usize>,
    producers: HashMap<&'a str, usize>,
    /// For layers that are seen through: what they compute from what.
    through: HashMap<&'a str, &'a str>,
    incoming: Vec<Vec<usize>>,
    outgoing: Vec<Vec<usize>>,
}

/// A node.
#[derive(Clone, Copy, Debug)]
pub enum Node<'a> {
    /// An input of the model.
    Input(&'a ValueInfo),
    /// A layer.
    Layer(&'a LayerInfo),
    /// An output of the model.
    Output(&'a ValueInfo),
}

impl<'a> Node<'a> {
    /// The layer's path, or the name of the input or output.
    pub fn name(&self) -> &'a str {
        match self {
            Self::Input(value) | Self::Output(value) => &value.name,
            Self::Layer(layer) => &layer.path,
        }
    }

    /// The op type, or for anything but a layer what it is.
    pub fn kind(&self) -> &'a str {
        match self {
            Self::Input(_) => "input",
            Self::Layer(layer) if layer.op_type.is_empty() => "?",
            Self::Layer(layer) => &layer.op_type,
            Self::Output(_) => "output",
        }
    }
}

/// An edge: a value, from the node that computes it to one that reads it.
#[derive(Clone, Copy, Debug)]
pub struct Edge<'a> {
    /// The node that computes it.
    pub from: usize,
    /// The node that reads it.
    pub to: usize,
    /// Its name where it is computed.
    pub value: &'a str,
    /// What is known about it there.
    pub info: Option<&'a ValueInfo>,
    /// The codes to which it is rounded on the way.
    pub quantization: Option<&'a QuantizationParameters>,
    /// At which input the node reads it.
    pub slot: usize,
    /// Whether it is data to the node that reads it, not a shape, scale or other parameter.
    pub is_data: bool,
}

/// A rounding of a value: to codes, and from these back to real numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding<'a> {
    /// The rounded value.
    pub value: &'a str,
    /// What the codes are made with.
    pub quantize: &'a QuantizationParameters,
    /// What the codes are read with; the same unless the model rescales the value.
    pub dequantize: &'a QuantizationParameters,
}

impl Rounding<'_> {
    /// Whether the scale changes between the two.
    pub fn rescales(&self) -> bool {
        !self.quantize.gives_the_values_of(self.dequantize)
    }
}

impl<'a> Graph<'a> {
    /// The graph of `info`; with `is_whole` every layer is a node, otherwise those that only quantize and dequantize
    /// are seen through. Modules that only hold others are not nodes. Linear in the size of the model.
    pub fn of(info: &'a ModelInfo, is_whole: bool) -> Self {
        let wiring = Wiring::of(info);
        let is_hidden = |layer: &LayerInfo| !is_whole && layer.kind.is_plumbing();
        let inputs = info.inputs.iter().map(Node::Input);
        let computes = |layer: &LayerInfo| !layer.inputs.is_empty() || !layer.outputs.is_empty();
        let layers = info.layers.iter().filter(|layer| computes(layer) && !is_hidden(layer)).map(Node::Layer);
        let nodes: Vec<Node<'_>> =
            inputs.chain(layers).chain(info.outputs.iter().map(Node::Output)).collect();
        let mut producers: HashMap<&str, usize> = HashMap::new();
        for (index, node) in nodes.iter().enumerate() {
            match node {
                Node::Input(value) => {
                    producers.insert(&value.name, index);
                }
                // In a malformed graph, the first layer to compute a name is its producer.
                Node::Layer(layer) => layer.outputs.iter().for_each(|name| {
                    producers.entry(name).or_insert(index);
                }),
                Node::Output(_) => {}
            }
        }
        let through: HashMap<&str, &str> = info
            .layers
            .iter()
            .filter(|layer| is_hidden(layer))
            .filter_map(|layer| Some((layer.outputs.first()?.as_str(), layer.inputs.first()?.as_str())))
            .collect();
        let layer_of = |(index, node): (usize, &Node<'a>)| match node {
            Node::Layer(layer) => Some((layer.path.as_str(), index)),
            Node::Input(_) | Node::Output(_) => None,
        };
        let layers = nodes.iter().enumerate().filter_map(layer_of).collect();
        let mut graph = Self {
            hidden: info.layers.iter().filter(|layer| is_hidden(layer)).count(),
            edges: Vec::new(),
            incoming: vec![Vec::new(); nodes.len()],
            outgoing: vec![Vec::new(); nodes.len()],
            nodes: Vec::new(),
            values: info.values_by_name(),
            layers,
            producers,
            through,
        };
        for (to, node) in nodes.iter().enumerate() {
            let names: Vec<(&str, bool)> = match node {
                Node::Input(_) => Vec::new(),
                Node::Layer(layer) => {
                    let role = |place| layer.role(place) == InputRole::Data;
                    layer
                        .inputs
                        .iter()
                        .enumerate()
                        .map(|(place, name)| (name.as_str(), role(place)))
                        .collect()
                }
                Node::Output(value) => vec![(&value.name, true)],
            };
            for (slot, (name, is_data)) in names.into_iter().enumerate() {
                let (value, quantization) = graph.source(name, |name| wiring.parameters(name));
                let Some(&from) = graph.producers.get(value).filter(|from| **from != to) else { continue };
                let info = graph.values.get(value).copied();
                let index = graph.edges.len();
                graph.edges.push(Edge { from, to, value, info, quantization, slot, is_data });
                graph.incoming[to].push(index);
                graph.outgoing[from].push(index);
            }
        }
        graph.nodes = nodes;
        graph
    }

    /// The node of the layer with this path.
    pub fn layer(&self, path: &str) -> Option<usize> {
        self.layers.get(path).copied()
    }

    /// What is known about a value.
    pub fn value(&self, name: &str) -> Option<&'a ValueInfo> {
        self.values.get(name).copied()
    }

    /// The value that seen-through layers make a value from, and the first information about any value on the way.
    fn source<T>(&self, value: &'a str, mut known: impl FnMut(&'a str) -> Option<T>) -> (&'a str, Option<T>) {
        let (mut value, mut found) = (value, known(value));
        for _ in 0..MAX_PLUMBING {
            let Some(source) = self.through.get(value) else { break };
            value = source;
            found = found.or_else(|| known(value));
        }
        (value, found)
    }

    /// How a value was rounded since it was computed, the first rounding first.
    pub fn roundings(&self, value: &'a str) -> Vec<Rounding<'a>> {
        let mut chain = Vec::new();
        self.source(value, |name| {
            chain.push(name);
            None::<()>
        });
        let mut roundings: Vec<Rounding<'a>> = Vec::new();
        let known = chain.iter().rev().filter_map(|name| self.value(name));
        for (info, codes) in known.filter_map(|info| Some((info, info.quantization.as_ref()?))) {
            match roundings.last_mut() {
                Some(last) if last.dequantize.gives_the_values_of(codes) => last.value = &info.name,
                Some(last) if info.dtype.is_float() && self.is_codes(last.value) => {
                    (last.value, last.dequantize) = (&info.name, codes);
                }
                _ => roundings.push(Rounding { value: &info.name, quantize: codes, dequantize: codes }),
            }
        }
        roundings
    }

    fn is_codes(&self, value: &str) -> bool {
        self.value(value).is_some_and(|value| !value.dtype.is_float())
    }

    /// The value as it was before quantization and dequantization.
    pub fn origin(&self, value: &'a str) -> &'a str {
        self.source(value, |_| None::<()>).0
    }

    /// The layer that computes a value, before it is quantized and dequantized.
    pub fn computing(&self, value: &'a str) -> Option<&'a LayerInfo> {
        match self.nodes[self.producer(self.origin(value))?] {
            Node::Layer(layer) => Some(layer),
            Node::Input(_) | Node::Output(_) => None,
        }
    }

    /// The node that computes a value.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.producers.get(value).copied()
    }

    /// A node's output: the first of a layer's outputs about which anything is known.
    pub fn output(&self, node: usize) -> Option<&'a ValueInfo> {
        match self.nodes.get(node)? {
            Node::Input(value) | Node::Output(value) => Some(value),
            Node::Layer(layer) => {
                layer.outputs.iter().find_map(|name| self.values.get(name.as_str()).copied())
            }
        }
    }

    /// The edges that end at a node.
    pub fn incoming(&self, node: usize) -> impl Iterator<Item = &Edge<'a>> {
        self.incoming.get(node).into_iter().flatten().map(|index| &self.edges[*index])
    }

    /// The edges that begin at a node.
    pub fn outgoing(&self, node: usize) -> impl Iterator<Item = &Edge<'a>> {
        self.outgoing.get(node).into_iter().flatten().map(|index| &self.edges[*index])
    }

    /// The nodes at most `depth` edges away, against or along the edges' direction, including the node itself; in the
    /// order of the nodes.
    pub fn around(&self, node: usize, depth: usize) -> Vec<usize> {
        let mut seen = HashSet::from([node]);
        let mut waiting = VecDeque::from([(node, 0)]);
        while let Some((node, distance)) = waiting.pop_front() {
            if distance == depth {
                continue;
            }
            let before = self.incoming(node).map(|edge| edge.from);
            for next in before.chain(self.outgoing(node).map(|edge| edge.to)) {
                if seen.insert(next) {
                    waiting.push_back((next, distance + 1));
                }
            }
        }
        let mut found: Vec<usize> = seen.into_iter().collect();
        found.sort_unstable();
        found
    }
}
