//! The stored tensors of an exported program: raw entries and a table of what they are, or files of `torch.save`.

use super::json;
use super::layout::{Kind, Layout};
use crate::container::Archive;
use crate::pickle::{Pickle, decode};
use crate::rebuild::{Found, Rebuild, Rebuilt, Storages};
use crate::tensor::{Data, Place, Shard, StoredTensor};
use crate::weight::torchao::Subclass;
use qp_abi::sdk::{BackendError, Result};
use serde_json::Value;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// What a program stores.
#[derive(Debug, Default)]
pub struct Weights {
    /// The tensors. Those that a tensor of a subclass is made of have its name before their own.
    pub all: Vec<Weight>,
    /// The tensors of subclasses.
    pub subclasses: Vec<Subclass>,
}

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
/// `CorruptFile` when the table, or such a file, makes no sense.
pub fn read(archive: &Archive, layout: &Layout, data: &mut Data) -> Result<Weights> {
    let mut weights = Weights::default();
    for kind in Kind::ALL {
        match layout.table(kind).filter(|entry| archive.contains(entry)) {
            Some(entry) => weights.table(archive, &entry, kind, data)?,
            None => weights.saved(archive, &layout.saved(kind), kind, data)?,
        }
    }
    Ok(weights)
}

impl Weights {
    fn add(&mut self, name: String, found: Found, kind: Kind) {
        self.all.push(Weight { name, found, is_constant: kind == Kind::Constants });
    }

    /// Takes a tensor of a pickle.
    fn add_rebuilt(&mut self, rebuild: Rebuild<'_>, name: &str, rebuilt: Rebuilt, kind: Kind) {
        match rebuilt {
            Rebuilt::Plain(found) => self.add(name.to_owned(), found, kind),
            Rebuilt::Composite(composite) => {
                for (part, found) in composite.parts.clone() {
                    self.add(format!("{name}.{part}"), found, kind);
                }
                self.subclasses.push(Subclass::of_pickle(rebuild, name, composite));
            }
        }
    }

    /// Takes what a table says: most tensors are entries without any header.
    fn table(&mut self, archive: &Archive, entry: &str, kind: Kind, data: &mut Data) -> Result<()> {
        let is_big_endian = archive.is_big_endian()?;
        let table = json::parse(archive, entry)?;
        // Several rows may name one file.
        let mut files: HashMap<String, SavedFile> = HashMap::new();
        let rows = table.get("config").and_then(Value::as_object);
        for (name, row) in rows.into_iter().flatten() {
            let Some(meta) = row.get("tensor_meta").filter(|meta| !meta.is_null()) else { continue };
            let corrupt = || {
                let what =
                    format!("the table of {} makes no sense at `{}`", kind.name(), name.escape_debug());
                BackendError::corrupt_file(what)
            };
            let path = row.get("path_name").and_then(Value::as_str).ok_or_else(corrupt)?;
            let place = format!("{}{path}", kind.folder());
            // A tensor of a subclass is pickled.
            if row.get("use_pickle").and_then(Value::as_bool) == Some(true) {
                let file = match files.entry(place) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let file = SavedFile::read(archive, new.key(), data)?;
                        new.insert(file)
                    }
                };
                let rebuild = file.rebuild();
                let rebuilt = rebuild.tensor(file.pickle.root())?.ok_or_else(corrupt)?;
                self.add_rebuilt(rebuild, name, rebuilt, kind);
                continue;
            }
            let shape = json::fixed_sizes(meta.get("sizes")).ok_or_else(corrupt)?;
            let strides = json::fixed_sizes(meta.get("strides")).ok_or_else(corrupt)?;
            let offset = meta.pointer("/storage_offset/as_int").and_then(Value::as_i64).unwrap_or(0);
            let dtype = json::dtype(meta);
            let tensor = StoredTensor {
                offset,
                strides,
                is_big_endian,
                ..StoredTensor::dense_at(Place::Entry(place), dtype, shape)
            };
            let is_parameter = row.get("is_param").and_then(Value::as_bool) == Some(true);
            self.add(name.clone(), Found { tensor, quantizer: None, is_parameter }, kind);
        }
        Ok(())
    }

    /// Takes what a file of `torch.save` holds: a dictionary of tensors.
    fn saved(&mut self, archive: &Archive, entry: &str, kind: Kind, data: &mut Data) -> Result<()> {
        // PyTorch has written nothing at all for an empty dictionary.
        if archive.record(entry).is_none_or(|record| record.size == 0) {
            return Ok(());
        }
        let file = SavedFile::read(archive, entry, data)?;
        let rebuild = file.rebuild();
        for (name, at) in file.pickle.named_entries(file.pickle.root()) {
            if let Some(rebuilt) = rebuild.tensor(at)? {
                self.add_rebuilt(rebuild, name, rebuilt, kind);
            }
        }
        Ok(())
    }
}

/// A file of `torch.save` that is an entry of the archive.
struct SavedFile {
    pickle: Pickle,
    storages: Storages,
    is_big_endian: bool,
}

impl SavedFile {
    /// Reads the entry, and adds its storages to `data`.
    fn read(archive: &Archive, entry: &str, data: &mut Data) -> Result<Self> {
        let inner = Arc::new(Archive::read(archive.file(entry)?)?);
        let pickle = decode(&inner.content("data.pkl")?)?;
        let is_big_endian = inner.is_big_endian()?;
        let file = Shard { name: entry.to_owned(), is_entry: true, data: Some(Data::of_archive(inner)) };
        let storages = Storages::Shard(data.add_shard(file), Box::new(Storages::Folder("data/".to_owned())));
        Ok(Self { pickle, storages, is_big_endian })
    }

    fn rebuild(&self) -> Rebuild<'_> {
        Rebuild { pickle: &self.pickle, storages: &self.storages, is_big_endian: self.is_big_endian }
    }
}
