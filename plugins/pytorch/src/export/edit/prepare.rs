//! What a quantizer does to a program before: batch normalizations become part of convolutions, and what only passes on
//! goes.

use super::super::json;
use super::super::layers::target;
use super::super::operator::{is_no_op, stem};
use super::super::wiring::first_operand;
use super::editor::{Editor, set_reads};
use super::store::Fresh;
use qp_abi::sdk::{DType, Result};
use serde_json::{Value, json};

/// The ε of a batch normalization that gives none.
const EPSILON: f64 = 1e-5;

impl Editor<'_> {
    pub(super) fn prepare(&mut self) -> Result<()> {
        self.remove_no_ops();
        let mut place = 0;
        while place < self.nodes.len() {
            if !self.fold(place)? {
                place += 1;
            }
        }
        Ok(())
    }

    /// Lets all read what a node without effect is given. One whose result is returned stays.
    fn remove_no_ops(&mut self) {
        let mut place = 0;
        while let Some(node) = self.nodes.get(place) {
            let operand = first_operand(node).map(str::to_owned);
            let result = json::results(node).next().map(str::to_owned);
            if let (true, Some(operand), Some(result)) = (is_no_op(node), operand, result)
                && !self.returned.contains(&result)
                && operand != result
            {
                self.nodes.remove(place);
                self.nodes.iter_mut().for_each(|node| set_reads(node, &result, &operand));
                self.values.remove(&result);
            } else {
                place += 1;
            }
        }
    }

    /// Folds the normalization at a place into the convolution before it, whose result then has the normalization's name.
    fn fold(&mut self, place: usize) -> Result<bool> {
        let Some(normalization) = self.nodes.get(place).filter(|node| is_normalization(node)) else {
            return Ok(false);
        };
        let Some(result) = json::results(normalization).next().map(str::to_owned) else { return Ok(false) };
        let Some(read) = first_operand(normalization).map(str::to_owned) else { return Ok(false) };
        let wiring = self.wiring();
        let others = json::results(normalization).skip(1);
        let is_used =
            others.into_iter().any(|name| !wiring.readers(name).is_empty() || self.returned.contains(name));
        let Some(before) = wiring.maker(&read).filter(|before| *before < place) else { return Ok(false) };
        let is_alone = wiring.readers(&read).len() == 1 && !self.returned.contains(&read);
        if is_used || !is_alone {
            return Ok(false);
        }
        let Some(folded) = self.folded(before, place)? else { return Ok(false) };
        let normalization = self.nodes.remove(place);
        let names: Vec<String> = json::results(&normalization).map(str::to_owned).collect();
        for name in names.iter().filter(|name| **name != result) {
            self.values.remove(name);
        }
        let weight = self.stored_weight(&folded, before)?;
        let bias = self.stored_bias(&folded)?;
        let Some(convolution) = self.nodes.get_mut(before) else { return Ok(false) };
        set_reads(convolution, &folded.weight_in_graph, &weight);
        set_bias(convolution, &bias);
        // By the name of what it computes now, which others know.
        if let Some(outputs) = convolution.get_mut("outputs") {
            *outputs = json!([{"as_tensor": {"name": result}}]);
        }
        if let Some(name) = convolution.get_mut("name") {
            *name = Value::String(result);
        }
        self.values.remove(&read);
        Ok(true)
    }

    /// The weight in the place of the one before, or beside it if others read that.
    fn stored_weight(&mut self, folded: &Folded, convolution: usize) -> Result<String> {
        let fresh = Fresh {
            dtype: DType::FLOAT32,
            shape: folded.shape.clone(),
            bytes: folded.weight.iter().flat_map(|number| number.to_le_bytes()).collect(),
            is_parameter: true,
        };
        let wiring = self.wiring();
        let is_own = self.in_graph(&folded.weight_name).count() == 1
            && wiring.readers(&folded.weight_in_graph) == [convolution]
            && !self.returned.contains(&folded.weight_in_graph);
        if is_own {
            self.store.put(&folded.weight_name, fresh)?;
            return Ok(folded.weight_in_graph.clone());
        }
        self.add_stored(&folded.weight_name, fresh)
    }

    /// The bias, which the convolution may not have had.
    fn stored_bias(&mut self, folded: &Folded) -> Result<String> {
        let name = match folded.weight_name.strip_suffix("weight") {
            Some(module) => format!("{module}bias"),
            None => format!("{}_bias", folded.weight_name),
        };
        let fresh = Fresh {
            dtype: DType::FLOAT32,
            shape: vec![i64::try_from(folded.bias.len()).unwrap_or(i64::MAX)],
            bytes: folded.bias.iter().flat_map(|number| number.to_le_bytes()).collect(),
            is_parameter: true,
        };
        if let Some((in_graph, name)) = &folded.old_bias
            && self.in_graph(name).count() == 1
            && self.wiring().readers(in_graph).len() == 1
            && !self.returned.contains(in_graph)
        {
            self.store.put(name, fresh)?;
            return Ok(in_graph.clone());
        }
        self.add_stored(&name, fresh)
    }

    /// The weight and bias of a convolution with the normalization behind it; `None` if it cannot be folded.
    fn folded(&self, convolution: usize, normalization: usize) -> Result<Option<Folded>> {
        let (Some(convolution), Some(normalization)) =
            (self.nodes.get(convolution), self.nodes.get(normalization))
        else {
            return Ok(None);
        };
        let Some(axis) = output_axis(convolution) else { return Ok(None) };
        // The name in the graph, and that of the tensor.
        let stored = |node: &Value, at: usize| -> Option<(String, String)> {
            let names = json::tensor_names(json::inputs(node).nth(at)?);
            let in_graph = names.first()?;
            Some(((*in_graph).to_owned(), self.stored_name(in_graph)?.to_owned()))
        };
        let Some((weight_in_graph, weight_name)) = stored(convolution, 1) else { return Ok(None) };
        let Some((shape, mut weight)) = self.store.reals(&weight_name)? else { return Ok(None) };
        let channels = shape.get(axis).and_then(|size| usize::try_from(*size).ok()).unwrap_or(0);
        if channels == 0 {
            return Ok(None);
        }
        let is_absent = |node: &Value, at: usize| {
            json::inputs(node).nth(at).is_none_or(|argument| argument.get("as_none").is_some())
        };
        let of_channels = |node: &Value, at: usize, absent: f32| -> Result<Option<Vec<f32>>> {
            if is_absent(node, at) {
                return Ok(Some(vec![absent; channels]));
            }
            let Some((_, name)) = stored(node, at) else { return Ok(None) };
            Ok(self
                .store
                .reals(&name)?
                .map(|(_, numbers)| numbers)
                .filter(|numbers| numbers.len() == channels))
        };
        let part = |at: usize, absent: f32| of_channels(normalization, at, absent);
        let (Some(scale), Some(shift), Some(mean), Some(variance), Some(bias)) = (
            part(1, 1.0)?,
            part(2, 0.0)?,
            part(3, f32::NAN)?,
            part(4, f32::NAN)?,
            of_channels(convolution, 2, 0.0)?,
        ) else {
            return Ok(None);
        };
        let epsilon = json::argument(normalization, "eps").and_then(json::number).unwrap_or(EPSILON);
        let factors: Vec<f64> = (scale.iter().zip(&variance))
            .map(|(scale, variance)| f64::from(*scale) / (f64::from(*variance) + epsilon).sqrt())
            .collect();
        let inner = shape.get(axis + 1..).unwrap_or_default().iter();
        let inner =
            inner.fold(1_usize, |size, next| size.saturating_mul(usize::try_from(*next).unwrap_or(0)));
        for (index, number) in weight.iter_mut().enumerate() {
            let factor = factors.get(index / inner.max(1) % channels).copied().unwrap_or(1.0);
            *number = (f64::from(*number) * factor) as f32;
        }
        let parts = bias.iter().zip(&mean).zip(factors.iter().zip(&shift));
        let bias = parts
            .map(|((bias, mean), (factor, shift))| {
                ((f64::from(*bias) - f64::from(*mean)) * factor + f64::from(*shift)) as f32
            })
            .collect::<Vec<f32>>();
        if !weight.iter().chain(&bias).all(|number| number.is_finite()) {
            return Ok(None);
        }
        let old_bias = stored(convolution, 2);
        Ok(Some(Folded { weight_in_graph, weight_name, shape, weight, bias, old_bias }))
    }
}

