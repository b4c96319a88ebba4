//! Temporary files and folders. Leftovers of a killed process are removed by the next process that writes in the same
//! folder.
//!
//! Each is locked while its process uses it, and the system releases the lock when the process ends in any way: what can
//! be locked is a leftover. This works with several processes, with reused process ids, and with other machines, as far
//! as a shared folder supports locks; if it does not, nothing is removed.

use crate::error::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

const PREFIX: &str = ".qp-";
const SUFFIX: &str = ".tmp";
/// The characters between them.
const RANDOM_LETTERS: usize = 10;
/// Between creation and locking, another process may take a new one for a leftover.
const TRIES: usize = 16;

/// A temporary file in `folder`, to be renamed, or else removed when dropped.
///
/// # Errors
/// When no file can be created there.
pub fn file_in(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    sweep(folder);
    for _ in 0..TRIES {
        let file = builder().tempfile_in(folder)?;
        if is_ours(file.as_file(), file.path())? {
            return Ok(file);
        }
    }
    Err(io::Error::other("another process removed every temporary file"))
}

/// A folder for scratch files; removed with its contents when dropped.
pub struct Scratch {
    folder: tempfile::TempDir,
    _lock: File,
}

impl Scratch {
    /// A new one where the system keeps temporary files.
    ///
    /// # Errors
    /// `Io` when none can be created there.
    pub fn new() -> Result<Self> {
        let folder = std::env::temp_dir();
        Self::new_in(&folder).map_err(|error| Error::io("make a folder in", &folder, &error))
    }

    /// A new one in `folder`.
    ///
    /// # Errors
    /// When none can be created there.
    pub fn new_in(folder: &Path) -> io::Result<Self> {
        sweep(folder);
        for _ in 0..TRIES {
            let scratch = builder().tempdir_in(folder)?;
            let lock = open(scratch.path(), true)?;
            if is_ours(&lock, scratch.path())? {
                return Ok(Self { folder: scratch, _lock: lock });
            }
        }
        Err(io::Error::other("another process removed every temporary folder"))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM_LETTERS);
    builder
}

/// Locks a new file or folder; false when another process took it for a leftover.
fn is_ours(file: &File, path: &Path) -> io::Result<bool> {
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => return Ok(false),
        // If nothing can be locked, nothing counts as a leftover.
        Err(std::fs::TryLockError::Error(_)) | Ok(()) => {}
    }
    path.try_exists()
}

/// Removes what dead processes left in the folder. What cannot be removed stays.
fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(is_name) {
            continue;
        }
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        if !(kind.is_dir() || kind.is_file()) {
            continue;
        }
        let Ok(file) = open(&path, kind.is_dir()) else { continue };
        if file.try_lock().is_err() {
            continue;
        }
        // Still locked: if its process has only just begun, it notices the removal and creates another.
        let _ = if kind.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
    }
}

fn is_name(name: &str) -> bool {
    name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX)).is_some_and(|letters| {
        letters.len() == RANDOM_LETTERS && letters.chars().all(|letter| letter.is_ascii_alphanumeric())
    })
}

/// Opens a file to lock it; never follows a link, and never waits for a pipe's other end.
fn open(path: &Path, is_folder: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Folders shared by other machines lock only what may be written.
    options.read(true).write(!is_folder);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_is_removed_and_what_somebody_uses_stays() {
        let folder = tempfile::tempdir().unwrap();
        let used = file_in(folder.path()).unwrap();
        let scratch = Scratch::new_in(folder.path()).unwrap();
        std::fs::write(folder.path().join(".qp-0123456789.tmp"), "left").unwrap();
        std::fs::create_dir_all(folder.path().join(".qp-abcdefghij.tmp/deeper")).unwrap();
        for other in [".qp-short.tmp", ".tmp0123456789", ".qp-012345678%.tmp", "model.onnx"] {
            std::fs::write(folder.path().join(other), "").unwrap();
        }
        let new = file_in(folder.path()).unwrap();
        assert!(used.path().exists() && scratch.path().exists() && new.path().exists());
        let count = || std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(count(), 3 + 4);
        drop((used, scratch, new));
        assert_eq!(count(), 4);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_and_a_pipe_of_such_a_name_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        std::fs::write(&kept, "").unwrap();
        std::os::unix::fs::symlink(&kept, folder.path().join(".qp-0123456789.tmp")).unwrap();
        let pipe = folder.path().join(".qp-abcdefghij.tmp");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        file_in(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_name_that_became_a_file_is_no_leftover() {
        let folder = tempfile::tempdir().unwrap();
        let file = file_in(folder.path()).unwrap();
        file.persist(folder.path().join("graph.dot")).unwrap();
        file_in(folder.path()).unwrap();
        assert!(folder.path().join("graph.dot").exists());
    }
}
