//! Which stored tensor of one variant of a network is which of another. `qp_analysis::matching` decides; every
//! command asks here.

use super::suspicion::is_plumbing;
use super::weight::{Stored, all_stored};
use crate::model::{LayerInfo, ModelInfo, TensorRole};
use qp_analysis::{Item, Pair, ShapeFit, Why, are_of_one_kind, is_anonymous, match_items};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

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

    fn of(pair: &Pair) -> Self {
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
    // What no layer uses, such as float weights that PT2E leaves behind, is not what is looked for.
    let used = |info: &'a ModelInfo| -> Vec<Stored<'a>> {
        let is_used =
            |stored: &Stored<'_>| stored.layer.is_some() || stored.tensor.role != TensorRole::Constant;
        all_stored(info).into_iter().filter(is_used).collect()
    };
    let (references, candidates) = (used(reference), used(candidate));
    let (reference_shapes, candidate_shapes) = (shapes(&references), shapes(&candidates));
    let (reference_names, candidate_names) = (names(&references), names(&candidates));
    let matching = match_items(
        &items(&references, &reference_names, &reference_shapes),
        &items(&candidates, &candidate_names, &candidate_shapes),
    );
    let is_renamed = |pair: &Pair| {
        matches!(reference_names[pair.reference], Cow::Owned(_))
            || matches!(candidate_names[pair.candidate], Cow::Owned(_))
    };
    let ground = |pair: &Pair| match Ground::of(pair) {
        ground if is_renamed(pair) && pair.why <= Why::Tail => {
            Ground { why: "layer", confidence: ground.confidence * 0.9 }
        }
        ground => ground,
    };
    let pair = |pair: &Pair, ground: Ground| TensorPair {
        reference: references[pair.reference],
        candidate: candidates[pair.candidate],
        ground,
        fit: pair.fit,
    };
    let mut found = TensorPairs {
        pairs: matching.pairs.iter().map(|found| pair(found, ground(found))).collect(),
        unmatched_reference: matching.unmatched_reference.iter().map(|index| references[*index]).collect(),
        unmatched_candidate: matching.unmatched_candidate.iter().map(|index| candidates[*index]).collect(),
    };
    by_own_names(&mut found);
    let place: HashMap<&str, usize> =
        references.iter().enumerate().map(|(place, stored)| (stored.tensor.name.as_str(), place)).collect();
    found.pairs.sort_by_key(|pair| place.get(pair.reference.tensor.name.as_str()).copied());
    found
}

/// What is left over once more, by the names that the files give: names that say nothing leave it to the shapes.
fn by_own_names(found: &mut TensorPairs<'_>) {
    let own = |stored: &[Stored<'_>]| -> Vec<Cow<'static, str>> {
        stored.iter().map(|stored| Cow::Owned(stored.tensor.name.clone())).collect()
    };
    let (references, candidates) = (found.unmatched_reference.clone(), found.unmatched_candidate.clone());
    let names = (own(&references), own(&candidates));
    let shapes = (shapes(&references), shapes(&candidates));
    let matching =
        match_items(&items(&references, &names.0, &shapes.0), &items(&candidates, &names.1, &shapes.1));
    found.pairs.extend(matching.pairs.iter().map(|pair| TensorPair {
        reference: references[pair.reference],
        candidate: candidates[pair.candidate],
        ground: Ground::of(pair),
        fit: pair.fit,
    }));
    found.unmatched_reference = matching.unmatched_reference.iter().map(|index| references[*index]).collect();
    found.unmatched_candidate = matching.unmatched_candidate.iter().map(|index| candidates[*index]).collect();
}

/// What tensors are matched by: their names, and where a name says nothing of the layer that has it, what the
/// tensor is to that layer: `_frozen_param0`, the largest of `conv`, is `conv.weight`.
fn names<'a>(stored: &[Stored<'a>]) -> Vec<Cow<'a, str>> {
    let mut largest: HashMap<&str, u64> = HashMap::new();
    for Stored { layer, tensor } in stored {
        if let Some(layer) = layer {
            let size = largest.entry(layer.path.as_str()).or_default();
            *size = (*size).max(tensor.element_count());
        }
    }
    let name = |stored: &Stored<'a>| {
        let own = stored.tensor.name.as_str();
        let layer = stored.layer.map(|layer| layer.path.as_str()).filter(|path| !is_anonymous(path));
        match layer.filter(|_| is_anonymous(own) && stored.tensor.role == TensorRole::Parameter) {
            Some(path) if largest.get(path) == Some(&stored.tensor.element_count()) => {
                Cow::Owned(format!("{path}.weight"))
            }
            Some(path) if stored.tensor.shape.len() == 1 => Cow::Owned(format!("{path}.bias")),
            _ => Cow::Borrowed(own),
        }
    };
    stored.iter().map(name).collect()
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
    let mut pairs: Vec<LayerPair<'_>> = matching
        .pairs
        .iter()
        .map(|pair| LayerPair {
            reference: references[pair.reference],
            candidate: candidates[pair.candidate],
            ground: Ground::of(pair),
        })
        .collect();
    let mut found = LayerPairs {
        unmatched_reference: matching.unmatched_reference.iter().map(|index| references[*index]).collect(),
        unmatched_candidate: matching.unmatched_candidate.iter().map(|index| candidates[*index]).collect(),
        pairs: Vec::new(),
    };
    pairs.extend(by_weights(reference, candidate, &mut found));
    let place: HashMap<&str, usize> =
        references.iter().enumerate().map(|(place, layer)| (layer.path.as_str(), place)).collect();
    pairs.sort_by_key(|pair| place.get(pair.reference.path.as_str()).copied());
    found.pairs = pairs;
    found
}

