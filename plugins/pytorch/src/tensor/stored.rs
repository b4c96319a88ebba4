//! Stored tensors: how their elements are delivered.

use super::bits::{Bits, is_complex};
use super::book::Book;
use super::data::{Data, PIECE_BYTES, Place};
use super::derived::Derived;
use qp_abi::sdk::{
    BackendError, DType, Progress, QuantizationParameters, ROption, Result, Sink, TensorView, element_count,
};
use std::borrow::Cow;

/// A tensor that repeats its storage (stride 0) is delivered up to this size.
const MAX_REPEATED_BYTES: u64 = 1 << 30;

/// A tensor as a view of a storage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredTensor {
    /// The storage.
    pub place: Place,
    /// The element type.
    pub dtype: DType,
    /// Index of the first element in the storage.
    pub offset: i64,
    /// The shape.
    pub shape: Vec<i64>,
    /// Elements of the storage from one index of a dimension to the next.
    pub strides: Vec<i64>,
    /// Whether the storage is big-endian.
    pub is_big_endian: bool,
    /// What is made of the elements.
    pub bits: Bits,
}

impl StoredTensor {
    /// A tensor whose elements lie at `place` one after the other, little-endian.
    pub fn dense_at(place: Place, dtype: DType, shape: Vec<i64>) -> Self {
        let mut strides = vec![1_i64; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1));
        }
        Self { place, dtype, offset: 0, shape, strides, is_big_endian: false, bits: Bits::default() }
    }

    /// The matrix with rows and columns exchanged: a view of the same elements.
    pub fn transposed(&self) -> Self {
        let mut turned = self.clone();
        turned.shape.reverse();
        turned.strides.reverse();
        turned
    }

    /// The number of elements; `None` when the shape is impossible.
    pub fn element_count(&self) -> Option<u64> {
        element_count(&self.shape)
    }

    /// Bytes of the elements, dense.
    pub fn bytes(&self) -> Option<u64> {
        self.dtype.packed_bytes(self.element_count()?)
    }

    /// Checks that all elements lie within the storage.
    ///
    /// # Errors
    /// `CorruptFile` when they do not, or the storage does not exist.
    pub fn check(&self, name: &str, data: &Data) -> Result<()> {
        let corrupt =
            |what: &str| BackendError::corrupt_file(format!("tensor `{}` {what}", name.escape_debug()));
        if self.shape.len() != self.strides.len() || self.shape.len() > 64 {
            return Err(corrupt("has another number of strides than of dimensions"));
        }
        let count = self.element_count().ok_or_else(|| corrupt("has an impossible shape"))?;
        match &self.place {
            // Of what is missing not even the type may be known.
            Place::Shard { place, .. } if **place == Place::Nowhere => return Ok(()),
            Place::Nowhere if self.dtype == DType::UNDEFINED => return Ok(()),
            _ => self.bytes().map(|_| ()).ok_or_else(|| corrupt("has an impossible size"))?,
        }
        match &self.place {
            Place::Nowhere => return Ok(()),
            Place::Derived(derived) => return derived.check(name, data),
            Place::Entry(_) | Place::Span { .. } | Place::Shard { .. } => {}
        }
        let available =
            data.storage_bytes(&self.place).ok_or_else(|| corrupt("has no storage in the file"))?;
        if count == 0 {
            return Ok(());
        }
        let last = self.shape.iter().zip(&self.strides).try_fold(self.offset, |last, (size, stride)| {
            if *stride < 0 {
                None
            } else {
                (size - 1).checked_mul(*stride).and_then(|step| last.checked_add(step))
            }
        });
        let end = last.filter(|_| self.offset >= 0).and_then(|last| u64::try_from(last).ok()?.checked_add(1));
        let needed = end.and_then(|end| self.dtype.packed_bytes(end));
        if needed.is_none_or(|needed| needed > available) {
            return Err(corrupt("lies outside of its storage"));
        }
        Ok(())
    }

    /// Whether the elements lie in the storage in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1_i64;
        self.shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected = expected.saturating_mul(size.max(1));
            fits
        })
    }

    /// All elements, dense, row-major and little-endian; for short tensors.
    ///
    /// # Errors
    /// `CorruptFile` when they are not there, `UnsupportedOp` for what has no dense form.
    pub fn dense<'a>(&self, data: &'a Data) -> Result<Cow<'a, [u8]>> {
        let mut collected = Vec::new();
        let mut collect = |_: u64, piece: &[u8]| {
            collected.extend_from_slice(piece);
            Ok(())
        };
        if let Place::Derived(derived) = &self.place {
            derived.pieces(data, &mut collect)?;
            return Ok(Cow::Owned(collected));
        }
        let storage = data.storage(&self.place)?;
        if let (Cow::Borrowed(storage), Some(range)) = (&storage, self.plain_range()) {
            let plain = storage.get(range).ok_or_else(outside)?;
            return Ok(Cow::Borrowed(plain));
        }
        self.pieces(&storage, &mut collect)?;
        Ok(Cow::Owned(collected))
    }

    /// Delivers all elements to `sink`.
    ///
    /// # Errors
    /// As [`Self::dense`], and what the sink and the progress answer.
    pub fn deliver(
        &self,
        name: &str,
        data: &Data,
        quantization: Option<&QuantizationParameters>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<()> {
        let total = self.bytes().unwrap_or(0);
        let mut done = 0_u64;
        let mut hand_on = |first_element: u64, bytes: &[u8]| {
            progress.update("reading", done, total)?;
            sink.tensor(TensorView {
                first_element,
                quantization: quantization.map_or(ROption::RNone, ROption::RSome),
                ..TensorView::whole(name, self.dtype, &self.shape, bytes)
            })?;
            done += bytes.len() as u64;
            Ok(())
        };
        let Place::Derived(derived) = &self.place else {
            let storage = data.storage(&self.place)?;
            // Elements that are not gathered are bytes of the storage; of others all that they are in goes at the end.
            let delivered = self.pieces(&storage, &mut |first_element, bytes| {
                hand_on(first_element, bytes)?;
                data.release(&self.place, bytes);
                Ok(())
            });
            if self.plain_range().is_none() {
                data.release(&self.place, &storage);
            }
            return delivered;
        };
        derived.pieces(data, &mut hand_on)
    }

    /// The bytes of the storage that are this tensor, when they are so without any change.
    fn plain_range(&self) -> Option<std::ops::Range<usize>> {
        let is_sub_byte = !self.dtype.bits().is_multiple_of(8);
        let swaps = self.is_big_endian && self.dtype.bits() > 8;
        let is_changed = self.bits != Bits::default();
        if !self.is_contiguous() || swaps || is_changed || (is_sub_byte && self.offset != 0) {
            return None;
        }
        let start = usize::try_from(self.dtype.packed_bytes(u64::try_from(self.offset).ok()?)?).ok()?;
        let length = usize::try_from(self.bytes()?).ok()?;
        Some(start..start.checked_add(length)?)
    }

    /// The table of numbers that the codes stand for, if they are of such a type.
    pub fn book(&self) -> Option<&Book> {
        match &self.place {
            Place::Derived(derived) => match &**derived {
                Derived::Booked(book) => Some(book),
                Derived::Codes(_) | Derived::Numbers(_) => None,
            },
            _ => None,
        }
    }

    /// Delivers the real values of codes that stand for the numbers of a table, as float32.
    ///
    /// # Errors
    /// `UnsupportedOp` for all other tensors; as [`Self::deliver`].
    pub fn deliver_real(
        &self,
        name: &str,
        data: &Data,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<()> {
        let book = self.book().ok_or_else(|| {
            BackendError::unsupported_op(format!("the real values of `{name}` are not known to this backend"))
        })?;
        let total = self.element_count().unwrap_or(0);
        book.pieces(data, &mut |first_element, bytes| {
            progress.update("reading", first_element, total)?;
            sink.tensor(TensorView {
                first_element,
                ..TensorView::whole(name, DType::FLOAT32, &self.shape, bytes)
            })
        })
    }

    /// Hands the elements to `take`, with the index of the first, in pieces.
    fn pieces(&self, storage: &[u8], take: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        if self.element_count() == Some(0) {
            return take(0, &[]);
        }
        let per_piece = |bytes: usize| bytes as u64 * 8 / u64::from(self.dtype.bits().max(1));
        if let Some(range) = self.plain_range() {
            let plain = storage.get(range).ok_or_else(outside)?;
            let mut first_element = 0;
            for piece in plain.chunks(PIECE_BYTES) {
                take(first_element, piece)?;
                first_element += per_piece(PIECE_BYTES);
            }
            return Ok(());
        }
        let width = self.dtype.bits() as usize / 8;
        if !self.dtype.bits().is_multiple_of(8) || width == 0 {
            let message = format!("a {} tensor that is not contiguous cannot be read", self.dtype);
            return Err(BackendError::unsupported_op(message));
        }
        if self.bytes().is_none_or(|bytes| bytes > MAX_REPEATED_BYTES.max(storage.len() as u64)) {
            return Err(BackendError::corrupt_file("a tensor repeats its storage absurdly often"));
        }
        self.gather(storage, width, take)
    }

    /// Walks the view in row-major order.
    fn gather(
        &self,
        storage: &[u8],
        width: usize,
        take: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let unit = if is_complex(self.dtype) { width / 2 } else { width };
        let total = self.element_count().unwrap_or(0);
        let mut piece =
            Vec::with_capacity(PIECE_BYTES.min(usize::try_from(total).unwrap_or(0).saturating_mul(width)));
        let mut index = vec![0_i64; self.shape.len()];
        let mut position = self.offset;
        let mut first_element = 0;
        for element in 0..total {
            let start = usize::try_from(position).ok().and_then(|position| position.checked_mul(width));
            let bytes =
                start.and_then(|start| storage.get(start..start.checked_add(width)?)).ok_or_else(outside)?;
            if self.is_big_endian {
                bytes.chunks(unit.max(1)).for_each(|number| piece.extend(number.iter().rev()));
            } else {
                piece.extend_from_slice(bytes);
            }
            let begin = piece.len().saturating_sub(width);
            if let Some(element) = piece.get_mut(begin..) {
                self.bits.apply(self.dtype, element);
            }
            if piece.len() + width > PIECE_BYTES {
                take(first_element, &piece)?;
                piece.clear();
                first_element = element + 1;
            }
            let dimensions = index.iter_mut().zip(self.shape.iter().zip(&self.strides)).rev();
            for (at, (&size, &stride)) in dimensions {
                *at += 1;
                // Along a dimension of size 1 the stride may be anything: it is taken back at once.
                position = position.wrapping_add(stride);
                if *at < size {
                    break;
                }
                position = position.wrapping_sub(stride.wrapping_mul(size));
                *at = 0;
            }
        }
        if piece.is_empty() { Ok(()) } else { take(first_element, &piece) }
    }
}

fn outside() -> BackendError {
    BackendError::corrupt_file("a tensor lies outside of its storage")
}
