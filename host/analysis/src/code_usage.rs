//! Which integer codes a quantized tensor uses.

use qp_elements::ElementType;

/// The set of codes that occur in integer data of at most 16 bits, one bit per code, and how often the two outermost
/// codes occur: clipped values pile up there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeUsage {
    element: ElementType,
    bits: u32,
    is_signed: bool,
    used: Vec<u64>,
    count: u64,
    at_lowest_limit: u64,
    at_highest_limit: u64,
}

impl CodeUsage {
    /// Empty; `None` unless `element` is an integer of 2, 4, 8 or 16 bits.
    pub fn new(element: ElementType) -> Option<Self> {
        match element {
            ElementType::Int { bits: bits @ (2 | 4 | 8 | 16), is_signed } => Some(Self {
                element,
                bits,
                is_signed,
                used: vec![0; (1usize << bits).div_ceil(64)],
                count: 0,
                at_lowest_limit: 0,
                at_highest_limit: 0,
            }),
            _ => None,
        }
    }

    /// The type of the codes.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// Adds the first `count` codes of `bytes`. Returns how many were added: fewer than `count` when `bytes` ends
    /// early.
    pub fn add_elements(&mut self, bytes: &[u8], count: usize) -> usize {
        let available = count.min(self.element.elements_in(bytes.len()));
        if self.bits == 16 {
            let (lowest, highest) = self.limits();
            let (codes, _) = bytes[..2 * available].as_chunks::<2>();
            let codes = codes.iter().map(|code| u16::from_le_bytes(*code));
            codes.clone().for_each(|code| self.mark(code));
            self.at_lowest_limit += codes.clone().filter(|code| *code == lowest as u16).count() as u64;
            self.at_highest_limit += codes.filter(|code| *code == highest as u16).count() as u64;
            self.count += available as u64;
            return available;
        }
        let mut counted = 0;
        if let Some(codes) = self.element.count_codes(bytes, available) {
            counted = codes.elements;
            for (code, count) in codes.values {
                self.add_repeated(code as i64, count);
            }
        }
        let rest = &bytes[self.element.packed_bytes(counted)..];
        for code in self.element.decode(rest, available - counted) {
            self.add_repeated(code as i64, 1);
        }
        available
    }

    /// Adds one code; returns `None`, and adds nothing, for a code outside the type.
    pub fn add_code(&mut self, code: i64) -> Option<()> {
        let (lowest, highest) = self.limits();
        if code < lowest || code > highest {
            return None;
        }
        self.add_repeated(code, 1);
        Some(())
    }

    /// Adds what `other` has counted; returns `None`, and adds nothing, when its codes have another type.
    pub fn merge(&mut self, other: &Self) -> Option<()> {
        if self.element != other.element {
            return None;
        }
        for (word, other_word) in self.used.iter_mut().zip(&other.used) {
            *word |= other_word;
        }
        self.count += other.count;
        self.at_lowest_limit += other.at_lowest_limit;
        self.at_highest_limit += other.at_highest_limit;
        Some(())
    }

    /// How many codes were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many different codes occur.
    pub fn used_count(&self) -> u32 {
        self.used.iter().map(|word| word.count_ones()).sum()
    }

    /// How many codes the type has.
    pub fn available_count(&self) -> u32 {
        1 << self.bits
    }

    /// log2 of the number of codes that occur; `None` while empty.
    pub fn effective_bits(&self) -> Option<f64> {
        let used = self.used_count();
        (used > 0).then(|| f64::from(used).log2())
    }

    /// Whether `code` occurs.
    pub fn is_used(&self, code: i64) -> bool {
        let (lowest, highest) = self.limits();
        if code < lowest || code > highest {
            return false;
        }
        let pattern = (code & ((1 << self.bits) - 1)) as usize;
        self.used[pattern / 64] >> (pattern % 64) & 1 == 1
    }

