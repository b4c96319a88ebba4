//! Makes values between layers outputs of a model.
//!
//! ONNX Runtime delivers only outputs. A value becomes one when the graph lists it; its type need not be given. The
//! file's bytes are used unchanged: protobuf merges a message that occurs twice, so a graph with nothing but more
//! outputs is appended to them.

use crate::proto::{GraphProto, ModelProto, ValueInfoProto};
use prost::Message;
use qp_abi::sdk::{BackendError, ModelInfo, Result};
use std::collections::HashSet;

/// The model's bytes with `names` as additional outputs.
pub fn with_outputs(model: &[u8], names: &[String]) -> Vec<u8> {
    let output = |name: &String| ValueInfoProto { name: Some(name.clone()), ..ValueInfoProto::default() };
    let graph = GraphProto { output: names.iter().map(output).collect(), ..GraphProto::default() };
    let addition = ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec();
    let mut bytes = Vec::with_capacity(model.len() + addition.len());
    bytes.extend_from_slice(model);
    bytes.extend(addition);
    bytes
}

/// Every value that a layer of the main graph computes, in the order of the file; values in a graph inside a node
/// cannot leave it. Values known not to be tensors are left out.
pub fn computed(info: &ModelInfo) -> impl Iterator<Item = &str> {
    let others = info.values.iter().chain(&info.outputs).filter(|value| !value.type_name.is_empty());
    let stored = info.tensors.iter().map(|tensor| tensor.name.as_str());
    let excluded: HashSet<&str> = others.map(|value| value.name.as_str()).chain(stored).collect();
    info.layers
        .iter()
        .filter(|layer| layer.scope.is_empty())
        .flat_map(|layer| layer.outputs.iter().map(|name| name.as_str()))
        .filter(move |name| !name.is_empty() && !excluded.contains(name))
}

fn is_tensor(info: &ModelInfo, name: &str) -> bool {
    let mut values = info.values.iter().chain(&info.outputs);
    values.find(|value| value.name == name).is_none_or(|value| value.type_name.is_empty())
}

/// Checks that a value other than an output can be captured: whether it is one of those in [`computed`].
///
/// # Errors
/// `NotFound` for an unknown name; `UnsupportedOp` for a value inside a node, for a stored tensor and for anything
/// but a tensor.
pub fn check(info: &ModelInfo, computed: &HashSet<&str>, name: &str) -> Result<()> {
    if computed.contains(name) {
        return Ok(());
    }
    let is_inner = info.layers.iter().any(|layer| layer.outputs.iter().any(|output| output == name));
    Err(if is_inner && is_tensor(info, name) {
        BackendError::unsupported_op(format!(
            "`{name}` is computed inside a node or a function and cannot be captured"
        ))
    } else if is_inner {
        BackendError::unsupported_op(format!("`{name}` is not a tensor and cannot be captured"))
    } else {
        BackendError::not_found(format!("the model does not compute a value `{name}`"))
            .with_help("Run `layers` to see what it computes.")
    })
}
