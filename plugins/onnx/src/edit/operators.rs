//! Operators of codes written as operators of real numbers between `DequantizeLinear` and `QuantizeLinear`, and back.

use super::codes::{int, whole};
use super::parameters::is_quantize;
use super::unquantize::is_dequantize;
use super::{CONTRIB, Editor, axis_attribute, pack, real_bytes};
use crate::proto::NodeProto;
use crate::quant::operator::{self, Axis, Operand, Place, moves_codes};
use qp_abi::sdk::{BackendError, DType, Edit, Result, element_count, lookup};

/// The first version of ONNX's own operators that has scales per channel.
const PER_CHANNEL_OPSET: i64 = 13;

/// How far a bias's scale may be from the product of those of input and weight.
const SAME_SCALE: f64 = 1e-4;

impl Editor<'_> {
    /// Writes an operator of codes as one of real numbers between `DequantizeLinear` and `QuantizeLinear`. Gives back what that
    /// one computes.
    pub(super) fn expand(&mut self, target: &str, edit: &Edit, keeps_rounding: bool) -> Result<String> {
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
            let unrounded = match keeps_rounding {
                true => Ok(None),
                false => self.real_of(self.graph.node.len() - 1, &codes, edit),
            };
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
        if !keeps_rounding {
            self.pass_on_real_numbers(&result, edit)?;
        }
        Ok(result)
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
        let has_channels =
            self.initializer(&input[1]).is_some_and(|tensor| element_count(&tensor.dims) > Some(1));
        let axis = has_channels.then(|| match operand.axis {
            Axis::At(axis) => axis,
            Axis::Gemm if int(of, "transB").unwrap_or(0) != 0 => 0,
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

    /// Writes a layer of real numbers whose inputs are dequantized, and whose output is only quantized, as one operator of codes.
    /// Returns whether it could.
    pub(super) fn fold(&mut self, place: usize) -> Result<bool> {
        let node = self.graph.node[place].clone();
        let op = node.op_type.as_deref().unwrap_or_default();
        let [output] = &node.output[..] else { return Ok(false) };
        let Some((quantize, codes)) = self.only_rounding(output) else { return Ok(false) };
        if moves_codes(op) {
            return Ok(self.fold_move(place, quantize, &codes));
        }
        let Some((name, domain)) = operator_of_codes(&node) else { return Ok(false) };
        let operands = operator::operands(name, node.input.len() * 3 + 2);
        let is_input = |operand: &&Operand| matches!(operand.place, Place::Input(_));
        let data: Vec<usize> = operands
            .iter()
            .filter(is_input)
            .filter_map(|operand| match operand.place {
                Place::Input(slot) => Some(slot),
                Place::Output(_) => None,
            })
            .collect();
        let slots = operands
            .iter()
            .map(|operand| operand.scale.max(operand.zero_point.unwrap_or(0)))
            .max()
            .unwrap_or(0)
            + 1;
        let mut inputs = vec![String::new(); slots.max(data.iter().max().map_or(0, |slot| slot + 1))];
        let mut read = Vec::new();
        for (operand, input) in operands.iter().filter(is_input).zip(&node.input) {
            let Place::Input(slot) = operand.place else { continue };
            let Some(dequantize) = self.producer(input).filter(|node| is_dequantize(node)).cloned() else {
                return Ok(false);
            };
            if !self.fits(&dequantize, operand, &node) {
                return Ok(false);
            }
            read.push(dequantize.clone());
            inputs[slot] = dequantize.input[0].clone();
            self.put_parameters(&mut inputs, operand, &dequantize)?;
        }
        if read.len() != data.len() {
            return Ok(false);
        }
        let Some(rounding) = operands.iter().find(|operand| matches!(operand.place, Place::Output(_))) else {
            return Ok(false);
        };
        let quantize_node = self.graph.node[quantize].clone();
        if !self.fits(&quantize_node, rounding, &node) {
            return Ok(false);
        }
        self.put_parameters(&mut inputs, rounding, &quantize_node)?;
        if let Some(bias) = node.input.get(data.len()).filter(|name| !name.is_empty()) {
            let Some((slot, ..)) = operator::bias(name) else { return Ok(false) };
            let Some(codes) = self.bias_codes(bias, &read) else { return Ok(false) };
            inputs.resize(inputs.len().max(slot + 1), String::new());
            // `QGemm` has its bias before the parameters of its output.
            inputs[slot] = codes;
        }
        let mut attribute = node.attribute.clone();
        if name == "QGemm" {
            attribute.retain(|attribute| attribute.name.as_deref() != Some("beta"));
        }
        if name == "QLinearSoftmax" {
            attribute.push(whole("opset", self.opset));
        }
        self.graph.node[place] = NodeProto {
            op_type: Some(name.to_owned()),
            domain: (!domain.is_empty()).then(|| domain.to_owned()),
            input: inputs,
            output: vec![codes],
            attribute,
            ..node
        };
        self.graph.node.remove(quantize);
        self.written -= usize::from(quantize < self.written);
        Ok(true)
    }

    /// The `QuantizeLinear` that alone reads a value, and the codes that it computes.
    fn only_rounding(&self, value: &str) -> Option<(usize, String)> {
        let reads =
            |node: &NodeProto| is_quantize(node) && node.input.first().is_some_and(|name| name == value);
        let place = self.graph.node.iter().position(reads)?;
        let codes = self.graph.node[place].output.first()?.clone();
        (self.readers(value) == 1).then_some((place, codes))
    }

    /// A layer that only moves elements moves codes as well, if it reads and makes the same.
    fn fold_move(&mut self, place: usize, quantize: usize, codes: &str) -> bool {
        let node = &self.graph.node[place];
        let op = node.op_type.as_deref().unwrap_or_default();
        // These compute with their elements, or have bounds in real numbers.
        if matches!(op, "Clip" | "Relu" | "Max" | "Min" | "Pad" | "Resize" | "Upsample") {
            return false;
        }
        let Some(dequantize) =
            node.input.first().and_then(|input| self.producer(input)).filter(|node| is_dequantize(node))
        else {
            return false;
        };
        let parameters = |node: &NodeProto| -> Option<[Vec<f64>; 2]> {
            let zero = || Some(vec![0.0]);
            let name = |slot: usize| node.input.get(slot).filter(|name| !name.is_empty());
            Some([
                self.stored_numbers(name(1)?)?,
                name(2).map_or_else(zero, |name| self.stored_numbers(name))?,
            ])
        };
        let kind = |node: &NodeProto| node.input.get(2).and_then(|name| self.dtype_of(name));
        let rounding = &self.graph.node[quantize];
        let (read, made) = (parameters(dequantize), parameters(rounding));
        if read.is_none()
            || read != made
            || kind(dequantize) != kind(rounding)
            || read.is_some_and(|read| read[0].len() > 1)
        {
            return false;
        }
        let source = dequantize.input[0].clone();
        let node = &mut self.graph.node[place];
        node.input[0] = source;
        node.output[0] = codes.to_owned();
        self.graph.node.remove(quantize);
        self.written -= usize::from(quantize < self.written);
        true
    }

    /// Whether a node's scales are such as the operand takes: one, or one for each channel of a convolution's weight.
    fn fits(&self, node: &NodeProto, operand: &Operand, layer: &NodeProto) -> bool {
        let scale = node.input.get(1).and_then(|name| self.stored_numbers(name));
        let kind = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(name) => self.dtype_of(name),
            None => Some(DType::UINT8),
        };
        if !matches!(kind, Some(DType::INT8 | DType::UINT8)) {
            return false;
        }
        match scale.map(|scale| scale.len()) {
            Some(1) => true,
            Some(_) => {
                let axis = node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some("axis"));
                let axis = axis.and_then(|attribute| attribute.i).unwrap_or(1);
                let wanted = match operand.axis {
                    Axis::At(axis) => axis,
                    Axis::Gemm if int(layer, "transB").unwrap_or(0) != 0 => 0,
                    Axis::Gemm => 1,
                };
                let stored = node.input.first().and_then(|name| self.initializer(name));
                let rank = stored.and_then(|tensor| i64::try_from(tensor.dims.len()).ok());
                let counted = |axis: i64| rank.map_or(axis, |rank| if axis < 0 { axis + rank } else { axis });
                matches!(operand.place, Place::Input(slot) if slot > 0) && counted(axis) == counted(wanted)
            }
            None => false,
        }
    }

    /// Takes scale and zero point of a `QuantizeLinear` or `DequantizeLinear` over; a missing zero point is stored as zero.
    fn put_parameters(&mut self, inputs: &mut [String], operand: &Operand, node: &NodeProto) -> Result<()> {
        let text = |slot: usize| node.input.get(slot).cloned().unwrap_or_default();
        inputs[operand.scale] = text(1);
        if let Some(slot) = operand.zero_point {
            inputs[slot] = match text(2) {
                name if !name.is_empty() => name,
                _ => {
                    let kind = self.dtype_of(&text(0)).unwrap_or(DType::UINT8);
                    let count = self.stored_numbers(&text(1)).map_or(1, |scales| scales.len());
                    let dims = if count == 1 { Vec::new() } else { vec![count as i64] };
                    let name = self.free_name(&format!("{}_zero_point", text(1)));
                    let bytes = pack(&vec![0.0; count], kind)?;
                    self.add_tensor(name.clone(), kind, dims, &bytes);
                    name
                }
            };
        }
        Ok(())
    }

    /// The int32 codes of a bias that has the scale of input times weight.
    fn bias_codes(&self, bias: &str, read: &[NodeProto]) -> Option<String> {
        let dequantize = self.producer(bias).filter(|node| is_dequantize(node))?;
        let codes = dequantize.input.first()?;
        if self.dtype_of(codes) != Some(DType::INT32) {
            return None;
        }
        let [input, weight] = read else { return None };
        let scale = |node: &NodeProto| self.stored_numbers(node.input.get(1)?);
        let (own, x, w) = (scale(dequantize)?, scale(input)?, scale(weight)?);
        let product: Vec<f64> = w.iter().map(|w| w * x[0]).collect();
        let is_near = |(own, product): (&f64, &f64)| (own - product).abs() <= SAME_SCALE * product.abs();
        (own.len() == product.len() && own.iter().zip(&product).all(is_near)).then(|| codes.clone())
    }
}

