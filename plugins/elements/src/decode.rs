//! Decoding whole pieces of tensors, one loop for each element type so that the compiler vectorises it.

use crate::element::ElementType;

/// The most elements that [`ElementType::for_each_block`] passes at once: 8 KiB of `f64`, which stays in the
/// first-level cache.
pub const BLOCK_ELEMENTS: usize = 1024;

impl ElementType {
    /// Calls `visit` with the first `count` elements, in order, in blocks of at most [`BLOCK_ELEMENTS`]. Returns how
    /// many there were: fewer than `count` when `bytes` ends early.
    pub fn for_each_block(self, bytes: &[u8], count: usize, mut visit: impl FnMut(&mut [f64])) -> usize {
        let available = count.min(self.elements_in(bytes.len()));
        let mut block = [0.0; BLOCK_ELEMENTS];
        let table = self.byte_table();
        let mut done = 0;
        while done < available {
            let values = &mut block[..(available - done).min(BLOCK_ELEMENTS)];
            // A block is a whole number of bytes at every width, so each begins at a byte boundary.
            self.decode_into(&bytes[self.packed_bytes(done)..], values, table.as_deref());
            visit(values);
            done += values.len();
        }
        done
    }

    /// Whether every element fits a `float32` exactly and is wider than a byte, as [`Self::for_each_single_block`]
    /// requires.
    pub fn is_single(self) -> bool {
        matches!(self, Self::Float32 | Self::Float16 | Self::BFloat16)
    }

    /// Like [`Self::for_each_block`], with each element as the little-endian bytes of a `float32`: half the work
    /// where numbers need not be wider. For types that [are single](Self::is_single).
    pub fn for_each_single_block(
        self,
        bytes: &[u8],
        count: usize,
        mut visit: impl FnMut(&[[u8; 4]]),
    ) -> usize {
        let available = count.min(self.elements_in(bytes.len()));
        if self == Self::Float32 {
            let (elements, _) = bytes[..self.packed_bytes(available)].as_chunks();
            elements.chunks(BLOCK_ELEMENTS).for_each(visit);
            return available;
        }
        let (elements, _) = bytes[..self.packed_bytes(available)].as_chunks();
        let mut block = [[0; 4]; BLOCK_ELEMENTS];
        for elements in elements.chunks(BLOCK_ELEMENTS) {
            let values = &mut block[..elements.len()];
            match self {
                Self::Float16 => made_single(elements, values, widen),
                _ => made_single(elements, values, |code| f32::from_bits(u32::from(code) << 16)),
            }
            visit(values);
        }
        available
    }

    /// Appends the first `count` elements to `values`. Returns how many there were: fewer than `count` when `bytes`
    /// ends early.
    pub fn decode_chunk(self, bytes: &[u8], count: usize, values: &mut Vec<f64>) -> usize {
        values.reserve(count.min(self.elements_in(bytes.len())));
        self.for_each_block(bytes, count, |block| values.extend_from_slice(block))
    }

    /// Fills `values` with the elements at the start of `bytes`. Returns how many there were: fewer when `bytes` ends
    /// early.
    pub fn decode_to(self, bytes: &[u8], values: &mut [f64]) -> usize {
        let available = values.len().min(self.elements_in(bytes.len()));
        let table = if available > 1 { self.byte_table() } else { None };
        self.decode_into(bytes, &mut values[..available], table.as_deref());
        available
    }

