//! The tensors of a tar archive. `storages` has a count, so many storages, and a list of views of them; `tensors` has a
//! count and so many views, each of which says which storage it is of. `pickle` names both by their numbers alone.
//! Source: `legacy_load` in `torch/serialization.py`.

use super::row::{Order, Row};
use crate::pickle::{Pickle, decode};
use crate::tensor::{Bits, Place, StoredTensor};
use qp_abi::sdk::{BackendError, DType, Result};
use std::collections::HashMap;

/// Dimensions of a tensor.
const MAX_RANK: usize = 64;

/// What the pickles number.
enum Part {
    Storage { dtype: DType, start: u64, bytes: u64 },
    Tensor(StoredTensor),
}

/// The tensors of an archive, by their numbers; `storages` and `tensors` are the contents of the members and where they
/// begin.
///
/// # Errors
/// `CorruptFile` when they end too early or make no sense.
pub(super) fn read(
    storages: (&[u8], u64),
    tensors: (&[u8], u64),
    order: Order,
) -> Result<HashMap<i64, StoredTensor>> {
    let mut parts = HashMap::new();
    add_storages(storages.0, storages.1, order, &mut parts)?;
    add_tensors(tensors.0, order, &mut parts)?;
    let tensors = parts.into_iter().filter_map(|(number, part)| match part {
        Part::Tensor(tensor) => Some((number, tensor)),
        Part::Storage { .. } => None,
    });
    Ok(tensors.collect())
}

fn add_storages(bytes: &[u8], begin: u64, order: Order, parts: &mut HashMap<i64, Part>) -> Result<()> {
    let mut rows = Rows { rest: bytes };
    for _ in 0..rows.count("storages")? {
        let pickle = rows.pickle()?;
        let number = number(&pickle)?;
        let row = Row::of_storage(&pickle, rows.rest, order);
        let Row { dtype, header, bytes: length } =
            row.ok_or_else(|| corrupt(format!("storage {number} is of an unknown form")))?;
        let start = begin + (bytes.len() - rows.rest.len() + header) as u64;
        let cut = || corrupt(format!("storage {number} extends past the end of `storages`"));
        rows.skip(header.checked_add(length).ok_or_else(cut)?).ok_or_else(cut)?;
        parts.insert(number, Part::Storage { dtype, start, bytes: length as u64 });
    }
    let views = rows.pickle()?;
    for &view in views.sequence(views.root()).unwrap_or_default() {
        let view = views.ints(view).and_then(|numbers| <[i64; 4]>::try_from(numbers).ok());
        let [number, root, offset, count] =
            view.ok_or_else(|| corrupt("a view of a storage is of an unknown form".to_owned()))?;
        let part = match parts.get(&root) {
            Some(Part::Storage { dtype, start, bytes }) => {
                // As a slice of Python's: what lies past the end is left out.
                let place =
                    |count: i64| u64::try_from(count).ok().and_then(|count| dtype.packed_bytes(count));
                place(offset).zip(place(count)).filter(|(offset, _)| offset <= bytes).map(
                    |(offset, length)| {
                        let length = length.min(bytes - offset);
                        Part::Storage { dtype: *dtype, start: start + offset, bytes: length }
                    },
                )
            }
            _ => None,
        };
        let part = part.ok_or_else(|| corrupt(format!("storage {number} is a view of none")))?;
        parts.insert(number, part);
    }
    Ok(())
}

fn add_tensors(bytes: &[u8], order: Order, parts: &mut HashMap<i64, Part>) -> Result<()> {
    let mut rows = Rows { rest: bytes };
    for _ in 0..rows.count("tensors")? {
        let pickle = rows.pickle()?;
        let number = number(&pickle)?;
        let cut = || corrupt(format!("tensor {number} extends past the end of `tensors`"));
        let axes = order.axes(rows.rest).filter(|axes| *axes <= MAX_RANK);
        let axes = axes.ok_or_else(|| corrupt(format!("tensor {number} has an impossible shape")))?;
        let numbers = rows.skip(16 * axes + 16).ok_or_else(cut)?;
        let numbers: Vec<i64> = numbers.as_chunks().0.iter().skip(1).map(|bytes| order.int(*bytes)).collect();
        let (shape, rest) = numbers.split_at_checked(axes).ok_or_else(cut)?;
        let (strides, offset) = rest.split_at_checked(axes).ok_or_else(cut)?;
        let storage =
            pickle.sequence(pickle.root()).and_then(|row| row.get(1)).and_then(|at| pickle.int(*at));
        let Some(Part::Storage { dtype, start, bytes }) = storage.and_then(|storage| parts.get(&storage))
        else {
            return Err(corrupt(format!("tensor {number} has no storage")));
        };
        let tensor = StoredTensor {
            place: Place::Span { start: *start, bytes: *bytes },
            dtype: *dtype,
            offset: offset.first().copied().unwrap_or(0),
            shape: shape.to_vec(),
            strides: strides.to_vec(),
            is_big_endian: order == Order::Big,
            bits: Bits::default(),
        };
        parts.insert(number, Part::Tensor(tensor));
    }
    Ok(())
}

/// Pickles with raw bytes between them.
struct Rows<'a> {
    rest: &'a [u8],
}

impl<'a> Rows<'a> {
    fn pickle(&mut self) -> Result<Pickle> {
        let pickle = decode(self.rest)?;
        self.rest = self.rest.get(pickle.length()..).unwrap_or_default();
        Ok(pickle)
    }

    fn count(&mut self, member: &str) -> Result<i64> {
        let pickle = self.pickle()?;
        let count = pickle.int(pickle.root()).filter(|count| *count >= 0);
        count.ok_or_else(|| corrupt(format!("`{member}` does not begin with a count")))
    }

    fn skip(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (skipped, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(skipped)
    }
}

/// The number that a row begins with.
fn number(pickle: &Pickle) -> Result<i64> {
    let row = pickle.sequence(pickle.root()).filter(|row| row.len() == 3);
    let number = row.and_then(|row| pickle.int(*row.first()?));
    number.ok_or_else(|| corrupt("a row of it is of an unknown form".to_owned()))
}

fn corrupt(cause: String) -> BackendError {
    BackendError::corrupt_file("the tar archive of PyTorch is damaged").with_cause(cause)
}
