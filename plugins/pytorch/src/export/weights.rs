//! The stored tensors of an exported program: raw entries and a table of what they are, or a file of `torch.save`.

use super::layout::{Kind, Layout};
use super::{json, parse};
use crate::archive::Archive;
use crate::pickle::decode;
use crate::rebuild::{Found, Rebuild, Rebuilt, Storages};
use crate::tensor::{Data, Place, Shard, StoredTensor};
use qp_abi::sdk::{BackendError, Result};
use serde_json::Value;
use std::sync::Arc;

/// A stored tensor, under the name that the program's signature uses.
#[derive(Debug)]
pub struct Weight {
    /// The name: `layer1.conv1.weight`.
    pub name: String,
    /// The tensor.
    pub found: Found,
    /// Whether it is a constant, which no module owns.
    pub is_constant: bool,
}

/// The weights and constants of the program of that layout. Files of `torch.save` are added to `data`.
///
/// # Errors
/// `CorruptFile` when the table, or the file, makes no sense.
pub fn read(archive: &Archive, layout: &Layout, data: &mut Data) -> Result<Vec<Weight>> {
    let mut weights = Vec::new();
    for kind in Kind::ALL {
        match layout.table(kind).filter(|entry| archive.contains(entry)) {
            Some(entry) => raw(archive, &entry, kind, &mut weights)?,
            None => saved(archive, &layout.saved(kind), kind, data, &mut weights)?,
        }
    }
    Ok(weights)
}

/// Reads the table of raw entries.
fn raw(archive: &Archive, entry: &str, kind: Kind, weights: &mut Vec<Weight>) -> Result<()> {
    let is_big_endian = archive.is_big_endian()?;
    let table = parse(archive, entry)?;
    let rows = table.get("config").and_then(Value::as_object);
    for (name, row) in rows.into_iter().flatten() {
        let Some(meta) = row.get("tensor_meta").filter(|meta| !meta.is_null()) else { continue };
        let corrupt =
            || BackendError::corrupt_file(format!("the table of {} makes no sense at `{name}`", kind.name()));
        let shape = json::fixed_sizes(meta.get("sizes")).ok_or_else(corrupt)?;
        let strides = json::fixed_sizes(meta.get("strides")).ok_or_else(corrupt)?;
        let offset = meta.pointer("/storage_offset/as_int").and_then(Value::as_i64).unwrap_or(0);
        let path = row.get("path_name").and_then(Value::as_str).ok_or_else(corrupt)?;
        // A tensor of a subclass is pickled; its elements are not raw.
        let is_pickled = row.get("use_pickle").and_then(Value::as_bool) == Some(true);
        let place =
            if is_pickled { Place::Nowhere } else { Place::Entry(format!("{}{path}", kind.folder())) };
        let tensor = StoredTensor { place, dtype: json::dtype(meta), offset, shape, strides, is_big_endian };
        let is_parameter = row.get("is_param").and_then(Value::as_bool) == Some(true);
        let found = Found { tensor, quantizer: None, is_parameter };
        weights.push(Weight { name: name.clone(), found, is_constant: kind == Kind::Constants });
    }
    Ok(())
}

/// Reads a file of `torch.save` with a dictionary of tensors, which is an entry of the archive.
fn saved(
    archive: &Archive,
    entry: &str,
    kind: Kind,
    data: &mut Data,
    weights: &mut Vec<Weight>,
) -> Result<()> {
    // PyTorch has written nothing at all for an empty dictionary.
    if archive.record(entry).is_none_or(|record| record.size == 0) {
        return Ok(());
    }
    let inner = Arc::new(Archive::read(archive.file(entry)?)?);
    let pickle = decode(&inner.content("data.pkl")?)?;
    let is_big_endian = inner.is_big_endian()?;
    let file = Shard { name: entry.to_owned(), is_entry: true, data: Some(Data::of_archive(inner)) };
    let storages = Storages::Shard(data.add_shard(file), Box::new(Storages::Folder("data/".to_owned())));
    let rebuild = Rebuild { pickle: &pickle, storages: &storages, is_big_endian };
    for (name, at) in pickle.named_entries(pickle.root()) {
        let found = match rebuild.tensor(at)? {
            Some(Rebuilt::Plain(found)) => found,
            // A tensor of a subclass has no elements of its own.
            Some(Rebuilt::Composite(composite)) => Found {
                tensor: StoredTensor::dense_at(Place::Nowhere, composite.dtype, composite.shape),
                quantizer: None,
                is_parameter: false,
            },
            None => continue,
        };
        weights.push(Weight { name: name.to_owned(), found, is_constant: kind == Kind::Constants });
    }
    Ok(())
}
