//! Percentile and distribution calibration.

use super::{CalibrationError, ClipRange, HistogramCollector, HistogramKind};

/// The clip range that contains this percentage of the values, as ONNX Runtime's `PercentileCalibrater` finds it: the
/// lower edge of the first bin at which the share of values reaches it. From a histogram of magnitudes the range is
/// symmetric (its default), from one of values half of the rest is cut off on each side. It never exceeds the
/// values' extremes. ONNX Runtime's default is 99.999.
///
/// # Errors
///
/// [`CalibrationError::NoValues`], [`CalibrationError::Percentile`].
pub fn percentile(histogram: &HistogramCollector, percentile: f64) -> Result<ClipRange, CalibrationError> {
    if !(0.0..=100.0).contains(&percentile) {
        return Err(CalibrationError::Percentile(percentile));
    }
    let (min, max) = histogram.extremes().ok_or(CalibrationError::NoValues)?;
    let (edges, counts) = (histogram.edges(), histogram.counts());
    let total = counts.iter().sum::<u64>() as f64;
    let mut share = 0.0;
    let shares: Vec<f64> = counts
        .iter()
        .map(|count| {
            share += *count as f64 / total;
            share
        })
        .collect();
    let edge = |wanted: f64| edges[shares.partition_point(|share| *share < wanted)];
    let range = match histogram.kind() {
        HistogramKind::Magnitudes => {
            let edge = edge(percentile / 100.0);
            ClipRange { low: -edge, high: edge }
        }
        HistogramKind::Values => {
            let cut = (100.0 - percentile) / 200.0;
            ClipRange { low: edge(cut), high: edge(1.0 - cut) }
        }
    };
    Ok(range.within(min, max))
}

/// What [`distribution`] assumes of 8-bit floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// `same`: they are distributed like the values.
    #[default]
    Same,
    /// `p3`: they are distributed like the third power of a normal distribution.
    ThirdPower,
}

/// Mean, standard deviation and range of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    /// The mean.
    pub mean: f32,
    /// The standard deviation: 8-bit floats have the scale `standard_deviation` / that of all finite codes.
    pub standard_deviation: f32,
    /// The range of the bins.
    pub range: ClipRange,
}

/// What ONNX Runtime's `DistributionCalibrater` computes, from the middles of the bins. It wants 512 bins or more; its
/// default is 2048.
///
/// # Errors
///
/// [`CalibrationError::NoValues`], [`CalibrationError::TooFewBins`], [`CalibrationError::Magnitudes`].
pub fn distribution(
    histogram: &HistogramCollector,
    scenario: Scenario,
) -> Result<Distribution, CalibrationError> {
    const LEAST_BINS: usize = 512;
    if histogram.kind() != HistogramKind::Values {
        return Err(CalibrationError::Magnitudes);
    }
    let (edges, counts) = (histogram.edges(), histogram.counts());
    let (Some(low), Some(high)) = (edges.first(), edges.last()) else {
        return Err(CalibrationError::NoValues);
    };
    if counts.len() < LEAST_BINS {
        return Err(CalibrationError::TooFewBins(counts.len()));
    }
    let value = |pair: &[f32]| {
        let middle = (pair[0] + pair[1]) * 0.5;
        match scenario {
            Scenario::Same => middle,
            Scenario::ThirdPower => middle.abs().powf(1.0 / 3.0).copysign(middle),
        }
    };
    let (mut total, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for (count, pair) in counts.iter().zip(edges.windows(2)) {
        let (count, value) = (*count as f64, value(pair));
        total += count;
        sum += count * f64::from(value);
        squares += count * f64::from(value * value);
    }
    let mean = sum / total;
    Ok(Distribution {
        mean: mean as f32,
        standard_deviation: (squares / total - mean * mean).sqrt() as f32,
        range: ClipRange { low: *low, high: *high },
    })
}
