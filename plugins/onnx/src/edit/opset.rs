//! A newer version of ONNX's own operators: what the versions between changed is written out, node by node.
//!
//! Source: the operators' change log, `docs/Changelog.md` of ONNX. Most changes add types or attributes whose defaults
//! mean what was meant before; those handled here are the others.

use super::codes::{int, whole};
use super::{Editor, real_bytes};
use crate::proto::tensor_shape_proto::dimension::Value as Size;
use crate::proto::type_proto::Value;
use crate::proto::{AttributeProto, GraphProto, NodeProto, TypeProto, code, dtype};
use qp_abi::sdk::{BackendError, DType, Result};
use std::collections::HashMap;

/// The first version from which models can be moved: before it, shapes were extended by attributes.
const OLDEST: i64 = 7;
/// The newest whose changes are known here.
const NEWEST: i64 = 24;

/// The version of the file's form that each version of the operators needs, as `onnx.helper` has it.
fn form_version(opset: i64) -> i64 {
    match opset {
        ..=8 => 3,
        9 => 4,
        10 => 5,
        11 => 6,
        12..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        _ => 12,
    }
}

/// Raises the version of the file's form to what this version of the operators needs.
pub(super) fn raise_form_version(version: &mut Option<i64>, opset: i64) {
    *version = Some(version.unwrap_or(0).max(form_version(opset)));
}

