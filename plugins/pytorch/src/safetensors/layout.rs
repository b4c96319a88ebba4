//! What the safetensors library asks of a file beside each tensor being sound: the tensors lie one after the other,
//! from the end of the header to the end of the file, and the metadata is text. What overlaps cannot be trusted; the
//! rest is said. Source: `Metadata::validate` and `SafeTensors::read_metadata` of huggingface/safetensors.

use qp_abi::sdk::{Finding, RVec, Severity};
use serde_json::Value;

/// The names that a message has.
const MAX_NAMES: usize = 3;

/// Where tensors are, from the end of the header.
#[derive(Debug, Default)]
pub struct Layout<'a>(Vec<([u64; 2], &'a str)>);

impl<'a> Layout<'a> {
    /// Adds what a header says of a tensor, if it says where that is.
    pub fn add(&mut self, name: &'a str, entry: &Value) {
        if let Some([begin, end]) = offsets(entry).filter(|[begin, end]| begin <= end) {
            self.0.push(([begin, end], name));
        }
    }

    /// What the library refuses, in a file with so many bytes after the header.
    ///
    /// # Errors
    /// Two tensors that overlap.
    pub fn faults(mut self, bytes: u64) -> Result<Vec<String>, String> {
        self.0.sort_unstable();
        let mut faults = Vec::new();
        let (mut reached, mut last, mut holes) = (0, "", 0_u64);
        for ([begin, end], name) in self.0 {
            if begin == end {
                if begin < reached {
                    faults.push(format!("tensor `{}` begins within another", name.escape_debug()));
                }
            } else if begin < reached {
                return Err(format!(
                    "tensors `{}` and `{}` overlap",
                    last.escape_debug(),
                    name.escape_debug()
                ));
            }
            holes = holes.saturating_add(begin.saturating_sub(reached));
            if end >= reached {
                (reached, last) = (end, name);
            }
        }
        faults.truncate(MAX_NAMES);
        faults.extend(unowned(holes, "before or between tensors"));
        faults.extend(unowned(bytes.saturating_sub(reached), "after the last tensor"));
        Ok(faults)
    }
}

/// The two ends of a tensor.
pub fn offsets(entry: &Value) -> Option<[u64; 2]> {
    let ends: Option<Vec<u64>> = entry.get("data_offsets")?.as_array()?.iter().map(Value::as_u64).collect();
    ends?.try_into().ok()
}

/// What the library refuses in the metadata.
pub fn metadata_fault(metadata: &Value) -> Option<String> {
    let entries = match metadata {
        Value::Null => return None,
        Value::Object(entries) => entries,
        _ => return Some("its metadata is not an object".to_owned()),
    };
    let other = entries.iter().filter(|(_, value)| !value.is_string());
    let names: Vec<String> =
        other.take(MAX_NAMES).map(|(name, _)| format!("`{}`", name.escape_debug())).collect();
    (!names.is_empty()).then(|| format!("what its metadata has as {} is not text", names.join(", ")))
}

/// The warning of a file that is read all the same; `file` is how it is called.
pub fn finding(file: &str, faults: &[String]) -> Option<Finding> {
    (!faults.is_empty()).then(|| Finding {
        severity: Severity::WARNING,
        code: "safetensors.refused".into(),
        message: format!("the safetensors library refuses {file}: {}", faults.join("; ")).into(),
        subjects: RVec::new(),
    })
}

fn unowned(bytes: u64, place: &str) -> Option<String> {
    match bytes {
        0 => None,
        1 => Some(format!("1 byte {place} belongs to none")),
        bytes => Some(format!("{bytes} bytes {place} belong to none")),
    }
}
