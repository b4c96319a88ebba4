//! Which value of a candidate is to be held against which of the reference.
//!
//! Names alone do not say. ONNX Runtime's quantizer folds a ReLU into the quantization behind it and gives the
//! ReLU's name to the value before: two values of one name, of which one is clipped and the other is not. So layers
//! are paired first, and each pair's values are followed to where they mean the same: a layer's value through the
//! quantization that rounds it, and through activations and batch normalizations that the other side has no layer
//! for, because they are part of it there.

use super::order::Order;
use crate::inspect::graph::{Graph, Node};
use crate::inspect::pairing::{self, Ground};
use crate::inspect::suspicion::is_plumbing;
use crate::model::{LayerInfo, ModelInfo, QuantizationParameters};
use std::collections::HashSet;

/// How far a value is followed.
const MAX_STEPS: usize = 16;

/// Two values that mean the same.
#[derive(Clone, Debug)]
pub struct ActivationPair<'a> {
    /// The layer of the reference.
    pub reference: &'a LayerInfo,
    /// The layer of the candidate.
    pub candidate: &'a LayerInfo,
    /// Why the layers are a pair.
    pub ground: Ground,
    /// The value of the reference.
    pub reference_value: Followed<'a>,
    /// The value of the candidate.
    pub candidate_value: Followed<'a>,
    /// How the candidate's elements lie; `None` if the shapes are to say.
    pub order: Option<Order>,
}

/// Where a layer's value was followed to.
#[derive(Clone, Debug)]
pub struct Followed<'a> {
    /// The value to be looked at.
    pub name: &'a str,
    /// The codes that it was rounded to on the way, or is.
    pub quantization: Option<&'a QuantizationParameters>,
    /// The layers it was followed through, quantization apart.
    pub through: Vec<&'a str>,
}

/// What belongs together and what is left over.
#[derive(Clone, Debug, Default)]
pub struct Activations<'a> {
    /// The pairs, in the reference's order.
    pub pairs: Vec<ActivationPair<'a>>,
    /// The reference's layers that are in no pair and part of none.
    pub unmatched_reference: Vec<&'a LayerInfo>,
    /// The candidate's.
    pub unmatched_candidate: Vec<&'a LayerInfo>,
}

/// Pairs the values of two variants.
pub fn activations<'a>(reference: &'a ModelInfo, candidate: &'a ModelInfo) -> Activations<'a> {
    let layers = pairing::layers(reference, candidate);
    let (of_reference, of_candidate) = (
        Follower::new(reference, &layers.unmatched_reference),
        Follower::new(candidate, &layers.unmatched_candidate),
    );
    let mut found = Activations {
        unmatched_reference: layers.unmatched_reference,
        unmatched_candidate: layers.unmatched_candidate,
        pairs: Vec::new(),
    };
    for pair in layers.pairs {
        let values = of_reference.follow(pair.reference).zip(of_candidate.follow(pair.candidate));
        if let Some((reference_value, candidate_value)) = values {
            found.pairs.push(ActivationPair {
                reference: pair.reference,
                candidate: pair.candidate,
                ground: pair.ground,
                reference_value,
                candidate_value,
                order: None,
            });
        }
    }
    let part_of_a_pair: HashSet<&str> = found
        .pairs
        .iter()
        .flat_map(|pair| pair.reference_value.through.iter().chain(&pair.candidate_value.through))
        .copied()
        .collect();
    found.unmatched_reference.retain(|layer| !part_of_a_pair.contains(layer.path.as_str()));
    found.unmatched_candidate.retain(|layer| !part_of_a_pair.contains(layer.path.as_str()));
    found
}

/// Follows values of one model.
pub struct Follower<'a> {
    info: &'a ModelInfo,
    graph: Graph<'a>,
    /// Layers that the other side has no layer for.
    lonely: HashSet<&'a str>,
}

impl<'a> Follower<'a> {
    /// `lonely` are the layers that the other side has none for.
    pub fn new(info: &'a ModelInfo, lonely: &[&'a LayerInfo]) -> Self {
        let lonely = lonely.iter().map(|layer| layer.path.as_str()).collect();
        Self { info, graph: Graph::of(info, true), lonely }
    }

    /// Where the first value of a layer means what the other side's means.
    pub fn follow(&self, layer: &'a LayerInfo) -> Option<Followed<'a>> {
        let name = layer.outputs.first().filter(|name| !name.is_empty())?;
        let mut followed = Followed { name, quantization: None, through: Vec::new() };
        let mut conversion = vec!["Add", "Mul", "Cast"];
        for _ in 0..MAX_STEPS {
            let Some(next) = self.only_reader(followed.name) else { break };
            let becomes_real = self.becomes_real(next, layer, &mut conversion);
            let (is_quantizer, is_folded) = (is_plumbing(next), becomes_real || self.is_folded(next));
            if !is_quantizer && !is_folded {
                break;
            }
            let Some(output) = next.outputs.first() else { break };
            if is_folded {
                followed.through.push(&next.path);
            }
            followed.name = output;
        }
        followed.quantization = self.info.value(followed.name).and_then(|value| value.quantization.as_ref());
        Some(followed)
    }

    /// The one layer that reads a value, if no other does and it is no output; of several that do the same to it,
    /// as when each reader has a quantizer of its own, the first.
    pub fn only_reader(&self, value: &str) -> Option<&'a LayerInfo> {
        let producer = self.graph.producer(value)?;
        let mut readers = self.graph.outgoing(producer).filter(|edge| edge.value == value);
        let reader = |node: usize| match self.graph.nodes[node] {
            Node::Layer(layer) => Some(layer),
            Node::Input(_) | Node::Output(_) => None,
        };
        let first = reader(readers.next()?.to)?;
        let are_alike = readers.all(|edge| {
            reader(edge.to).is_some_and(|other| is_plumbing(first) && other.op_type == first.op_type)
        });
        are_alike.then_some(first)
    }

    /// Whether a layer is part of the one before it in the other model.
    fn is_folded(&self, layer: &LayerInfo) -> bool {
        let op = layer.op_type.to_ascii_lowercase();
        let is_part = ["relu", "clip", "hardtanh", "batchnorm", "identity", "dropout"];
        // What computes of several values, such as `add_relu`, is part of none of them.
        let is_of_one = layer.inputs.iter().filter(|input| self.graph.producer(input).is_some()).count() <= 1;
        self.lonely.contains(layer.path.as_str()) && is_of_one && is_part.iter().any(|part| op.contains(part))
    }

    /// An integer product becomes real by a cast, the product of the scales and the bias, each once, in this order;
    /// `left` holds what may still come, the next one last.
    fn becomes_real(&self, behind: &LayerInfo, layer: &LayerInfo, left: &mut Vec<&str>) -> bool {
        let is_integer = matches!(layer.op_type.as_str(), "ConvInteger" | "MatMulInteger");
        let is_next = left.last().is_some_and(|next| *next == behind.op_type);
        if is_integer && is_next && self.lonely.contains(behind.path.as_str()) {
            left.pop();
            return true;
        }
        false
    }
}
