//! Codes of which several share a word.

use super::data::{Data, PIECE_BYTES};
use super::stored::StoredTensor;
use qp_abi::sdk::{BackendError, DType, Result};

/// Rows that are unpacked at once, at most and at least: multiples of 4, so that each piece begins at a byte.
const ROWS_AT_ONCE: (i64, i64) = (64, 4);

/// Codes of fewer bits than the words that hold them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Packing {
    /// The words, a matrix without gaps; its bytes alone count when the codes lie [`Packed::Flat`].
    pub words: StoredTensor,
    /// Which of a matrix's codes share a word.
    pub packed: Packed,
    /// Bits of a code, 1 to 8. Where they do not divide those of a word, codes begin in one word and end in the
    /// next.
    pub bits: u32,
    /// The place in a word, counted from the low bits, of each of the codes that share it; empty for one after
    /// the other.
    pub order: &'static [u32],
    /// Rows and columns of the matrix of codes, as it is packed.
    pub shape: (i64, i64),
    /// Whether rows and columns are exchanged when it is read.
    pub is_transposed: bool,
    /// What is added to a code, modulo 2 to the power of its bits.
    pub offset: u8,
    /// The type of the codes that are read: 2, 4 or 8 bits.
    pub dtype: DType,
}

/// Which codes share a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packed {
    /// Those of one row that are neighbours; a row begins with a word.
    AlongRows,
    /// Those of one column that are neighbours; a column begins with a word.
    AlongColumns,
    /// Those that follow each other in row-major order.
    Flat,
}

impl Packing {
    /// The shape of the matrix that is read.
    pub fn read_shape(&self) -> (i64, i64) {
        let (rows, columns) = self.shape;
        if self.is_transposed { (columns, rows) } else { (rows, columns) }
    }

    /// Whether there are words for all codes: their number bounds what unpacking allocates.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        let (rows, columns) = self.shape;
        let needed = rows.checked_mul(columns).and_then(|codes| codes.checked_mul(i64::from(self.bits)));
        let available = self.words.bytes().and_then(|bytes| i64::try_from(bytes.checked_mul(8)?).ok());
        if rows < 0 || columns < 0 || needed.is_none_or(|needed| available.is_none_or(|bits| needed > bits)) {
            let name = name.escape_debug();
            return Err(BackendError::corrupt_file(format!(
                "tensor `{name}` has fewer codes than its shape"
            )));
        }
        Ok(())
    }

    /// Hands the codes to `take`, as the contract packs them, with the index of the first, in pieces.
    ///
    /// # Errors
    /// `CorruptFile` when there are fewer words than codes, and what `take` answers.
    pub fn pieces(&self, data: &Data, take: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let bytes = self.words.dense(data)?;
        let (rows, columns) = self.read_shape();
        if rows <= 0 || columns <= 0 {
            return take(0, &[]);
        }
        let width = usize::try_from(columns).map_err(|_| self.mismatch())?;
        let rows_at_once = (PIECE_BYTES as i64 / columns / 4 * 4).clamp(ROWS_AT_ONCE.1, ROWS_AT_ONCE.0);
        let source = Source::new(self, &bytes);
        let mut first_row = 0;
        while first_row < rows {
            let count = rows_at_once.min(rows - first_row);
            let height = usize::try_from(count).map_err(|_| self.mismatch())?;
            let mut codes = vec![0_u8; height.saturating_mul(width)];
            if self.is_transposed {
                // In the order of the words: neighbours in a row of words are far apart in the result.
                for column in 0..width {
                    for row in 0..height {
                        let code = source.code(column as i64, first_row + row as i64);
                        codes[row * width + column] = code.ok_or_else(|| self.mismatch())?;
                    }
                }
            } else {
                for (index, slot) in codes.iter_mut().enumerate() {
                    let code = source.code(first_row + (index / width) as i64, (index % width) as i64);
                    *slot = code.ok_or_else(|| self.mismatch())?;
                }
            }
            take((first_row * columns) as u64, &self.dense(codes))?;
            first_row += count;
        }
        data.release(&self.words.place, &bytes);
        Ok(())
    }

    /// The codes as the contract packs them: the first in the low bits.
    fn dense(&self, codes: Vec<u8>) -> Vec<u8> {
        let bits = self.dtype.bits();
        let per_byte = match bits {
            2 | 4 => 8 / bits as usize,
            _ => return codes,
        };
        let join = |codes: &[u8]| codes.iter().rev().fold(0, |byte: u8, code| byte << bits | code);
        codes.chunks(per_byte).map(join).collect()
    }

    fn mismatch(&self) -> BackendError {
        BackendError::corrupt_file("packed codes end before their shape does")
    }
}

