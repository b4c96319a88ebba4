//! How one list of numbers follows from another: by a factor and an offset, and what these leave unexplained.

use crate::sum::Sum;

/// The least-squares fit `found ≈ gain · expected + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearFit {
    /// The factor.
    pub gain: f64,
    /// What is added.
    pub offset: f64,
    /// The SQNR of `found` against `expected` as they are, in dB.
    pub sqnr_db: f64,
    /// The SQNR of `(found − offset) / gain` against `expected`.
    pub fitted_sqnr_db: f64,
}

/// The sums that a fit is made from.
#[derive(Clone, Copy, Debug, Default)]
pub struct FitSums {
    count: u64,
    expected: Sum,
    found: Sum,
    squares: Sum,
    products: Sum,
    found_squares: Sum,
}

impl FitSums {
    /// Adds pairs of finite numbers; others are left out.
    pub fn add(&mut self, expected: &[f64], found: &[f64]) {
        for (expected, found) in expected.iter().zip(found) {
            if expected.is_finite() && found.is_finite() {
                self.count += 1;
                self.expected.add(*expected);
                self.found.add(*found);
                self.squares.add(expected * expected);
                self.products.add(expected * found);
                self.found_squares.add(found * found);
            }
        }
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        for (own, other) in [
            (&mut self.expected, &other.expected),
            (&mut self.found, &other.found),
            (&mut self.squares, &other.squares),
            (&mut self.products, &other.products),
            (&mut self.found_squares, &other.found_squares),
        ] {
            own.merge(*other);
        }
    }

    /// The fit; `None` of fewer than 3 pairs and of numbers that are all the same.
    pub fn fit(&self) -> Option<LinearFit> {
        let count = self.count as f64;
        let mean = |sum: &Sum| sum.value() / count;
        let (expected, found) = (mean(&self.expected), mean(&self.found));
        let variance = mean(&self.squares) - expected * expected;
        let covariance = mean(&self.products) - expected * found;
        let found_variance = mean(&self.found_squares) - found * found;
        // Differences of sums of squares lose digits: what is left of equal numbers counts as nothing.
        if self.count < 3 || variance <= 1e-12 * mean(&self.squares) {
            return None;
        }
        let gain = covariance / variance;
        let signal = mean(&self.squares);
        let noise = signal - 2.0 * mean(&self.products) + mean(&self.found_squares);
        let rest = (found_variance - gain * covariance).max(0.0) / (gain * gain);
        let decibels = |noise: f64| 10.0 * (signal / noise.max(signal * 1e-15)).log10();
        Some(LinearFit {
            gain,
            offset: found - gain * expected,
            sqnr_db: decibels(noise),
            fitted_sqnr_db: if gain == 0.0 { f64::NEG_INFINITY } else { decibels(rest) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(expected: &[f64], found: &[f64]) -> LinearFit {
        let mut sums = FitSums::default();
        let (first, second) = (expected.len() / 2, found.len() / 2);
        sums.add(&expected[..first], &found[..second]);
        let mut others = FitSums::default();
        others.add(&expected[first..], &found[second..]);
        sums.merge(&others);
        sums.fit().unwrap()
    }

    /// `numpy.polyfit([1, 2, 3, 5], [2.1, 3.9, 6.2, 9.8], 1)` gives 1.94285714 and 0.15714286.
    #[test]
    fn a_fit_is_that_of_numpy() {
        let found = fit(&[1.0, 2.0, 3.0, 5.0], &[2.1, 3.9, 6.2, 9.8]);
        assert!((found.gain - 1.942_857_143).abs() < 1e-8, "{found:?}");
        assert!((found.offset - 0.157_142_857).abs() < 1e-8, "{found:?}");
        // 10·log10(39 / 38.1): the squares of 1, 2, 3, 5 and of the differences 1.1, 1.9, 3.2, 4.8.
        assert!((found.sqnr_db - 10.0 * (39.0_f64 / 38.1).log10()).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn eight_times_too_large_is_a_gain_and_a_shift_an_offset() {
        let expected: Vec<f64> = (0..100).map(|index| f64::from(index % 13) - 6.0).collect();
        let of = |make: &dyn Fn(f64) -> f64| {
            let found: Vec<f64> = expected.iter().map(|value| make(*value)).collect();
            fit(&expected, &found)
        };
        let eight = of(&|value| 8.0 * value);
        assert!((eight.gain - 8.0).abs() < 1e-9 && eight.offset.abs() < 1e-9 && eight.fitted_sqnr_db > 100.0);
        let shifted = of(&|value| value - 2.5);
        assert!((shifted.gain - 1.0).abs() < 1e-9 && (shifted.offset + 2.5).abs() < 1e-9);
        let none = of(&|_| 0.0);
        assert_eq!(none.gain, 0.0);
        assert_eq!(none.fitted_sqnr_db, f64::NEG_INFINITY);
    }

    #[test]
    fn what_cannot_be_fitted_is_not() {
        let of = |expected: &[f64], found: &[f64]| {
            let mut sums = FitSums::default();
            sums.add(expected, found);
            sums.fit()
        };
        assert_eq!(of(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert_eq!(of(&[3.0; 10], &[1.0; 10]), None);
        assert_eq!(of(&[f64::NAN; 10], &[1.0; 10]), None);
    }
}
