//! The output of a classifier: scores, and the classes that they mean.

use super::real::Real;
use super::side::Side;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Tensor;
use qp_analysis::argmax;

/// The first of the tensors that a run of `side` delivered. The runtime says what its codes mean, or else the file.
///
/// # Errors
/// `RuntimeFailed` when it delivered none.
pub fn first(tensors: Vec<Tensor>, side: &Side<'_>) -> Result<Tensor> {
    let mut first = tensors
        .into_iter()
        .next()
        .ok_or_else(|| Error::new(ErrorKind::RuntimeFailed, "the model delivered no output"))?;
    if first.quantization.is_none() {
        first.quantization =
            side.model.info().value(&first.name).and_then(|value| value.quantization.clone());
    }
    Ok(first)
}

/// Checks that each of this many samples has a label.
///
/// # Errors
/// `InvalidInput`.
pub fn enough_labels(labels: &[i64], samples: u64) -> Result<()> {
    if labels.len() as u64 >= samples {
        return Ok(());
    }
    Err(Error::invalid_input(format!("there are {} labels for {samples} samples", labels.len())))
}

/// The class with the highest score for each sample; the first dimension is the batch.
///
/// # Errors
/// `UnsupportedOp` for an output that is not real numbers.
pub fn classes(output: &Tensor) -> Result<Vec<usize>> {
    Ok(scores(output)?.iter().map(|scores| argmax(scores).unwrap_or(0)).collect())
}

/// The scores of each sample.
///
/// # Errors
/// As [`classes`].
pub fn scores(output: &Tensor) -> Result<Vec<Vec<f64>>> {
    let values = Real::of(output, output.quantization.as_ref())?.to_vec();
    let samples = match output.shape[..] {
        [] | [_] => 1,
        [samples, ..] => usize::try_from(samples).unwrap_or(1).max(1),
    };
    let size = (values.len() / samples).max(1);
    Ok(values.chunks(size).map(<[f64]>::to_vec).collect())
}
