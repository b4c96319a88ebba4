//! Where the elements of tensors are.

use super::derived::Derived;
use crate::container::{Archive, Source};
use qp_abi::sdk::{BackendError, MappedFile, Result};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

/// Bytes that go to the sink at once.
pub(super) const PIECE_BYTES: usize = 4 << 20;

/// Where the bytes of storages come from.
#[derive(Debug, Clone)]
pub struct Data {
    source: Arc<Source>,
    archive: Option<Arc<Archive>>,
    shards: Vec<Shard>,
}

/// One of the files that a model's tensors are spread over: beside the model file, or an entry of it.
#[derive(Debug, Clone)]
pub struct Shard {
    /// The file, relative to the model's folder; or the entry.
    pub name: String,
    /// Whether it is an entry.
    pub is_entry: bool,
    /// Its bytes; none when it is not there.
    pub data: Option<Data>,
}

impl Data {
    /// Storages that are entries of an archive.
    pub fn of_archive(archive: Arc<Archive>) -> Self {
        Self { source: Arc::clone(archive.source()), archive: Some(archive), shards: Vec::new() }
    }

    /// The archive, if it is one.
    pub fn archive(&self) -> Option<&Arc<Archive>> {
        self.archive.as_ref()
    }

    /// Storages that are parts of one file.
    pub fn of_file(source: Arc<Source>) -> Self {
        Self { source, archive: None, shards: Vec::new() }
    }

    /// The model file.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// Adds a file; gives back the number that [`Place::Shard`] knows it by.
    pub fn add_shard(&mut self, shard: Shard) -> usize {
        self.shards.push(shard);
        self.shards.len() - 1
    }

    /// The file beside the model that holds a storage; `None` when it is the model file itself.
    pub fn file_of(&self, place: &Place) -> Option<&str> {
        match place {
            Place::Shard { number, .. } => {
                self.shards.get(*number).filter(|shard| !shard.is_entry).map(|shard| shard.name.as_str())
            }
            Place::Derived(derived) => self.file_of(&derived.origin().place),
            Place::Entry(_) | Place::Span { .. } | Place::Nowhere => None,
        }
    }

    fn shard(&self, number: usize) -> Result<&Self> {
        let shard = self.shards.get(number);
        let shard = shard.ok_or_else(|| BackendError::internal("a tensor in a shard without a number"))?;
        shard.data.as_ref().ok_or_else(|| missing(&shard.name))
    }

    /// Bytes of the whole file, and of those beside it.
    pub fn file_bytes(&self) -> u64 {
        let beside = self.shards.iter().filter(|shard| !shard.is_entry);
        let shards = beside.filter_map(|shard| shard.data.as_ref());
        shards.fold(self.source.length(), |bytes, shard| bytes.saturating_add(shard.source.length()))
    }

    /// The bytes of a storage, borrowed where the file holds them as they are.
    ///
    /// # Errors
    /// `CorruptFile` when they are not there.
    pub fn storage(&self, place: &Place) -> Result<Cow<'_, [u8]>> {
        match place {
            Place::Entry(name) => match &self.archive {
                Some(archive) => archive.content(name),
                None => Err(BackendError::internal("an entry without an archive")),
            },
            Place::Span { start, bytes } => {
                let start = usize::try_from(*start).ok();
                let end = start
                    .zip(usize::try_from(*bytes).ok())
                    .and_then(|(start, bytes)| start.checked_add(bytes));
                let span = start.zip(end).map(|(start, end)| start..end);
                let all = self.source.bytes()?;
                let found = span.and_then(|span| all.get(span));
                found
                    .map(Cow::Borrowed)
                    .ok_or_else(|| BackendError::corrupt_file("a storage extends past the end of the file"))
            }
            Place::Shard { number, place } => match (self.shard(*number)?, &**place) {
                (_, Place::Nowhere) => {
                    Err(missing(self.shards.get(*number).map_or("", |shard| shard.name.as_str())))
                }
                (shard, place) => shard.storage(place),
            },
            Place::Derived(_) => Err(BackendError::internal("computed elements have no storage")),
            Place::Nowhere => {
                Err(BackendError::unsupported_op("the file holds the shape of this tensor but no elements"))
            }
        }
    }

    /// The mapped files among those that hold a storage.
    pub fn files_of(&self, place: &Place) -> Vec<Arc<MappedFile>> {
        match place {
            Place::Entry(_) | Place::Span { .. } | Place::Nowhere => {
                self.source.file().into_iter().cloned().collect()
            }
            Place::Shard { number, place } => {
                self.shard(*number).map_or_else(|_| Vec::new(), |shard| shard.files_of(place))
            }
            Place::Derived(_) => self.files(),
        }
    }

    /// All files that are mapped.
    pub fn files(&self) -> Vec<Arc<MappedFile>> {
        let beside = self.shards.iter().filter(|shard| !shard.is_entry);
        let shards = beside.filter_map(|shard| shard.data.as_ref()?.source.file());
        self.source.file().into_iter().chain(shards).cloned().collect()
    }

    /// Takes bytes of a storage that have been read out of this process's memory, where they are mapped.
    pub fn release(&self, place: &Place, bytes: &[u8]) {
        match place {
            Place::Entry(_) | Place::Span { .. } => self.source.release(bytes),
            Place::Shard { number, place } => {
                if let Ok(shard) = self.shard(*number) {
                    shard.release(place, bytes);
                }
            }
            Place::Derived(_) | Place::Nowhere => {}
        }
    }

    /// Bytes of a storage, without reading it.
    pub(super) fn storage_bytes(&self, place: &Place) -> Option<u64> {
        match place {
            Place::Entry(name) => self.archive.as_ref()?.record(name).map(|record| record.size),
            Place::Span { bytes, .. } => Some(*bytes),
            Place::Shard { number, place } => self.shard(*number).ok()?.storage_bytes(place),
            Place::Derived(_) | Place::Nowhere => None,
        }
    }
}

/// Where a storage is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// An entry of the archive.
    Entry(String),
    /// A part of the file.
    Span {
        /// Where it starts.
        start: u64,
        /// How long it is.
        bytes: u64,
    },
    /// In one of the files that the tensors are spread over.
    Shard {
        /// The number of the file, from [`Data::add_shard`].
        number: usize,
        /// Where in it.
        place: Box<Place>,
    },
    /// The elements are computed from those of other tensors while they are read.
    Derived(Arc<Derived>),
    /// No elements are stored, as for tensors of the `meta` device.
    Nowhere,
}

fn missing(file: &str) -> BackendError {
    BackendError::not_found(format!("`{}` does not hold this tensor", file.escape_debug()))
        .with_help("See the findings of `info`.")
}
