//! Quantizing: from real values to codes, and what is left of a value after the round trip.

use crate::params::Affine;
use crate::range::CodeRange;

/// How x / scale is computed before it is rounded. The choices differ only where a value lies half-way between two
/// codes, or within a rounding error of it; there the code differs by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// round(x / s) + z in `f64`: the definition, and what NumPy gives for `float64` arrays.
    #[default]
    Float64,
    /// round(x / s) + z with x, s and the quotient in `float32`: ONNX Runtime's QuantizeLinear.
    Float32Division,
    /// round(x · (1 / s)) + z in `float32`: PyTorch's `fake_quantize_per_tensor_affine` and
    /// `fake_quantize_per_channel_affine`.
    Float32Reciprocal,
    /// round(x · (1 / s) + z) in `float32`, multiplied and added with one rounding: PyTorch's `quantize_per_tensor`
    /// and `quantize_per_channel` on x86-64 with FMA. A tie goes to the even *code*; the others go to the even
    /// distance from the zero point.
    Float32ReciprocalShifted,
}

/// Turns real values into codes: q = clamp(round_half_to_even(x / s) + z, qmin, qmax), as ONNX QuantizeLinear
/// defines it.
///
/// Infinities saturate. NaN becomes qmin, as in ONNX Runtime on x86-64; the definitions leave it open, so count NaN
/// (see [`Statistics`](crate::Statistics)) before quantizing. A scale of 0 saturates everything except 0, which
/// becomes NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantizer {
    affine: Affine,
    codes: CodeRange,
    arithmetic: Arithmetic,
}

impl Quantizer {
    /// With this scale and zero point, to these codes, in `f64`.
    pub fn new(affine: Affine, codes: CodeRange) -> Self {
        Self { affine, codes, arithmetic: Arithmetic::Float64 }
    }

    /// The same with another arithmetic.
    pub fn with_arithmetic(self, arithmetic: Arithmetic) -> Self {
        Self { arithmetic, ..self }
    }

    /// The scale and the zero point.
    pub fn affine(self) -> Affine {
        self.affine
    }

    /// The codes that values are clamped to.
    pub fn codes(self) -> CodeRange {
        self.codes
    }

    /// The code of `value`.
    pub fn quantize(self, value: f64) -> i64 {
        self.code(value) as i64
    }

    /// The value that the code of `value` stands for.
    pub fn fake_quantize(self, value: f64) -> f64 {
        self.affine.dequantize(self.code(value))
    }

    /// Replaces values by their codes, whole numbers held in `f64`.
    pub fn quantize_in_place(self, values: &mut [f64]) {
        self.map(values, |code| code);
    }

    /// Replaces values by the values that their codes stand for.
    pub fn fake_quantize_in_place(self, values: &mut [f64]) {
        self.map(values, |code| self.affine.dequantize(code));
    }

    /// Whether `value` is outside what the codes can represent, that is outside [`Affine::representable_range`];
    /// false for NaN.
    pub fn clips(self, value: f64) -> bool {
        self.affine
            .representable_range(self.codes)
            .is_some_and(|range| value < range.low() || value > range.high())
    }

    fn code(self, value: f64) -> f64 {
        let mut values = [value];
        self.quantize_in_place(&mut values);
        values[0]
    }

    /// One loop per arithmetic, without a branch inside.
    fn map(self, values: &mut [f64], finish: impl Fn(f64) -> f64) {
        let (min, max) = (self.codes.min() as f64, self.codes.max() as f64);
        let clamped = |code: f64| finish(if code >= min { if code > max { max } else { code } } else { min });
        let Affine { scale, zero_point } = self.affine;
        let reciprocal = 1.0 / scale as f32;
        match self.arithmetic {
            Arithmetic::Float64 => {
                for value in values {
                    *value = clamped(round_half_to_even(*value / scale) + zero_point);
                }
            }
            Arithmetic::Float32Division => {
                for value in values {
                    let quotient = *value as f32 / scale as f32;
                    *value = clamped(round_half_to_even(f64::from(quotient)) + zero_point);
                }
            }
            Arithmetic::Float32Reciprocal => {
                for value in values {
                    let quotient = *value as f32 * reciprocal;
                    *value = clamped(round_half_to_even(f64::from(quotient)) + zero_point);
                }
            }
            Arithmetic::Float32ReciprocalShifted => {
                for value in values {
                    // The product of two binary32 is exact in binary64.
                    let product = f64::from(*value as f32) * f64::from(reciprocal);
                    *value = clamped(round_half_to_even(f64::from((product + zero_point) as f32)));
                }
            }
        }
    }
}

