//! Scales and zero points of quantized tensors.

use crate::tensor::{Data, StoredTensor};
use qp_abi::sdk::{BackendError, DType, QuantizationParameters, RSome, Result};

/// How PyTorch stores the parameters of a quantized tensor.
#[derive(Debug, Clone)]
pub struct Quantizer {
    /// The type of the codes.
    pub dtype: DType,
    /// Scales and zero points.
    pub scheme: Scheme,
}

/// The granularity of a [`Quantizer`].
#[derive(Debug, Clone)]
pub enum Scheme {
    /// One scale and one zero point.
    PerTensor {
        /// The scale.
        scale: f64,
        /// The zero point.
        zero_point: f64,
    },
    /// One scale and one zero point for each index along `axis`, in tensors of their own.
    PerChannel {
        /// The tensor of scales.
        scales: Box<StoredTensor>,
        /// The tensor of zero points.
        zero_points: Box<StoredTensor>,
        /// The axis of the channels.
        axis: i64,
    },
}

impl Quantizer {
    /// The parameters, their values read from the file when there are not more than `most`.
    ///
    /// # Errors
    /// `CorruptFile` when a tensor of parameters is none.
    pub fn parameters(&self, data: &Data, most: usize) -> Result<QuantizationParameters> {
        match &self.scheme {
            Scheme::PerTensor { scale, zero_point } => {
                Ok(QuantizationParameters::per_tensor(self.dtype, *scale, *zero_point))
            }
            Scheme::PerChannel { scales, zero_points, axis } => {
                let count = scales.element_count().unwrap_or(0);
                let is_inline = count <= QuantizationParameters::MAX_INLINE.min(most) as u64;
                let (scales, zero_points) = if is_inline {
                    (numbers(scales, data)?, numbers(zero_points, data)?)
                } else {
                    (Vec::new(), Vec::new())
                };
                let mut parameters =
                    QuantizationParameters::per_channel(self.dtype, scales, zero_points, *axis);
                parameters.scale_count = count;
                parameters.axis = RSome(*axis);
                Ok(parameters)
            }
        }
    }
}

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
