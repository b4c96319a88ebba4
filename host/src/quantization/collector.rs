//! The range of one value, from what passes by.

use super::options::{Method, Options};
use crate::error::{Error, Result};
use qp_analysis::CodeRange;
use qp_analysis::calibration::{
    CalibrationError, ClipRange, Extremes, HistogramCollector, HistogramKind, MinMax, MinMaxOptions, entropy,
    mse, percentile,
};

/// Bins of the histograms, and codes of entropy, as ONNX Runtime has them by default.
const BINS: usize = 2048;
const ENTROPY_BINS: usize = 128;
/// The share of the difference by which a later round moves a moving average; there is one round here.
const AVERAGING: f32 = 0.01;

/// Collects the values of a tensor in one or two passes over the samples.
pub(super) enum Collector {
    /// The smallest and the largest value.
    Ends(MinMax),
    /// In a first pass the ends, in a second one a histogram between them.
    Histogram(Extremes, HistogramCollector),
}

impl Collector {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let is_symmetric = options.range_symmetric;
        Ok(match options.method {
            Method::MinMax => Self::Ends(
                MinMax::new(MinMaxOptions {
                    is_symmetric: is_symmetric.unwrap_or(false),
                    averaging_constant: options.moving_average.then_some(AVERAGING),
                    max_batches: None,
                })
                .map_err(failed)?,
            ),
            Method::Percentile if is_symmetric.unwrap_or(true) => {
                Self::histogram(HistogramKind::Magnitudes, BINS)
            }
            Method::Percentile | Method::Mse => Self::histogram(HistogramKind::Values, BINS),
            Method::Entropy => Self::histogram(HistogramKind::Values, ENTROPY_BINS),
        })
    }

    fn histogram(kind: HistogramKind, bins: usize) -> Self {
        Self::Histogram(Extremes::new(), HistogramCollector::new(kind, bins))
    }

    /// How many passes over the samples it takes.
    pub(super) fn passes(options: &Options) -> u64 {
        if options.method == Method::MinMax { 1 } else { 2 }
    }

    /// Takes values in a pass, the first one being 0.
    pub(super) fn add(&mut self, pass: u64, values: &[f32]) {
        match self {
            Self::Ends(ends) => ends.add(values),
            Self::Histogram(extremes, _) if pass == 0 => extremes.add(values),
            Self::Histogram(_, histogram) => histogram.add(values),
        }
    }

    pub(super) fn end_batch(&mut self) {
        if let Self::Ends(ends) = self {
            ends.end_batch();
        }
    }

    pub(super) fn end_pass(&mut self, pass: u64) -> Result<(), CalibrationError> {
        match self {
            Self::Ends(ends) => ends.end_round(),
            Self::Histogram(extremes, histogram) if pass == 0 => histogram.begin(extremes)?,
            Self::Histogram(..) => {}
        }
        Ok(())
    }

    /// The range to cover with these codes.
    pub(super) fn range(&self, options: &Options, codes: CodeRange) -> Result<ClipRange, CalibrationError> {
        match self {
            Self::Ends(ends) => ends.range(),
            Self::Histogram(_, histogram) => match options.method {
                Method::Percentile => percentile(histogram, options.percentile),
                Method::Entropy => entropy(histogram, ENTROPY_BINS),
                _ => mse(histogram, codes, options.activation_symmetric),
            },
        }
    }
}

pub(super) fn failed(error: CalibrationError) -> Error {
    Error::invalid_input(error.to_string())
}
