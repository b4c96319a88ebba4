//! Elements of tensors as numbers: from packed little-endian bytes to `f64`, and back.
//!
//! The small float formats follow the OCP 8-bit floating point specification (E4M3FN, E5M2), the ONNX
//! documentation of their FNUZ forms, and the OCP microscaling specification (E2M1, E8M0).

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
            Self::Float4E2M1 => 4,
            Self::Int { bits, .. } => bits,
            _ => 8,
        }
    }

    /// Bytes that `count` elements occupy.
    pub fn packed_bytes(self, count: usize) -> usize {
        (count * self.bits() as usize).div_ceil(8)
    }

    /// The element at `index`; `None` beyond the end of `bytes`. Exact, but for 64-bit integers beyond 2^53.
    pub fn get(self, bytes: &[u8], index: usize) -> Option<f64> {
        let size = self.bits() as usize / 8;
        if size == 0 {
            let bits = self.bits() as usize;
            let position = index.checked_mul(bits)?;
            let code = bytes.get(position / 8)? >> (position % 8) & ((1 << bits) - 1);
            return Some(match self {
                Self::Float4E2M1 => small_float(
                    code,
                    SmallFloat { exponent_bits: 2, fraction_bits: 1, bias: 1, special: Special::None },
                ),
                _ => sign_extended(u64::from(code), self),
            });
        }
        let start = index.checked_mul(size)?;
        let element = bytes.get(start..start.checked_add(size)?)?;
        let mut word = [0; 8];
        word[..size].copy_from_slice(element);
        let code = u64::from_le_bytes(word);
        let byte = element[0];
        Some(match self {
            Self::Float64 => f64::from_bits(code),
            Self::Float32 => f64::from(f32::from_bits(code as u32)),
            Self::Float16 => f16::from_bits(code as u16).to_f64(),
            Self::BFloat16 => bf16::from_bits(code as u16).to_f64(),
            Self::Float8E4M3Fn => small_float(
                byte,
                SmallFloat { exponent_bits: 4, fraction_bits: 3, bias: 7, special: Special::AllOnesIsNan },
            ),
            Self::Float8E4M3Fnuz => small_float(
                byte,
                SmallFloat {
                    exponent_bits: 4,
                    fraction_bits: 3,
                    bias: 8,
                    special: Special::NegativeZeroIsNan,
                },
            ),
            Self::Float8E5M2 => small_float(
                byte,
                SmallFloat { exponent_bits: 5, fraction_bits: 2, bias: 15, special: Special::Ieee },
            ),
            Self::Float8E5M2Fnuz => small_float(
                byte,
                SmallFloat {
                    exponent_bits: 5,
                    fraction_bits: 2,
                    bias: 16,
                    special: Special::NegativeZeroIsNan,
                },
            ),
            Self::Float8E8M0 if byte == 0xff => f64::NAN,
            Self::Float8E8M0 => 2f64.powi(i32::from(byte) - 127),
            Self::Float4E2M1 | Self::Int { .. } => sign_extended(code, self),
            Self::Bool => f64::from(u8::from(byte != 0)),
        })
    }

    /// The first `count` elements; fewer when `bytes` end before.
    pub fn decode(self, bytes: &[u8], count: usize) -> impl Iterator<Item = f64> + '_ {
        (0..count).map_while(move |index| self.get(bytes, index))
    }

    /// Appends `value`, rounded to the nearest representable one (ties to even), integers saturated; `None`
    /// for types that are only read: those under one byte and the 8-bit floats.
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

fn sign_extended(code: u64, element: ElementType) -> f64 {
    match element {
        ElementType::Int { bits, is_signed: true } => {
            let shift = 64 - bits;
            ((code << shift) as i64 >> shift) as f64
        }
        _ => code as f64,
    }
}

struct SmallFloat {
    exponent_bits: u32,
    fraction_bits: u32,
    bias: i32,
    special: Special,
}

/// Which codes are no finite numbers.
enum Special {
    None,
    /// The largest exponent is infinity, or NaN with a fraction.
    Ieee,
    /// All ones but the sign.
    AllOnesIsNan,
    /// The sign alone.
    NegativeZeroIsNan,
}

fn small_float(code: u8, format: SmallFloat) -> f64 {
    let fraction = i32::from(code) & ((1 << format.fraction_bits) - 1);
    let largest_exponent = (1 << format.exponent_bits) - 1;
    let exponent = i32::from(code >> format.fraction_bits) & largest_exponent;
    let sign_bit = code >> (format.exponent_bits + format.fraction_bits) & 1;
    let sign = if sign_bit == 1 { -1.0 } else { 1.0 };
    let is_all_ones = exponent == largest_exponent && fraction == (1 << format.fraction_bits) - 1;
    match format.special {
        Special::Ieee if exponent == largest_exponent => {
            return if fraction == 0 { sign * f64::INFINITY } else { f64::NAN };
        }
        Special::AllOnesIsNan if is_all_ones => return f64::NAN,
        Special::NegativeZeroIsNan if sign_bit == 1 && exponent == 0 && fraction == 0 => return f64::NAN,
        _ => {}
    }
    let unit = 2f64.powi(-(format.fraction_bits as i32));
    if exponent == 0 {
        sign * f64::from(fraction) * unit * 2f64.powi(1 - format.bias)
    } else {
        sign * (1.0 + f64::from(fraction) * unit) * 2f64.powi(exponent - format.bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(element: ElementType, code: u8) -> f64 {
        element.get(&[code], 0).unwrap()
    }

    /// The extreme values of the OCP and ONNX tables, as `ml_dtypes.finfo` gives them too.
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
