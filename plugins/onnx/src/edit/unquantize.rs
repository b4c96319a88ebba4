//! Layers that compute with real numbers again.

use super::parameters::is_quantize;
use super::{CONTRIB, Editor, axis_attribute, real_bytes};
use crate::convert;
use crate::proto::{NodeProto, TensorProto, code, dtype};
use crate::quant::operator::{self, Axis, Operand, Place};
use qp_abi::sdk::{BackendError, DType, Edit, Result, lookup};
use std::collections::HashSet;

/// The first version of ONNX's own operators that has scales per channel.
const PER_CHANNEL_OPSET: i64 = 13;

/// A weight is moved at most this often after it is dequantized.
const MAX_MOVES: usize = 4;

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
            self.expand(&target, edit)?;
        } else if operator::form(&op).is_some() {
            return Err(BackendError::unsupported_op(format!(
                "`{op}` computes its scales anew for each input, or holds its weight in a form of its own"
            ))
            .with_help("Quantize the float model again, without this layer."));
        } else {
            self.read_real_numbers(&target, edit)?;
            self.pass_on_real_numbers(&target)?;
        }
        self.sweep(&before);
        Ok(())
    }

    fn computing(&self, target: &str) -> Result<usize> {
        let computes = |node: &NodeProto| node.output.iter().any(|output| output == target);
        self.graph
            .node
            .iter()
            .position(computes)
            .ok_or_else(|| BackendError::not_found(format!("no layer computes `{target}`")))
    }

    fn producer(&self, value: &str) -> Option<&NodeProto> {
        self.graph.node.iter().find(|node| node.output.iter().any(|output| output == value))
    }

    /// The layer's inputs become what was rounded, or the real numbers that were given for stored codes.
    fn read_real_numbers(&mut self, target: &str, edit: &Edit) -> Result<()> {
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
        if changed == 0 {
            return Err(BackendError::invalid_input(format!(
                "`{}` is computed with real numbers already: what is rounded belongs to other layers",
                edit.target
            ))
            .with_help("Turn off the layers before and behind it."));
        }
        Ok(())
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

    fn place_of(&self, value: &str) -> Option<usize> {
        self.graph.node.iter().position(|node| node.output.iter().any(|output| output == value))
    }

    fn readers(&self, value: &str) -> usize {
        let nodes =
            self.graph.node.iter().flat_map(|node| &node.input).filter(|input| *input == value).count();
        nodes + self.graph.output.iter().filter(|output| output.name.as_deref() == Some(value)).count()
    }

    /// The real numbers that stand behind codes: what was rounded, kept within what the codes can express where that is a
    /// ReLU, or what was given for stored codes.
    fn real_of(&mut self, dequantize: usize, codes: &str, edit: &Edit) -> Result<Option<String>> {
        if let Some(given) = lookup(edit.arguments.as_slice(), &format!("real:{codes}")) {
            return self.known(given).map(Some);
        }
        let Some(quantize) = self.place_of(codes).filter(|place| is_quantize(&self.graph.node[*place]))
        else {
            return Ok(None);
        };
        let source = self.graph.node[quantize].input.first().cloned().unwrap_or_default();
        self.rectified(&source, dequantize).map(Some)
    }

    /// Quantizers leave a ReLU, or a ReLU6, to codes that begin at 0: without the codes it is a layer again.
    fn rectified(&mut self, value: &str, dequantize: usize) -> Result<String> {
        let Some(place) = self.place_of(value) else { return Ok(value.to_owned()) };
        let op = self.graph.node[place].op_type.clone().unwrap_or_default();
        if !can_be_negative(&op) {
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
        let positive = format!("{value}_rectified");
        if self.names.contains(&positive) {
            return Ok(positive);
        }
        let name = self.claim(&positive)?;
        let top = (high as f64 - zero_point) * scale;
        let mut added = Vec::new();
        let plain = |op: &str, inputs: &[&str], output: &str| NodeProto {
            op_type: Some(op.to_owned()),
            name: Some(format!("{output}/{op}")),
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        };
        if (top - RELU6).abs() < RELU6 * NEAR {
            let six = self.free_name(&format!("{value}_six"));
            self.add_tensor(six.clone(), scale_type, Vec::new(), &real_bytes(RELU6, scale_type));
            let open = self.free_name(&format!("{value}_open"));
            added.push(plain("Relu", &[value], &open));
            added.push(plain("Min", &[&open, &six], &name));
        } else {
            added.push(plain("Relu", &[value], &name));
        }
        self.written += added.len();
        self.graph.node.splice(place + 1..=place, added);
        Ok(name)
    }

    fn dtype_of(&self, name: &str) -> Option<DType> {
        self.stored(name).map(|tensor| dtype(tensor.data_type))
    }

    fn stored(&self, name: &str) -> Option<&TensorProto> {
        let stored = self.graph.initializer.iter().find(|tensor| tensor.name.as_deref() == Some(name));
        stored.or_else(|| {
            let constant = self.producer(name).filter(|node| node.op_type.as_deref() == Some("Constant"))?;
            constant.attribute.iter().find_map(|attribute| attribute.t.as_ref())
        })
    }

    /// The numbers of a small stored tensor.
    fn stored_numbers(&self, name: &str) -> Option<Vec<f64>> {
        let tensor = self.stored(name).filter(|tensor| !convert::is_external(tensor))?;
        let count = usize::try_from(tensor.dims.iter().product::<i64>()).ok()?;
        convert::to_f64(dtype(tensor.data_type), &convert::dense(tensor).ok()?, count)
    }

    /// Readers of the layer's rounded outputs that are not quantized themselves read it unrounded.
    fn pass_on_real_numbers(&mut self, target: &str) -> Result<()> {
        let outputs = self.graph.node[self.computing(target)?].output.clone();
        for output in outputs {
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
                let real = self.rectified(&output, dequantize)?;
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
        Ok(())
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
    fn swap_names(&mut self, computed: &str, result: &str) {
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

    /// Writes an operator of codes as one of real numbers between `DequantizeLinear` and `QuantizeLinear`.
    fn expand(&mut self, target: &str, edit: &Edit) -> Result<()> {
        let node = self.graph.node[self.computing(target)?].clone();
        let op = node.op_type.clone().unwrap_or_default();
        let plain = plain_operator(&node)?;
        let mut inputs = Vec::new();
        let mut added = Vec::new();
        if op == "QLinearWhere" {
            inputs.extend(node.input.first().cloned());
        }
        let operands = operator::operands(&op, node.input.len());
        for operand in operands.iter().filter(|operand| matches!(operand.place, Place::Input(_))) {
            let Place::Input(slot) = operand.place else { continue };
            let codes = node.input[slot].clone();
            if let Some(given) = lookup(edit.arguments.as_slice(), &format!("real:{codes}")) {
                inputs.push(self.known(given)?);
                continue;
            }
            let real = self.free_name(&format!("{codes}_DequantizeLinear_Output"));
            // Codes that were only made for this layer are not needed any more.
            let dequantize = self.linear("DequantizeLinear", &node, operand, &codes, &real);
            self.graph.node.push(dequantize);
            let unrounded = self.real_of(self.graph.node.len() - 1, &codes, edit);
            let dequantize = self.graph.node.pop();
            match unrounded? {
                Some(unrounded) => inputs.push(unrounded),
                None => {
                    added.extend(dequantize);
                    inputs.push(real);
                }
            }
        }
        if let Some((slot, x_scale, w_scale)) = operator::bias(&op)
            && let Some(bias) = node.input.get(slot).filter(|name| !name.is_empty()).cloned()
        {
            let given = lookup(edit.arguments.as_slice(), &format!("real:{bias}"));
            inputs.push(match given {
                Some(given) => self.known(given)?,
                None => self.dequantized_bias(&node, &bias, (x_scale, w_scale), &mut added)?,
            });
        }
        let codes = node.output.first().cloned().unwrap_or_default();
        let output = operands.iter().find(|operand| matches!(operand.place, Place::Output(_)));
        let mut results = vec![codes.clone()];
        // `QGemm` without an output scale computes real numbers.
        let rounds =
            output.filter(|operand| node.input.get(operand.scale).is_some_and(|name| !name.is_empty()));
        if let Some(operand) = rounds {
            let real = self.free_name(&format!("{codes}_QuantizeLinear_Input"));
            added.push(self.linear("QuantizeLinear", &node, operand, &real, &codes));
            results = vec![real];
        }
        let place = self.computing(target)?;
        let dropped = ["channels_last", "opset"];
        self.graph.node[place] = NodeProto {
            op_type: Some(plain.to_owned()),
            domain: None,
            input: inputs,
            output: results,
            attribute: node
                .attribute
                .iter()
                .filter(|attribute| !attribute.name.as_deref().is_some_and(|name| dropped.contains(&name)))
                .cloned()
                .collect(),
            ..node
        };
        let result = self.graph.node[place].output.first().cloned().unwrap_or_default();
        self.insert_around(place, added);
        self.pass_on_real_numbers(&result)
    }

    /// The nodes of an operator that was written out: those before it and the one behind it.
    fn insert_around(&mut self, place: usize, added: Vec<NodeProto>) {
        let count = added.len();
        let (behind, before): (Vec<_>, Vec<_>) = added.into_iter().partition(is_quantize);
        let nodes = &mut self.graph.node;
        nodes.splice(place + 1..=place, behind);
        nodes.splice(place..place, before);
        self.written += count;
    }

    fn linear(&self, op: &str, of: &NodeProto, operand: &Operand, from: &str, to: &str) -> NodeProto {
        let text = |slot: usize| of.input.get(slot).cloned().unwrap_or_default();
        let mut input = vec![from.to_owned(), text(operand.scale)];
        input.extend(operand.zero_point.map(text).filter(|name| !name.is_empty()));
        let has_channels = self
            .graph
            .initializer
            .iter()
            .find(|tensor| tensor.name.as_deref() == Some(&*input[1]))
            .is_some_and(|tensor| tensor.dims.iter().product::<i64>() > 1);
        let axis = has_channels.then(|| match operand.axis {
            Axis::At(axis) => axis,
            Axis::Gemm if int(of, "transB") != 0 => 0,
            Axis::Gemm => 1,
        });
        let name = if op == "QuantizeLinear" { from } else { to };
        NodeProto {
            op_type: Some(op.to_owned()),
            domain: (self.opset < PER_CHANNEL_OPSET).then(|| CONTRIB.to_owned()),
            name: Some(format!("{name}/{op}")),
            input,
            output: vec![to.to_owned()],
            attribute: axis_attribute(axis),
            ..NodeProto::default()
        }
    }

    /// The codes of a bias have the product of the scales of input and weight.
    fn dequantized_bias(
        &mut self,
        of: &NodeProto,
        bias: &str,
        (x_scale, w_scale): (usize, usize),
        added: &mut Vec<NodeProto>,
    ) -> Result<String> {
        let numbers = |slot: usize| -> Result<Vec<f64>> {
            let name = of.input.get(slot).map(String::as_str).unwrap_or_default();
            self.stored_numbers(name)
                .ok_or_else(|| BackendError::unsupported_op(format!("the scale `{name}` is not stored")))
        };
        let (x, w) = (numbers(x_scale)?, numbers(w_scale)?);
        let Some(x) = x.first() else {
            return Err(BackendError::unsupported_op(format!("the scale of `{bias}` is not stored")));
        };
        // ONNX Runtime computes the product in float32.
        let scales: Vec<u8> =
            w.iter().flat_map(|w| real_bytes(f64::from(*x as f32 * *w as f32), DType::FLOAT32)).collect();
        let dims = if w.len() == 1 { Vec::new() } else { vec![w.len() as i64] };
        let scale = self.free_name(&format!("{bias}_scale"));
        self.add_tensor(scale.clone(), DType::FLOAT32, dims, &scales);
        let real = self.free_name(&format!("{bias}_DequantizeLinear_Output"));
        added.push(NodeProto {
            op_type: Some("DequantizeLinear".to_owned()),
            domain: (self.opset < PER_CHANNEL_OPSET).then(|| CONTRIB.to_owned()),
            name: Some(format!("{real}/DequantizeLinear")),
            input: vec![bias.to_owned(), scale],
            output: vec![real.clone()],
            attribute: axis_attribute((w.len() > 1).then_some(0)),
            ..NodeProto::default()
        });
        Ok(real)
    }

    /// The names that nodes read.
    fn read_names(&self) -> HashSet<String> {
        self.graph.node.iter().flat_map(|node| &node.input).cloned().collect()
    }

    /// Removes rounding that nobody reads any more, and the stored tensors that only it read.
    fn sweep(&mut self, before: &HashSet<String>) {
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
        inner_names(&self.graph.node, &mut read);
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

/// What graphs inside of nodes read: it may be the outer graph's.
fn inner_names(nodes: &[NodeProto], names: &mut HashSet<String>) {
    for attribute in nodes.iter().flat_map(|node| &node.attribute) {
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            names.extend(graph.node.iter().flat_map(|node| &node.input).cloned());
            names.extend(graph.output.iter().filter_map(|output| output.name.clone()));
            inner_names(&graph.node, names);
        }
    }
}

fn is_dequantize(node: &NodeProto) -> bool {
    node.op_type.as_deref().is_some_and(|name| name.ends_with("DequantizeLinear"))
}

/// Whether an operator can compute negative numbers, so that a ReLU behind it has an effect.
fn can_be_negative(op: &str) -> bool {
    !matches!(
        op,
        "Relu" | "Clip" | "Sigmoid" | "Softmax" | "HardSigmoid" | "Softplus" | "Exp" | "Abs" | "Sqrt" | "Min"
    )
}

fn int(node: &NodeProto, name: &str) -> i64 {
    let is_it = |attribute: &&crate::proto::AttributeProto| {
        attribute.name.as_deref() == Some(name) && attribute.r#type == Some(code::INT)
    };
    node.attribute.iter().find(is_it).and_then(|attribute| attribute.i).unwrap_or(0)
}

/// The operator of real numbers that an operator of codes stands for.
fn plain_operator(node: &NodeProto) -> Result<&'static str> {
    let op = node.op_type.as_deref().unwrap_or_default();
    Ok(match op {
        "QLinearConv" => "Conv",
        "QLinearMatMul" => "MatMul",
        "QGemm" => "Gemm",
        "QLinearAdd" => "Add",
        "QLinearMul" => "Mul",
        "QLinearWhere" => "Where",
        "QLinearConcat" => "Concat",
        "QLinearSigmoid" => "Sigmoid",
        "QLinearLeakyRelu" => "LeakyRelu",
        // Older versions of Softmax flatten their input first.
        "QLinearSoftmax" if int(node, "opset") >= PER_CHANNEL_OPSET => "Softmax",
        "QLinearAveragePool" if int(node, "channels_last") == 0 => "AveragePool",
        "QLinearGlobalAveragePool" if int(node, "channels_last") == 0 => "GlobalAveragePool",
        _ => {
            return Err(BackendError::unsupported_op(format!(
                "`{op}` has no counterpart that computes with real numbers"
            )));
        }
    })
}
