//! The quantization of biases to int32.

use super::parameters::ParameterError;

/// A quantized bias: real = scale · code.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedBias {
    /// One code for each element.
    pub codes: Vec<i32>,
    /// One scale, or one for each element.
    pub scales: Vec<f32>,
    /// How many codes did not fit int32 and were clamped.
    pub clamped_count: usize,
}

/// Quantizes a bias with the scale input_scale · weight_scale · `beta` and the zero point 0, as ONNX Runtime does.
/// `weight_scales` has one scale, or one for each element of `bias`; `beta` is that of a Gemm, otherwise 1.
///
/// # Errors
///
/// [`ParameterError::Shape`] for another number of scales.
pub fn quantize_bias(
    bias: &[f32],
    input_scale: f32,
    weight_scales: &[f32],
    beta: f32,
) -> Result<QuantizedBias, ParameterError> {
    if weight_scales.len() != 1 && weight_scales.len() != bias.len() {
        return Err(ParameterError::Shape);
    }
    let scales: Vec<f32> = weight_scales.iter().map(|scale| input_scale * scale * beta).collect();
    let mut clamped_count = 0;
    let codes = bias.iter().enumerate().map(|(index, value)| {
        let scale = scales[if scales.len() == 1 { 0 } else { index }];
        let code = (f64::from(*value) / f64::from(scale)).round_ties_even();
        clamped_count += usize::from(code < f64::from(i32::MIN) || code > f64::from(i32::MAX));
        // A cast clamps.
        code as i32
    });
    Ok(QuantizedBias { codes: codes.collect(), scales, clamped_count })
}

/// Raises scales of weights that are so small that codes of the bias would not fit int32, as ONNX Runtime does before
/// it quantizes weights to int8 or int16 with zero points 0. Returns how many it raised.
///
/// With `is_per_channel` each scale is held against the element of `bias` at its index, otherwise the one scale
/// against the largest magnitude. The smallest scale of a bias is 1.0001 · 2 · magnitude / (2³² − 2).
///
/// # Errors
///
/// [`ParameterError::Shape`] if `is_per_channel` and the numbers of scales and elements differ.
pub fn raise_weight_scales(
    weight_scales: &mut [f32],
    input_scale: f32,
    bias: &[f32],
    is_per_channel: bool,
) -> Result<usize, ParameterError> {
    const MARGIN: f64 = 1.0001;
    let range = f64::from(i32::MAX) - f64::from(i32::MIN + 1);
    if is_per_channel && weight_scales.len() != bias.len() {
        return Err(ParameterError::Shape);
    }
    let largest = bias.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
    let mut raised = 0;
    for (index, scale) in weight_scales.iter_mut().enumerate() {
        let magnitude = if is_per_channel { bias[index].abs() } else { largest };
        // NumPy multiplies one channel's magnitude in its own type, and the tensor's in float64.
        let least = if is_per_channel {
            f64::from(MARGIN as f32 * (2.0 * magnitude)) / range
        } else {
            MARGIN * (2.0 * f64::from(magnitude)) / range
        };
        let candidate = f64::from(input_scale) * f64::from(*scale);
        if candidate < least && candidate > 0.0 {
            *scale = (f64::from(*scale) * (least / candidate)) as f32;
            raised += 1;
        }
    }
    Ok(raised)
}
