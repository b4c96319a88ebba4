//! Programs written by `torch.export.save`.

use crate::archive::Archive;
use crate::document::Document;
use qp_abi::sdk::{BackendError, Result};
use std::sync::Arc;

/// Whether the archive is one of `torch.export.save`.
pub fn is_export(archive: &Archive) -> bool {
    archive.contains("archive_format")
        || archive.names().any(|name| name.starts_with("models/") && name.ends_with(".json"))
}

/// Reads an exported program.
pub fn read(_archive: &Arc<Archive>) -> Result<Document> {
    Err(BackendError::unsupported_format("`.pt2`"))
}
