//! Which value of a candidate to compare with which of the reference.
//!
//! Quantizers keep the names of values, and give the name of an activation that they fold to the value before it: a
//! value after its quantization means what the name says. So values of one name are paired first, each followed
//! through the quantization that rounds it. Whatever names do not settle is settled by layers ([`pairing::layers`]):
//! each pair's values are followed to where they mean the same, through activations, normalizations, biases and
//! changes of layout that have no counterpart on the other side because they are part of another layer there. What is
//! left over may still pair by what it computes ([`by_value`](super::by_value)).
//!
//! A numbered name, such as `add_1`, means another value in another graph: it pairs nothing by itself.

pub use super::follow::Followed;
use super::follow::{Follower, Partner};
use super::order::Order;
use crate::inspect::graph::Graph;
use crate::inspect::pairing::{self, Ground};
use crate::inspect::range::representable;
use crate::model::{DType, LayerInfo, LayerKind, ModelInfo, ValueInfo};
use qp_analysis::{Item, Why, is_numbered, match_items};
use std::collections::{HashMap, HashSet};

/// Two values that mean the same.
#[derive(Clone, Debug)]
pub struct ActivationPair<'a> {
    /// The layer of the reference.
    pub reference: &'a LayerInfo,
    /// The layer of the candidate.
    pub candidate: &'a LayerInfo,
    /// Why they are a pair.
    pub ground: Ground,
    /// The value of the reference.
    pub reference_value: Followed<'a>,
    /// The value of the candidate.
    pub candidate_value: Followed<'a>,
    /// The candidate's element order; `None` if the shapes decide.
    pub order: Option<Order>,
}

impl<'a> ActivationPair<'a> {
    /// The layers of both sides that are part of the pair.
    fn members(&self) -> impl Iterator<Item = &'a LayerInfo> + '_ {
        let parts = self.reference_value.through.iter().chain(&self.candidate_value.through).copied();
        [self.reference, self.candidate].into_iter().chain(parts)
    }
}

/// The pairs and the leftovers.
#[derive(Clone, Debug, Default)]
pub struct Activations<'a> {
    /// The pairs, in the reference's order.
    pub pairs: Vec<ActivationPair<'a>>,
    /// The reference's layers that are in no pair and not part of one.
    pub unmatched_reference: Vec<&'a LayerInfo>,
    /// The candidate's.
    pub unmatched_candidate: Vec<&'a LayerInfo>,
}

/// Pairs the values of two variants.
pub fn activations<'a>(reference: &'a ModelInfo, candidate: &'a ModelInfo) -> Activations<'a> {
    let layers = pairing::layers(reference, candidate);
    let named = by_name(reference, candidate);
    // A layer with a partner of its own is not part of another layer.
    let own = |values: &mut dyn Iterator<Item = &'a LayerInfo>| -> HashSet<&'a str> {
        values.map(|layer| layer.path.as_str()).collect()
    };
    let named_reference = own(&mut named.iter().map(|pair| pair.reference.1));
    let named_candidate = own(&mut named.iter().map(|pair| pair.candidate.1));
    let lonely = |layers: &[&'a LayerInfo], named: &HashSet<&str>| -> Vec<&'a LayerInfo> {
        layers.iter().copied().filter(|layer| !named.contains(layer.path.as_str())).collect()
    };
    let mut ours = Follower::new(reference, &lonely(&layers.unmatched_reference, &named_reference));
    let mut theirs = Follower::new(candidate, &lonely(&layers.unmatched_candidate, &named_candidate));
    let mut pairs: Vec<ActivationPair<'a>> = Vec::new();
    // Names first, in the reference's order: a layer that one pair is followed through belongs to no other.
    for pair in named {
        let found = of_values(&pair, (&ours, &named_reference), (&theirs, &named_candidate));
        for (follower, followed) in
            [(&mut ours, &found.reference_value), (&mut theirs, &found.candidate_value)]
        {
            followed.through.iter().for_each(|layer| follower.take(layer));
        }
        pairs.push(found);
    }
    let mut known = Known::default();
    pairs.iter().for_each(|pair| known.add(pair));
    for pair in layers.pairs {
        if known.has(pair.reference, pair.candidate) {
            continue;
        }
        let Some(candidate_value) =
            theirs.follow(pair.candidate, &Partner { layer: Some(pair.reference), range: None })
        else {
            continue;
        };
        let range = candidate_value.quantization.and_then(representable);
        let partner = Partner { layer: Some(pair.candidate), range };
        let Some(reference_value) = ours.follow(pair.reference, &partner) else { continue };
        let found = ActivationPair {
            reference: pair.reference,
            candidate: pair.candidate,
            ground: pair.ground,
            reference_value,
            candidate_value,
            order: None,
        };
        if known.is_new(&found) {
            known.add(&found);
            pairs.push(found);
        }
    }
    let mut found = Activations {
        unmatched_reference: layers.unmatched_reference,
        unmatched_candidate: layers.unmatched_candidate,
        pairs,
    };
    // Sequences and the like are not tensors.
    let (ours, theirs) = (reference.values_by_name(), candidate.values_by_name());
    let is_tensor = |values: &HashMap<&str, &ValueInfo>, name: &str| {
        values.get(name).is_none_or(|value| value.type_name.is_none())
    };
    found.pairs.retain(|pair| {
        is_tensor(&ours, pair.reference_value.name) && is_tensor(&theirs, pair.candidate_value.name)
    });
    found.settle(reference);
    found
}

impl Activations<'_> {
    /// Sorts the pairs in the reference's order, and removes layers that are part of a pair from the leftovers.
    fn settle(&mut self, reference: &ModelInfo) {
        let members: HashSet<&str> =
            self.pairs.iter().flat_map(ActivationPair::members).map(|layer| layer.path.as_str()).collect();
        self.unmatched_reference.retain(|layer| !members.contains(layer.path.as_str()));
        self.unmatched_candidate.retain(|layer| !members.contains(layer.path.as_str()));
        let place = reference.places();
        self.pairs.sort_by_key(|pair| place.get(pair.reference.path.as_str()).copied());
    }
}

