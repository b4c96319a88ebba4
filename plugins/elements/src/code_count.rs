//! Counts codes instead of decoding elements.

use crate::element::ElementType;

/// How often each code occurs, with the value that it stands for, in the elements at the start of some bytes.
pub struct CodeCounts {
    /// Values and how often they occur; a value may be listed more than once, but never with a count of zero.
    pub values: Vec<(f64, u64)>,
    /// How many elements were counted: the rest of the elements asked for begins after them, at a byte boundary.
    pub elements: usize,
}

impl ElementType {
    /// Counts the codes of the first `count` elements of a type of 2, 4 or 8 bits. These types have so few codes that
    /// counting bytes is several times faster than looking at each element. `None` for wider types, and where there
    /// are too few elements to pay off.
    pub fn count_codes(self, bytes: &[u8], count: usize) -> Option<CodeCounts> {
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

/// How often each byte occurs. Four tables, because with one, counting equal neighbours waits for the previous store.
fn count_bytes(bytes: &[u8]) -> [u64; 256] {
    let mut counts = [0; 256];
    // Short enough that no count in a table overflows.
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
