//! The ONNX messages, generated from `onnx.proto`, and the way from a file's bytes to a model message.

use crate::wire;
use bytes::Bytes;
use prost::Message;
use qp_abi::sdk::{BackendError, DType, Result};

#[expect(missing_docs, clippy::doc_markdown, reason = "generated; `onnx.proto` says what each field is")]
mod schema {
    include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
}

pub use schema::*;

/// `AttributeProto::r#type`, and `TensorProto::data_location`.
pub mod code {
    /// An attribute's value is in `f`.
    pub const FLOAT: i32 = 1;
    /// An attribute's value is in `i`.
    pub const INT: i32 = 2;
    /// An attribute's value is in `s`.
    pub const STRING: i32 = 3;
    /// An attribute's value is in `t`.
    pub const TENSOR: i32 = 4;
    /// An attribute's value is in `g`.
    pub const GRAPH: i32 = 5;
    /// An attribute's value is in `floats`.
    pub const FLOATS: i32 = 6;
    /// An attribute's value is in `ints`.
    pub const INTS: i32 = 7;
    /// An attribute's value is in `strings`.
    pub const STRINGS: i32 = 8;
    /// An attribute's value is in `tensors`.
    pub const TENSORS: i32 = 9;
    /// An attribute's value is in `graphs`.
    pub const GRAPHS: i32 = 10;
    /// An attribute's value is in `sparse_tensor`.
    pub const SPARSE_TENSOR: i32 = 11;
    /// An attribute's value is in `sparse_tensors`.
    pub const SPARSE_TENSORS: i32 = 12;
    /// A tensor's elements are in another file.
    pub const EXTERNAL: i32 = 1;
}

/// The element type of a `data_type` or `elem_type` code.
///
/// ABI codes below 64 are those of ONNX; a code beyond them is undefined.
pub fn dtype(code: Option<i32>) -> DType {
    match code.map(u8::try_from) {
        Some(Ok(code)) if code < 64 => DType(code),
        _ => DType::UNDEFINED,
    }
}

/// The model in `bytes`, the whole content of the file that messages refer to as `name`.
///
/// # Errors
/// `UnsupportedFormat` if the bytes are not an ONNX model, `CorruptFile` if they are a damaged one.
pub fn decode_model(bytes: &Bytes, name: &str) -> Result<ModelProto> {
    if bytes.is_empty() {
        return Err(BackendError::corrupt_file(format!("`{name}` is empty")));
    }
    if is_ort_format(bytes) {
        return Err(BackendError::unsupported_format(format!(
            "`{name}` is in ONNX Runtime's own format (`.ort`), which is not supported"
        ))
        .with_help("Open the `.onnx` file that it was converted from."));
    }
    wire::check_model(bytes).map_err(|fault| explain(fault, bytes, name))?;
    let model = ModelProto::decode(bytes.clone()).map_err(|error| {
        BackendError::corrupt_file(format!("`{name}` is a damaged ONNX model")).with_cause(error.to_string())
    })?;
    if model.graph.is_none() {
        return Err(BackendError::unsupported_format(format!(
            "`{name}` is not an ONNX model: it has no graph"
        )));
    }
    Ok(model)
}

/// Whether a file with these first bytes is a model in ONNX Runtime's FlatBuffer format.
pub fn is_ort_format(head: &[u8]) -> bool {
    head.get(4..8) == Some(b"ORTM")
}

/// Whether a file with these first bytes may be an ONNX model: `ir_version` comes first, then a field of the model.
pub fn looks_like_model(head: &[u8]) -> bool {
    const NEXT_TAGS: [u8; 7] = [0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42];
    matches!(head, [0x08, version, next, ..] if (1..64).contains(version) && NEXT_TAGS.contains(next))
}

fn explain(fault: wire::Fault, bytes: &Bytes, name: &str) -> BackendError {
    match fault {
        wire::Fault::Foreign(reason) => {
            let error = BackendError::unsupported_format(format!("`{name}` is not an ONNX model"));
            if is_tensor(bytes) {
                error.with_cause("it holds a single ONNX tensor")
            } else {
                error.with_cause(reason)
            }
        }
        wire::Fault::Truncated { place, needed, found } => {
            BackendError::corrupt_file(format!("`{name}` is truncated: it ends inside its {place}"))
                .with_cause(format!("{needed} bytes are announced there, {found} are left"))
                .with_help("Copy or download the file again.")
        }
        wire::Fault::Damaged { place, reason } => {
            BackendError::corrupt_file(format!("`{name}` is a damaged ONNX model"))
                .with_cause(format!("{place}: {reason}"))
        }
    }
}

/// Whether the bytes are a single `TensorProto`, as saved by test data sets and other tools.
fn is_tensor(bytes: &Bytes) -> bool {
    const PLENTY: usize = 1 << 28;
    bytes.len() < PLENTY
        && TensorProto::decode(bytes.clone()).is_ok_and(|tensor| {
            dtype(tensor.data_type).known_name().is_some()
                && tensor.data_type != Some(0)
                && tensor.dims.iter().all(|&size| size >= 0)
        })
}
