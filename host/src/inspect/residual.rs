//! Residual connections: where two branches of a network meet in an addition.

use super::graph::{Graph, Node};
use crate::model::{LayerInfo, LayerKind, ModelInfo, QuantizationParameters};
use qp_analysis::ResidualMismatch;
use std::collections::{BTreeSet, VecDeque};

/// An addition of two values that layers compute.
#[derive(Clone, Debug)]
pub struct Residual<'a> {
    /// The addition.
    pub layer: &'a LayerInfo,
    /// Its two branches, in the order of its inputs.
    pub branches: [Branch<'a>; 2],
    /// Where the branches fork: the layer, or the input of the model; `None` if they have nothing in common.
    pub fork: Option<&'a str>,
    /// The codes to which the sum is rounded.
    pub output: Option<&'a QuantizationParameters>,
}

/// One of the two branches.
#[derive(Clone, Debug)]
pub struct Branch<'a> {
    /// The value that is added.
    pub value: &'a str,
    /// The layers between the fork and the addition, in order; empty for a plain skip connection.
    pub layers: Vec<&'a str>,
    /// The codes to which the value is rounded.
    pub quantization: Option<&'a QuantizationParameters>,
}

impl Residual<'_> {
    /// How far apart the branches' scales are; `None` unless both have one.
    pub fn mismatch(&self) -> Option<ResidualMismatch> {
        ResidualMismatch::of(self.branches[0].scale()?, self.branches[1].scale()?)
    }

    /// The branch with the smaller scale, which loses bits.
    pub fn finer(&self) -> Option<usize> {
        let (first, second) = (self.branches[0].scale()?, self.branches[1].scale()?);
        (first != second).then_some(usize::from(second < first))
    }
}

impl Branch<'_> {
    /// The single scale of the branch.
    pub fn scale(&self) -> Option<f64> {
        match self.quantization?.scales[..] {
            [scale] => Some(scale),
            _ => None,
        }
    }
}

/// Every residual addition, in the order of the layers.
pub fn residuals(info: &ModelInfo) -> Vec<Residual<'_>> {
    let graph = Graph::of(info, false);
    let additions = graph.nodes.iter().enumerate().filter_map(|(node, what)| match what {
        Node::Layer(layer) if layer.kind == LayerKind::Addition => Some((node, *layer)),
        _ => None,
    });
    additions.filter_map(|(node, layer)| residual(&graph, node, layer)).collect()
}

/// `None` for an addition of anything but two computed values, such as a bias.
fn residual<'a>(graph: &Graph<'a>, node: usize, layer: &'a LayerInfo) -> Option<Residual<'a>> {
    let edges: Vec<_> = graph.incoming(node).filter(|edge| edge.is_data).copied().collect();
    let [first, second] = edges[..] else { return None };
    let ancestors = [ancestors(graph, first.from), ancestors(graph, second.from)];
    // Layers are in the order of computation: the last common one is where the branches fork.
    let fork = ancestors[0].intersection(&ancestors[1]).last().copied();
    let branch = |edge: &super::graph::Edge<'a>, own: &BTreeSet<usize>, other: &BTreeSet<usize>| {
        let layers = own.difference(other).filter_map(|node| match graph.nodes[*node] {
            Node::Layer(layer) => Some(layer.path.as_str()),
            Node::Input(_) | Node::Output(_) => None,
        });
        Branch { value: edge.value, layers: layers.collect(), quantization: edge.quantization }
    };
    Some(Residual {
        layer,
        branches: [
            branch(&first, &ancestors[0], &ancestors[1]),
            branch(&second, &ancestors[1], &ancestors[0]),
        ],
        fork: fork.map(|fork| graph.nodes[fork].name()),
        output: rounded(graph, node),
    })
}

/// The codes to which a node's result is rounded, directly or after an activation.
fn rounded<'a>(graph: &Graph<'a>, node: usize) -> Option<&'a QuantizationParameters> {
    let first = graph.outgoing(node).next()?;
    first.quantization.or_else(|| graph.outgoing(first.to).find_map(|edge| edge.quantization))
}

/// A node and everything it is computed from.
fn ancestors(graph: &Graph<'_>, node: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::from([node]);
    let mut waiting = VecDeque::from([node]);
    while let Some(node) = waiting.pop_front() {
        for source in graph.incoming(node).map(|edge| edge.from) {
            if found.insert(source) {
                waiting.push_back(source);
            }
        }
    }
    found
}
