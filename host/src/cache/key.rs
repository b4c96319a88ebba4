//! Is a file still the file that was read?

use crate::error::{Error, Result};
use crate::regular_file;
use serde::{Deserialize, Serialize};
use std::fs::Metadata;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

/// What the file system says about a file: equal stamps mean an untouched file.
///
/// The size and the modification time alone miss a file that is overwritten twice within one tick of the clock, or
/// whose time was set back; the inode and the inode's change time (which cannot be set) do not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    identity: Identity,
}

#[cfg(unix)]
type Identity = (u64, u64, i64, i64);
#[cfg(not(unix))]
type Identity = ();

impl Stamp {
    /// The size of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether both are of one file, perhaps at different times; false for a file that was replaced by another.
    pub fn is_of_same_file(&self, other: &Self) -> bool {
        same_file(&self.identity, &other.identity)
    }

    /// The stamp of the file at `path`.
    ///
    /// # Errors
    /// `NotFound` or `Io`.
    pub fn read(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|error| Error::io("read", path, &error))?;
        regular_file::require_regular(path, &metadata)?;
        Ok(Self { bytes: metadata.len(), modified: metadata.modified().ok(), identity: identity(&metadata) })
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_metadata: &Metadata) -> Identity {}

#[cfg(unix)]
fn same_file(one: &Identity, other: &Identity) -> bool {
    (one.0, one.1) == (other.0, other.1)
}

#[cfg(not(unix))]
fn same_file(_one: &Identity, _other: &Identity) -> bool {
    true
}

/// Files with more bytes in total are not hashed: describing them again costs less than hashing them.
pub const HASH_LIMIT_BYTES: u64 = 256 << 20;

/// What a model consists of: its file and those it refers to, with their stamps and a hash of their content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// `None` for a missing file.
    stamps: Vec<Option<Stamp>>,
    hash: Option<blake3::Hash>,
}

impl Key {
    /// Stamps and hashes the files. A missing file counts as such: it may appear later.
    ///
    /// # Errors
    /// `Io` on the first file that cannot be read.
    pub fn read(files: &[impl AsRef<Path>]) -> Result<Self> {
        // Stamps first: a change during the hashing is then noticed at the next check.
        let stamps: Vec<_> = files.iter().map(|file| Stamp::read(file.as_ref()).ok()).collect();
        if stamps.iter().flatten().map(|stamp| stamp.bytes).sum::<u64>() > HASH_LIMIT_BYTES {
            return Ok(Self { stamps, hash: None });
        }
        let mut hasher = blake3::Hasher::new();
        for (file, stamp) in files.iter().zip(&stamps) {
            let file = file.as_ref();
            let Some(stamp) = stamp else { continue };
            // Read, not mapped: a file that shrinks meanwhile must not end the process.
            let reader = regular_file::open(file)?;
            hasher
                .update_reader(reader.take(stamp.bytes))
                .map_err(|error| Error::io("read", file, &error))?;
        }
        Ok(Self { stamps, hash: Some(hasher.finalize()) })
    }

    /// Whether the files are unchanged, judged by their stamps: cheap.
    pub fn is_current(&self, files: &[impl AsRef<Path>]) -> bool {
        files.len() == self.stamps.len()
            && files.iter().zip(&self.stamps).all(|(file, stamp)| Stamp::read(file.as_ref()).ok() == *stamp)
    }

    /// Whether the first file had this stamp.
    pub fn begins_with(&self, stamp: &Stamp) -> bool {
        self.stamps.first().and_then(Option::as_ref) == Some(stamp)
    }

    /// Whether the content is known to be the same, whatever the stamps say.
    pub fn has_content_of(&self, other: &Self) -> bool {
        let is_there = |key: &Self| key.stamps.iter().map(Option::is_some).collect::<Vec<_>>();
        self.hash.is_some() && self.hash == other.hash && is_there(self) == is_there(other)
    }

    /// The content's hash (BLAKE3) in hexadecimal; `None` for large files.
    pub fn hash_text(&self) -> Option<String> {
        self.hash.map(|hash| hash.to_hex().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touched_file_has_another_stamp_and_the_same_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        std::fs::write(&path, "abc").unwrap();
        let before = Key::read(&[&path]).unwrap();
        assert!(before.is_current(&[&path]));
        std::fs::write(&path, "abc").unwrap();
        assert!(!before.is_current(&[&path]));
        assert!(Key::read(&[&path]).unwrap().has_content_of(&before));
    }

    #[test]
    fn a_change_of_equal_length_with_its_time_set_back_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        std::fs::write(&path, "abc").unwrap();
        let before = Key::read(&[&path]).unwrap();
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "abd").unwrap();
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
        assert!(!before.is_current(&[&path]));
        assert!(!Key::read(&[&path]).unwrap().has_content_of(&before));
    }

    #[test]
    fn the_hash_is_blake3() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        std::fs::write(&path, "").unwrap();
        // The hash of nothing, as the BLAKE3 paper's test vectors give it.
        let expected = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Key::read(&[&path]).unwrap().hash_text().as_deref(), Some(expected));
    }
}
