//! Calibration by the mean squared error.

use super::{CalibrationError, ClipRange, HistogramCollector, HistogramKind, parameters};
use crate::range::CodeRange;

/// The share of the extremes that is tried first, in this many steps; then the neighbourhood of the best, in as many
/// steps, twice.
const COARSE_STEPS: usize = 100;
const FINE_STEPS: usize = 10;

/// The clip range with the least mean squared error between the values and what quantizing to `codes` leaves of them.
///
/// The values of a bin count as spread evenly over it. Then the error is an integral in closed form: over a value's
/// distance to the nearest multiple of the scale, which has the antiderivative k·s³/12 + (x − k·s)³/3 with
/// k = round(x / s), and over its distance to the end of the codes beyond that. So no number of bits needs more bins.
///
/// The candidates are shares of the extremes: one share for both ends, in steps of 1 %, then around the best in steps
/// of 0.1 % and 0.01 %; for an asymmetric range one end and then the other likewise, until neither gains.
///
/// # Errors
///
/// [`CalibrationError::NoValues`], [`CalibrationError::Magnitudes`].
pub fn mse(
    histogram: &HistogramCollector,
    codes: CodeRange,
    is_symmetric: bool,
) -> Result<ClipRange, CalibrationError> {
    const ROUNDS: usize = 4;
    if histogram.kind() != HistogramKind::Values {
        return Err(CalibrationError::Magnitudes);
    }
    let (min, max) = histogram.extremes().ok_or(CalibrationError::NoValues)?;
    let error = Error::new(histogram, codes, is_symmetric);
    let of_shares = |low: f64, high: f64| {
        let end = |end: f32, share: f64| (f64::from(end) * share) as f32;
        ClipRange { low: end(min.min(0.0), low), high: end(max.max(0.0), high) }
    };
    let mut best = search(|share| error.of(of_shares(share, share)));
    let (mut low, mut high) = (best.1, best.1);
    if !is_symmetric && min < 0.0 && max > 0.0 {
        for _ in 0..ROUNDS {
            let before = best.0;
            let lower = search(|share| error.of(of_shares(share, high)));
            if lower.0 < best.0 {
                (best, low) = (lower, lower.1);
            }
            let upper = search(|share| error.of(of_shares(low, share)));
            if upper.0 < best.0 {
                (best, high) = (upper, upper.1);
            }
            if best.0 >= before {
                break;
            }
        }
    }
    let range = of_shares(low, high);
    Ok(match is_symmetric {
        true => {
            let magnitude = range.low.abs().max(range.high.abs());
            ClipRange { low: -magnitude, high: magnitude }
        }
        false => range,
    })
}

/// The least error and its share, from above 0 to 1.
fn search(error: impl Fn(f64) -> f64) -> (f64, f64) {
    let mut best = (error(1.0), 1.0);
    let mut try_share = |share: f64| {
        if share > 0.0 && share < 1.0 {
            let error = error(share);
            if error < best.0 {
                best = (error, share);
            }
        }
        best.1
    };
    let mut step = 1.0 / COARSE_STEPS as f64;
    let mut center = 1.0;
    for index in (1..COARSE_STEPS).rev() {
        center = try_share(index as f64 * step);
    }
    for _ in 0..2 {
        let start = center;
        step /= FINE_STEPS as f64;
        for index in 1..FINE_STEPS {
            try_share(start - index as f64 * step);
            center = try_share(start + index as f64 * step);
        }
    }
    best
}

/// The squared error of a histogram's values.
struct Error {
    /// The edges around bins that are not empty, in runs without gaps.
    edges: Vec<f64>,
    /// How many values there are per unit above each edge; 0 above the last of a run.
    densities: Vec<f64>,
    codes: CodeRange,
    is_symmetric: bool,
}

impl Error {
    fn new(histogram: &HistogramCollector, codes: CodeRange, is_symmetric: bool) -> Self {
        let (mut edges, mut densities) = (Vec::new(), Vec::new());
        for (count, pair) in histogram.counts().iter().zip(histogram.edges().windows(2)) {
            let (low, high) = (f64::from(pair[0]), f64::from(pair[1]));
            if *count > 0 {
                if edges.last() != Some(&low) {
                    edges.push(low);
                    densities.push(0.0);
                }
                if let Some(density) = densities.last_mut() {
                    *density = *count as f64 / (high - low);
                }
                edges.push(high);
                densities.push(0.0);
            }
        }
        Self { edges, densities, codes, is_symmetric }
    }

    fn of(&self, range: ClipRange) -> f64 {
        let Ok(found) = parameters(range, self.codes, self.is_symmetric, None) else { return f64::INFINITY };
        let (scale, zero_point) = (f64::from(found.scale), f64::from(found.zero_point));
        let (first, last) = (self.codes.min() as f64 - zero_point, self.codes.max() as f64 - zero_point);
        let (cube, inverse) = (scale * scale * scale / 12.0, 1.0 / scale);
        let integral = |value: f64| {
            // The nearest code, the outermost ones for all that is beyond: then the rest is the distance to them.
            let code = (value * inverse).round_ties_even().clamp(first, last);
            let rest = value - code * scale;
            code * cube + rest * rest * rest / 3.0
        };
        let mut error = 0.0;
        let mut before = self.edges.first().map_or(0.0, |edge| integral(*edge));
        for (edge, density) in self.edges.iter().skip(1).zip(&self.densities) {
            let here = integral(*edge);
            error += density * (here - before);
            before = here;
        }
        error
    }
}
