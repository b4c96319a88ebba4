//! Element types and borrowed views of tensors.

use crate::quant::QuantizationParameters;
use abi_stable::StableAbi;
use abi_stable::std_types::{ROption, RSlice, RStr};
use std::fmt;

/// The type of a tensor's elements.
///
/// An open set: codes below 64 are those of ONNX's `TensorProto.DataType`, codes from 64 are qp's own. A code that
/// the host does not know prints as `dtype<code>`; its tensors are listed but never decoded.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DType(pub u8);

macro_rules! dtypes {
    ($($name:ident = $code:literal, $text:literal, $bits:literal;)*) => {
        impl DType {
            $(#[doc = concat!("`", $text, "`")] pub const $name: Self = Self($code);)*

            /// Every element type that has a name, in the order of the codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name as NumPy, ml_dtypes and PyTorch write it; `None` for a code without one.
            pub fn known_name(self) -> Option<&'static str> {
                match self.0 { $($code => Some($text),)* _ => None }
            }

            /// Bits of one element; 0 for strings, unknown codes and the undefined type.
            pub fn bits(self) -> u32 {
                match self.0 { $($code => $bits,)* _ => 0 }
            }

            /// The type with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

dtypes! {
    UNDEFINED = 0, "undefined", 0;
    FLOAT32 = 1, "float32", 32;
    UINT8 = 2, "uint8", 8;
    INT8 = 3, "int8", 8;
    UINT16 = 4, "uint16", 16;
    INT16 = 5, "int16", 16;
    INT32 = 6, "int32", 32;
    INT64 = 7, "int64", 64;
    STRING = 8, "string", 0;
    BOOL = 9, "bool", 8;
    FLOAT16 = 10, "float16", 16;
    FLOAT64 = 11, "float64", 64;
    UINT32 = 12, "uint32", 32;
    UINT64 = 13, "uint64", 64;
    COMPLEX64 = 14, "complex64", 64;
    COMPLEX128 = 15, "complex128", 128;
    BFLOAT16 = 16, "bfloat16", 16;
    FLOAT8_E4M3FN = 17, "float8_e4m3fn", 8;
    FLOAT8_E4M3FNUZ = 18, "float8_e4m3fnuz", 8;
    FLOAT8_E5M2 = 19, "float8_e5m2", 8;
    FLOAT8_E5M2FNUZ = 20, "float8_e5m2fnuz", 8;
    UINT4 = 21, "uint4", 4;
    INT4 = 22, "int4", 4;
    FLOAT4_E2M1 = 23, "float4_e2m1fn", 4;
    FLOAT8_E8M0 = 24, "float8_e8m0fnu", 8;
    UINT2 = 25, "uint2", 2;
    INT2 = 26, "int2", 2;
    COMPLEX32 = 64, "complex32", 32;
    NF4 = 65, "nf4", 4;
}

impl DType {
    /// Bytes that `elements` of this type occupy, sub-byte types packed; `None` for strings, unknown types
    /// and on overflow.
    pub fn packed_bytes(self, elements: u64) -> Option<u64> {
        let bits = u64::from(self.bits());
        (bits > 0).then(|| elements.checked_mul(bits).map(|total| total.div_ceil(8))).flatten()
    }

    /// Whether the elements are integers (booleans are not).
    pub fn is_integer(self) -> bool {
        self.is_signed_integer()
            || matches!(
                self,
                Self::UINT2 | Self::UINT4 | Self::UINT8 | Self::UINT16 | Self::UINT32 | Self::UINT64
            )
    }

    /// Whether the elements are integers with a sign.
    pub fn is_signed_integer(self) -> bool {
        matches!(self, Self::INT2 | Self::INT4 | Self::INT8 | Self::INT16 | Self::INT32 | Self::INT64)
    }

    /// Whether the elements are real floating-point numbers of any width.
    pub fn is_float(self) -> bool {
        matches!(
            self,
            Self::FLOAT16
                | Self::FLOAT32
                | Self::FLOAT64
                | Self::BFLOAT16
                | Self::FLOAT4_E2M1
                | Self::NF4
                | Self::FLOAT8_E4M3FN
                | Self::FLOAT8_E4M3FNUZ
                | Self::FLOAT8_E5M2
                | Self::FLOAT8_E5M2FNUZ
                | Self::FLOAT8_E8M0
        )
    }

    /// The smallest and the largest code of an integer type; `None` for any other type and for 64-bit ones,
    /// which are never codes.
    pub fn code_range(self) -> Option<(i64, i64)> {
        let bits = self.bits();
        if !self.is_integer() || bits > 32 {
            return None;
        }
        Some(if self.is_signed_integer() {
            (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        } else {
            (0, (1 << bits) - 1)
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known_name() {
            Some(name) => f.pad(name),
            None => f.pad(&format!("dtype{}", self.0)),
        }
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

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
    fn codes_below_64_are_those_of_the_onnx_schema() {
        // TensorProto.DataType in onnx.proto3 of ONNX 1.23.
        for (code, name) in [(1, "float32"), (7, "int64"), (16, "bfloat16"), (22, "int4"), (25, "uint2")] {
            assert_eq!(DType(code).known_name(), Some(name));
            assert_eq!(DType::from_name(name), Some(DType(code)));
        }
        assert_eq!(DType(63).to_string(), "dtype63");
    }

    #[test]
    fn sub_byte_elements_are_packed_and_rounded_up() {
        assert_eq!(DType::INT4.packed_bytes(3), Some(2));
        assert_eq!(DType::UINT2.packed_bytes(5), Some(2));
        assert_eq!(DType::FLOAT32.packed_bytes(u64::MAX), None);
        assert_eq!(DType::STRING.packed_bytes(1), None);
    }

    #[test]
    fn code_ranges_are_the_types_limits() {
        assert_eq!(DType::INT4.code_range(), Some((-8, 7)));
        assert_eq!(DType::UINT8.code_range(), Some((0, 255)));
        assert_eq!(DType::INT32.code_range(), Some((i64::from(i32::MIN), i64::from(i32::MAX))));
        assert_eq!(DType::FLOAT32.code_range(), None);
    }

    #[test]
    fn a_negative_or_overflowing_shape_has_no_element_count() {
        assert_eq!(element_count(&[]), Some(1));
        assert_eq!(element_count(&[2, -1]), None);
        assert_eq!(element_count(&[i64::MAX, 4]), None);
        assert_eq!(element_count(&[0, 5]), Some(0));
    }
}
