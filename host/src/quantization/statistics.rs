//! What calibration keeps of a value, from which every method takes its range: extremes from a first pass over the samples,
//! histograms from a second one.

use super::options::{Method, Options};
use crate::error::{Error, Result};
use qp_analysis::CodeRange;
use qp_analysis::calibration::{
    CalibrationError, ClipRange, Extremes, HistogramCollector, HistogramKind, MinMax, MinMaxOptions, entropy,
    mse, percentile,
};
use serde::{Deserialize, Serialize};

/// Bins of the histograms, and codes of entropy, as ONNX Runtime has them by default.
const BINS: usize = 2048;
const ENTROPY_BINS: usize = 128;
/// The share of the difference by which a later round moves a moving average; there is one round here.
const AVERAGING: f32 = 0.01;

/// What is known of a value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub(super) struct Statistics {
    /// Of all values.
    extremes: Extremes,
    /// The means of the batches' extremes, if there was a value.
    means: Option<ClipRange>,
    /// Counts in bins from −m to m, m being the largest magnitude, and of magnitudes in bins from the least to the largest;
    /// empty where there are no such bins.
    histograms: Option<[Vec<u64>; 2]>,
}

/// The same in a file; real numbers as their bits.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    /// Least, largest and least magnitude.
    extremes: Option<[u32; 3]>,
    has_nan: bool,
    means: Option<[u32; 2]>,
    histograms: Option<[Vec<u64>; 2]>,
}

impl From<Statistics> for Kept {
    fn from(found: Statistics) -> Self {
        let extremes = found.extremes;
        let ends = extremes.min().zip(extremes.max()).zip(extremes.least_magnitude());
        Self {
            extremes: ends.map(|((min, max), least)| [min, max, least].map(f32::to_bits)),
            has_nan: extremes.nan_count() > 0,
            means: found.means.map(|means| [means.low, means.high].map(f32::to_bits)),
            histograms: found.histograms,
        }
    }
}

impl From<Kept> for Statistics {
    fn from(kept: Kept) -> Self {
        let mut extremes = Extremes::new();
        if let Some(bits) = kept.extremes {
            let [min, max, least] = bits.map(f32::from_bits);
            // Without a positive value the least magnitude is that of a negative one.
            extremes.add(&[min, max, if max < 0.0 { -least } else { least }]);
        }
        if kept.has_nan {
            extremes.add(&[f32::NAN]);
        }
        let means = kept.means.map(|bits| bits.map(f32::from_bits));
        Self {
            extremes,
            means: means.map(|[low, high]| ClipRange { low, high }),
            histograms: kept.histograms,
        }
    }
}

impl Statistics {
    /// Whether a range can be taken from it.
    pub(super) fn suffices(&self, options: &Options) -> bool {
        self.histograms.is_some() || options.histogram_kind().is_none()
    }

    /// The range to cover with these codes.
    ///
    /// # Errors
    /// `InvalidInput` for values without a finite range.
    pub(super) fn range(&self, options: &Options, codes: CodeRange) -> Result<ClipRange, CalibrationError> {
        let is_symmetric = options.range_symmetric;
        match options.method {
            Method::MinMax => {
                let averaging_constant = options.moving_average.then_some(AVERAGING);
                let is_symmetric = is_symmetric.unwrap_or(false);
                let mut ends =
                    MinMax::new(MinMaxOptions { is_symmetric, averaging_constant, max_batches: None })?;
                match (options.moving_average, self.means) {
                    (true, Some(means)) => ends.add(&[means.low, means.high]),
                    _ => ends.add_extremes(&self.extremes),
                }
                ends.end_batch();
                ends.end_round();
                ends.range()
            }
            Method::Percentile => {
                let kind = options.histogram_kind().unwrap_or(HistogramKind::Values);
                percentile(&self.histogram(kind, BINS)?, options.percentile)
            }
            Method::Entropy => entropy(&self.histogram(HistogramKind::Values, ENTROPY_BINS)?, ENTROPY_BINS),
            Method::Mse => {
                mse(&self.histogram(HistogramKind::Values, BINS)?, codes, options.activation_symmetric)
            }
        }
    }

    /// The histogram as if it had been collected with this many bins, a divisor of [`BINS`]: bins from −m to m are halved
    /// exactly, so that the edges of fewer bins are among those of more.
    fn histogram(&self, kind: HistogramKind, bins: usize) -> Result<HistogramCollector, CalibrationError> {
        let [values, magnitudes] = self.histograms.as_ref().ok_or(CalibrationError::NoValues)?;
        let counts = if kind == HistogramKind::Values { values } else { magnitudes };
        // A file that someone edited, or extremes without bins.
        let counts = if counts.len() == BINS { counts.as_slice() } else { &[0; BINS] };
        let counts: Vec<u64> = counts.chunks(BINS / bins).map(|counts| counts.iter().sum()).collect();
        HistogramCollector::restored(kind, &self.extremes, &counts)
    }
}

/// Collects the statistics of a value in a first pass over the samples.
pub(super) struct FirstPass {
    extremes: Extremes,
    batch: Extremes,
    average: MinMax,
}

impl FirstPass {
    /// Without values yet.
    ///
    /// # Errors
    /// None for the options that are used here.
    pub(super) fn new() -> Result<Self> {
        let averaging = MinMaxOptions { averaging_constant: Some(AVERAGING), ..MinMaxOptions::default() };
        let average = MinMax::new(averaging).map_err(|error| Error::internal(error.to_string()))?;
        Ok(Self { extremes: Extremes::new(), batch: Extremes::new(), average })
    }

    /// Takes values.
    pub(super) fn add(&mut self, values: &[f32]) {
        self.batch.add(values);
    }

    /// Ends a batch.
    pub(super) fn end_batch(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.average.add_extremes(&batch);
        self.average.end_batch();
        self.extremes.merge(&batch);
    }

    /// What was found.
    pub(super) fn end(mut self) -> Statistics {
        self.end_batch();
        self.average.end_round();
        Statistics { extremes: self.extremes, means: self.average.range().ok(), histograms: None }
    }
}

/// Collects the histograms of a value in a second pass over the same samples: all that any method needs, so that another one
/// needs no run.
pub(super) struct SecondPass([Option<HistogramCollector>; 2]);

impl SecondPass {
    /// Without values yet.
    ///
    /// # Errors
    /// Those of extremes that have no bins.
    pub(super) fn new(statistics: &Statistics, options: &Options) -> Result<Self, CalibrationError> {
        let needed = options.histogram_kind();
        let begin = |kind: HistogramKind| {
            let mut histogram = HistogramCollector::new(kind, BINS);
            match histogram.begin(&statistics.extremes) {
                Err(error) if Some(kind) == needed => Err(error),
                Err(_) => Ok(None),
                Ok(()) => Ok(Some(histogram)),
            }
        };
        Ok(Self([begin(HistogramKind::Values)?, begin(HistogramKind::Magnitudes)?]))
    }

    /// Takes values.
    pub(super) fn add(&mut self, values: &[f32]) {
        self.0.iter_mut().flatten().for_each(|histogram| histogram.add(values));
    }

    /// Adds what was found to what was known.
    pub(super) fn end(self, statistics: &mut Statistics) {
        statistics.histograms =
            Some(self.0.map(|histogram| histogram.map(|found| found.counts()).unwrap_or_default()));
    }
}
