//! Small models, built from the messages.

use prost::Message;
use qp_abi::sdk::DType;
use qp_plugin_onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, code, tensor_shape_proto, type_proto,
};

/// A model around a graph, with opset 21 and ONNX Runtime's domain.
pub fn model(graph: GraphProto) -> ModelProto {
    let opset = |domain: &str, version| OperatorSetIdProto {
        domain: Some(domain.to_owned()),
        version: Some(version),
    };
    ModelProto {
        ir_version: Some(10),
        producer_name: Some("test".to_owned()),
        graph: Some(graph),
        opset_import: vec![opset("", 21), opset("com.microsoft", 1)],
        ..ModelProto::default()
    }
}

/// A graph of these nodes and initializers, with a float input `x` of any shape and an output `y`.
pub fn graph(nodes: Vec<NodeProto>, initializers: Vec<TensorProto>) -> GraphProto {
    GraphProto {
        name: Some("graph".to_owned()),
        node: nodes,
        initializer: initializers,
        input: vec![value("x", DType::FLOAT32, None)],
        output: vec![value("y", DType::FLOAT32, None)],
        ..GraphProto::default()
    }
}

pub fn value(name: &str, dtype: DType, shape: Option<&[i64]>) -> ValueInfoProto {
    let shape = shape.map(|sizes| TensorShapeProto {
        dim: sizes
            .iter()
            .map(|&size| tensor_shape_proto::Dimension {
                value: Some(tensor_shape_proto::dimension::Value::DimValue(size)),
                denotation: None,
            })
            .collect(),
    });
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: Some(i32::from(dtype.0)),
                shape,
            })),
            denotation: None,
        }),
        ..ValueInfoProto::default()
    }
}

/// A node without a name.
pub fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NodeProto {
        op_type: Some(op_type.to_owned()),
        input: owned(inputs),
        output: owned(outputs),
        ..NodeProto::default()
    }
}

/// The same node in ONNX Runtime's domain.
pub fn microsoft(node: NodeProto) -> NodeProto {
    NodeProto { domain: Some("com.microsoft".to_owned()), ..node }
}

/// The same node with a name.
pub fn named(name: &str, node: NodeProto) -> NodeProto {
    NodeProto { name: Some(name.to_owned()), ..node }
}

/// The same node with whole-number attributes.
pub fn with_ints(mut node: NodeProto, attributes: &[(&str, i64)]) -> NodeProto {
    node.attribute.extend(attributes.iter().map(|&(name, number)| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(code::INT),
        i: Some(number),
        ..AttributeProto::default()
    }));
    node
}

/// The same node with a subgraph.
pub fn with_graph(mut node: NodeProto, name: &str, graph: GraphProto) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(code::GRAPH),
        g: Some(graph),
        ..AttributeProto::default()
    });
    node
}

pub fn tensor(name: &str, dtype: DType, dims: &[i64], raw: &[u8]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(i32::from(dtype.0)),
        dims: dims.to_vec(),
        raw_data: Some(raw.to_vec().into()),
        ..TensorProto::default()
    }
}

pub fn floats(name: &str, dims: &[i64], numbers: &[f32]) -> TensorProto {
    let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    tensor(name, DType::FLOAT32, dims, &raw)
}

/// A tensor whose elements are in another file.
pub fn external(name: &str, dtype: DType, dims: &[i64], entries: &[(&str, &str)]) -> TensorProto {
    let entry = |&(key, text): &(&str, &str)| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(text.as_bytes().to_vec().into()),
    };
    TensorProto {
        raw_data: None,
        data_location: Some(code::EXTERNAL),
        external_data: entries.iter().map(entry).collect(),
        ..tensor(name, dtype, dims, &[])
    }
}

/// A folder with the model in it, as `model.onnx`.
pub fn saved(model: &ModelProto) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    (folder, path)
}
