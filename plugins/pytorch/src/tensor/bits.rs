//! What a view makes of elements while they are read.

use qp_abi::sdk::DType;

/// PyTorch's negative and conjugate bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Bits {
    /// Elements are negated, `x.conj().imag`.
    pub is_negative: bool,
    /// Complex elements are conjugated, `x.conj()`.
    pub is_conjugate: bool,
}

impl Bits {
    /// Applies them to one element, little-endian, of a type that [`can_negate`] takes.
    pub(super) fn apply(self, dtype: DType, element: &mut [u8]) {
        let half = element.len() / 2;
        let is_complex = is_complex(dtype);
        match (is_complex, element.split_at_mut_checked(half)) {
            (true, Some((real, imaginary))) => {
                if self.is_negative {
                    flip_sign(real);
                }
                if self.is_negative != self.is_conjugate {
                    flip_sign(imaginary);
                }
            }
            _ if !self.is_negative => {}
            _ if dtype.is_float() => flip_sign(element),
            _ => {
                let mut carry = true;
                for byte in element {
                    (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
                }
            }
        }
    }
}

pub(super) fn is_complex(dtype: DType) -> bool {
    matches!(dtype, DType::COMPLEX32 | DType::COMPLEX64 | DType::COMPLEX128)
}

fn flip_sign(number: &mut [u8]) {
    if let Some(last) = number.last_mut() {
        *last ^= 0x80;
    }
}

/// Whether elements of that type can have a negative bit.
pub fn can_negate(dtype: DType) -> bool {
    is_complex(dtype)
        || matches!(
            dtype,
            DType::FLOAT16
                | DType::BFLOAT16
                | DType::FLOAT32
                | DType::FLOAT64
                | DType::INT8
                | DType::INT16
                | DType::INT32
                | DType::INT64
        )
}