impl Editor<'_> {
    /// Writes the graph with the operators of version `to`.
    pub(super) fn raise_opset(&mut self, to: i64) -> Result<()> {
        let from = self.opset;
        if to == from {
            return Ok(());
        }
        if to < from {
            return Err(BackendError::unsupported_op(format!(
                "the model has opset {from}, and {to} is older"
            ))
            .with_help("Models are moved to newer opsets only. Export it again with the older one."));
        }
        if to > NEWEST || from < OLDEST {
            return Err(BackendError::unsupported_op(format!(
                "the model has opset {from}; models are moved from opset {OLDEST} on, up to {NEWEST}"
            )));
        }
        let values = Values::of(self.graph);
        let written = self.written;
        let mut nodes = std::mem::take(&mut self.graph.node);
        let added = nodes.split_off(written.min(nodes.len()));
        let raised = self.raised(nodes, (from, to), &values)?;
        self.written = raised.len();
        self.graph.node = raised;
        self.graph.node.extend(added);
        self.opset = to;
        Ok(())
    }

    fn raised(
        &mut self,
        nodes: Vec<NodeProto>,
        versions: (i64, i64),
        values: &Values,
    ) -> Result<Vec<NodeProto>> {
        let mut raised = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            for attribute in &mut node.attribute {
                for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                    let inner = std::mem::take(&mut graph.node);
                    graph.node = self.raised(inner, versions, values)?;
                }
            }
            match node.domain.as_deref().unwrap_or_default() {
                "" | "ai.onnx" => self.raise(node, versions, values, &mut raised)?,
                _ => raised.push(node),
            }
        }
        Ok(raised)
    }

    fn raise(
        &mut self,
        mut node: NodeProto,
        (from, to): (i64, i64),
        values: &Values,
        raised: &mut Vec<NodeProto>,
    ) -> Result<()> {
        let crosses = |version: i64| from < version && version <= to;
        let kind = node.op_type.clone().unwrap_or_default();
        match kind.as_str() {
            "Squeeze" | "Unsqueeze" | "ReduceSum" if crosses(13) => self.move_to_input(&mut node, "axes", 1),
            "ReduceMax" | "ReduceMin" | "ReduceMean" | "ReduceProd" | "ReduceL1" | "ReduceL2"
            | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceSumSquare"
                if crosses(18) =>
            {
                self.move_to_input(&mut node, "axes", 1);
            }
            "Split" => {
                if crosses(13) {
                    self.move_to_input(&mut node, "split", 1);
                }
                let has_sizes = node.input.get(1).is_some_and(|name| !name.is_empty());
                if crosses(18) && !has_sizes {
                    let count = node.output.len() as i64;
                    node.attribute.push(whole("num_outputs", count));
                }
            }
            "Softmax" | "LogSoftmax" | "Hardmax" if crosses(13) => {
                self.raise_softmax(node, values, raised);
                return Ok(());
            }
            "Dropout" if crosses(12) => {
                // Nothing is dropped but in training.
                node.attribute.retain(|attribute| attribute.name.as_deref() != Some("ratio"));
            }
            "Clip" if crosses(11) => {
                self.move_number_to_input(&mut node, values, "min", 1);
                self.move_number_to_input(&mut node, values, "max", 2);
            }
            "Pad" if crosses(11) => {
                self.move_to_input(&mut node, "pads", 1);
                self.move_number_to_input(&mut node, values, "value", 2);
            }
            "Slice" if crosses(10) => {
                for (slot, name) in ["starts", "ends", "axes"].into_iter().enumerate() {
                    self.move_to_input(&mut node, name, slot + 1);
                }
            }
            "TopK" if crosses(10) => self.move_to_input(&mut node, "k", 1),
            "Upsample" if crosses(10) => {
                if from < 9 {
                    self.move_numbers_to_input(&mut node, "scales", 1);
                }
                node.op_type = Some("Resize".to_owned());
                if to >= 11 {
                    as_upsampled(&mut node);
                }
            }
            "Resize" if crosses(11) => as_upsampled(&mut node),
            "Scatter" if crosses(11) => node.op_type = Some("ScatterElements".to_owned()),
            "RoiAlign" if crosses(16) => {
                node.attribute.push(text("coordinate_transformation_mode", "output_half_pixel"));
            }
            "GridSample" if crosses(20) => {
                for attribute in
                    node.attribute.iter_mut().filter(|found| found.name.as_deref() == Some("mode"))
                {
                    match attribute.s.as_deref() {
                        Some(b"bilinear") => attribute.s = Some(b"linear".to_vec().into()),
                        Some(b"bicubic") => attribute.s = Some(b"cubic".to_vec().into()),
                        _ => {}
                    }
                }
            }
            "BatchNormalization" if from < 14 => {
                if int(&node, "spatial") == Some(0)
                    || node.output.iter().filter(|name| !name.is_empty()).count() > 1
                {
                    return Err(unknown(&node, "as it is in training"));
                }
                node.attribute.retain(|attribute| attribute.name.as_deref() != Some("spatial"));
                node.output.truncate(1);
            }
            "GroupNormalization" if crosses(21) => {
                return Err(unknown(&node, "whose inputs opset 21 changed"));
            }
            "DFT" if crosses(20) => return Err(unknown(&node, "whose inputs opset 20 changed")),
            "Scan" if crosses(9) => return Err(unknown(&node, "whose inputs opset 9 changed")),
            _ => {}
        }
        raised.push(node);
        Ok(())
    }

    /// Before opset 13 the dimensions from the axis on were one, afterwards it is that axis alone.
    fn raise_softmax(&mut self, mut node: NodeProto, values: &Values, raised: &mut Vec<NodeProto>) {
        let axis = int(&node, "axis").unwrap_or(1);
        let input = node.input.first().cloned().unwrap_or_default();
        let shape = values.shape(&input);
        let is_last = axis == -1
            || shape.is_some_and(|shape| {
                let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
                // Dimensions of 1 behind it are one with it in any case.
                let behind = usize::try_from(axis).ok().and_then(|axis| shape.get(axis + 1..));
                behind.is_some_and(|behind| behind.iter().all(|size| *size == Some(1)))
            });
        node.attribute.retain(|attribute| attribute.name.as_deref() != Some("axis"));
        if is_last {
            node.attribute.push(whole("axis", axis));
            raised.push(node);
            return;
        }
        let output = node.output.first().cloned().unwrap_or_default();
        let [sizes, flat, soft] =
            ["shape", "flat", "soft"].map(|part| self.fresh(&format!("{output}_{part}")));
        let simple = |op_type: &str, input: Vec<String>, output: &str, attribute| NodeProto {
            op_type: Some(op_type.to_owned()),
            name: Some(format!("{output}/{op_type}")),
            input,
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        };
        raised.push(simple("Shape", vec![input.clone()], &sizes, Vec::new()));
        raised.push(simple("Flatten", vec![input], &flat, vec![whole("axis", axis)]));
        node.attribute.push(whole("axis", -1));
        raised.push(NodeProto { input: vec![flat], output: vec![soft.clone()], ..node });
        raised.push(simple("Reshape", vec![soft, sizes], &output, Vec::new()));
    }

    /// An attribute of whole numbers as an input.
    fn move_to_input(&mut self, node: &mut NodeProto, name: &str, slot: usize) {
        let Some(found) = taken(node, name) else { return };
        let numbers = if found.ints.is_empty() { found.i.into_iter().collect() } else { found.ints };
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.give_input(node, (name, slot), DType::INT64, Some(numbers.len()), &bytes);
    }

    /// An attribute of one real number as an input, of the type of what the node reads.
    fn move_number_to_input(&mut self, node: &mut NodeProto, values: &Values, name: &str, slot: usize) {
        let Some(number) = taken(node, name).and_then(|found| found.f) else { return };
        let real = values.real_type(node);
        self.give_input(node, (name, slot), real, None, &real_bytes(f64::from(number), real));
    }

    /// An attribute of real numbers as an input.
    fn move_numbers_to_input(&mut self, node: &mut NodeProto, name: &str, slot: usize) {
        let Some(found) = taken(node, name) else { return };
        let bytes: Vec<u8> = found.floats.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.give_input(node, (name, slot), DType::FLOAT32, Some(found.floats.len()), &bytes);
    }

    fn give_input(
        &mut self,
        node: &mut NodeProto,
        (name, slot): (&str, usize),
        dtype: DType,
        count: Option<usize>,
        bytes: &[u8],
    ) {
        let output = node.output.first().cloned().unwrap_or_default();
        let stored = self.fresh(&format!("{output}_{name}"));
        let dims = count.map(|count| count as i64).into_iter().collect();
        self.add_tensor(stored.clone(), dtype, dims, bytes);
        if node.input.len() <= slot {
            node.input.resize(slot + 1, String::new());
        }
        node.input[slot] = stored;
    }
}

