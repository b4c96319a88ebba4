//! Scales and zero points: what they mean, and the range of values that they can represent.

use crate::range::{CodeRange, ValueRange};
use std::fmt;

/// One scale and one zero point: real = scale · (q − zero_point).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// The distance between two neighbouring codes, in the unit of the real values.
    pub scale: f64,
    /// The code of the real value 0. Nearly always a whole number; some weight-only schemes use fractions.
    pub zero_point: f64,
}

impl Affine {
    /// Every code is its own value.
    pub const IDENTITY: Self = Self { scale: 1.0, zero_point: 0.0 };

    /// With this scale and zero point.
    pub const fn new(scale: f64, zero_point: f64) -> Self {
        Self { scale, zero_point }
    }

    /// scale · (code − zero_point), in `f64`. Runtimes round the same product to their own type, mostly
    /// `float32`.
    pub fn dequantize(self, code: f64) -> f64 {
        self.scale * (code - self.zero_point)
    }

    /// Turns codes into the values that they stand for.
    pub fn dequantize_in_place(self, codes: &mut [f64]) {
        for code in codes {
            *code = self.dequantize(*code);
        }
    }

    /// The values from scale · (qmin − zero_point) to scale · (qmax − zero_point), in ascending order even for a
    /// negative scale; `None` when one of them is NaN.
    pub fn representable_range(self, codes: CodeRange) -> Option<ValueRange> {
        let (low, high) = (self.dequantize(codes.min() as f64), self.dequantize(codes.max() as f64));
        ValueRange::new(low, high).or_else(|| ValueRange::new(high, low))
    }

    /// Whether the zero point is the middle of the codes: 0 for signed types, half the range for unsigned
    /// ones.
    pub fn is_symmetric(self, codes: CodeRange) -> bool {
        self.zero_point == codes.symmetric_zero_point() as f64
    }
}

/// The scales and zero points of one tensor, per tensor, channel or block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AffineList<'a> {
    scales: &'a [f64],
    zero_points: &'a [f64],
}

impl<'a> AffineList<'a> {
    /// With these scales and as many zero points, or one for all, or none when all are zero.
    ///
    /// # Errors
    ///
    /// [`CountMismatch`] for any other number of zero points.
    pub fn new(scales: &'a [f64], zero_points: &'a [f64]) -> Result<Self, CountMismatch> {
        if zero_points.len() > 1 && zero_points.len() != scales.len() {
            return Err(CountMismatch { expected: scales.len() as u64, found: zero_points.len() as u64 });
        }
        Ok(Self { scales, zero_points })
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.scales.len()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.scales.is_empty()
    }

    /// The scales.
    pub fn scales(self) -> &'a [f64] {
        self.scales
    }

    /// The zero points: as many as scales, or one for all, or none when all are zero.
    pub fn zero_points(self) -> &'a [f64] {
        self.zero_points
    }

    /// The scale and zero point at this index; `None` beyond the end.
    pub fn get(self, index: usize) -> Option<Affine> {
        let zero_point = match self.zero_points {
            [] => 0.0,
            [one] => *one,
            many => *many.get(index)?,
        };
        Some(Affine::new(*self.scales.get(index)?, zero_point))
    }

    /// All of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Affine> + use<'a> {
        (0..self.scales.len()).filter_map(move |index| self.get(index))
    }

    /// Whether every zero point is the middle of the codes.
    pub fn is_symmetric(self, codes: CodeRange) -> bool {
        self.iter().all(|affine| affine.is_symmetric(codes))
    }

    /// The smallest range that contains every representable range; `None` when there is none.
    pub fn representable_range(self, codes: CodeRange) -> Option<ValueRange> {
        let finite = self.iter().filter(|affine| affine.scale.is_finite() && affine.zero_point.is_finite());
        finite.filter_map(|affine| affine.representable_range(codes)).reduce(|whole, part| {
            ValueRange::new(whole.low().min(part.low()), whole.high().max(part.high())).unwrap_or(whole)
        })
    }
}

