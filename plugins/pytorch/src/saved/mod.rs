//! What `torch.save` has written in any of its forms: a zip archive, a pickle, pickles in a row, a tar archive; with a
//! module in it, a state dict, or a dictionary with one of them.

pub mod legacy;
mod root;
mod tar;
mod training;

pub use tar::read as of_tar;

use crate::container::{Archive, Source};
use crate::document::{Collector, Document};
use crate::pickle::{decode, legacy as first};
use crate::rebuild::{Rebuild, Storages};
use crate::tensor::Data;
use qp_abi::sdk::{BackendError, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// Reads a zip archive; of a dangerous one as much as can be read.
///
/// # Errors
/// `CorruptFile` when its pickle or its tensors make no sense.
pub fn of_archive(archive: &Arc<Archive>, is_dangerous: bool) -> Result<Document> {
    let pickle = decode(&archive.content("data.pkl")?)?;
    let storages = Storages::Folder("data/".to_owned());
    let mut collector = Collector::new("pickle", Data::of_archive(Arc::clone(archive)));
    let rebuild = Rebuild { pickle: &pickle, storages: &storages, is_big_endian: archive.is_big_endian()? };
    root::add(rebuild, &mut collector, is_dangerous)?;
    Ok(collector.document)
}

/// Reads a file that begins with a pickle: one of PyTorch before 1.6, or a bare pickle, which PyTorch does not write but
/// people share as models.
///
/// # Errors
/// As [`of_archive`]; `UnsupportedFormat` for what is not a pickle.
pub fn of_pickles(source: Arc<Source>, is_dangerous: bool) -> Result<Document> {
    let bytes = source.bytes()?;
    let pickle = decode(bytes).map_err(|error| {
        if matches!(bytes, [0x80, 0..=5, ..]) {
            return error;
        }
        let cause = error.message.to_string();
        BackendError::unsupported_format("the file is neither a zip archive nor a pickle").with_cause(cause)
    })?;
    if first::is_magic(&pickle) {
        return legacy::read(Arc::clone(&source), is_dangerous);
    }
    let mut collector = Collector::new("pickle", Data::of_file(Arc::clone(&source)));
    let storages = Storages::Table(HashMap::new());
    root::add(
        Rebuild { pickle: &pickle, storages: &storages, is_big_endian: false },
        &mut collector,
        is_dangerous,
    )?;
    Ok(collector.document)
}
