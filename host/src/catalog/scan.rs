//! Walks a folder and inspects what it finds, on all cores.

use super::Opened;
use crate::backend::{Backends, Progress};
use crate::cache::Stamp;
use crate::catalog::Digest;
use crate::error::{Error, Result};
use crate::parallel;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Folders are searched down to this depth.
const MAX_DEPTH: usize = 12;

/// At most this many models are kept: each may keep a file open.
const MOST_KEPT: usize = 64;

/// The result of inspecting one file.
pub(super) struct Inspection {
    pub backend: String,
    pub format: String,
    /// Files next to it that hold some of its tensors.
    pub external_files: Vec<PathBuf>,
    pub outcome: Result<Digest>,
    /// The model itself, if it is kept.
    pub opened: Option<Opened>,
}

/// The files below `folder` that may be models, sorted by path. Hidden folders and folders reached through a symbolic
/// link are left out; a folder that cannot be read is skipped, unless it is `folder` itself.
pub(super) fn model_files(
    folder: &Path,
    could_be_model: &dyn Fn(&Path) -> bool,
    progress: &dyn Progress,
) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![(folder.to_owned(), 0)];
    while let Some((current, depth)) = pending.pop() {
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        progress.update("looking for models", files.len() as u64, 0);
        let entries = match std::fs::read_dir(&current) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(Error::io("open", &current, &error)),
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
                if !is_hidden && depth < MAX_DEPTH {
                    pending.push((path, depth + 1));
                }
            } else if could_be_model(&path)
                && std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_file())
            {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Inspects every file, several at a time; the results are in the order of the files. Models are kept while their
/// files have no more than `kept_bytes` together.
pub(super) fn inspect_all(
    files: &[PathBuf],
    backends: &Backends,
    kept_bytes: u64,
    progress: &dyn Progress,
) -> Result<Vec<Inspection>> {
    let (room, done) = (AtomicU64::new(kept_bytes), AtomicUsize::new(0));
    let found = parallel::map(files.len(), parallel::cores(), |index| {
        if progress.is_cancelled() {
            return None;
        }
        let inspection = inspect(&files[index], backends, (index < MOST_KEPT).then_some(&room), progress);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        progress.update("reading models", done as u64, files.len() as u64);
        Some(inspection)
    });
    found.into_iter().collect::<Option<Vec<_>>>().ok_or_else(Error::cancelled)
}

fn inspect(
    file: &Path,
    backends: &Backends,
    room: Option<&AtomicU64>,
    progress: &dyn Progress,
) -> Inspection {
    let failed = |backend, format, error| Inspection {
        backend,
        format,
        external_files: Vec::new(),
        outcome: Err(error),
        opened: None,
    };
    let recognized = match backends.recognize(file) {
        Ok(recognized) => recognized,
        Err(error) => return failed(String::new(), String::new(), error),
    };
    let stamp = Stamp::read(file);
    let session = match backends.open_with(&recognized.backend, file, progress) {
        Ok(session) => session,
        Err(error) => return failed(recognized.backend, recognized.format, error),
    };
    let info = session.info();
    let (external_files, format, digest) = (info.local_files(file), info.format.clone(), Digest::new(info));
    // Without a trustworthy stamp, it is read again.
    let opened = stamp.ok().filter(|_| info.external_files().next().is_none()).and_then(|stamp| {
        let take = |room: u64| room.checked_sub(stamp.bytes());
        room?.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Opened { session, stamp })
    });
    Inspection { backend: recognized.backend, format, external_files, outcome: Ok(digest), opened }
}