    /// The share of the type's codes between the smallest and the largest that occur, both included, from 0 to 1: how
    /// much of the type's range is used. A tensor of few values leaves codes inside unused, and those are not wasted.
    pub fn span_share(&self) -> f64 {
        self.extremes().map_or(0.0, |(smallest, largest)| {
            (largest - smallest + 1) as f64 / f64::from(self.available_count())
        })
    }

    /// The smallest and the largest code that occur; `None` while empty.
    pub fn extremes(&self) -> Option<(i64, i64)> {
        let (lowest, highest) = self.limits();
        let smallest = (lowest..=highest).find(|code| self.is_used(*code))?;
        let largest = (smallest..=highest).rev().find(|code| self.is_used(*code))?;
        Some((smallest, largest))
    }

    /// How often the smallest code of the type occurs.
    pub fn at_lowest_limit(&self) -> u64 {
        self.at_lowest_limit
    }

    /// How often the largest code of the type occurs.
    pub fn at_highest_limit(&self) -> u64 {
        self.at_highest_limit
    }

    fn limits(&self) -> (i64, i64) {
        if self.is_signed {
            (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1)
        } else {
            (0, (1 << self.bits) - 1)
        }
    }

    /// Adds a code of the type `count` times.
    fn add_repeated(&mut self, code: i64, count: u64) {
        let (lowest, highest) = self.limits();
        self.mark((code & ((1 << self.bits) - 1)) as u16);
        self.count += count;
        self.at_lowest_limit += if code == lowest { count } else { 0 };
        self.at_highest_limit += if code == highest { count } else { 0 };
    }

    fn mark(&mut self, pattern: u16) {
        self.used[usize::from(pattern) / 64] |= 1 << (pattern % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(bits: u32, is_signed: bool) -> CodeUsage {
        CodeUsage::new(ElementType::Int { bits, is_signed }).unwrap()
    }

    #[test]
    fn codes_in_use_are_told_apart_and_the_limits_counted() {
        let mut usage = int(8, true);
        assert_eq!(usage.add_elements(&[0x80, 0x7f, 0x00, 0x00, 0x80], 9), 5);
        assert_eq!((usage.used_count(), usage.extremes()), (3, Some((-128, 127))));
        assert_eq!((usage.at_lowest_limit(), usage.at_highest_limit()), (2, 1));
        assert!(usage.is_used(-128) && !usage.is_used(1) && !usage.is_used(128));
        assert_eq!(usage.effective_bits(), Some(3f64.log2()));
    }

    #[test]
    fn padding_behind_the_last_packed_code_is_not_counted() {
        let mut usage = int(4, true);
        assert_eq!(usage.add_elements(&[0x8f, 0x07], 3), 3);
        assert_eq!((usage.used_count(), usage.extremes(), usage.count()), (3, Some((-8, 7)), 3));
        assert!(!usage.is_used(0));
    }

    #[test]
    fn sixteen_bits_are_read_little_endian() {
        let mut usage = int(16, false);
        usage.add_elements(&[0x00, 0x01, 0xff, 0xff], 2);
        assert_eq!(usage.extremes(), Some((256, 65535)));
        assert_eq!(usage.at_highest_limit(), 1);
    }

    #[test]
    fn single_codes_outside_the_type_are_refused() {
        let mut usage = int(2, false);
        assert_eq!(usage.add_code(3), Some(()));
        assert_eq!(usage.add_code(4), None);
        assert_eq!(usage.add_code(-1), None);
        assert_eq!(usage.count(), 1);
    }

    #[test]
    fn only_small_integers_have_a_usage() {
        assert_eq!(CodeUsage::new(ElementType::Int { bits: 32, is_signed: true }), None);
        assert_eq!(CodeUsage::new(ElementType::Float32), None);
        assert_eq!(int(8, true).merge(&int(8, false)), None);
        assert_eq!(int(8, true).effective_bits(), None);
    }
}
