//! Zip archives as PyTorch writes them: one top folder, entries stored and aligned to 64 bytes.
//!
//! Nothing is unpacked to disk. Entries that other tools have deflated are read too, within limits.

use super::directory;
use super::source::{Source, SourceReader};
use qp_abi::sdk::{BackendError, Result};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

/// A deflated entry above [`FREE_RATIO_BYTES`] that grows by more than this factor is a bomb, not a tensor.
const MAX_RATIO: u64 = 256;
const FREE_RATIO_BYTES: u64 = 16 << 20;
/// All deflated entries of an archive together may grow to this size.
const MAX_INFLATED_BYTES: u64 = 4 << 30;
const MAX_ENTRIES: usize = 1 << 20;

/// The table of contents of an archive, checked against the bytes.
#[derive(Debug, Clone)]
pub struct Archive {
    source: Arc<Source>,
    zip: ZipArchive<SourceReader>,
    records: BTreeMap<String, Record>,
    folder: String,
    ambiguities: Vec<String>,
    /// Entries that are not in the file: what edits have put in place of its own.
    added: BTreeMap<String, Arc<[u8]>>,
}

/// One entry: where its bytes are.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    index: usize,
    start: u64,
    is_stored: bool,
    /// Bytes of the content.
    pub size: u64,
}

impl Record {
    /// Where in the file the content lies as it is; `None` when it is compressed.
    fn range(&self, name: &str) -> Result<Option<Range<usize>>> {
        if !self.is_stored {
            return Ok(None);
        }
        let (start, size) = (usize::try_from(self.start).ok(), usize::try_from(self.size).ok());
        let end = start.zip(size).and_then(|(start, size)| start.checked_add(size));
        start.zip(end).map(|(start, end)| Some(start..end)).ok_or_else(|| too_large(name))
    }
}

impl Archive {
    /// Reads and checks the table of contents.
    ///
    /// # Errors
    /// `CorruptFile` for what makes no sense, `UnsafeFile` for names that leave the archive's folder and for bombs, `UnsupportedFormat` for encryption and unknown compression.
    pub fn read(source: Arc<Source>) -> Result<Self> {
        let length = source.bytes()?.len() as u64;
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let mut zip = ZipArchive::with_config(config, SourceReader::new(Arc::clone(&source)))
            .map_err(|error| corrupt("the zip archive cannot be read").with_cause(error.to_string()))?;
        if zip.len() > MAX_ENTRIES {
            return Err(corrupt(format!("the zip archive claims {} entries", zip.len())));
        }
        let mut ambiguities = directory::ambiguities(source.bytes()?, &zip);
        if zip.has_overlapping_files().map_err(|error| corrupt_entry("?", &error))? {
            ambiguities.push("entries of the zip archive overlap".to_owned());
        }
        let mut entries = Vec::with_capacity(zip.len());
        let mut inflated_bytes = 0_u64;
        for index in 0..zip.len() {
            let entry = zip.by_index_raw(index).map_err(|error| corrupt_entry("?", &error))?;
            let name = entry.name().map_err(|error| corrupt_entry("?", &error))?.into_owned();
            check_name(name.strip_suffix('/').unwrap_or(&name))?;
            let header = entry.header_start();
            let listed = directory::Listed {
                name: entry.name_raw(),
                size: entry.size(),
                packed: entry.compressed_size(),
                method: entry.compression(),
            };
            ambiguities.extend(directory::header_ambiguity(source.bytes()?, header, &listed));
            if entry.is_dir() {
                continue;
            }
            if entry.is_symlink() {
                let message = format!("entry `{name}` is a symbolic link");
                return Err(BackendError::unsafe_file(message).with_help("Do not unpack this file."));
            }
            if entry.encrypted() {
                return Err(BackendError::unsupported_format(format!("entry `{name}` is encrypted")));
            }
            let is_stored = match entry.compression() {
                CompressionMethod::Stored => true,
                CompressionMethod::Deflated => false,
                other => {
                    let message =
                        format!("entry `{name}` is compressed with {other}, which PyTorch never uses");
                    return Err(BackendError::unsupported_format(message));
                }
            };
            let (size, packed) = (entry.size(), entry.compressed_size());
            let start = entry.data_start().ok_or_else(|| corrupt(format!("entry `{name}` has no data")))?;
            if start.checked_add(packed).is_none_or(|end| end > length) || (is_stored && size != packed) {
                return Err(corrupt(format!("entry `{name}` claims more bytes than the file has")));
            }
            if !is_stored {
                inflated_bytes = inflated_bytes.saturating_add(size);
                check_growth(&name, size, packed, inflated_bytes)?;
            }
            entries.push((name, Record { index, start, is_stored, size }));
        }
        let folder = common_folder(entries.iter().map(|(name, _)| name.as_str()));
        ambiguities.extend(directory::name_ambiguities(entries.iter().map(|(name, _)| name.as_str())));
        let mut records: BTreeMap<String, Record> =
            entries.into_iter().map(|(name, record)| (name[folder.len()..].to_owned(), record)).collect();
        // PyTorch finds entries whatever their case.
        for known in ["data.pkl", "version", "byteorder"] {
            let other =
                records.keys().find(|name| name.eq_ignore_ascii_case(known) && *name != known).cloned();
            if let Some(record) =
                other.filter(|_| !records.contains_key(known)).and_then(|name| records.remove(&name))
            {
                records.insert(known.to_owned(), record);
            }
        }
        Ok(Self { source, zip, records, folder, ambiguities, added: BTreeMap::new() })
    }

