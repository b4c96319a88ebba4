//! From a clip range to a scale and a zero point.

use super::ClipRange;
use crate::params::Affine;
use crate::range::CodeRange;
use qp_elements::ElementType;
use std::fmt;

/// A scale and a zero point as a model stores them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// The distance between two neighbouring codes.
    pub scale: f32,
    /// The code of 0.
    pub zero_point: i32,
}

impl From<Parameters> for Affine {
    fn from(parameters: Parameters) -> Self {
        Self::new(f64::from(parameters.scale), f64::from(parameters.zero_point))
    }
}

/// Why there are no parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ParameterError {
    /// The range is infinite or NaN.
    Range(ClipRange),
    /// 0 is not one of the codes.
    Codes(CodeRange),
    /// These are not codes that weights and activations are quantized to: int and uint of 4, 8 and 16 bits are.
    Element(ElementType),
    /// The shape, or the number of values, scales or codes, does not fit the rest.
    Shape,
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => write!(f, "no scale for values from {} to {}", range.low, range.high),
            Self::Codes(codes) => {
                write!(f, "0 is not one of the codes from {} to {}", codes.min(), codes.max())
            }
            Self::Element(element) => write!(f, "no codes of {element:?}"),
            Self::Shape => f.write_str("shapes do not fit each other"),
        }
    }
}

impl std::error::Error for ParameterError {}

/// The codes that ONNX Runtime's quantizer uses of this type, its `get_qmin_qmax_for_qType`: with `is_reduced`
/// (`reduce_range`) about half of them, so that sums of products fit where the processor saturates; with
/// `is_symmetric` as many below 0 as above, for int8 and int16.
///
/// # Errors
///
/// [`ParameterError::Element`].
pub fn code_range(
    element: ElementType,
    is_reduced: bool,
    is_symmetric: bool,
) -> Result<CodeRange, ParameterError> {
    let ElementType::Int { bits: bits @ (4 | 8 | 16), is_signed } = element else {
        return Err(ParameterError::Element(element));
    };
    let half = 1i64 << (bits - 1);
    let (min, max) = match (is_signed, is_reduced) {
        (false, true) => (0, half - 1),
        (false, false) => (0, 2 * half - 1),
        // int4 loses its largest code, int8 and int16 do not.
        (true, true) if bits == 4 => (-half / 2, half / 2 - 1),
        (true, true) => (-half / 2, half / 2),
        (true, false) if is_symmetric && bits > 4 => (1 - half, half - 1),
        (true, false) => (-half, half - 1),
    };
    CodeRange::new(min, max).ok_or(ParameterError::Element(element))
}

/// The scale and the zero point whose codes cover `range` and 0: ONNX Runtime's `compute_scale_zp` for `float32`.
///
/// scale = (high − low) / (qmax − qmin) in `float64`, rounded to `float32`; zero point = round(qmin − low / scale),
/// ties to even. With `is_symmetric` the range is first widened to −m … m and the zero point is
/// round((qmin + qmax) / 2): 0 for signed codes, 128 for uint8. A range narrower than `min_real_range` is widened
/// upwards. Where the scale would be subnormal it is 1, and the zero point 0.
///
/// # Errors
///
/// [`ParameterError::Range`] for an end that is not finite, [`ParameterError::Codes`].
pub fn parameters(
    range: ClipRange,
    codes: CodeRange,
    is_symmetric: bool,
    min_real_range: Option<f32>,
) -> Result<Parameters, ParameterError> {
    if codes.min() > 0 || codes.max() < 0 {
        return Err(ParameterError::Codes(codes));
    }
    let (mut low, mut high) = with_zero(range, min_real_range)?;
    if is_symmetric {
        high = low.abs().max(high.abs());
        low = -high;
    }
    let (qmin, qmax) = (codes.min() as f64, codes.max() as f64);
    let scale = (f64::from(high) - f64::from(low)) / (qmax - qmin);
    if scale.is_nan() || scale < f64::from(f32::MIN_POSITIVE) {
        return Ok(Parameters { scale: 1.0, zero_point: 0 });
    }
    let zero_point = if is_symmetric { (qmin + qmax) / 2.0 } else { qmin - f64::from(low) / scale };
    Ok(Parameters { scale: scale as f32, zero_point: zero_point.round_ties_even() as i32 })
}

/// The parameters of a uint8 activation with `ActivationRestrictedAsymmetric`, ONNX Runtime's
/// `snap_zero_point_to_uint8`: the zero point is the smallest code where no value is below 0, otherwise the middle.
///
/// # Errors
///
/// Those of [`parameters`].
pub fn restricted_parameters(
    range: ClipRange,
    codes: CodeRange,
    min_real_range: Option<f32>,
) -> Result<Parameters, ParameterError> {
    if codes.min() > 0 || codes.max() < 0 {
        return Err(ParameterError::Codes(codes));
    }
    let (low, high) = with_zero(range, None)?;
    let (low, mut high) = (f64::from(low), f64::from(high));
    let least = f64::from(min_real_range.filter(|range| *range > 0.0).unwrap_or(0.0));
    high = high.max(low + least);
    let (qmin, qmax) = (codes.min(), codes.max());
    let count = (qmax - qmin) as f64;
    let middle = (qmin + qmax + 1) / 2;
    let (zero_point, scale) = if high <= low {
        (qmin, 1.0 / count.max(1.0))
    } else if low >= 0.0 {
        (qmin, high / count)
    } else {
        (middle, (-low / (middle - qmin) as f64).max(high / (qmax - middle) as f64))
    };
    let least = least / count;
    let scale = if f64::from(scale as f32) < least { least } else { scale };
    Ok(Parameters { scale: scale as f32, zero_point: zero_point as i32 })
}

/// The range with 0 in it and at least this wide.
fn with_zero(range: ClipRange, min_real_range: Option<f32>) -> Result<(f32, f32), ParameterError> {
    let (low, high) = (range.low.min(0.0), range.high.max(0.0));
    let high = min_real_range.map_or(high, |least| high.max(low + least));
    let is_finite = range.low.is_finite() && range.high.is_finite() && high.is_finite();
    if is_finite { Ok((low, high)) } else { Err(ParameterError::Range(range)) }
}
