//! How far a candidate's class probabilities are from the reference's, sample by sample.

/// How far the sum of probabilities may be from 1: rounding to 8 bits and few classes.
const SUM_TOLERANCE: f64 = 0.02;

/// The probabilities of classes: a network may end with a softmax or before it. Those that it gives add up to 1 but for rounding,
/// which is taken out.
pub fn probabilities(scores: &[f64]) -> Vec<f64> {
    if !are_probabilities(scores) {
        return softmax(scores);
    }
    let sum: f64 = scores.iter().sum();
    scores.iter().map(|score| score / sum).collect()
}

/// Whether scores are probabilities already.
fn are_probabilities(scores: &[f64]) -> bool {
    let sum: f64 = scores.iter().sum();
    scores.len() > 1
        && scores.iter().all(|score| (0.0..=1.0).contains(score))
        && (sum - 1.0).abs() < SUM_TOLERANCE
}

/// The probabilities that scores stand for: exp(x) / Σ exp(x).
pub fn softmax(scores: &[f64]) -> Vec<f64> {
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// The Kullback-Leibler divergence Σ p ln(p / q) of `candidate` (q) from `reference` (p), in nats. Infinite where the
/// candidate excludes what the reference does not.
pub fn kl_divergence(reference: &[f64], candidate: &[f64]) -> f64 {
    let term = |(p, q): (&f64, &f64)| if *p == 0.0 { 0.0 } else { p * (p / q).ln() };
    // Rounding may take it below zero.
    reference.iter().zip(candidate).map(term).sum::<f64>().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SciPy 1.17: `rel_entr(softmax(a), softmax(b)).sum()`.
    #[test]
    fn divergence_is_scipys() {
        let (a, b) = ([1.0, 2.0, 3.5, -1.0], [0.9, 2.2, 3.0, 0.0]);
        let found = kl_divergence(&softmax(&a), &softmax(&b));
        assert!((found - 0.05229336865226663).abs() < 1e-15, "{found}");
        assert_eq!(kl_divergence(&[0.5, 0.5], &[1.0, 0.0]), f64::INFINITY);
        assert_eq!(kl_divergence(&[1.0, 0.0], &[1.0, 0.0]), 0.0);
    }

    #[test]
    fn large_scores_do_not_overflow() {
        assert_eq!(softmax(&[1000.0, 1000.0]), [0.5, 0.5]);
        assert!(are_probabilities(&[0.25, 0.75]));
        assert!(
            !are_probabilities(&[0.25, 0.5])
                && !are_probabilities(&[1.5, -0.5])
                && !are_probabilities(&[1.0])
        );
    }
}
