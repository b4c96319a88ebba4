//! The little linear algebra that rounding needs.

const LANES: usize = 8;

/// Σ left · right.
pub(super) fn dot(left: &[f64], right: &[f64]) -> f64 {
    let (left_chunks, left_rest) = left.as_chunks::<LANES>();
    let (right_chunks, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (left, right) in left_chunks.iter().zip(right_chunks) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    sums.iter().sum::<f64>() + left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum::<f64>()
}

/// The upper triangular U with Uᵀ·U = H⁻¹, of a positive definite H of `size` rows: the Cholesky factor of the inverse.
/// `matrix` is H, row-major, and becomes U; only its upper triangle is read. `None` if H is not positive definite.
///
/// H = R·Rᵀ with R upper triangular, found from the last row upwards; then U = R⁻¹, without an inverse of H.
pub(super) fn inverse_factor(matrix: &mut [f64], size: usize) -> Option<()> {
    factor(matrix, size)?;
    invert(matrix, size);
    Some(())
}

/// Replaces H by R.
fn factor(matrix: &mut [f64], size: usize) -> Option<()> {
    for column in (0..size).rev() {
        let (above, pivot) = matrix[..(column + 1) * size].split_at_mut(column * size);
        let tail = &pivot[column + 1..];
        let square = pivot[column] - dot(tail, tail);
        if !square.is_finite() || square <= 0.0 {
            return None;
        }
        let root = square.sqrt();
        for row in above.chunks_mut(size) {
            row[column] = (row[column] - dot(&row[column + 1..], tail)) / root;
        }
        pivot[column] = root;
        pivot[..column].fill(0.0);
    }
    Some(())
}

/// Replaces R by its inverse, row by row from the last one.
fn invert(matrix: &mut [f64], size: usize) {
    /// Rows that are computed together, so that each row below is read once for all of them.
    const ROWS: usize = 4;
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(ROWS);
        let (head, below) = matrix.split_at_mut(end * size);
        let rows = &mut head[start * size..];
        let factors: Vec<f64> = rows.to_vec();
        // The part right of the rows' own triangle.
        rows.chunks_mut(size).for_each(|row| row[end..].fill(0.0));
        for (index, other) in below.chunks(size).enumerate() {
            let column = end + index;
            for (row, factors) in rows.chunks_mut(size).zip(factors.chunks(size)) {
                subtract(&mut row[column..], factors[column], &other[column..]);
            }
        }
        for row in (start..end).rev() {
            let (head, others) = rows.split_at_mut((row - start + 1) * size);
            let (row_values, factors) =
                (&mut head[(row - start) * size..], &factors[(row - start) * size..][..size]);
            let pivot = 1.0 / factors[row];
            row_values[row..end].fill(0.0);
            for (index, other) in others.chunks(size).enumerate() {
                let column = row + 1 + index;
                subtract(&mut row_values[column..], factors[column], &other[column..]);
            }
            row_values[row + 1..].iter_mut().for_each(|value| *value *= pivot);
            row_values[row] = pivot;
        }
        end = start;
    }
}

fn subtract(from: &mut [f64], factor: f64, values: &[f64]) {
    for (from, value) in from.iter_mut().zip(values) {
        *from -= factor * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NumPy: `np.linalg.cholesky(np.linalg.inv(h)).T`, with `i = np.arange(6)` and
    /// `h = 1 / (1 + np.abs(i[:, None] - i)) + np.diag(i / 10)`.
    #[test]
    fn the_factor_of_the_inverse_is_numpys() {
        let element = |index: usize| {
            let (row, column) = (index / 6, index % 6);
            let diagonal = if row == column { row as f64 / 10.0 } else { 0.0 };
            1.0 / (1.0 + row.abs_diff(column) as f64) + diagonal
        };
        let mut matrix: Vec<f64> = (0..36).map(element).collect();
        inverse_factor(&mut matrix, 6).unwrap();
        let expected = [
            1.150624294667281,
            -0.4519072656583289,
            -0.09585778631822174,
            -0.04818278402571858,
            -0.03295899382209086,
            -0.029922927431360404,
            0.0,
            1.0712390656656867,
            -0.3832447097605852,
            -0.097364732415959,
            -0.050852909723532416,
            -0.040370180017270114,
            0.0,
            0.0,
            1.0068196465243335,
            -0.33364260197152323,
            -0.09888244124138913,
            -0.06069966023547631,
            0.0,
            0.0,
            0.0,
            0.9520341800701141,
            -0.3001909576797658,
            -0.11149949856677009,
            0.0,
            0.0,
            0.0,
            0.0,
            0.9004503377814963,
            -0.3001501125938321,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            0.816496580927726,
        ];
        for (found, expected) in matrix.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-14, "{found} {expected}");
        }
        assert_eq!(inverse_factor(&mut [1.0, 2.0, 2.0, 1.0], 2), None);
    }
}
