//! The table of element types.

/// Makes `$dtype`, a tuple struct of one `u8`, the type of a tensor's elements: a constant for each row of the table,
/// and what follows from it.
///
/// Codes below 64 are those of ONNX's `TensorProto.DataType`, codes from 64 are qp's own. A row is the code, the name as
/// NumPy, ml_dtypes and PyTorch write it, the bits of an element (0 if they differ), and how elements become real
/// numbers, if they do.
#[macro_export]
macro_rules! dtype {
    ($dtype:ident) => {
        $crate::dtype! { $dtype:
            UNDEFINED = 0, "undefined", 0, None;
            FLOAT32 = 1, "float32", 32, Some($crate::ElementType::Float32);
            UINT8 = 2, "uint8", 8, Some($crate::ElementType::Int { bits: 8, is_signed: false });
            INT8 = 3, "int8", 8, Some($crate::ElementType::Int { bits: 8, is_signed: true });
            UINT16 = 4, "uint16", 16, Some($crate::ElementType::Int { bits: 16, is_signed: false });
            INT16 = 5, "int16", 16, Some($crate::ElementType::Int { bits: 16, is_signed: true });
            INT32 = 6, "int32", 32, Some($crate::ElementType::Int { bits: 32, is_signed: true });
            INT64 = 7, "int64", 64, Some($crate::ElementType::Int { bits: 64, is_signed: true });
            STRING = 8, "string", 0, None;
            BOOL = 9, "bool", 8, Some($crate::ElementType::Bool);
            FLOAT16 = 10, "float16", 16, Some($crate::ElementType::Float16);
            FLOAT64 = 11, "float64", 64, Some($crate::ElementType::Float64);
            UINT32 = 12, "uint32", 32, Some($crate::ElementType::Int { bits: 32, is_signed: false });
            UINT64 = 13, "uint64", 64, Some($crate::ElementType::Int { bits: 64, is_signed: false });
            COMPLEX64 = 14, "complex64", 64, None;
            COMPLEX128 = 15, "complex128", 128, None;
            BFLOAT16 = 16, "bfloat16", 16, Some($crate::ElementType::BFloat16);
            FLOAT8_E4M3FN = 17, "float8_e4m3fn", 8, Some($crate::ElementType::Float8E4M3Fn);
            FLOAT8_E4M3FNUZ = 18, "float8_e4m3fnuz", 8, Some($crate::ElementType::Float8E4M3Fnuz);
            FLOAT8_E5M2 = 19, "float8_e5m2", 8, Some($crate::ElementType::Float8E5M2);
            FLOAT8_E5M2FNUZ = 20, "float8_e5m2fnuz", 8, Some($crate::ElementType::Float8E5M2Fnuz);
            UINT4 = 21, "uint4", 4, Some($crate::ElementType::Int { bits: 4, is_signed: false });
            INT4 = 22, "int4", 4, Some($crate::ElementType::Int { bits: 4, is_signed: true });
            FLOAT4_E2M1 = 23, "float4_e2m1fn", 4, Some($crate::ElementType::Float4E2M1);
            FLOAT8_E8M0 = 24, "float8_e8m0fnu", 8, Some($crate::ElementType::Float8E8M0);
            UINT2 = 25, "uint2", 2, Some($crate::ElementType::Int { bits: 2, is_signed: false });
            INT2 = 26, "int2", 2, Some($crate::ElementType::Int { bits: 2, is_signed: true });
            COMPLEX32 = 64, "complex32", 32, None;
            NF4 = 65, "nf4", 4, Some($crate::ElementType::Nf4);
        }
    };
    ($dtype:ident: $($name:ident = $code:literal, $text:literal, $bits:literal, $element:expr;)*) => {
        impl $dtype {
            $(#[doc = concat!("`", $text, "`")] pub const $name: Self = Self($code);)*

            /// Every element type that has a name, in the order of the codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name as NumPy, ml_dtypes and PyTorch write it; `None` for a code without one.
            pub fn known_name(self) -> Option<&'static str> {
                match self.0 { $($code => Some($text),)* _ => None }
            }

            /// The type with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)* _ => None }
            }

            /// Bits of one element; 0 for strings, unknown codes and the undefined type.
            pub fn bits(self) -> u32 {
                match self.0 { $($code => $bits,)* _ => 0 }
            }

            /// How its elements become real numbers; `None` for strings, complex and unknown types.
            pub fn element_type(self) -> Option<$crate::ElementType> {
                match self.0 { $($code => $element,)* _ => None }
            }

            /// Bytes that `elements` of this type occupy, sub-byte types packed; `None` for strings, unknown types
            /// and on overflow.
            pub fn packed_bytes(self, elements: u64) -> Option<u64> {
                let bits = u64::from(self.bits());
                (bits > 0).then(|| elements.checked_mul(bits).map(|total| total.div_ceil(8))).flatten()
            }

            /// Whether the elements are integers (booleans are not).
            pub fn is_integer(self) -> bool {
                self.element_type().is_some_and($crate::ElementType::is_integer)
            }

            /// Whether the elements are integers with a sign.
            pub fn is_signed_integer(self) -> bool {
                matches!(self.element_type(), Some($crate::ElementType::Int { is_signed: true, .. }))
            }

            /// Whether the elements are real floating-point numbers of any width.
            pub fn is_float(self) -> bool {
                self.element_type().is_some_and($crate::ElementType::is_float)
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

        impl ::std::fmt::Display for $dtype {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                match self.known_name() {
                    Some(name) => f.pad(name),
                    None => f.pad(&format!("dtype{}", self.0)),
                }
            }
        }

        impl ::std::fmt::Debug for $dtype {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(self, f)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    #[derive(Clone, Copy, PartialEq)]
    struct DType(u8);

    crate::dtype!(DType);

    #[test]
    fn the_elements_of_a_type_are_as_wide_as_it() {
        for dtype in DType::ALL {
            assert!(dtype.element_type().is_none_or(|element| element.bits() == dtype.bits()), "{dtype}");
        }
    }

    #[test]
    fn names_go_both_ways_and_an_unknown_code_still_prints() {
        for dtype in DType::ALL {
            assert_eq!(dtype.known_name().and_then(DType::from_name), Some(*dtype));
        }
        assert_eq!(DType(63).to_string(), "dtype63");
    }

    #[test]
    fn codes_below_64_are_those_of_the_onnx_schema() {
        // TensorProto.DataType in onnx.proto3 of ONNX 1.23.
        for (code, name) in [(1, "float32"), (7, "int64"), (16, "bfloat16"), (22, "int4"), (25, "uint2")] {
            assert_eq!(DType(code).known_name(), Some(name));
        }
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
        assert_eq!(DType::BOOL.code_range(), None);
    }

    #[test]
    fn booleans_and_complex_numbers_are_neither_integers_nor_floats() {
        for dtype in [DType::BOOL, DType::COMPLEX64, DType::STRING, DType::UNDEFINED] {
            assert!(!dtype.is_integer() && !dtype.is_float(), "{dtype}");
        }
        assert!(DType::NF4.is_float() && DType::INT2.is_signed_integer());
    }
}
