//! TorchScript archives.
use crate::archive::Archive;
use crate::document::Document;
use qp_abi::sdk::{BackendError, Result};
use std::sync::Arc;

/// Reads a TorchScript archive.
pub fn read(_archive: &Arc<Archive>) -> Result<Document> {
    Err(BackendError::unsupported_format("`.pt2`"))
}
