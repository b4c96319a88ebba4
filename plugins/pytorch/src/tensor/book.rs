//! Codes that stand for the numbers of a table, times a scale for each block of neighbours: what no scale and zero point
//! express. Their real values are computed piece by piece while they are read.

use super::data::Data;
use super::numbers::reals;
use super::packing::Packing;
use super::stored::StoredTensor;
use qp_abi::sdk::{BackendError, Result};

/// The numbers that are handed on at once.
const NUMBERS_AT_ONCE: usize = 1 << 18;

/// real = table\[code\] · scale of the code's block, in float32.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Book {
    /// What the type is called: `fp4`.
    pub type_name: String,
    /// The codes, of 4 bits.
    pub packing: Packing,
    /// The numbers that the codes stand for; float32 by their bits.
    pub table: Vec<u32>,
    /// One for each block.
    pub scales: StoredTensor,
    /// Codes that share a scale, in row-major order.
    pub block_size: u64,
}

impl Book {
    /// Hands the real values to `take`, with the index of the first, in pieces.
    ///
    /// # Errors
    /// `CorruptFile` when there are too few scales, or codes that the table does not have; what `take` answers.
    pub fn pieces(&self, data: &Data, take: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let short = || BackendError::corrupt_file("a table of numbers has too few scales for its codes");
        let scales: Vec<f32> = reals(&self.scales, data)?.into_iter().map(|scale| scale as f32).collect();
        let table: Vec<f32> = self.table.iter().map(|bits| f32::from_bits(*bits)).collect();
        let total = u64::try_from(self.packing.shape.0.saturating_mul(self.packing.shape.1)).unwrap_or(0);
        let block = self.block_size.max(1);
        self.packing.pieces(data, &mut |first, codes| {
            let nibbles = codes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
            let left = usize::try_from(total.saturating_sub(first)).unwrap_or(usize::MAX);
            let mut bytes = Vec::with_capacity(NUMBERS_AT_ONCE.min(codes.len() * 2) * 4);
            let mut begin = first;
            for (index, code) in (first..).zip(nibbles.take(left)) {
                let scale = usize::try_from(index / block).ok().and_then(|block| scales.get(block));
                let number = table.get(usize::from(code));
                let (number, scale) = number.zip(scale).ok_or_else(short)?;
                bytes.extend_from_slice(&(number * scale).to_le_bytes());
                if bytes.len() >= NUMBERS_AT_ONCE * 4 {
                    take(begin, &bytes)?;
                    begin = index + 1;
                    bytes.clear();
                }
            }
            if bytes.is_empty() && total > 0 { Ok(()) } else { take(begin, &bytes) }
        })
    }
}
