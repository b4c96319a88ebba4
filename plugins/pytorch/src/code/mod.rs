//! The code of a layer: what the file says of it, and what is computed of it.

mod calls;

use crate::container::deep;
use crate::document::Document;
use crate::document::listing::Listing;
use crate::torchscript;
use qp_abi::sdk::{BackendError, Result};
use serde::Deserialize;

/// What the request `code/1` asks for.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    /// The path of the layer; empty for the model itself.
    #[serde(default)]
    pub layer: String,
}

impl Wanted {
    /// Reads the payload of a request.
    ///
    /// # Errors
    /// `InvalidInput` when it has another form.
    pub fn read(payload: &str) -> Result<Self> {
        serde_json::from_str(payload).map_err(|error| {
            BackendError::invalid_input("the payload of `code/1` is not an object with a `layer`")
                .with_cause(error.to_string())
        })
    }
}

/// The code of the layer at `path`, or of the whole model if the path is empty; read from the file each time.
///
/// # Errors
/// `NotFound` for an unknown layer, `UnsupportedOp` for a file without code, and those of reading.
pub fn listing(document: &Document, path: &str) -> Result<Listing> {
    let layer = match path {
        "" => None,
        path => Some(document.info.layers.iter().find(|layer| layer.path == path).ok_or_else(|| {
            BackendError::not_found(format!("no layer `{path}`")).with_help("`layers` lists them.")
        })?),
    };
    if let Some(program) = &document.program {
        return Ok(calls::listing(document, program, layer));
    }
    match (document.info.format.as_str(), document.data.archive()) {
        ("torchscript", Some(archive)) => deep(|| torchscript::listing(archive, layer)),
        (format, _) => {
            Err(BackendError::unsupported_op(format!("a file of the format `{format}` has no code to show"))
                .with_help("See `layer PATH` for what a layer reads and computes."))
        }
    }
}
