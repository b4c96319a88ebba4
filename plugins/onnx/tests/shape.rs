//! Types and shapes inferred from the operators. The expected ones are those of `onnx.shape_inference` with data
//! propagation on the same graphs, unless a comment says otherwise. `scripts/check/shapes.py` compares thousands.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

mod support;

use qp_abi::sdk::{Backend, DType, ModelInfo};
use qp_plugin_onnx::proto::{
    AttributeProto, GraphProto, NodeProto, TensorProto, code, tensor_shape_proto, type_proto,
};
use support::build::{graph, model, node, saved, tensor, value, with_graph, with_ints};
use support::{reader, with_progress};

fn ints(mut node: NodeProto, name: &str, numbers: &[i64]) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(code::INTS),
        ints: numbers.to_vec(),
        ..AttributeProto::default()
    });
    node
}

fn int64(name: &str, dims: &[i64], numbers: &[i64]) -> TensorProto {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    tensor(name, DType::INT64, dims, &bytes)
}

fn zeros(name: &str, dtype: DType, dims: &[i64]) -> TensorProto {
    let elements: i64 = dims.iter().product();
    tensor(name, dtype, dims, &vec![0; elements as usize * dtype.bits() as usize / 8])
}

/// The same with the first dimension of the input `x` named `batch`.
fn with_batch(mut graph: GraphProto, sizes: &[i64]) -> GraphProto {
    let mut input = value("x", DType::FLOAT32, Some(sizes));
    if let Some(type_proto::Value::TensorType(ty)) = input.r#type.as_mut().and_then(|ty| ty.value.as_mut()) {
        let first = &mut ty.shape.as_mut().unwrap().dim[0];
        first.value = Some(tensor_shape_proto::dimension::Value::DimParam("batch".to_owned()));
    }
    graph.input = vec![input];
    graph
}

fn info_of(graph: GraphProto) -> ModelInfo {
    let (_folder, path) = saved(&model(graph));
    with_progress(|progress| reader().inspect(path.to_str().unwrap(), &[], progress)).unwrap()
}

/// `float32 batch×8×5×5`.
fn text(info: &ModelInfo, name: &str) -> String {
    let values = info.values.iter().chain(&info.outputs);
    let value = values.into_iter().find(|value| value.name == name).unwrap_or_else(|| panic!("{name}"));
    let Some(shape) = value.shape.as_ref().into_option() else { return format!("{} ?", value.dtype) };
    let sizes: Vec<String> = shape
        .iter()
        .map(|dimension| match (dimension.size, dimension.symbol.as_str()) {
            (size @ 0.., _) => size.to_string(),
            (_, "") => "?".to_owned(),
            (_, symbol) => symbol.to_owned(),
        })
        .collect();
    format!("{} {}", value.dtype, sizes.join("×"))
}

#[test]
fn a_named_batch_goes_through_the_whole_graph() {
    let convolution = ints(ints(node("Conv", &["x", "w"], &["c"]), "pads", &[1; 4]), "strides", &[2, 2]);
    let pool = ints(ints(node("MaxPool", &["c"], &["p"]), "kernel_shape", &[3, 3]), "strides", &[2, 2]);
    let nodes = vec![
        convolution,
        with_ints(pool, &[("ceil_mode", 1)]),
        node("Shape", &["p"], &["s"]),
        node("Gather", &["s", "zero"], &["b"]),
        node("Unsqueeze", &["b", "first"], &["b1"]),
        with_ints(node("Concat", &["b1", "rest"], &["target"]), &[("axis", 0)]),
        node("Reshape", &["p", "target"], &["f"]),
        node("MatMul", &["f", "m"], &["z"]),
        with_ints(node("ReduceMean", &["z", "second"], &["r"]), &[("keepdims", 0)]),
        node("Slice", &["z", "second", "end", "second"], &["sl"]),
        ints(node("Transpose", &["sl"], &["t"]), "perm", &[1, 0]),
        node("QuantizeLinear", &["z", "scale", "zero_point"], &["q"]),
        with_ints(node("ArgMax", &["z"], &["am"]), &[("axis", 1), ("keepdims", 0)]),
        node("Softmax", &["t"], &["y"]),
    ];
    let stored = vec![
        zeros("w", DType::FLOAT32, &[8, 3, 3, 3]),
        int64("zero", &[], &[0]),
        int64("first", &[1], &[0]),
        int64("rest", &[1], &[-1]),
        zeros("m", DType::FLOAT32, &[200, 5]),
        int64("second", &[1], &[1]),
        int64("end", &[1], &[i64::MAX]),
        zeros("scale", DType::FLOAT32, &[]),
        zeros("zero_point", DType::INT8, &[]),
    ];
    let info = info_of(with_batch(graph(nodes, stored), &[0, 3, 20, 20]));
    for (name, expected) in [
        ("c", "float32 batch×8×10×10"),
        ("p", "float32 batch×8×5×5"),
        ("s", "int64 4"),
        ("b", "int64 "),
        ("target", "int64 2"),
        // The package leaves the second size unknown; 8 · 5 · 5 is what remains of the batch.
        ("f", "float32 batch×200"),
        ("z", "float32 batch×5"),
        ("r", "float32 batch"),
        ("sl", "float32 batch×4"),
        ("t", "float32 4×batch"),
        ("q", "int8 batch×5"),
        ("am", "int64 batch"),
        ("y", "float32 4×batch"),
    ] {
        assert_eq!(text(&info, name), expected, "{name}");
    }
}

