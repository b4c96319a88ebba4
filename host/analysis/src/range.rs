//! Ranges of codes and of real values, and how many values lie inside one.

use qp_elements::ElementType;

/// The codes from `min` to `max`, both included: what a quantized value can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeRange {
    min: i64,
    max: i64,
}

impl CodeRange {
    /// The codes from `min` to `max`, for quantizers that leave some codes of a type unused (−127..=127, or 0..=127
    /// for seven bits); `None` when `min` is above `max`.
    pub fn new(min: i64, max: i64) -> Option<Self> {
        (min <= max).then_some(Self { min, max })
    }

    /// All codes of an integer type of at most 32 bits; `None` for any other type.
    pub fn of(element: ElementType) -> Option<Self> {
        match element {
            ElementType::Int { bits: bits @ 1..=32, is_signed: true } => {
                Some(Self { min: -(1 << (bits - 1)), max: (1 << (bits - 1)) - 1 })
            }
            ElementType::Int { bits: bits @ 1..=32, is_signed: false } => {
                Some(Self { min: 0, max: (1 << bits) - 1 })
            }
            _ => None,
        }
    }

    /// The smallest code.
    pub fn min(self) -> i64 {
        self.min
    }

    /// The largest code.
    pub fn max(self) -> i64 {
        self.max
    }

    /// How many codes there are.
    pub fn count(self) -> u64 {
        self.max.abs_diff(self.min).saturating_add(1)
    }

    /// Whether `code` is one of them: a whole number from the smallest to the largest.
    pub fn contains(self, code: f64) -> bool {
        code.fract() == 0.0 && self.min as f64 <= code && code <= self.max as f64
    }

    /// The zero point that makes a scheme symmetric: 0 for signed codes, otherwise the middle, rounded up (128 for
    /// uint8).
    pub fn symmetric_zero_point(self) -> i64 {
        if self.min < 0 { 0 } else { self.min + (self.max - self.min) / 2 + (self.max - self.min) % 2 }
    }
}

/// The real values from `low` to `high`, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueRange {
    low: f64,
    high: f64,
}

impl ValueRange {
    /// The values from `low` to `high`, which may be infinite; `None` when `low` is above `high` or one of them is
    /// NaN.
    pub fn new(low: f64, high: f64) -> Option<Self> {
        (low <= high).then_some(Self { low, high })
    }

    /// The lower end.
    pub fn low(self) -> f64 {
        self.low
    }

    /// The upper end.
    pub fn high(self) -> f64 {
        self.high
    }

    /// `high` − `low`.
    pub fn width(self) -> f64 {
        self.high - self.low
    }

    /// Whether `value` lies inside; false for NaN.
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// How many values lie inside, below and above a range. Infinities lie below or above, unless the range reaches them;
/// NaN is counted separately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeCount {
    count: u64,
    below: u64,
    above: u64,
    nan_count: u64,
}

impl RangeCount {
    /// With no values yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `values`, compared with `range`. Values of a channel with another range may be added to the same count.
    pub fn add(&mut self, values: &[f64], range: ValueRange) {
        for block in values.chunks(1 << 12) {
            let (mut below, mut above, mut nan) = (0u32, 0u32, 0u32);
            for value in block {
                below += u32::from(*value < range.low);
                above += u32::from(*value > range.high);
                nan += u32::from(value.is_nan());
            }
            self.below += u64::from(below);
            self.above += u64::from(above);
            self.nan_count += u64::from(nan);
        }
        self.count += values.len() as u64;
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.below += other.below;
        self.above += other.above;
        self.nan_count += other.nan_count;
    }

    /// The number of all values, including NaN.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The number of values inside the range.
    pub fn inside(&self) -> u64 {
        self.count - self.below - self.above - self.nan_count
    }

    /// The number of values below the range, including −∞.
    pub fn below(&self) -> u64 {
        self.below
    }

    /// The number of values above the range, including +∞.
    pub fn above(&self) -> u64 {
        self.above
    }

    /// The number of values that are NaN.
    pub fn nan_count(&self) -> u64 {
        self.nan_count
    }

    /// The share of values inside the range, among those that are not NaN; `None` if there are none.
    pub fn inside_share(&self) -> Option<f64> {
        self.share(self.inside())
    }

    /// The share of values outside the range, among those that are not NaN; `None` if there are none. With the
    /// representable range of a quantized tensor and the reference's values, this is the clipped share.
    pub fn outside_share(&self) -> Option<f64> {
        self.share(self.below + self.above)
    }

    fn share(&self, part: u64) -> Option<f64> {
        let numbers = self.count - self.nan_count;
        (numbers > 0).then(|| part as f64 / numbers as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_types_have_their_twos_complement_limits() {
        let limits = |bits, is_signed| {
            CodeRange::of(ElementType::Int { bits, is_signed }).map(|codes| (codes.min(), codes.max()))
        };
        assert_eq!(limits(8, true), Some((-128, 127)));
        assert_eq!(limits(8, false), Some((0, 255)));
        assert_eq!(limits(2, true), Some((-2, 1)));
        assert_eq!(limits(32, true), Some((i64::from(i32::MIN), i64::from(i32::MAX))));
        assert_eq!(limits(64, true), None);
        assert_eq!(CodeRange::of(ElementType::Float32), None);
        assert_eq!(CodeRange::new(1, 0), None);
    }

    #[test]
    fn the_symmetric_zero_point_is_zero_or_the_middle() {
        let middle = |min, max| CodeRange::new(min, max).unwrap().symmetric_zero_point();
        assert_eq!([middle(-128, 127), middle(-127, 127), middle(0, 255), middle(0, 15)], [0, 0, 128, 8]);
    }

    #[test]
    fn fractions_and_nan_are_no_codes() {
        let codes = CodeRange::new(0, 15).unwrap();
        assert!(codes.contains(15.0) && !codes.contains(15.5) && !codes.contains(16.0));
        assert!(!codes.contains(f64::NAN) && !codes.contains(f64::INFINITY));
    }

    #[test]
    fn both_ends_are_inside_infinities_outside_and_nan_apart() {
        let range = ValueRange::new(-1.0, 1.0).unwrap();
        let mut count = RangeCount::new();
        count.add(&[-1.0, 1.0, 0.0, 1.5, -7.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN], range);
        assert_eq!((count.inside(), count.below(), count.above(), count.nan_count()), (3, 2, 2, 1));
        assert_eq!(count.outside_share(), Some(4.0 / 7.0));
        assert_eq!(RangeCount::new().inside_share(), None);
        assert_eq!(ValueRange::new(f64::NAN, 1.0), None);
    }
}
