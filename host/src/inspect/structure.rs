//! Pairs layers by the graph around them.
//!
//! Layers that are surely a pair are anchors. Between them, a layer is known by the anchors that it computes from:
//! the nearest ones upstream, through layers that are not anchors. A name that only counts, such as `add_1`, is
//! trusted if the anchors of both layers agree; a layer without a partner is paired with the only one of its kind
//! with the same anchors.

use super::graph::{Graph, Node};
use super::pairing::{Ground, LayerPair, LayerPairs};
use crate::model::{LayerInfo, LayerKind, ModelInfo};
use std::collections::{BTreeSet, HashMap, HashSet};

/// The name of pairs that the graph decides.
const WHY: &str = "graph";

/// With more anchors than this, a layer is not identified.
const MOST_ANCHORS: usize = 16;
/// How often all layers are visited while something new is found.
const MOST_ROUNDS: usize = 64;
/// How sure a pair is of the only layers of a kind between the same anchors.
const CONFIDENCE: f64 = 0.6;

/// The nearest anchors upstream of each layer, by its path.
type Sets<'a> = HashMap<&'a str, BTreeSet<usize>>;

/// One model, and what each of its layers computes from.
struct Side<'a> {
    graph: Graph<'a>,
    /// The anchor that a layer is, by its path.
    anchors: HashMap<&'a str, usize>,
}

impl<'a> Side<'a> {
    fn new(info: &'a ModelInfo) -> Self {
        Self { graph: Graph::of(info, false), anchors: HashMap::new() }
    }

    /// The nearest anchors upstream of each layer, by its path; inputs of the model are anchors by their position.
    fn sets(&self) -> Sets<'a> {
        let mut sets: Vec<BTreeSet<usize>> = Vec::with_capacity(self.graph.nodes.len());
        let mut found = HashMap::new();
        for (node, what) in self.graph.nodes.iter().enumerate() {
            let mut own = BTreeSet::new();
            if let Node::Input(_) = what {
                own.insert(usize::MAX - node);
            }
            for edge in self.graph.incoming(node) {
                let from = match self.graph.nodes[edge.from] {
                    Node::Layer(layer) => self.anchors.get(layer.path.as_str()).copied(),
                    Node::Input(_) | Node::Output(_) => None,
                };
                match from {
                    Some(anchor) => drop(own.insert(anchor)),
                    // Unknown so far if the graph is not in topological order.
                    None => own.extend(sets.get(edge.from).into_iter().flatten()),
                }
                if own.len() > MOST_ANCHORS {
                    break;
                }
            }
            if let Node::Layer(layer) = what
                && (1..=MOST_ANCHORS).contains(&own.len())
            {
                found.insert(layer.path.as_str(), own.clone());
            }
            sets.push(own);
        }
        found
    }
}

/// Checks pairs of numbered names against the graph, and pairs the leftovers by it.
///
/// `counted` are the pairs of names that only count; those that agree with the graph are added to `found`, the layers
/// of the others to the leftovers.
pub fn settle<'a>(
    (reference, candidate): (&'a ModelInfo, &'a ModelInfo),
    found: &mut LayerPairs<'a>,
    mut counted: Vec<LayerPair<'a>>,
) {
    let (mut ours, mut theirs) = (Side::new(reference), Side::new(candidate));
    for (anchor, pair) in found.pairs.iter().enumerate() {
        ours.anchors.insert(&pair.reference.path, anchor);
        theirs.anchors.insert(&pair.candidate.path, anchor);
    }
    for _ in 0..MOST_ROUNDS {
        let (our_sets, their_sets) = (ours.sets(), theirs.sets());
        let agree = |pair: &LayerPair<'_>| {
            let of =
                (our_sets.get(pair.reference.path.as_str()), their_sets.get(pair.candidate.path.as_str()));
            pair.reference.is_like(pair.candidate) && of.0.is_some() && of.0 == of.1
        };
        let mut new: Vec<LayerPair<'a>> = Vec::new();
        counted.retain(|pair| {
            let is_sure = agree(pair);
            if is_sure {
                new.push(*pair);
            }
            !is_sure
        });
        if new.is_empty() {
            new = only_ones(found, (&our_sets, &their_sets));
        }
        if new.is_empty() && counted.is_empty() {
            break;
        }
        if new.is_empty() {
            // What does not agree is not a pair; its layers may have other partners.
            for pair in counted.drain(..) {
                // Without information about the graph, only the name is left.
                let is_unknown = !our_sets.contains_key(pair.reference.path.as_str())
                    && !their_sets.contains_key(pair.candidate.path.as_str());
                if is_unknown && pair.reference.is_like(pair.candidate) {
                    new.push(pair);
                } else {
                    found.unmatched_reference.push(pair.reference);
                    found.unmatched_candidate.push(pair.candidate);
                }
            }
        }
        for pair in new {
            let anchor = found.pairs.len();
            ours.anchors.insert(&pair.reference.path, anchor);
            theirs.anchors.insert(&pair.candidate.path, anchor);
            found.pairs.push(pair);
        }
    }
    for pair in counted {
        found.unmatched_reference.push(pair.reference);
        found.unmatched_candidate.push(pair.candidate);
    }
    in_order(&mut found.unmatched_reference, reference);
    in_order(&mut found.unmatched_candidate, candidate);
}

