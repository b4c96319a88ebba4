//! Quantization as the graph writes it: which values and tensors are codes, what the codes mean, and how each
//! layer takes part.
//!
//! Values get their parameters so:
//!
//! - codes that an operator reads or writes, from the scale and zero point inputs of that operator;
//! - the real numbers that a `DequantizeLinear` computes, which were rounded to those codes;
//! - real numbers that are read only by `QuantizeLinear` nodes with the same parameters: nothing in the graph
//!   sees them but rounded.
//!
//! A layer's `quantization` is `qoperator`, `dynamic` or `weight-only` by its operator. Any other layer that
//! reads what a `DequantizeLinear` computed, directly or through operators that only pass it on, is `qdq` if the
//! model quantizes activations that way anywhere, else `weight-only`. `QuantizeLinear` and `DequantizeLinear`
//! nodes have the form of the graph that they are part of, `qdq` or `weight-only`.

pub mod operator;
pub mod parameters;
mod verdict;

use crate::document::{Document, Tensors};
use crate::graph::{Layer, ValueId};
use operator::{Form, Place};
use parameters::Reader;
use qp_abi::sdk::{DType, QuantizationParameters, RNone, RSome, TensorRole};
use std::collections::{BTreeSet, HashMap};
pub use verdict::Verdict;

/// How many `QuantizeLinear` and `DequantizeLinear` nodes in a row are looked through.
const MAX_PLUMBING: usize = 4;

/// What the graph says of quantization.
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
    /// The one layer of each stored tensor.
    pub owners: Vec<Option<usize>>,
    /// Tensors of packed codes that the file declares as bytes: what they are element by element.
    pub unpacked: HashMap<usize, (DType, Vec<i64>)>,
    /// Precision and scheme of the model.
    pub verdict: Verdict,
}

/// Reads the quantization of a model.
pub fn analyze(document: &Document) -> Quantization {
    let reader = Reader { graph: &document.graph, tensors: &document.tensors };
    let mut quantization = Quantization {
        values: vec![None; document.graph.values.len()],
        tensors: vec![None; document.tensors.descriptions().len()],
        layers: vec![""; document.graph.layers.len()],
        ..Quantization::default()
    };
    let mut analysis = Analysis { reader, found: &mut quantization, scale_roles: BTreeSet::new() };
    analysis.parameters();
    analysis.rounded_inputs();
    let has_static_activations = analysis.forms();
    analysis.belongings();
    let scale_roles = std::mem::take(&mut analysis.scale_roles);
    quantization.roles = roles(reader, &scale_roles);
    quantization.verdict = verdict::of(reader, &quantization, has_static_activations);
    quantization
}

