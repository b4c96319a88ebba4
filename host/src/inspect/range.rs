//! The ranges of tensors, and what their codes can represent.

use super::Summary;
use super::suspicion::Wiring;
use super::weight::{Stored, all_stored, weights};
use crate::model::{DType, ModelInfo, QuantizationParameters};
use qp_analysis::{AffineList, CodeRange, RangeCount, ValueRange};
use std::collections::HashSet;

/// The range of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// The element type as stored, or of the codes.
    pub dtype: DType,
    /// The smallest finite value; `None` if the values are unknown, as for activations.
    pub min: Option<f64>,
    /// The largest finite value.
    pub max: Option<f64>,
    /// Within three standard deviations of the mean, and within the extremes.
    pub core: Option<(f64, f64)>,
    /// The real values of the smallest and the largest code, over all channels.
    pub representable: Option<(f64, f64)>,
    /// How many standard deviations the most distant value is from the mean.
    pub peak_sigmas: Option<f64>,
    /// Elements that are NaN or infinite.
    pub non_finite: u64,
}

impl Extent {
    /// Of a stored tensor with these statistics, if it could be read.
    pub fn new(dtype: DType, numbers: Option<Summary>, parameters: Option<&QuantizationParameters>) -> Self {
        Self {
            dtype,
            min: numbers.and_then(|numbers| numbers.min),
            max: numbers.and_then(|numbers| numbers.max),
            core: numbers.and_then(|numbers| numbers.core()),
            representable: parameters.and_then(representable),
            peak_sigmas: numbers.and_then(|numbers| numbers.peak_sigmas()),
            non_finite: numbers.map_or(0, |numbers| numbers.non_finite()),
        }
    }

    /// Of codes of which only the range is known.
    pub fn of_range(dtype: DType, representable: (f64, f64)) -> Self {
        Self { representable: Some(representable), ..Self::new(dtype, None, None) }
    }

    /// From one end to the other.
    pub fn width(&self) -> Option<f64> {
        let (low, high) = self.min.zip(self.max).or(self.representable)?;
        Some(high - low)
    }

    /// The ends of everything that is known.
    pub fn ends(&self) -> impl Iterator<Item = f64> + use<> {
        let ends = [
            self.min,
            self.max,
            self.representable.map(|(low, _)| low),
            self.representable.map(|(_, high)| high),
        ];
        ends.into_iter().flatten().filter(|end| end.is_finite())
    }
}

/// The real values of the smallest and the largest code, over all channels.
pub fn representable(parameters: &QuantizationParameters) -> Option<(f64, f64)> {
    let codes = code_range(parameters)?;
    let list = AffineList::new(&parameters.scales, &parameters.zero_points).ok()?;
    list.representable_range(codes).map(|range| (range.low(), range.high()))
}

/// What happens to a layer's values outside the range of its codes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beyond {
    /// The share that is clipped, among those that are not NaN; `None` if there are none.
    pub clipped_share: Option<f64>,
    /// The share that is cut off on purpose; `None` if none is.
    pub rectified_share: Option<f64>,
}

impl Beyond {
    /// For values that were counted against `range`. Codes that begin at 0 act as a ReLU, which quantizers leave to
    /// them, and codes from 0 to 6 as a ReLU6: what these cut off is not clipping.
    pub fn new(range: ValueRange, within: &RangeCount) -> Self {
        let numbers = within.count() - within.nan_count();
        let share = |part: u64| (numbers > 0).then(|| part as f64 / numbers as f64);
        if range.low() != 0.0 {
            return Self { clipped_share: within.outside_share(), rectified_share: None };
        }
        let is_at_six = (range.high() - 6.0).abs() < 6e-4;
        let (clipped, rectified) =
            if is_at_six { (0, within.below() + within.above()) } else { (within.above(), within.below()) };
        Self { clipped_share: share(clipped), rectified_share: share(rectified).filter(|share| *share > 0.0) }
    }
}

/// The codes in use: all of their type, unless the file says fewer.
pub fn code_range(parameters: &QuantizationParameters) -> Option<CodeRange> {
    match parameters.code_range {
        Some((low, high)) => CodeRange::new(low, high),
        None => parameters.dtype.element_type().and_then(CodeRange::of),
    }
}

/// Each layer's weight, or every stored tensor.
pub fn weights_and_more(info: &ModelInfo, all: bool) -> Vec<Stored<'_>> {
    if all { all_stored(info) } else { weights(info) }
}

/// The quantized activations with their parameters, each under its first name, in the order of computation.
pub fn activations(info: &ModelInfo) -> Vec<(&str, &QuantizationParameters)> {
    let wiring = Wiring::of(info);
    let mut seen: HashSet<&str> = info.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs = info.inputs.iter().map(|value| value.name.as_str());
    let computed = info.layers.iter().flat_map(|layer| layer.outputs.iter().map(String::as_str));
    inputs
        .chain(computed)
        .map(|name| wiring.origin(name))
        .filter(|name| seen.insert(name))
        .filter_map(|name| Some((name, wiring.parameters(name)?)))
        .collect()
}
