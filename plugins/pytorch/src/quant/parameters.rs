//! Scales and zero points of quantized tensors.

use crate::tensor::{Data, StoredTensor, numbers};
use qp_abi::sdk::{DType, QuantizationParameters, RSome, Result};

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