struct Folded {
    weight_in_graph: String,
    weight_name: String,
    shape: Vec<i64>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    /// The bias before, if there was one: its names in the graph and in the file.
    old_bias: Option<(String, String)>,
}

/// As it is after training.
fn is_normalization(node: &Value) -> bool {
    match target(node) {
        ("aten", "batch_norm") => {
            json::argument(node, "training").and_then(|flag| flag.get("as_bool")?.as_bool()) == Some(false)
        }
        ("aten", "_native_batch_norm_legit_no_training") => true,
        _ => false,
    }
}

/// The axis of a convolution's weight along which its results are; not for transposed ones in groups.
fn output_axis(node: &Value) -> Option<usize> {
    let groups = json::argument(node, "groups").map_or(Some(1.0), json::number)?;
    match stem(node) {
        "conv1d" | "conv2d" | "conv3d" => Some(0),
        "conv_transpose1d" | "conv_transpose2d" | "conv_transpose3d" if groups == 1.0 => Some(1),
        "convolution" => {
            let is_transposed = json::argument(node, "transposed")?.get("as_bool")?.as_bool()?;
            match (is_transposed, groups == 1.0) {
                (false, _) => Some(0),
                (true, true) => Some(1),
                (true, false) => None,
            }
        }
        _ => None,
    }
}

/// Gives a convolution a bias, its third argument.
fn set_bias(node: &mut Value, bias: &str) {
    let argument = json!({"name": "bias", "arg": {"as_tensor": {"name": bias}}, "kind": 1});
    let Some(inputs) = node.get_mut("inputs").and_then(Value::as_array_mut) else { return };
    match inputs.iter_mut().find(|input| input.get("name").and_then(Value::as_str) == Some("bias")) {
        Some(input) => *input = argument,
        None => inputs.insert(2.min(inputs.len()), argument),
    }
}
