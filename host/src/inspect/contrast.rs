//! How far the values of one stored tensor are from those of its partner in another variant.

use super::Elements;
use super::pairing::TensorPair;
use super::weight::Stored;
use crate::backend::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::model::TensorInfo;
use crate::playground::Loaded;
use qp_analysis::{ErrorMetrics, Metrics, ShapeFit};

/// The errors of some pairs of elements, as results show them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    /// How many pairs of elements were compared.
    pub count: u64,
    /// The errors over them.
    pub metrics: Metrics,
}

impl From<&ErrorMetrics> for Errors {
    fn from(errors: &ErrorMetrics) -> Self {
        Self { count: errors.count(), metrics: errors.metrics() }
    }
}

/// Compares the real values of a pair, in the reference's order of elements, reading both side by side; if the
/// reference's elements lie in another order than the candidate's, all of them are kept in memory as stored.
///
/// # Errors
/// `InvalidInput` for shapes whose elements do not correspond one to one; those of the backends.
pub fn errors(
    reference: &Loaded,
    candidate: &Loaded,
    pair: &TensorPair<'_>,
    progress: &dyn Progress,
) -> Result<ErrorMetrics> {
    require_values(reference, candidate, pair)?;
    let order = StoredOrder::of(pair)?;
    let stored = Elements::values(reference, pair.reference.tensor, progress)?;
    let candidate = || Elements::values(candidate, pair.candidate.tensor, progress);
    if let StoredOrder::Permuted(walk) = &order {
        let values = stored.in_memory(progress)?;
        return errors_beside(&candidate()?, progress, |first, count, expected| {
            for index in walk.from(first).take(count) {
                values.decode(index, 1, expected);
            }
        });
    }
    let mut errors = ErrorMetrics::new();
    let is_one_piece = stored.in_one_piece(progress, &mut |values| {
        let expect = |first, count, expected: &mut Vec<f64>| values.decode(first, count, expected);
        errors = errors_beside(&candidate()?, progress, expect)?;
        Ok(())
    })?;
    if is_one_piece {
        return Ok(errors);
    }
    stored.read_ahead(progress, |values| {
        let expect = |first, count, expected: &mut Vec<f64>| values.decode(first, count, expected);
        errors_beside(&candidate()?, progress, expect)
    })
}

/// The errors of the candidate's elements as they are read; `expect` appends the values that this many of them, from
/// an index on, are compared with.
fn errors_beside(
    candidate: &Elements<'_>,
    progress: &dyn Progress,
    mut expect: impl FnMut(u64, usize, &mut Vec<f64>),
) -> Result<ErrorMetrics> {
    let mut errors = ErrorMetrics::new();
    let mut expected = Vec::new();
    candidate.each_block(progress, &mut |first, numbers| {
        expected.clear();
        expect(first, numbers.len(), &mut expected);
        errors.add(&expected, numbers).map_err(|mismatch| {
            Error::internal("two tensors of one shape have different lengths")
                .with_cause(mismatch.to_string())
        })
    })?;
    Ok(errors)
}

/// Whether the elements of both lie in the same order: for a square matrix the shape does not tell.
pub fn lie_alike(pair: &TensorPair<'_>) -> bool {
    matches!(StoredOrder::of(pair), Ok(StoredOrder::Same))
}

/// The candidate's real values in the reference's order of elements.
///
/// # Errors
/// As [`errors`].
pub fn values_in_reference_order(
    candidate: &Loaded,
    pair: &TensorPair<'_>,
    progress: &dyn Progress,
) -> Result<Vec<f64>> {
    // The candidate's values go into the reference's graph: whether the reference's are known does not matter.
    require_values(candidate, candidate, pair)?;
    let order = StoredOrder::of(pair)?;
    let count = usize::try_from(pair.reference.tensor.element_count())
        .map_err(|_| Error::invalid_input("the tensor is too large"))?;
    let mut values = vec![f64::NAN; count];
    let mut put = |index: usize, value: f64| {
        if let Some(place) = values.get_mut(index) {
            *place = value;
        }
    };
    Elements::values(candidate, pair.candidate.tensor, progress)?.each_block(
        progress,
        &mut |first, numbers| {
            match &order {
                StoredOrder::Same => {
                    numbers.iter().enumerate().for_each(|(index, value)| put(first as usize + index, *value));
                }
                StoredOrder::Permuted(walk) => {
                    walk.from(first)
                        .zip(numbers.iter())
                        .for_each(|(index, value)| put(index as usize, *value));
                }
            }
            Ok(())
        },
    )?;
    Ok(values)
}

