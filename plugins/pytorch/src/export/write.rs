//! Writes the archive of a program as `torch.export.save` does: one top folder, entries stored and aligned.

use crate::container::Archive;
use qp_abi::sdk::{BackendError, ErrorKind, Progress, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// Tensors are aligned so that they can be mapped.
const ALIGNMENT: u16 = 64;
/// From here on an entry needs 64-bit sizes.
const LARGE_BYTES: usize = u32::MAX as usize;

/// Writes all entries to the new file `path`.
///
/// # Errors
/// `Io` for what cannot be written, and those of reading the entries.
pub fn write(archive: &Archive, path: &Path, progress: &Progress<'_>) -> Result<()> {
    let unwritten = |cause: String| {
        BackendError::new(ErrorKind::IO, format!("cannot write `{}`", path.display())).with_cause(cause)
    };
    let file = File::create_new(path).map_err(|error| unwritten(error.to_string()))?;
    let mut zip = ZipWriter::new(BufWriter::new(file));
    let folder = folder(path);
    let total = archive.names().count() as u64;
    for (done, name) in archive.names().enumerate() {
        progress.update("writing the model", done as u64, total)?;
        let content = archive.content(name)?;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .large_file(content.len() >= LARGE_BYTES)
            .with_alignment(ALIGNMENT);
        zip.start_file(format!("{folder}/{name}"), options).map_err(|error| unwritten(error.to_string()))?;
        zip.write_all(&content).map_err(|error| unwritten(error.to_string()))?;
    }
    let mut file = zip.finish().map_err(|error| unwritten(error.to_string()))?;
    file.flush().map_err(|error| unwritten(error.to_string()))
}

/// The name of the top folder: that of the file, as far as it has plain letters.
fn folder(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    let plain: String = stem.chars().map(|letter| if is_plain(letter) { letter } else { '_' }).collect();
    if plain.is_empty() { "model".to_owned() } else { plain }
}
