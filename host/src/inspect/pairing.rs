//! Which stored tensor of one variant of a network corresponds to which of another. `qp_analysis::matching` decides;
//! every command asks here.

use super::structure;
use super::weight::{Stored, all_stored};
use crate::model::{LayerInfo, LayerKind, ModelInfo, TensorRole};
use qp_analysis::{Item, Pair, ShapeFit, Why, is_anonymous, is_numbered, match_items, shape_fit};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Two stored tensors that are the same in the network.
#[derive(Clone, Copy, Debug)]
pub struct TensorPair<'a> {
    /// The reference's.
    pub reference: Stored<'a>,
    /// The candidate's.
    pub candidate: Stored<'a>,
    /// How sure the match is, and why.
    pub ground: Ground,
    /// How the shapes correspond.
    pub fit: ShapeFit,
}

/// Why two things were paired.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ground {
    /// A machine-readable name: [`Why::code`].
    pub why: &'static str,
    /// From 0 to 1.
    pub confidence: f64,
}

impl Ground {
    /// For something that is compared with itself.
    pub const SAME: Self = Self { why: "exact", confidence: 1.0 };

    /// For what was matched by its elements, which agree this well.
    pub const fn by_value(confidence: f64) -> Self {
        Self { why: "value", confidence }
    }

    /// Whether it was matched by its elements.
    pub fn is_by_value(&self) -> bool {
        self.why == "value"
    }

    /// For what was matched by name or shape.
    pub fn of(pair: &Pair) -> Self {
        Self { why: Why::code(pair.why), confidence: pair.confidence() }
    }
}

/// The pairs and the leftovers.
#[derive(Clone, Debug, Default)]
pub struct TensorPairs<'a> {
    /// The pairs, in the reference's order.
    pub pairs: Vec<TensorPair<'a>>,
    /// The reference's tensors without a partner.
    pub unmatched_reference: Vec<Stored<'a>>,
    /// The candidate's tensors without a partner.
    pub unmatched_candidate: Vec<Stored<'a>>,
}

/// Pairs the stored tensors of two variants; scales and zero points are left out.
pub fn tensors<'a>(reference: &'a ModelInfo, candidate: &'a ModelInfo) -> TensorPairs<'a> {
    let mut found = tensors_by_themselves(reference, candidate);
    if !found.unmatched_reference.is_empty() && !found.unmatched_candidate.is_empty() {
        by_layers(&mut found, &layers_without_weights(reference, candidate));
    }
    let in_order = all_stored(reference);
    let place: HashMap<&str, usize> =
        in_order.iter().enumerate().map(|(place, stored)| (stored.tensor.name.as_str(), place)).collect();
    found.pairs.sort_by_key(|pair| place.get(pair.reference.tensor.name.as_str()).copied());
    found
}

/// The stored tensors that pair by their names and shapes, whatever pairs their layers form: these may decide which
/// layers pair.
fn tensors_by_themselves<'a>(reference: &'a ModelInfo, candidate: &'a ModelInfo) -> TensorPairs<'a> {
    // Tensors that no layer uses, such as float weights that PT2E leaves in the file, are not wanted here.
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
    found
}

/// Matches the leftovers again, by the names in the files: names that say nothing leave it to the shapes.
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

/// Matches the leftovers again, by the layers that own them: the weights, and the biases, of two paired layers
/// correspond in order, whatever their names.
fn by_layers(found: &mut TensorPairs<'_>, layers: &LayerPairs<'_>) {
    for layers in &layers.pairs {
        for is_bias in [false, true] {
            let ours = left_of(layers.reference, is_bias, &found.unmatched_reference);
            let theirs = left_of(layers.candidate, is_bias, &found.unmatched_candidate);
            if ours.len() != theirs.len() {
                continue;
            }
            for (ours, theirs) in ours.into_iter().zip(theirs) {
                let Some(fit) = shape_fit(&ours.tensor.shape, &theirs.tensor.shape, true) else { continue };
                found.unmatched_reference.retain(|stored| stored.tensor.name != ours.tensor.name);
                found.unmatched_candidate.retain(|stored| stored.tensor.name != theirs.tensor.name);
                let ground = Ground { why: "layer", confidence: layers.ground.confidence * 0.8 };
                found.pairs.push(TensorPair { reference: ours, candidate: theirs, ground, fit });
            }
        }
    }
}

/// Which of the stored tensors are weights, or biases, of a layer, in its order.
fn left_of<'a>(layer: &LayerInfo, is_bias: bool, stored: &[Stored<'a>]) -> Vec<Stored<'a>> {
    let uses = layer.weights.iter().filter(|used| used.is_bias == is_bias);
    uses.filter_map(|used| stored.iter().find(|stored| stored.tensor.name == used.tensor).copied()).collect()
}

/// The key by which tensors are matched: their names, and if a name says nothing about the layer that owns it, the
/// tensor's role in that layer: `_frozen_param0`, the largest of `conv`, is `conv.weight`.
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

/// Two layers that are the same in the network.
#[derive(Clone, Copy, Debug)]
pub struct LayerPair<'a> {
    /// The reference's.
    pub reference: &'a LayerInfo,
    /// The candidate's.
    pub candidate: &'a LayerInfo,
    /// How sure the match is, and why.
    pub ground: Ground,
}