/// Like [`f64::round_ties_even`], in two additions that every processor has: near 2^52 neighbouring numbers are 1
/// apart, so the addition itself rounds, ties to even.
#[inline(always)]
fn round_half_to_even(value: f64) -> f64 {
    const SHIFT: f64 = (1u64 << 52) as f64;
    let magnitude = value.abs();
    let rounded = ((magnitude + SHIFT) - SHIFT).copysign(value);
    if magnitude < SHIFT { rounded } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int8(scale: f64, zero_point: f64) -> Quantizer {
        Quantizer::new(Affine::new(scale, zero_point), CodeRange::new(-128, 127).unwrap())
    }

    fn codes(quantizer: Quantizer, values: &[f64]) -> Vec<i64> {
        values.iter().map(|value| quantizer.quantize(*value)).collect()
    }

    #[test]
    fn rounding_agrees_with_the_standard_library() {
        let mut values =
            vec![0.0, -0.0, 0.49999999999999994, 4503599627370495.5, 9e15, f64::INFINITY, 1e-320];
        values.extend((-50..50).map(|half| f64::from(half) / 2.0));
        for value in values.iter().flat_map(|value| [*value, -value, value.next_up(), value.next_down()]) {
            assert_eq!(round_half_to_even(value).to_bits(), value.round_ties_even().to_bits(), "{value:e}");
        }
        assert!(round_half_to_even(f64::NAN).is_nan());
    }

    /// The codes that onnxruntime 1.31.1 gives for QuantizeLinear on x86-64.
    #[test]
    fn saturates_at_the_type_limits() {
        let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, -1e30, 0.5, 1.5, 2.5, -0.5, -1.5];
        assert_eq!(codes(int8(1.0, 0.0), &values), [-128, 127, -128, 127, -128, 0, 2, 2, 0, -2]);
        assert_eq!(codes(int8(1.0, 3.0), &values), [-128, 127, -128, 127, -128, 3, 5, 5, 3, 1]);
        assert_eq!(codes(int8(-1.0, 0.0), &values), [-128, -128, 127, -128, 127, 0, -2, -2, 0, 2]);
        assert_eq!(codes(int8(0.0, 0.0), &[1.0, -1.0, 0.0]), [127, -128, -128]);
    }

    /// Each line holds a value, its scale, and the codes from NumPy in float64, from onnxruntime 1.31.1's
    /// QuantizeLinear, and from torch 2.13.0's `quantize_per_tensor` and `fake_quantize_per_tensor_affine` with zero
    /// point 0.
    #[test]
    fn each_arithmetic_gives_the_codes_of_its_runtime() {
        let lines = [
            (f32::from_bits(0xc13f3333), 0.1f32, [-119, -120, -120]),
            (f32::from_bits(0xc1326666), 0.1, [-111, -111, -112]),
            (f32::from_bits(0xc2096667), 0.3, [-115, -114, -115]),
            (f32::from_bits(0xc20d0000), 0.3, [-117, -117, -118]),
            (f32::from_bits(0xbf40a3d7), 0.007, [-107, -108, -107]),
        ];
        for (value, scale, expected) in &lines {
            let quantizer = int8(f64::from(*scale), 0.0);
            let code = |arithmetic| quantizer.with_arithmetic(arithmetic).quantize(f64::from(*value));
            let found = [
                code(Arithmetic::Float64),
                code(Arithmetic::Float32Division),
                code(Arithmetic::Float32Reciprocal),
            ];
            assert_eq!(found, *expected, "{value:e} / {scale}");
            assert_eq!(code(Arithmetic::Float32ReciprocalShifted), expected[2]);
        }
    }

    /// torch.quantize_per_tensor(tensor([0.5, 1.5, 2.5, -0.5]), 1.0, z, torch.quint8) for z = 3 and 7.
    #[test]
    fn pytorch_sends_ties_to_the_even_code() {
        for (zero_point, expected) in [(3.0, [4, 4, 6, 2]), (7.0, [8, 8, 10, 6])] {
            let quantizer = Quantizer::new(Affine::new(1.0, zero_point), CodeRange::new(0, 255).unwrap())
                .with_arithmetic(Arithmetic::Float32ReciprocalShifted);
            assert_eq!(codes(quantizer, &[0.5, 1.5, 2.5, -0.5]), expected);
        }
    }

    #[test]
    fn only_what_is_beyond_the_outermost_codes_is_clipped() {
        let quantizer = int8(0.5, 0.0);
        assert!(!quantizer.clips(63.5) && quantizer.clips(63.6) && quantizer.clips(f64::NEG_INFINITY));
        assert!(!quantizer.clips(f64::NAN));
    }

    #[test]
    fn a_fractional_zero_point_shifts_the_values_and_not_the_rounding() {
        let quantizer = Quantizer::new(Affine::new(1.0, 7.5), CodeRange::new(0, 15).unwrap());
        assert_eq!(quantizer.fake_quantize(0.0), 0.0);
    }
}
