//! Puts codes into a float graph for good: pairs of QuantizeLinear and DequantizeLinear, stored codes, integer biases; with the
//! names that `onnxruntime.quantization` gives.

use super::{Affine, CONTRIB, Editor, axis, axis_attribute, needed, pack, real_bytes};
use crate::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, code, dtype};
use qp_abi::sdk::{BackendError, DType, Edit, Result, lookup};
use std::collections::{HashMap, HashSet};

/// What one batch of changes has made so far.
#[derive(Default)]
pub(super) struct Codes {
    /// The domain of the nodes.
    domain: &'static str,
    /// The names of scale and zero point, by the value or tensor that they were made for.
    parameters: HashMap<String, (String, String)>,
    /// What the graph's own nodes read from now on.
    readers: HashMap<String, String>,
    /// Stored tensors that may not be read any more.
    left: HashSet<String>,
}

/// Whether the change is one of these.
fn is_one(edit: &Edit) -> bool {
    matches!(edit.action.as_str(), "quantize-value" | "quantize-tensor" | "quantize-bias" | "quantize-blocks")
}

/// The domain in which all of these changes can be written: ONNX has QuantizeLinear from opset 10 on, with an axis from 13 on,
/// for 16 and 4 bits and for blocks from 21 on.
fn domain(edits: &[Edit], opset: i64) -> &'static str {
    let needs =
        |edit: &Edit| match edit.dtype {
            _ if edit.action == "quantize-blocks" => 21,
            DType::INT8 | DType::UINT8 | DType::INT32 => {
                if lookup(edit.arguments.as_slice(), "axis").is_some() { 13 } else { 10 }
            }
            _ => 21,
        };
    let makes_codes = |edit: &&Edit| is_one(edit) && edit.dtype != DType::UNDEFINED;
    if edits.iter().filter(makes_codes).any(|edit| needs(edit) > opset) { CONTRIB } else { "" }
}

impl Codes {
    /// For these changes.
    pub(super) fn of(edits: &[Edit], opset: i64) -> Self {
        Self { domain: domain(edits, opset), ..Self::default() }
    }

    /// Drops a stored tensor at the end, if nothing reads it then.
    pub(super) fn leave(&mut self, tensor: String) {
        self.left.insert(tensor);
    }
}