struct Analysis<'a, 'b> {
    reader: Reader<'a>,
    found: &'b mut Quantization,
    /// Stored tensors that are scales or zero points.
    scale_roles: BTreeSet<usize>,
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
                "DynamicQuantizeLinear" => self.computed(layer),
                "MatMulNBits" => self.mat_mul_n_bits(layer),
                "GatherBlockQuantized" => self.gather_block_quantized(layer),
                "ConvInteger" | "MatMulInteger" => self.integer_product(op, layer),
                "QMoE" => [3, 6, 9].into_iter().for_each(|slot| self.is_scale(layer.input(slot))),
                "MatMulBnb4" => self.is_scale(layer.input(2)),
                _ => self.operands(op, layer),
            }
        }
    }

    /// Marks a stored tensor as a scale or a zero point.
    fn is_scale(&mut self, value: Option<ValueId>) {
        if let Some((stored, _)) = value.and_then(|value| self.reader.root(value, &[])) {
            self.scale_roles.insert(stored);
        }
    }

    /// Notes the parameters of a value, and of the tensor that it is; the first to say so is right.
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
            .unwrap_or(DType::UINT8);
        // The codes of a weight decide over a zero point of another width, which would be invalid.
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
        self.mark(codes, parameters.clone());
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
            self.bias(layer, slot, layer.input(x_scale), layer.input(w_scale));
        }
    }

    /// An int32 bias is added to products of codes: its scale is that of the products.
    fn bias(&mut self, layer: &Layer, slot: usize, x_scale: Option<ValueId>, w_scale: Option<ValueId>) {
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
        let scales: Vec<f64> = w.iter().map(|w| f64::from(*x as f32 * *w as f32)).collect();
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
        let scale = layer.output(0).and_then(|product| self.scale_after(product));
        self.is_scale(scale);
        if let Some(weight) = layer.input(1)
            && reader.root(weight, &[]).is_some()
        {
            let dtype = reader.dtype(weight).unwrap_or(DType::UINT8);
            let mut parameters = reader.parameters(dtype, Some(weight), scale, layer.input(3), Some(axis));
            parameters.is_dynamic = false;
            if scale.is_some() {
                self.mark(Some(weight), parameters);
            }
        }
    }

    /// The stored scale among the factors that a product is multiplied with.
    fn scale_after(&self, product: ValueId) -> Option<ValueId> {
        let graph = self.reader.graph;
        let mut at = product;
        for _ in 0..MAX_PLUMBING {
            let &[(layer, slot)] = graph.values[at].readers.as_slice() else { return None };
            let layer = &graph.layers[layer];
            match self.reader.op(layer) {
                "Cast" | "Add" => at = layer.output(0)?,
                "Mul" => {
                    let factor = layer.input(1 - slot.min(1))?;
                    if self.reader.root(factor, &[]).is_some() {
                        return Some(factor);
                    }
                    let (_, factors) = self.reader.producer(factor).filter(|(op, _)| *op == "Mul")?;
                    let mut inputs = factors.inputs.iter().flatten().copied();
                    return inputs.find(|&value| self.reader.root(value, &[]).is_some());
                }
                _ => return None,
            }
        }
        None
    }

    /// The weight is `N` rows of `K` codes, in blocks, each with a scale; stored as bytes.
    fn mat_mul_n_bits(&mut self, layer: &Layer) {
        self.is_scale(layer.input(2));
        self.is_scale(layer.input(3));
        let (Some(rows), Some(columns)) = (layer.int("N"), layer.int("K")) else { return };
        let bits = layer.int("bits").unwrap_or(4);
        let (Some(dtype), Some(block_size)) =
            (operator::unsigned(bits), layer.int("block_size").filter(|&size| size > 0))
        else {
            return;
        };
        // The last block of a row is stored whole.
        let Some(columns) = columns.checked_add(block_size - 1).map(|sum| sum / block_size * block_size)
        else {
            return;
        };
        let middle = (1 << (bits - 1)).into();
        self.packed_weight(layer, layer.input(1), dtype, vec![rows, columns], (1, block_size), middle);
    }

    fn gather_block_quantized(&mut self, layer: &Layer) {
        self.is_scale(layer.input(2));
        self.is_scale(layer.input(3));
        let Some(data) = layer.input(0) else { return };
        let Some((stored, _)) = self.reader.root(data, &[]) else { return };
        let description = self.reader.tensors.get(stored);
        let mut shape = description.shape.clone();
        let (dtype, middle) = match (description.dtype, layer.int("bits").unwrap_or(4)) {
            (DType::UINT8, bits @ (2 | 4 | 8)) => {
                if let Some(last) = shape.last_mut() {
                    *last = last.saturating_mul(8 / bits);
                }
                (operator::unsigned(bits).unwrap_or(DType::UINT8), f64::from(1_u8 << (bits - 1)))
            }
            (dtype, _) => (dtype, 0.0),
        };
        let rank = i64::try_from(shape.len()).unwrap_or(0);
        let axis = layer.int("quantize_axis").unwrap_or(1);
        let axis = if axis < 0 { axis + rank } else { axis };
        let block_size = layer.int("block_size").unwrap_or(128);
        self.packed_weight(layer, Some(data), dtype, shape, (axis, block_size), middle);
    }

    /// A weight in blocks with scales at input 2 and zero points, packed like the codes, at input 3; without
    /// them all are `middle`.
    fn packed_weight(
        &mut self,
        layer: &Layer,
        weight: Option<ValueId>,
        dtype: DType,
        shape: Vec<i64>,
        (axis, block_size): (i64, i64),
        middle: f64,
    ) {
        let reader = self.reader;
        let Some((stored, _)) = weight.and_then(|weight| reader.root(weight, &[])) else { return };
        let description = reader.tensors.get(stored);
        let elements = qp_abi::sdk::element_count(&shape);
        if elements.and_then(|elements| dtype.packed_bytes(elements)) != Some(description.bytes) {
            return;
        }
        let mut parameters = reader.parameters(dtype, None, layer.input(2), None, Some(axis));
        parameters.axis = RSome(axis);
        parameters.block_size = RSome(block_size);
        match layer.input(3) {
            None if middle != 0.0 => parameters.zero_points = vec![middle].into(),
            None => {}
            Some(zero_point) => {
                let blocks_a_row =
                    usize::try_from(shape.last().map_or(0, |last| last.div_euclid(block_size)));
                let zero_points = match blocks_a_row {
                    Ok(blocks) => zero_points(reader, zero_point, dtype, blocks, parameters.scales.len()),
                    Err(_) => None,
                };
                match zero_points {
                    Some(zero_points) => parameters.zero_points = zero_points.into(),
                    None => parameters.scales = vec![].into(),
                }
                parameters.zero_point_name = reader.numbers(zero_point).name.into();
            }
        }
        if dtype != description.dtype {
            self.found.unpacked.insert(stored, (dtype, shape));
        }
        let value = reader.tensors.value(stored);
        self.mark(value, parameters);
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

    /// Which stored tensors belong to which layer.
    fn belongings(&mut self) {
        let reader = self.reader;
        let count = self.found.tensors.len();
        let mut owners: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut belongings = Vec::with_capacity(reader.graph.layers.len());
        let descriptions = reader.tensors.descriptions().iter().enumerate();
        let names: HashMap<&str, usize> =
            descriptions.map(|(index, tensor)| (tensor.name.as_str(), index)).collect();
        // Scales that stand elsewhere in the graph belong to the codes that they are of.
        let parameters_of = |found: &Quantization, tensor: usize| {
            let known = found.tensors[tensor].as_ref()?;
            let name = |name: &str| names.get(name).copied();
            Some([name(&known.scale_name), name(&known.zero_point_name)])
        };
        for (index, op, layer) in self.layers() {
            let mut own: BTreeSet<usize> = layer.tensors.iter().copied().collect();
            let stored = |value: ValueId| reader.graph.values[value].stored;
            own.extend(layer.inputs.iter().flatten().filter_map(|&value| stored(value)));
            if !operator::passes_on(op) {
                for &value in layer.inputs.iter().flatten() {
                    collect_behind(reader, value, &mut own);
                }
                let of_own = own.iter().filter_map(|&tensor| parameters_of(self.found, tensor));
                let of_own: Vec<usize> = of_own.flatten().flatten().collect();
                own.extend(of_own);
                own.iter().for_each(|&tensor| owners[tensor].push(index));
            }
            if op == "Constant" {
                own.extend(layer.outputs.iter().flatten().filter_map(|&value| stored(value)));
            }
            belongings.push(own);
        }
        self.found.owners = owners
            .into_iter()
            .map(|owners| if let [owner] = owners.as_slice() { Some(*owner) } else { None })
            .collect();
        // What only plumbing reads belongs to that.
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (index, own) in belongings.iter().enumerate() {
            own.iter().for_each(|&tensor| readers[tensor].push(index));
        }
        for (owner, readers) in self.found.owners.iter_mut().zip(&readers) {
            if let (None, [reader]) = (&owner, readers.as_slice()) {
                *owner = Some(*reader);
            }
        }
        self.found.belongings = belongings;
    }
}