#[test]
fn what_does_not_follow_is_not_known() {
    let nodes = vec![
        node("Reshape", &["x", "shape"], &["r"]),
        node("NonZero", &["x"], &["n"]),
        node("NotAnOperator", &["x"], &["u"]),
        node("Add", &["u", "x"], &["a"]),
        node("Resize", &["x", "", "scales"], &["y"]),
    ];
    let mut graph = graph(nodes, Vec::new());
    graph.input = vec![
        value("x", DType::FLOAT32, Some(&[2, 3])),
        value("shape", DType::INT64, Some(&[3])),
        value("scales", DType::FLOAT32, Some(&[2])),
    ];
    let info = info_of(graph);
    assert_eq!(text(&info, "r"), "float32 ?×?×?");
    assert_eq!(text(&info, "n"), "int64 2×?");
    assert!(!info.values.iter().any(|value| value.name == "u"));
    assert!(!info.values.iter().any(|value| value.name == "a" && value.shape.is_some()));
    assert_eq!(text(&info, "y"), "float32 ?×?");
}

#[test]
fn the_branches_of_an_if_agree_or_leave_it_open() {
    let branch = |input: &str| {
        let mut inner = graph(vec![node("Relu", &[input], &[&format!("{input}_relu")])], Vec::new());
        inner.input.clear();
        inner.output = vec![value(&format!("{input}_relu"), DType::FLOAT32, None)];
        inner
    };
    let choice = with_graph(node("If", &["condition"], &["y"]), "then_branch", branch("x"));
    let choice = with_graph(choice, "else_branch", branch("z"));
    let mut graph = graph(vec![choice], Vec::new());
    graph.input = vec![
        value("condition", DType::BOOL, Some(&[])),
        value("x", DType::FLOAT32, Some(&[4, 7])),
        value("z", DType::FLOAT32, Some(&[4, 9])),
    ];
    assert_eq!(text(&info_of(graph), "y"), "float32 4×?");
}

/// Nothing follows from impossible sizes, and nothing is computed from them.
#[test]
fn impossible_sizes_are_no_shapes() {
    let huge = i64::MAX;
    let nodes = vec![
        ints(ints(node("MaxPool", &["x"], &["p"]), "kernel_shape", &[huge, huge]), "strides", &[huge, 1]),
        ints(ints(node("Conv", &["x", "w"], &["c"]), "pads", &[huge; 4]), "dilations", &[huge, 0]),
        ints(node("Conv", &["x", "w"], &["d"]), "pads", &[huge, huge, 0, 0]),
        ints(node("Transpose", &["x"], &["t"]), "perm", &[9, -9, 0, 0]),
        node("Tile", &["x", "numbers"], &["ti"]),
        node("Pad", &["x", "numbers"], &["pa"]),
        node("Expand", &["x", "negative"], &["e"]),
        node("Reshape", &["x", "negative"], &["r"]),
        node("Range", &["from", "to", "step"], &["ra"]),
        with_ints(node("Concat", &["x", "x"], &["co"]), &[("axis", huge)]),
        with_ints(node("Flatten", &["x"], &["y"]), &[("axis", i64::MIN)]),
    ];
    let stored = vec![
        zeros("w", DType::FLOAT32, &[1, 1, 1, 1]),
        int64("numbers", &[4], &[huge; 4]),
        int64("negative", &[4], &[-7, i64::MIN, -1, -1]),
        int64("from", &[], &[i64::MIN]),
        int64("to", &[], &[huge]),
        int64("step", &[], &[-1]),
    ];
    let mut graph = graph(nodes, stored);
    graph.input = vec![value("x", DType::FLOAT32, Some(&[huge, huge, huge, huge]))];
    let info = info_of(graph);
    assert!(info.layers.len() == 11);
    assert_eq!(text(&info, "ti"), "float32 ?×?×?×?");
}
