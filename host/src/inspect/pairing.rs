//! Which stored tensor of one variant of a network is which of another. `qp_analysis::matching` decides; every
//! command asks here.

use super::weight::{Stored, all_stored};
use crate::model::ModelInfo;
use qp_analysis::{Item, ShapeFit, Why, match_items};
use serde::Serialize;

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