/// The pairs and the leftovers.
#[derive(Clone, Debug, Default)]
pub struct LayerPairs<'a> {
    /// The pairs, in the reference's order.
    pub pairs: Vec<LayerPair<'a>>,
    /// The reference's layers without a partner.
    pub unmatched_reference: Vec<&'a LayerInfo>,
    /// The candidate's layers without a partner.
    pub unmatched_candidate: Vec<&'a LayerInfo>,
}

/// Pairs the layers of two variants, leaving out those that only quantize and dequantize, modules that only hold
/// others, and layers that do not compute activations.
pub fn layers<'a>(reference: &'a ModelInfo, candidate: &'a ModelInfo) -> LayerPairs<'a> {
    let (mut found, counted) = named_layers(reference, candidate);
    let by_weights = by_weights(reference, candidate, &mut found);
    found.pairs.extend(by_weights);
    structure::settle((reference, candidate), &mut found, counted);
    structure::prefer_ends((reference, candidate), &mut found);
    let place = reference.places();
    found.pairs.sort_by_key(|pair| place.get(pair.reference.path.as_str()).copied());
    found
}

/// Like [`layers`], for pairing weights.
fn layers_without_weights<'a>(reference: &'a ModelInfo, candidate: &'a ModelInfo) -> LayerPairs<'a> {
    let (mut found, counted) = named_layers(reference, candidate);
    structure::settle((reference, candidate), &mut found, counted);
    found
}

/// The layers that pair by their names, and those whose names only count.
fn named_layers<'a>(
    reference: &'a ModelInfo,
    candidate: &'a ModelInfo,
) -> (LayerPairs<'a>, Vec<LayerPair<'a>>) {
    let computing = |info: &'a ModelInfo| -> Vec<&'a LayerInfo> {
        let holders: HashSet<&str> = info.layers.iter().filter_map(|layer| holder(&layer.path)).collect();
        let is_holder = |layer: &LayerInfo| {
            layer.outputs.is_empty() && layer.tensors.is_empty() && holders.contains(layer.path.as_str())
        };
        info.layers
            .iter()
            .filter(|layer| {
                !layer.kind.is_plumbing()
                    && layer.kind.computes_activations()
                    && !layer.is_inner
                    && !is_holder(layer)
            })
            .collect()
    };
    let (references, candidates) = (computing(reference), computing(candidate));
    // A layer's output changes shape with the batch: names and kinds decide.
    let items = |layers: &[&'a LayerInfo]| -> Vec<Item<'a>> {
        layers.iter().map(|layer| item(&layer.path, None, Some(layer))).collect()
    };
    let matching = match_items(&items(&references), &items(&candidates));
    let pairs: Vec<LayerPair<'_>> = matching
        .pairs
        .iter()
        .map(|pair| LayerPair {
            reference: references[pair.reference],
            candidate: candidates[pair.candidate],
            ground: Ground::of(pair),
        })
        .collect();
    let counts = |pair: &LayerPair<'_>| {
        [pair.reference, pair.candidate].iter().any(|layer| is_numbered(&layer.path, &layer.op_type))
    };
    let (counted, pairs) = pairs.into_iter().partition(counts);
    let found = LayerPairs {
        unmatched_reference: matching.unmatched_reference.iter().map(|index| references[*index]).collect(),
        unmatched_candidate: matching.unmatched_candidate.iter().map(|index| candidates[*index]).collect(),
        pairs,
    };
    (found, counted)
}

/// Layers whose names do not match and whose weights pair: removed from the leftovers.
fn by_weights<'a>(
    reference: &'a ModelInfo,
    candidate: &'a ModelInfo,
    left: &mut LayerPairs<'a>,
) -> Vec<LayerPair<'a>> {
    if left.unmatched_reference.is_empty() || left.unmatched_candidate.is_empty() {
        return Vec::new();
    }
    let mut pairs: Vec<LayerPair<'a>> = Vec::new();
    for pair in tensors_by_themselves(reference, candidate).pairs {
        let (Some(first), Some(second)) = (pair.reference.layer, pair.candidate.layer) else { continue };
        let of = |layers: &[&'a LayerInfo], layer: &LayerInfo| {
            layers.iter().position(|other| other.path == layer.path)
        };
        let places = of(&left.unmatched_reference, first).zip(of(&left.unmatched_candidate, second));
        let Some((reference, candidate)) = places.filter(|_| first.is_like(second)) else {
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

/// The module that contains a path.
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
        .map(|(stored, (name, shape))| item(name, Some(shape), stored.layer))
        .collect()
}

/// What is matched: a layer, or a tensor of one. For a layer with its own weights and an unknown kind, such as a
/// module known only from a state dict's names, kind and op type stay empty.
fn item<'a>(name: &'a str, shape: Option<&'a [Option<u64>]>, layer: Option<&'a LayerInfo>) -> Item<'a> {
    let is_unknown = |layer: &&LayerInfo| layer.kind == LayerKind::Other && !layer.weights.is_empty();
    let known = layer.filter(|layer| !is_unknown(layer));
    Item {
        name,
        shape,
        kind: known.map_or("", |layer| layer.kind.name()),
        op: layer.map_or("", |layer| layer.op_type.as_str()),
        has_weight: known.is_some_and(|layer| layer.kind.has_weight()),
    }
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
            type_name: None,
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
            ..LayerInfo::default()
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
            index: crate::model::Index::default(),
        }
    }

    /// The same shape in another order: shapes and order alone would pair the wrong ones.
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
