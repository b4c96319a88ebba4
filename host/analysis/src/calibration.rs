//! Calibration: from the values of a tensor to a clip range, and from a clip range to a scale and a zero point.
//!
//! The numbers are those of `onnxruntime.quantization` 1.31.1 with NumPy 2.4, step by step in the same types, so that
//! a model quantized here has the scales and zero points that it would have there. What that library computes from
//! all samples at once comes from two passes here:
//!
//! 1. [`Extremes::add`] with every slice of the tensor, sample by sample;
//! 2. [`HistogramCollector::begin`] with these extremes, then [`HistogramCollector::add`] with the same slices.
//!
//! Both together are one *round*: one call of its `collect_data`, which is all of the data unless `CalibStridedMinMax`
//! is set. A further round goes on with `begin`. A tensor takes the memory of its bins, not of its values. Min-max
//! takes one pass, with [`MinMax`].
//!
//! Then [`percentile`], [`entropy`], [`mse`] or [`distribution`] turn a histogram into a [`ClipRange`],
//! [`parameters`] turns that into [`Parameters`], and [`weights`] and [`bias`] quantize what a model stores,
//! [`matmul_nbits`] weights alone.
//!
//! What that library does not have: [`mse`]; [`clipped_weight_parameters`]; scaling channels before
//! ([`equalization_factors`]) and shifting biases after quantization ([`bias_correction`]); and rounding weights by what
//! the layer's inputs make of it, collected in a [`Hessian`]: [`gptq`], [`descend`] and [`search_rounding`].

pub mod bias;
mod bias_correction;
mod clipping;
mod descent;
mod entropy;
mod equalization;
mod extremes;
mod gptq;
mod hessian;
mod histogram;
mod linear_algebra;
mod locator;
pub mod matmul_nbits;
mod min_max;
mod mse;
mod numpy;
mod parameters;
mod patches;
mod percentile;
pub mod weights;

pub use bias_correction::{ChannelMeans, bias_correction};
pub use clipping::clipped_weight_parameters;
pub use descent::{descend, search_rounding};
pub use entropy::entropy;
pub use equalization::{
    channel_magnitudes, depthwise_equalization_factors, equalization_factors, high_biases, response,
    scale_channels,
};
pub use extremes::Extremes;
pub use gptq::{GptqOptions, Layer, gptq};
pub use hessian::{Hessian, RoundingError};
pub use histogram::{HistogramCollector, HistogramKind};
pub use min_max::{MinMax, MinMaxOptions};
pub use mse::mse;
pub use parameters::{ParameterError, Parameters, code_range, parameters, restricted_parameters};
pub use patches::{Convolution, add_patches};
pub use percentile::{Distribution, Scenario, distribution, percentile};
pub use weights::WeightOptions;

use crate::histogram::BinsError;
use std::fmt;

/// The real values that codes should cover. ONNX Runtime's percentile may make `low` higher than `high` by one bin,
/// where all values lie in it; [`parameters`] takes that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipRange {
    /// The lower end.
    pub low: f32,
    /// The upper end.
    pub high: f32,
}

impl ClipRange {
    /// Within the values that there are.
    fn within(self, min: f32, max: f32) -> Self {
        Self {
            low: if self.low < min { min } else { self.low },
            high: if self.high > max { max } else { self.high },
        }
    }
}

/// Why there is no clip range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CalibrationError {
    /// No values, or only NaN.
    NoValues,
    /// A value is infinite, or NaN where NumPy refuses it: in the first round of magnitudes.
    NotFinite,
    /// Later values are so much larger than the first that the histogram would need this many bins.
    TooManyBins(usize),
    /// These bins cannot be made.
    Bins(BinsError),
    /// A percentile that is not from 0 to 100.
    Percentile(f64),
    /// An averaging constant that is not from 0 to 1.
    AveragingConstant(f32),
    /// Entropy needs more bins than this.
    TooFewBins(usize),
    /// A histogram of magnitudes where one of values is needed.
    Magnitudes,
}

impl fmt::Display for CalibrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoValues => f.write_str("no values to calibrate with"),
            Self::NotFinite => f.write_str("a value is infinite or NaN"),
            Self::TooManyBins(count) => {
                write!(f, "{count} bins would be needed: later values are much larger than the first")
            }
            Self::Bins(error) => error.fmt(f),
            Self::Percentile(percentile) => write!(f, "percentile {percentile} is not from 0 to 100"),
            Self::AveragingConstant(constant) => {
                write!(f, "averaging constant {constant} is not from 0 to 1")
            }
            Self::TooFewBins(count) => write!(f, "{count} bins are fewer than the quantized bins"),
            Self::Magnitudes => f.write_str("the histogram holds magnitudes, not values"),
        }
    }
}

impl std::error::Error for CalibrationError {}

impl From<BinsError> for CalibrationError {
    fn from(error: BinsError) -> Self {
        Self::Bins(error)
    }
}
