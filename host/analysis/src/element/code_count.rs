//! Counting codes in place of decoding elements.

use super::ElementType;

/// How often each code occurs, with the value that it stands for, in the elements at the start of some bytes.
pub(crate) struct CodeCounts {
    /// Values and how often they occur; a value may be listed more than once, none is listed zero times.
    pub(crate) values: Vec<(f64, u64)>,
    /// How many elements were counted: the rest of the elements asked for begins behind them, at a byte.
    pub(crate) elements: usize,
}

impl ElementType {
    /// Counts the codes of the first `count` elements of a type of 2, 4 or 8 bits: it has so few codes that to
    /// count bytes is several times faster than to look at each element. `None` for the wider types, and where
    /// there are too few elements for that to pay off.
    pub(crate) fn count_codes(self, bytes: &[u8], count: usize) -> Option<CodeCounts> {
        const WORTHWHILE_BYTES: usize = 1024;
        let per_byte = match self.bits() {
            8 => 1,
            4 => 2,
            2 => 4,
            _ => return None,
        };
        let whole_bytes = bytes.len().min(count / per_byte);
        if whole_bytes < WORTHWHILE_BYTES {
            return None;
        }
        let counts = count_bytes(&bytes[..whole_bytes]);
        let values = (0..=u8::MAX)
            .zip(counts)
            .filter(|(_, count)| *count > 0)
            .flat_map(|(byte, count)| {
                (0..per_byte).filter_map(move |index| Some((self.get(&[byte], index)?, count)))
            })
            .collect();
        Some(CodeCounts { values, elements: whole_bytes * per_byte })
    }
}

/// How often each byte occurs. Four tables, because counting equal neighbours in one waits for the store of
/// the count before.
fn count_bytes(bytes: &[u8]) -> [u64; 256] {
    let mut counts = [0; 256];
    // So short that no count of a table overflows.
    for piece in bytes.chunks(1 << 31) {
        let mut tables = [[0u32; 256]; 4];
        let (groups, rest) = piece.as_chunks::<4>();
        for group in groups {
            for (table, byte) in tables.iter_mut().zip(group) {
                table[usize::from(*byte)] += 1;
            }
        }
        for byte in rest {
            tables[0][usize::from(*byte)] += 1;
        }
        for table in tables {
            for (count, part) in counts.iter_mut().zip(table) {
                *count += u64::from(part);
            }
        }
    }
    counts
}
