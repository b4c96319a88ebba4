//! Rounding of weights by coordinate descent.

use super::gptq::Layer;
use super::{Hessian, RoundingError};

/// Improves the codes of a linear layer: goes through the weights of each output and moves a code by one wherever that
/// lowers the squared error of the output, eᵀ·H·e, until none does, or for `sweeps` rounds. Returns how many it moved.
///
/// The objective is AdaRound's (M. Nagel et al., "Up or down? Adaptive rounding for post-training quantization",
/// ICML 2020, equation 20) without its relaxation; from the codes of [`gptq`](super::gptq) it reaches a lower error in
/// a fraction of the time.
///
/// # Errors
///
/// [`RoundingError`].
pub fn descend(
    layer: Layer<'_>,
    hessian: &Hessian,
    codes: &mut [i32],
    sweeps: usize,
) -> Result<usize, RoundingError> {
    layer.check(hessian)?;
    if codes.len() != layer.weight.len() {
        return Err(RoundingError::Shape);
    }
    let columns = layer.columns;
    let hessian = hessian.mean();
    if hessian.iter().any(|value| !value.is_finite()) {
        return Err(RoundingError::Hessian);
    }
    let error = layer.error(codes);
    let (min, max) = (layer.codes.min() as i32, layer.codes.max() as i32);
    let mut moved = 0;
    let mut slope = vec![0.0f32; columns];
    for (row, (error, codes)) in error.chunks(columns).zip(codes.chunks_mut(columns)).enumerate() {
        slope.fill(0.0);
        for (error, line) in error.iter().zip(hessian.chunks(columns)) {
            add(&mut slope, *error, line);
        }
        for _ in 0..sweeps {
            let before = moved;
            for column in 0..columns {
                let line = &hessian[column * columns..][..columns];
                let scale = layer.parameters_of(row, column).scale;
                // A code more lowers the error by 2·s·slope and adds s²·H.
                if 2.0 * slope[column].abs() > scale * line[column] * (1.0 + 1e-6) {
                    let step = if slope[column] > 0.0 { 1 } else { -1 };
                    if (min..=max).contains(&(codes[column] + step)) {
                        codes[column] += step;
                        add(&mut slope, -scale * step as f32, line);
                        moved += 1;
                    }
                }
            }
            if moved == before {
                break;
            }
        }
    }
    Ok(moved)
}

fn add(to: &mut [f32], factor: f32, values: &[f32]) {
    for (to, value) in to.iter_mut().zip(values) {
        *to += factor * value;
    }
}