    /// The archive with other entries: those of `names` that it has, and the given ones, which may be in the place of its own.
    pub fn with_entries(&self, names: &BTreeSet<String>, added: BTreeMap<String, Arc<[u8]>>) -> Self {
        let mut changed = self.clone();
        changed.records.retain(|name, _| names.contains(name));
        changed.added.retain(|name, _| names.contains(name));
        for (name, content) in &added {
            let size = content.len() as u64;
            let record = Record { index: usize::MAX, start: 0, is_stored: false, size };
            changed.records.insert(name.clone(), record);
        }
        changed.added.extend(added);
        changed
    }

    /// The file itself.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The top folder with its slash; empty when the entries have none in common.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Where two readers of the archive see different files, a sentence each.
    pub fn ambiguities(&self) -> &[String] {
        &self.ambiguities
    }

    /// The names of the entries, without the top folder.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.records.keys().map(String::as_str)
    }

    /// Whether there is an entry with that name.
    pub fn contains(&self, name: &str) -> bool {
        self.records.contains_key(name)
    }

    /// The entry with that name.
    pub fn record(&self, name: &str) -> Option<&Record> {
        self.records.get(name)
    }

    /// The content of an entry; borrowed from the file when it is stored.
    ///
    /// # Errors
    /// `CorruptFile` when there is none, or its bytes are not what the table of contents says.
    pub fn content(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        if let Some(added) = self.added.get(name) {
            return Ok(Cow::Borrowed(added));
        }
        let record = self.found(name)?;
        if let Some(range) = record.range(name)? {
            return self.source.bytes()?.get(range).map(Cow::Borrowed).ok_or_else(|| too_large(name));
        }
        let mut zip = self.zip.clone();
        let entry = zip.by_index(record.index).map_err(|error| corrupt_entry(name, &error))?;
        let mut content = Vec::new();
        entry.take(record.size.saturating_add(1)).read_to_end(&mut content).map_err(|error| {
            corrupt(format!("entry `{name}` cannot be read")).with_cause(error.to_string())
        })?;
        if content.len() as u64 != record.size {
            return Err(corrupt(format!("entry `{name}` does not have the {} bytes it claims", record.size)));
        }
        Ok(Cow::Owned(content))
    }

    /// An entry as a file of its own, which keeps this one open.
    ///
    /// # Errors
    /// As [`Self::content`].
    pub fn file(&self, name: &str) -> Result<Arc<Source>> {
        Ok(Arc::new(match self.found(name)?.range(name)? {
            Some(range) => Source::part(Arc::clone(&self.source), range),
            None => Source::from_bytes(self.source.path(), self.content(name)?.into_owned()),
        }))
    }

    fn found(&self, name: &str) -> Result<&Record> {
        self.records.get(name).ok_or_else(|| corrupt(format!("the archive has no entry `{name}`")))
    }

    /// The content of a short entry as text without surrounding white space; `None` when there is none.
    ///
    /// # Errors
    /// As [`Self::content`].
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        const MAX_TEXT: u64 = 4096;
        match self.records.get(name) {
            Some(record) if record.size <= MAX_TEXT => {
                let content = self.content(name)?;
                Ok(Some(String::from_utf8_lossy(&content).trim().to_owned()))
            }
            Some(record) => Err(corrupt(format!("entry `{name}` has {} bytes of text", record.size))),
            None => Ok(None),
        }
    }

    /// Whether the elements of the tensors are big-endian.
    ///
    /// # Errors
    /// `CorruptFile` for a byte order that does not exist.
    pub fn is_big_endian(&self) -> Result<bool> {
        match self.text("byteorder")?.as_deref() {
            None | Some("little") => Ok(false),
            Some("big") => Ok(true),
            Some(other) => Err(corrupt(format!("the archive claims the byte order `{other}`"))),
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    let leaves = name.starts_with('/')
        || name.contains(['\\', '\0'])
        || name.split('/').any(|part| part == ".." || part == "." || part.is_empty())
        || name.as_bytes().get(1) == Some(&b':');
    if leaves {
        let message = format!("entry `{}` has a name that leads out of the archive", name.escape_debug());
        return Err(BackendError::unsafe_file(message).with_help("Do not unpack this file."));
    }
    Ok(())
}

fn check_growth(name: &str, size: u64, packed: u64, inflated_bytes: u64) -> Result<()> {
    let is_bomb = size > FREE_RATIO_BYTES && size / packed.max(1) > MAX_RATIO;
    if is_bomb || inflated_bytes > MAX_INFLATED_BYTES {
        let message = format!("entry `{name}` would grow from {packed} to {size} bytes");
        return Err(BackendError::unsafe_file(message).with_help("Save the model again with `torch.save`."));
    }
    Ok(())
}

/// The folder, with its slash, in which all names lie.
fn common_folder<'a>(mut names: impl Iterator<Item = &'a str>) -> String {
    let Some(folder) = names.next().and_then(|name| name.split_inclusive('/').next()) else {
        return String::new();
    };
    let is_common = folder.ends_with('/') && names.all(|name| name.starts_with(folder));
    if is_common { folder.to_owned() } else { String::new() }
}

fn corrupt(message: impl Into<String>) -> BackendError {
    BackendError::corrupt_file(message)
}

fn corrupt_entry(name: &str, error: &zip::result::ZipError) -> BackendError {
    corrupt(format!("entry `{name}` of the zip archive is damaged")).with_cause(error.to_string())
}

fn too_large(name: &str) -> BackendError {
    corrupt(format!("entry `{name}` claims more bytes than the file has"))
}
