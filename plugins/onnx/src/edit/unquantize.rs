//! Layers that compute with real numbers again.

use super::codes::inner_reads;
use super::parameters::is_quantize;
use super::widen::Widening;
use super::{Editor, real_bytes};
use crate::convert;
use crate::proto::{NodeProto, TensorProto, dtype};
use crate::quant::operator;
use qp_abi::sdk::{BackendError, DType, Edit, Result, element_count, lookup};
use std::collections::HashSet;

/// A weight is moved at most this often after it is dequantized.
const MAX_MOVES: usize = 4;

/// How many bounds stand behind a layer at most: a ReLU6 is put back as two.
const MAX_CLAMPS: usize = 16;

/// Of how many values it is asked at most whether they are negative.
const MAX_ASKED: usize = 100;

/// The upper bound of a ReLU6, and how near to it the largest code must be.
const RELU6: f64 = 6.0;
const NEAR: f64 = 1e-4;

impl Editor<'_> {
    /// Lets the layer that computes the target read real numbers, and pass them on where nothing else needs codes. The argument
    /// `real:CODES` = STORED names the real numbers that replace stored codes.
    pub(super) fn unquantize(&mut self, edit: &Edit) -> Result<()> {
        let target = self.known(&edit.target)?;
        let place = self.computing(&target)?;
        let op = self.graph.node[place].op_type.clone().unwrap_or_default();
        let before = self.read_names();
        if operator::form(&op) == Some(operator::Form::QOperator) {
            self.expand(&target, edit, false)?;
        } else if operator::form(&op).is_some() {
            return Err(BackendError::unsupported_op(format!(
                "`{op}` computes its scales anew for each input, or holds its weight in a form of its own"
            ))
            .with_help("Quantize the float model again, without this layer."));
        } else {
            let changed = self.read_real_numbers(&target, edit)?;
            if changed == 0 && lookup(edit.arguments.as_slice(), "if-any").is_none() {
                return Err(BackendError::invalid_input(format!(
                    "`{}` is computed with real numbers already: what is rounded belongs to other layers",
                    edit.target
                ))
                .with_help("Turn off the layers before and behind it."));
            }
            self.pass_on_real_numbers(&target, edit)?;
        }
        self.sweep(&before);
        Ok(())
    }

    /// The layer that computes a value; a ReLU that was put back is not the layer, but what it reads is computed by it.
    pub(super) fn computing(&self, target: &str) -> Result<usize> {
        let unknown = || BackendError::not_found(format!("no layer computes `{target}`"));
        let mut place = self.place_of(target).ok_or_else(unknown)?;
        // Names that are computed twice could lead back.
        for _ in 0..MAX_CLAMPS {
            let Some(input) = clamped(&self.graph.node[place]) else { return Ok(place) };
            place = self.place_of(input).ok_or_else(unknown)?;
        }
        Err(BackendError::invalid_input(format!("too many bounds stand behind what computes `{target}`")))
    }

    /// What a layer computes, behind the ReLU that was put back.
    fn results(&self, place: usize) -> Vec<String> {
        let mut results = self.graph.node[place].output.clone();
        for result in &mut results {
            for _ in 0..MAX_CLAMPS {
                let clamp = self.graph.node.iter().find(|node| clamped(node) == Some(result.as_str()));
                let Some(clamp) = clamp else { break };
                result.clone_from(&clamp.output[0]);
            }
        }
        results
    }

    pub(super) fn producer(&self, value: &str) -> Option<&NodeProto> {
        self.graph.node.iter().find(|node| node.output.iter().any(|output| output == value))
    }

    /// The layer's inputs become what was rounded, or the real numbers that were given for stored codes. Gives back how many.
    pub(super) fn read_real_numbers(&mut self, target: &str, edit: &Edit) -> Result<usize> {
        let mut changed = 0;
        let layer = self.computing(target)?;
        for slot in 0..self.graph.node[layer].input.len() {
            // A weight may be moved after it is dequantized; what others read, too, is left alone.
            let mut reader = (self.computing(target)?, slot);
            for _ in 0..MAX_MOVES {
                let value = self.graph.node[reader.0].input[reader.1].clone();
                let Some(place) = self.place_of(&value) else { break };
                let node = &self.graph.node[place];
                let op = node.op_type.as_deref().unwrap_or_default();
                if is_dequantize(node) {
                    let codes = node.input.first().cloned().unwrap_or_default();
                    if let Some(real) = self.real_of(place, &codes, edit)? {
                        // Nodes may have been added before it.
                        let place = self.reader_of(&value, reader, target, slot)?;
                        self.graph.node[place.0].input[place.1] = real;
                        changed += 1;
                    }
                    break;
                }
                if !operator::passes_on(op) || self.readers(&value) > 1 {
                    break;
                }
                reader = (place, 0);
            }
        }
        Ok(changed)
    }

    /// Where a node reads a value, after nodes were added: at the slot of the target's layer, or in the only node that reads it.
    fn reader_of(
        &self,
        value: &str,
        before: (usize, usize),
        target: &str,
        slot: usize,
    ) -> Result<(usize, usize)> {
        let layer = self.computing(target)?;
        if self.graph.node[layer].input.get(slot).is_some_and(|input| input == value) {
            return Ok((layer, slot));
        }
        let reads = |node: &NodeProto| node.input.first().is_some_and(|input| input == value);
        Ok((self.graph.node.iter().position(reads).unwrap_or(before.0), 0))
    }

    pub(super) fn place_of(&self, value: &str) -> Option<usize> {
        self.graph.node.iter().position(|node| node.output.iter().any(|output| output == value))
    }

    pub(super) fn readers(&self, value: &str) -> usize {
        let nodes =
            self.graph.node.iter().flat_map(|node| &node.input).filter(|input| *input == value).count();
        nodes + self.graph.output.iter().filter(|output| output.name.as_deref() == Some(value)).count()
    }

    /// The real numbers that stand behind codes: what was rounded, kept within what the codes can express where that is a
    /// ReLU, or what was given for stored codes. When codes get more bits, what those stand for.
    pub(super) fn real_of(&mut self, dequantize: usize, codes: &str, edit: &Edit) -> Result<Option<String>> {
        if let Some(given) = lookup(edit.arguments.as_slice(), &format!("real:{codes}")) {
            return self.known(given).map(Some);
        }
        if let Some(widening) = Widening::of(edit)? {
            return self.wider_of(dequantize, codes, widening);
        }
        let Some(quantize) = self.place_of(codes).filter(|place| is_quantize(&self.graph.node[*place]))
        else {
            return Ok(None);
        };
        let source = self.graph.node[quantize].input.first().cloned().unwrap_or_default();
        self.rectified(&source, dequantize).map(Some)
    }

    /// Quantizers leave a ReLU, or a ReLU6, to codes that begin at 0: without the codes it is a layer again.
    pub(super) fn rectified(&mut self, value: &str, dequantize: usize) -> Result<String> {
        let Some(place) = self.place_of(value) else { return Ok(value.to_owned()) };
        if self.is_positive(value) {
            return Ok(value.to_owned());
        }
        let node = &self.graph.node[dequantize];
        let name = |slot: usize| node.input.get(slot).map(String::as_str).unwrap_or_default();
        let scale_type = self.dtype_of(name(1)).unwrap_or(DType::FLOAT32);
        let (Some(&[scale]), Some(&[zero_point])) =
            (self.stored_numbers(name(1)).as_deref(), self.stored_numbers(name(2)).as_deref())
        else {
            return Ok(value.to_owned());
        };
        let Some((low, high)) = self.dtype_of(name(2)).and_then(DType::code_range) else {
            return Ok(value.to_owned());
        };
        if zero_point != low as f64 {
            return Ok(value.to_owned());
        }
        let top = (high as f64 - zero_point) * scale;
        let is_six = (top - RELU6).abs() < RELU6 * NEAR;
        let (open, result) = match self.is_only_rounded(value) {
            // The value keeps its name and what it means to those that knew it: it is what the ReLU computes.
            true => {
                let open = self.free_name(value);
                self.graph.node[place]
                    .output
                    .iter_mut()
                    .filter(|output| *output == value)
                    .for_each(|output| output.clone_from(&open));
                (open, value.to_owned())
            }
            false => {
                let positive = format!("{value}_rectified");
                if self.names.contains(&positive) {
                    return Ok(positive);
                }
                (value.to_owned(), self.claim(&positive)?)
            }
        };
        let mut added = Vec::new();
        let plain = |op: &str, inputs: &[&str], output: &str| NodeProto {
            op_type: Some(op.to_owned()),
            name: Some(clamp_name(output, op)),
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        };
        if is_six {
            let six = self.free_name(&format!("{result}_six"));
            self.add_tensor(six.clone(), scale_type, Vec::new(), &real_bytes(RELU6, scale_type));
            let positive = self.free_name(&format!("{result}_positive"));
            added.push(plain("Relu", &[&open], &positive));
            added.push(plain("Min", &[&positive, &six], &result));
        } else {
            added.push(plain("Relu", &[&open], &result));
        }
        self.written += added.len();
        self.graph.node.splice(place + 1..=place, added);
        Ok(result)
    }

    /// Whether nothing but `QuantizeLinear` reads a value.
    fn is_only_rounded(&self, value: &str) -> bool {
        let mut readers = self.graph.node.iter().filter(|node| node.input.iter().any(|input| input == value));
        let is_result = self.graph.output.iter().any(|output| output.name.as_deref() == Some(value));
        !is_result && readers.all(is_quantize)
    }

    /// Whether a value is never negative, so that a ReLU behind it has no effect: where all of what it is moved, joined and
    /// averaged from is so.
    fn is_positive(&self, value: &str) -> bool {
        // What is joined may be the same many times over: each is asked once.
        let (mut asked, mut due) = (HashSet::from([value]), vec![value]);
        while let Some(value) = due.pop() {
            let Some(node) = self.producer(value) else { return false };
            let moved = match node.op_type.as_deref().unwrap_or_default() {
                "Relu" | "Sigmoid" | "Softmax" | "HardSigmoid" | "Softplus" | "Exp" | "Abs" | "Sqrt" => {
                    continue;
                }
                "DequantizeLinear" if self.begins_at_zero(node) => continue,
                "Concat" => node.input.as_slice(),
                op if matches!(op, "AveragePool" | "GlobalAveragePool" | "ReduceMean" | "Min")
                    || operator::moves_codes(op) =>
                {
                    node.input.get(..1).unwrap_or_default()
                }
                _ => return false,
            };
            if moved.is_empty() || asked.len() > MAX_ASKED {
                return false;
            }
            due.extend(moved.iter().map(String::as_str).filter(|input| asked.insert(*input)));
        }
        true
    }

    /// Whether the lowest code of a `DequantizeLinear` stands for zero.
    fn begins_at_zero(&self, node: &NodeProto) -> bool {
        let name = node.input.get(2).map(String::as_str).unwrap_or_default();
        let low = self.dtype_of(name).and_then(DType::code_range).map(|(low, _)| low as f64);
        let zero_points = self.stored_numbers(name).unwrap_or_default();
        low.is_some() && !zero_points.is_empty() && zero_points.iter().all(|point| Some(*point) == low)
    }

    pub(super) fn dtype_of(&self, name: &str) -> Option<DType> {
        self.stored(name).map(|tensor| dtype(tensor.data_type))
    }

    pub(super) fn stored(&self, name: &str) -> Option<&TensorProto> {
        self.initializer(name).or_else(|| {
            let constant = self.producer(name).filter(|node| node.op_type.as_deref() == Some("Constant"))?;
            constant.attribute.iter().find_map(|attribute| attribute.t.as_ref())
        })
    }

    /// The numbers of a small stored tensor.
    pub(super) fn stored_numbers(&self, name: &str) -> Option<Vec<f64>> {
        let tensor = self.stored(name).filter(|tensor| !convert::is_external(tensor))?;
        let count = usize::try_from(element_count(&tensor.dims)?).ok()?;
        convert::to_f64(dtype(tensor.data_type), &convert::dense(tensor).ok()?, count)
    }

    /// Readers of the layer's rounded outputs that are not quantized themselves read it unrounded, or less rounded. Gives
    /// back for how many outputs.
    pub(super) fn pass_on_real_numbers(&mut self, target: &str, edit: &Edit) -> Result<usize> {
        let widening = Widening::of(edit)?;
        let mut changed = 0;
        for output in self.results(self.computing(target)?) {
            let mut rounded: Vec<String> = Vec::new();
            for quantize in
                self.graph.node.iter().filter(|node| is_quantize(node) && node.input.first() == Some(&output))
            {
                let codes = quantize.output.first();
                let reads = |node: &&NodeProto| is_dequantize(node) && node.input.first() == codes;
                rounded.extend(
                    self.graph.node.iter().filter(reads).filter_map(|node| node.output.first().cloned()),
                );
            }
            for rounded in rounded {
                let takes = |editor: &Self, reader: usize| {
                    editor.graph.node[reader].input.contains(&rounded)
                        && !editor.is_quantized(reader, &rounded)
                };
                let is_result =
                    self.graph.output.iter().any(|result| result.name.as_deref() == Some(&*rounded));
                if !is_result && !(0..self.graph.node.len()).any(|reader| takes(self, reader)) {
                    continue;
                }
                let Some(dequantize) = self.place_of(&rounded) else { continue };
                let codes = self.graph.node[dequantize].input.first().cloned().unwrap_or_default();
                let real = match widening {
                    None => self.rectified(&output, dequantize)?,
                    Some(widening) => match self.wider_of(dequantize, &codes, widening)? {
                        Some(wider) => wider,
                        None => continue,
                    },
                };
                changed += 1;
                for reader in 0..self.graph.node.len() {
                    if takes(self, reader) {
                        let inputs = self.graph.node[reader].input.iter_mut();
                        inputs.filter(|input| **input == rounded).for_each(|input| input.clone_from(&real));
                    }
                }
                if is_result {
                    self.swap_names(&real, &rounded);
                }
            }
        }
        Ok(changed)
    }

    /// Whether a node computes with codes apart from the value `except`: another input is rounded, or its output.
    fn is_quantized(&self, reader: usize, except: &str) -> bool {
        let node = &self.graph.node[reader];
        let others = node.input.iter().filter(|input| *input != except && !input.is_empty());
        let reads_codes = others.clone().any(|input| self.producer(input).is_some_and(is_dequantize));
        let mut readers = node
            .output
            .iter()
            .flat_map(|output| self.graph.node.iter().filter(move |other| other.input.contains(output)));
        reads_codes || is_quantize(node) || readers.any(is_quantize)
    }

    /// The model's output keeps its name: the layer computes it, and what rounded it makes a value that nobody reads.
    pub(super) fn swap_names(&mut self, computed: &str, result: &str) {
        let unused = self.free_name(computed);
        for node in &mut self.graph.node {
            for name in node.output.iter_mut().chain(&mut node.input) {
                if name == computed {
                    result.clone_into(name);
                } else if name == result {
                    name.clone_from(&unused);
                }
            }
        }
    }

    /// The names that nodes read.
    pub(super) fn read_names(&self) -> HashSet<String> {
        self.graph.node.iter().flat_map(|node| &node.input).cloned().collect()
    }

    /// Removes rounding that nobody reads any more, and the stored tensors that only it read.
    pub(super) fn sweep(&mut self, before: &HashSet<String>) {
        loop {
            let read = self.read_names();
            let results: HashSet<String> =
                self.graph.output.iter().filter_map(|output| output.name.clone()).collect();
            let is_needed = |node: &NodeProto| {
                !(is_quantize(node) || is_dequantize(node))
                    || node.output.iter().any(|name| read.contains(name) || results.contains(name))
            };
            let count = self.graph.node.len();
            let written = self.graph.node[..self.written].iter().filter(|node| is_needed(node)).count();
            self.graph.node.retain(is_needed);
            self.written = written;
            if self.graph.node.len() == count {
                break;
            }
        }
        let mut read = self.read_names();
        read.extend(inner_reads(self.graph));
        read.extend(self.graph.output.iter().filter_map(|output| output.name.clone()));
        self.graph.initializer.retain(|tensor| {
            tensor.name.as_ref().is_none_or(|name| read.contains(name) || !before.contains(name))
        });
        let kept: HashSet<&String> =
            self.graph.initializer.iter().filter_map(|tensor| tensor.name.as_ref()).collect();
        // Old files list their stored tensors among the inputs.
        self.graph.input.retain(|input| {
            input
                .name
                .as_ref()
                .is_none_or(|name| !before.contains(name) || read.contains(name) || kept.contains(name))
        });
    }
}

pub(super) fn is_dequantize(node: &NodeProto) -> bool {
    node.op_type.as_deref().is_some_and(|name| name.ends_with("DequantizeLinear"))
}

/// The name of a clamp that is put back.
fn clamp_name(output: &str, op: &str) -> String {
    format!("{output}/{op}")
}

/// What a clamp that was put back reads; `None` for other nodes.
fn clamped(node: &NodeProto) -> Option<&str> {
    let (name, op, [output]) = (node.name.as_deref()?, node.op_type.as_deref()?, &node.output[..]) else {
        return None;
    };
    let is_clamp = matches!(op, "Relu" | "Min") && name == clamp_name(output, op);
    is_clamp.then_some(node.input.first()?.as_str())
}
