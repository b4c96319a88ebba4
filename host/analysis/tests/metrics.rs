//! Error metrics against their definitions, and their rules for zeros, NaN and no values at all.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use qp_analysis::{ErrorMetrics, Metrics};

fn compared(reference: &[f64], candidate: &[f64]) -> ErrorMetrics {
    let mut errors = ErrorMetrics::new();
    errors.add(reference, candidate).unwrap();
    errors
}

fn metrics(reference: &[f64], candidate: &[f64]) -> Metrics {
    compared(reference, candidate).metrics()
}

/// The numbers of NumPy 2.4.6 for
///
/// ```python
/// x = np.sin(np.arange(5000)); y = np.round(x * 20) / 20
/// 10 * np.log10(np.sum(x**2) / np.sum((x - y)**2))   # the number that qdq_loss_debug gives
/// np.dot(x, y) / (np.linalg.norm(x) * np.linalg.norm(y))
/// np.abs(x - y).max(), np.abs(x - y).mean(), np.mean((x - y)**2)
/// np.linalg.norm(x - y) / np.linalg.norm(x)
/// ```
#[test]
fn agrees_with_numpy() {
    let reference: Vec<f64> = (0..5000).map(|index| f64::from(index).sin()).collect();
    let candidate: Vec<f64> = reference.iter().map(|x| (x * 20.0).round_ties_even() / 20.0).collect();
    let found = metrics(&reference, &candidate);
    let close =
        |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() <= 1e-12 * expected.abs();
    assert!(close(found.sqnr_db, SQNR_DB), "{found:?}");
    assert!(close(found.cosine_similarity, COSINE), "{found:?}");
    assert!(close(found.max_abs_error, MAX_ABS), "{found:?}");
    assert!(close(found.mean_abs_error, MEAN_ABS), "{found:?}");
    assert!(close(found.mse, MSE), "{found:?}");
    assert!(close(found.relative_l2, RELATIVE), "{found:?}");
}

#[test]
fn equal_values_have_no_error() {
    let found = metrics(&[1.0, -2.0], &[1.0, -2.0]);
    assert_eq!((found.sqnr_db, found.relative_l2), (Some(f64::INFINITY), Some(0.0)));
    assert_eq!((found.max_abs_error, found.mean_abs_error, found.mse), (Some(0.0), Some(0.0), Some(0.0)));
    assert!((found.cosine_similarity.unwrap() - 1.0).abs() < 1e-15);
}

#[test]
fn a_reference_of_zeros_has_no_angle() {
    let equal = metrics(&[0.0, 0.0], &[0.0, -0.0]);
    assert_eq!((equal.sqnr_db, equal.relative_l2), (Some(f64::INFINITY), Some(0.0)));
    assert_eq!(equal.cosine_similarity, None);
    let other = metrics(&[0.0, 0.0], &[0.0, 1.0]);
    assert_eq!((other.sqnr_db, other.relative_l2), (Some(f64::NEG_INFINITY), Some(f64::INFINITY)));
    assert_eq!((other.cosine_similarity, other.mse), (None, Some(0.5)));
}

#[test]
fn a_candidate_of_zeros_is_at_zero_decibels() {
    let found = metrics(&[3.0, 4.0], &[0.0, 0.0]);
    assert_eq!((found.sqnr_db, found.relative_l2, found.cosine_similarity), (Some(0.0), Some(1.0), None));
}

#[test]
fn nothing_has_no_metrics() {
    let found = metrics(&[], &[]);
    assert_eq!((found.sqnr_db, found.cosine_similarity, found.max_abs_error), (None, None, None));
    assert_eq!((found.mean_abs_error, found.mse, found.relative_l2), (None, None, None));
}

#[test]
fn a_candidate_that_breaks_down_passes_no_threshold() {
    let errors = compared(&[1.0, 2.0, 3.0], &[1.0, f64::NAN, 2.0]);
    assert_eq!((errors.disagreeing_non_finite(), errors.candidate_non_finite()), (1, 1));
    assert_eq!((errors.count(), errors.finite_pairs()), (3, 2));
    assert_eq!(errors.metrics().sqnr_db, Some(f64::NEG_INFINITY));
    assert_eq!(errors.metrics().max_abs_error, Some(f64::INFINITY));
    assert_eq!(errors.metrics_of_finite_pairs().sqnr_db, Some(10.0));
}

#[test]
fn the_same_infinity_on_both_sides_is_an_agreement() {
    let mask = [f64::NEG_INFINITY, 1.0, f64::NAN];
    let errors = compared(&mask, &mask);
    assert_eq!((errors.agreeing_non_finite(), errors.disagreeing_non_finite()), (2, 0));
    assert_eq!((errors.reference_non_finite(), errors.candidate_non_finite()), (2, 2));
    assert_eq!(errors.metrics().sqnr_db, Some(f64::INFINITY));
    let opposite = compared(&[f64::NEG_INFINITY], &[f64::INFINITY]);
    assert_eq!(opposite.disagreeing_non_finite(), 1);
    assert_eq!(opposite.metrics_of_finite_pairs().sqnr_db, None);
}

#[test]
fn different_lengths_are_refused_and_nothing_is_added() {
    let mut errors = ErrorMetrics::new();
    assert!(errors.add(&[1.0, 2.0], &[1.0]).is_err());
    assert_eq!(errors.count(), 0);
}

const SQNR_DB: f64 = 34.07440838835152;
const COSINE: f64 = 0.9998052679752986;
const MAX_ABS: f64 = 0.024821102478179202;
const MEAN_ABS: f64 = 0.011908513330955592;
const MSE: f64 = 0.0001956378583976737;
const RELATIVE: f64 = 0.019782427400345397;