/// Before opset 11 there was one way to place pixels, and no regions: x, scales.
fn as_upsampled(node: &mut NodeProto) {
    node.input.insert(1, String::new());
    node.attribute.push(text("coordinate_transformation_mode", "asymmetric"));
    node.attribute.push(text("nearest_mode", "floor"));
}

fn taken(node: &mut NodeProto, name: &str) -> Option<AttributeProto> {
    let place = node.attribute.iter().position(|attribute| attribute.name.as_deref() == Some(name))?;
    Some(node.attribute.remove(place))
}

fn unknown(node: &NodeProto, what: &str) -> BackendError {
    let name = node.name.as_deref().filter(|name| !name.is_empty());
    let name = name.or(node.output.first().map(String::as_str)).unwrap_or_default();
    BackendError::unsupported_op(format!(
        "`{name}` is a `{}` {what}: the model cannot be moved to this opset",
        node.op_type.as_deref().unwrap_or_default()
    ))
    .with_help("Export it again with the newer opset.")
}

fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        s: Some(text.as_bytes().to_vec().into()),
        r#type: Some(code::STRING),
        ..AttributeProto::default()
    }
}

/// What the graph says of its values.
struct Values(HashMap<String, (DType, Option<Sizes>)>);

/// The sizes of dimensions, `None` for those that are not fixed.
type Sizes = Vec<Option<i64>>;

impl Values {
    fn of(graph: &GraphProto) -> Self {
        let of_type = |kind: &TypeProto| match kind.value.as_ref()? {
            Value::TensorType(tensor) => {
                let size = |dim: &crate::proto::tensor_shape_proto::Dimension| match dim.value {
                    Some(Size::DimValue(size)) => Some(size),
                    _ => None,
                };
                let shape = tensor.shape.as_ref().map(|shape| shape.dim.iter().map(size).collect());
                Some((dtype(tensor.elem_type), shape))
            }
            _ => None,
        };
        let values = graph.value_info.iter().chain(&graph.input).chain(&graph.output);
        let known = values.filter_map(|value| Some((value.name.clone()?, of_type(value.r#type.as_ref()?)?)));
        let stored = graph.initializer.iter().filter_map(|tensor| {
            let shape = tensor.dims.iter().map(|size| Some(*size)).collect();
            Some((tensor.name.clone()?, (dtype(tensor.data_type), Some(shape))))
        });
        Self(known.chain(stored).collect())
    }

    /// The sizes of a value's dimensions.
    fn shape(&self, name: &str) -> Option<&[Option<i64>]> {
        self.0.get(name)?.1.as_deref()
    }

    /// The type of the real numbers that a node reads; float32 if the graph does not say.
    fn real_type(&self, node: &NodeProto) -> DType {
        let known = node.input.first().and_then(|name| self.0.get(name)).map(|(dtype, _)| *dtype);
        known.filter(|dtype| matches!(*dtype, DType::FLOAT16 | DType::FLOAT64)).unwrap_or(DType::FLOAT32)
    }
}
