//! Matches the layers or tensors of one variant of a network with those of another.
//!
//! Names decide first, without the marks that exporters and quantizers leave, in passes from the surest to the
//! boldest; equal names are a match only if the shapes are compatible. What names cannot settle is matched by shape
//! and order, and only where one of the two names says nothing. Each pass looks names up in a table, so the whole is
//! linear apart from sorting.

mod alignment;
mod name;
mod shape;

pub use alignment::align;
pub use shape::ShapeFit;

use name::{Name, Part};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// A layer or tensor to be matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its name or path.
    pub name: &'a str,
    /// Its shape: `None` when not even the rank is known; a dimension is `None` when it is free.
    pub shape: Option<&'a [Option<u64>]>,
    /// What the layer does, or the layer that owns a tensor, or a tensor's role; empty when unknown, `other` if it
    /// has no name. What names leave in doubt is matched only within one kind.
    pub kind: &'a str,
    /// The op type as written in the file: within the kind `other`, only equal op types are of one kind.
    pub op: &'a str,
    /// Whether layers of this kind usually have a weight: a layer of unknown kind may be one of them.
    pub has_weight: bool,
}

impl Item<'_> {
    /// Whether two items are of one kind.
    fn is_like(&self, other: &Item<'_>) -> bool {
        match (self.kind, other.kind) {
            ("other", "other") => self.op.eq_ignore_ascii_case(other.op),
            (left, right) => left == right,
        }
    }
}

/// Why two items are a pair, from the surest reason to the boldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The names are equal.
    Exact,
    /// The names are equal without the marks of a quantizer: `_quantized`, `_DequantizeLinear_Output`.
    QuantizerMark,
    /// The names have the same words with other separators: `layer1.conv1.weight`, `layer1_conv1_weight`.
    Separators,
    /// The names are equal without wrappers, prefixes and op types: `p_conv_weight`, `/conv/Conv`.
    Unwrapped,
    /// One path ends with the other, and no other does.
    Tail,
    /// No other unmatched item has this shape, and one of the names says nothing.
    UniqueShape,
    /// The same shape at the same position among the unmatched, and one of the names says nothing.
    ShapeAndOrder,
}

impl Why {
    /// A machine-readable name; it does not change.
    pub fn code(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::QuantizerMark => "quantizer-mark",
            Self::Separators => "separators",
            Self::Unwrapped => "unwrapped",
            Self::Tail => "tail",
            Self::UniqueShape => "unique-shape",
            Self::ShapeAndOrder => "shape-and-order",
        }
    }
}

/// Two items that are the same layer or tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Index among the reference's items.
    pub reference: usize,
    /// Index among the candidate's items.
    pub candidate: usize,
    /// What made them a pair.
    pub why: Why,
    /// How the two shapes correspond.
    pub fit: ShapeFit,
}

impl Pair {
    /// How sure the match is, from 0 to 1: a ranking, not a probability. Equal names with equal shapes have 1, every
    /// match by name at least 0.6, matches by shape alone less.
    pub fn confidence(&self) -> f64 {
        let name = match self.why {
            Why::Exact => 1.0,
            Why::QuantizerMark => 0.98,
            Why::Separators => 0.95,
            Why::Unwrapped => 0.9,
            Why::Tail => 0.75,
            Why::UniqueShape => 0.55,
            Why::ShapeAndOrder => 0.4,
        };
        let shape = match self.fit {
            ShapeFit::Same => 1.0,
            ShapeFit::Squeezed | ShapeFit::Transposed => 0.95,
            ShapeFit::Packed | ShapeFit::Granularity | ShapeFit::Unknown => 0.9,
        };
        name * shape
    }
}

