//! The type of a tensor's elements.

use std::fmt;

/// The type of a tensor's elements, by the code that plugins use for it.
///
/// An open set: a code without a name prints as `dtype<code>`; tensors of it are listed but never decoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DType(u8);

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

// The same table as the contract's; `backend::convert` tests that the two agree.
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
    /// The type with this code, known or not.
    pub fn from_code(code: u8) -> Self {
        Self(code)
    }

    /// The code, as plugins use it.
    pub fn code(self) -> u8 {
        self.0
    }

    /// Bytes that `elements` of this type occupy, sub-byte types packed; `None` for strings, unknown types
    /// and on overflow.
    pub fn packed_bytes(self, elements: u64) -> Option<u64> {
        let bits = u64::from(self.bits());
        (bits > 0).then(|| elements.checked_mul(bits).map(|total| total.div_ceil(8))).flatten()
    }

    /// Whether the elements are integers with a sign.
    pub fn is_signed_integer(self) -> bool {
        matches!(self, Self::INT2 | Self::INT4 | Self::INT8 | Self::INT16 | Self::INT32 | Self::INT64)
    }

    /// Whether the elements are integers (booleans are not).
    pub fn is_integer(self) -> bool {
        self.is_signed_integer()
            || matches!(
                self,
                Self::UINT2 | Self::UINT4 | Self::UINT8 | Self::UINT16 | Self::UINT32 | Self::UINT64
            )
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

    /// The smallest and the largest code of an integer type of up to 32 bits; `None` for any other type.
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

/// As its name.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways_and_an_unknown_code_still_prints() {
        for dtype in DType::ALL {
            assert_eq!(dtype.known_name().and_then(DType::from_name), Some(*dtype));
        }
        assert_eq!(DType::from_code(63).to_string(), "dtype63");
    }

    #[test]
    fn sub_byte_elements_are_packed_and_rounded_up() {
        assert_eq!(DType::INT4.packed_bytes(3), Some(2));
        assert_eq!(DType::FLOAT32.packed_bytes(u64::MAX), None);
        assert_eq!(DType::STRING.packed_bytes(1), None);
    }
}