impl Editor<'_> {
    /// Rounds a value to codes and back for all that read it.
    pub(super) fn quantize_value(&mut self, edit: &Edit) -> Result<()> {
        let target = self.known(&edit.target)?;
        let arguments = edit.arguments.as_slice();
        let (scale, zero_point) = match lookup(arguments, "same-as") {
            Some(other) => self.codes.parameters.get(other).cloned().ok_or_else(|| {
                BackendError::not_found(format!("`{other}` has no scale that `{target}` could share"))
            })?,
            None => self.add_parameters(&target, edit, None)?,
        };
        self.codes.parameters.insert(target.clone(), (scale.clone(), zero_point.clone()));
        let codes = self.fresh(&format!("{target}_QuantizeLinear_Output"));
        let is_output = self.graph.output.iter().any(|output| output.name.as_deref() == Some(&*target));
        let (real, result) = if is_output {
            let real = self.fresh(&format!("{target}_QuantizeLinear_Input"));
            self.rename_output(&target, &real)?;
            (real, target.clone())
        } else {
            let result = self.fresh(&format!("{target}_DequantizeLinear_Output"));
            self.codes.readers.insert(target.clone(), result.clone());
            (target.clone(), result)
        };
        let inputs = [real, scale.clone(), zero_point.clone()];
        self.linear_node("QuantizeLinear", &target, &inputs, &codes, None);
        self.linear_node("DequantizeLinear", &target, &[codes, scale, zero_point], &result, None);
        Ok(())
    }

    /// Stores codes in place of a tensor's real numbers.
    pub(super) fn quantize_tensor(&mut self, edit: &Edit) -> Result<()> {
        let target = self.known(&edit.target)?;
        let axis = axis(edit.arguments.as_slice())?;
        let (scale, zero_point) = self.add_parameters(&target, edit, axis)?;
        self.codes.parameters.insert(target.clone(), (scale.clone(), zero_point.clone()));
        let codes = self.fresh(&format!("{target}_quantized"));
        self.add_tensor(codes.clone(), edit.dtype, edit.shape.to_vec(), &edit.bytes);
        let result = self.fresh(&format!("{target}_DequantizeLinear_Output"));
        self.linear_node("DequantizeLinear", &target, &[codes, scale, zero_point], &result, axis);
        self.codes.readers.insert(target.clone(), result);
        self.codes.left.insert(target);
        Ok(())
    }

    /// Stores integers in place of a bias; what they stand for keeps the bias's name. `copy` = NAME makes them for the layer
    /// that computes `value` alone.
    pub(super) fn quantize_bias(&mut self, edit: &Edit) -> Result<()> {
        let arguments = edit.arguments.as_slice();
        let tensor = self.known(&edit.target)?;
        let value = needed(arguments, "value")?;
        let bias = match lookup(arguments, "copy") {
            Some(copy) => self.claim(copy)?,
            None => {
                self.graph.initializer.retain(|stored| stored.name.as_deref() != Some(&*tensor));
                self.graph.input.retain(|input| input.name.as_deref() != Some(&*tensor));
                tensor.clone()
            }
        };
        let node = self.graph.node.iter_mut().find(|node| node.output.iter().any(|output| *output == value));
        let node = node.ok_or_else(|| BackendError::not_found(format!("no layer computes `{value}`")))?;
        node.input.iter_mut().filter(|input| **input == tensor).for_each(|input| input.clone_from(&bias));
        // The factor is part of the scale.
        let beta = node.attribute.iter_mut().find(|attribute| attribute.name.as_deref() == Some("beta"));
        if let Some(beta) = beta {
            beta.f = Some(1.0);
        }
        let affine = Affine::of(arguments, "scales", "zero-points", &bias)?;
        let count = affine.scales.len();
        let codes = self.fresh(&format!("{bias}_quantized"));
        let [scale, zero_point] = ["scale", "zero_point"].map(|part| format!("{codes}_{part}"));
        let (scale, zero_point) = (self.fresh(&scale), self.fresh(&zero_point));
        let real = real_type(edit);
        let bytes: Vec<u8> = affine.scales.iter().flat_map(|scale| real_bytes(*scale, real)).collect();
        self.add_tensor(scale.clone(), real, vec![count as i64], &bytes);
        let dims = if count > 1 { vec![count as i64] } else { Vec::new() };
        self.add_tensor(zero_point.clone(), DType::INT32, dims, &vec![0; 4 * count]);
        self.add_tensor(codes.clone(), DType::INT32, edit.shape.to_vec(), &edit.bytes);
        let axis = (count > 1).then_some(0);
        self.linear_node("DequantizeLinear", &bias, &[codes, scale, zero_point], &bias, axis);
        Ok(())
    }

    /// Removes the clamp that computes the target; what it clamps gets the target's name.
    pub(super) fn fold_clamp(&mut self, edit: &Edit) -> Result<()> {
        let target = self.known(&edit.target)?;
        let place = self.graph.node.iter().rposition(|node| node.output.contains(&target));
        let place = place.ok_or_else(|| BackendError::not_found(format!("no layer computes `{target}`")))?;
        let clamped = self.graph.node.remove(place).input.first().cloned().unwrap_or_default();
        if place < self.written {
            self.written -= 1;
        }
        self.graph.value_info.retain(|info| info.name.as_deref() != Some(&*clamped));
        self.names.remove(&clamped);
        self.rename_output(&clamped, &target)
    }

    /// Scale and zero point as stored tensors.
    pub(super) fn add_parameters(
        &mut self,
        name: &str,
        edit: &Edit,
        axis: Option<i64>,
    ) -> Result<(String, String)> {
        let affine = Affine::of(edit.arguments.as_slice(), "scales", "zero-points", name)?;
        let count = affine.scales.len();
        if axis.is_none() && count != 1 {
            return Err(BackendError::invalid_input(format!("`{name}` needs an axis for its scales")));
        }
        let dims = if axis.is_some() { vec![count as i64] } else { Vec::new() };
        let (scale, zero_point) =
            (self.fresh(&format!("{name}_scale")), self.fresh(&format!("{name}_zero_point")));
        let real = real_type(edit);
        let bytes: Vec<u8> = affine.scales.iter().flat_map(|scale| real_bytes(*scale, real)).collect();
        self.add_tensor(scale.clone(), real, dims.clone(), &bytes);
        self.add_tensor(zero_point.clone(), edit.dtype, dims, &pack(&affine.zero_points, edit.dtype)?);
        Ok((scale, zero_point))
    }

    /// This name, or one like it if it is taken.
    pub(super) fn fresh(&mut self, name: &str) -> String {
        if self.names.insert(name.to_owned()) { name.to_owned() } else { self.free_name(name) }
    }

    fn rename_output(&mut self, old: &str, new: &str) -> Result<()> {
        let names = self.graph.node.iter_mut().flat_map(|node| &mut node.output);
        let name = names.into_iter().find(|name| *name == old);
        let name = name.ok_or_else(|| BackendError::not_found(format!("no layer computes `{old}`")))?;
        new.clone_into(name);
        Ok(())
    }

    pub(super) fn linear_node(
        &mut self,
        op_type: &str,
        of: &str,
        inputs: &[String],
        output: &str,
        axis: Option<i64>,
    ) {
        let domain = self.codes.domain;
        self.graph.node.push(NodeProto {
            op_type: Some(op_type.to_owned()),
            domain: (!domain.is_empty()).then(|| domain.to_owned()),
            name: Some(format!("{of}_{op_type}")),
            input: inputs.to_vec(),
            output: vec![output.to_owned()],
            attribute: axis_attribute(axis),
            ..NodeProto::default()
        });
    }

    /// Lets the graph's own nodes read what came in place of values and tensors, and drops tensors that nothing reads.
    pub(super) fn settle_codes(&mut self) {
        let Codes { readers, left, .. } = std::mem::take(&mut self.codes);
        if readers.is_empty() && left.is_empty() {
            return;
        }
        let own = self.graph.node.iter_mut().take(self.written);
        for input in own.flat_map(|node| &mut node.input) {
            if let Some(new) = readers.get(input.as_str()) {
                input.clone_from(new);
            }
        }
        let mut read: HashSet<String> = inner_reads(self.graph);
        read.extend(
            self.graph.node.iter().flat_map(|node| &node.input).filter(|name| left.contains(*name)).cloned(),
        );
        read.extend(self.graph.output.iter().filter_map(|output| output.name.clone()));
        let is_left =
            |name: Option<&String>| name.is_none_or(|name| !left.contains(name) || read.contains(name));
        self.graph.initializer.retain(|tensor: &TensorProto| is_left(tensor.name.as_ref()));
        self.graph.input.retain(|input| is_left(input.name.as_ref()));
    }
}

