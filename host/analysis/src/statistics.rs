//! Counts, extremes and moments of a tensor, taken as its elements pass.

mod block;

use crate::params::Affine;
use crate::sum::Sum;
use block::{Element, Survey, deviations, survey};
use qp_elements::{BLOCK_ELEMENTS, ElementType};

/// Counts, extremes and moments of all values that were added.
///
/// NaN and the infinities are counted and excluded from everything else: minimum, maximum, mean and standard
/// deviation are those of the finite values.
///
/// The sum is compensated, and the squared deviations of each block are taken from the block's own mean and merged
/// pairwise (Chan, Golub and LeVeque 1983), so a large common offset costs no accuracy. Splitting the same values
/// into other pieces changes results in the last bits only, and never changes counts or extremes.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    finite_count: u64,
    nan_count: u64,
    positive_infinity_count: u64,
    negative_infinity_count: u64,
    zero_count: u64,
    min: f64,
    max: f64,
    sum: Sum,
    /// Sum of the squared deviations from the mean.
    squared_deviations: f64,
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            finite_count: 0,
            nan_count: 0,
            positive_infinity_count: 0,
            negative_infinity_count: 0,
            zero_count: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: Sum::default(),
            squared_deviations: 0.0,
        }
    }
}

impl Statistics {
    /// With no values yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The statistics of `values`.
    pub fn of(values: &[f64]) -> Self {
        let mut statistics = Self::new();
        statistics.add(values);
        statistics
    }

    /// Adds `values`.
    pub fn add(&mut self, values: &[f64]) {
        for block in values.chunks(BLOCK_ELEMENTS) {
            self.add_block(block);
        }
    }

    /// Adds the first `count` elements of `bytes`. Returns how many there were: fewer than `count` when `bytes` ends
    /// early.
    pub fn add_elements(&mut self, element: ElementType, bytes: &[u8], count: usize) -> usize {
        self.add_quantized(element, bytes, count, Affine::IDENTITY)
    }

    /// Adds the dequantized values, scale · (q − zero_point), of the first `count` codes q of `bytes`. Returns how
    /// many there were: fewer than `count` when `bytes` ends early.
    pub fn add_quantized(
        &mut self,
        element: ElementType,
        bytes: &[u8],
        count: usize,
        affine: Affine,
    ) -> usize {
        let available = count.min(element.elements_in(bytes.len()));
        let counted = match element.count_codes(bytes, available) {
            Some(mut codes) => {
                for (value, _) in &mut codes.values {
                    *value = affine.dequantize(*value);
                }
                self.add_weighted(&codes.values);
                codes.elements
            }
            None => 0,
        };
        let rest = &bytes[element.packed_bytes(counted).min(bytes.len())..];
        let is_identity = affine == Affine::IDENTITY;
        if is_identity && element.is_single() {
            return counted
                + element.for_each_single_block(rest, available - counted, |block| self.add_block(block));
        }
        counted
            + element.for_each_block(rest, available - counted, |values| {
                if !is_identity {
                    affine.dequantize_in_place(values);
                }
                self.add(values);
            })
    }

    /// Adds each value as often as the number next to it says.
    pub fn add_weighted(&mut self, values: &[(f64, u64)]) {
        let mut part = Self::new();
        for &(value, count) in values {
            if !value.is_finite() {
                part.count_special(value, count);
            } else if count > 0 {
                part.finite_count += count;
                part.zero_count += if value == 0.0 { count } else { 0 };
                part.min = part.min.min(value);
                part.max = part.max.max(value);
                part.sum.add(value * count as f64);
            }
        }
        if let Some(mean) = part.mean() {
            part.squared_deviations = values
                .iter()
                .filter(|(value, _)| value.is_finite())
                .map(|(value, count)| (value - mean) * (value - mean) * *count as f64)
                .sum();
        }
        self.merge(&part);
    }

