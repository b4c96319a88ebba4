//! Quantiles of a few values that are all in memory.

/// The value below which the share `quantile` of sorted values is, interpolated as NumPy's `quantile` does; `None` without
/// values.
pub fn quantile(sorted: &[f64], quantile: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = quantile.clamp(0.0, 1.0) * last as f64;
    let (before, part) = (place.floor() as usize, place.fract());
    let (low, high) = (sorted[before], sorted[(before + 1).min(last)]);
    Some(if part == 0.0 { low } else { low + (high - low) * part })
}

#[cfg(test)]
mod tests {
    use super::quantile;

    /// NumPy: `quantile([1, 2, 4, 8], [0, 0.5, 0.99, 1])`.
    #[test]
    fn quantiles_are_numpys() {
        let values = [1.0, 2.0, 4.0, 8.0];
        for (share, expected) in [(0.0, 1.0), (0.5, 3.0), (0.99, 7.88), (1.0, 8.0)] {
            assert!((quantile(&values, share).unwrap() - expected).abs() < 1e-12);
        }
        assert_eq!(quantile(&[], 0.5), None);
    }
}