/// What is already in a pair.
#[derive(Default)]
struct Known<'a> {
    reference_layers: HashSet<&'a str>,
    candidate_layers: HashSet<&'a str>,
    reference_values: HashSet<&'a str>,
    candidate_values: HashSet<&'a str>,
}

impl<'a> Known<'a> {
    fn add(&mut self, pair: &ActivationPair<'a>) {
        let members = |layer: &'a LayerInfo, through: &[&'a LayerInfo]| -> Vec<&'a str> {
            std::iter::once(layer).chain(through.iter().copied()).map(|layer| layer.path.as_str()).collect()
        };
        self.reference_layers.extend(members(pair.reference, &pair.reference_value.through));
        self.candidate_layers.extend(members(pair.candidate, &pair.candidate_value.through));
        self.reference_values.insert(pair.reference_value.name);
        self.candidate_values.insert(pair.candidate_value.name);
    }

    fn has(&self, reference: &LayerInfo, candidate: &LayerInfo) -> bool {
        self.reference_layers.contains(reference.path.as_str())
            || self.candidate_layers.contains(candidate.path.as_str())
    }

    fn is_new(&self, pair: &ActivationPair<'_>) -> bool {
        !self.reference_values.contains(pair.reference_value.name)
            && !self.candidate_values.contains(pair.candidate_value.name)
    }
}

/// Two values of one name, with the layers that compute them.
struct Named<'a> {
    reference: (&'a str, &'a LayerInfo),
    candidate: (&'a str, &'a LayerInfo),
    ground: Ground,
}

/// The values whose names are equal, quantizers' marks aside. Names that count are left out.
fn by_name<'a>(reference: &'a ModelInfo, candidate: &'a ModelInfo) -> Vec<Named<'a>> {
    let (references, candidates) = (computed(reference), computed(candidate));
    let items = |values: &[(&'a str, &'a LayerInfo)]| -> Vec<Item<'a>> {
        values
            .iter()
            .map(|(name, layer)| Item { name, shape: None, kind: "", op: &layer.op_type, has_weight: false })
            .collect()
    };
    let matching = match_items(&items(&references), &items(&candidates));
    let counts = |value: &(&str, &LayerInfo)| is_numbered(value.0, &value.1.op_type);
    let mut named: Vec<Named<'a>> = matching
        .pairs
        .iter()
        .filter(|pair| pair.why <= Why::QuantizerMark)
        .map(|pair| (references[pair.reference], candidates[pair.candidate], pair))
        .filter(|(ours, theirs, _)| !counts(ours) && !counts(theirs))
        .map(|(ours, theirs, pair)| Named { reference: ours, candidate: theirs, ground: Ground::of(pair) })
        .collect();
    // If nothing computes a name's value, it may be what codes are dequantized to: the activation between is lost
    // there.
    let known: HashSet<&str> = named.iter().map(|pair| pair.reference.0).collect();
    let dequantized: HashMap<&str, &LayerInfo> = candidate
        .layers
        .iter()
        .filter(|layer| layer.kind == LayerKind::Dequantize && !layer.is_inner)
        .filter_map(|layer| Some((layer.outputs.first()?.as_str(), layer)))
        .collect();
    let graph = Graph::of(candidate, false);
    let rest = references.iter().filter(|value| !known.contains(value.0) && !counts(value));
    named.extend(rest.filter_map(|value| {
        let codes = candidate.value(value.0).and_then(|value| value.quantization.as_ref());
        // If its codes clamp, they contain the clamp: it is part of the preceding layer.
        let partner = Partner { layer: None, range: codes.and_then(representable) };
        if value.1.kind == LayerKind::Clamp && partner.clamps(value.1) {
            return None;
        }
        let dequantizing = *dequantized.get(value.0)?;
        // What computes the codes, if it does what the reference's layer does.
        let computing = graph.computing(value.0).filter(|layer| layer.is_like(value.1));
        let candidate = (value.0, computing.unwrap_or(dequantizing));
        Some(Named { reference: *value, candidate, ground: Ground::SAME })
    }));
    named
}