    /// Adds the values that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        self.nan_count += other.nan_count;
        self.positive_infinity_count += other.positive_infinity_count;
        self.negative_infinity_count += other.negative_infinity_count;
        if self.finite_count == 0 || other.finite_count == 0 {
            if other.finite_count > 0 {
                self.finite_count = other.finite_count;
                self.zero_count = other.zero_count;
                self.min = other.min;
                self.max = other.max;
                self.sum = other.sum;
                self.squared_deviations = other.squared_deviations;
            }
            return;
        };
        let (count, other_count) = (self.finite_count as f64, other.finite_count as f64);
        let (mean, mean_lost) = self.sum.divided_by(count);
        let (other_mean, other_mean_lost) = other.sum.divided_by(other_count);
        let apart = (other_mean - mean) + (other_mean_lost - mean_lost);
        let between = apart * apart * count * (other_count / (count + other_count));
        self.squared_deviations += other.squared_deviations + between;
        self.finite_count += other.finite_count;
        self.zero_count += other.zero_count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum.merge(other.sum);
    }

    /// The number of all values, including NaN and the infinities.
    pub fn count(&self) -> u64 {
        self.finite_count + self.non_finite_count()
    }

    /// The number of values that are neither NaN nor infinite.
    pub fn finite_count(&self) -> u64 {
        self.finite_count
    }

    /// The number of values that are NaN or infinite.
    pub fn non_finite_count(&self) -> u64 {
        self.nan_count + self.positive_infinity_count + self.negative_infinity_count
    }

    /// The number of values that are NaN.
    pub fn nan_count(&self) -> u64 {
        self.nan_count
    }

    /// The number of values that are +∞.
    pub fn positive_infinity_count(&self) -> u64 {
        self.positive_infinity_count
    }

    /// The number of values that are −∞.
    pub fn negative_infinity_count(&self) -> u64 {
        self.negative_infinity_count
    }

    /// The number of values that are zero, of either sign.
    pub fn zero_count(&self) -> u64 {
        self.zero_count
    }

    /// The smallest finite value; `None` if there is none.
    pub fn min(&self) -> Option<f64> {
        (self.finite_count > 0).then_some(self.min)
    }

    /// The largest finite value; `None` if there is none.
    pub fn max(&self) -> Option<f64> {
        (self.finite_count > 0).then_some(self.max)
    }

    /// The largest magnitude of a finite value; `None` if there is none.
    pub fn abs_max(&self) -> Option<f64> {
        (self.finite_count > 0).then(|| self.min.abs().max(self.max.abs()))
    }

    /// The sum of the finite values; 0 if there are none.
    pub fn sum(&self) -> f64 {
        self.sum.value()
    }

    /// The mean of the finite values; `None` if there are none.
    pub fn mean(&self) -> Option<f64> {
        (self.finite_count > 0).then(|| self.sum.value() / self.finite_count as f64)
    }

    /// The population variance of the finite values, Σ(x − mean)² / n as in NumPy's `var`; `None` if there are none.
    pub fn variance(&self) -> Option<f64> {
        (self.finite_count > 0).then(|| self.squared_deviations / self.finite_count as f64)
    }

    /// The population standard deviation of the finite values, as in NumPy's `std`; `None` if there are none.
    pub fn standard_deviation(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }

    /// The share of zeros among all values; `None` if there are none.
    pub fn zero_share(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.zero_count as f64 / self.count() as f64)
    }

    /// Adds at most [`BLOCK_ELEMENTS`] values.
    fn add_block<E: Element>(&mut self, block: &[E]) {
        let found = survey(block);
        if found.sum.is_finite() {
            self.merge_finite(block, found);
        } else {
            self.add_with_specials(block);
        }
    }

    /// Adds a block of finite values, given the results of a first pass over it.
    fn merge_finite<E: Element>(&mut self, block: &[E], found: Survey) {
        if block.is_empty() {
            return;
        }
        let count = block.len() as f64;
        let mean = found.sum / count;
        // The sum of the deviations is what rounding left out of the mean.
        let (deviations, squares) = deviations(block, mean);
        let corrected = squares - deviations * (deviations / count);
        self.merge(&Self {
            finite_count: block.len() as u64,
            zero_count: found.zero_count,
            min: found.min,
            max: found.max,
            sum: Sum::of_product(count, mean, deviations),
            squared_deviations: if corrected < 0.0 { 0.0 } else { corrected },
            ..Self::default()
        });
    }

    #[cold]
    fn add_with_specials<E: Element>(&mut self, block: &[E]) {
        let mut finite: Vec<f64> = Vec::with_capacity(block.len());
        for value in block {
            let value = value.real().into();
            if value.is_finite() {
                finite.push(value);
            } else {
                self.count_special(value, 1);
            }
        }
        let found = survey(&finite);
        self.merge_finite(&finite, found);
    }

    fn count_special(&mut self, value: f64, count: u64) {
        if value.is_nan() {
            self.nan_count += count;
        } else if value > 0.0 {
            self.positive_infinity_count += count;
        } else {
            self.negative_infinity_count += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_moments() {
        let statistics = Statistics::new();
        assert_eq!((statistics.count(), statistics.min(), statistics.mean()), (0, None, None));
        assert_eq!((statistics.standard_deviation(), statistics.zero_share()), (None, None));
    }

    #[test]
    fn specials_are_counted_and_excluded_from_the_moments() {
        let values = [1.0, f64::NAN, 3.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -0.0];
        let statistics = Statistics::of(&values);
        assert_eq!((statistics.count(), statistics.finite_count()), (7, 3));
        assert_eq!((statistics.nan_count(), statistics.non_finite_count()), (2, 4));
        assert_eq!((statistics.positive_infinity_count(), statistics.negative_infinity_count()), (1, 1));
        assert_eq!((statistics.min(), statistics.max(), statistics.zero_count()), (Some(0.0), Some(3.0), 1));
        assert_eq!(statistics.mean(), Some(4.0 / 3.0));
        assert_eq!(Statistics::of(&[f64::NAN; 3000]).mean(), None);
    }

    /// The reference decodes to `f64` before it adds.
    #[test]
    fn types_that_are_taken_as_float32_give_the_same_to_the_last_bit() {
        let mut state = 7u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Bytes of large and small numbers, of both zeros, and sometimes of NaN and infinities.
            match state >> 60 {
                0 | 1 => 0x00,
                2 => 0x80,
                3 if state >> 50 & 0xff == 0 => 0xff,
                _ => (state >> 40) as u8 & 0xbf,
            }
        })
        .take(100_003)
        .collect();
        for element in [ElementType::Float32, ElementType::Float16, ElementType::BFloat16] {
            for count in [0, 1, 6, BLOCK_ELEMENTS, 5 * BLOCK_ELEMENTS + 7, usize::MAX] {
                let mut direct = Statistics::new();
                let added = direct.add_elements(element, &bytes, count);
                let mut expected = Statistics::new();
                let decoded = element.for_each_block(&bytes, count, |values| expected.add(values));
                assert_eq!((added, &direct), (decoded, &expected), "{element:?} {count}");
                let signs = [direct.min, direct.max].map(f64::is_sign_negative);
                assert_eq!(signs, [expected.min, expected.max].map(f64::is_sign_negative));
            }
        }
    }

    #[test]
    fn equal_values_do_not_deviate() {
        for value in [0.1, 1e9 + 0.1, -1e-300, 16777217.0] {
            let statistics = Statistics::of(&vec![value; 5003]);
            let deviation = statistics.standard_deviation().unwrap();
            assert!(deviation <= 1e-16 * value.abs(), "{value}: {deviation}");
            assert!((statistics.mean().unwrap() - value).abs() <= f64::EPSILON * value.abs());
        }
    }

    #[test]
    fn a_sum_beyond_f64_is_no_number_of_its_own() {
        let statistics = Statistics::of(&[f64::MAX; 10]);
        assert_eq!((statistics.finite_count(), statistics.max()), (10, Some(f64::MAX)));
        assert_eq!(statistics.mean(), Some(f64::INFINITY));
    }
}
