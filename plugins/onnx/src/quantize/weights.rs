//! The plan where no activation is calibrated: weights become codes, and layers round what they read at each run, as
//! `quantize_dynamic` has it, or compute with real numbers.

use super::operator::{input_axis, op};
use super::plan::{excluded, left_out, paths};
use crate::edit::{int, is_plain_product};
use crate::proto::{ModelProto, NodeProto, TensorProto, dtype};
use qp_abi::sdk::{
    Activations, DType, FloatReason, ModelInfo, Quantizable, QuantizableLayer, QuantizableOf,
    QuantizableTensor,
};
use std::collections::HashMap;

/// A stored tensor that a layer reads as its weight.
struct Weight {
    slot: usize,
    /// The axis of its channels.
    axis: Option<u32>,
    input_axis: Option<u32>,
    is_operand: bool,
    is_signed: bool,
}

/// What of the model can be quantized so.
pub(super) fn plan(model: &ModelProto, info: &ModelInfo, of: &QuantizableOf) -> Quantizable {
    let Some(graph) = &model.graph else { return Quantizable::default() };
    let stored: HashMap<&str, &TensorProto> =
        graph.initializer.iter().filter_map(|tensor| Some((tensor.name.as_deref()?, tensor))).collect();
    let values = info.values.iter().chain(&info.outputs).chain(&info.inputs);
    let types: HashMap<&str, DType> = values.map(|value| (value.name.as_str(), value.dtype)).collect();
    let nodes = Nodes { of, stored, types };
    let mut plan = Quantizable::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (node, path) in graph.node.iter().zip(paths(&graph.node, info)) {
        if path.is_empty() {
            continue;
        }
        let reason = nodes.quantize(node, &path, &mut plan, &mut places).err();
        plan.layers.push(QuantizableLayer { layer: path, reason });
    }
    plan
}

struct Nodes<'a> {
    of: &'a QuantizableOf,
    stored: HashMap<&'a str, &'a TensorProto>,
    types: HashMap<&'a str, DType>,
}

impl Nodes<'_> {
    /// Adds the weights of a layer to the plan, all of them or none.
    fn quantize(
        &self,
        node: &NodeProto,
        path: &str,
        plan: &mut Quantizable,
        places: &mut HashMap<String, usize>,
    ) -> Result<(), FloatReason> {
        let kind = op(node);
        let is_named = self.of.op_types.is_empty() || self.of.op_types.contains(kind);
        if self.of.exclude.contains(path) {
            return Err(excluded());
        }
        if !is_named {
            return Err(left_out(kind));
        }
        let weights = self.weights(node)?;
        let mut added = Vec::new();
        for weight in weights {
            let name = node.input.get(weight.slot).cloned().unwrap_or_default();
            let Some(tensor) = self.stored.get(name.as_str()) else {
                let text = "its weight is computed, not stored";
                return Err(FloatReason::new("weight", text, ""));
            };
            if !self.takes(dtype(tensor.data_type)) {
                return Err(FloatReason::new("type", "its weight is not of a type that can be rounded", ""));
            }
            added.push(QuantizableTensor {
                name,
                axis: weight.axis,
                input_axis: weight.input_axis,
                is_operand: weight.is_operand,
                is_signed: weight.is_signed,
                ..QuantizableTensor::default()
            });
        }
        let fits = |new: &QuantizableTensor| {
            let old = places.get(&new.name).map(|place| &plan.tensors[*place]);
            old.is_none_or(|old| {
                (old.axis, old.input_axis, old.is_operand) == (new.axis, new.input_axis, new.is_operand)
            })
        };
        if !added.iter().all(fits) {
            let text = "another layer reads its weight in another way";
            return Err(FloatReason::new("shared", text, ""));
        }
        let value = node.output.iter().find(|name| !name.is_empty()).cloned().unwrap_or_default();
        for new in added {
            let place = *places.entry(new.name.clone()).or_insert_with(|| {
                plan.tensors.push(new);
                plan.tensors.len() - 1
            });
            plan.tensors[place].layers.push(path.to_owned());
            plan.tensors[place].values.push(value.clone());
        }
        Ok(())
    }

    fn takes(&self, dtype: DType) -> bool {
        // `DynamicQuantizeLinear` reads float32 alone.
        dtype == DType::FLOAT32 || dtype == DType::FLOAT16 && self.of.activations == Activations::Float
    }

    /// The weights that a layer multiplies with.
    fn weights(&self, node: &NodeProto) -> Result<Vec<Weight>, FloatReason> {
        let kind = op(node);
        let is_dynamic = self.of.activations == Activations::Dynamic;
        let is_standard = node.domain.as_deref().unwrap_or_default().is_empty();
        let rank = |slot: usize| {
            node.input
                .get(slot)
                .and_then(|name| self.stored.get(name.as_str()))
                .map(|tensor| tensor.dims.len())
        };
        let one = |axis: Option<u32>, input_axis| {
            let axis = axis.filter(|_| self.of.per_channel);
            Ok(vec![Weight { slot: 1, axis, input_axis, is_operand: false, is_signed: false }])
        };
        let found = match kind {
            _ if !is_standard => Err(left_out(kind)),
            "Conv" if is_dynamic => one(None, None),
            "Conv" if !self.of.in_blocks => one(Some(0), None),
            "ConvTranspose" if !is_dynamic && !self.of.in_blocks => one(Some(1), None),
            "MatMul" => match rank(1) {
                None => Err(FloatReason::new("weight", "its weight is computed, not stored", "")),
                Some(2) => one(Some(1), input_axis(node)),
                Some(rank) if rank > 2 && !self.of.in_blocks => one(u32::try_from(rank - 1).ok(), None),
                Some(_) => Err(FloatReason::new("shape", "its weight is not a matrix", "")),
            },
            "Gemm" => {
                let is_product = is_plain_product(node) || !is_dynamic && !self.of.in_blocks;
                let inputs = input_axis(node);
                match is_product {
                    true => one(inputs.map(|axis| 1 - axis), inputs),
                    false => Err(FloatReason::new("form", "it is more than a product and a sum", "")),
                }
            }
            "Gather" if is_dynamic && rank(0).is_some() => {
                Ok(vec![Weight { slot: 0, axis: None, input_axis: None, is_operand: true, is_signed: false }])
            }
            "Gather" if is_dynamic => {
                Err(FloatReason::new("weight", "what it picks from is computed, not stored", ""))
            }
            "LSTM" if is_dynamic => {
                if int(node, "layout").unwrap_or(0) != 0 || rank(1) != Some(3) || rank(2) != Some(3) {
                    Err(FloatReason::new("form", "its weights are not stored, or in another layout", ""))
                } else {
                    // Of the shape (directions, 4 · hidden size, inputs), with a scale for each direction at least.
                    let directions =
                        self.stored.get(node.input[1].as_str()).map_or(0, |weight| weight.dims[0]);
                    let axis = Some(u32::from(self.of.per_channel && directions == 1));
                    let weight =
                        |slot| Weight { slot, axis, input_axis: None, is_operand: false, is_signed: true };
                    Ok(vec![weight(1), weight(2)])
                }
            }
            _ => Err(left_out(kind)),
        }?;
        let input = node.input.first().filter(|_| kind != "Gather");
        let is_real = |name: &String| self.types.get(name.as_str()).is_some_and(|dtype| self.takes(*dtype));
        match input {
            Some(name) if !is_real(name) => {
                Err(FloatReason::new("type", "what it reads is not of a type that can be rounded", ""))
            }
            _ => Ok(found),
        }
    }
}
