//! The elements of a tensor as numbers.

use super::data::Data;
use super::stored::StoredTensor;
use qp_abi::sdk::{BackendError, DType, QuantizationParameters, Result};

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
    let numbers = match tensor.dtype {
        DType::FLOAT64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
        DType::FLOAT32 => bytes.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
        DType::FLOAT16 => bytes.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f64()).collect(),
        DType::BFLOAT16 => {
            bytes.as_chunks().0.iter().map(|&b| half::bf16::from_le_bytes(b).to_f64()).collect()
        }
        DType::INT64 => bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
        DType::INT32 => bytes.as_chunks().0.iter().map(|&b| f64::from(i32::from_le_bytes(b))).collect(),
        DType::INT16 => bytes.as_chunks().0.iter().map(|&b| f64::from(i16::from_le_bytes(b))).collect(),
        DType::INT8 => bytes.iter().map(|&b| f64::from(b.cast_signed())).collect(),
        DType::UINT8 => bytes.iter().map(|&b| f64::from(b)).collect(),
        DType::UINT4 | DType::INT4 => {
            let is_signed = tensor.dtype == DType::INT4;
            let value = |code: u8| f64::from(code) - if is_signed && code > 7 { 16.0 } else { 0.0 };
            let codes = bytes.iter().flat_map(|&byte| [byte & 15, byte >> 4]);
            let count = usize::try_from(tensor.element_count().unwrap_or(0)).unwrap_or(0);
            codes.map(value).take(count).collect()
        }
        DType::UINT2 => {
            let codes = bytes.iter().flat_map(|&byte| [0, 2, 4, 6].map(|shift| byte >> shift & 3));
            let count = usize::try_from(tensor.element_count().unwrap_or(0)).unwrap_or(0);
            codes.map(f64::from).take(count).collect()
        }
        DType::FLOAT8_E8M0 => bytes.iter().map(|&b| 2_f64.powi(i32::from(b) - 127)).collect(),
        DType::FLOAT8_E4M3FN => bytes.iter().map(|&b| e4m3fn(b)).collect(),
        other => {
            return Err(BackendError::corrupt_file(format!("scales or zero points are of type {other}")));
        }
    };
    Ok(numbers)
}

/// The number of an 8-bit float of 4 exponent bits, as the OCP specification has it: no infinities.
fn e4m3fn(code: u8) -> f64 {
    let (exponent, fraction) = (i32::from(code >> 3 & 15), f64::from(code & 7) / 8.0);
    let magnitude = match (exponent, code & 7) {
        (15, 7) => f64::NAN,
        (0, _) => fraction * 2_f64.powi(-6),
        _ => (1.0 + fraction) * 2_f64.powi(exponent - 7),
    };
    if code >> 7 == 1 { -magnitude } else { magnitude }
}
