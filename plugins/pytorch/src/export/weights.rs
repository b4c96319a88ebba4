//! The stored tensors of an exported program: raw entries and a table of what they are.

use super::{json, parse};
use crate::archive::Archive;
use crate::rebuild::Found;
use crate::tensor::{Place, StoredTensor};
use qp_abi::sdk::{BackendError, Result};
use serde_json::Value;

/// A stored tensor, under the name that the program's signature uses.
#[derive(Debug)]
pub struct Weight {
    /// The name: `layer1.conv1.weight`.
    pub name: String,
    /// The tensor.
    pub found: Found,
    /// Whether it is a constant, which no module owns.
    pub is_constant: bool,
}

/// The weights and constants of the model whose graph is `model`.
///
/// # Errors
/// `CorruptFile` when the table makes no sense.
pub fn read(archive: &Archive, model: &str) -> Result<Vec<Weight>> {
    let stem = model.trim_start_matches("models/").trim_end_matches(".json");
    let is_big_endian = archive.is_big_endian()?;
    let mut weights = Vec::new();
    for (folder, kind) in [("data/weights/", "weights"), ("data/constants/", "constants")] {
        let entry = format!("{folder}{stem}_{kind}_config.json");
        if !archive.contains(&entry) {
            continue;
        }
        let table = parse(archive, &entry)?;
        let rows = table.get("config").and_then(Value::as_object);
        for (name, row) in rows.into_iter().flatten() {
            let Some(meta) = row.get("tensor_meta").filter(|meta| !meta.is_null()) else { continue };
            let corrupt =
                || BackendError::corrupt_file(format!("the table of {kind} makes no sense at `{name}`"));
            let shape = json::fixed_sizes(meta.get("sizes")).ok_or_else(corrupt)?;
            let strides = json::fixed_sizes(meta.get("strides")).ok_or_else(corrupt)?;
            let offset = meta.pointer("/storage_offset/as_int").and_then(Value::as_i64).unwrap_or(0);
            let path = row.get("path_name").and_then(Value::as_str).ok_or_else(corrupt)?;
            // A tensor of a subclass is pickled; its elements are not raw.
            let is_pickled = row.get("use_pickle").and_then(Value::as_bool) == Some(true);
            let place = if is_pickled { Place::Nowhere } else { Place::Entry(format!("{folder}{path}")) };
            let tensor =
                StoredTensor { place, dtype: json::dtype(meta), offset, shape, strides, is_big_endian };
            let is_parameter = row.get("is_param").and_then(Value::as_bool) == Some(true);
            let found = Found { tensor, quantizer: None, is_parameter };
            weights.push(Weight { name: name.clone(), found, is_constant: kind == "constants" });
        }
    }
    Ok(weights)
}
