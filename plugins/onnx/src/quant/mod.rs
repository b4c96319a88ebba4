//! Quantization as the graph expresses it: which values and tensors are codes, what the codes mean, and how each
//! layer takes part.
//!
//! Values get their parameters as follows:
//!
//! - codes that an operator reads or writes: from the scale and zero point inputs of that operator;
//! - real numbers that a `DequantizeLinear` computes: they were rounded to those codes;
//! - real numbers that only `QuantizeLinear` nodes with the same parameters read: nothing in the graph sees them
//!   unrounded.
//!
//! A layer's `quantization` is `qoperator`, `dynamic` or `weight-only` by its operator. Any other layer that reads
//! the result of a `DequantizeLinear`, directly or through operators that only pass it on, is `qdq` if the model
//! quantizes activations that way anywhere, otherwise `weight-only`. `QuantizeLinear` and `DequantizeLinear` nodes
//! have the form of the graph that they are part of, `qdq` or `weight-only`.

mod belonging;
pub mod operator;
mod packed;
pub mod parameters;
mod verdict;

use crate::document::Document;
use crate::graph::{Layer, ValueId};
use operator::{Form, Place};
use parameters::{Reader, listed};
use qp_abi::abi_stable::std_types::Tuple2;
use qp_abi::sdk::{DType, QuantizationParameters, RNone, RSome, TensorRole};
use std::collections::{BTreeSet, HashMap};
pub use verdict::Verdict;

/// At most this many `QuantizeLinear` and `DequantizeLinear` nodes in a row are seen through.
const MAX_PLUMBING: usize = 4;

/// What the graph says about quantization.
#[derive(Debug, Default)]
pub struct Quantization {
    /// The parameters of each value.
    pub values: Vec<Option<QuantizationParameters>>,
    /// The parameters of each stored tensor that holds codes.
    pub tensors: Vec<Option<QuantizationParameters>>,
    /// The form of each layer; empty for one that takes no part.
    pub layers: Vec<&'static str>,
    /// What each stored tensor is for.
    pub roles: Vec<TensorRole>,
    /// The stored tensors of each layer, its quantization parameters included.
    pub belongings: Vec<BTreeSet<usize>>,
    /// The single owning layer of each stored tensor.
    pub owners: Vec<Option<usize>>,
    /// Tensors of packed codes that the file declares as bytes, or in blocks: their element-by-element form.
    pub unpacked: HashMap<usize, Unpacked>,
    /// Precision and scheme of the model.
    pub verdict: Verdict,
}

/// The element-by-element form of a tensor's codes.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// The type of the codes.
    pub dtype: DType,
    /// The shape of the weight they encode.
    pub shape: Vec<i64>,
    /// If the last block of each row is stored whole: the bytes of a row, and how many of them hold elements.
    pub rows: Option<(usize, usize)>,
}

/// Reads the quantization of a model.
pub fn analyze(document: &Document) -> Quantization {
    let left = listed(document);
    let reader = Reader::new(document, &left);
    let mut quantization = Quantization {
        values: vec![None; document.graph.values.len()],
        tensors: vec![None; document.tensors.descriptions().len()],
        layers: vec![""; document.graph.layers.len()],
        ..Quantization::default()
    };
    let mut analysis = Analysis { reader, found: &mut quantization, scale_roles: BTreeSet::new() };
    analysis.parameters();
    analysis.moved_codes();
    analysis.rounded_inputs();
    let has_static_activations = analysis.forms();
    analysis.belongings();
    let scale_roles = std::mem::take(&mut analysis.scale_roles);
    quantization.roles =
        belonging::roles(reader, &scale_roles, |index| quantization.tensors[index].is_some());
    quantization.verdict = verdict::of(reader, &quantization, has_static_activations);
    quantization
}

struct Analysis<'a, 'b> {
    reader: Reader<'a>,
    found: &'b mut Quantization,
    /// Stored tensors that are scales or zero points.
    scale_roles: BTreeSet<usize>,
}

/// The factors that a product of codes is multiplied by.
#[derive(Clone, Copy)]
struct Factor {
    scale: ValueId,
    /// Whether it is the only factor: then it holds the scales of both operands, if the other's is stored.
    is_only: bool,
}