pub(super) fn real_type(edit: &Edit) -> DType {
    match lookup(edit.arguments.as_slice(), "real") {
        Some("float16") => DType::FLOAT16,
        _ => DType::FLOAT32,
    }
}

/// What the graphs inside of nodes read by name.
pub(crate) fn inner_reads(graph: &GraphProto) -> HashSet<String> {
    fn of_nodes(nodes: &[NodeProto], is_inner: bool, read: &mut HashSet<String>) {
        for node in nodes {
            if is_inner {
                read.extend(node.input.iter().cloned());
            }
            for AttributeProto { g, graphs, .. } in &node.attribute {
                for graph in g.iter().chain(graphs) {
                    read.extend(graph.output.iter().filter_map(|output| output.name.clone()));
                    of_nodes(&graph.node, true, read);
                }
            }
        }
    }
    let mut read = HashSet::new();
    of_nodes(&graph.node, false, &mut read);
    read
}

/// Raises the version of the file's form where new element types need it.
pub(super) fn raise_version(model: &mut crate::proto::ModelProto) {
    const WITH_4_BITS: i64 = 10;
    let is_new = |tensor: &TensorProto| matches!(dtype(tensor.data_type), DType::INT4 | DType::UINT4);
    let has_new = model.graph.iter().flat_map(|graph| &graph.initializer).any(is_new);
    if has_new && model.ir_version.unwrap_or(0) < WITH_4_BITS {
        model.ir_version = Some(WITH_4_BITS);
    }
}

/// A node's whole-number attribute.
pub(crate) fn int(node: &NodeProto, name: &str) -> Option<i64> {
    let found = node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name))?;
    found.i.filter(|_| found.r#type.is_none_or(|kind| kind == code::INT))
}

/// A whole-number attribute with this name.
pub(super) fn whole(name: &str, number: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        i: Some(number),
        r#type: Some(code::INT),
        ..AttributeProto::default()
    }
}

/// Whether a `Gemm` is y = a · b + c, with b transposed or not.
pub(crate) fn is_plain_product(node: &NodeProto) -> bool {
    let factor = |name: &str| {
        let found = node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name));
        found.and_then(|factor| factor.f).unwrap_or(1.0)
    };
    factor("alpha") == 1.0 && factor("beta") == 1.0 && int(node, "transA").unwrap_or(0) == 0
}
