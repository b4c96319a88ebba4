//! Weights of matrix products in blocks of few bits, in the layouts that ONNX Runtime runs.

use super::weights::pack;
use super::{ClipRange, Extremes, ParameterError, Parameters};
use crate::granularity::{Granularity, ParameterMap};
use qp_elements::ElementType;

/// A weight of the shape \[K, N\] as the operator MatMulNBits (com.microsoft) takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct MatMulNBits {
    /// Codes, the first in the lowest bits: `uint8` of the shape \[N, blocks, block_size · bits / 8\]. Those beyond K are
    /// 0.
    pub codes: Vec<u8>,
    /// `float32` of the shape \[N, blocks\].
    pub scales: Vec<f32>,
    /// Zero points, packed like codes: `uint8` of the shape \[N, ⌈blocks · bits / 8⌉\], the rest filled with the middle.
    /// `None` if all are the middle, which is the operator's default.
    pub zero_points: Option<Vec<u8>>,
    /// How many blocks K takes: ⌈K / block_size⌉.
    pub blocks: usize,
}

/// A weight of the shape \[K, N\] for DequantizeLinear with `axis` 0 and a block size.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockedWeight {
    /// int4 if symmetric, otherwise uint4, packed: shape \[K, N\].
    pub codes: Vec<u8>,
    /// `float32` of the shape \[blocks, N\].
    pub scales: Vec<f32>,
    /// Of the codes' type, packed: shape \[blocks, N\]; `None` if all are 0.
    pub zero_points: Option<Vec<u8>>,
    /// How many blocks K takes.
    pub blocks: usize,
}

/// Quantizes `weight` of the shape \[`rows` K, `columns` N\] as ONNX Runtime's `MatMulNBitsQuantizer` does by default
/// (`quant_format` QOperator; its defaults are 4 bits, blocks of 128, asymmetric), bit for bit.
///
/// `bits` is 2, 4 or 8, `block_size` a power of two from 16 on. Asymmetric: scale = (max − min) / (2^bits − 1) over the
/// block and 0, zero point = −min / scale. Symmetric: scale = m / −2^(bits − 1), m the value of largest magnitude with
/// its sign. Codes are w · (1 / scale) + zero point; both are rounded, ties away from 0, and clamped.
///
/// # Errors
///
/// [`ParameterError::Shape`] for other numbers; [`ParameterError::Range`] for infinities and NaN.
pub fn matmul_nbits(
    weight: &[f32],
    rows: usize,
    columns: usize,
    bits: u8,
    block_size: usize,
    is_symmetric: bool,
) -> Result<MatMulNBits, ParameterError> {
    if !matches!(bits, 2 | 4 | 8) || block_size < 16 || !block_size.is_power_of_two() {
        return Err(ParameterError::Shape);
    }
    let blocks = (block_size, BlockForm::Product);
    let found = BlockedCodes::new(weight, rows, columns, bits, blocks, is_symmetric)?;
    let (blocks, bits) = (found.blocks, usize::from(bits));
    let codes_per_byte = 8 / bits;
    let mut codes = vec![0; columns * blocks * block_size / codes_per_byte];
    let row_bytes = blocks * block_size / codes_per_byte;
    for (row, line) in found.codes.chunks(columns).enumerate() {
        let (byte, shift) = (row / codes_per_byte, row % codes_per_byte * bits);
        for (code, column) in line.iter().zip(codes.chunks_mut(row_bytes)) {
            column[byte] |= code << shift;
        }
    }
    let transposed = |index: usize| &found.parameters[index % blocks * columns + index / blocks];
    let scales = (0..columns * blocks).map(|index| transposed(index).scale).collect();
    let zero_points = (!is_symmetric).then(|| {
        let middle = 1u8 << (bits - 1);
        let byte = |column: usize, first: usize| {
            (0..codes_per_byte).fold(0, |byte, offset| {
                let block = first + offset;
                let is_there = block < blocks;
                let zero_point =
                    if is_there { transposed(column * blocks + block).zero_point as u8 } else { middle };
                byte | zero_point << (offset * bits)
            })
        };
        (0..columns)
            .flat_map(|column| (0..blocks).step_by(codes_per_byte).map(move |first| byte(column, first)))
            .collect()
    });
    Ok(MatMulNBits { codes, scales, zero_points, blocks })
}

