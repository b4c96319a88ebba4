//! Rounding of weights by GPTQ.

use super::linear_algebra::inverse_factor;
use super::weights::round;
use super::{Hessian, Parameters, RoundingError};
use crate::range::CodeRange;

/// Rows of weights that are rounded together, so that each row of the factor is read once for all of them.
const TILE: usize = 16;

/// The weights of a linear layer and what they are rounded to.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Of the shape \[outputs, inputs\], row-major.
    pub weight: &'a [f32],
    /// How many inputs there are.
    pub columns: usize,
    /// Scales and zero points: one for all; or of the shape \[outputs, ⌈inputs / group_size⌉\].
    pub parameters: &'a [Parameters],
    /// How many inputs of an output share parameters; the number of inputs per channel.
    pub group_size: usize,
    /// What codes are clamped to.
    pub codes: CodeRange,
}

/// How [`gptq`] rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GptqOptions {
    /// What is added to the Hessian's diagonal, as a share of its mean: `percdamp`.
    pub damping: f64,
    /// Rounds the columns with the largest inputs first, instead of in their order: `act_order` with `static_groups`.
    pub by_activation: bool,
}

impl Default for GptqOptions {
    fn default() -> Self {
        Self { damping: 0.01, by_activation: false }
    }
}

impl Layer<'_> {
    pub(super) fn check(&self, hessian: &Hessian) -> Result<(), RoundingError> {
        let fits = self.columns > 0
            && self.group_size > 0
            && hessian.columns() == self.columns
            && self.weight.len().is_multiple_of(self.columns);
        let groups = self.columns.div_ceil(self.group_size.max(1));
        let count = self.weight.len() / self.columns.max(1) * groups;
        let is_whole = self.parameters.len() == 1 || self.parameters.len() == count;
        if fits && is_whole { Ok(()) } else { Err(RoundingError::Shape) }
    }

    #[inline(always)]
    pub(super) fn parameters_of(&self, row: usize, column: usize) -> Parameters {
        match self.parameters {
            [one] => *one,
            many => many[row * self.columns.div_ceil(self.group_size) + column / self.group_size],
        }
    }

    #[inline(always)]
    pub(super) fn code(&self, value: f32, parameters: Parameters) -> f32 {
        let code = round(value / parameters.scale) + parameters.zero_point as f32;
        let code = if code > self.codes.min() as f32 { code } else { self.codes.min() as f32 };
        if code < self.codes.max() as f32 { code } else { self.codes.max() as f32 }
    }

    /// The nearest codes.
    pub fn nearest(&self) -> Vec<i32> {
        let code = |(index, value): (usize, &f32)| {
            let found = self.parameters_of(index / self.columns, index % self.columns);
            self.code(*value, found) as i32
        };
        self.weight.iter().enumerate().map(code).collect()
    }

    /// What these codes lack: weight − scale · (code − zero_point).
    pub fn error(&self, codes: &[i32]) -> Vec<f32> {
        let rest = |(index, (value, code)): (usize, (&f32, &i32))| {
            let found = self.parameters_of(index / self.columns, index % self.columns);
            value - found.scale * (code - found.zero_point) as f32
        };
        self.weight.iter().zip(codes).enumerate().map(rest).collect()
    }
}

/// The codes of a linear layer, rounded one column after the other, each time moving what rounding loses to the columns
/// that are still to come: with U the Cholesky factor of the damped Hessian's inverse, U\[j, k\] / U\[j, j\] of column
/// j's error is subtracted from each column k > j. Columns whose inputs are all 0 become the code of 0.
///
/// Source: E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh, "GPTQ: Accurate post-training quantization for generative
/// pre-trained transformers", ICLR 2023, algorithm 1, with scales that are known beforehand.
///
/// # Errors
///
/// [`RoundingError`].
pub fn gptq(layer: Layer<'_>, hessian: &Hessian, options: GptqOptions) -> Result<Vec<i32>, RoundingError> {
    layer.check(hessian)?;
    let columns = layer.columns;
    let diagonal: Vec<f64> = (0..columns).map(|column| hessian.get(column, column)).collect();
    let dead: Vec<bool> = diagonal.iter().map(|value| *value == 0.0).collect();
    let alive = |column: usize| if dead[column] { 1.0 } else { diagonal[column] };
    let damping = options.damping * (0..columns).map(alive).sum::<f64>() / columns as f64;
    let mut order: Vec<usize> = (0..columns).collect();
    if options.by_activation {
        order.sort_by(|left, right| alive(*right).total_cmp(&alive(*left)));
    }
    let factor = factor(hessian, &order, alive, damping)?;

    let mut codes = vec![0; layer.weight.len()];
    let mut rest = vec![0.0; TILE * columns];
    let tiles = layer.weight.chunks(TILE * columns).zip(codes.chunks_mut(TILE * columns));
    for (tile, (weight, codes)) in tiles.enumerate() {
        let rest = &mut rest[..weight.len()];
        for (row, weight) in rest.chunks_mut(columns).zip(weight.chunks(columns)) {
            for (value, column) in row.iter_mut().zip(&order) {
                *value = if dead[*column] { 0.0 } else { weight[*column] };
            }
        }
        for (step, &column) in order.iter().enumerate() {
            let line = &factor[step * columns..][step..columns];
            let rows = rest.chunks_mut(columns).zip(codes.chunks_mut(columns));
            for (row, (rest, codes)) in rows.enumerate() {
                let found = layer.parameters_of(tile * TILE + row, column);
                let value = rest[step];
                let code = layer.code(value, found);
                codes[column] = code as i32;
                let error = (value - found.scale * (code - found.zero_point as f32)) / line[0];
                for (value, factor) in rest[step..].iter_mut().zip(line) {
                    *value -= error * factor;
                }
            }
        }
    }
    Ok(codes)
}

/// U of the damped Hessian, its rows and columns in this order.
fn factor(
    hessian: &Hessian,
    order: &[usize],
    diagonal: impl Fn(usize) -> f64,
    damping: f64,
) -> Result<Vec<f32>, RoundingError> {
    let size = order.len();
    let mut matrix = Vec::with_capacity(size * size);
    for (row, &from) in order.iter().enumerate() {
        let element = |(column, to): (usize, &usize)| match row == column {
            true => diagonal(from) + damping,
            false => hessian.get(from, *to),
        };
        matrix.extend(order.iter().enumerate().map(element));
    }
    inverse_factor(&mut matrix, size).ok_or(RoundingError::Hessian)?;
    Ok(matrix.into_iter().map(|value| value as f32).collect())
}
