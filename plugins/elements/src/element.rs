//! How elements are stored, and single ones as numbers.

use crate::small_float::{NF4, SmallFloat, Special};
use half::{bf16, f16};

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// IEEE 754 binary64.
    Float64,
    /// IEEE 754 binary32.
    Float32,
    /// IEEE 754 binary16.
    Float16,
    /// The upper half of a binary32.
    BFloat16,
    /// 4 exponent and 3 fraction bits, bias 7, no infinities.
    Float8E4M3Fn,
    /// 4 exponent and 3 fraction bits, bias 8, no infinities, no negative zero.
    Float8E4M3Fnuz,
    /// 5 exponent and 2 fraction bits, bias 15.
    Float8E5M2,
    /// 5 exponent and 2 fraction bits, bias 16, no infinities, no negative zero.
    Float8E5M2Fnuz,
    /// 8 exponent bits, no sign: powers of two.
    Float8E8M0,
    /// 2 exponent and 1 fraction bits, bias 1, two elements in a byte.
    Float4E2M1,
    /// One of the 16 numbers of NF4, from -1 to 1, two elements in a byte.
    Nf4,
    /// A whole number.
    Int {
        /// Bits of one element: 2, 4, 8, 16, 32 or 64; below 8 several share a byte, the first in the low
        /// bits.
        bits: u32,
        /// Whether it has a sign (two's complement).
        is_signed: bool,
    },
    /// One byte, 0 or 1.
    Bool,
}

impl ElementType {
    /// Bits of one element.
    pub fn bits(self) -> u32 {
        match self {
            Self::Float64 => 64,
            Self::Float32 => 32,
            Self::Float16 | Self::BFloat16 => 16,
            Self::Float4E2M1 | Self::Nf4 => 4,
            Self::Int { bits, .. } => bits,
            _ => 8,
        }
    }

    /// Bytes that `count` elements occupy; `usize::MAX` when the size does not fit.
    pub fn packed_bytes(self, count: usize) -> usize {
        let bits = self.bits() as usize;
        let whole = (count / 8).saturating_mul(bits);
        whole.saturating_add((count % 8).saturating_mul(bits).div_ceil(8))
    }

    /// Elements that `bytes` bytes hold, at most `usize::MAX`; the last ones may be padding.
    pub fn elements_in(self, bytes: usize) -> usize {
        match self.bits() {
            0 => 0,
            bits => usize::try_from(bytes as u128 * 8 / u128::from(bits)).unwrap_or(usize::MAX),
        }
    }

