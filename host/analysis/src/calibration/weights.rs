//! The quantization of stored weights by their extremes.

use super::{ClipRange, Extremes, ParameterError, Parameters, code_range, parameters};
use crate::granularity::ParameterMap;
use crate::range::CodeRange;
use qp_elements::ElementType;

/// How weights are quantized; the names of ONNX Runtime's options in parentheses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightOptions {
    /// The type of the codes: int or uint of 4, 8 or 16 bits.
    pub element: ElementType,
    /// The zero point is in the middle (`WeightSymmetric`; by default for signed types).
    pub is_symmetric: bool,
    /// Half of the codes (`reduce_range`); no effect per block.
    pub is_reduced: bool,
    /// The narrowest range (`MinimumRealRange`); no effect per block.
    pub min_real_range: Option<f32>,
}

/// The scales and zero points of a weight, in the order of its [`ParameterMap`].
///
/// Per tensor and per channel they are those of ONNX Runtime's `compute_data_quant_params`, with
/// `is_blocked`, for a map of blocks, those of `compute_scale_zp_blocked`, which rounds at other places.
/// Parameters that no element has are the scale 1 and the zero point 0.
///
/// # Errors
///
/// [`ParameterError::Shape`] if `map` is of another number of elements; [`ParameterError::Range`] for infinities and
/// NaN; [`ParameterError::Element`].
pub fn weight_parameters(
    values: &[f32],
    map: &ParameterMap,
    is_blocked: bool,
    options: WeightOptions,
) -> Result<Vec<Parameters>, ParameterError> {
    let WeightOptions { element, is_symmetric, is_reduced, min_real_range } = options;
    let codes = code_range(element, is_reduced && !is_blocked, is_symmetric)?;
    let find = |extremes: &Extremes| match range(extremes)? {
        None => Ok(Parameters { scale: 1.0, zero_point: 0 }),
        Some(range) if is_blocked => block_parameters(range, codes, is_symmetric),
        Some(range) => parameters(range, codes, is_symmetric, min_real_range),
    };
    extremes(values, map)?.iter().map(find).collect()
}

/// The extremes of the elements that share parameters.
///
/// # Errors
///
/// [`ParameterError::Shape`] if `map` is of another number of elements.
pub fn extremes(values: &[f32], map: &ParameterMap) -> Result<Vec<Extremes>, ParameterError> {
    if map.element_count() != values.len() as u64 {
        return Err(ParameterError::Shape);
    }
    let mut extremes = vec![Extremes::new(); map.parameter_count() as usize];
    for run in map.runs(0, values.len()) {
        let values = &values[run.first_element as usize..][..run.len];
        if run.advances {
            for (extremes, value) in extremes[run.first_parameter..].iter_mut().zip(values) {
                extremes.add_one(*value);
            }
        } else {
            extremes[run.first_parameter].add(values);
        }
    }
    Ok(extremes)
}

/// The codes of a weight: clamp(round(value / scale) + zero_point) in `float32`, ties to even, to all codes of the
/// type, as in ONNX Runtime's `quantize_nparray`. NaN becomes 0.
///
/// # Errors
///
/// [`ParameterError::Shape`] if `map` is of another number of elements or parameters; [`ParameterError::Element`].
pub fn weight_codes(
    values: &[f32],
    map: &ParameterMap,
    parameters: &[Parameters],
    element: ElementType,
) -> Result<Vec<i32>, ParameterError> {
    let range = code_range(element, false, false)?;
    if map.element_count() != values.len() as u64 || map.parameter_count() != parameters.len() as u64 {
        return Err(ParameterError::Shape);
    }
    let mut codes = vec![0; values.len()];
    for run in map.runs(0, values.len()) {
        let (start, end) = (run.first_element as usize, run.first_element as usize + run.len);
        let (values, codes) = (&values[start..end], &mut codes[start..end]);
        if run.advances {
            for ((value, code), parameters) in
                values.iter().zip(codes).zip(&parameters[run.first_parameter..])
            {
                *code = quantize(*value, *parameters, range);
            }
        } else {
            quantize_into(values, parameters[run.first_parameter], range, codes);
        }
    }
    Ok(codes)
}

