//! How far two series have the same order.

/// Spearman's rank correlation, from -1 to 1: Pearson's correlation of the ranks, equal numbers sharing the mean of
/// theirs.
///
/// `None` for series of different lengths, of fewer than two numbers, with NaN, or of one number repeated.
pub fn rank_correlation(left: &[f64], right: &[f64]) -> Option<f64> {
    if left.len() != right.len() || left.len() < 2 {
        return None;
    }
    let (left, right) = (ranks(left)?, ranks(right)?);
    let middle = (left.len() + 1) as f64 / 2.0;
    let (mut left_variance, mut right_variance, mut covariance) = (0.0, 0.0, 0.0);
    for (left, right) in left.iter().zip(&right) {
        let (left, right) = (left - middle, right - middle);
        left_variance += left * left;
        right_variance += right * right;
        covariance += left * right;
    }
    let correlation = covariance / (left_variance * right_variance).sqrt();
    correlation.is_finite().then_some(correlation)
}

/// The ranks from 1; `None` if a number is NaN.
fn ranks(values: &[f64]) -> Option<Vec<f64>> {
    if values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|left, right| values[*left].total_cmp(&values[*right]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|left, right| values[*left] == values[*right]) {
        let rank = before as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|index| ranks[*index] = rank);
        before += equal.len();
    }
    Some(ranks)
}

#[cfg(test)]
mod tests {
    use super::rank_correlation;

    /// SciPy 1.17.1: `spearmanr(left, right).statistic`.
    #[test]
    fn ranks_correlate_as_in_scipy() {
        let left = [1.0, 2.5, 2.5, 7.0, -3.0, 10.0, 2.5];
        let found = rank_correlation(&left, &[3.0, 1.0, 4.0, 4.0, -1.0, 8.0, 0.5]).unwrap();
        assert!((found - 0.7853554716071041).abs() < 1e-15, "{found}");
        let found = rank_correlation(&[0.0, 1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0, 7.0]).unwrap();
        assert!((found - 0.8207826816681233).abs() < 1e-15, "{found}");
        assert_eq!(rank_correlation(&[1.0, 2.0], &[f64::INFINITY, -5.0]), Some(-1.0));
    }

    #[test]
    fn nothing_is_said_of_what_cannot_be_compared() {
        assert_eq!(rank_correlation(&[1.0], &[1.0]), None);
        assert_eq!(rank_correlation(&[1.0, 2.0], &[1.0]), None);
        assert_eq!(rank_correlation(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(rank_correlation(&[1.0, f64::NAN], &[1.0, 2.0]), None);
    }
}