/// The operator of codes that stands for an operator of real numbers, and its domain.
fn operator_of_codes(node: &NodeProto) -> Option<(&'static str, &'static str)> {
    let float = |name: &str| {
        let is_it = |attribute: &&crate::proto::AttributeProto| attribute.name.as_deref() == Some(name);
        node.attribute.iter().find(is_it).and_then(|attribute| attribute.f).unwrap_or(1.0)
    };
    Some(match node.op_type.as_deref().unwrap_or_default() {
        "Conv" => ("QLinearConv", ""),
        "MatMul" => ("QLinearMatMul", ""),
        "Gemm" if (float("beta") - 1.0).abs() < f32::EPSILON => ("QGemm", CONTRIB),
        "Add" => ("QLinearAdd", CONTRIB),
        "Mul" => ("QLinearMul", CONTRIB),
        "Concat" => ("QLinearConcat", CONTRIB),
        "Sigmoid" => ("QLinearSigmoid", CONTRIB),
        "LeakyRelu" => ("QLinearLeakyRelu", CONTRIB),
        "AveragePool" => ("QLinearAveragePool", CONTRIB),
        "GlobalAveragePool" => ("QLinearGlobalAveragePool", CONTRIB),
        "Softmax" => ("QLinearSoftmax", CONTRIB),
        _ => return None,
    })
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
        "QLinearSoftmax" if int(node, "opset") >= Some(PER_CHANNEL_OPSET) => "Softmax",
        "QLinearAveragePool" if int(node, "channels_last").unwrap_or(0) == 0 => "AveragePool",
        "QLinearGlobalAveragePool" if int(node, "channels_last").unwrap_or(0) == 0 => "GlobalAveragePool",
        _ => {
            return Err(BackendError::unsupported_op(format!(
                "`{op}` has no counterpart that computes with real numbers"
            )));
        }
    })
}
