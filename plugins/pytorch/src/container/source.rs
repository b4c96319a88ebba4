//! The bytes of a model file: mapped when it is large, read when it is small; or of a file within it.

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use qp_abi::sdk::{BackendError, Result, pages_of};
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
    Mapped { map: Mmap, file: File },
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
        let mut file = File::open(path).map_err(|error| BackendError::io(path, &error))?;
        let content = if metadata.len() > MAP_FROM_BYTES {
            let map = map(&file).map_err(|error| BackendError::io(path, &error))?;
            Content::Mapped { map, file }
        } else {
            let mut bytes = Vec::new();
            // A file that grows while it is read is not followed forever.
            let mut limited = file.by_ref().take(2 * MAP_FROM_BYTES);
            limited.read_to_end(&mut bytes).map_err(|error| BackendError::io(path, &error))?;
            Content::Owned(bytes)
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
            Content::Mapped { map, .. } => map.len() as u64,
            Content::Part { range, .. } => range.len() as u64,
        }
    }

    /// All bytes. A mapped file must still have the size it had when it was opened: past the end of a file
    /// that was cut, a mapping has no pages.
    ///
    /// # Errors
    /// `CorruptFile` when the file has changed its size.
    pub fn bytes(&self) -> Result<&[u8]> {
        match &self.content {
            Content::Owned(bytes) => Ok(bytes),
            Content::Mapped { map, file } => {
                let now = file.metadata().map_err(|error| BackendError::io(&self.path, &error))?.len();
                if now != map.len() as u64 {
                    return Err(BackendError::corrupt_file(format!(
                        "`{}` changed from {} to {now} bytes while it was open",
                        self.path.display(),
                        map.len()
                    ))
                    .with_help("Use `reload` to read it again."));
                }
                Ok(map)
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
        let map = match &self.content {
            Content::Mapped { map, .. } => map,
            Content::Part { whole, .. } => return whole.release(part),
            Content::Owned(_) => return,
        };
        let Some(pages) = pages_of(map, part) else { return };
        #[cfg(unix)]
        #[expect(unsafe_code, reason = "there is no safe way to advise that pages are not needed")]
        // SAFETY: the map is of a file, and never written to: its pages hold what the file holds, and come back when they
        // are touched. A failure leaves them where they are.
        let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, pages.start, pages.len()) };
    }
}

#[expect(unsafe_code, reason = "memory mapping")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the mapping is private and read-only, and `Source::bytes` checks before each use that the file
    // still has the mapped size; a writer that changes bytes in place changes plain data, which is checked
    // wherever it is interpreted.
    unsafe { Mmap::map(file) }
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
