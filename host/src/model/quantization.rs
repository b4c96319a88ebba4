//! How integer codes correspond to real values.

use super::DType;
use qp_analysis::Granularity;

/// real = (q - zero_point) · scale, per tensor, per channel along `axis`, or per block of `block_size`
/// elements along `axis`.
///
/// Both lists are empty when the parameters are computed for each input, or when there are too many to list: they are
/// then read as the tensors `scale_name` and `zero_point_name`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizationParameters {
    /// The type of the codes, for example `int8`.
    pub dtype: DType,
    /// One scale per tensor, channel or block; blocks in row-major order of the scale tensor.
    pub scales: Vec<f64>,
    /// One zero point per scale, or one for all, or none if all are zero.
    pub zero_points: Vec<f64>,
    /// How many scales there are, even where they are not listed.
    pub scale_count: u64,
    /// The axis of the channels or blocks. If the shape is known, the axis lies within it and is not negative.
    pub axis: Option<i64>,
    /// Elements along `axis` that share one scale.
    pub block_size: Option<u64>,
    /// The stored tensor that holds the scales.
    pub scale_name: Option<String>,
    /// The stored tensor that holds the zero points.
    pub zero_point_name: Option<String>,
    /// Whether the parameters are computed for each input (dynamic quantization).
    pub is_dynamic: bool,
    /// The smallest and the largest code in use, if that is less than the type's range.
    pub code_range: Option<(i64, i64)>,
}

impl QuantizationParameters {
    /// One scale and one zero point for the whole tensor.
    pub fn per_tensor(dtype: DType, scale: f64, zero_point: f64) -> Self {
        Self {
            dtype,
            scales: vec![scale],
            zero_points: vec![zero_point],
            scale_count: 1,
            axis: None,
            block_size: None,
            scale_name: None,
            zero_point_name: None,
            is_dynamic: false,
            code_range: None,
        }
    }

    /// The smallest and the largest code; `None` for codes that are not whole numbers.
    pub fn codes(&self) -> Option<(i64, i64)> {
        self.code_range.or_else(|| self.dtype.code_range())
    }

    /// Whether codes mean the same real numbers under both sets of parameters, wherever the scales are stored.
    pub fn gives_the_values_of(&self, other: &Self) -> bool {
        let zero_points =
            |one: &Self| -> Vec<f64> { (0..one.scales.len()).map(|index| one.zero_point(index)).collect() };
        if self.scales.is_empty() || other.scales.is_empty() {
            return self == other;
        }
        self.dtype == other.dtype
            && self.scales == other.scales
            && self.axis == other.axis
            && self.block_size == other.block_size
            && zero_points(self) == zero_points(other)
    }

    /// Which elements share one scale.
    pub fn granularity(&self) -> Granularity {
        match (self.axis, self.block_size) {
            (Some(axis), Some(block_size)) => Granularity::PerBlock { axis, block_size },
            (Some(axis), None) => Granularity::PerChannel { axis },
            (None, _) => Granularity::PerTensor,
        }
    }

    /// The zero point for the scale at this index: zero when none are listed.
    pub fn zero_point(&self, index: usize) -> f64 {
        match self.zero_points.as_slice() {
            [] => 0.0,
            [one] => *one,
            many => many.get(index).copied().unwrap_or_default(),
        }
    }

    /// Whether every zero point is the middle of the codes: 0 for signed types, half the range for unsigned
    /// ones. `None` when the zero points are not listed here.
    pub fn is_symmetric(&self) -> Option<bool> {
        let are_listed = !self.zero_points.is_empty() || self.zero_point_name.is_none();
        if self.is_dynamic || !are_listed {
            return None;
        }
        let middle = match self.codes() {
            Some((0, largest)) => (largest + 1) / 2,
            _ => 0,
        };
        let all_are = |value: f64| self.zero_points.iter().all(|point| *point == value);
        Some(if self.zero_points.is_empty() { middle == 0 } else { all_are(middle as f64) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symmetric_means_the_middle_of_the_codes() {
        let symmetric =
            |dtype, zero_point| QuantizationParameters::per_tensor(dtype, 0.1, zero_point).is_symmetric();
        assert_eq!(symmetric(DType::INT8, 0.0), Some(true));
        assert_eq!(symmetric(DType::INT8, 3.0), Some(false));
        assert_eq!(symmetric(DType::UINT8, 128.0), Some(true));
        assert_eq!(symmetric(DType::UINT8, 0.0), Some(false));
    }

    #[test]
    fn one_zero_point_or_none_stands_for_all_scales() {
        let mut parameters = QuantizationParameters::per_tensor(DType::INT8, 0.1, 5.0);
        assert_eq!(parameters.zero_point(7), 5.0);
        parameters.zero_points.clear();
        assert_eq!(parameters.zero_point(7), 0.0);
    }
}