/// The pairs and what is left over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// The pairs, by the reference's index; no item is in two.
    pub pairs: Vec<Pair>,
    /// Indices of the reference's items without a partner, ascending.
    pub unmatched_reference: Vec<usize>,
    /// Indices of the candidate's items without a partner, ascending.
    pub unmatched_candidate: Vec<usize>,
    /// Unmatched items whose names are equal, quantizers' marks aside, but whose shapes are not: the reference's and
    /// the candidate's index.
    pub shape_conflicts: Vec<(usize, usize)>,
}

/// Matches the items of a reference with those of a candidate, each with at most one. The same input gives the same
/// pairs; items in graph order give the best ones.
pub fn match_items(reference: &[Item<'_>], candidate: &[Item<'_>]) -> Matching {
    let mut matcher = Matcher::new(reference, candidate);
    matcher.by_name(Why::Exact, |side, index| Some(side.items[index].name.to_owned()));
    matcher.by_name(Why::QuantizerMark, |side, index| Some(side.names[index].unmarked.clone()));
    matcher.by_name(Why::QuantizerMark, |side, index| Some(side.names[index].base.clone()));
    matcher.by_name(Why::Separators, |side, index| Some(side.names[index].words.join(" ")));
    matcher.by_name(Why::Unwrapped, |side, index| Some(side.names[index].core.join(" ")));
    matcher.by_tail();
    matcher.by_shape();
    matcher.finish()
}

/// At most this many items of one name are tried for a shape that fits.
const TRIES: usize = 16;

/// At most this many words of a path are compared from its end.
const TAIL_WORDS: usize = 32;

struct Side<'a> {
    items: &'a [Item<'a>],
    names: Vec<Name>,
    is_matched: Vec<bool>,
}

impl<'a> Side<'a> {
    fn new(items: &'a [Item<'a>]) -> Self {
        let names = items.iter().map(|item| Name::of(item.name, item.op)).collect();
        Self { items, names, is_matched: vec![false; items.len()] }
    }

    fn unmatched(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.items.len()).filter(|index| !self.is_matched[*index])
    }

    /// The unmatched items of each name and part, those that stand for the values themselves first.
    fn table(
        &self,
        key: impl Fn(&Self, usize) -> Option<String>,
    ) -> HashMap<(String, Part), VecDeque<usize>> {
        let mut table: HashMap<(String, Part), VecDeque<usize>> = HashMap::new();
        let mut order: Vec<usize> = self.unmatched().collect();
        order.sort_by_key(|index| self.names[*index].rank);
        for index in order {
            if let Some(key) = key(self, index).filter(|key| !key.is_empty()) {
                table.entry((key, self.names[index].part)).or_default().push_back(index);
            }
        }
        table
    }
}

struct Matcher<'a> {
    reference: Side<'a>,
    candidate: Side<'a>,
    pairs: Vec<Pair>,
}

