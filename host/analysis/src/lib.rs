//! The numbers of qp: pure functions over slices. No files, no clock, no terminal, no plugins.
//!
//! Everything that looks at elements works on pieces of any size and can be merged, so a tensor is never in memory as
//! a whole, and several threads can share one. Sums are kept in `f64`. NaN and the infinities are counted and never
//! silently dropped; each type says what it does with them.

#![forbid(unsafe_code)]

pub mod accumulator;
pub mod allocation;
pub mod bootstrap;
pub mod calibration;
pub mod code_usage;
pub mod concordance;
pub mod divergence;
pub mod error_metrics;
pub mod granularity;
pub mod growing_histogram;
pub mod histogram;
pub mod linear_fit;
pub mod matching;
pub mod params;
pub mod proportion;
pub mod quantile;
pub mod quantize;
pub mod range;
pub mod rank_correlation;
pub mod ranking;
pub mod residual;
pub mod saturation;
pub mod statistics;
mod sum;
pub mod suspicion;

pub use allocation::{Allocation, Choice, Optimum, allocate, convex_front};
pub use bootstrap::{RatioOfMedians, ratio_of_medians};
pub use code_usage::CodeUsage;
pub use concordance::concordance;
pub use error_metrics::{ErrorMetrics, Metrics};
pub use granularity::{Granularity, ParameterMap};
pub use growing_histogram::GrowingHistogram;
pub use histogram::{Bins, BinsError, EdgePrecision, Histogram};
pub use linear_fit::{FitSums, LinearFit};
pub use matching::{
    Item, Matching, Pair, ShapeFit, Why, align, is_anonymous, is_numbered, match_items, shape_fit,
};
pub use params::{Affine, AffineList, CountMismatch, ScaleSummary};
pub use proportion::{Interval, Paired, Verdict, wilson};
pub use qp_elements::ElementType;
pub use quantile::quantile;
pub use quantize::{Arithmetic, Quantizer};
pub use range::{CodeRange, RangeCount, ValueRange};
pub use rank_correlation::rank_correlation;
pub use ranking::argmax;
pub use residual::ResidualMismatch;
pub use statistics::Statistics;
pub use suspicion::{Reason, Suspicion, Thresholds};
