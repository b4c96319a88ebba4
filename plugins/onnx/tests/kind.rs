//! What layers do, what their weights are, and where their output channels lie, according to the operator documents.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

mod support;

use qp_abi::sdk::{Backend, DType, InputRole, LayerInfo, LayerKind};
use qp_plugin_onnx::proto::{NodeProto, TensorProto};
use support::build::{floats, graph, microsoft, model, node, saved, tensor, value, with_ints};
use support::{reader, with_progress};

/// The layers of a graph of these nodes.
fn layers_of(nodes: Vec<NodeProto>, stored: Vec<TensorProto>) -> Vec<LayerInfo> {
    let mut graph = graph(nodes, stored);
    graph.input =
        vec![value("x", DType::FLOAT32, Some(&[2, 4, 5, 5])), value("m", DType::FLOAT32, Some(&[2, 4]))];
    let (_folder, path) = saved(&model(graph));
    let info = with_progress(|progress| reader().inspect(path.to_str().unwrap(), &[], progress)).unwrap();
    info.layers.into_iter().collect()
}

fn zeros(name: &str, dims: &[i64]) -> TensorProto {
    floats(name, dims, &vec![0.0; dims.iter().product::<i64>() as usize])
}

/// The weight's axis of output channels, and whether it is stored as (in, out).
fn weight_of(node: NodeProto, dims: &[i64]) -> (Option<i64>, bool) {
    let layers = layers_of(vec![node], vec![zeros("w", dims)]);
    let weight =
        layers[0].weights.iter().find(|weight| weight.tensor == "w").unwrap_or_else(|| panic!("{layers:?}"));
    assert_eq!(weight.role, InputRole::WEIGHT);
    (weight.channel_axis.into_option(), weight.is_transposed)
}

/// Conv: (M, C/group, kH, kW). ConvTranspose: (C, M/group, kH, kW). Gemm: B is (K, N), with transB (N, K). MatMul: (…, K, N).
/// LSTM: (directions, 4 * hidden, input).
#[test]
fn the_channels_of_a_weight_lie_where_its_operator_reads_them() {
    let of = |op: &str, input: &str| node(op, &[input, "w"], &["y"]);
    let turned = |node| with_ints(node, &[("transB", 1)]);
    assert_eq!(weight_of(of("Conv", "x"), &[3, 4, 1, 1]), (Some(0), false));
    assert_eq!(weight_of(of("ConvTranspose", "x"), &[4, 3, 1, 1]), (Some(1), false));
    assert_eq!(weight_of(of("Gemm", "m"), &[4, 3]), (Some(1), true));
    assert_eq!(weight_of(turned(of("Gemm", "m")), &[3, 4]), (Some(0), false));
    assert_eq!(weight_of(of("MatMul", "m"), &[4, 3]), (Some(1), true));
    assert_eq!(weight_of(of("MatMul", "x"), &[4, 5, 3]), (Some(2), true));
    assert_eq!(weight_of(turned(microsoft(of("FusedMatMul", "m"))), &[3, 4]), (Some(0), false));
    assert_eq!(weight_of(of("PRelu", "x"), &[4, 1, 1]), (Some(0), false));
    // The left operand's rows are the output's.
    let left = node("MatMul", &["w", "m"], &["y"]);
    assert_eq!(weight_of(left, &[3, 2]), (Some(0), false));
    let recurrent = node("LSTM", &["x", "w", "r"], &["y"]);
    let layers = layers_of(vec![recurrent], vec![zeros("w", &[1, 8, 5]), zeros("r", &[1, 8, 2])]);
    let axes: Vec<_> = layers[0].weights.iter().map(|weight| weight.channel_axis.into_option()).collect();
    assert_eq!(axes, [Some(1), Some(1)]);
}

/// A table of rows is read along the axis of Gather; what moves a weight on its way to an operator moves the axis
/// with it.
#[test]
fn the_axis_is_that_of_the_stored_tensor() {
    let lookup = node("Gather", &["w", "i"], &["y"]);
    let index = tensor("i", DType::INT64, &[1], &[0; 8]);
    let layers = layers_of(vec![lookup], vec![zeros("w", &[7, 3]), index]);
    // Both are stored: the look-up is a constant itself.
    assert_eq!(layers[0].kind, LayerKind::CONSTANT);
    let nodes = vec![node("Transpose", &["w"], &["wt"]), node("MatMul", &["m", "wt"], &["y"])];
    let layers = layers_of(nodes, vec![zeros("w", &[3, 4])]);
    let product = layers.iter().find(|layer| layer.op_type == "MatMul").unwrap();
    let weight = &product.weights[0];
    assert_eq!(
        (weight.tensor.as_str(), weight.channel_axis.into_option(), weight.is_transposed),
        ("w", Some(0), false)
    );
}

/// ReLU6 as exporters write it: bounds that are attributes, initializers or Constant nodes; computed ones do not
/// count.
#[test]
fn bounds_of_a_clip_are_numbers_however_they_are_written() {
    let stored = || vec![zeros("low", &[]), floats("high", &[], &[6.0])];
    let clip = |inputs: &[&str]| layers_of(vec![node("Clip", inputs, &["y"])], stored()).pop().unwrap();
    let bounds =
        |layer: &LayerInfo| layer.bounds.as_ref().into_option().map(|bounds| (bounds.low, bounds.high));
    assert_eq!(bounds(&clip(&["x", "low", "high"])), Some((0.0, 6.0)));
    assert_eq!(bounds(&clip(&["x", "", "high"])), Some((f64::NEG_INFINITY, 6.0)));
    let computed = layers_of(
        vec![node("ReduceMax", &["m"], &["top"]), node("Clip", &["x", "low", "top"], &["y"])],
        stored(),
    );
    let clip = computed.iter().find(|layer| layer.op_type == "Clip").unwrap();
    assert_eq!((bounds(clip), clip.kind), (None, LayerKind::ELEMENTWISE));
    let relu = layers_of(vec![node("Relu", &["x"], &["y"])], Vec::new());
    assert_eq!((bounds(&relu[0]), relu[0].kind), (Some((0.0, f64::INFINITY)), LayerKind::CLAMP));
}

/// `DynamicQuantizeMatMul` takes real numbers and multiplies codes: its document says that it rounds A as
/// `DynamicQuantizeLinear` does.
#[test]
fn what_an_operator_rounds_by_itself_is_said() {
    let product = microsoft(node("DynamicQuantizeMatMul", &["m", "w", "s"], &["y"]));
    let codes = tensor("w", DType::INT8, &[4, 3], &[1; 12]);
    let layers = layers_of(vec![product], vec![codes, floats("s", &[], &[0.5])]);
    let rounded = &layers[0].input_codes;
    assert_eq!(rounded.len(), 1);
    assert_eq!(
        (rounded[0].input, rounded[0].codes.dtype, rounded[0].codes.is_dynamic),
        (0, DType::UINT8, true)
    );
    assert!(
        layers_of(vec![node("MatMul", &["m", "w"], &["y"])], vec![zeros("w", &[4, 3])])[0]
            .input_codes
            .is_empty()
    );
}