/// The stored tensors behind the `QuantizeLinear` and `DequantizeLinear` nodes, and behind those that only
/// pass a weight on, that a value comes from.
fn collect_behind(reader: Reader<'_>, value: ValueId, found: &mut BTreeSet<usize>) {
    let is_constant = reader.root(value, &[]).is_some();
    let mut at = value;
    for _ in 0..MAX_PLUMBING * 2 {
        if let Some(stored) = reader.graph.values[at].stored {
            found.insert(stored);
            return;
        }
        let Some((op, layer)) = reader.producer(at) else { return };
        if operator::form(op) == Some(Form::Plumbing) {
            let parameters = [layer.input(1), layer.input(2)].into_iter().flatten();
            found.extend(parameters.filter_map(|value| Some(reader.root(value, &[])?.0)));
        } else if !(is_constant && operator::passes_on(op)) {
            return;
        }
        let Some(next) = layer.input(0) else { return };
        at = next;
    }
}

/// Zero points that are packed like codes, each row of blocks from a new byte on, or plain numbers.
fn zero_points(
    reader: Reader<'_>,
    value: ValueId,
    dtype: DType,
    blocks_a_row: usize,
    count: usize,
) -> Option<Vec<f64>> {
    let (stored, _) = reader.root(value, &[])?;
    let description = reader.tensors.get(stored);
    let bits = dtype.bits();
    if description.dtype != DType::UINT8 || bits >= 8 || blocks_a_row == 0 {
        return reader.numbers(value).values;
    }
    let bytes = reader.tensors.bytes(stored).ok()?;
    let row_bytes = (blocks_a_row * bits as usize).div_ceil(8);
    let is_signed = false;
    let rows = bytes.chunks(row_bytes);
    let codes: Vec<f64> =
        rows.flat_map(|row| crate::convert::sub_byte(row, bits, blocks_a_row, is_signed)).collect();
    (codes.len() == count).then_some(codes)
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

/// What each tensor is for: a scale or zero point by its readers; a parameter or a constant by the inputs at
/// which layers read it, also through operators that only pass it on; a float tensor of more than one element
/// that no operator decides about is a parameter, all else a constant.
fn roles(reader: Reader<'_>, scales: &BTreeSet<usize>) -> Vec<TensorRole> {
    let tensors: &Tensors = reader.tensors;
    let mut decided: Vec<Option<TensorRole>> = vec![None; tensors.descriptions().len()];
    for layer in &reader.graph.layers {
        let op = reader.op(layer);
        if operator::passes_on(op) && !matches!(op, "Reshape" | "Squeeze" | "Unsqueeze") {
            continue;
        }
        for (slot, value) in layer.inputs.iter().enumerate() {
            let Some((stored, _)) = value.and_then(|value| reader.root(value, &[])) else { continue };
            if let Some(role) = operator::role(op, slot) {
                let known = &mut decided[stored];
                if *known != Some(TensorRole::PARAMETER) {
                    *known = Some(role);
                }
            }
        }
    }
    let by_content = |index: usize| {
        let description = tensors.get(index);
        let is_plural = qp_abi::sdk::element_count(&description.shape).is_some_and(|count| count > 1);
        let is_read = tensors.value(index).is_some();
        if description.dtype.is_float() && is_plural && is_read {
            TensorRole::PARAMETER
        } else {
            TensorRole::CONSTANT
        }
    };
    decided
        .into_iter()
        .enumerate()
        .map(|(index, role)| {
            if scales.contains(&index) {
                TensorRole::QUANTIZATION
            } else {
                role.unwrap_or_else(|| by_content(index))
            }
        })
        .collect()
}