/// The codes of `values`, which all have these parameters, as in [`weight_codes`]; `codes` has as many elements.
pub fn quantize_into(values: &[f32], parameters: Parameters, range: CodeRange, codes: &mut [i32]) {
    for (value, code) in values.iter().zip(codes) {
        *code = quantize(*value, parameters, range);
    }
}

#[inline(always)]
fn quantize(value: f32, parameters: Parameters, range: CodeRange) -> i32 {
    let (min, max) = (range.min() as f32, range.max() as f32);
    let code = round(value / parameters.scale) + parameters.zero_point as f32;
    (if code < min {
        min
    } else if code > max {
        max
    } else {
        code
    }) as i32
}

/// Like [`f32::round_ties_even`], of numbers beyond ±2^21 whatever is beyond all codes. Near 1.5 · 2^23 neighbouring
/// numbers are 1 apart, so the addition itself rounds.
#[inline(always)]
pub(super) fn round(value: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    const LIMIT: f32 = 2_097_152.0;
    let value = if value > LIMIT { LIMIT } else { value };
    let value = if value < -LIMIT { -LIMIT } else { value };
    (value + SHIFT) - SHIFT
}

/// The bytes of codes of this type, as tensors are stored: little-endian, 4-bit codes two in a byte, the first in the
/// low half. Codes outside the type lose their upper bits.
///
/// # Errors
///
/// [`ParameterError::Element`] for other types than int and uint of 4, 8, 16 and 32 bits.
pub fn pack(codes: &[i32], element: ElementType) -> Result<Vec<u8>, ParameterError> {
    let ElementType::Int { bits, .. } = element else { return Err(ParameterError::Element(element)) };
    Ok(match bits {
        4 => codes
            .chunks(2)
            .map(|pair| pair[0] as u8 & 15 | (pair.get(1).copied().unwrap_or(0) as u8) << 4)
            .collect(),
        8 => codes.iter().map(|code| *code as u8).collect(),
        16 => codes.iter().flat_map(|code| (*code as u16).to_le_bytes()).collect(),
        32 => codes.iter().flat_map(|code| code.to_le_bytes()).collect(),
        _ => return Err(ParameterError::Element(element)),
    })
}

/// The extremes as a range; `None` for no values.
fn range(extremes: &Extremes) -> Result<Option<ClipRange>, ParameterError> {
    if extremes.nan_count() > 0 {
        return Err(ParameterError::Range(ClipRange { low: f32::NAN, high: f32::NAN }));
    }
    Ok(extremes.min().zip(extremes.max()).map(|(low, high)| ClipRange { low, high }))
}

/// `compute_scale_zp_blocked`: the width of the range in `float32`, the zero point from the rounded scale.
fn block_parameters(
    range: ClipRange,
    codes: CodeRange,
    is_symmetric: bool,
) -> Result<Parameters, ParameterError> {
    let (mut low, mut high) = (range.low.min(0.0), range.high.max(0.0));
    if is_symmetric {
        high = high.max(low.abs());
        low = -high;
    }
    let width = high - low;
    if !width.is_finite() {
        return Err(ParameterError::Range(range));
    }
    let (qmin, qmax) = (codes.min() as f64, codes.max() as f64);
    let scale = (f64::from(width) / (qmax - qmin)) as f32;
    let is_degenerate = scale < f32::MIN_POSITIVE;
    let zero_point = if is_symmetric {
        ((qmin + qmax) / 2.0).round_ties_even()
    } else if is_degenerate {
        0.0
    } else {
        (qmin - f64::from(low) / f64::from(scale)).round_ties_even().clamp(qmin, qmax)
    };
    Ok(Parameters { scale: if is_degenerate { 1.0 } else { scale }, zero_point: zero_point as i32 })
}
