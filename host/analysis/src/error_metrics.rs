//! How far a candidate's values are from the reference's.

use crate::params::CountMismatch;
use crate::sum::Sum;
use qp_elements::BLOCK_ELEMENTS;

/// Sums over pairs of a reference's value x and a candidate's value y, from which the error metrics follow.
///
/// Where x and y are both finite they enter the sums. A pair with a NaN or an infinity is counted:
///
/// - as *agreeing* when both are NaN or the same infinity: it changes no metric;
/// - as *disagreeing* otherwise: there is no finite error, and [`metrics`](Self::metrics) reports infinities, so that
///   a candidate that breaks down passes no threshold. [`metrics_of_finite_pairs`](Self::metrics_of_finite_pairs)
///   tells how good the rest is.
///
/// Sums are kept in `f64`, compensated over blocks. Squares overflow beyond 1e154, which a `float32` never
/// reaches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorMetrics {
    finite_pairs: u64,
    agreeing_non_finite: u64,
    disagreeing_non_finite: u64,
    reference_non_finite: u64,
    candidate_non_finite: u64,
    signal: Sum,
    candidate_signal: Sum,
    product: Sum,
    noise: Sum,
    abs_error: Sum,
    max_abs_error: f64,
}

/// The metrics of one comparison. Definitions: x is the reference's value, y the candidate's, n their number.
///
/// Over no pairs, every metric is `None`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metrics {
    /// Signal to quantization noise ratio, 10·log10(Σx² / Σ(x−y)²), in dB. +∞ where all values are equal, even if all
    /// are zero; −∞ where the reference is all zeros and the candidate is not.
    pub sqnr_db: Option<f64>,
    /// Σxy / √(Σx²·Σy²), from −1 to 1. `None` where one of the two is all zeros: there is no angle.
    pub cosine_similarity: Option<f64>,
    /// max|x−y|, in the unit of the values.
    pub max_abs_error: Option<f64>,
    /// Σ|x−y| / n, in the unit of the values.
    pub mean_abs_error: Option<f64>,
    /// Σ(x−y)² / n, in the square of the unit of the values.
    pub mse: Option<f64>,
    /// √(Σ(x−y)² / Σx²). 0 where all are equal; +∞ where the reference is all zeros and the candidate is not.
    pub relative_l2: Option<f64>,
}

impl Metrics {
    const UNDEFINED: Self = Self {
        sqnr_db: None,
        cosine_similarity: None,
        max_abs_error: None,
        mean_abs_error: None,
        mse: None,
        relative_l2: None,
    };

    const BROKEN: Self = Self {
        sqnr_db: Some(f64::NEG_INFINITY),
        cosine_similarity: None,
        max_abs_error: Some(f64::INFINITY),
        mean_abs_error: Some(f64::INFINITY),
        mse: Some(f64::INFINITY),
        relative_l2: Some(f64::INFINITY),
    };
}

impl ErrorMetrics {
    /// Over no pairs yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds pairs of a reference's and a candidate's values, in the same order.
    ///
    /// # Errors
    ///
    /// [`CountMismatch`], and nothing is added, when the two slices differ in length.
    pub fn add(&mut self, reference: &[f64], candidate: &[f64]) -> Result<(), CountMismatch> {
        if reference.len() != candidate.len() {
            return Err(CountMismatch { expected: reference.len() as u64, found: candidate.len() as u64 });
        }
        for (reference, candidate) in reference.chunks(BLOCK_ELEMENTS).zip(candidate.chunks(BLOCK_ELEMENTS)) {
            let sums = BlockSums::of(reference, candidate);
            if sums.are_finite() {
                self.add_sums(reference.len() as u64, sums);
            } else {
                self.add_with_specials(reference, candidate);
            }
        }
        Ok(())
    }

