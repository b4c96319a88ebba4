//! The bytes of a model file: mapped when it is large, read when it is small; or of a file within it.

use qp_abi::sdk::{BackendError, MappedFile, Result, read_file};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files up to this size are read into memory.
const MAP_FROM_BYTES: u64 = 1 << 20;

/// An open model file.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Owned(Vec<u8>),
    Mapped(Arc<MappedFile>),
    Part { whole: Arc<Source>, range: Range<usize> },
}

impl Source {
    /// Opens the regular file at `path`.
    ///
    /// # Errors
    /// `NotFound`, `Io`, or `UnsupportedFormat` for what is not a regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|error| BackendError::io(path, &error))?;
        if !metadata.is_file() {
            return Err(BackendError::unsupported_format(format!("`{}` is not a file", path.display())));
        }
        let file = File::open(path).map_err(|error| BackendError::io(path, &error))?;
        let content = if metadata.len() > MAP_FROM_BYTES {
            Content::Mapped(Arc::new(MappedFile::new(path, file)?))
        } else {
            // A file that grows while it is read is not followed forever.
            Content::Owned(read_file(path, &file, 2 * MAP_FROM_BYTES)?)
        };
        Ok(Self { path: path.to_owned(), content })
    }

    /// The content of a file that is in memory already.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), content: Content::Owned(bytes) }
    }

    /// A part of an open file, as a file of its own.
    pub fn part(whole: Arc<Self>, range: Range<usize>) -> Self {
        Self { path: whole.path.clone(), content: Content::Part { whole, range } }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that it had when it was opened.
    pub fn length(&self) -> u64 {
        match &self.content {
            Content::Owned(bytes) => bytes.len() as u64,
            Content::Mapped(file) => file.bytes().len() as u64,
            Content::Part { range, .. } => range.len() as u64,
        }
    }

    /// The file, if it is mapped.
    pub fn file(&self) -> Option<&Arc<MappedFile>> {
        match &self.content {
            Content::Owned(_) => None,
            Content::Mapped(file) => Some(file),
            Content::Part { whole, .. } => whole.file(),
        }
    }

    /// All bytes. A mapped file must still have those that it had when it was opened.
    ///
    /// # Errors
    /// Those of [`MappedFile::check`].
    pub fn bytes(&self) -> Result<&[u8]> {
        match &self.content {
            Content::Owned(bytes) => Ok(bytes),
            Content::Mapped(file) => {
                file.check()?;
                Ok(file.bytes())
            }
            Content::Part { whole, range } => whole
                .bytes()?
                .get(range.clone())
                .ok_or_else(|| BackendError::corrupt_file("a file within the file extends past its end")),
        }
    }

    /// Takes the pages of bytes that have been read out of this process's memory, if they are a part of a mapped file and many
    /// enough: whoever reads them again gets them from the system's cache or the disk.
    pub fn release(&self, part: &[u8]) {
        if let Some(file) = self.file() {
            file.release(part);
        }
    }
}

/// A seekable reader over a [`Source`], for the zip decoder.
#[derive(Debug, Clone)]
pub struct SourceReader {
    source: Arc<Source>,
    position: u64,
}

impl SourceReader {
    /// Reads `source` from its start.
    pub fn new(source: Arc<Source>) -> Self {
        Self { source, position: 0 }
    }
}

impl Read for SourceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.source.bytes().map_err(io::Error::other)?;
        let start = usize::try_from(self.position).unwrap_or(usize::MAX).min(bytes.len());
        let rest = bytes.get(start..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for SourceReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let length = self.source.bytes().map_err(io::Error::other)?.len() as u64;
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
