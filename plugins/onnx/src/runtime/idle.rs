//! Between commands, the arena that pieces share gives its free memory back to the system.
//!
//! Not before: from batch to batch the next run needs as much again, and fresh pages take longer than many a layer. ONNX
//! Runtime does it at the end of a run only, so a model of one node is run for it.

use super::Loaded;
use super::basis::environment_builder;
use super::plan::{Optimization, Settings};
use super::session::explain;
use super::tensor::to_input;
use crate::proto::type_proto::{Tensor, Value};
use crate::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TypeProto, ValueInfoProto};
use ort::session::RunOptions;
use prost::Message;
use qp_abi::sdk::{DType, Result, TensorView};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether sessions have taken memory from the arena since it was last given back.
static IS_FILLED: AtomicBool = AtomicBool::new(false);

/// A session that takes memory from the arena is about to run.
pub(super) fn note_use() {
    IS_FILLED.store(true, Ordering::Relaxed);
}

/// Gives free memory back, if any was taken.
///
/// # Errors
/// `RuntimeFailed`.
pub(super) fn give_back(loaded: &Loaded) -> Result<()> {
    if !IS_FILLED.swap(false, Ordering::Relaxed) {
        return Ok(());
    }
    let refused = |error: &ort::Error| explain(error, "ONNX Runtime cannot give memory back");
    let settings =
        Settings { optimization: Optimization::Disable, threads: Some(1), budget: None, replay: None };
    let builder = environment_builder(loaded, settings);
    let mut session = builder
        .and_then(|mut builder| builder.commit_from_memory(&model().encode_to_vec()))
        .map_err(|error| refused(&error))?;
    let mut options = RunOptions::new().map_err(|error| refused(&error))?;
    options.set("memory.enable_memory_arena_shrinkage", "cpu:0").map_err(|error| refused(&error))?;
    let input = to_input(&TensorView::whole("x", DType::FLOAT32, &[1], &[0; 4]))?;
    session.run_with_options(vec![("x", input)], &options).map(drop).map_err(|error| refused(&error))
}

/// `y` is `x`, of one number.
fn model() -> ModelProto {
    let float = Tensor { elem_type: Some(i32::from(DType::FLOAT32.0)), shape: None };
    let value = |name: &str| ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(Value::TensorType(float.clone())), denotation: None }),
        ..ValueInfoProto::default()
    };
    let node = NodeProto {
        op_type: Some("Identity".to_owned()),
        input: vec!["x".to_owned()],
        output: vec!["y".to_owned()],
        ..NodeProto::default()
    };
    let graph = GraphProto {
        name: Some("idle".to_owned()),
        node: vec![node],
        input: vec![value("x")],
        output: vec![value("y")],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(13) }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}
