//! Walks through the graph and marks what gets codes, node by node.

use super::super::json;
use super::super::operator::{Rule, is_transposition, rule, stem, takes_codes};
use super::super::wiring::{Wiring, first_operand};
use qp_abi::sdk::{Activations, DType, QuantizableOf};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Nodes behind a sum that are looked at.
const MAX_BEHIND: usize = 256;

/// A value that gets codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub name: String,
    pub same_as: Option<String>,
}

/// A stored tensor that becomes codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMark {
    /// The name in the graph.
    pub in_graph: String,
    pub axis: Option<u32>,
    pub is_operand: bool,
}

/// Why a node has no codes although its operator can have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// What it reads is no float32, or is computed within another layer.
    Input,
    /// Nothing that is quantized reads what it computes.
    Result,
    /// Its weight is not stored as float32, or what else reads it stays as it is.
    Weight,
}

/// The graph while it is walked through.
pub struct Walk<'a> {
    pub of: &'a QuantizableOf,
    pub wiring: &'a Wiring<'a>,
    /// Stored tensors: names in the graph, and the tensors'.
    pub stored: HashMap<&'a str, &'a str>,
    /// Values that a run can deliver.
    pub known: HashSet<&'a str>,
    pub returned: HashSet<&'a str>,
    /// Which nodes are to be quantized.
    pub is_wanted: Vec<bool>,
    /// Values that depend on real numbers; others are made of masks and positions.
    real: HashSet<&'a str>,
    mutated: HashSet<&'a str>,
    pub marks: Vec<Mark>,
    /// The names of the marks.
    marked: HashSet<String>,
    pub tensors: Vec<TensorMark>,
    pub obstacles: HashMap<usize, Obstacle>,
    /// Nodes that are quantized.
    pub done: HashSet<usize>,
}

