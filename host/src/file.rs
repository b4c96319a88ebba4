//! Files that the user asks for.

use crate::error::{Error, Result};
use crate::temporary;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes a whole file or nothing. An existing file is replaced only if `may_replace`.
///
/// # Errors
/// `InvalidInput` for an existing file; `Io`, `NotFound` when it cannot be written.
pub fn write(path: &Path, bytes: &[u8], may_replace: bool) -> Result<()> {
    keep(path, may_replace, |file| file.write_all(bytes))
}

/// The same with what `fill` writes.
///
/// # Errors
/// As [`write()`], and those of `fill`.
pub fn keep(
    path: &Path,
    may_replace: bool,
    fill: impl FnOnce(&mut std::fs::File) -> std::io::Result<()>,
) -> Result<()> {
    if path.is_dir() {
        return Err(Error::invalid_input(format!("`{}` is a folder", path.display()))
            .with_hint("Give the path of a file in it."));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error: std::io::Error| {
        let explained = Error::io("write", path, &error);
        if folder.is_dir() { explained } else { explained.with_hint("Create the folder first.") }
    };
    let mut temporary = temporary::file_in(folder).map_err(failed)?;
    fill(temporary.as_file_mut()).map_err(failed)?;
    open_to_others(&temporary).map_err(failed)?;
    let kept = if may_replace { temporary.persist(path) } else { temporary.persist_noclobber(path) };
    match kept {
        Ok(_) => Ok(()),
        Err(refused) if !may_replace && refused.error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(exists(path))
        }
        Err(refused) => Err(failed(refused.error)),
    }
}

/// A file that something else writes, under its own name in a folder that it is given, perhaps with others beside it: all of
/// them or none get to the folder of `path`. Returns their paths, that of `path` last.
///
/// # Errors
/// As [`write()`], and those of `fill`.
pub fn keep_all(
    path: &Path,
    may_replace: bool,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<Vec<PathBuf>> {
    if path.is_dir() {
        return Err(Error::invalid_input(format!("`{}` is a folder", path.display()))
            .with_hint("Give the path of a file in it."));
    }
    let name = path.file_name().ok_or_else(|| {
        Error::invalid_input(format!("`{}` does not end with the name of a file", path.display()))
    })?;
    if !may_replace && path.exists() {
        return Err(exists(path));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error: std::io::Error| {
        let explained = Error::io("write", path, &error);
        if folder.is_dir() { explained } else { explained.with_hint("Create the folder first.") }
    };
    let scratch = temporary::Scratch::new_in(folder).map_err(failed)?;
    fill(&scratch.path().join(name))?;
    let mut written: Vec<PathBuf> = std::fs::read_dir(scratch.path())
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(failed)?;
    // The one that refers to the others comes last.
    written.sort_by_key(|file| file.file_name() == Some(name));
    let places: Vec<PathBuf> =
        written.iter().map(|file| folder.join(file.file_name().unwrap_or(name))).collect();
    if let Some(place) = places.iter().find(|place| !may_replace && place.exists()) {
        return Err(exists(place));
    }
    for (file, place) in written.iter().zip(&places) {
        std::fs::File::open(file).and_then(|file| file.sync_all()).map_err(failed)?;
        // A link is refused if the name was taken in the meantime; some file systems have none.
        let moved = match if may_replace {
            Err(std::io::ErrorKind::Unsupported.into())
        } else {
            std::fs::hard_link(file, place)
        } {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(exists(place)),
            Err(_) => std::fs::rename(file, place),
            Ok(()) => Ok(()),
        };
        moved.map_err(failed)?;
    }
    Ok(places)
}

/// Makes a file that grows beyond the user's limit (`ulimit -f`) an error for its writer, like a full disk: otherwise
/// the signal ends the process.
///
/// # Errors
/// `Internal` when the system refuses a signal handler.
pub fn survive_size_limits() -> Result<()> {
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, std::sync::Arc::default()).map_err(
        |error| {
            Error::internal("cannot handle the signal of the file size limit").with_cause(error.to_string())
        },
    )?;
    Ok(())
}

/// Before work is done whose result would not be written.
///
/// # Errors
/// `InvalidInput` for an existing file that may not be replaced.
pub fn require_free(path: &Path, may_replace: bool) -> Result<()> {
    if may_replace || !path.exists() { Ok(()) } else { Err(exists(path)) }
}

/// The refusal to replace a file.
pub fn exists(path: &Path) -> Error {
    Error::invalid_input(format!("`{}` already exists", path.display()))
        .with_hint("Choose another name, or replace it with `--force`.")
}

/// Temporary files are readable by their owner alone; a file the user asks for gets the permissions of any new file.
fn open_to_others(file: &tempfile::NamedTempFile) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    let _ = file;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_file_that_exists_is_replaced_only_if_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph.dot");
        write(&path, b"one", false).unwrap();
        let error = write(&path, b"two", false).unwrap_err();
        assert_eq!((error.kind(), std::fs::read(&path).unwrap()), (ErrorKind::InvalidInput, b"one".to_vec()));
        write(&path, b"two", true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&folder.path().join("no/graph.dot"), b"", false).unwrap_err();
        assert_eq!(error.hints(), ["Create the folder first."]);
        assert_eq!(write(folder.path(), b"", true).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
