//! The numbers that follow the pickles of a tar archive.

use crate::pickle::Pickle;
use crate::quant::dtype;
use qp_abi::sdk::DType;

/// The order of the bytes of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    pub(super) fn int(self, bytes: [u8; 8]) -> i64 {
        match self {
            Self::Little => i64::from_le_bytes(bytes),
            Self::Big => i64::from_be_bytes(bytes),
        }
    }

    /// The number of axes that a tensor begins with; PyTorch reads four of its eight bytes.
    pub(super) fn axes(self, bytes: &[u8]) -> Option<usize> {
        let bytes = *bytes.first_chunk::<8>()?;
        let axes = match self {
            Self::Little => i64::from(i32::from_le_bytes(*bytes.first_chunk()?)),
            Self::Big => self.int(bytes),
        };
        usize::try_from(axes).ok()
    }
}

/// A storage, as it follows its pickle: the number of elements in eight bytes, and the elements.
pub(super) struct Row {
    pub(super) dtype: DType,
    pub(super) header: usize,
    pub(super) bytes: usize,
}

impl Row {
    /// The row after the pickle `(key, place, type)`; none for an unknown type, and without end for an impossible count.
    pub(super) fn of_storage(pickle: &Pickle, rest: &[u8], order: Order) -> Option<Self> {
        let [_, _, class] = pickle.sequence(pickle.root())? else { return None };
        let dtype = dtype::from_storage_name(&pickle.global(*class)?.name)?.dtype;
        let count = rest.first_chunk::<8>().and_then(|count| u64::try_from(order.int(*count)).ok());
        let bytes = count.and_then(|count| usize::try_from(dtype.packed_bytes(count)?).ok());
        Some(Self { dtype, header: 8, bytes: bytes.unwrap_or(usize::MAX) })
    }
}
