//! A whole model in another form.

use super::parameters::is_quantize;
use super::unquantize::is_dequantize;
use super::{Editor, needed, pack};
use crate::convert;
use crate::proto::dtype;
use crate::quant::operator::{self, Form, Place};
use qp_abi::sdk::{BackendError, DType, Edit, Result, element_count, lookup};
use std::collections::{HashMap, HashSet};

impl Editor<'_> {
    /// Writes the model in the form that the argument `to` names: `qdq`, `qoperator`, `float`, or with `uint8` or `int8`
    /// activations.
    pub(super) fn convert(&mut self, edit: &Edit) -> Result<()> {
        if let Some(opset) = lookup(edit.arguments.as_slice(), "opset") {
            let opset = opset.parse();
            return self
                .raise_opset(opset.map_err(|_| BackendError::invalid_input("an opset is a whole number"))?);
        }
        let before = self.read_names();
        match needed(edit.arguments.as_slice(), "to")? {
            "qdq" => self.write_as_qdq(edit)?,
            "qoperator" => self.write_as_qoperator()?,
            "float" => {
                self.write_as_qdq(edit)?;
                self.strip()?;
            }
            "uint8" => self.move_codes_of_activations(DType::UINT8)?,
            "int8" => self.move_codes_of_activations(DType::INT8)?,
            other => {
                return Err(BackendError::invalid_input(format!("unknown form `{other}`"))
                    .with_help("The forms are `qdq`, `qoperator`, `float`, `uint8` and `int8`."));
            }
        }
        self.sweep(&before);
        // Types of values may be others now; runtimes infer them.
        let computed: HashSet<&String> = self.graph.node.iter().flat_map(|node| &node.output).collect();
        self.graph.value_info.retain(|value| {
            let is_float = value
                .r#type
                .as_ref()
                .and_then(|kind| match kind.value.as_ref()? {
                    crate::proto::type_proto::Value::TensorType(tensor) => {
                        Some(dtype(tensor.elem_type).is_float())
                    }
                    _ => None,
                })
                .unwrap_or(false);
            is_float && value.name.as_ref().is_some_and(|name| computed.contains(name))
        });
        Ok(())
    }

    fn write_as_qdq(&mut self, edit: &Edit) -> Result<()> {
        let targets: Vec<String> = self
            .graph
            .node
            .iter()
            .filter(|node| {
                operator::form(node.op_type.as_deref().unwrap_or_default()) == Some(Form::QOperator)
            })
            .filter_map(|node| node.output.first().cloned())
            .collect();
        targets.iter().try_for_each(|target| self.expand(target, edit, true).map(drop))
    }

    fn write_as_qoperator(&mut self) -> Result<()> {
        let targets: Vec<String> = self
            .graph
            .node
            .iter()
            .filter(|node| !is_quantize(node) && !is_dequantize(node))
            .filter_map(|node| node.output.first().cloned())
            .collect();
        let mut folded = 0;
        for target in targets {
            if let Ok(place) = self.computing(&target) {
                folded += usize::from(self.fold(place)?);
            }
        }
        if folded == 0 {
            return Err(BackendError::invalid_input(
                "no layer reads dequantized values and is quantized behind",
            )
            .with_help("Only QDQ models of 8 bits have a QOperator form."));
        }
        Ok(())
    }

    /// Stored codes become the real numbers that they stand for, and nothing is rounded any more.
    fn strip(&mut self) -> Result<()> {
        let pairs: Vec<String> = self
            .graph
            .node
            .iter()
            .filter(|node| is_dequantize(node))
            .filter_map(|node| node.output.first().cloned())
            .collect();
        for real in pairs {
            let Some(place) = self.place_of(&real) else { continue };
            let codes = self.graph.node[place].input.first().cloned().unwrap_or_default();
            let source = match self.place_of(&codes).filter(|place| is_quantize(&self.graph.node[*place])) {
                Some(quantize) => {
                    let source = self.graph.node[quantize].input.first().cloned().unwrap_or_default();
                    self.rectified(&source, place)?
                }
                None => match self.dequantized(place)? {
                    Some(stored) => stored,
                    // Codes that are moved, or made by something else.
                    None => continue,
                },
            };
            for input in
                self.graph.node.iter_mut().flat_map(|node| &mut node.input).filter(|input| **input == real)
            {
                input.clone_from(&source);
            }
            if self.graph.output.iter().any(|result| result.name.as_deref() == Some(&*real)) {
                self.swap_names(&source, &real);
            }
        }
        Ok(())
    }

    /// Stores the real numbers of stored codes.
    fn dequantized(&mut self, place: usize) -> Result<Option<String>> {
        let node = self.graph.node[place].clone();
        let name = |slot: usize| node.input.get(slot).map(String::as_str).unwrap_or_default();
        let Some(tensor) = self.initializer(name(0)) else { return Ok(None) };
        let location = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some("location"));
        let location = location.and_then(|entry| std::str::from_utf8(entry.value.as_deref()?).ok());
        let bytes = match location.and_then(|location| self.held.get(location)) {
            Some(held) => held.bytes().to_vec(),
            None if convert::is_external(tensor) => self.external.read(tensor)?.0.to_vec(),
            None => convert::dense(tensor)?.to_vec(),
        };
        let dims = tensor.dims.clone();
        let count = element_count(&dims).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        let codes = convert::to_f64(dtype(tensor.data_type), &bytes, count);
        let scales = self.stored_numbers(name(1));
        let zero_points = if name(2).is_empty() { Some(vec![0.0]) } else { self.stored_numbers(name(2)) };
        let (Some(codes), Some(scales), Some(zero_points)) = (codes, scales, zero_points) else {
            return Ok(None);
        };
        let axis = node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some("axis"));
        let has_blocks = node
            .attribute
            .iter()
            .any(|attribute| attribute.name.as_deref() == Some("block_size") && attribute.i.unwrap_or(0) > 0);
        if has_blocks {
            return Err(BackendError::unsupported_op(format!("`{}` is quantized in blocks", name(0))));
        }
        let axis = axis.and_then(|attribute| attribute.i).unwrap_or(1);
        let axis = usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).unwrap_or(0);
        let inner: usize = dims
            .iter()
            .skip(axis + 1)
            .map(|size| usize::try_from(*size).unwrap_or(1))
            .fold(1, usize::saturating_mul);
        let size = dims.get(axis).map_or(1, |size| usize::try_from(*size).unwrap_or(1)).max(1);
        let real: Vec<u8> = codes
            .iter()
            .enumerate()
            .flat_map(|(index, code)| {
                let channel = if scales.len() == 1 { 0 } else { index / inner.max(1) % size };
                let zero_point = zero_points.get(channel).or(zero_points.first()).copied().unwrap_or(0.0);
                // As the runtime computes it, in float32.
                ((code - zero_point) as f32 * scales.get(channel).copied().unwrap_or(0.0) as f32)
                    .to_le_bytes()
            })
            .collect();
        let plain = name(0).strip_suffix("_quantized").unwrap_or(name(0)).to_owned();
        let stored = if self.names.contains(&plain) { self.free_name(&plain) } else { self.claim(&plain)? };
        self.add_tensor(stored.clone(), DType::FLOAT32, dims, &real);
        Ok(Some(stored))
    }

    /// Gives 8-bit activations the other type: codes and zero points move by 128, and mean the same real numbers.
    fn move_codes_of_activations(&mut self, to: DType) -> Result<()> {
        let from = if to == DType::UINT8 { DType::INT8 } else { DType::UINT8 };
        let shift = if to == DType::UINT8 { 128.0 } else { -128.0 };
        let mut slots: Vec<(usize, usize)> = Vec::new();
        let mut constants: Vec<(usize, usize)> = Vec::new();
        for (index, node) in self.graph.node.iter().enumerate() {
            let is_stored =
                |value: Option<&String>| value.is_some_and(|name| self.initializer(name).is_some());
            if is_quantize(node) && !is_stored(node.input.first())
                || is_dequantize(node) && !is_stored(node.input.first())
            {
                slots.push((index, 2));
            }
            let op = node.op_type.as_deref().unwrap_or_default();
            // These take codes of one type only.
            let has_one_type = matches!(op, "QLinearAdd" | "QLinearMul" | "QLinearConcat" | "QLinearWhere");
            for operand in operator::operands(op, node.input.len()) {
                let stored = match operand.place {
                    Place::Input(slot) => Some(slot).filter(|slot| is_stored(node.input.get(*slot))),
                    Place::Output(_) => None,
                };
                if stored.is_none() || has_one_type {
                    slots.extend(operand.zero_point.map(|slot| (index, slot)));
                }
                constants.extend(stored.filter(|_| has_one_type).map(|slot| (index, slot)));
            }
        }
        self.refuse_computed_codes(from)?;
        for (index, slot) in constants {
            let name = self.graph.node[index].input[slot].clone();
            let dims = self.initializer(&name).map_or_else(Vec::new, |tensor| tensor.dims.clone());
            let codes = self.stored_numbers(&name).filter(|_| self.dtype_of(&name) == Some(from));
            let Some(codes) = codes else { continue };
            let codes: Vec<f64> = codes.iter().map(|code| code + shift).collect();
            let new = self.free_name(&name);
            self.add_tensor(new.clone(), to, dims, &pack(&codes, to)?);
            self.graph.node[index].input[slot] = new;
        }
        let mut moved: HashMap<String, String> = HashMap::new();
        for (index, slot) in slots {
            let name = self.graph.node[index].input.get(slot).cloned().unwrap_or_default();
            let new = match moved.get(&name) {
                Some(new) => new.clone(),
                None if name.is_empty() && from == DType::UINT8 => {
                    // Without a zero point the codes are uint8, from 0 on.
                    let new = self.free_name("zero_point");
                    self.add_tensor(new.clone(), to, Vec::new(), &pack(&[shift], to)?);
                    moved.insert(name.clone(), new.clone());
                    new
                }
                None if self.dtype_of(&name) == Some(from) => {
                    let numbers = self.stored_numbers(&name).unwrap_or_default();
                    let codes: Vec<f64> = numbers.iter().map(|code| code + shift).collect();
                    let dims = if codes.len() == 1 { Vec::new() } else { vec![codes.len() as i64] };
                    let new = self.free_name(&name);
                    self.add_tensor(new.clone(), to, dims, &pack(&codes, to)?);
                    moved.insert(name.clone(), new.clone());
                    new
                }
                None => continue,
            };
            let inputs = &mut self.graph.node[index].input;
            inputs.resize(inputs.len().max(slot + 1), String::new());
            inputs[slot] = new;
        }
        if moved.is_empty() {
            return Err(BackendError::invalid_input(format!("no activation has {from} codes")));
        }
        Ok(())
    }

    /// Operators that compute with codes in another way than by their scale and zero point.
    fn refuse_computed_codes(&self, from: DType) -> Result<()> {
        let mut codes: HashSet<&str> = HashSet::new();
        for node in &self.graph.node {
            let op = node.op_type.as_deref().unwrap_or_default();
            let makes = is_quantize(node) || operator::form(op) == Some(Form::QOperator);
            let reads = node.input.first().is_some_and(|name| codes.contains(name.as_str()));
            if reads
                && matches!(op, "Clip" | "Relu" | "Max" | "Min" | "Pad" | "ConvInteger" | "MatMulInteger")
            {
                return Err(BackendError::unsupported_op(format!(
                    "`{op}` computes with {from} codes themselves, at `{}`",
                    node.output.first().map(String::as_str).unwrap_or_default()
                ))
                .with_help("Convert the model to QDQ first: `convert MODEL --to qdq`."));
            }
            if makes || reads && operator::moves_codes(op) {
                codes.extend(node.output.first().map(String::as_str));
            }
        }
        Ok(())
    }
}
