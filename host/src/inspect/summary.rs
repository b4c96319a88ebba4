//! Statistics and code usage as they appear in results.

use qp_analysis::{CodeUsage, Statistics};

/// [`Statistics`] as a result; `None` without finite values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// All elements.
    pub count: u64,
    /// The smallest finite value.
    pub min: Option<f64>,
    /// The largest finite value.
    pub max: Option<f64>,
    /// The mean of the finite values.
    pub mean: Option<f64>,
    /// The population's: NumPy's `std` with its default `ddof` of 0.
    pub standard_deviation: Option<f64>,
    /// Elements that are zero, of either sign.
    pub zeros: u64,
    /// Elements that are NaN.
    pub nan: u64,
    /// Elements that are +∞.
    pub positive_infinities: u64,
    /// Elements that are −∞.
    pub negative_infinities: u64,
}

impl From<&Statistics> for Summary {
    fn from(statistics: &Statistics) -> Self {
        Self {
            count: statistics.count(),
            min: statistics.min(),
            max: statistics.max(),
            mean: statistics.mean(),
            standard_deviation: statistics.standard_deviation(),
            zeros: statistics.zero_count(),
            nan: statistics.nan_count(),
            positive_infinities: statistics.positive_infinity_count(),
            negative_infinities: statistics.negative_infinity_count(),
        }
    }
}

impl Summary {
    /// Elements that are NaN or infinite.
    pub fn non_finite(&self) -> u64 {
        self.nan + self.positive_infinities + self.negative_infinities
    }

    /// How many standard deviations the most distant finite value is from the mean; `None` without finite values and
    /// if all are equal.
    pub fn peak_sigmas(&self) -> Option<f64> {
        let (mean, deviation) = (self.mean?, self.standard_deviation?);
        let peak = (self.max? - mean).abs().max((self.min? - mean).abs());
        (deviation > 0.0).then(|| peak / deviation)
    }

    /// Where most values lie: within three standard deviations of the mean, and within the extremes.
    pub fn core(&self) -> Option<(f64, f64)> {
        let (mean, deviation) = (self.mean?, self.standard_deviation?);
        Some(((mean - 3.0 * deviation).max(self.min?), (mean + 3.0 * deviation).min(self.max?)))
    }

    /// The largest finite value minus the smallest.
    pub fn width(&self) -> Option<f64> {
        Some(self.max? - self.min?)
    }
}

/// [`CodeUsage`] as a result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeSummary {
    /// How many different codes occur.
    pub used: u32,
    /// How many codes the type has.
    pub available: u32,
    /// The smallest that occurs.
    pub smallest: Option<i64>,
    /// The largest that occurs.
    pub largest: Option<i64>,
    /// log2 of the number of codes that occur.
    pub effective_bits: Option<f64>,
}

impl From<&CodeUsage> for CodeSummary {
    fn from(usage: &CodeUsage) -> Self {
        let extremes = usage.extremes();
        Self {
            used: usage.used_count(),
            available: usage.available_count(),
            smallest: extremes.map(|(smallest, _)| smallest),
            largest: extremes.map(|(_, largest)| largest),
            effective_bits: usage.effective_bits(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NumPy: x = [1, 1, 1, 9]; abs(x - x.mean()).max() / x.std() = 6 / sqrt(12).
    #[test]
    fn the_peak_is_measured_in_standard_deviations() {
        let summary = Summary::from(&Statistics::of(&[1.0, 1.0, 1.0, 9.0]));
        assert!((summary.peak_sigmas().unwrap() - 6.0 / 12f64.sqrt()).abs() < 1e-15);
        assert_eq!(Summary::from(&Statistics::of(&[2.0, 2.0])).peak_sigmas(), None);
        assert_eq!(Summary::from(&Statistics::new()).peak_sigmas(), None);
    }
}
