//! How NumPy computes in `float32`.

/// `numpy.sum` of contiguous numbers: by halves, in blocks of at most 128 with eight sums each.
pub(super) fn sum(values: &[f32]) -> f32 {
    if values.len() < 8 {
        return values.iter().fold(0.0, |sum, value| sum + value);
    }
    if values.len() > 128 {
        let half = values.len() / 2;
        let (left, right) = values.split_at(half - half % 8);
        return sum(left) + sum(right);
    }
    let (chunks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, value| sum + value)
}

/// `left // right`.
pub(super) fn floor_divide(left: f32, right: f32) -> f32 {
    let remainder = left % right;
    let quotient = (left - remainder) / right;
    // For a remainder of another sign than the divisor's, and where the division was inexact.
    let quotient =
        if remainder != 0.0 && (right < 0.0) != (remainder < 0.0) { quotient - 1.0 } else { quotient };
    let floor = quotient.floor();
    if quotient - floor > 0.5 { floor + 1.0 } else { floor }
}

/// `numpy.arange(start, stop, step)`, which is of `float64` even for `float32` ends; its number, the second one and
/// so the distance of all come from `float32` all the same. `None` for more than `most` numbers.
pub(super) fn arange(start: f32, stop: f32, step: f32, most: usize) -> Option<Vec<f64>> {
    let count = f64::from((stop - start) / step).ceil();
    if count.is_nan() || count > most as f64 {
        return None;
    }
    let (first, second) = (f64::from(start), f64::from(start + step));
    Some((0..count.max(0.0) as usize).map(|index| first + index as f64 * (second - first)).collect())
}
