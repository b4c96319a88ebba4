//! The bytes of one file, read into memory or mapped.

use crate::held::{self, Held};
use crate::proto::TensorProto;
use bytes::Bytes;
use qp_abi::sdk::{BackendError, MappedFile, Result, offset_in, read_file};
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Files of at least this size are mapped; smaller ones are read, so that later changes to the file cannot affect
/// what was read.
const MAPPED_FROM_BYTES: u64 = 1 << 20;

/// A file as it was when opened.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    bytes: Bytes,
    stamp: Stamp,
    mapped: Option<Arc<MappedFile>>,
    /// Whether the bytes are those of the file after changes.
    is_edited: bool,
    held: Held,
}

/// An owner of [`Bytes`].
struct Shared(Arc<MappedFile>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { bytes: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl Source {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// `NotFound`, `Io`, or `InvalidInput` for a folder.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |error: &std::io::Error| BackendError::io(path, error);
        // Checked before opening: opening a pipe would wait for its writer.
        let metadata = std::fs::metadata(path).map_err(|error| io(&error))?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a folder" } else { "not a regular file" };
            return Err(BackendError::invalid_input(format!("`{}` is {what}", path.display())));
        }
        let file = File::open(path).map_err(|error| io(&error))?;
        let stamp = Stamp::of(&file.metadata().map_err(|error| io(&error))?);
        let (bytes, mapped) = if stamp.bytes < MAPPED_FROM_BYTES {
            // A file that grows in the meantime is still read within bounds.
            (read_file(path, &file, MAPPED_FROM_BYTES)?.into(), None)
        } else {
            let file = Arc::new(MappedFile::new(path, file)?);
            (Bytes::from_owner(Shared(Arc::clone(&file))), Some(file))
        };
        Ok(Self { path: path.to_owned(), bytes, stamp, mapped, is_edited: false, held: Held::new() })
    }

    /// Lets the large stored tensors of a graph refer to this mapped file instead of holding their elements, as far
    /// as these are bytes of the file: encoding the graph then copies no weights, and the runtime maps them. Returns
    /// whether any tensor does.
    ///
    /// For a link, the runtime would resolve the file elsewhere.
    pub fn refer(&self, tensors: &mut [TensorProto]) -> bool {
        let is_link = || std::fs::symlink_metadata(&self.path).map_or(true, |metadata| metadata.is_symlink());
        let Some(name) = self.path.file_name().and_then(|name| name.to_str()) else { return false };
        // The runtime receives the folder as a text.
        let is_text = self.path.parent().is_none_or(|folder| folder.to_str().is_some());
        if self.mapped.is_none() || !is_text || is_link() {
            return false;
        }
        let mut has_any = false;
        for tensor in tensors {
            let Some(raw) = tensor.raw_data.as_ref().filter(|raw| raw.len() >= held::OUTSIDE_FROM_BYTES)
            else {
                continue;
            };
            let Some(offset) = offset_in(&self.bytes, raw) else { continue };
            let length = raw.len();
            held::move_to(tensor, name, offset, length);
            has_any = true;
        }
        has_any
    }

    /// Releases the pages of bytes that have been read from this process's memory, if they are part of a mapped file
    /// and large enough: a later read gets them from the system's cache or the disk.
    pub fn release(&self, part: &[u8]) {
        if let Some(file) = &self.mapped {
            file.release(part);
        }
    }

    /// The file, if it is mapped.
    pub fn file(&self) -> Option<&Arc<MappedFile>> {
        self.mapped.as_ref()
    }

    /// The same file with other bytes, and the elements that are outside of them.
    pub fn edited(&self, bytes: Bytes, held: Held) -> Self {
        let stamp = Stamp { bytes: self.stamp.bytes, modified: self.stamp.modified };
        Self { path: self.path.clone(), bytes, stamp, mapped: None, is_edited: true, held }
    }

    /// The elements outside of the bytes.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Whether the bytes differ from those of the file.
    pub fn is_edited(&self) -> bool {
        self.is_edited
    }

    /// The path it was opened at.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All bytes. Those of a mapped file are read from disk when first touched.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The file's name for messages.
    pub fn name(&self) -> String {
        display_name(&self.path)
    }

    /// Whether the bytes stay the same, whatever happens to the file.
    pub fn is_in_memory(&self) -> bool {
        self.mapped.is_none()
    }

    /// Whether the file at the path is still the one that was opened, judging by size and modification time.
    pub fn is_unchanged(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp)
    }

    /// Checks that a mapped file still has all its bytes, and that those which were read were there.
    ///
    /// # Errors
    /// Those of [`MappedFile::check`].
    pub fn check(&self) -> Result<()> {
        self.mapped.as_ref().map_or(Ok(()), |file| file.check())
    }
}

/// The last part of a path, for messages.
pub fn display_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
