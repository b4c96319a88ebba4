//! The histogram that entropy, percentile and mse calibration start from.

use super::locator::Locator;
use super::{CalibrationError, Extremes, numpy};
use crate::histogram::{Bins, EdgePrecision};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HistogramKind {
    /// The values, in bins from −m to m, m being the largest magnitude: ONNX Runtime's `collect_value`, for entropy,
    /// distribution, mse and asymmetric percentiles.
    Values,
    /// The magnitudes, in bins from the smallest to the largest: `collect_absolute_value`, for symmetric percentiles.
    Magnitudes,
}

/// Collects the histogram of one tensor, with the bins and counts of ONNX Runtime's `HistogramCollector`.
///
/// A round is [`begin`](Self::begin) with the extremes of its values and [`add`](Self::add) with the values, in pieces
/// of any size. In a round whose values are larger than those before, bins of about the same width are added.
/// NaN falls into no bin.
#[derive(Clone, Debug)]
pub struct HistogramCollector {
    kind: HistogramKind,
    bins: usize,
    state: Option<State>,
}

#[derive(Clone, Debug)]
struct State {
    edges: Vec<f32>,
    /// By the edges, except in a round that has extended magnitudes: NumPy has `float64` edges for that round.
    locator: Locator,
    /// Counts that are not in the lanes yet.
    counts: Vec<u64>,
    lanes: [Vec<u32>; 4],
    /// How many values the lanes may hold at most.
    pending: u64,
    min: f32,
    max: f32,
    /// The largest magnitude, or where it led to; for `Values`.
    threshold: f32,
}

impl State {
    fn new(edges: Vec<f32>, extremes: (f32, f32), threshold: f32) -> Self {
        let bins = edges.len() - 1;
        Self {
            locator: Locator::new(edges.clone()),
            edges,
            counts: vec![0; bins],
            lanes: std::array::from_fn(|_| vec![0; bins]),
            pending: 0,
            min: extremes.0,
            max: extremes.1,
            threshold,
        }
    }

    fn counts(&self) -> Vec<u64> {
        let lane = |bin: usize| self.lanes.iter().map(|lane| u64::from(lane[bin])).sum::<u64>();
        self.counts.iter().enumerate().map(|(bin, count)| count + lane(bin)).collect()
    }

    /// The same counts in more bins: those of these edges, of which the old ones are the ones from `first` on.
    fn grow(&mut self, edges: Vec<f32>, first: usize, threshold: f32) {
        let old = self.counts();
        let mut grown = Self::new(edges, (self.min, self.max), threshold);
        grown.counts[first..first + old.len()].copy_from_slice(&old);
        *self = grown;
    }

    fn flush(&mut self) {
        self.counts = self.counts();
        self.lanes.iter_mut().for_each(|lane| lane.fill(0));
        self.pending = 0;
    }
}

impl HistogramCollector {
    /// The most bins that a histogram may grow to.
    pub const MAX_BINS: usize = 1 << 22;

    /// Without values yet, with this many bins in the first round. ONNX Runtime's defaults are 128 for entropy and
    /// 2048 for percentiles.
    pub fn new(kind: HistogramKind, bins: usize) -> Self {
        Self { kind, bins, state: None }
    }

    /// As it was after one round of values with these extremes and counts.
    ///
    /// # Errors
    ///
    /// Those of [`begin`](Self::begin).
    pub fn restored(
        kind: HistogramKind,
        extremes: &Extremes,
        counts: &[u64],
    ) -> Result<Self, CalibrationError> {
        let mut histogram = Self::new(kind, counts.len());
        histogram.begin(extremes)?;
        if let Some(state) = &mut histogram.state {
            state.counts.copy_from_slice(counts);
        }
        Ok(histogram)
    }

    /// Begins a round whose values have these extremes, and sees to it that there are bins for all of them. A round
    /// without values changes nothing.
    ///
    /// # Errors
    ///
    /// [`CalibrationError::NotFinite`], [`CalibrationError::TooManyBins`] and [`CalibrationError::Bins`]; the
    /// histogram is then as it was.
    pub fn begin(&mut self, extremes: &Extremes) -> Result<(), CalibrationError> {
        let (Some(min), Some(max), Some(magnitude), Some(least)) =
            (extremes.min(), extremes.max(), extremes.magnitude(), extremes.least_magnitude())
        else {
            return Ok(());
        };
        if !magnitude.is_finite() {
            return Err(CalibrationError::NotFinite);
        }
        let Some(state) = &mut self.state else {
            let edges = match self.kind {
                HistogramKind::Values => equal_edges(-magnitude, magnitude, self.bins)?,
                HistogramKind::Magnitudes if extremes.nan_count() > 0 => {
                    return Err(CalibrationError::NotFinite);
                }
                HistogramKind::Magnitudes => equal_edges(least, magnitude, self.bins)?,
            };
            self.state = Some(State::new(edges, (min, max), magnitude));
            return Ok(());
        };
        match self.kind {
            HistogramKind::Values => extend_values(state, magnitude)?,
            HistogramKind::Magnitudes => extend_magnitudes(state, magnitude)?,
        }
        state.min = state.min.min(min);
        state.max = state.max.max(max);
        Ok(())
    }

