//! Scales and zero points of an edit, checked; and those that the graph has already.

use super::super::json;
use super::super::layers::{self, node_target, target};
use super::super::wiring::Wiring;
use super::editor::Editor;
use super::store::Fresh;
use crate::quant::dtype::export_type;
use qp_abi::sdk::{BackendError, DType, Edit, Result};
use serde_json::{Value, json};
use std::collections::HashSet;

/// What codes mean: real = (code − zero point) · scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// Each a float32.
    pub scales: Vec<f64>,
    pub zero_points: Vec<i64>,
    pub axis: Option<usize>,
    /// The type of the codes as they are stored: one byte for those of 4 bits.
    pub dtype: DType,
    /// The codes that are used.
    pub bounds: (i64, i64),
}

impl Affine {
    /// Checks numbers from outside.
    ///
    /// # Errors
    /// `UnsupportedOp` for a type that the operators have no codes of, `InvalidInput` for what are no scales and zero points.
    pub fn new(
        scales: Vec<f64>,
        zero_points: &[f64],
        dtype: DType,
        axis: Option<usize>,
        target: &str,
    ) -> Result<Self> {
        let target = target.escape_debug();
        let (stored, bounds) = match dtype {
            DType::INT4 => (DType::INT8, (-8, 7)),
            DType::UINT4 => (DType::UINT8, (0, 15)),
            DType::INT8 | DType::UINT8 | DType::INT16 | DType::UINT16 | DType::INT32 => {
                let Some(bounds) = dtype.code_range() else {
                    return Err(BackendError::internal("a type of codes without a range"));
                };
                (dtype, bounds)
            }
            other => {
                return Err(BackendError::unsupported_op(format!(
                    "`quantized_decomposed` has no codes of {other}"
                )));
            }
        };
        if scales.len() != zero_points.len() {
            return Err(BackendError::invalid_input(format!(
                "`{target}` would have {} scales and {} zero points",
                scales.len(),
                zero_points.len()
            )));
        }
        if axis.is_none() && scales.len() != 1 {
            return Err(BackendError::invalid_input(format!("`{target}` needs an axis for its scales")));
        }
        let is_scale = |scale: &f64| (*scale as f32).is_finite() && *scale as f32 > 0.0;
        if let Some(wrong) = scales.iter().find(|scale| !is_scale(scale)) {
            return Err(BackendError::invalid_input(format!("{wrong} is not a scale for `{target}`")));
        }
        let is_code =
            |point: &f64| point.fract() == 0.0 && (bounds.0 as f64..=bounds.1 as f64).contains(point);
        if let Some(wrong) = zero_points.iter().find(|point| !is_code(point)) {
            return Err(BackendError::invalid_input(format!(
                "the zero point {wrong} is not a code of {dtype} for `{target}`"
            )));
        }
        Ok(Self {
            scales: scales.iter().map(|scale| f64::from(*scale as f32)).collect(),
            zero_points: zero_points.iter().map(|point| *point as i64).collect(),
            axis,
            dtype: stored,
            bounds,
        })
    }

    /// The number that programs write for the type of the codes.
    pub fn type_code(&self) -> Result<i64> {
        export_type(self.dtype).ok_or_else(|| BackendError::internal("a type of codes without a number"))
    }
}

/// Whether a node makes codes of real numbers, with parameters that are in the file.
pub fn is_quantize(node: &Value) -> bool {
    target(node).0 == layers::QUANTIZERS && target(node).1.starts_with("quantize_per_")
}

/// Whether a node makes real numbers of codes, in the same way.
pub fn is_dequantize(node: &Value) -> bool {
    target(node).0 == layers::QUANTIZERS && target(node).1.starts_with("dequantize_per_")
}