/// What distinguishes layers between the same anchors: the kind, and without a kind the op type.
type Key<'k> = (LayerKind, String, &'k BTreeSet<usize>);

/// The layers of each key.
fn table<'k, 'a>(layers: &[&'a LayerInfo], sets: &'k Sets<'a>) -> HashMap<Key<'k>, Vec<&'a LayerInfo>> {
    let mut table: HashMap<Key<'k>, Vec<&'a LayerInfo>> = HashMap::new();
    for layer in layers {
        let Some(set) = sets.get(layer.path.as_str()) else { continue };
        let op = match layer.kind {
            LayerKind::Other => layer.op_type.to_ascii_lowercase(),
            _ => String::new(),
        };
        table.entry((layer.kind, op, set)).or_default().push(layer);
    }
    table
}

/// The pairs of leftover layers that are the only ones of their kind with their anchors on both sides. They are
/// removed from the leftovers.
fn only_ones<'a>(found: &mut LayerPairs<'a>, sets: (&Sets<'a>, &Sets<'a>)) -> Vec<LayerPair<'a>> {
    let (ours, theirs) =
        (table(&found.unmatched_reference, sets.0), table(&found.unmatched_candidate, sets.1));
    let mut new: Vec<LayerPair<'a>> = Vec::new();
    for (key, layers) in &ours {
        if let ([reference], Some([candidate])) = (&layers[..], theirs.get(key).map(Vec::as_slice)) {
            let ground = Ground { why: WHY, confidence: CONFIDENCE };
            new.push(LayerPair { reference, candidate, ground });
        }
    }
    let ours: HashSet<&str> = new.iter().map(|pair| pair.reference.path.as_str()).collect();
    let theirs: HashSet<&str> = new.iter().map(|pair| pair.candidate.path.as_str()).collect();
    found.unmatched_reference.retain(|layer| !ours.contains(layer.path.as_str()));
    found.unmatched_candidate.retain(|layer| !theirs.contains(layer.path.as_str()));
    new
}

fn in_order(layers: &mut [&LayerInfo], info: &ModelInfo) {
    let place = info.places();
    layers.sort_by_key(|layer| place.get(layer.path.as_str()).copied());
}

/// A layer that is one in one graph and several in the other pairs with the last of these: HardSwish with the product
/// after a HardSigmoid, which then is a part of it. The last has the name of the value, which may count and says
/// nothing elsewhere.
pub(super) fn prefer_ends<'a>(
    (reference, candidate): (&'a ModelInfo, &'a ModelInfo),
    found: &mut LayerPairs<'a>,
) {
    if !found.pairs.iter().any(|pair| pair.ground.why == WHY) {
        return;
    }
    let (ours, theirs) = (Graph::of(reference, false), Graph::of(candidate, false));
    for pair in found.pairs.iter_mut().filter(|pair| pair.ground.why == WHY) {
        if let Some(last) = end(&theirs, pair.candidate, pair.reference, &mut found.unmatched_candidate) {
            pair.candidate = last;
        } else if let Some(last) = end(&ours, pair.reference, pair.candidate, &mut found.unmatched_reference)
        {
            pair.reference = last;
        }
    }
}

/// The layer after `first` that computes what `other` in the other graph does by name; removed from the leftovers.
fn end<'a>(
    graph: &Graph<'a>,
    first: &LayerInfo,
    other: &'a LayerInfo,
    left: &mut Vec<&'a LayerInfo>,
) -> Option<&'a LayerInfo> {
    let end = graph.computing(other.outputs.first()?)?;
    let place = left.iter().position(|layer| layer.path == end.path)?;
    let mut before = graph.incoming(graph.layer(&end.path)?).map(|edge| graph.nodes[edge.from]);
    let is_after = before.any(|node| matches!(node, Node::Layer(layer) if layer.path == first.path));
    is_after.then(|| left.remove(place))
}
