//! Compensated summation.

/// A sum that keeps the rounding error of every addition (Neumaier's variant of Kahan's summation), so that
/// millions of blocks add up as if in twice the precision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    total: f64,
    lost: f64,
}

impl Sum {
    /// `count` · `value` + `rest`, the product exact.
    pub(crate) fn of_product(count: f64, value: f64, rest: f64) -> Self {
        let total = count * value;
        let lost = if total.is_finite() { count.mul_add(value, -total) + rest } else { 0.0 };
        Self { total, lost }
    }

    /// The sum divided by `count`, and what the division lost to rounding.
    pub(crate) fn divided_by(self, count: f64) -> (f64, f64) {
        let quotient = self.total / count;
        let lost = ((-quotient).mul_add(count, self.total) + self.lost) / count;
        (quotient, if quotient.is_finite() { lost } else { 0.0 })
    }

    pub(crate) fn add(&mut self, value: f64) {
        let total = self.total + value;
        // Beyond the range of f64 there is no rounding error to keep, only NaN.
        if total.is_finite() {
            self.lost += if self.total.abs() >= value.abs() {
                (self.total - total) + value
            } else {
                (value - total) + self.total
            };
        }
        self.total = total;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.add(other.total);
        self.add(other.lost);
    }

    pub(crate) fn value(self) -> f64 {
        self.total + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_beside_large_ones() {
        let mut sum = Sum::default();
        for value in [1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.value(), 1.0);
    }

    #[test]
    fn a_mean_keeps_what_division_loses() {
        let (mean, lost) = Sum::of_product(3.0, 0.1, 0.0).divided_by(3.0);
        assert_eq!(mean + lost, 0.1);
        let (third, lost) = Sum::of_product(1.0, 1.0, 0.0).divided_by(3.0);
        assert!(lost != 0.0 && lost.abs() < f64::EPSILON * third);
    }

    #[test]
    fn an_overflow_stays_infinite() {
        let mut sum = Sum::default();
        sum.add(f64::MAX);
        sum.add(f64::MAX);
        sum.add(1.0);
        assert_eq!(sum.value(), f64::INFINITY);
    }
}