/// Lays out codes that are known already, from [`gptq`](super::gptq) for example: unsigned ones of the shape
/// \[outputs N, inputs K\], with parameters of the shape \[N, blocks\].
///
/// # Errors
///
/// [`ParameterError::Shape`] as for [`matmul_nbits`], for another number of parameters, and for codes and zero points
/// that do not fit `bits`.
pub fn matmul_nbits_of(
    codes: &[i32],
    parameters: &[Parameters],
    inputs: usize,
    bits: u8,
    block_size: usize,
) -> Result<MatMulNBits, ParameterError> {
    let is_known = matches!(bits, 2 | 4 | 8) && block_size >= 16 && block_size.is_power_of_two();
    if !is_known || inputs == 0 || !codes.len().is_multiple_of(inputs) {
        return Err(ParameterError::Shape);
    }
    let (blocks, middle) = (inputs.div_ceil(block_size), 1i32 << (bits - 1));
    let zero_points: Vec<i32> = parameters.iter().map(|found| found.zero_point).collect();
    let mut all = codes.iter().chain(&zero_points);
    if parameters.len() != codes.len() / inputs * blocks || !all.all(|code| (0..2 * middle).contains(code)) {
        return Err(ParameterError::Shape);
    }
    let is_symmetric = zero_points.iter().all(|zero_point| *zero_point == middle);
    let codes_per_byte = 8 / usize::from(bits);
    let pack = |values: &[i32], fill: i32| {
        let byte = |values: &[i32]| {
            let value = |offset: usize| values.get(offset).copied().unwrap_or(fill) as u8;
            (0..codes_per_byte).fold(0, |byte, offset| byte | value(offset) << (offset * usize::from(bits)))
        };
        values.chunks(codes_per_byte).map(byte).collect::<Vec<u8>>()
    };
    let row_bytes = blocks * block_size / codes_per_byte;
    let mut packed = Vec::with_capacity(codes.len() / inputs * row_bytes);
    for row in codes.chunks(inputs) {
        let end = packed.len() + row_bytes;
        packed.extend(pack(row, 0));
        packed.resize(end, 0);
    }
    Ok(MatMulNBits {
        codes: packed,
        scales: parameters.iter().map(|found| found.scale).collect(),
        zero_points: (!is_symmetric)
            .then(|| zero_points.chunks(blocks).flat_map(|row| pack(row, middle)).collect()),
        blocks,
    })
}

/// Quantizes `weight` of the shape \[`rows` K, `columns` N\] to 4 bits as `MatMulNBitsQuantizer` with `quant_format` QDQ
/// does: the same scales and zero points as [`matmul_nbits`], codes rounded as [`BlockForm::Tensor`] says, in the standard's
/// layout, symmetric ones with the zero point 0.
/// A `block_size` of `rows` is its `channel_wised_quantize`.
///
/// # Errors
///
/// [`ParameterError::Shape`] if the sizes do not fit, or for blocks of 0; [`ParameterError::Range`] for infinities and
/// NaN.
pub fn blocked_weight(
    weight: &[f32],
    rows: usize,
    columns: usize,
    block_size: usize,
    is_symmetric: bool,
) -> Result<BlockedWeight, ParameterError> {
    const BITS: u8 = 4;
    let blocks = (block_size, BlockForm::Tensor);
    let found = BlockedCodes::new(weight, rows, columns, BITS, blocks, is_symmetric)?;
    let middle = if is_symmetric { 1 << (BITS - 1) } else { 0 };
    let element = ElementType::Int { bits: BITS.into(), is_signed: is_symmetric };
    let codes: Vec<i32> = found.codes.iter().map(|code| i32::from(*code) - middle).collect();
    let zero_points: Vec<i32> = found.parameters.iter().map(|found| found.zero_point).collect();
    Ok(BlockedWeight {
        codes: pack(&codes, element)?,
        scales: found.parameters.iter().map(|found| found.scale).collect(),
        zero_points: if is_symmetric { None } else { Some(pack(&zero_points, element)?) },
        blocks: found.blocks,
    })
}

