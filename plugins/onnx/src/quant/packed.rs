//! Weights of packed codes in blocks, as ONNX Runtime's weight-only operators store them.

use super::parameters::Reader;
use super::{Analysis, Unpacked, operator};
use crate::graph::{Layer, ValueId};
use qp_abi::sdk::{DType, ElementType, RSome, element_count};

impl Analysis<'_, '_> {
    /// The weight is `N` rows of `K` codes, in blocks with one scale each; stored as bytes.
    pub(super) fn mat_mul_n_bits(&mut self, layer: &Layer) {
        self.is_scale(layer.input(2));
        self.is_scale(layer.input(3));
        let (Some(rows), Some(columns)) = (layer.int("N"), layer.int("K")) else { return };
        let bits = layer.int("bits").unwrap_or(4);
        let (Some(dtype), Some(block_size)) =
            (operator::unsigned(bits), layer.int("block_size").filter(|&size| size > 0))
        else {
            return;
        };
        let middle = (1 << (bits - 1)).into();
        self.packed_weight(layer, layer.input(1), dtype, vec![rows, columns], (1, block_size), middle);
    }

    pub(super) fn gather_block_quantized(&mut self, layer: &Layer) {
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

    /// A weight in blocks with scales at input 2 and zero points, packed like the codes, at input 3; without zero
    /// points all are `middle`.
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
        let Some(rows) = rows(&shape, dtype, block_size, description.bytes) else { return };
        let mut parameters = reader.parameters(dtype, None, layer.input(2), None, Some(axis));
        parameters.axis = RSome(axis);
        parameters.block_size = RSome(block_size);
        match layer.input(3) {
            None if middle != 0.0 => parameters.zero_points = vec![middle].into(),
            None => {}
            Some(zero_point) => {
                let blocks_a_row = usize::try_from(
                    shape.last().map_or(0, |last| (last + block_size - 1).div_euclid(block_size)),
                );
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
        if dtype != description.dtype || shape != description.shape {
            self.found.unpacked.insert(stored, Unpacked { dtype, shape, rows });
        }
        let value = reader.tensors.value(stored);
        self.mark(value, parameters);
    }
}

/// How rows of codes are stored in this many bytes: back to back, or each with its last block whole. `None` if they
/// do not fit.
#[expect(clippy::option_option, reason = "whether it fits, and whether there is padding")]
fn rows(shape: &[i64], dtype: DType, block_size: i64, bytes: u64) -> Option<Option<(usize, usize)>> {
    if element_count(shape).and_then(|elements| dtype.packed_bytes(elements)) == Some(bytes) {
        return Some(None);
    }
    let [rows, columns] = shape[..] else { return None };
    let whole = columns.checked_add(block_size - 1)? / block_size * block_size;
    let in_bytes = |elements: i64| {
        let bits = u64::try_from(elements).ok()?.checked_mul(u64::from(dtype.bits()))?;
        bits.is_multiple_of(8).then(|| usize::try_from(bits / 8).ok()).flatten()
    };
    let (stored, kept) = (in_bytes(whole)?, in_bytes(columns)?);
    let all = u64::try_from(rows).ok()?.checked_mul(stored as u64)?;
    (all == bytes).then_some(Some((stored, kept)))
}

/// Zero points that are packed like codes, with each row of blocks starting at a new byte, or plain numbers.
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
    let element = ElementType::Int { bits, is_signed: false };
    let rows = bytes.chunks(row_bytes);
    let codes: Vec<f64> = rows.flat_map(|row| element.decode(row, blocks_a_row)).collect();
    (codes.len() == count).then_some(codes)
}