impl Editor<'_> {
    /// Gives codes another scale and zero point: everywhere in the graph where they are made or read.
    pub(super) fn set_quantization(&mut self, edit: &Edit) -> Result<()> {
        let places = self.quantizers_of(&edit.target)?;
        if places.is_empty() {
            return Err(BackendError::unsupported_op(format!(
                "no operator of the graph says what the codes of `{}` mean",
                edit.target.escape_debug()
            )));
        }
        let scales = super::numbers(edit, "scales")?;
        let axis = (scales.len() > 1).then_some(0);
        let zero_points = super::numbers(edit, "zero-points")?;
        let new = Affine::new(scales, &zero_points, edit.dtype, axis, &edit.target)?;
        for place in places.iter().copied() {
            self.check_count(place, new.scales.len())?;
        }
        for (key, plural) in [("scale", "scales"), ("zero_point", "zero_points")] {
            self.set_numbers(&places, (key, plural), &new)?;
        }
        Ok(())
    }

    /// The places of the nodes that make or read the codes of a value, of what it is rounded to, or of a stored tensor.
    fn quantizers_of(&self, name: &str) -> Result<Vec<usize>> {
        let mut known: HashSet<&str> = HashSet::new();
        known.extend(self.in_graph(name));
        let reads = |node: &Value, name: &str| input_of(node) == Some(name);
        let computes = |node: &Value, name: &str| json::results(node).any(|result| result == name);
        for node in &self.nodes {
            if is_quantize(node) && (reads(node, name) || computes(node, name)) {
                known.extend(json::results(node));
            }
            if is_dequantize(node) && computes(node, name) {
                known.extend(input_of(node));
            }
        }
        if known.is_empty() && !self.has_value(name) {
            let message = format!("the program has no value `{}`", name.escape_debug());
            return Err(BackendError::not_found(message));
        }
        let is_one = |node: &Value| {
            is_quantize(node) && json::results(node).any(|result| known.contains(result))
                || is_dequantize(node) && input_of(node).is_some_and(|input| known.contains(input))
        };
        Ok((0..self.nodes.len()).filter(|place| self.nodes.get(*place).is_some_and(is_one)).collect())
    }

    /// A scale for each channel in place of one is another operator.
    fn check_count(&self, place: usize, count: usize) -> Result<()> {
        let Some(node) = self.nodes.get(place) else { return Ok(()) };
        let given = json::argument(node, "scale").or_else(|| json::argument(node, "scales"));
        let has = match given.map(json::tensor_names).as_deref() {
            Some([name]) => {
                let Some(stored) = self.stored_name(name) else {
                    return Err(BackendError::unsupported_op(format!(
                        "`{name}` is computed, and cannot be set"
                    )));
                };
                let (_, shape) = self.store.describe(stored)?;
                qp_abi::sdk::element_count(&shape).unwrap_or(0)
            }
            _ => 1,
        };
        if count != 1 && has != count as u64 {
            let name = node_target(node);
            return Err(BackendError::invalid_input(format!("`{name}` has {has} scales here, not {count}")));
        }
        Ok(())
    }

    /// Writes numbers into all these nodes: as arguments, or into the stored tensors that are their arguments.
    fn set_numbers(&mut self, places: &[usize], names: (&str, &str), new: &Affine) -> Result<()> {
        let is_scale = names.0 == "scale";
        for place in places.iter().copied() {
            let Some(node) = self.nodes.get(place) else { continue };
            let given = json::argument(node, names.0).or_else(|| json::argument(node, names.1));
            let stored =
                given.map(json::tensor_names).and_then(|names| names.first().map(|name| (*name).to_owned()));
            if let Some(in_graph) = stored {
                self.replace_numbers(&in_graph, places, is_scale, new)?;
                continue;
            }
            let value = match is_scale {
                true => json!({"as_float": new.scales.first()}),
                false => json!({"as_int": new.zero_points.first()}),
            };
            if let Some(node) = self.nodes.get_mut(place) {
                set_argument(node, names.0, value);
            }
        }
        Ok(())
    }

    /// Other numbers in a stored tensor of scales or zero points; in a new one, if more than these nodes read it.
    fn replace_numbers(
        &mut self,
        in_graph: &str,
        places: &[usize],
        is_scale: bool,
        new: &Affine,
    ) -> Result<()> {
        let missing = || BackendError::unsupported_op(format!("`{in_graph}` is computed, and cannot be set"));
        let name = self.stored_name(in_graph).ok_or_else(missing)?.to_owned();
        let (dtype, shape) = self.store.describe(&name)?;
        let count = usize::try_from(qp_abi::sdk::element_count(&shape).unwrap_or(0)).unwrap_or(0);
        let at = |index: usize| if new.scales.len() == 1 { 0 } else { index };
        let mut bytes = Vec::new();
        for index in 0..count {
            let scale = new.scales.get(at(index)).copied().unwrap_or(1.0);
            let point = new.zero_points.get(at(index)).copied().unwrap_or(0);
            match (is_scale, dtype) {
                (true, DType::FLOAT32) => bytes.extend((scale as f32).to_le_bytes()),
                (true, DType::FLOAT64) => bytes.extend(scale.to_le_bytes()),
                (false, DType::INT64) => bytes.extend(point.to_le_bytes()),
                (false, DType::INT32) => bytes.extend((point as i32).to_le_bytes()),
                (false, DType::INT8 | DType::UINT8) => bytes.extend((point as u8).to_le_bytes()),
                (false, DType::FLOAT32) => bytes.extend((point as f32).to_le_bytes()),
                _ => {
                    return Err(BackendError::unsupported_op(format!(
                        "`{name}` holds {dtype}, which is not written"
                    )));
                }
            }
        }
        let fresh = Fresh { dtype, shape, bytes: bytes.into(), is_parameter: false };
        let wiring = Wiring::of(&self.nodes, None);
        let is_own = wiring.readers(in_graph).iter().all(|reader| places.contains(reader));
        // Another name in the graph may stand for the same tensor.
        if is_own && self.in_graph(&name).count() == 1 {
            return self.store.put(&name, fresh);
        }
        let copy = self.add_stored(&name, fresh)?;
        for place in places {
            if let Some(node) = self.nodes.get_mut(*place) {
                super::editor::set_reads(node, in_graph, &copy);
            }
        }
        Ok(())
    }
}

/// The value or stored tensor that a quantizer reads.
pub fn input_of(node: &Value) -> Option<&str> {
    json::tensor_names(json::argument(node, "input")?).first().copied()
}

/// Gives an argument of a node another value.
fn set_argument(node: &mut Value, name: &str, value: Value) {
    let inputs = node.get_mut("inputs").and_then(Value::as_array_mut).into_iter().flatten();
    for input in inputs.filter(|input| input.get("name").and_then(Value::as_str) == Some(name)) {
        if let Some(arg) = input.get_mut("arg") {
            *arg = value.clone();
        }
    }
}
