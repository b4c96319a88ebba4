//! The archive of an edited program: its graph, the tables of its tensors, and the entries of those that are new.
//!
//! It has the layout of PyTorch 2.9 and newer; what an older one keeps in files of `torch.save` becomes entries of their
//! own. Other programs in a package are left out.

use super::super::layout::{Kind, Layout};
use super::super::{json, weights};
use super::Editable;
use super::editor::{Changed, meta};
use super::store::Fresh;
use crate::container::Archive;
use qp_abi::sdk::{BackendError, Result};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The schema that PyTorch 2.8 and newer read.
const SCHEMA: i64 = 8;

/// The example of the inputs before PyTorch 2.8.
const OLD_EXAMPLE: &str = "serialized_example_inputs.pt";

/// Entries about the archive as a whole, with what they are if the file does not have them.
pub const WHOLE: [(&str, &str); 4] =
    [("archive_format", "pt2"), ("archive_version", "0"), ("byteorder", "little"), (".data/version", "6\n")];

/// The archive with the program and the tensors as they are now.
///
/// # Errors
/// `UnsupportedOp` for programs that PyTorch would not read in the new layout; those of reading the file.
pub fn archive(archive: &Arc<Archive>, editable: &Editable, changed: Changed) -> Result<Archive> {
    let Editable { layout, program, weights, data } = editable;
    if archive.is_big_endian()? {
        return Err(BackendError::unsupported_op("programs with big-endian tensors are not changed"));
    }
    let major = program.pointer("/schema_version/major").and_then(Value::as_i64);
    let name = match layout {
        Layout::Package(name) => name.as_str(),
        Layout::Single => "model",
    };
    let target = Layout::Package(name.to_owned());
    let mut added: BTreeMap<String, Arc<[u8]>> = BTreeMap::new();
    let mut kept: BTreeSet<String> = BTreeSet::new();
    for (entry, content) in WHOLE {
        if archive.contains(entry) {
            kept.insert(entry.to_owned());
        } else {
            added.insert(entry.to_owned(), content.as_bytes().into());
        }
    }
    // PyTorch reads an example of the inputs, which may be empty.
    let example = format!("data/sample_inputs/{name}.pt");
    if archive.contains(&example) {
        kept.insert(example);
    } else {
        let older = archive.contains(OLD_EXAMPLE).then(|| archive.content(OLD_EXAMPLE)).transpose()?;
        added.insert(example, older.unwrap_or_default().into());
    }
    kept.extend(archive.names().filter(|entry| entry.starts_with("extra/")).map(str::to_owned));
    let mut fresh = changed.fresh;
    for kind in Kind::ALL {
        let table = layout.table(kind).filter(|entry| archive.contains(entry));
        let mut rows = match &table {
            Some(entry) => rows_of(json::parse(archive, entry)?),
            None if major == Some(SCHEMA) || of_kind(weights, kind).next().is_none() => Map::new(),
            None => {
                return Err(BackendError::unsupported_op(
                    "the program is in the form of a PyTorch before 2.8",
                )
                .with_help("Export it again with PyTorch 2.8 or newer."));
            }
        };
        if table.is_none() {
            for weight in of_kind(weights, kind).filter(|weight| !changed.removed.contains(&weight.name)) {
                let found = &weight.found;
                fresh.entry(weight.name.clone()).or_insert(Fresh {
                    dtype: found.tensor.dtype,
                    shape: found.tensor.shape.clone(),
                    bytes: found.tensor.dense(data)?.into(),
                    is_parameter: found.is_parameter,
                });
            }
        }
        rows.retain(|name, _| !changed.removed.contains(name));
        let is_here = |name: &String| match kind {
            Kind::Weights => of_kind(weights, Kind::Constants).all(|weight| weight.name != *name),
            Kind::Constants => of_kind(weights, Kind::Constants).any(|weight| weight.name == *name),
        };
        let mut number = 0_usize;
        let stem = if kind == Kind::Weights { "weight" } else { "tensor" };
        for (name, tensor) in fresh.iter().filter(|(name, _)| is_here(name)) {
            let path = loop {
                let path = format!("{stem}_{number}");
                number += 1;
                if !archive.contains(&format!("{}{path}", kind.folder())) {
                    break path;
                }
            };
            rows.insert(name.clone(), row(&path, tensor)?);
            added.insert(format!("{}{path}", kind.folder()), Arc::clone(&tensor.bytes));
        }
        for path in rows.values().filter_map(|row| row.get("path_name")?.as_str()) {
            let entry = format!("{}{path}", kind.folder());
            if !added.contains_key(&entry) {
                kept.insert(entry);
            }
        }
        let text = json!({ "config": rows }).to_string();
        added.extend(target.table(kind).map(|entry| (entry, Arc::from(text.into_bytes()))));
    }
    let text = program.to_string();
    added.insert(target.graph(), Arc::from(text.into_bytes()));
    Ok(archive.with_entries(&kept, added))
}

fn of_kind(weights: &weights::Weights, kind: Kind) -> impl Iterator<Item = &weights::Weight> {
    weights.all.iter().filter(move |weight| weight.is_constant == (kind == Kind::Constants))
}

fn rows_of(mut table: Value) -> Map<String, Value> {
    table.get_mut("config").and_then(Value::as_object_mut).map(std::mem::take).unwrap_or_default()
}

/// The row of a tensor that is an entry of its own.
pub fn row(path: &str, tensor: &Fresh) -> Result<Value> {
    Ok(json!({
        "path_name": path,
        "is_param": tensor.is_parameter,
        "use_pickle": false,
        "tensor_meta": meta(tensor.dtype, &tensor.shape)?,
    }))
}
