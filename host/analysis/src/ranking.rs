//! The highest of several scores.

/// The index of the highest score, the first if several are equal; NaN is lower than anything. `None` for no scores.
pub fn argmax(scores: &[f64]) -> Option<usize> {
    let key = |score: f64| if score.is_nan() { f64::NEG_INFINITY } else { score };
    let better =
        |best: usize, index: usize| if key(scores[index]) > key(scores[best]) { index } else { best };
    (0..scores.len()).reduce(better)
}

#[cfg(test)]
mod tests {
    use super::argmax;

    /// Like `numpy.nanargmax`, except for all NaN, where that raises.
    #[test]
    fn the_first_of_the_highest() {
        assert_eq!(argmax(&[0.1, 0.7, 0.7]), Some(1));
        assert_eq!(argmax(&[f64::NAN, -1.0, -2.0]), Some(1));
        assert_eq!(argmax(&[f64::NAN]), Some(0));
        assert_eq!(argmax(&[]), None);
    }
}
