//! The elements of a tensor as numbers.

use super::data::Data;
use super::stored::StoredTensor;
use qp_abi::sdk::{BackendError, ElementType, QuantizationParameters, Result};

/// The elements of a short tensor as numbers.
///
/// # Errors
/// `CorruptFile` when it has no real numbers or too many.
pub fn numbers(tensor: &StoredTensor, data: &Data) -> Result<Vec<f64>> {
    let is_short =
        tensor.element_count().is_some_and(|count| count <= QuantizationParameters::MAX_INLINE as u64);
    if !is_short {
        return Err(BackendError::corrupt_file("a tensor of scales or zero points is too large"));
    }
    reals(tensor, data)
}

/// The elements of a tensor of any length as numbers.
///
/// # Errors
/// `CorruptFile` when it has no real numbers.
pub fn reals(tensor: &StoredTensor, data: &Data) -> Result<Vec<f64>> {
    let bytes = tensor.dense(data)?;
    let element =
        tensor.dtype.element_type().filter(|element| *element != ElementType::Bool).ok_or_else(|| {
            BackendError::corrupt_file(format!("scales or zero points are of type {}", tensor.dtype))
        })?;
    let count = usize::try_from(tensor.element_count().unwrap_or(0)).unwrap_or(0);
    let mut numbers = Vec::new();
    element.decode_chunk(&bytes, count, &mut numbers);
    Ok(numbers)
}
