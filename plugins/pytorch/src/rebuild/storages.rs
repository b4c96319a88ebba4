//! Where the storages of a pickle are.

use crate::pickle::{Pickle, Ref, Value};
use crate::tensor::{Place, StoredTensor};
use std::collections::HashMap;

/// Bytes of a storage's key.
const MAX_KEY: usize = 255;

/// Where the storages of a pickle are.
#[derive(Debug, Clone)]
pub enum Storages {
    /// Entries of an archive in this folder, the storage's key being the name.
    Folder(String),
    /// Parts of the file, by key.
    Table(HashMap<String, Place>),
    /// None: the pickle names whole tensors by their numbers.
    Tensors(HashMap<i64, StoredTensor>),
    /// Those of a shard, by its number.
    Shard(usize, Box<Storages>),
}

impl Storages {
    /// Where the storage with that key is; `None` when the file has none.
    pub(super) fn place(&self, key: &str) -> Option<Place> {
        match self {
            Self::Folder(folder) => Some(Place::Entry(format!("{folder}{key}"))),
            Self::Table(table) => table.get(key).cloned(),
            Self::Tensors(_) => None,
            Self::Shard(number, storages) => {
                Some(Place::Shard { number: *number, place: Box::new(storages.place(key)?) })
            }
        }
    }
}

/// The key of a storage; `None` for anything else.
pub fn storage_key(pickle: &Pickle, at: Ref) -> Option<String> {
    match pickle.get(at) {
        Value::Text(key) if key.len() <= MAX_KEY => Some(key.to_string()),
        Value::Int(key) => Some(key.to_string()),
        _ => None,
    }
}