    /// Adds values of the present round.
    pub fn add(&mut self, values: &[f32]) {
        let Some(state) = &mut self.state else { return };
        for block in values.chunks(1 << 20) {
            state.pending += block.len() as u64;
            if state.pending > u64::from(u32::MAX) {
                state.flush();
                state.pending = block.len() as u64;
            }
            match self.kind {
                HistogramKind::Values => state.locator.count(block, &mut state.lanes),
                HistogramKind::Magnitudes => {
                    let mut magnitudes = [0.0; 1 << 10];
                    for piece in block.chunks(magnitudes.len()) {
                        for (magnitude, value) in magnitudes.iter_mut().zip(piece) {
                            *magnitude = value.abs();
                        }
                        state.locator.count(&magnitudes[..piece.len()], &mut state.lanes);
                    }
                }
            }
        }
    }

    /// A round of which all values are at hand.
    ///
    /// # Errors
    ///
    /// Those of [`begin`](Self::begin).
    pub fn collect(&mut self, values: &[f32]) -> Result<(), CalibrationError> {
        self.begin(&Extremes::of(values))?;
        self.add(values);
        Ok(())
    }

    /// What is counted.
    pub fn kind(&self) -> HistogramKind {
        self.kind
    }

    /// The edges of the bins, ascending, one more than there are bins; none before the first round.
    pub fn edges(&self) -> &[f32] {
        self.state.as_ref().map_or(&[], |state| &state.edges)
    }

    /// The number of values in each bin.
    pub fn counts(&self) -> Vec<u64> {
        self.state.as_ref().map(State::counts).unwrap_or_default()
    }

    /// The smallest and the largest value; `None` if there is none.
    pub fn extremes(&self) -> Option<(f32, f32)> {
        self.state.as_ref().map(|state| (state.min, state.max))
    }
}

/// `numpy.linspace(low, high, bins + 1)` in `float32`; equal ends are moved apart by 0.5 each.
fn equal_edges(low: f32, high: f32, bins: usize) -> Result<Vec<f32>, CalibrationError> {
    if bins > HistogramCollector::MAX_BINS {
        return Err(CalibrationError::TooManyBins(bins));
    }
    let bins = Bins::of_extremes(f64::from(low), f64::from(high), bins, EdgePrecision::Float32)?;
    Ok(bins.edges().iter().map(|edge| *edge as f32).collect())
}

/// The bins of `merge_histogram`.
fn extend_values(state: &mut State, magnitude: f32) -> Result<(), CalibrationError> {
    let old_bins = state.counts.len();
    let old = state.threshold;
    if magnitude <= old {
        return Ok(());
    }
    if old == 0.0 {
        state.grow(equal_edges(-magnitude, magnitude, old_bins)?, 0, magnitude);
        return Ok(());
    }
    let stride = 2.0 * old / old_bins as f32;
    let more = numpy::floor_divide(magnitude - old, stride) + 1.0;
    if more.is_nan() || more >= HistogramCollector::MAX_BINS as f32 {
        return Err(CalibrationError::TooManyBins(2 * more as usize));
    }
    let threshold = more * stride + old;
    let more = more as usize;
    state.grow(equal_edges(-threshold, threshold, old_bins + 2 * more)?, more, threshold);
    Ok(())
}

/// The bins of `collect_absolute_value` after the first time.
fn extend_magnitudes(state: &mut State, magnitude: f32) -> Result<(), CalibrationError> {
    let bins = state.counts.len();
    let (first, last) = (state.edges[0], state.edges[bins]);
    if magnitude <= last {
        if state.locator.edges() != state.edges {
            state.locator = Locator::new(state.edges.clone());
        }
        return Ok(());
    }
    let width = state.edges[1] - first;
    let more = numpy::arange(last + width, magnitude + width, width, HistogramCollector::MAX_BINS - bins)
        .ok_or(CalibrationError::TooManyBins(((magnitude - first) / width) as usize))?;
    let mut edges = state.edges.clone();
    edges.extend(more.iter().map(|edge| *edge as f32));
    // A float32 is at or above a float64 edge if it is at or above the next float32. The last edge is the last of
    // the values that fall below it.
    let mut walls = state.edges.clone();
    walls.extend(more.iter().map(|edge| float32_from(*edge)));
    if let (Some(wall), Some(edge)) = (walls.last_mut(), more.last()) {
        *wall = -float32_from(-*edge);
    }
    state.grow(edges, 0, magnitude);
    state.locator = Locator::new(walls);
    Ok(())
}

/// The lowest `float32` that is not below `value`.
fn float32_from(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) < value { nearest.next_up() } else { nearest }
}
