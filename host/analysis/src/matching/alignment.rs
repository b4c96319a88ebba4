//! Aligns two sequences.

/// The pairs `(left, right)` of the alignment of two sequences in which no two pairs cross and the sum of the scores
/// is highest. A pair needs a score above 0; where `score` gives `None`, there is no pair.
///
/// This is global alignment with gaps that cost nothing (Needleman and Wunsch, 1970).
pub fn align(
    left_count: usize,
    right_count: usize,
    score: impl Fn(usize, usize) -> Option<f64>,
) -> Vec<(usize, usize)> {
    let width = right_count + 1;
    // The best sum over what is left of both sequences from (left, right) on.
    let mut best = vec![0.0_f64; (left_count + 1) * width];
    let mut is_pair = vec![false; (left_count + 1) * width];
    for left in (0..left_count).rev() {
        for right in (0..right_count).rev() {
            let at = left * width + right;
            let skipped = best[at + 1].max(best[at + width]);
            let paired =
                score(left, right).filter(|score| *score > 0.0).map(|score| score + best[at + width + 1]);
            is_pair[at] = paired.is_some_and(|paired| paired >= skipped);
            best[at] = if is_pair[at] { paired.unwrap_or(skipped) } else { skipped };
        }
    }
    let (mut left, mut right, mut pairs) = (0, 0, Vec::new());
    while left < left_count && right < right_count {
        let at = left * width + right;
        if is_pair[at] {
            pairs.push((left, right));
            left += 1;
            right += 1;
        } else if best[at + 1] >= best[at + width] {
            right += 1;
        } else {
            left += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn the_best_pairs_that_do_not_cross() {
        // Greedily, the best score (0, 1) would keep both others out.
        let scores = [[0.6, 1.0, 0.0], [0.0, 0.7, 0.0], [0.0, 0.0, 0.5]];
        let pairs = align(3, 3, |left, right| Some(scores[left][right]));
        assert_eq!(pairs, [(0, 0), (1, 1), (2, 2)]);
    }

    #[test]
    fn what_has_no_partner_is_left_out() {
        let names = (["a", "x", "b", "c"], ["a", "b", "y", "c"]);
        let pairs = align(4, 4, |left, right| (names.0[left] == names.1[right]).then_some(1.0));
        assert_eq!(pairs, [(0, 0), (2, 1), (3, 3)]);
        assert!(align(0, 3, |_, _| Some(1.0)).is_empty());
    }
}