    /// Adds the pairs that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        self.finite_pairs += other.finite_pairs;
        self.agreeing_non_finite += other.agreeing_non_finite;
        self.disagreeing_non_finite += other.disagreeing_non_finite;
        self.reference_non_finite += other.reference_non_finite;
        self.candidate_non_finite += other.candidate_non_finite;
        self.signal.merge(other.signal);
        self.candidate_signal.merge(other.candidate_signal);
        self.product.merge(other.product);
        self.noise.merge(other.noise);
        self.abs_error.merge(other.abs_error);
        self.max_abs_error = self.max_abs_error.max(other.max_abs_error);
    }

    /// The number of pairs.
    pub fn count(&self) -> u64 {
        self.finite_pairs + self.agreeing_non_finite + self.disagreeing_non_finite
    }

    /// The number of pairs of two finite values, over which the metrics are taken.
    pub fn finite_pairs(&self) -> u64 {
        self.finite_pairs
    }

    /// The number of pairs of two NaN, or of the same infinity.
    pub fn agreeing_non_finite(&self) -> u64 {
        self.agreeing_non_finite
    }

    /// The number of pairs in which at least one value is not finite and the two are not the same.
    pub fn disagreeing_non_finite(&self) -> u64 {
        self.disagreeing_non_finite
    }

    /// How many of the reference's values are NaN or infinite.
    pub fn reference_non_finite(&self) -> u64 {
        self.reference_non_finite
    }

    /// How many of the candidate's values are NaN or infinite.
    pub fn candidate_non_finite(&self) -> u64 {
        self.candidate_non_finite
    }

    /// The metrics; all at their worst if a pair disagrees about NaN or an infinity.
    pub fn metrics(&self) -> Metrics {
        if self.disagreeing_non_finite > 0 { Metrics::BROKEN } else { self.metrics_of_finite_pairs() }
    }

    /// The metrics over the pairs of two finite values, whatever the other pairs are.
    pub fn metrics_of_finite_pairs(&self) -> Metrics {
        if self.finite_pairs == 0 {
            return Metrics::UNDEFINED;
        }
        let count = self.finite_pairs as f64;
        let (signal, noise) = (self.signal.value(), self.noise.value());
        let candidate_signal = self.candidate_signal.value();
        // In this order the squares of two tiny norms do not vanish.
        let norms = signal.sqrt() * candidate_signal.sqrt();
        let sqnr_db = if self.max_abs_error == 0.0 { f64::INFINITY } else { 10.0 * (signal / noise).log10() };
        let relative_l2 = if self.max_abs_error == 0.0 { 0.0 } else { (noise / signal).sqrt() };
        Metrics {
            sqnr_db: Some(sqnr_db),
            cosine_similarity: (norms > 0.0).then(|| (self.product.value() / norms).clamp(-1.0, 1.0)),
            max_abs_error: Some(self.max_abs_error),
            mean_abs_error: Some(self.abs_error.value() / count),
            mse: Some(noise / count),
            relative_l2: Some(relative_l2),
        }
    }

    fn add_sums(&mut self, count: u64, sums: BlockSums) {
        self.finite_pairs += count;
        self.signal.add(sums.signal);
        self.candidate_signal.add(sums.candidate_signal);
        self.product.add(sums.product);
        self.noise.add(sums.noise);
        self.abs_error.add(sums.abs_error);
        self.max_abs_error = self.max_abs_error.max(sums.max_abs_error);
    }

    #[cold]
    fn add_with_specials(&mut self, reference: &[f64], candidate: &[f64]) {
        let mut finite = (Vec::with_capacity(reference.len()), Vec::with_capacity(reference.len()));
        for (&x, &y) in reference.iter().zip(candidate) {
            if x.is_finite() && y.is_finite() {
                finite.0.push(x);
                finite.1.push(y);
                continue;
            }
            self.reference_non_finite += u64::from(!x.is_finite());
            self.candidate_non_finite += u64::from(!y.is_finite());
            if x == y || (x.is_nan() && y.is_nan()) {
                self.agreeing_non_finite += 1;
            } else {
                self.disagreeing_non_finite += 1;
            }
        }
        self.add_sums(finite.0.len() as u64, BlockSums::of(&finite.0, &finite.1));
    }
}

struct BlockSums {
    signal: f64,
    candidate_signal: f64,
    product: f64,
    noise: f64,
    abs_error: f64,
    max_abs_error: f64,
}

const LANES: usize = 2;

impl BlockSums {
    fn of(reference: &[f64], candidate: &[f64]) -> Self {
        let ((xs, x_rest), (ys, y_rest)) = (reference.as_chunks(), candidate.as_chunks());
        let mut lanes = sums_of_groups(xs, ys);
        for (x, y) in x_rest.iter().zip(y_rest) {
            lanes.add(0, *x, *y);
        }
        let total = |sums: [f64; LANES]| sums.iter().sum();
        Self {
            signal: total(lanes.signal),
            candidate_signal: total(lanes.candidate_signal),
            product: total(lanes.product),
            noise: total(lanes.noise),
            abs_error: total(lanes.abs_error),
            max_abs_error: lanes.max_abs_error.into_iter().fold(0.0, f64::max),
        }
    }

    /// Whether all values were finite: a NaN or an infinity on either side reaches its sum of squares.
    fn are_finite(&self) -> bool {
        self.signal.is_finite() && self.candidate_signal.is_finite()
    }
}

#[derive(Default)]
struct Lanes {
    signal: [f64; LANES],
    candidate_signal: [f64; LANES],
    product: [f64; LANES],
    noise: [f64; LANES],
    abs_error: [f64; LANES],
    max_abs_error: [f64; LANES],
}

impl Lanes {
    #[inline(always)]
    fn add(&mut self, lane: usize, x: f64, y: f64) {
        let error = (x - y).abs();
        self.signal[lane] += x * x;
        self.candidate_signal[lane] += y * y;
        self.product[lane] += x * y;
        self.noise[lane] += error * error;
        self.abs_error[lane] += error;
        self.max_abs_error[lane] =
            if error > self.max_abs_error[lane] { error } else { self.max_abs_error[lane] };
    }
}

/// A separate function, for the same reason as in `statistics/block.rs`.
#[inline(never)]
fn sums_of_groups(xs: &[[f64; LANES]], ys: &[[f64; LANES]]) -> Lanes {
    let mut lanes = Lanes::default();
    for (x, y) in xs.iter().zip(ys) {
        for lane in 0..LANES {
            lanes.add(lane, x[lane], y[lane]);
        }
    }
    lanes
}
