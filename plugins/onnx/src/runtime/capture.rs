//! Values between layers as outputs of a model.
//!
//! ONNX Runtime delivers outputs only. A value becomes one when the graph lists it; its type need not be said. The
//! file's bytes are used as they are: protobuf merges a message that comes twice, so a graph with nothing but more
//! outputs is put behind them.

use crate::proto::{GraphProto, ModelProto, ValueInfoProto};
use prost::Message;
use qp_abi::sdk::{BackendError, ModelInfo, Result};
use std::collections::HashSet;

/// The model's bytes with `names` as further outputs.
pub fn with_outputs(model: &[u8], names: &[String]) -> Vec<u8> {
    let output = |name: &String| ValueInfoProto { name: Some(name.clone()), ..ValueInfoProto::default() };
    let graph = GraphProto { output: names.iter().map(output).collect(), ..GraphProto::default() };
    let addition = ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec();
    let mut bytes = Vec::with_capacity(model.len() + addition.len());
    bytes.extend_from_slice(model);
    bytes.extend(addition);
    bytes
}

/// Every value that a layer of the main graph computes, in the order of the file: of a graph inside of a node the
/// values cannot leave it. What is known to be no tensor is left out.
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

/// Checks that a value that is no output can be captured: it is one of those that are [`computed`].
///
/// # Errors
/// `NotFound` for a name that nothing has; `UnsupportedOp` for a value inside of a node, for a stored tensor and for
/// what is no tensor.
pub fn check(info: &ModelInfo, computed: &HashSet<&str>, name: &str) -> Result<()> {
    if computed.contains(name) {
        return Ok(());
    }
    let is_inner = info.layers.iter().any(|layer| layer.outputs.iter().any(|output| output == name));
    Err(if is_inner && is_tensor(info, name) {
        BackendError::unsupported_op(format!(
            "`{name}` is computed inside of a node or a function, and cannot be captured"
        ))
    } else if is_inner {
        BackendError::unsupported_op(format!("`{name}` is no tensor, and cannot be captured"))
    } else {
        BackendError::not_found(format!("the model computes no value `{name}`"))
            .with_help("See `layers` for what is computed.")
    })
}
