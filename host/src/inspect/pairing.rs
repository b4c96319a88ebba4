//! Which stored tensor of one variant of a network is which of another. `qp_analysis::matching` decides; every
//! command asks here.

use super::suspicion::is_plumbing;
use super::weight::{Stored, all_stored};
use crate::model::{LayerInfo, ModelInfo};
use qp_analysis::{Item, ShapeFit, Why, match_items};
use serde::Serialize;
use std::collections::HashSet;

/// Two stored tensors that are the same one of the network.
#[derive(Clone, Copy, Debug)]
pub struct TensorPair<'a> {
    /// The reference's.
    pub reference: Stored<'a>,
    /// The candidate's.
    pub candidate: Stored<'a>,
    /// How sure it is that they belong together, and why.
    pub ground: Ground,
    /// How the shapes belong together.
    pub fit: ShapeFit,
}

/// Why two things are a pair.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ground {
    /// A name for machines: [`Why::code`].
    pub why: &'static str,
    /// From 0 to 1.
    pub confidence: f64,
}

impl Ground {
    /// Of something that is compared with itself.
    pub const SAME: Self = Self { why: "exact", confidence: 1.0 };

    fn of(pair: &qp_analysis::Pair) -> Self {
        Self { why: Why::code(pair.why), confidence: pair.confidence() }
    }
}

/// What belongs together and what is left over.
#[derive(Clone, Debug, Default)]
pub struct TensorPairs<'a> {
    /// The pairs, in the reference's order.
    pub pairs: Vec<TensorPair<'a>>,
    /// The reference's tensors without a partner.
    pub unmatched_reference: Vec<Stored<'a>>,
    /// The candidate's tensors without a partner.
    pub unmatched_candidate: Vec<Stored<'a>>,
}

/// Pairs the stored tensors of two variants; scales and zero points are none.
pub fn tensors<'a>(reference: &'a ModelInfo, candidate: &'a ModelInfo) -> TensorPairs<'a> {
    let (references, candidates) = (all_stored(reference), all_stored(candidate));
    let (reference_shapes, candidate_shapes) = (shapes(&references), shapes(&candidates));
    let matching =
        match_items(&items(&references, &reference_shapes), &items(&candidates, &candidate_shapes));
    TensorPairs {
        pairs: matching
            .pairs
            .iter()
            .map(|pair| TensorPair {
                reference: references[pair.reference],
                candidate: candidates[pair.candidate],
                ground: Ground::of(pair),
                fit: pair.fit,
            })
            .collect(),
        unmatched_reference: matching.unmatched_reference.iter().map(|index| references[*index]).collect(),
        unmatched_candidate: matching.unmatched_candidate.iter().map(|index| candidates[*index]).collect(),
    }
}

/// Two layers that are the same one of the network.
#[derive(Clone, Copy, Debug)]
pub struct LayerPair<'a> {
    /// The reference's.
    pub reference: &'a LayerInfo,
    /// The candidate's.
    pub candidate: &'a LayerInfo,
    /// How sure it is that they belong together, and why.
    pub ground: Ground,
}

/// What belongs together and what is left over.
#[derive(Clone, Debug, Default)]
pub struct LayerPairs<'a> {
    /// The pairs, in the reference's order.
    pub pairs: Vec<LayerPair<'a>>,
    /// The reference's layers without a partner.
    pub unmatched_reference: Vec<&'a LayerInfo>,
    /// The candidate's layers without a partner.
    pub unmatched_candidate: Vec<&'a LayerInfo>,
}

/// Pairs the layers of two variants; those that only quantize and dequantize are none, nor are modules that only
/// hold others.
pub fn layers<'a>(reference: &'a ModelInfo, candidate: &'a ModelInfo) -> LayerPairs<'a> {
    let computing = |info: &'a ModelInfo| -> Vec<&'a LayerInfo> {
        let holders: HashSet<&str> = info.layers.iter().filter_map(|layer| holder(&layer.path)).collect();
        let is_holder = |layer: &LayerInfo| {
            layer.outputs.is_empty() && layer.tensors.is_empty() && holders.contains(layer.path.as_str())
        };
        info.layers.iter().filter(|layer| !is_plumbing(layer) && !is_holder(layer)).collect()
    };
    let (references, candidates) = (computing(reference), computing(candidate));
    // What a layer computes has another shape with another batch: names and kinds decide.
    let items = |layers: &[&'a LayerInfo]| -> Vec<Item<'a>> {
        layers.iter().map(|layer| Item { name: &layer.path, shape: None, kind: &layer.op_type }).collect()
    };
    let matching = match_items(&items(&references), &items(&candidates));
    LayerPairs {
        pairs: matching
            .pairs
            .iter()
            .map(|pair| LayerPair {
                reference: references[pair.reference],
                candidate: candidates[pair.candidate],
                ground: Ground::of(pair),
            })
            .collect(),
        unmatched_reference: matching.unmatched_reference.iter().map(|index| references[*index]).collect(),
        unmatched_candidate: matching.unmatched_candidate.iter().map(|index| candidates[*index]).collect(),
    }
}

/// The module that a path is in.
fn holder(path: &str) -> Option<&str> {
    path.rfind('.').map(|end| &path[..end])
}

fn shapes(stored: &[Stored<'_>]) -> Vec<Vec<Option<u64>>> {
    stored.iter().map(|stored| stored.tensor.shape.iter().copied().map(Some).collect()).collect()
}

fn items<'a>(stored: &[Stored<'a>], shapes: &'a [Vec<Option<u64>>]) -> Vec<Item<'a>> {
    stored
        .iter()
        .zip(shapes)
        .map(|(stored, shape)| Item {
            name: &stored.tensor.name,
            shape: Some(shape),
            kind: stored.layer.map_or("", |layer| layer.op_type.as_str()),
        })
        .collect()
}
