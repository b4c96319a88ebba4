//! Borrowed views of tensors.

use crate::dtype::DType;
use crate::quant::QuantizationParameters;
use abi_stable::StableAbi;
use abi_stable::std_types::{ROption, RSlice, RStr};

/// A tensor, or a piece of one, whose bytes are borrowed and valid only during the call.
///
/// Elements are dense, in row-major order, little-endian. Types under one byte are packed with the first
/// element in the low bits (as ONNX packs `int4`); a boolean is one byte, 0 or 1; a string is its length in
/// bytes as `u32` followed by its UTF-8 bytes.
///
/// A tensor may arrive in several pieces, in order and without gaps: `first_element` is where this one starts, always
/// at a byte boundary, and `shape` stays that of the whole tensor.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct TensorView<'a> {
    /// The tensor's name in the model.
    pub name: RStr<'a>,
    /// The element type of `bytes`.
    pub dtype: DType,
    /// The shape of the whole tensor; empty for a scalar.
    pub shape: RSlice<'a, i64>,
    /// Index of the first element of `bytes` in the whole tensor; 0 if it arrives in one piece.
    pub first_element: u64,
    /// The elements.
    pub bytes: RSlice<'a, u8>,
    /// How integer codes turn into real values; `RNone` if the elements are the values.
    pub quantization: ROption<&'a QuantizationParameters>,
}

impl<'a> TensorView<'a> {
    /// A whole tensor in one piece, without quantization parameters.
    pub fn whole(name: &'a str, dtype: DType, shape: &'a [i64], bytes: &'a [u8]) -> Self {
        Self {
            name: name.into(),
            dtype,
            shape: shape.into(),
            first_element: 0,
            bytes: bytes.into(),
            quantization: ROption::RNone,
        }
    }

    /// The number of elements of the whole tensor; `None` when a dimension is negative or on overflow.
    pub fn element_count(&self) -> Option<u64> {
        element_count(&self.shape)
    }
}

/// The most dimensions that the host accepts in a shape; the same as NumPy's limit.
pub const MOST_DIMENSIONS: usize = 64;

/// The product of the dimensions, 1 for a scalar; `None` when one is negative or the product overflows.
pub fn element_count(shape: &[i64]) -> Option<u64> {
    shape.iter().try_fold(1u64, |total, &size| total.checked_mul(u64::try_from(size).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_or_overflowing_shape_has_no_element_count() {
        assert_eq!(element_count(&[]), Some(1));
        assert_eq!(element_count(&[2, -1]), None);
        assert_eq!(element_count(&[i64::MAX, 4]), None);
        assert_eq!(element_count(&[0, 5]), Some(0));
    }
}
