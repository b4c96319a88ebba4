//! How far two series agree.

/// Lin's concordance correlation coefficient, from -1 to 1: `2 cov(x, y) / (var x + var y + (mean x - mean y)²)`.
/// Unlike Pearson's it is 1 only if the series are equal, not if one is a multiple of the other.
///
/// `None` for series of different lengths or none, for numbers that are not finite, and if both are the same
/// constant.
///
/// Source: L. I.-K. Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45, 1989.
pub fn concordance(left: &[f64], right: &[f64]) -> Option<f64> {
    if left.len() != right.len() || left.is_empty() {
        return None;
    }
    let count = left.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
    let (left_mean, right_mean) = (mean(left), mean(right));
    let (mut left_variance, mut right_variance, mut covariance) = (0.0, 0.0, 0.0);
    for (left, right) in left.iter().zip(right) {
        let (left, right) = (left - left_mean, right - right_mean);
        left_variance += left * left;
        right_variance += right * right;
        covariance += left * right;
    }
    let shift = left_mean - right_mean;
    let agreement = 2.0 * covariance / (left_variance + right_variance + count * shift * shift);
    agreement.is_finite().then_some(agreement)
}

#[cfg(test)]
mod tests {
    use super::concordance;

    /// NumPy: `2*np.cov(x,y,bias=True)[0,1]/(x.var()+y.var()+(x.mean()-y.mean())**2)`.
    #[test]
    fn a_multiple_does_not_agree_as_a_copy_does() {
        let series = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(concordance(&series, &series), Some(1.0));
        let twice = concordance(&series, &[2.0, 4.0, 8.0, 16.0]).unwrap();
        assert!((twice - 0.575).abs() < 1e-15, "{twice}");
        let noisy = concordance(&series, &[1.5, 1.5, 4.5, 7.0]).unwrap();
        assert!((noisy - 0.965).abs() < 1e-15, "{noisy}");
    }

    #[test]
    fn nothing_is_said_of_what_cannot_be_compared() {
        assert_eq!(concordance(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(concordance(&[], &[]), None);
        assert_eq!(concordance(&[3.0, 3.0], &[3.0, 3.0]), None);
        assert_eq!(concordance(&[1.0, f64::NAN], &[1.0, 2.0]), None);
    }
}