    /// Whether the elements are integers; booleans do not count.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Int { .. })
    }

    /// Whether the elements are floating-point numbers of any width.
    pub fn is_float(self) -> bool {
        !matches!(self, Self::Int { .. } | Self::Bool)
    }

    /// The form of a float of 4 or 8 bits with a sign.
    pub(crate) fn small_float(self) -> Option<SmallFloat> {
        let (exponent_bits, fraction_bits, bias, special) = match self {
            Self::Float8E4M3Fn => (4, 3, 7, Special::AllOnesIsNan),
            Self::Float8E4M3Fnuz => (4, 3, 8, Special::NegativeZeroIsNan),
            Self::Float8E5M2 => (5, 2, 15, Special::Ieee),
            Self::Float8E5M2Fnuz => (5, 2, 16, Special::NegativeZeroIsNan),
            Self::Float4E2M1 => (2, 1, 1, Special::None),
            _ => return None,
        };
        Some(SmallFloat { exponent_bits, fraction_bits, bias, special })
    }

    /// The element at `index`; `None` beyond the end of `bytes`. Exact, except for 64-bit integers beyond 2^53.
    pub fn get(self, bytes: &[u8], index: usize) -> Option<f64> {
        let bits = self.bits() as usize;
        if bits == 0 || bits > 64 {
            return None;
        }
        let size = bits / 8;
        if size == 0 {
            let position = index.checked_mul(bits)?;
            let code = bytes.get(position / 8)? >> (position % 8) & ((1 << bits) - 1);
            return Some(self.value_of(u64::from(code)));
        }
        let start = index.checked_mul(size)?;
        let element = bytes.get(start..start.checked_add(size)?)?;
        let mut word = [0; 8];
        word[..size].copy_from_slice(element);
        Some(self.value_of(u64::from_le_bytes(word)))
    }

    /// The number that the low [`bits`](Self::bits) bits of `code` stand for; the bits above must be zero.
    pub(crate) fn value_of(self, code: u64) -> f64 {
        match self {
            Self::Float64 => f64::from_bits(code),
            Self::Float32 => f64::from(f32::from_bits(code as u32)),
            Self::Float16 => f16::from_bits(code as u16).to_f64(),
            Self::BFloat16 => bf16::from_bits(code as u16).to_f64(),
            Self::Float8E8M0 if code == 0xff => f64::NAN,
            Self::Float8E8M0 => 2f64.powi(code as i32 - 127),
            Self::Int { bits, is_signed: true } => {
                let shift = 64 - bits;
                ((code << shift) as i64 >> shift) as f64
            }
            Self::Int { is_signed: false, .. } => code as f64,
            Self::Bool => f64::from(u8::from(code != 0)),
            Self::Nf4 => f64::from(NF4[(code & 0xf) as usize]),
            _ => self.small_float().map_or(f64::NAN, |form| form.value(code as u8)),
        }
    }

    /// The first `count` elements, one at a time; fewer when `bytes` ends early.
    /// [`for_each_block`](Self::for_each_block) is many times faster.
    pub fn decode(self, bytes: &[u8], count: usize) -> impl Iterator<Item = f64> + '_ {
        (0..count).map_while(move |index| self.get(bytes, index))
    }

    /// Appends `value`, rounded to the nearest representable number (ties to even), integers saturated; `None` for
    /// types that are only read: those under one byte and the 8-bit floats.
    pub fn push(self, bytes: &mut Vec<u8>, value: f64) -> Option<()> {
        match self {
            Self::Float64 => bytes.extend_from_slice(&value.to_le_bytes()),
            Self::Float32 => bytes.extend_from_slice(&(value as f32).to_le_bytes()),
            Self::Float16 => bytes.extend_from_slice(&f16::from_f64(value).to_le_bytes()),
            Self::BFloat16 => bytes.extend_from_slice(&bf16::from_f64(value).to_le_bytes()),
            Self::Bool => bytes.push(u8::from(value != 0.0)),
            Self::Int { bits, is_signed } if bits >= 8 => {
                let rounded = value.round_ties_even();
                let code = if is_signed {
                    let limit = 1i128 << (bits - 1);
                    (rounded as i128).clamp(-limit, limit - 1)
                } else {
                    (rounded as i128).clamp(0, (1i128 << bits) - 1)
                };
                bytes.extend_from_slice(&code.to_le_bytes()[..bits as usize / 8]);
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(element: ElementType, code: u8) -> f64 {
        element.get(&[code], 0).unwrap()
    }

    /// The extreme values in the OCP and ONNX tables; `ml_dtypes.finfo` gives the same.
    #[test]
    fn small_floats_have_their_published_extremes() {
        use ElementType::*;
        assert_eq!(
            [byte(Float8E4M3Fn, 0x7e), byte(Float8E4M3Fn, 0x08), byte(Float8E4M3Fn, 0x01)],
            [448.0, 0.015625, 0.001953125]
        );
        assert!(byte(Float8E4M3Fn, 0x7f).is_nan() && byte(Float8E4M3Fn, 0xff).is_nan());
        assert_eq!([byte(Float8E4M3Fnuz, 0x7f), byte(Float8E4M3Fnuz, 0x01)], [240.0, 0.0009765625]);
        assert!(byte(Float8E4M3Fnuz, 0x80).is_nan());
        assert_eq!(
            [byte(Float8E5M2, 0x7b), byte(Float8E5M2, 0x7c), byte(Float8E5M2, 0xfc)],
            [57344.0, f64::INFINITY, f64::NEG_INFINITY]
        );
        assert_eq!([byte(Float8E5M2Fnuz, 0x7f), byte(Float8E5M2Fnuz, 0xff)], [57344.0, -57344.0]);
        assert_eq!([byte(Float8E8M0, 127), byte(Float8E8M0, 0)], [1.0, 2f64.powi(-127)]);
        let e2m1: Vec<f64> = Float4E2M1.decode(&[0x10, 0x32, 0x54, 0x76], 8).collect();
        assert_eq!(e2m1, [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
    }

    /// The paper's construction: quantiles of the normal distribution, 7 below zero and 8 above, scaled to -1 to 1.
    /// Checked at the codes whose values are exact, and by the table's order.
    #[test]
    fn nf4_rises_from_minus_one_through_zero_to_one() {
        let values: Vec<f64> = (0..16).map(|code| byte(ElementType::Nf4, code)).collect();
        assert_eq!([values[0], values[7], values[15]], [-1.0, 0.0, 1.0]);
        assert!(values.is_sorted());
        assert_eq!(ElementType::Nf4.decode(&[0xf0], 2).collect::<Vec<_>>(), [-1.0, 1.0]);
    }

    #[test]
    fn packed_integers_begin_in_the_low_bits() {
        let int4 = ElementType::Int { bits: 4, is_signed: true };
        assert_eq!(int4.decode(&[0x8f, 0x07], 3).collect::<Vec<_>>(), [-1.0, -8.0, 7.0]);
        let uint2 = ElementType::Int { bits: 2, is_signed: false };
        assert_eq!(uint2.decode(&[0b11_10_01_00], 4).collect::<Vec<_>>(), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(uint2.get(&[0], 4), None);
    }

    #[test]
    fn integers_saturate_and_round_half_to_even() {
        let int8 = ElementType::Int { bits: 8, is_signed: true };
        let mut bytes = Vec::new();
        for value in [0.5, 1.5, -0.5, 300.0, -300.0, f64::NAN] {
            int8.push(&mut bytes, value).unwrap();
        }
        assert_eq!(bytes, [0, 2, 0, 127, 128, 0]);
    }

    #[test]
    fn what_is_pushed_is_read_back() {
        for element in
            [ElementType::Float64, ElementType::Float32, ElementType::Float16, ElementType::BFloat16]
        {
            let mut bytes = Vec::new();
            element.push(&mut bytes, -1.5).unwrap();
            assert_eq!(element.get(&bytes, 0), Some(-1.5));
            assert_eq!(bytes.len(), element.packed_bytes(1));
        }
    }
}