/// The words of a [`Packing`], as bytes.
struct Source<'a> {
    packing: &'a Packing,
    bytes: &'a [u8],
    word_bits: u32,
    /// Logarithm of the codes in a word, where words have an order: then it is a power of two.
    per_word_log2: u32,
    /// Words from one row of words to the next.
    row_words: i64,
    mask: u32,
}

impl<'a> Source<'a> {
    fn new(packing: &'a Packing, bytes: &'a [u8]) -> Self {
        let word_bits = if packing.words.dtype.bits() == 32 { 32 } else { 8 };
        let per_word_log2 = (word_bits / packing.bits.clamp(1, 8)).ilog2();
        let row_words = match packing.packed {
            Packed::AlongRows => {
                (packing.shape.1 * i64::from(packing.bits) + i64::from(word_bits) - 1) / i64::from(word_bits)
            }
            Packed::AlongColumns => packing.shape.1,
            Packed::Flat => 0,
        };
        let mask = (1_u32 << packing.bits.clamp(1, 8)) - 1;
        Self { packing, bytes, word_bits, per_word_log2, row_words, mask }
    }

    /// The code at a row and a column of the matrix as it is packed.
    fn code(&self, row: i64, column: i64) -> Option<u8> {
        let Packing { packed, bits, order, shape, offset, .. } = self.packing;
        let raw = match packed {
            Packed::AlongColumns => self.bits_of(row, |line| self.word(line * self.row_words + column))?,
            Packed::AlongRows if order.is_empty() => {
                self.bits_of(column, |index| self.word(row * self.row_words + index))?
            }
            Packed::AlongRows => {
                let slot = self.slot(order, column);
                self.word(row * self.row_words + (column >> self.per_word_log2))? >> (slot * bits)
            }
            Packed::Flat => {
                let index = row * shape.1 + column;
                let slot = self.slot(order, index);
                self.word(index >> self.per_word_log2)? >> (slot * bits)
            }
        };
        Some(((raw & self.mask) as u8).wrapping_add(*offset) & self.mask as u8)
    }

    /// The bits of the code at `index` in a line of words, and some above them.
    fn bits_of(&self, index: i64, word: impl Fn(i64) -> Option<u32>) -> Option<u32> {
        // Words have 8 or 32 bits: a shift and a mask in place of divisions.
        let bit = index * i64::from(self.packing.bits);
        let (place, shift) = (bit >> self.word_bits.ilog2(), bit as u32 & (self.word_bits - 1));
        let straddles = shift + self.packing.bits > self.word_bits;
        let next = if straddles { word(place + 1)? } else { 0 };
        Some(((u64::from(word(place)?) | u64::from(next) << self.word_bits) >> shift) as u32)
    }

    /// The place of the code at `index` within its word.
    fn slot(&self, order: &[u32], index: i64) -> u32 {
        let index = index as u32 & ((1 << self.per_word_log2) - 1);
        order.get(index as usize).copied().unwrap_or(index)
    }

    fn word(&self, index: i64) -> Option<u32> {
        let index = usize::try_from(index).ok()?;
        if self.word_bits == 8 {
            return self.bytes.get(index).map(|byte| u32::from(*byte));
        }
        let start = index.checked_mul(4)?;
        let word = self.bytes.get(start..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*word))
    }
}