/// The number of scales or zero points is not what their tensor needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountMismatch {
    /// How many there should be.
    pub expected: u64,
    /// How many there are.
    pub found: u64,
}

impl fmt::Display for CountMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} quantization parameters instead of {}", self.found, self.expected)
    }
}

impl std::error::Error for CountMismatch {}

/// A summary of one tensor's scales, without those that are not finite or not above zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleSummary {
    /// The smallest.
    pub min: f64,
    /// The median; for an even number, the mean of the two middle ones.
    pub median: f64,
    /// The largest.
    pub max: f64,
    /// How many were left out because they are zero, negative, infinite or NaN.
    pub invalid_count: usize,
}

impl ScaleSummary {
    /// The summary of `scales`; `None` when none of them is finite and above zero.
    pub fn of(scales: &[f64]) -> Option<Self> {
        let mut valid: Vec<f64> =
            scales.iter().copied().filter(|scale| *scale > 0.0 && scale.is_finite()).collect();
        valid.sort_by(f64::total_cmp);
        let (min, max) = (*valid.first()?, *valid.last()?);
        let middle = valid.len() / 2;
        let median = if valid.len().is_multiple_of(2) {
            valid[middle - 1] / 2.0 + valid[middle] / 2.0
        } else {
            valid[middle]
        };
        Some(Self { min, median, max, invalid_count: scales.len() - valid.len() })
    }

    /// The largest scale divided by the smallest: 1 when all are equal.
    pub fn spread_ratio(self) -> f64 {
        self.max / self.min
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT8: (i64, i64) = (-128, 127);

    fn codes((min, max): (i64, i64)) -> CodeRange {
        CodeRange::new(min, max).unwrap()
    }

    #[test]
    fn the_representable_range_follows_the_zero_point() {
        let range = Affine::new(0.5, -128.0).representable_range(codes(INT8)).unwrap();
        assert_eq!((range.low(), range.high()), (0.0, 127.5));
        let range = Affine::new(-0.5, 0.0).representable_range(codes(INT8)).unwrap();
        assert_eq!((range.low(), range.high()), (-63.5, 64.0));
        assert_eq!(Affine::new(f64::NAN, 0.0).representable_range(codes(INT8)), None);
    }

    #[test]
    fn zero_points_are_one_each_or_one_for_all_or_none() {
        let scales = [0.1, 0.2, 0.3];
        assert_eq!(AffineList::new(&scales, &[]).unwrap().get(2), Some(Affine::new(0.3, 0.0)));
        assert_eq!(AffineList::new(&scales, &[5.0]).unwrap().get(1), Some(Affine::new(0.2, 5.0)));
        assert_eq!(AffineList::new(&scales, &[1.0, 2.0, 3.0]).unwrap().get(3), None);
        let error = AffineList::new(&scales, &[1.0, 2.0]).unwrap_err();
        assert_eq!(error.to_string(), "2 quantization parameters instead of 3");
    }

    #[test]
    fn one_channel_off_the_middle_makes_a_tensor_asymmetric() {
        let scales = [0.1, 0.2];
        assert!(AffineList::new(&scales, &[0.0, 0.0]).unwrap().is_symmetric(codes(INT8)));
        assert!(!AffineList::new(&scales, &[0.0, 1.0]).unwrap().is_symmetric(codes(INT8)));
        assert!(AffineList::new(&scales, &[128.0]).unwrap().is_symmetric(codes((0, 255))));
    }

    #[test]
    fn a_summary_leaves_invalid_scales_out_and_says_so() {
        let summary = ScaleSummary::of(&[0.4, 0.1, f64::NAN, 0.2, 0.0, 0.3]).unwrap();
        assert_eq!((summary.min, summary.median, summary.max), (0.1, 0.25, 0.4));
        assert_eq!((summary.invalid_count, summary.spread_ratio()), (2, 4.0));
        assert_eq!(ScaleSummary::of(&[0.0]), None);
    }
}
