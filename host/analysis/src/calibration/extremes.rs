//! The extremes of a tensor's values.

const LANES: usize = 16;

/// The smallest and the largest value, and the smallest magnitude, like `numpy.nanmin` and `numpy.nanmax`: NaN is
/// counted and otherwise left out, infinities are values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremes {
    min: f32,
    max: f32,
    least_magnitude: f32,
    count: u64,
    nan_count: u64,
}

impl Default for Extremes {
    fn default() -> Self {
        Self::new()
    }
}

impl Extremes {
    /// Of no values yet.
    pub fn new() -> Self {
        Self {
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            least_magnitude: f32::INFINITY,
            count: 0,
            nan_count: 0,
        }
    }

    /// Of these values.
    pub fn of(values: &[f32]) -> Self {
        let mut extremes = Self::new();
        extremes.add(values);
        extremes
    }

    /// Adds `values`.
    pub fn add(&mut self, values: &[f32]) {
        // A comparison with NaN is false and leaves the lane as it is.
        let lower = |least: &mut f32, value: f32| *least = if value < *least { value } else { *least };
        let higher = |most: &mut f32, value: f32| *most = if value > *most { value } else { *most };
        for block in values.chunks(1 << 16) {
            let mut min = [f32::INFINITY; LANES];
            let mut max = [f32::NEG_INFINITY; LANES];
            let mut least = [f32::INFINITY; LANES];
            let mut nan = [0u32; LANES];
            let (chunks, rest) = block.as_chunks::<LANES>();
            for chunk in chunks {
                for lane in 0..LANES {
                    lower(&mut min[lane], chunk[lane]);
                    higher(&mut max[lane], chunk[lane]);
                    lower(&mut least[lane], chunk[lane].abs());
                    nan[lane] += u32::from(chunk[lane].is_nan());
                }
            }
            for value in rest {
                lower(&mut min[0], *value);
                higher(&mut max[0], *value);
                lower(&mut least[0], value.abs());
                nan[0] += u32::from(value.is_nan());
            }
            for lane in 0..LANES {
                lower(&mut self.min, min[lane]);
                higher(&mut self.max, max[lane]);
                lower(&mut self.least_magnitude, least[lane]);
                self.nan_count += u64::from(nan[lane]);
            }
        }
        self.count += values.len() as u64;
    }

    /// Adds one value.
    #[inline(always)]
    pub(super) fn add_one(&mut self, value: f32) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.least_magnitude = self.least_magnitude.min(value.abs());
        self.count += 1;
        self.nan_count += u64::from(value.is_nan());
    }

    /// Adds the values of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.least_magnitude = self.least_magnitude.min(other.least_magnitude);
        self.count += other.count;
        self.nan_count += other.nan_count;
    }

    /// Whether there is no value but NaN.
    pub fn is_empty(&self) -> bool {
        self.count == self.nan_count
    }

    /// How many values there are, NaN included.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many of them are NaN.
    pub fn nan_count(&self) -> u64 {
        self.nan_count
    }

    /// The smallest value; `None` if there is none.
    pub fn min(&self) -> Option<f32> {
        (!self.is_empty()).then_some(self.min)
    }

    /// The largest value; `None` if there is none.
    pub fn max(&self) -> Option<f32> {
        (!self.is_empty()).then_some(self.max)
    }

    /// The smallest magnitude; `None` if there is no value.
    pub fn least_magnitude(&self) -> Option<f32> {
        (!self.is_empty()).then_some(self.least_magnitude)
    }

    /// The largest magnitude; `None` if there is no value.
    pub fn magnitude(&self) -> Option<f32> {
        (!self.is_empty()).then(|| self.min.abs().max(self.max.abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_counted_and_left_out() {
        let mut values = vec![f32::NAN; 40];
        assert_eq!(Extremes::of(&values).min(), None);
        values.extend([-3.0, 0.5, 2.0]);
        let extremes = Extremes::of(&values);
        assert_eq!((extremes.min(), extremes.max()), (Some(-3.0), Some(2.0)));
        assert_eq!((extremes.least_magnitude(), extremes.magnitude()), (Some(0.5), Some(3.0)));
        assert_eq!((extremes.count(), extremes.nan_count()), (43, 40));
        let mut merged = Extremes::of(&[f32::NAN]);
        merged.merge(&Extremes::of(&[f32::INFINITY]));
        assert_eq!((merged.min(), merged.count()), (Some(f32::INFINITY), 2));
    }
}