/// What blocks are for; ONNX Runtime rounds them in two ways, which differ where a weight is next to the middle of two
/// codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockForm {
    /// MatMulNBits: the zero point is added, then the sum is rounded.
    Product,
    /// DequantizeLinear: the quotient is rounded, ties away from 0, then the zero point is added.
    Tensor,
}

/// A weight in blocks, before it is laid out.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockedCodes {
    /// Unsigned, in the order of the weight.
    pub codes: Vec<u8>,
    /// Of the shape \[blocks, N\].
    pub parameters: Vec<Parameters>,
    /// How many blocks K takes.
    pub blocks: usize,
}

impl BlockedCodes {
    /// Quantizes as [`matmul_nbits`] does or as [`blocked_weight`] does, with blocks of any size.
    ///
    /// # Errors
    ///
    /// As [`blocked_weight`].
    pub fn new(
        weight: &[f32],
        rows: usize,
        columns: usize,
        bits: u8,
        (block_size, form): (usize, BlockForm),
        is_symmetric: bool,
    ) -> Result<Self, ParameterError> {
        if rows == 0 || columns == 0 || block_size == 0 || rows.checked_mul(columns) != Some(weight.len()) {
            return Err(ParameterError::Shape);
        }
        let granularity = Granularity::PerBlock { axis: 0, block_size: block_size as u64 };
        let map = ParameterMap::new(&[rows as u64, columns as u64], granularity)
            .map_err(|_| ParameterError::Shape)?;
        let extremes = super::weights::extremes(weight, &map)?;
        let find = |extremes: &Extremes| {
            let (min, max) = extremes.min().zip(extremes.max()).unwrap_or((0.0, 0.0));
            if is_symmetric { symmetric(min, max, bits) } else { asymmetric(min, max, bits) }
        };
        let parameters: Vec<Parameters> = extremes.iter().map(find).collect();
        let has_nan = extremes.iter().any(|extremes| extremes.nan_count() > 0);
        if has_nan || parameters.iter().any(|found| !found.scale.is_finite()) {
            return Err(ParameterError::Range(ClipRange { low: f32::NEG_INFINITY, high: f32::INFINITY }));
        }
        let most = (1u16 << bits) as f32 - 1.0;
        let reciprocals: Vec<f32> =
            parameters.iter().map(|found| if found.scale == 0.0 { 0.0 } else { 1.0 / found.scale }).collect();
        let mut codes = Vec::with_capacity(weight.len());
        for (row, line) in weight.chunks(columns).enumerate() {
            let block = row / block_size * columns..(row / block_size + 1) * columns;
            let parameters = parameters[block.clone()].iter().zip(&reciprocals[block]);
            codes.extend(line.iter().zip(parameters).map(|(value, (found, reciprocal))| match form {
                BlockForm::Product => {
                    let code = value * reciprocal + found.zero_point as f32;
                    let code = if code > 0.0 { code } else { 0.0 };
                    let code = if code < most { code } else { most };
                    // Ties away from 0, for what is not below 0.
                    let whole = code as i32;
                    (whole + i32::from(code - whole as f32 >= 0.5)) as u8
                }
                BlockForm::Tensor => {
                    let code = (value * reciprocal).round() as i32;
                    code.saturating_add(found.zero_point).clamp(0, most as i32) as u8
                }
            }));
        }
        Ok(Self { codes, parameters, blocks: rows.div_ceil(block_size) })
    }
}

fn symmetric(min: f32, max: f32, bits: u8) -> Parameters {
    let middle = 1i32 << (bits - 1);
    let most = if max.abs() > min.abs() { max } else { min };
    Parameters { scale: most / -middle as f32, zero_point: middle }
}

fn asymmetric(min: f32, max: f32, bits: u8) -> Parameters {
    let most = (1u16 << bits) as f32 - 1.0;
    let (min, max) = (min.min(0.0), max.max(0.0));
    let scale = (max - min) / most;
    let zero_point = if scale == 0.0 { min } else { 0.0 - min / scale };
    Parameters { scale, zero_point: zero_point.clamp(0.0, most).round() as i32 }
}
