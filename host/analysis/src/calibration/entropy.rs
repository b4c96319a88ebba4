//! Entropy calibration.

use super::{CalibrationError, ClipRange, HistogramCollector, HistogramKind, numpy};

/// The probability that an empty bin receives.
const EPSILON: f64 = 0.0001;

/// The clip range whose quantization changes the distribution of the values least, as ONNX Runtime's
/// `EntropyCalibrater` finds it: for every range of bins around 0, from `quantized_bins` of them to all, the
/// Kullback-Leibler divergence of the clipped distribution from the same in `quantized_bins` bins; the first range
/// with the least. ONNX Runtime's default is 128 quantized bins, and 128 bins, which leaves one range to choose from
/// unless a later round adds bins.
///
/// The method is that of S. Migacz, "8-bit inference with TensorRT", GTC 2017.
///
/// # Errors
///
/// [`CalibrationError::NoValues`]; [`CalibrationError::TooFewBins`] for fewer bins than quantized bins;
/// [`CalibrationError::Magnitudes`].
pub fn entropy(histogram: &HistogramCollector, quantized_bins: usize) -> Result<ClipRange, CalibrationError> {
    if histogram.kind() != HistogramKind::Values {
        return Err(CalibrationError::Magnitudes);
    }
    let (min, max) = histogram.extremes().ok_or(CalibrationError::NoValues)?;
    let (edges, counts) = (histogram.edges(), histogram.counts());
    let (middle, half) = (counts.len() / 2, quantized_bins / 2);
    if half > middle || quantized_bins == 0 {
        return Err(CalibrationError::TooFewBins(counts.len()));
    }
    let range = |reach: usize| (middle - reach, (middle + reach + 1).min(counts.len()));
    let mut best = (f32::INFINITY, half);
    for reach in half..=middle {
        let (start, end) = range(reach);
        let divergence = divergence(&counts, start, end, quantized_bins);
        // NumPy's argmin takes the first, and NaN before anything.
        if divergence < best.0 || divergence.is_nan() {
            best = (divergence, reach);
            if divergence.is_nan() {
                break;
            }
        }
    }
    let (start, end) = range(best.1);
    Ok(ClipRange { low: edges[start], high: edges[end] }.within(min, max))
}

/// Of the counts from `start` to `end`, the rest added to the outermost two, from their quantized form.
fn divergence(counts: &[u64], start: usize, end: usize, quantized_bins: usize) -> f32 {
    let inside = &counts[start..end];
    let mut reference = inside.to_vec();
    if let Some(first) = reference.first_mut() {
        *first += counts[..start].iter().sum::<u64>();
    }
    if let Some(last) = reference.last_mut() {
        *last += counts[end..].iter().sum::<u64>();
    }
    let width = inside.len() / quantized_bins;
    let mut quantized = vec![0; inside.len()];
    for bin in 0..quantized_bins {
        let part = bin * width..(bin + 1) * width;
        let occupied = reference[part.clone()].iter().filter(|count| **count != 0).count();
        let until = if bin + 1 == quantized_bins { inside.len() } else { part.end };
        let total: u64 = inside[part.start..until].iter().sum();
        if occupied != 0 {
            quantized[part].fill((total as f64 / occupied as f64) as u64);
        }
    }
    match (smooth(&reference), smooth(&quantized)) {
        (Some(reference), Some(quantized)) => relative_entropy(&reference, &quantized),
        _ => f32::INFINITY,
    }
}

/// A distribution in which no bin is empty; `None` where all are, or nearly all.
fn smooth(counts: &[u64]) -> Option<Vec<f32>> {
    let empty = counts.iter().filter(|count| **count == 0).count();
    let occupied = counts.len() - empty;
    let taken = EPSILON * empty as f64 / occupied as f64;
    let smoothed = |count: &u64| if *count == 0 { EPSILON as f32 } else { *count as f32 - taken as f32 };
    (occupied > 0 && taken < 1.0).then(|| counts.iter().map(smoothed).collect())
}

fn relative_entropy(reference: &[f32], candidate: &[f32]) -> f32 {
    let (reference_sum, candidate_sum) = (numpy::sum(reference), numpy::sum(candidate));
    let terms: Vec<f32> = reference
        .iter()
        .zip(candidate)
        .map(|(reference, candidate)| {
            let (reference, candidate) = (reference / reference_sum, candidate / candidate_sum);
            if reference > 0.0 && candidate > 0.0 {
                reference * numpy::ln(reference / candidate)
            } else if reference == 0.0 && candidate >= 0.0 {
                0.0
            } else {
                f32::INFINITY
            }
        })
        .collect();
    numpy::sum(&terms)
}