    /// Fills `values` with the elements at the start of `bytes`, which holds at least as many.
    fn decode_into(self, bytes: &[u8], values: &mut [f64], table: Option<&[f64; 256]>) {
        match self {
            Self::Float64 => convert(bytes, values, f64::from_le_bytes),
            Self::Float32 => convert(bytes, values, |bytes| f64::from(f32::from_le_bytes(bytes))),
            Self::Float16 => convert(bytes, values, |bytes| f64::from(widen(u16::from_le_bytes(bytes)))),
            Self::BFloat16 => convert(bytes, values, |bytes| {
                f64::from(f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
            }),
            Self::Bool => convert(bytes, values, |[byte]| f64::from(u8::from(byte != 0))),
            Self::Int { bits: 8, is_signed: true } => {
                convert_bytes(bytes, values, |byte| i16::from(byte as i8));
            }
            Self::Int { bits: 8, is_signed: false } => convert_bytes(bytes, values, i16::from),
            Self::Int { bits: 16, is_signed: true } => {
                convert(bytes, values, |bytes| f64::from(i16::from_le_bytes(bytes)));
            }
            Self::Int { bits: 16, is_signed: false } => {
                convert(bytes, values, |bytes| f64::from(u16::from_le_bytes(bytes)));
            }
            Self::Int { bits: 32, is_signed: true } => {
                convert(bytes, values, |bytes| f64::from(i32::from_le_bytes(bytes)));
            }
            Self::Int { bits: 32, is_signed: false } => {
                convert(bytes, values, |bytes| f64::from(u32::from_le_bytes(bytes)));
            }
            Self::Int { bits: 64, is_signed: true } => {
                convert(bytes, values, |bytes| i64::from_le_bytes(bytes) as f64);
            }
            Self::Int { bits: 64, is_signed: false } => {
                convert(bytes, values, |bytes| u64::from_le_bytes(bytes) as f64);
            }
            Self::Int { bits: 4, is_signed: true } => {
                unpack::<2>(bytes, values, |code| f64::from((i32::from(code) ^ 8) - 8))
            }
            Self::Int { bits: 4, is_signed: false } => unpack::<2>(bytes, values, f64::from),
            Self::Int { bits: 2, is_signed: true } => {
                unpack::<4>(bytes, values, |code| f64::from((i32::from(code) ^ 2) - 2))
            }
            Self::Int { bits: 2, is_signed: false } => unpack::<4>(bytes, values, f64::from),
            Self::Float4E2M1 | Self::Nf4 => {
                let codes: [f64; 16] = std::array::from_fn(|code| self.value_of(code as u64));
                unpack::<2>(bytes, values, |code| codes[usize::from(code & 0xf)]);
            }
            _ => match table {
                Some(table) => convert(bytes, values, |[byte]| table[usize::from(byte)]),
                None => {
                    for (index, value) in values.iter_mut().enumerate() {
                        *value = self.get(bytes, index).unwrap_or(f64::NAN);
                    }
                }
            },
        }
    }

    /// The number that each byte stands for, for the 8-bit types that are neither integers nor booleans.
    fn byte_table(self) -> Option<Box<[f64; 256]>> {
        let has_table = self.is_float() && self.bits() == 8;
        has_table.then(|| Box::new(std::array::from_fn(|code| self.value_of(code as u64))))
    }
}

#[inline(always)]
fn convert<const SIZE: usize>(bytes: &[u8], values: &mut [f64], convert: impl Fn([u8; SIZE]) -> f64) {
    let (elements, _) = bytes.as_chunks::<SIZE>();
    for (value, element) in values.iter_mut().zip(elements) {
        *value = convert(*element);
    }
}

/// Elements of one byte, widened through a larger integer several at a time, as processors do it.
#[inline(always)]
fn convert_bytes(bytes: &[u8], values: &mut [f64], convert: impl Fn(u8) -> i16) {
    const AT_ONCE: usize = 64;
    let mut wide = [0; AT_ONCE];
    for (values, bytes) in values.chunks_mut(AT_ONCE).zip(bytes.chunks(AT_ONCE)) {
        for (wide, byte) in wide.iter_mut().zip(bytes) {
            *wide = convert(*byte);
        }
        for (value, wide) in values.iter_mut().zip(&wide) {
            *value = f64::from(*wide);
        }
    }
}

#[inline(always)]
fn made_single(elements: &[[u8; 2]], values: &mut [[u8; 4]], made: impl Fn(u16) -> f32) {
    for (value, element) in values.iter_mut().zip(elements) {
        *value = made(u16::from_le_bytes(*element)).to_le_bytes();
    }
}

/// `PER_BYTE` elements per byte, the first in the low bits.
#[inline(always)]
fn unpack<const PER_BYTE: usize>(bytes: &[u8], values: &mut [f64], convert: impl Fn(u8) -> f64) {
    let bits = 8 / PER_BYTE;
    let mask = ((1u16 << bits) - 1) as u8;
    let element = |byte: u8, index: usize| convert(byte >> (index * bits) & mask);
    let (groups, rest) = values.as_chunks_mut::<PER_BYTE>();
    for (group, byte) in groups.iter_mut().zip(bytes) {
        *group = std::array::from_fn(|index| element(*byte, index));
    }
    if let Some(byte) = bytes.get(groups.len()) {
        for (index, value) in rest.iter_mut().enumerate() {
            *value = element(*byte, index);
        }
    }
}

/// A binary16 as binary32, without branches: its bits, moved to where binary32 keeps them, are the number
/// times 2^-112, subnormal ones included.
#[inline(always)]
fn widen(half: u16) -> f32 {
    let magnitude = u32::from(half & 0x7fff);
    let sign = u32::from(half & 0x8000) << 16;
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    let special = if magnitude >= 0x7c00 { 0xff << 23 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<ElementType> {
        use ElementType::*;
        let mut all = vec![
            Float64,
            Float32,
            Float16,
            BFloat16,
            Float8E4M3Fn,
            Float8E4M3Fnuz,
            Float8E5M2,
            Float8E5M2Fnuz,
            Float8E8M0,
            Float4E2M1,
            Nf4,
            Bool,
        ];
        for bits in [2, 4, 8, 16, 32, 64] {
            all.extend([Int { bits, is_signed: false }, Int { bits, is_signed: true }]);
        }
        all
    }

    fn same(left: &[f64], right: &[f64]) -> bool {
        left.len() == right.len()
            && left.iter().zip(right).all(|(l, r)| l.to_bits() == r.to_bits() || (l.is_nan() && r.is_nan()))
    }

    /// The reference is `get`, which decodes one element at a time.
    #[test]
    fn blocks_hold_what_single_elements_are() {
        let bytes: Vec<u8> =
            (0..20_001u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for element in all() {
            for count in [0, 1, 3, BLOCK_ELEMENTS, 2 * BLOCK_ELEMENTS + 5, usize::MAX] {
                let mut values = Vec::new();
                let decoded = element.decode_chunk(&bytes, count, &mut values);
                assert_eq!(decoded, values.len(), "{element:?}");
                assert_eq!(decoded, count.min(element.elements_in(bytes.len())), "{element:?}");
                let expected: Vec<f64> = element.decode(&bytes, count.min(decoded)).collect();
                assert!(same(&values, &expected), "{element:?} {count}");
                let mut filled = vec![0.0; decoded];
                assert_eq!(element.decode_to(&bytes, &mut filled), decoded, "{element:?}");
                assert!(same(&filled, &expected), "{element:?} {count}");
            }
        }
    }

    #[test]
    fn every_binary16_widens_to_the_same_number() {
        for code in 0..=u16::MAX {
            let expected = half::f16::from_bits(code).to_f32();
            let widened = widen(code);
            assert!(
                widened.to_bits() == expected.to_bits() || (widened.is_nan() && expected.is_nan()),
                "{code:#x}"
            );
        }
    }

    #[test]
    fn an_element_type_of_no_bits_has_no_elements() {
        let odd = ElementType::Int { bits: 0, is_signed: true };
        assert_eq!(odd.decode_chunk(&[1, 2, 3], 5, &mut Vec::new()), 0);
        let wide = ElementType::Int { bits: 128, is_signed: true };
        assert_eq!(wide.get(&[0; 16], 0), None);
    }
}