/// What a model's layers compute from the elements of its inputs: real numbers, or codes with a scale.
fn computed(info: &ModelInfo) -> Vec<(&str, &LayerInfo)> {
    let values = info.values_by_name();
    let is_real = |name: &str| {
        values.get(name).is_none_or(|value| {
            let is_whole = value.dtype.is_integer() || value.dtype == DType::BOOL;
            value.type_name.is_none() && (!is_whole || value.quantization.is_some())
        })
    };
    info.layers
        .iter()
        .filter(|layer| layer.kind.computes_activations() && !layer.kind.is_plumbing() && !layer.is_inner)
        .flat_map(|layer| layer.outputs.iter().map(move |name| (name.as_str(), layer)))
        .filter(|(name, _)| !name.is_empty() && is_real(name))
        .collect()
}

/// The pair of two values of one name: each followed to where it means what the name says, and the layers that
/// compute them, if those are of one kind.
fn of_values<'a>(
    pair: &Named<'a>,
    (ours, own): (&Follower<'a>, &HashSet<&str>),
    (theirs, their_own): (&Follower<'a>, &HashSet<&str>),
) -> ActivationPair<'a> {
    let (reference, candidate) = (pair.reference.1, pair.candidate.1);
    let (mut head, mut other) = (reference, candidate);
    let (mut through, mut other_through) = (Vec::new(), Vec::new());
    let chain =
        |follower: &Follower<'a>,
         layer: &'a LayerInfo,
         own: &dyn Fn(&LayerInfo) -> bool|
         -> Vec<&'a LayerInfo> { std::iter::once(layer).chain(follower.heads(layer, own)).collect() };
    if !reference.is_like(candidate) {
        // A folded activation has its name in the layer before it: the two layers of one kind match.
        let before = chain(ours, reference, &|layer| own.contains(layer.path.as_str()));
        let others = chain(theirs, candidate, &|layer| their_own.contains(layer.path.as_str()));
        let places = (0..before.len() + others.len()).flat_map(|sum| (0..=sum).map(move |at| (at, sum - at)));
        let alike = places
            .filter(|(first, second)| *first < before.len() && *second < others.len())
            .find(|(first, second)| before[*first].is_like(others[*second]));
        if let Some((first, second)) = alike {
            (head, other) = (before[first], others[second]);
            through = before[..first].iter().rev().copied().collect();
            other_through = others[..second].iter().rev().copied().collect();
        }
    }
    // One side may have the value in another layout, between two layers that move it there and back.
    let (all, others) = (chain(ours, reference, &|_| false), chain(theirs, candidate, &|_| false));
    let (moves, other_moves) = (ours.moves_of(&all), theirs.moves_of(&others));
    let home = |chain: &[&'a LayerInfo], moves: usize, less: usize| {
        let first = chain.last().filter(|_| moves > less)?;
        Some((first.outputs.first()?.as_str(), moves))
    };
    let candidate_value = theirs.follow_value(
        pair.candidate.0,
        other,
        (other_through, home(&others, other_moves, moves)),
        &Partner { layer: Some(head), range: None },
    );
    let reference_value = ours.follow_value(
        pair.reference.0,
        head,
        (through, home(&all, moves, other_moves)),
        &Partner { layer: Some(other), range: candidate_value.quantization.and_then(representable) },
    );
    ActivationPair {
        reference: head,
        candidate: other,
        ground: pair.ground,
        reference_value,
        candidate_value,
        order: None,
    }
}
