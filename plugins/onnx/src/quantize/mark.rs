//! Walks through the graph and marks what gets codes, layer by layer, as `QDQQuantizer.quantize_model` does: the order
//! decides where one tensor is wanted in two ways.

use super::operator::{Rule, op, rule};
use crate::convert;
use crate::external_data::ExternalFiles;
use crate::proto::{GraphProto, NodeProto, TensorProto, dtype};
use qp_abi::sdk::{DType, QuantizableOf};
use std::collections::{HashMap, HashSet};

/// How a tensor is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) is_weight: bool,
    pub(super) axis: Option<u32>,
    pub(super) same_as: Option<String>,
}

/// A bias that is wanted as integers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BiasMark {
    pub(super) tensor: String,
    pub(super) copy: Option<String>,
    pub(super) node: usize,
    pub(super) input: String,
    pub(super) weight: String,
    pub(super) factor: f32,
}

/// The graph while it is walked through.
pub(super) struct Walk<'a> {
    pub(super) of: &'a QuantizableOf,
    pub(super) nodes: Vec<NodeProto>,
    /// Types of values that are not stored.
    pub(super) types: HashMap<String, DType>,
    pub(super) stored: HashMap<String, &'a TensorProto>,
    pub(super) external: &'a ExternalFiles,
    opset: i64,
    /// Values whose range is known after calibration.
    pub(super) ranged: HashSet<String>,
    /// Inputs of the graph, and what the graphs inside of nodes read.
    inputs: HashSet<String>,
    outputs: HashSet<String>,
    /// Value, and how many inputs read it.
    readers: HashMap<String, usize>,
    /// In the order of the first mark.
    marks: Vec<Mark>,
    places: HashMap<String, usize>,
    pub(super) biases: Vec<BiasMark>,
    /// The nodes of removed clamps, with the value that was clamped.
    pub(super) folded: Vec<(usize, String)>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        of: &'a QuantizableOf,
        graph: &'a GraphProto,
        external: &'a ExternalFiles,
        types: HashMap<String, DType>,
        opset: i64,
    ) -> Self {
        let stored: HashMap<String, &TensorProto> =
            graph.initializer.iter().filter_map(|tensor| Some((tensor.name.clone()?, tensor))).collect();
        let named = |list: &[crate::proto::ValueInfoProto]| -> HashSet<String> {
            list.iter().filter_map(|value| value.name.clone()).collect()
        };
        let mut readers = HashMap::new();
        for name in graph.node.iter().flat_map(|node| &node.input).filter(|name| !name.is_empty()) {
            *readers.entry(name.clone()).or_insert(0) += 1;
        }
        Self {
            of,
            nodes: graph.node.clone(),
            types,
            external,
            opset,
            ranged: HashSet::new(),
            inputs: &named(&graph.input) | &crate::edit::inner_reads(graph),
            outputs: named(&graph.output),
            readers,
            marks: Vec::new(),
            places: HashMap::new(),
            biases: Vec::new(),
            folded: Vec::new(),
            stored,
        }
    }

    /// How many inputs read a value.
    pub(super) fn readers(&self, name: &str) -> usize {
        self.readers.get(name).copied().unwrap_or(0)
    }

    /// What is marked, in order.
    pub(super) fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.marks.iter().filter(|mark| !mark.name.is_empty())
    }

    /// Whether a value or a stored tensor is marked.
    pub(super) fn is_marked(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    fn has_codes(&self, name: &str) -> bool {
        self.is_marked(name)
            || self.biases.iter().any(|bias| bias.copy.as_deref().unwrap_or(&bias.tensor) == name)
    }

    /// Whether the elements are real numbers that can be rounded.
    pub(super) fn is_real(&self, name: &str) -> bool {
        let kind = match self.stored.get(name) {
            Some(tensor) => dtype(tensor.data_type),
            None => self.types.get(name).copied().unwrap_or(DType::UNDEFINED),
        };
        matches!(kind, DType::FLOAT32 | DType::FLOAT16)
    }

    fn put(&mut self, mark: Mark, is_final: bool) {
        match self.places.get(&mark.name) {
            Some(place) if is_final => self.marks[*place] = mark,
            Some(_) => {}
            None => {
                self.places.insert(mark.name.clone(), self.marks.len());
                self.marks.push(mark);
            }
        }
    }

    fn mark(&mut self, name: &str, is_weight: bool) {
        if self.is_real(name) {
            self.put(Mark { name: name.to_owned(), is_weight, axis: None, same_as: None }, false);
        }
    }

    fn value(&mut self, name: &str) {
        self.mark(name, false);
    }

    fn same(&mut self, name: &str, provider: &str) {
        if self.is_real(name) {
            let same_as = Some(provider.to_owned());
            self.put(Mark { name: name.to_owned(), is_weight: false, axis: None, same_as }, true);
        }
    }

    fn weight(&mut self, name: &str, axis: i64) {
        let rank = self.stored.get(name).map(|tensor| tensor.dims.len() as i64);
        let axis = rank.filter(|_| self.of.per_channel).and_then(|rank| {
            let axis = if axis < 0 { axis + rank } else { axis };
            u32::try_from(axis).ok().filter(|axis| i64::from(*axis) < rank)
        });
        if axis.is_none() {
            self.mark(name, true);
        } else if self.is_real(name) {
            self.put(Mark { name: name.to_owned(), is_weight: true, axis, same_as: None }, true);
        }
    }

    fn bias(&mut self, node: usize, factor: f32) {
        let [input, weight, bias] = [0, 1, 2].map(|slot| self.input(node, slot));
        let Some(tensor) = self.stored.get(&bias).copied() else { return };
        if !matches!(dtype(tensor.data_type), DType::FLOAT32 | DType::FLOAT16) {
            return;
        }
        let is_taken = self.biases.iter().any(|other| other.copy.as_deref().unwrap_or(&other.tensor) == bias);
        let copy = is_taken.then(|| self.copy_of(&bias, tensor));
        if let Some(copy) = &copy {
            let inputs = self.nodes[node].input.iter_mut().filter(|input| **input == bias);
            inputs.for_each(|input| input.clone_from(copy));
        }
        self.biases.push(BiasMark { tensor: bias, copy, node, input, weight, factor });
    }

    /// A name for a copy of a stored tensor: the next number after the largest that follows its name.
    fn copy_of(&mut self, name: &str, tensor: &'a TensorProto) -> String {
        let numbers = self.stored.keys().filter_map(|other| other.strip_prefix(name)?.parse::<i64>().ok());
        let next = numbers.max().unwrap_or(-1).saturating_add(1);
        let copy = format!("{name}{next}");
        self.stored.insert(copy.clone(), tensor);
        copy
    }

    fn input(&self, node: usize, slot: usize) -> String {
        self.nodes[node].input.get(slot).cloned().unwrap_or_default()
    }

    fn output(&self, node: usize, slot: usize) -> String {
        self.nodes[node].output.get(slot).cloned().unwrap_or_default()
    }

    /// Marks what one layer needs.
    pub(super) fn visit(&mut self, index: usize) {
        let Some(rule) = rule(op(&self.nodes[index])) else { return };
        let (inputs, outputs) = (self.nodes[index].input.clone(), self.nodes[index].output.clone());
        let (input, output) = (self.input(index, 0), self.output(index, 0));
        match rule {
            Rule::All => inputs.iter().chain(&outputs).for_each(|name| self.value(name)),
            Rule::Convolution(axis) => {
                self.value(&input);
                self.value(&output);
                self.weight(&self.input(index, 1), axis);
                if inputs.len() == 3 {
                    self.bias(index, 1.0);
                }
            }
            Rule::Gemm => {
                self.value(&input);
                self.value(&output);
                let is_transposed = attribute(&self.nodes[index], "transB").is_some_and(|a| a.i > Some(0));
                self.weight(&self.input(index, 1), i64::from(!is_transposed));
                if inputs.len() == 3 {
                    let beta = attribute(&self.nodes[index], "beta").and_then(|beta| beta.f);
                    self.bias(index, beta.unwrap_or(1.0));
                }
            }
            Rule::MatMul => {
                for name in inputs.iter().chain(&outputs) {
                    if self.stored.contains_key(name) { self.weight(name, 1) } else { self.value(name) }
                }
            }
            Rule::Normalization => {
                self.value(&input);
                let scale = self.input(index, 1);
                if self.stored.contains_key(&scale) {
                    self.weight(&scale, 1)
                } else {
                    self.value(&scale)
                }
                if !self.input(index, 2).is_empty() {
                    self.bias(index, 1.0);
                }
                outputs.iter().for_each(|name| self.value(name));
            }
            Rule::Clamp => self.clamp(index, &input, &output),
            Rule::Move(since) if self.opset >= since => {
                if self.of.quantize_moves {
                    self.value(&input);
                }
                if self.has_codes(&input) || self.of.quantize_moves {
                    self.same(&output, &input);
                }
            }
            Rule::Move(_) => {}
            Rule::Gather => {
                let is_stored = self.stored.contains_key(&input) && self.is_real(&input);
                if is_stored || self.of.quantize_moves {
                    self.value(&input);
                }
                if self.has_codes(&input) {
                    self.same(&output, &input);
                }
            }
            Rule::Split => {
                if !self.has_codes(&input) {
                    self.value(&input);
                }
                outputs.iter().for_each(|name| self.same(name, &input));
            }
            Rule::Pad => {
                inputs.iter().for_each(|name| self.value(name));
                if self.pads_with_known(index) { self.same(&output, &input) } else { self.value(&output) }
            }
            Rule::Where => {
                let operands = [self.input(index, 1), self.input(index, 2)];
                if self.of.quantize_moves {
                    operands.iter().for_each(|name| self.value(name));
                }
                if self.of.quantize_moves || operands.iter().all(|name| self.has_codes(name)) {
                    outputs.iter().for_each(|name| self.value(name));
                }
            }
        }
    }

    fn clamp(&mut self, index: usize, input: &str, output: &str) {
        if !self.has_codes(input) {
            return;
        }
        let is_foldable = !self.of.symmetric_activations
            && !self.of.keep_clamps
            && self.ranged.contains(output)
            && self.ranged.contains(input)
            && self.readers(input) == 1
            && !self.outputs.contains(input)
            && !self.inputs.contains(input);
        if is_foldable {
            let names = self.nodes.iter_mut().flat_map(|node| &mut node.output);
            names.filter(|name| *name == input).for_each(|name| output.clone_into(name));
            if let Some(place) = self.places.remove(input) {
                self.marks[place].name.clear();
            }
            self.folded.push((index, input.to_owned()));
        } else {
            self.value(input);
        }
        self.value(output);
    }

    /// Whether what `Pad` adds is among the values that the codes of its input can represent: copies, or zero.
    fn pads_with_known(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        let mode = attribute(node, "mode").and_then(|mode| mode.s.clone());
        match mode.as_deref() {
            Some(b"reflect" | b"edge" | b"wrap") => return true,
            None | Some(b"constant") => {}
            Some(_) => return false,
        }
        if self.opset < 11 {
            return attribute(node, "value").and_then(|value| value.f).unwrap_or(0.0) == 0.0;
        }
        let name = self.input(index, 2);
        if name.is_empty() {
            return true;
        }
        let constant = || {
            let node =
                self.nodes.iter().find(|node| op(node) == "Constant" && node.output.contains(&name))?;
            attribute(node, "value")?.t.as_ref()
        };
        let Some(tensor) = self.stored.get(&name).copied().or_else(constant) else { return false };
        let bytes = if convert::is_external(tensor) {
            self.external.read(tensor).map(|(bytes, _)| bytes)
        } else {
            convert::dense(tensor)
        };
        // The sign of a zero does not matter.
        let is_zero = |bytes: &[u8]| match bytes {
            [low @ .., high] => low.iter().all(|byte| *byte == 0) && high & 0x7f == 0,
            [] => false,
        };
        matches!(dtype(tensor.data_type), DType::FLOAT32 | DType::FLOAT16) && bytes.is_ok_and(|b| is_zero(&b))
    }
}

/// The attribute of this name.
pub(super) fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n crate::proto::AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name))
}
