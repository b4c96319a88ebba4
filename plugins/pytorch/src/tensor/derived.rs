//! Elements that no storage holds as they are: codes that several share a word, scales that are quantized
//! themselves. They are computed piece by piece while they are read.

use super::book::Book;
use super::data::{Data, PIECE_BYTES};
use super::numbers::reals;
use super::packing::Packing;
use super::stored::StoredTensor;
use qp_abi::sdk::{BackendError, Result};

/// How elements are computed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Derived {
    /// Integer codes out of the words they are packed into.
    Codes(Packing),
    /// The same, of a type that no scale and zero point express.
    Booked(Book),
    /// Real numbers, `float64`.
    Numbers(Formula),
}

/// Real numbers of other numbers, element by element.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Formula {
    /// The numbers of a tensor times a factor, an `f64` by its bits.
    Scaled(StoredTensor, u64),
    /// The rows of a matrix, each repeated so often, until there are so many: the last one may be repeated less often.
    Repeated {
        /// Two dimensions.
        rows: StoredTensor,
        /// How often each is repeated.
        times: u64,
        /// How many there are then.
        count: u64,
    },
    /// −offset / scale: the zero point q₀ of real = q · scale + offset = (q − q₀) · scale.
    ZeroPoints {
        /// The offsets.
        offsets: StoredTensor,
        /// As many scales.
        scales: StoredTensor,
    },
    /// `map[code]` · scale of the code's block + offset: scales of bitsandbytes that are quantized themselves.
    Nested {
        /// One byte each.
        codes: StoredTensor,
        /// The 256 numbers that the codes stand for.
        map: StoredTensor,
        /// One for each block.
        scales: StoredTensor,
        /// Codes that share a scale.
        block_size: u64,
        /// An `f64` by its bits.
        offset: u64,
    },
}

impl Derived {
    /// The stored tensor that the elements are computed from.
    pub fn origin(&self) -> &StoredTensor {
        match self {
            Self::Codes(packing) | Self::Booked(Book { packing, .. }) => &packing.words,
            Self::Numbers(Formula::Scaled(tensor, _)) => tensor,
            Self::Numbers(Formula::Repeated { rows, .. }) => rows,
            Self::Numbers(Formula::ZeroPoints { offsets, .. }) => offsets,
            Self::Numbers(Formula::Nested { codes, .. }) => codes,
        }
    }

    /// Checks that what the elements are computed from is there.
    ///
    /// # Errors
    /// `CorruptFile` when it is not.
    pub fn check(&self, name: &str, data: &Data) -> Result<()> {
        let all: &[&StoredTensor] = match self {
            Self::Codes(packing) => &[&packing.words],
            Self::Booked(book) => &[&book.packing.words, &book.scales],
            Self::Numbers(Formula::Scaled(tensor, _)) => &[tensor],
            Self::Numbers(Formula::Repeated { rows, .. }) => &[rows],
            Self::Numbers(Formula::ZeroPoints { offsets, scales }) => &[offsets, scales],
            Self::Numbers(Formula::Nested { codes, map, scales, .. }) => &[codes, map, scales],
        };
        all.iter().try_for_each(|tensor| tensor.check(name, data))?;
        match self {
            Self::Codes(packing) | Self::Booked(Book { packing, .. }) => packing.check(name),
            Self::Numbers(_) => Ok(()),
        }
    }

    /// Hands the elements to `take`, with the index of the first, in pieces.
    ///
    /// # Errors
    /// `CorruptFile` when they cannot be computed, and what `take` answers.
    pub fn pieces(&self, data: &Data, take: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        match self {
            Self::Codes(packing) | Self::Booked(Book { packing, .. }) => packing.pieces(data, take),
            Self::Numbers(formula) => {
                let bytes: Vec<u8> =
                    formula.numbers(data)?.iter().flat_map(|number| number.to_le_bytes()).collect();
                let mut pieces = bytes.chunks(PIECE_BYTES).peekable();
                if pieces.peek().is_none() {
                    return take(0, &[]);
                }
                pieces
                    .enumerate()
                    .try_for_each(|(index, piece)| take((index * (PIECE_BYTES / 8)) as u64, piece))
            }
        }
    }
}

impl Formula {
    /// All numbers.
    ///
    /// # Errors
    /// `CorruptFile` when there are too few of what they are computed from.
    pub fn numbers(&self, data: &Data) -> Result<Vec<f64>> {
        match self {
            Self::Scaled(tensor, factor) => {
                let factor = f64::from_bits(*factor);
                Ok(reals(tensor, data)?.into_iter().map(|number| number * factor).collect())
            }
            Self::Repeated { rows, times, count } => {
                let width = rows.shape.last().and_then(|width| usize::try_from(*width).ok()).unwrap_or(0);
                let numbers = reals(rows, data)?;
                let row = |index: u64| {
                    let first = usize::try_from(index / (*times).max(1)).ok()?.checked_mul(width)?;
                    numbers.get(first..first.checked_add(width)?)
                };
                let rows: Option<Vec<&[f64]>> = (0..*count).map(row).collect();
                let rows =
                    rows.ok_or_else(|| BackendError::corrupt_file("square blocks have too few scales"))?;
                Ok(rows.concat())
            }
            Self::ZeroPoints { offsets, scales } => {
                let scales = reals(scales, data)?;
                let pairs = reals(offsets, data)?.into_iter().zip(scales);
                Ok(pairs.map(|(offset, scale)| -offset / scale).collect())
            }
            Self::Nested { codes, map, scales, block_size, offset } => {
                let (map, scales) = (reals(map, data)?, reals(scales, data)?);
                let offset = f64::from_bits(*offset);
                let block = usize::try_from(*block_size).unwrap_or(usize::MAX).max(1);
                let codes = codes.dense(data)?;
                let number = |(index, code): (usize, &u8)| {
                    let (entry, scale) = (map.get(usize::from(*code))?, scales.get(index / block)?);
                    Some(entry * scale + offset)
                };
                let numbers: Option<Vec<f64>> = codes.iter().enumerate().map(number).collect();
                numbers.ok_or_else(|| BackendError::corrupt_file("quantized scales have too few scales"))
            }
        }
    }
}