/// Layers whose names say nothing of each other and whose weights are a pair: taken out of what is left over.
fn by_weights<'a>(
    reference: &'a ModelInfo,
    candidate: &'a ModelInfo,
    left: &mut LayerPairs<'a>,
) -> Vec<LayerPair<'a>> {
    if left.unmatched_reference.is_empty() || left.unmatched_candidate.is_empty() {
        return Vec::new();
    }
    let mut pairs: Vec<LayerPair<'a>> = Vec::new();
    for pair in tensors(reference, candidate).pairs {
        let (Some(first), Some(second)) = (pair.reference.layer, pair.candidate.layer) else { continue };
        let of = |layers: &[&'a LayerInfo], layer: &LayerInfo| {
            layers.iter().position(|other| other.path == layer.path)
        };
        let places = of(&left.unmatched_reference, first).zip(of(&left.unmatched_candidate, second));
        let Some((reference, candidate)) =
            places.filter(|_| are_of_one_kind(&first.op_type, &second.op_type))
        else {
            continue;
        };
        pairs.push(LayerPair {
            reference: left.unmatched_reference.remove(reference),
            candidate: left.unmatched_candidate.remove(candidate),
            ground: Ground { why: "weight", confidence: pair.ground.confidence * 0.9 },
        });
    }
    pairs
}

/// The module that a path is in.
fn holder(path: &str) -> Option<&str> {
    path.rfind('.').map(|end| &path[..end])
}

fn shapes(stored: &[Stored<'_>]) -> Vec<Vec<Option<u64>>> {
    stored.iter().map(|stored| stored.tensor.shape.iter().copied().map(Some).collect()).collect()
}

fn items<'a>(
    stored: &[Stored<'a>],
    names: &'a [Cow<'_, str>],
    shapes: &'a [Vec<Option<u64>>],
) -> Vec<Item<'a>> {
    stored
        .iter()
        .zip(names.iter().zip(shapes))
        .map(|(stored, (name, shape))| Item {
            name,
            shape: Some(shape),
            kind: stored.layer.map_or("", |layer| layer.op_type.as_str()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DType, TensorInfo};

    fn tensor(name: &str, layer: &str) -> TensorInfo {
        TensorInfo {
            name: name.into(),
            role: TensorRole::Parameter,
            dtype: DType::INT8,
            shape: vec![2, 3],
            bytes: 6,
            layer: Some(layer.into()),
            quantization: None,
            external_file: None,
            alias_of: None,
        }
    }

    fn model(tensors: Vec<TensorInfo>) -> ModelInfo {
        let layer = |tensor: &TensorInfo| LayerInfo {
            path: tensor.layer.clone().unwrap_or_default(),
            op_type: "Linear".into(),
            domain: None,
            scope: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            tensors: vec![tensor.name.clone()],
            attributes: Vec::new(),
            quantization: None,
        };
        ModelInfo {
            format: "toy".into(),
            precision: "int8".into(),
            scheme: None,
            producer: None,
            versions: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            values: Vec::new(),
            layers: tensors.iter().map(layer).collect(),
            tensors,
            metadata: Vec::new(),
            findings: Vec::new(),
            run_obstacle: None,
            extra: Vec::new(),
        }
    }

    /// Of one shape and in another order: shapes and order alone would pair the wrong ones.
    #[test]
    fn a_tensor_without_a_name_goes_by_its_layer() {
        let reference = model(vec![tensor("up.weight", "up"), tensor("down.weight", "down")]);
        let candidate = model(vec![tensor("_frozen_param0", "down"), tensor("_frozen_param1", "up")]);
        let pairs = tensors(&reference, &candidate).pairs;
        let names: Vec<_> = pairs
            .iter()
            .map(|pair| (&*pair.reference.tensor.name, &*pair.candidate.tensor.name, pair.ground.why))
            .collect();
        assert_eq!(
            names,
            [("up.weight", "_frozen_param1", "layer"), ("down.weight", "_frozen_param0", "layer")]
        );
    }

    #[test]
    fn layers_without_common_names_go_by_their_weights() {
        let reference = model(vec![tensor("w.up", "Conv_7")]);
        let candidate = model(vec![tensor("w.up", "node_linear")]);
        let pairs = layers(&reference, &candidate).pairs;
        assert_eq!((pairs.len(), pairs[0].ground.why), (1, "weight"));
    }
}
