//! Layers that compute with real numbers again.

use super::parameters::is_quantize;
use super::{CONTRIB, Editor, axis_attribute, real_bytes};
use crate::convert;
use crate::proto::{NodeProto, code, dtype};
use crate::quant::operator::{self, Axis, Operand, Place};
use qp_abi::sdk::{BackendError, DType, Edit, Result, lookup};
use std::collections::HashSet;

/// The first version of ONNX's own operators that has scales per channel.
const PER_CHANNEL_OPSET: i64 = 13;

impl Editor<'_> {
    /// Lets the layer that computes the target read real numbers, and pass them on where nothing else needs codes. The argument
    /// `real:CODES` = STORED names the real numbers that replace stored codes.
    pub(super) fn unquantize(&mut self, edit: &Edit) -> Result<()> {
        let target = self.known(&edit.target)?;
        let place = self.computing(&target)?;
        let op = self.graph.node[place].op_type.clone().unwrap_or_default();
        let before = self.read_names();
        if operator::form(&op) == Some(operator::Form::QOperator) {
            self.expand(place, edit)?;
        } else if operator::form(&op).is_some() {
            return Err(BackendError::unsupported_op(format!(
                "`{op}` computes its scales anew for each input, or holds its weight in a form of its own"
            ))
            .with_help("Quantize the float model again, without this layer."));
        } else {
            self.read_real_numbers(place, edit)?;
            self.pass_on_real_numbers(place);
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
    fn read_real_numbers(&mut self, place: usize, edit: &Edit) -> Result<()> {
        let mut changed = 0;
        for slot in 0..self.graph.node[place].input.len() {
            let value = self.graph.node[place].input[slot].clone();
            let Some(dequantize) = self.producer(&value).filter(|node| is_dequantize(node)) else { continue };
            let codes = dequantize.input.first().cloned().unwrap_or_default();
            let real = match self.producer(&codes).filter(|node| is_quantize(node)) {
                Some(quantize) => quantize.input.first().cloned(),
                None => match lookup(edit.arguments.as_slice(), &format!("real:{codes}")) {
                    Some(given) => Some(self.known(given)?),
                    None => None,
                },
            };
            if let Some(real) = real {
                self.graph.node[place].input[slot] = real;
                changed += 1;
            }
        }
        if changed == 0 {
            return Err(BackendError::invalid_input(format!("`{}` is not quantized", edit.target)));
        }
        Ok(())
    }

    /// Readers of the layer's rounded outputs that are not quantized themselves read it unrounded.
    fn pass_on_real_numbers(&mut self, place: usize) {
        for output in self.graph.node[place].output.clone() {
            let rounded: Vec<String> = self
                .graph
                .node
                .iter()
                .filter(|node| is_quantize(node) && node.input.first() == Some(&output))
                .filter_map(|node| node.output.first())
                .flat_map(|codes| {
                    let reads =
                        move |node: &&NodeProto| is_dequantize(node) && node.input.first() == Some(codes);
                    self.graph.node.iter().filter(reads)
                })
                .filter_map(|node| node.output.first().cloned())
                .collect();
            for rounded in rounded {
                for reader in 0..self.graph.node.len() {
                    let reads = self.graph.node[reader].input.contains(&rounded);
                    if reads && !self.is_quantized(reader, &rounded) {
                        let inputs = self.graph.node[reader].input.iter_mut();
                        inputs.filter(|input| **input == rounded).for_each(|input| input.clone_from(&output));
                    }
                }
                if self.graph.output.iter().any(|result| result.name.as_deref() == Some(&*rounded)) {
                    self.swap_names(&output, &rounded);
                }
            }
        }
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
    pub(super) fn expand(&mut self, place: usize, edit: &Edit) -> Result<()> {
        let node = self.graph.node[place].clone();
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
            added.push(self.linear("DequantizeLinear", &node, operand, &codes, &real));
            inputs.push(real);
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
        let dropped = ["channels_last"];
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
        self.insert_around(place, added);
        Ok(())
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
            let stored = self.graph.initializer.iter().find(|tensor| tensor.name.as_deref() == Some(name));
            let values = stored.filter(|tensor| !convert::is_external(tensor)).and_then(|tensor| {
                let count = usize::try_from(tensor.dims.iter().product::<i64>()).ok()?;
                convert::to_f64(dtype(tensor.data_type), &convert::dense(tensor).ok()?, count)
            });
            values.ok_or_else(|| BackendError::unsupported_op(format!("the scale `{name}` is not stored")))
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
        "QLinearAveragePool" if int(node, "channels_last") == 0 => "AveragePool",
        "QLinearGlobalAveragePool" if int(node, "channels_last") == 0 => "GlobalAveragePool",
        _ => {
            return Err(BackendError::unsupported_op(format!(
                "`{op}` has no counterpart that computes with real numbers"
            )));
        }
    })
}