/// Refuses to compare codes without scales, except with codes of the same type.
fn require_values(reference_model: &Loaded, candidate_model: &Loaded, pair: &TensorPair<'_>) -> Result<()> {
    let (reference, candidate) = (pair.reference.tensor, pair.candidate.tensor);
    let is_open = |model: &Loaded, tensor: &TensorInfo| {
        tensor.is_quantized() && tensor.quantization.is_none() && !Elements::come_real(model, tensor)
    };
    let (is_reference_open, is_candidate_open) =
        (is_open(reference_model, reference), is_open(candidate_model, candidate));
    if is_reference_open && is_candidate_open && reference.dtype == candidate.dtype {
        return Ok(());
    }
    match if is_candidate_open { Some(candidate) } else { is_reference_open.then_some(reference) } {
        Some(open) => Err(Error::new(
            ErrorKind::UnsupportedOp,
            format!("`{}` holds {} codes whose real values are unknown", open.name, open.dtype),
        )
        .with_hint("See `info` for why.")),
        None => Ok(()),
    }
}

/// The order in which the candidate stores the reference's elements.
enum StoredOrder {
    Same,
    Permuted(Walk),
}

impl StoredOrder {
    fn of(pair: &TensorPair<'_>) -> Result<Self> {
        let (reference, candidate) = (&pair.reference.tensor.shape, &pair.candidate.tensor.shape);
        if pair.reference.tensor.element_count() != pair.candidate.tensor.element_count() {
            return Err(Error::invalid_input("the tensors have different numbers of elements"));
        }
        let is_turned =
            pair.fit == ShapeFit::Transposed || is_turned_square(&pair.reference, &pair.candidate);
        if !is_turned {
            return Ok(Self::Same);
        }
        // A matrix; one per direction of a recurrent layer; a convolution's weight as HWIO or OHWI, for OIHW.
        let orders: [&[usize]; 6] =
            [&[1, 0], &[0, 2, 1], &[2, 3, 1, 0], &[0, 2, 3, 1], &[3, 2, 0, 1], &[0, 3, 1, 2]];
        let fits = |order: &&&[usize]| {
            order.len() == reference.len()
                && candidate.len() == reference.len()
                && order.iter().zip(candidate).all(|(axis, size)| reference[*axis] == *size)
        };
        let order = orders
            .iter()
            .find(fits)
            .ok_or_else(|| Error::invalid_input("the order of the elements cannot be determined"))?;
        Ok(Self::Permuted(Walk::new(reference, order)))
    }
}

/// Whether two square matrices are each other's transpose: their layers read them in opposite ways.
fn is_turned_square(reference: &Stored<'_>, candidate: &Stored<'_>) -> bool {
    let is_square = |stored: &Stored<'_>| matches!(stored.tensor.shape[..], [rows, columns] | [_, rows, columns] if rows == columns);
    let is_transposed = |stored: &Stored<'_>| {
        let used = stored.layer?.weights.iter().find(|used| used.tensor == stored.tensor.name)?;
        Some(used.is_transposed)
    };
    let both = is_transposed(reference).zip(is_transposed(candidate));
    is_square(reference) && is_square(candidate) && both.is_some_and(|(ours, theirs)| ours != theirs)
}

/// The reference's indices in the order in which a candidate with permuted axes has the elements.
struct Walk {
    /// Sizes and the reference's strides of the candidate's axes.
    axes: Vec<(u64, u64)>,
}

impl Walk {
    fn new(reference: &[u64], order: &[usize]) -> Self {
        let stride = |axis: usize| reference[axis + 1..].iter().product();
        Self { axes: order.iter().map(|axis| (reference[*axis], stride(*axis))).collect() }
    }

    fn from(&self, first: u64) -> impl Iterator<Item = u64> + '_ {
        let mut rest = first;
        let mut position: Vec<u64> = vec![0; self.axes.len()];
        for (place, (size, _)) in position.iter_mut().zip(&self.axes).rev() {
            *place = rest % (*size).max(1);
            rest /= (*size).max(1);
        }
        std::iter::from_fn(move || {
            let index = position.iter().zip(&self.axes).map(|(place, (_, stride))| place * stride).sum();
            for (place, (size, _)) in position.iter_mut().zip(&self.axes).rev() {
                *place += 1;
                if *place < *size {
                    break;
                }
                *place = 0;
            }
            Some(index)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NumPy: np.arange(6).reshape(2, 3).transpose(1, 0).ravel(), and
    /// np.arange(24).reshape(2, 3, 2, 2).transpose(2, 3, 1, 0).ravel()[5:9].
    #[test]
    fn a_walk_follows_numpys_transpose() {
        let matrix = Walk::new(&[2, 3], &[1, 0]);
        assert_eq!(matrix.from(0).take(6).collect::<Vec<_>>(), [0, 3, 1, 4, 2, 5]);
        let weight = Walk::new(&[2, 3, 2, 2], &[2, 3, 1, 0]);
        assert_eq!(weight.from(5).take(4).collect::<Vec<_>>(), [20, 1, 13, 5]);
    }
}
