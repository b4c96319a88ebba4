//! The format of PyTorch before 1.6: five pickles in a row, then the storages.

use super::root;
use crate::container::Source;
use crate::document::{Collector, Document};
use crate::pickle::{Pickle, Value, decode};
use crate::quant::dtype;
use crate::rebuild::{Rebuild, Storages, storage_key};
use crate::tensor::{Data, Place};
use qp_abi::manifest::pair;
use qp_abi::sdk::{BackendError, DType, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// What a legacy file is made of.
#[derive(Debug)]
pub struct Parts {
    /// The pickle of what was saved.
    pub pickle: Pickle,
    /// Where its storages are.
    pub storages: Storages,
    /// Whether they are big-endian.
    pub is_big_endian: bool,
}

/// Reads a legacy file; of a dangerous one as much as can be read.
///
/// # Errors
/// `CorruptFile`, or `UnsupportedFormat` for another protocol.
pub fn read(source: Arc<Source>, is_dangerous: bool) -> Result<Document> {
    let Parts { pickle, storages, is_big_endian } = parts(&source)?;
    let mut collector = Collector::new("pickle-legacy", Data::of_file(source));
    let info = &mut collector.document.info;
    info.versions.push(pair("legacy protocol", "1001"));
    info.metadata.push(pair("byteorder", if is_big_endian { "big" } else { "little" }));
    let rebuild = Rebuild { pickle: &pickle, storages: &storages, is_big_endian };
    root::add(rebuild, &mut collector, is_dangerous)?;
    Ok(collector.document)
}

/// Takes a legacy file apart.
///
/// # Errors
/// As [`read`].
pub fn parts(source: &Source) -> Result<Parts> {
    let bytes = source.bytes()?;
    let mut position = decode(bytes)?.length();
    let mut next = || -> Result<Pickle> {
        let pickle = decode(bytes.get(position..).unwrap_or_default())?;
        position += pickle.length();
        Ok(pickle)
    };
    let protocol = next()?;
    if protocol.int(protocol.root()) != Some(1001) {
        return Err(BackendError::unsupported_format(
            "the file is of an unknown version of PyTorch's legacy format",
        ));
    }
    let system = next()?;
    let little_endian = system.entry(system.root(), "little_endian");
    let is_big_endian = little_endian.and_then(|at| system.int(at)) == Some(0);
    let pickle = next()?;
    let keys = next()?;
    let storages = storages(bytes, position, &pickle, &keys, is_big_endian)?;
    Ok(Parts { pickle, storages, is_big_endian })
}

/// Where each storage is: a count of elements and then the elements, in the order of the keys.
fn storages(
    bytes: &[u8],
    start: usize,
    pickle: &Pickle,
    keys: &Pickle,
    is_big_endian: bool,
) -> Result<Storages> {
    let corrupt = |what: &str| BackendError::corrupt_file(format!("the legacy file {what}"));
    let types = storage_types(pickle);
    let mut table = HashMap::new();
    let mut position = start;
    for &key in keys.sequence(keys.root()).ok_or_else(|| corrupt("has no list of storages"))? {
        let key = storage_key(keys, key).ok_or_else(|| corrupt("does not name a storage by a text"))?;
        let count = bytes.get(position..).and_then(|rest| rest.first_chunk::<8>());
        let count = *count.ok_or_else(|| corrupt("ends before its storages do"))?;
        let count = if is_big_endian { u64::from_be_bytes(count) } else { u64::from_le_bytes(count) };
        let dtype = types.get(&key).copied().ok_or_else(|| corrupt("has a storage that no tensor uses"))?;
        let length =
            dtype.packed_bytes(count).ok_or_else(|| corrupt("has a storage of an impossible size"))?;
        let begin = position as u64 + 8;
        let end = begin.checked_add(length).filter(|end| *end <= bytes.len() as u64);
        position =
            usize::try_from(end.ok_or_else(|| corrupt("ends before its storages do"))?).unwrap_or(usize::MAX);
        table.insert(key, Place::Span { start: begin, bytes: length });
    }
    Ok(Storages::Table(table))
}

/// The element types of the storages, by key, from the persistent ids.
fn storage_types(pickle: &Pickle) -> HashMap<String, DType> {
    let ids = pickle.values().iter().filter_map(|value| match value {
        Value::Persistent(id) => pickle.sequence(*id),
        _ => None,
    });
    ids.filter_map(|id| {
        let class = pickle.global(*id.get(1)?)?;
        let key = storage_key(pickle, *id.get(2)?)?;
        Some((key, dtype::from_storage_name(&class.name)?.dtype))
    })
    .collect()
}