impl<'a> Matcher<'a> {
    fn new(reference: &'a [Item<'a>], candidate: &'a [Item<'a>]) -> Self {
        Self { reference: Side::new(reference), candidate: Side::new(candidate), pairs: Vec::new() }
    }

    /// Pairs the items whose keys are equal and whose shapes fit. From [`Why::Unwrapped`] on, where different things
    /// begin to share a key, only keys that are unique on both sides, and things of one kind.
    fn by_name(&mut self, why: Why, key: impl Fn(&Side<'a>, usize) -> Option<String>) {
        let references = self.reference.table(&key);
        let mut candidates = self.candidate.table(&key);
        let is_bold = why >= Why::Unwrapped;
        let mut order: Vec<usize> = self.reference.unmatched().collect();
        order.sort_by_key(|index| self.reference.names[*index].rank);
        for reference in order {
            // An anonymous name matches only in its original form: its words mean nothing.
            if why > Why::QuantizerMark && self.reference.names[reference].is_anonymous {
                continue;
            }
            let Some(key) = key(&self.reference, reference) else { continue };
            let key = (key, self.reference.names[reference].part);
            let Some(found) = candidates.get_mut(&key) else { continue };
            let is_unique = found.len() == 1 && references.get(&key).is_some_and(|same| same.len() == 1);
            if is_bold && !(is_unique && self.are_of_one_kind(reference, found[0])) {
                continue;
            }
            let fitting =
                found.iter().take(TRIES).enumerate().find_map(|(place, candidate)| {
                    Some((place, *candidate, self.fit(reference, *candidate)?))
                });
            if let Some((place, candidate, fit)) = fitting {
                found.remove(place);
                self.pair(reference, candidate, why, fit);
            }
        }
    }

    /// Pairs a path with the only one that ends with it, by at least two words.
    fn by_tail(&mut self) {
        let key = |side: &Side<'_>, index: usize| {
            let name = &side.names[index];
            (!name.is_anonymous && name.core.len() >= 2).then(|| (name.core.join(" "), name.part))
        };
        // Only tails that are a whole path somewhere can make a pair.
        let paths =
            |side: &Side<'_>| side.unmatched().filter_map(|index| key(side, index)).collect::<Vec<_>>();
        let wanted: HashSet<(String, Part)> =
            paths(&self.reference).into_iter().chain(paths(&self.candidate)).collect();
        let tails = |side: &Side<'_>| {
            let mut tails: HashMap<(String, Part), Vec<usize>> = HashMap::new();
            for index in side.unmatched().filter(|index| !side.names[*index].is_anonymous) {
                let core = &side.names[index].core;
                for start in core.len().saturating_sub(TAIL_WORDS)..core.len().saturating_sub(1) {
                    let tail = (core[start..].join(" "), side.names[index].part);
                    if wanted.contains(&tail) {
                        tails.entry(tail).or_default().push(index);
                    }
                }
            }
            tails
        };
        let (reference_tails, candidate_tails) = (tails(&self.reference), tails(&self.candidate));
        let only = |tails: &HashMap<(String, Part), Vec<usize>>, key: &(String, Part)| match tails.get(key)?[..]
        {
            [one] => Some(one),
            _ => None,
        };
        // A whole path of one side that ends exactly one path of the other, and occurs once on its own side.
        let mut found: Vec<(usize, usize)> = Vec::new();
        for reference in self.reference.unmatched() {
            let Some(key) = key(&self.reference, reference) else { continue };
            if only(&reference_tails, &key) == Some(reference)
                && let Some(candidate) = only(&candidate_tails, &key)
            {
                found.push((reference, candidate));
            }
        }
        for candidate in self.candidate.unmatched() {
            let Some(key) = key(&self.candidate, candidate) else { continue };
            if only(&candidate_tails, &key) == Some(candidate)
                && let Some(reference) = only(&reference_tails, &key)
            {
                found.push((reference, candidate));
            }
        }
        for (reference, candidate) in found {
            let is_free = !self.reference.is_matched[reference] && !self.candidate.is_matched[candidate];
            if is_free
                && self.are_of_one_kind(reference, candidate)
                && let Some(fit) = self.fit(reference, candidate)
            {
                self.pair(reference, candidate, Why::Tail, fit);
            }
        }
    }

    /// Pairs what is left by shape and order, where both sides have equally many of the shape and kind, and one name
    /// of each pair says nothing.
    fn by_shape(&mut self) {
        type Groups<'a> = BTreeMap<(Vec<u64>, &'a str), (Vec<usize>, Vec<usize>)>;
        let mut groups: Groups<'a> = BTreeMap::new();
        let class = |side: &Side<'a>, index: usize| {
            let item = side.items[index];
            let shape = shape::class(item.shape)?;
            // Too many scales, zero points and single numbers share a shape.
            (side.names[index].part == Part::Value && !shape.is_empty()).then_some((shape, item.kind))
        };
        for index in self.reference.unmatched() {
            if let Some(class) = class(&self.reference, index) {
                groups.entry(class).or_default().0.push(index);
            }
        }
        for index in self.candidate.unmatched() {
            if let Some(class) = class(&self.candidate, index) {
                groups.entry(class).or_default().1.push(index);
            }
        }
        for (mut references, mut candidates) in groups.into_values() {
            if references.len() != candidates.len() {
                continue;
            }
            in_given_order(&self.reference, &mut references);
            in_given_order(&self.candidate, &mut candidates);
            let why = if references.len() == 1 { Why::UniqueShape } else { Why::ShapeAndOrder };
            let says_nothing = |(reference, candidate): (&usize, &usize)| {
                self.reference.names[*reference].is_anonymous || self.candidate.names[*candidate].is_anonymous
            };
            if !references.iter().zip(&candidates).all(says_nothing) {
                continue;
            }
            for (reference, candidate) in references.into_iter().zip(candidates) {
                if let Some(fit) = self.fit(reference, candidate) {
                    self.pair(reference, candidate, why, fit);
                }
            }
        }
    }

    fn fit(&self, reference: usize, candidate: usize) -> Option<ShapeFit> {
        let name = &self.candidate.names[candidate];
        let (whole, other) = (self.reference.items[reference].shape, self.candidate.items[candidate].shape);
        match name.part {
            Part::Value => shape::fit(whole, other, name.may_be_packed),
            Part::Scale | Part::ZeroPoint => shape::fit_of_parameters(whole, other),
        }
    }

    fn are_of_one_kind(&self, reference: usize, candidate: usize) -> bool {
        let (left, right) = (&self.reference.items[reference], &self.candidate.items[candidate]);
        // An unknown kind may be a layer with weights, and is hardly an addition.
        left.is_like(right)
            || (left.kind.is_empty() && right.has_weight)
            || (right.kind.is_empty() && left.has_weight)
    }

    fn pair(&mut self, reference: usize, candidate: usize, why: Why, fit: ShapeFit) {
        self.reference.is_matched[reference] = true;
        self.candidate.is_matched[candidate] = true;
        self.pairs.push(Pair { reference, candidate, why, fit });
    }

    fn finish(mut self) -> Matching {
        let bases = self.candidate.table(|side, index| Some(side.names[index].base.clone()));
        let shape_conflicts = self
            .reference
            .unmatched()
            .filter_map(|reference| {
                let name = &self.reference.names[reference];
                let found = bases.get(&(name.base.clone(), name.part))?;
                Some((reference, *found.front()?))
            })
            .collect();
        self.pairs.sort_by_key(|pair| pair.reference);
        Matching {
            unmatched_reference: self.reference.unmatched().collect(),
            unmatched_candidate: self.candidate.unmatched().collect(),
            pairs: self.pairs,
            shape_conflicts,
        }
    }
}

/// Ordered by the numbers that an exporter gave, if it gave one to every item; otherwise as they are.
fn in_given_order(side: &Side<'_>, indices: &mut [usize]) {
    if indices.iter().all(|index| side.names[*index].is_anonymous && side.names[*index].number().is_some()) {
        indices.sort_by_key(|index| side.names[*index].number());
    }
}

/// Whether a name is only a number that an exporter gave: `onnx::x_123`, `_frozen_param0`.
pub fn is_anonymous(name: &str) -> bool {
    Name::of(name, "").is_anonymous
}

/// How the shape of a candidate's tensor follows from the reference's, where something else says that the two are the
/// same; `None` when they cannot be.
pub fn shape_fit(reference: &[u64], candidate: &[u64], may_be_packed: bool) -> Option<ShapeFit> {
    let known = |shape: &[u64]| shape.iter().copied().map(Some).collect::<Vec<_>>();
    shape::fit(Some(&known(reference)), Some(&known(candidate)), may_be_packed)
}

/// Whether a layer's name consists of its op type and a number, or less.
pub fn is_numbered(name: &str, op: &str) -> bool {
    Name::of(name, op).is_numbered
}
