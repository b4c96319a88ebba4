//! What a linear layer's inputs say of its weights: X·Xᵀ.

use std::fmt;

/// Samples that are multiplied at a time: few enough that `float32` sums of so many products are good.
const SAMPLES: usize = 64;
/// Columns of a block of products, whose inputs stay in the first cache.
const COLUMNS: usize = 32;
const LANES: usize = 8;

/// H = Σ x·xᵀ over the inputs x of a linear layer. The squared error of its outputs is Σ eᵀ·H·e over the rows e of the
/// weights' error, so H is all that rounding needs of the data; the loss's second derivative is 2·H. A convolution is a
/// linear layer of the patches that it reads, one x for each position of its output; each group has its own H.
#[derive(Clone, Debug, PartialEq)]
pub struct Hessian {
    columns: usize,
    /// Row-major and square; only the part up to the diagonal is kept up to date.
    sums: Vec<f64>,
    count: u64,
}

/// Why weights cannot be rounded by a Hessian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundingError {
    /// The numbers of weights, inputs, parameters or codes do not fit each other.
    Shape,
    /// The Hessian has NaN, infinities, or is not positive definite even with the damping.
    Hessian,
}

impl fmt::Display for RoundingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shape => "weights, inputs and parameters do not fit each other",
            Self::Hessian => "the inputs are not finite, or too little damped",
        })
    }
}

impl std::error::Error for RoundingError {}

impl Hessian {
    /// Of a layer with this many inputs, without samples.
    pub fn new(columns: usize) -> Self {
        Self { columns, sums: vec![0.0; columns * columns], count: 0 }
    }

    /// Adds inputs of the shape \[samples, columns\].
    ///
    /// # Errors
    ///
    /// [`RoundingError::Shape`] if they are not a multiple of the columns.
    pub fn add(&mut self, inputs: &[f32]) -> Result<(), RoundingError> {
        let columns = self.columns;
        if columns == 0 || !inputs.len().is_multiple_of(columns) {
            return Err(RoundingError::Shape);
        }
        self.count += (inputs.len() / columns) as u64;
        // By column, so that the products of two columns are next to each other.
        let mut tile = vec![[0.0f32; SAMPLES]; columns];
        for samples in inputs.chunks(SAMPLES * columns) {
            if samples.len() < SAMPLES * columns {
                tile.fill([0.0; SAMPLES]);
            }
            for (index, sample) in samples.chunks(columns).enumerate() {
                for (value, column) in sample.iter().zip(&mut tile) {
                    column[index] = *value;
                }
            }
            for rows in (0..columns).step_by(COLUMNS) {
                for first in (0..=rows).step_by(COLUMNS) {
                    for row in rows..(rows + COLUMNS).min(columns) {
                        let end = (first + COLUMNS).min(row + 1);
                        let sums = &mut self.sums[row * columns..][first..end];
                        for (sum, column) in sums.iter_mut().zip(&tile[first..end]) {
                            *sum += f64::from(dot(&tile[row], column));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds the samples of `other`.
    ///
    /// # Errors
    ///
    /// [`RoundingError::Shape`] for another number of columns.
    pub fn merge(&mut self, other: &Self) -> Result<(), RoundingError> {
        if self.columns != other.columns {
            return Err(RoundingError::Shape);
        }
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| *sum += other);
        self.count += other.count;
        Ok(())
    }

    /// How many inputs a sample has.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How many samples there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// One element.
    pub fn get(&self, row: usize, column: usize) -> f64 {
        self.sums[row.max(column) * self.columns + row.min(column)]
    }

    /// All elements, row-major, as `float32`, divided by the number of samples.
    pub(super) fn mean(&self) -> Vec<f32> {
        let count = self.count.max(1) as f64;
        let element = |index: usize| (self.get(index / self.columns, index % self.columns) / count) as f32;
        (0..self.sums.len()).map(element).collect()
    }

    /// eᵀ·H·e for each row e of `error`: the squared error of each of the layer's outputs, summed over all samples, if
    /// its weights have this error.
    ///
    /// # Errors
    ///
    /// [`RoundingError::Shape`] if the rows do not have this many columns.
    pub fn output_errors(&self, error: &[f32]) -> Result<Vec<f64>, RoundingError> {
        if self.columns == 0 || !error.len().is_multiple_of(self.columns) {
            return Err(RoundingError::Shape);
        }
        let of_row = |row: &[f32]| {
            let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
            let products =
                self.sums.chunks(self.columns).zip(&row).enumerate().map(|(index, (sums, error))| {
                    let below = super::linear_algebra::dot(&sums[..index], &row[..index]);
                    error * (2.0 * below + sums[index] * error)
                });
            products.sum()
        };
        Ok(error.chunks(self.columns).map(of_row).collect())
    }

    /// The sum of [`output_errors`](Self::output_errors).
    ///
    /// # Errors
    ///
    /// [`RoundingError::Shape`] if the rows do not have this many columns.
    pub fn output_error(&self, error: &[f32]) -> Result<f64, RoundingError> {
        Ok(self.output_errors(error)?.iter().sum())
    }
}

fn dot(left: &[f32; SAMPLES], right: &[f32; SAMPLES]) -> f32 {
    let mut sums = [0.0; LANES];
    for (left, right) in left.as_chunks::<LANES>().0.iter().zip(right.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    sums.iter().sum()
}