impl<'a> Analysis<'a, '_> {
    fn layers(&self) -> impl Iterator<Item = (usize, &'a str, &'a Layer)> + use<'a> {
        let reader = self.reader;
        reader.graph.layers.iter().enumerate().map(move |(index, layer)| (index, reader.op(layer), layer))
    }

    fn parameters(&mut self) {
        for (_, op, layer) in self.layers() {
            match op {
                "QuantizeLinear" | "DequantizeLinear" => self.plumbing(op, layer),
                "Quant" => self.quant(layer),
                "DynamicQuantizeLinear" => self.computed(layer),
                "MatMulNBits" => self.mat_mul_n_bits(layer),
                "GatherBlockQuantized" => self.gather_block_quantized(layer),
                "DynamicQuantizeLSTM" => {
                    [(1, 8, 9), (2, 10, 11)].into_iter().for_each(|slots| self.recurrent(layer, slots))
                }
                "QMoE" => [3, 6, 9].into_iter().for_each(|slot| self.is_scale(layer.input(slot))),
                "MatMulBnb4" => self.is_scale(layer.input(2)),
                _ => self.operands(op, layer),
            }
        }
        // These depend on what is known about their inputs.
        for (_, op, layer) in self.layers().filter(|(_, op, _)| operator::integer_product(op).is_some()) {
            self.integer_product(op, layer);
        }
    }

    /// Marks a stored tensor as a scale or a zero point.
    fn is_scale(&mut self, value: Option<ValueId>) {
        if let Some((stored, _)) = value.and_then(|value| self.reader.root(value, &[])) {
            self.scale_roles.insert(stored);
        }
    }

    /// Records the parameters of a value, and of the tensor that it stands for; the first record counts.
    fn mark(&mut self, value: Option<ValueId>, parameters: QuantizationParameters) {
        let Some(value) = value else { return };
        if let Some(stored) = self.reader.graph.values[value].stored {
            self.found.tensors[stored].get_or_insert_with(|| parameters.clone());
        }
        self.found.values[value].get_or_insert(parameters);
    }

    fn plumbing(&mut self, op: &str, layer: &Layer) {
        let (source, scale, zero_point) = (layer.input(0), layer.input(1), layer.input(2));
        self.is_scale(scale);
        self.is_scale(zero_point);
        let reader = self.reader;
        let codes = if op == "QuantizeLinear" { layer.output(0) } else { source };
        let declared = || {
            let code = layer.int("output_dtype").filter(|_| op == "QuantizeLinear")?;
            u8::try_from(code).ok().filter(|&code| code != 0).map(DType)
        };
        let dtype = zero_point
            .and_then(|value| reader.dtype(value))
            .or_else(declared)
            .or_else(|| codes.and_then(|value| reader.dtype(value)))
            .or_else(|| codes.and_then(|value| self.found.values[value].as_ref().map(|known| known.dtype)))
            .unwrap_or(if layer.op_type.contains("FP8") { DType::FLOAT8_E4M3FN } else { DType::UINT8 });
        // The codes of a weight override a zero point of another width, which would be invalid.
        let dtype = match codes.and_then(|codes| reader.graph.values[codes].stored) {
            Some(stored) => reader.tensors.get(stored).dtype,
            None => dtype,
        };
        let axis = layer.int("axis").unwrap_or(1);
        let mut parameters = reader.parameters(dtype, source, scale, zero_point, Some(axis));
        let block_size = layer.int("block_size").filter(|&size| size > 0);
        if parameters.axis.is_some() {
            parameters.block_size = block_size.map_or(RNone, RSome);
        }
        if op == "DequantizeLinear"
            && let Some((clip, bounds)) = codes.and_then(|codes| self.clipped(codes))
        {
            // Brevitas writes narrow codes as wide ones that are clipped.
            parameters.code_range = RSome(Tuple2(bounds.0, bounds.1));
            let unclipped = clip.input(0);
            for value in
                unclipped.into_iter().chain(unclipped.and_then(|value| reader.producer(value)?.1.input(0)))
            {
                if let Some(known) = &mut self.found.values[value] {
                    known.code_range = parameters.code_range;
                }
                if let Some(stored) = reader.graph.values[value].stored {
                    self.found.tensors[stored] = Some(parameters.clone());
                }
            }
        }
        self.mark(codes, parameters.clone());
        if op == "QuantizeLinear" {
            self.rounded_weight(source, codes, &parameters);
        }
        if op == "DequantizeLinear" {
            self.mark(layer.output(0), parameters.clone());
            // An embedding is looked up in codes, and only the rows found are dequantized.
            let gather = source.and_then(|value| reader.producer(value)).filter(|(op, _)| *op == "Gather");
            if let Some((_, gather)) = gather
                && parameters.scale_count == 1
            {
                self.mark(gather.input(0), parameters);
            }
        }
    }

    /// The `Clip` that computes codes from the result of a `QuantizeLinear`, and its bounds.
    fn clipped(&self, codes: ValueId) -> Option<(&'a Layer, (i64, i64))> {
        let reader = self.reader;
        let (_, clip) = reader.producer(codes).filter(|(op, _)| *op == "Clip")?;
        reader.producer(clip.input(0)?).filter(|(op, _)| *op == "QuantizeLinear")?;
        let bound = |slot: usize| match reader.numbers(clip.input(slot)?).values?.as_slice() {
            &[number] => Some(number as i64),
            _ => None,
        };
        Some((clip, (bound(1)?, bound(2)?)))
    }

    /// QONNX's `Quant`: real numbers are rounded to codes of this many bits and back.
    fn quant(&mut self, layer: &Layer) {
        let reader = self.reader;
        let (source, scale, zero_point) = (layer.input(0), layer.input(1), layer.input(2));
        [scale, zero_point, layer.input(3)].into_iter().for_each(|value| self.is_scale(value));
        let bits = layer.input(3).and_then(|value| reader.numbers(value).values);
        let Some(&[bits]) = bits.as_deref() else { return };
        let is_set = |name: &str, missing: i64| layer.int(name).unwrap_or(missing) != 0;
        let (is_signed, is_narrow) = (is_set("signed", 1), is_set("narrow", 0));
        if !(1.0..=16.0).contains(&bits) {
            return;
        }
        let bits = bits as i64;
        let dtype = match (bits, is_signed) {
            (4, true) => DType::INT4,
            (4, false) => DType::UINT4,
            (..=8, true) => DType::INT8,
            (..=8, false) => DType::UINT8,
            (_, true) => DType::INT16,
            (_, false) => DType::UINT16,
        };
        let (low, high) =
            if is_signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
        let low = low + i64::from(is_narrow && is_signed);
        let high = high - i64::from(is_narrow && !is_signed);
        // Scales have the rank of their tensor, with the channels along one axis.
        let axis = scale.and_then(|value| {
            let (stored, _) = reader.root(value, &[])?;
            let shape = &reader.tensors.get(stored).shape;
            shape.iter().position(|&size| size > 1).and_then(|axis| i64::try_from(axis).ok())
        });
        let mut parameters = reader.parameters(dtype, source, scale, zero_point, Some(axis.unwrap_or(0)));
        if dtype.code_range() != Some((low, high)) {
            parameters.code_range = RSome(Tuple2(low, high));
        }
        if let Some(stored) = source.and_then(|source| reader.graph.values[source].stored) {
            self.found.tensors[stored].get_or_insert_with(|| parameters.clone());
        }
        self.mark(layer.output(0), parameters);
    }

    /// A float weight that the graph rounds to codes, as TensorRT, ModelOpt, NNCF and AIMET write it: float, Q, DQ.
    fn rounded_weight(
        &mut self,
        source: Option<ValueId>,
        codes: Option<ValueId>,
        parameters: &QuantizationParameters,
    ) {
        let graph = self.reader.graph;
        let (Some(source), Some(codes)) = (source, codes) else { return };
        let Some(stored) = graph.values[source].stored else { return };
        let is_float = self.reader.tensors.get(stored).dtype.is_float();
        let is_dequantized = graph.values[codes]
            .readers
            .iter()
            .all(|&(layer, _)| self.reader.op(&graph.layers[layer]) == "DequantizeLinear");
        if is_float && is_dequantized && !parameters.is_dynamic {
            self.found.tensors[stored].get_or_insert_with(|| parameters.clone());
        }
    }

    fn computed(&mut self, layer: &Layer) {
        let dynamic = QuantizationParameters {
            scales: vec![].into(),
            zero_points: vec![].into(),
            is_dynamic: true,
            ..QuantizationParameters::per_tensor(DType::UINT8, 1.0, 0.0)
        };
        self.mark(layer.output(0), dynamic);
    }

    fn operands(&mut self, op: &str, layer: &Layer) {
        let reader = self.reader;
        for operand in operator::operands(op, layer.inputs.len()) {
            let codes = match operand.place {
                Place::Input(slot) => layer.input(slot),
                Place::Output(slot) => layer.output(slot),
            };
            let (scale, zero_point) =
                (layer.input(operand.scale), operand.zero_point.and_then(|at| layer.input(at)));
            self.is_scale(scale);
            self.is_scale(zero_point);
            let dtype = codes
                .and_then(|value| reader.dtype(value))
                .or_else(|| zero_point.and_then(|value| reader.dtype(value)))
                .unwrap_or(DType::UINT8);
            let axis = Reader::axis(operand.axis, layer);
            self.mark(codes, reader.parameters(dtype, codes, scale, zero_point, Some(axis)));
        }
        if let Some((slot, x_scale, w_scale)) = operator::bias(op) {
            self.bias(layer, slot, layer.input(x_scale), layer.input(w_scale), operator::alpha(layer));
        }
    }

    /// The weights of a dynamically quantized LSTM, (directions, inputs, channels), with one scale per direction, or
    /// per channel of each direction. The latter are blocks that span all inputs.
    fn recurrent(&mut self, layer: &Layer, (codes, scale, zero_point): (usize, usize, usize)) {
        let reader = self.reader;
        let (codes, scale, zero_point) = (layer.input(codes), layer.input(scale), layer.input(zero_point));
        self.is_scale(scale);
        self.is_scale(zero_point);
        let Some(stored) = codes.and_then(|value| reader.root(value, &[])) else { return };
        let description = reader.tensors.get(stored.0);
        let mut parameters = reader.parameters(description.dtype, codes, scale, zero_point, Some(0));
        if let [directions, inputs, channels] = description.shape[..]
            && parameters.scale_count > 1
            && i64::try_from(parameters.scale_count).ok() == directions.checked_mul(channels)
        {
            if directions == 1 {
                parameters.axis = RSome(2);
            } else {
                (parameters.axis, parameters.block_size) = (RSome(1), RSome(inputs.max(1)));
            }
        }
        self.mark(codes, parameters);
    }

    /// An int32 bias is added to products of codes: it has the scale of the products.
    fn bias(
        &mut self,
        layer: &Layer,
        slot: usize,
        x_scale: Option<ValueId>,
        w_scale: Option<ValueId>,
        factor: f32,
    ) {
        let (Some(bias), Some(x_scale), Some(w_scale)) = (layer.input(slot), x_scale, w_scale) else {
            return;
        };
        if self.reader.dtype(bias).is_some_and(|dtype| dtype != DType::INT32) {
            return;
        }
        let (x_scale, w_scale) = (self.reader.numbers(x_scale), self.reader.numbers(w_scale));
        let (Some([x]), Some(w)) = (x_scale.values.as_deref(), w_scale.values) else { return };
        // ONNX Runtime computes the product in float32.
        #[expect(clippy::cast_possible_truncation, reason = "to the precision of the runtime")]
        let scales: Vec<f64> = w.iter().map(|w| f64::from(factor * (*x as f32) * *w as f32)).collect();
        let parameters = match scales.as_slice() {
            [scale] => QuantizationParameters::per_tensor(DType::INT32, *scale, 0.0),
            _ => QuantizationParameters::per_channel(DType::INT32, scales, vec![0.0], 0),
        };
        self.mark(Some(bias), parameters);
    }

    /// The product has no scales of its own: they are in the Mul that follows it, as ONNX Runtime's dynamic
    /// quantization writes them, `Mul(Cast(product), Mul(x_scale, w_scale))`.
    fn integer_product(&mut self, op: &str, layer: &Layer) {
        let reader = self.reader;
        self.is_scale(layer.input(2));
        self.is_scale(layer.input(3));
        let axis = operator::integer_product(op).map_or(0, |axis| Reader::axis(axis, layer));
        // Codes that were looked up or moved also have a stored scale: it is not the weight's.
        let known = layer.input(0).and_then(|codes| self.found.values[codes].clone());
        let other = known.as_ref().map(|known| known.scale_name.to_string()).unwrap_or_default();
        let factor = layer.output(0).and_then(|product| self.factor_after(product, &other));
        let scale = factor.map(|factor| factor.scale);
        self.is_scale(scale);
        if let Some(weight) = layer.input(1)
            && reader.root(weight, &[]).is_some()
        {
            let dtype = reader.dtype(weight).unwrap_or(DType::UINT8);
            let mut parameters = reader.parameters(dtype, Some(weight), scale, layer.input(3), Some(axis));
            parameters.is_dynamic = false;
            // An optimizer may have multiplied the two scales.
            let input_scale =
                known.as_ref().filter(|known| !known.is_dynamic).map(|known| known.scales.as_slice());
            if let (Some(true), Some(&[input])) = (factor.map(|factor| factor.is_only), input_scale) {
                if parameters.scales.is_empty() {
                    // Too many to list; the tensor holds products.
                    return;
                }
                #[expect(clippy::cast_possible_truncation, reason = "to the precision of the file")]
                parameters.scales.iter_mut().for_each(|scale| *scale = f64::from((*scale / input) as f32));
                parameters.scale_name = "".into();
            }
            if scale.is_some() {
                self.mark(Some(weight), parameters);
            }
        }
    }

    /// The stored scale among the factors that a product is multiplied by, except `other`, if there is another.
    fn factor_after(&self, product: ValueId, other: &str) -> Option<Factor> {
        let graph = self.reader.graph;
        let mut at = product;
        let stored = |value: ValueId| Some(self.reader.root(value, &[])?.0);
        let is_other = |value: ValueId| {
            stored(value).is_some_and(|tensor| self.reader.tensors.get(tensor).name == other)
        };
        let mut is_only = true;
        for _ in 0..MAX_PLUMBING {
            let &[(layer, slot)] = graph.values[at].readers.as_slice() else { return None };
            let layer = &graph.layers[layer];
            match self.reader.op(layer) {
                "Cast" | "Add" => at = layer.output(0)?,
                "Mul" => {
                    let factor = layer.input(1 - slot.min(1))?;
                    if is_other(factor) {
                        // One scale after the other.
                        is_only = false;
                        at = layer.output(0)?;
                        continue;
                    }
                    if stored(factor).is_some() {
                        return Some(Factor { scale: factor, is_only });
                    }
                    let (_, factors) = self.reader.producer(factor).filter(|(op, _)| *op == "Mul")?;
                    let inputs =
                        || factors.inputs.iter().flatten().copied().filter(|&value| stored(value).is_some());
                    let scale = inputs().rev().find(|&value| !is_other(value)).or_else(|| inputs().next())?;
                    return Some(Factor { scale, is_only: false });
                }
                _ => return None,
            }
        }
        None
    }

    /// Moved codes keep their meaning: `QLinearConv`, `Reshape`, `Transpose`, `QLinearMatMul`. Known at one end of
    /// such a chain, it is known along all of it.
    fn moved_codes(&mut self) {
        let moves = |op: &str| operator::moves_codes(op);
        let ends = |layer: &Layer| -> Vec<(ValueId, ValueId)> {
            let Some(input) = layer.input(0) else { return Vec::new() };
            // `MaxPool` also computes indices, and there are other outputs that are not codes.
            let outputs = if layer.op_type == "Split" { layer.outputs.len() } else { 1 };
            layer.outputs.iter().take(outputs).flatten().map(|&output| (input, output)).collect()
        };
        let layers: Vec<&Layer> =
            self.layers().filter(|(_, op, _)| moves(op)).map(|(_, _, layer)| layer).collect();
        for layer in &layers {
            for (input, output) in ends(layer) {
                self.hand_on(input, output);
            }
        }
        for layer in layers.iter().rev() {
            for (input, output) in ends(layer) {
                self.hand_on(output, input);
            }
        }
    }

    /// Gives a value without parameters those of the codes that it is made of. Real numbers that stand for codes are
    /// rounded only where the graph says so, and a move may put channels elsewhere.
    fn hand_on(&mut self, from: ValueId, to: ValueId) {
        let Some(known) = self.found.values[from].clone().filter(|known| known.scale_count == 1) else {
            return;
        };
        let is_real = self.reader.producer(from).is_some_and(|(op, _)| op == "DequantizeLinear");
        if self.found.values[to].is_none() && !is_real {
            self.mark(Some(to), known);
        }
    }

    /// Real numbers that are only ever read rounded.
    fn rounded_inputs(&mut self) {
        let graph = self.reader.graph;
        for (index, value) in graph.values.iter().enumerate() {
            if self.found.values[index].is_some() || value.stored.is_some() || value.is_output {
                continue;
            }
            let mut readers = value.readers.iter().map(|&(layer, slot)| {
                let layer = &graph.layers[layer];
                let is_quantized = slot == 0 && self.reader.op(layer) == "QuantizeLinear";
                layer.output(0).filter(|_| is_quantized).and_then(|codes| self.found.values[codes].as_ref())
            });
            let Some(Some(first)) = readers.next() else { continue };
            if readers.all(|other| other.is_some_and(|other| is_same_grid(first, other))) {
                let first = first.clone();
                self.found.values[index] = Some(first);
            }
        }
    }

    /// The form of each layer; returns whether activations are quantized by `QuantizeLinear` or
    /// `DequantizeLinear` anywhere.
    fn forms(&mut self) -> bool {
        let reader = self.reader;
        let is_activation =
            |value: Option<ValueId>| value.is_some_and(|value| reader.root(value, &[]).is_none());
        let is_gathered = |value: Option<ValueId>| {
            let producer = value.and_then(|value| reader.producer(value)).filter(|(op, _)| *op == "Gather");
            producer.is_some_and(|(_, gather)| !is_activation(gather.input(0)))
        };
        let has_static_activations = self.layers().any(|(_, op, layer)| {
            operator::form(op) == Some(Form::Plumbing)
                && is_activation(layer.input(0))
                && !is_gathered(layer.input(0))
        });
        let plumbing = if has_static_activations { "qdq" } else { "weight-only" };
        for (index, op, layer) in self.layers() {
            self.found.layers[index] = match operator::form(op) {
                Some(Form::Plumbing) => plumbing,
                Some(Form::QOperator) => "qoperator",
                Some(Form::Dynamic) => "dynamic",
                Some(Form::WeightOnly) => "weight-only",
                None => {
                    let reads_dequantized = layer.inputs.iter().flatten().any(|&value| {
                        match reader.root(value, &["DequantizeLinear"]) {
                            Some((_, passed)) => passed,
                            None => reader.producer(value).is_some_and(|(op, _)| op == "DequantizeLinear"),
                        }
                    });
                    let looks_up_codes = op == "Gather"
                        && layer.output(0).is_some_and(|rows| {
                            reader.graph.values[rows].readers.iter().any(|&(reader_index, _)| {
                                reader.op(&reader.graph.layers[reader_index]) == "DequantizeLinear"
                            })
                        });
                    if reads_dequantized || looks_up_codes { plumbing } else { "" }
                }
            };
        }
        has_static_activations
    }
}

fn is_same_grid(one: &QuantizationParameters, other: &QuantizationParameters) -> bool {
    one.dtype == other.dtype
        && one.scales == other.scales
        && one.zero_points == other.zero_points
        && one.axis == other.axis
        && one.block_size == other.block_size
        && one.is_dynamic == other.is_dynamic
        && !one.scales.is_empty()
}
