//! Values that are rounded to codes and back.

use super::super::json;
use super::super::layers::{self, outputs};
use super::super::operator::is_in_place;
use super::super::wiring::first_operand;
use super::editor::{Editor, set_reads};
use super::parameters::{Affine, is_dequantize, is_quantize};
use qp_abi::sdk::{BackendError, DType, Edit, Result, lookup};
use serde_json::{Value, json};

impl Editor<'_> {
    /// Lets all nodes that compute with a value read it rounded: each through an operator of its own, as PT2E has it.
    pub(super) fn quantize_value(&mut self, edit: &Edit) -> Result<()> {
        let target = edit.target.to_string();
        if !self.has_value(&target) {
            let message = format!("the program has no value `{}`", target.escape_debug());
            return Err(BackendError::not_found(message));
        }
        let affine = match lookup(edit.arguments.as_slice(), "same-as") {
            Some(other) => self.affine_of(other)?,
            None => Affine::of(edit)?,
        };
        if affine.scales.len() != 1 {
            return Err(BackendError::invalid_input(format!(
                "the value `{target}` gets one scale, not {}",
                affine.scales.len()
            )));
        }
        if self.values.get(&target).map(json::dtype) != Some(DType::FLOAT32) {
            let message = format!("`{target}` holds no float32, the type that is rounded to codes");
            return Err(BackendError::unsupported_op(message));
        }
        let wiring = self.wiring();
        let is_rounded = |place: &usize| self.nodes.get(*place).is_some_and(is_quantize);
        let readers: Vec<usize> = wiring.readers(&target).to_vec();
        if readers.iter().any(is_rounded) {
            return Err(BackendError::invalid_input(format!("`{target}` is rounded to codes already")));
        }
        let changes = |place: &usize| {
            let node = self.nodes.get(*place).filter(|node| is_in_place(node));
            node.and_then(first_operand) == Some(&*target)
        };
        if readers.len() > 1 && readers.iter().any(changes) {
            return Err(BackendError::unsupported_op(format!(
                "`{target}` is changed in place while others read it"
            )));
        }
        let place = wiring.maker(&target).map_or(0, |maker| maker + 1);
        let codes = self.codes_of(&target, &affine)?;
        let (quantize, _) = self.quantizer("quantize_per_tensor", &target, &affine, Some(&codes))?;
        let mut added = vec![quantize];
        for reader in readers {
            // What only asks for the shape, or checks it, reads the value itself.
            if self.nodes.get(reader).is_none_or(|node| outputs(node).is_empty()) {
                continue;
            }
            let (node, result) = self.quantizer("dequantize_per_tensor", &codes, &affine, None)?;
            let meta = self.values.get(&target).cloned().unwrap_or_default();
            self.values.insert(result.clone(), meta);
            added.push(node);
            if let Some(node) = self.nodes.get_mut(reader) {
                set_reads(node, &target, &result);
            }
        }
        if added.len() > 1 {
            self.nodes.splice(place..place, added);
        } else {
            self.values.remove(&codes);
        }
        Ok(())
    }

    /// The name of the codes of a value, which the program then knows.
    fn codes_of(&mut self, target: &str, affine: &Affine) -> Result<String> {
        let codes = self.claim("quantize_per_tensor");
        let mut meta = self.values.get(target).cloned().unwrap_or_default();
        if let Some(entry) = meta.get_mut("dtype") {
            *entry = affine.type_code()?.into();
        }
        self.values.insert(codes.clone(), meta);
        Ok(codes)
    }

    /// The parameters of the codes of a value, or of a stored tensor.
    fn affine_of(&self, name: &str) -> Result<Affine> {
        let in_graph: Vec<&str> = self.in_graph(name).collect();
        let is_of = |node: &&Value| {
            let Some(input) = super::parameters::input_of(node) else { return false };
            is_quantize(node) && input == name || is_dequantize(node) && in_graph.contains(&input)
        };
        let node =
            self.nodes.iter().find(is_of).ok_or_else(|| {
                BackendError::not_found(format!("`{}` has no codes yet", name.escape_debug()))
            })?;
        let number = |name: &str| json::argument(node, name).and_then(json::number);
        let (Some(scale), Some(zero_point)) = (number("scale"), number("zero_point")) else {
            return Err(BackendError::invalid_input(format!("`{}` has several scales", name.escape_debug())));
        };
        let dtype = json::argument(node, "dtype").and_then(|dtype| dtype.get("as_scalar_type")?.as_i64());
        let dtype = dtype.and_then(crate::quant::dtype::from_export_type).map(|found| found.dtype);
        let dtype = dtype.ok_or_else(|| BackendError::corrupt_file("the codes of a value have no type"))?;
        let bound = |name: &str| json::argument(node, name).and_then(|bound| bound.get("as_int")?.as_i64());
        let mut affine = Affine::new(vec![scale], &[zero_point], dtype, None, name)?;
        if let (Some(low), Some(high)) = (bound("quant_min"), bound("quant_max")) {
            affine.bounds = (low, high);
        }
        Ok(affine)
    }

    /// A node that quantizes or dequantizes per tensor, and the name of what it computes.
    pub(super) fn quantizer(
        &mut self,
        operator: &str,
        input: &str,
        affine: &Affine,
        result: Option<&str>,
    ) -> Result<(Value, String)> {
        let parameters = [
            ("scale", json!({"as_float": affine.scales.first()})),
            ("zero_point", json!({"as_int": affine.zero_points.first()})),
        ];
        self.quantizer_with(operator, input, &parameters, affine, result)
    }

    /// A node that quantizes or dequantizes, with these arguments for scale and zero point.
    pub(super) fn quantizer_with(
        &mut self,
        operator: &str,
        input: &str,
        parameters: &[(&str, Value)],
        affine: &Affine,
        result: Option<&str>,
    ) -> Result<(Value, String)> {
        let result = result.map_or_else(|| self.claim(operator), str::to_owned);
        let rest = [
            ("quant_min", json!({"as_int": affine.bounds.0})),
            ("quant_max", json!({"as_int": affine.bounds.1})),
            ("dtype", json!({"as_scalar_type": affine.type_code()?})),
        ];
        let first = [("input", json!({"as_tensor": {"name": input}}))];
        let inputs: Vec<Value> = first
            .iter()
            .chain(parameters)
            .chain(&rest)
            .map(|(name, arg)| json!({"name": name, "arg": arg, "kind": 1}))
            .collect();
        let node = json!({
            "target": format!("torch.ops.{}.{operator}.default", layers::QUANTIZERS),
            "inputs": inputs,
            "outputs": [{"as_tensor": {"name": result}}],
            "metadata": self.metadata(),
            "is_hop_single_tensor_return": null,
            "name": result,
        });
        Ok((node, result))
    }

    /// What a node knows of the module that it is in: that of the whole.
    fn metadata(&self) -> Value {
        let stack = |node: &Value| {
            let stack = node.pointer("/metadata/nn_module_stack")?.as_str()?;
            stack.split(';').next().map(str::to_owned)
        };
        match self.nodes.iter().find_map(stack) {
            Some(whole) => json!({"nn_module_stack": whole}),
            None => json!({}),
        }
    }
}