impl<'a> Walk<'a> {
    /// `inputs` are the values that the program is given.
    pub fn new(
        of: &'a QuantizableOf,
        wiring: &'a Wiring<'a>,
        (stored, inputs): (HashMap<&'a str, &'a str>, &[&'a str]),
        (known, returned): (HashSet<&'a str>, HashSet<&'a str>),
        is_wanted: Vec<bool>,
    ) -> Self {
        let given = stored.keys().copied().chain(inputs.iter().copied());
        let mut real: HashSet<&str> = given.filter(|name| wiring.dtype(name).is_float()).collect();
        for node in wiring.nodes {
            if json::inputs(node).flat_map(json::tensor_names).any(|name| real.contains(name)) {
                real.extend(json::results(node));
            }
        }
        Self {
            of,
            wiring,
            stored,
            known,
            returned,
            is_wanted,
            real,
            mutated: wiring.mutated(),
            marks: Vec::new(),
            marked: HashSet::new(),
            tensors: Vec::new(),
            obstacles: HashMap::new(),
            done: HashSet::new(),
        }
    }

    /// Whether a value can have codes.
    fn can_have_codes(&self, name: &str) -> bool {
        self.wiring.dtype(name) == DType::FLOAT32
            && self.wiring.rank(name) != Some(0)
            && !self.stored.contains_key(name)
            && !self.mutated.contains(name)
            && self.known.contains(name)
            && self.real.contains(name)
    }

    fn value(&mut self, name: &str) {
        self.mark(name, None);
    }

    fn mark(&mut self, name: &str, same_as: Option<&str>) {
        if self.can_have_codes(name) && self.marked.insert(name.to_owned()) {
            self.marks.push(Mark { name: name.to_owned(), same_as: same_as.map(str::to_owned) });
        }
    }

    /// Marks what a node computes; behind a clamp that alone reads it, the clamp's result. What is returned stays real.
    fn result(&mut self, name: &'a str) {
        let mut name = name;
        while let Some(clamp) = self.clamp_behind(name) {
            self.done.insert(clamp);
            match self.wiring.nodes.get(clamp).and_then(|node| json::results(node).next()) {
                Some(clamped) if clamped != name => name = clamped,
                _ => break,
            }
        }
        if !self.returned.contains(name) {
            self.value(name);
        }
    }

    fn clamp_behind(&self, name: &str) -> Option<usize> {
        let [reader] = self.wiring.readers(name) else { return None };
        let is_clamp = self.wiring.nodes.get(*reader).and_then(rule) == Some(Rule::Clamp);
        (is_clamp && !self.returned.contains(name)).then_some(*reader)
    }

    /// Whether a stored tensor can become codes: all that would read them are to be quantized.
    fn can_be_codes(&self, name: &str) -> bool {
        let Some(rank) = self.wiring.rank(name) else { return false };
        let is_ready = |index: &usize| {
            self.wiring.nodes.get(*index).is_none_or(|node| {
                !takes_codes(node, name, rank)
                    || self.is_wanted.get(*index) == Some(&true)
                    || is_transposition(node, rank)
            })
        };
        self.wiring.dtype(name) == DType::FLOAT32
            && rank > 0
            && !self.returned.contains(name)
            && !self.mutated.contains(name)
            && self.wiring.readers(name).iter().all(is_ready)
    }

    /// The stored tensor that a weight is, with the axis of its channels: perhaps through a transposition of it.
    fn weight(&self, name: &'a str, axis: i64) -> Option<(&'a str, Option<u32>)> {
        let rank = self.wiring.rank(name)?;
        let axis = if axis < 0 { axis.checked_add(i64::try_from(rank).ok()?)? } else { axis };
        let mut axis = u32::try_from(axis).ok()?;
        let mut stored = name;
        if !self.stored.contains_key(name) {
            let maker = self.wiring.made_by(name).filter(|maker| is_transposition(maker, rank))?;
            stored = first_operand(maker)?;
            axis = 1_u32.checked_sub(axis)?;
        }
        let is_known = self.stored.contains_key(stored) && self.can_be_codes(stored);
        is_known.then_some((stored, Some(axis).filter(|_| self.of.per_channel)))
    }

    fn tensor(&mut self, name: &str, axis: Option<u32>, is_operand: bool) {
        if !self.tensors.iter().any(|tensor| tensor.in_graph == name) {
            self.tensors.push(TensorMark { in_graph: name.to_owned(), axis, is_operand });
        }
    }

    /// Marks what one node needs.
    pub fn visit(&mut self, index: usize) {
        let Some((node, rule)) = self.wiring.nodes.get(index).and_then(|node| Some((node, rule(node)?)))
        else {
            return;
        };
        if self.of.activations == Activations::Float && !matches!(rule, Rule::Weighted { .. }) {
            return;
        }
        match rule {
            Rule::Weighted { input, weight, axis } => self.weighted(index, node, (input, weight), axis),
            Rule::All => self.all(index, node),
            Rule::Pool | Rule::Mean => {
                let operand = first_operand(node).filter(|name| self.can_have_codes(name));
                let Some(operand) = operand else {
                    self.obstacles.insert(index, Obstacle::Input);
                    return;
                };
                self.value(operand);
                self.done.insert(index);
                match json::results(node).next() {
                    Some(result) if rule == Rule::Mean => self.result(result),
                    Some(result) if !self.returned.contains(result) => self.mark(result, Some(operand)),
                    _ => {}
                }
            }
            Rule::Move => self.moved(index, node),
            // With what it clamps.
            Rule::Clamp => {}
        }
    }

    fn weighted(&mut self, index: usize, node: &'a Value, (input, weight): (usize, usize), axis: i64) {
        let tensor =
            |at: usize| json::inputs(node).nth(at).and_then(|a| json::tensor_names(a).first().copied());
        let (Some(input), Some(weight)) = (tensor(input), tensor(weight)) else { return };
        if self.of.activations == Activations::Float {
            match self.weight(weight, axis) {
                Some((stored, axis)) => {
                    self.tensor(stored, axis, false);
                    self.done.insert(index);
                }
                None => drop(self.obstacles.insert(index, Obstacle::Weight)),
            }
            return;
        }
        if !self.can_have_codes(input) {
            self.obstacles.insert(index, Obstacle::Input);
            return;
        }
        match self.weight(weight, axis) {
            Some((stored, axis)) => self.tensor(stored, axis, false),
            // A product of two values, without a bias.
            None if axis < 0 && self.can_have_codes(weight) => self.value(weight),
            None => {
                self.obstacles.insert(index, Obstacle::Weight);
                return;
            }
        }
        self.value(input);
        self.done.insert(index);
        if let Some(result) = json::results(node).next() {
            self.result(result);
        }
    }

    fn all(&mut self, index: usize, node: &'a Value) {
        // Those that are asked for by name are quantized in any case.
        if self.of.op_types.is_empty() && !self.leads_to_codes(index) {
            self.obstacles.insert(index, Obstacle::Result);
            return;
        }
        let operands: Vec<&str> = json::inputs(node).flat_map(json::tensor_names).collect();
        let (stored, values): (Vec<&str>, Vec<&str>) =
            operands.into_iter().partition(|name| self.stored.contains_key(name));
        let is_ready = !values.is_empty()
            && values.iter().all(|name| self.can_have_codes(name))
            && stored.iter().all(|name| self.can_be_codes(name));
        if !is_ready {
            self.obstacles.insert(index, Obstacle::Input);
            return;
        }
        stored.into_iter().for_each(|name| self.tensor(name, None, true));
        values.into_iter().for_each(|name| self.value(name));
        self.done.insert(index);
        if let Some(result) = json::results(node).next() {
            self.result(result);
        }
    }

    /// Whether a layer with codes of its own reads what a node computes, perhaps behind clamps, moves and further sums: the
    /// sums of a transformer, which only normalizations read, stay real.
    fn leads_to_codes(&self, index: usize) -> bool {
        let mut seen: HashSet<usize> = HashSet::from([index]);
        let mut left = vec![index];
        while let Some(place) = left.pop() {
            let Some(node) = self.wiring.nodes.get(place) else { continue };
            let is_wanted = place != index && self.is_wanted.get(place) == Some(&true);
            match rule(node) {
                Some(Rule::Weighted { .. } | Rule::Pool | Rule::Mean) if is_wanted => return true,
                Some(_) if stem(node) == "bmm" => return true,
                Some(Rule::All | Rule::Clamp | Rule::Move) if seen.len() <= MAX_BEHIND => {
                    let readers = json::results(node).flat_map(|name| self.wiring.readers(name));
                    left.extend(readers.copied().filter(|reader| seen.insert(*reader)));
                }
                _ => {}
            }
        }
        false
    }

    fn moved(&mut self, index: usize, node: &'a Value) {
        let Some(operand) = first_operand(node) else { return };
        if self.of.quantize_moves {
            self.value(operand);
        }
        if !self.marked.contains(operand) {
            return;
        }
        self.done.insert(index);
        for result in json::results(node).filter(|name| !self.returned.contains(name)).collect::<Vec<_>>() {
            self.mark(result, Some(operand));
        }
    }
}
