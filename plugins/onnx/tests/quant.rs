//! The quantization in small graphs, against the operator documents.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail where it stands"
)]

mod support;

use qp_abi::sdk::{
    DType, LayerInfo, Model, ModelInfo, QuantizationParameters, RNone, RSome, TensorInfo, TensorRole,
    ValueInfo,
};
use qp_plugin_onnx::proto::{NodeProto, TensorProto};
use support::build::{floats, graph, microsoft, model, named, node, saved, tensor, with_ints};
use support::{open, reader};

fn info(nodes: Vec<NodeProto>, initializers: Vec<TensorProto>) -> ModelInfo {
    let (_folder, path) = saved(&model(graph(nodes, initializers)));
    open(&reader(), &path).unwrap().info().unwrap()
}

fn stored<'a>(info: &'a ModelInfo, name: &str) -> &'a TensorInfo {
    info.tensors.iter().find(|tensor| tensor.name == name).unwrap()
}

fn codes<'a>(info: &'a ModelInfo, name: &str) -> &'a QuantizationParameters {
    stored(info, name).quantization.as_ref().into_option().unwrap()
}

fn value<'a>(info: &'a ModelInfo, name: &str) -> &'a ValueInfo {
    let all = info.values.iter().chain(&info.inputs).chain(&info.outputs);
    all.into_iter().find(|value| value.name == name).unwrap()
}

fn layer<'a>(info: &'a ModelInfo, path: &str) -> &'a LayerInfo {
    info.layers.iter().find(|layer| layer.path == path).unwrap()
}

fn scalar(name: &str, number: f32) -> TensorProto {
    floats(name, &[], &[number])
}

fn bytes(name: &str, dtype: DType, dims: &[i64], raw: &[u8]) -> TensorProto {
    tensor(name, dtype, dims, raw)
}

/// `x` rounded to int8, a MatMul with the weight that `weight` computes, and the output rounded.
fn qdq(weight: Vec<NodeProto>, mut initializers: Vec<TensorProto>) -> ModelInfo {
    let mut nodes = vec![
        node("QuantizeLinear", &["x", "x_scale", "x_zero"], &["x_codes"]),
        node("DequantizeLinear", &["x_codes", "x_scale", "x_zero"], &["x_rounded"]),
    ];
    nodes.extend(weight);
    nodes.extend([
        named("product", node("MatMul", &["x_rounded", "w"], &["p"])),
        node("QuantizeLinear", &["p", "p_scale", "p_zero"], &["p_codes"]),
        node("DequantizeLinear", &["p_codes", "p_scale", "p_zero"], &["y"]),
    ]);
    initializers.extend([
        scalar("x_scale", 0.5),
        bytes("x_zero", DType::INT8, &[], &[3]),
        scalar("p_scale", 0.25),
        bytes("p_zero", DType::INT8, &[], &[0xff]),
    ]);
    info(nodes, initializers)
}

#[test]
fn qdq_marks_codes_rounded_values_and_what_is_read_only_rounded() {
    let info = qdq(
        vec![node("DequantizeLinear", &["codes", "w_scale"], &["w"])],
        vec![bytes("codes", DType::INT8, &[2, 2], &[1, 2, 3, 4]), scalar("w_scale", 0.125)],
    );
    assert_eq!((info.precision.as_str(), info.scheme.as_str()), ("int8", "QDQ"));
    for name in ["x_codes", "x_rounded", "x"] {
        let known = value(&info, name).quantization.as_ref().unwrap();
        assert_eq!(
            (known.dtype, known.scales.as_slice(), known.zero_points.as_slice()),
            (DType::INT8, &[0.5][..], &[3.0][..])
        );
    }
    assert_eq!(value(&info, "p").quantization.as_ref().unwrap().zero_points.as_slice(), [-1.0]);
    assert_eq!(value(&info, "x_codes").dtype, DType::INT8);
    let weight = codes(&info, "codes");
    assert_eq!((weight.scales.as_slice(), weight.zero_points.len()), (&[0.125][..], 0));
    assert_eq!((weight.scale_name.as_str(), weight.zero_point_name.as_str()), ("w_scale", ""));
    let product = layer(&info, "product");
    assert_eq!(product.quantization, "qdq");
    assert_eq!(stored(&info, "codes").layer, "product");
    assert!(product.tensors.iter().any(|name| name == "w_scale"));
    assert_eq!(stored(&info, "x_scale").role, TensorRole::QUANTIZATION);
    assert_eq!(stored(&info, "codes").role, TensorRole::PARAMETER);
    assert_eq!(qp_abi::manifest::lookup(&info.extra, "quantized layers"), Some("1 of 1"));
}

#[test]
fn channels_and_blocks_have_their_axis() {
    let dequantize = || node("DequantizeLinear", &["codes", "w_scale", "w_zero"], &["w"]);
    let channels = qdq(
        vec![with_ints(dequantize(), &[("axis", -1)])],
        vec![
            bytes("codes", DType::INT8, &[2, 3], &[1; 6]),
            floats("w_scale", &[3], &[1.0, 2.0, 3.0]),
            bytes("w_zero", DType::INT8, &[3], &[0, 1, 0xfe]),
        ],
    );
    let known = codes(&channels, "codes");
    assert_eq!((known.axis, known.block_size, known.scale_count), (RSome(1), RNone, 3));
    assert_eq!(known.zero_points.as_slice(), [0.0, 1.0, -2.0]);
    let blocks = qdq(
        vec![with_ints(dequantize(), &[("axis", 0), ("block_size", 2)])],
        vec![
            bytes("codes", DType::UINT4, &[4, 2], &[0x21; 4]),
            floats("w_scale", &[2, 2], &[1.0, 2.0, 3.0, 4.0]),
            bytes("w_zero", DType::UINT4, &[2, 2], &[0x87, 0x65]),
        ],
    );
    let known = codes(&blocks, "codes");
    assert_eq!((known.axis, known.block_size, known.dtype), (RSome(0), RSome(2), DType::UINT4));
    assert_eq!(known.zero_points.as_slice(), [7.0, 8.0, 5.0, 6.0]);
    assert_eq!(blocks.precision, "uint4");
}

#[test]
fn a_float_weight_that_passes_through_a_quantizer_counts_as_quantized() {
    let info = qdq(
        vec![
            with_ints(node("QuantizeLinear", &["float", "w_scale"], &["codes"]), &[("output_dtype", 22)]),
            node("DequantizeLinear", &["codes", "w_scale"], &["w"]),
        ],
        vec![floats("float", &[2, 2], &[1.0; 4]), scalar("w_scale", 0.125)],
    );
    assert_eq!(info.precision, "int4");
    // What computes with the weight sees it rounded.
    let rounded = stored(&info, "float").quantization.as_ref().unwrap();
    assert_eq!((rounded.dtype, rounded.scales.as_slice()), (DType::INT4, &[0.125][..]));
    assert_eq!(value(&info, "codes").quantization.as_ref().unwrap().dtype, DType::INT4);
    assert_eq!(value(&info, "codes").dtype, DType::INT4);
}

#[test]
fn float8_codes_have_no_zero_point_but_zero() {
    let info = qdq(
        vec![node("DequantizeLinear", &["codes", "w_scale", "w_zero"], &["w"])],
        vec![
            bytes("codes", DType::FLOAT8_E4M3FN, &[2, 2], &[0x38; 4]),
            scalar("w_scale", 2.0),
            bytes("w_zero", DType::FLOAT8_E4M3FN, &[], &[0]),
        ],
    );
    assert_eq!(
        (info.precision.as_str(), codes(&info, "codes").zero_points.as_slice()),
        ("float8_e4m3fn", &[0.0][..])
    );
}

#[test]
fn weights_alone_behind_a_dequantizer_are_weight_only() {
    let info = info(
        vec![
            node("DequantizeLinear", &["codes", "scale"], &["w"]),
            node("Transpose", &["w"], &["t"]),
            named("product", node("MatMul", &["x", "t"], &["y"])),
        ],
        vec![bytes("codes", DType::INT4, &[2, 2], &[0x21, 0x43]), scalar("scale", 0.5)],
    );
    assert_eq!((info.precision.as_str(), info.scheme.as_str()), ("weight-only-int4", "weight-only"));
    assert_eq!(layer(&info, "product").quantization, "weight-only");
    assert_eq!(stored(&info, "codes").layer, "product");
}

/// The DequantizeLinear document allows int32 without a zero point; as a bias it says nothing about the weights.
#[test]
fn weights_of_int32_are_weights() {
    let info = info(
        vec![node("DequantizeLinear", &["codes", "scale"], &["w"]), node("MatMul", &["x", "w"], &["y"])],
        vec![bytes("codes", DType::INT32, &[2, 2], &[1; 16]), scalar("scale", 0.5)],
    );
    assert_eq!(info.precision, "weight-only-int32");
}

#[test]
fn mat_mul_n_bits_is_described_code_by_code() {
    // Three rows of 40 codes in blocks of 16: three blocks a row; what the last one has
    // beyond them is padding.
    let weight = bytes("w", DType::UINT8, &[3, 3, 8], &[0x98; 72]);
    let scales: Vec<f32> = (1_u8..=9).map(f32::from).collect();
    let attributes = [("K", 40), ("N", 3), ("bits", 4), ("block_size", 16)];
    let product = |inputs: &[&str]| {
        named("product", with_ints(microsoft(node("MatMulNBits", inputs, &["y"])), &attributes))
    };
    let plain = info(vec![product(&["x", "w", "s"])], vec![weight.clone(), floats("s", &[9], &scales)]);
    assert_eq!((plain.precision.as_str(), plain.scheme.as_str()), ("weight-only-int4", "weight-only"));
    let tensor = stored(&plain, "w");
    assert_eq!((tensor.dtype, tensor.shape.as_slice(), tensor.bytes), (DType::UINT4, &[3, 40][..], 60));
    let known = codes(&plain, "w");
    assert_eq!(
        (known.axis, known.block_size, known.zero_points.as_slice()),
        (RSome(1), RSome(16), &[8.0][..])
    );
    assert_eq!(known.scales.len(), 9);
    // Zero points are packed too, with each row starting at a new byte.
    let zero_points = bytes("z", DType::UINT8, &[6], &[0x21, 0x03, 0x54, 0x06, 0x87, 0x09]);
    let shifted =
        info(vec![product(&["x", "w", "s", "z"])], vec![weight, floats("s", &[9], &scales), zero_points]);
    assert_eq!(shifted.precision, "weight-only-uint4");
    let expected: Vec<f64> = (1_u8..=9).map(f64::from).collect();
    assert_eq!(codes(&shifted, "w").zero_points.as_slice(), expected);
    assert_eq!(stored(&shifted, "z").role, TensorRole::QUANTIZATION);
}

/// What ONNX Runtime's quantizer writes for the bias of a linear layer made of a `MatMul` and an `Add`, and for the
/// constants of a GELU in its QOperator format.
#[test]
fn codes_that_are_added_are_parameters_and_scalars_are_none() {
    let info = info(
        vec![
            node("DequantizeLinear", &["b", "bs", "bz"], &["bias"]),
            named("add", node("Add", &["x", "bias"], &["y"])),
            named(
                "half",
                microsoft(node("QLinearMul", &["q", "qs", "qz", "h", "hs", "hz", "ys", "yz"], &["z"])),
            ),
        ],
        vec![
            bytes("b", DType::INT8, &[3], &[5, 6, 7]),
            scalar("bs", 0.5),
            bytes("bz", DType::INT8, &[], &[0]),
            bytes("q", DType::UINT8, &[2], &[1, 2]),
            scalar("qs", 0.5),
            bytes("qz", DType::UINT8, &[], &[0]),
            bytes("h", DType::UINT8, &[], &[255]),
            scalar("hs", 0.5),
            bytes("hz", DType::UINT8, &[], &[0]),
            scalar("ys", 0.5),
            bytes("yz", DType::UINT8, &[], &[0]),
        ],
    );
    assert_eq!(stored(&info, "b").role, TensorRole::PARAMETER);
    assert_eq!(stored(&info, "h").role, TensorRole::CONSTANT);
    assert_eq!(stored(&info, "hs").role, TensorRole::QUANTIZATION);
}

#[test]
fn q_operators_mark_inputs_weights_bias_and_output() {
    let inputs = ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"];
    let info = info(
        vec![
            node("QuantizeLinear", &["x", "xs", "xz"], &["q"]),
            named("conv", node("QLinearConv", &inputs, &["r"])),
            node("DequantizeLinear", &["r", "ys", "yz"], &["y"]),
        ],
        vec![
            scalar("xs", 0.5),
            bytes("xz", DType::UINT8, &[], &[128]),
            bytes("w", DType::INT8, &[2, 1, 1, 1], &[5, 6]),
            floats("ws", &[2], &[0.25, 0.125]),
            bytes("wz", DType::INT8, &[2], &[0, 0]),
            scalar("ys", 2.0),
            bytes("yz", DType::UINT8, &[], &[10]),
            bytes("b", DType::INT32, &[2], &[0; 8]),
        ],
    );
    assert_eq!((info.precision.as_str(), info.scheme.as_str()), ("int8", "QOperator"));
    assert_eq!(layer(&info, "conv").quantization, "qoperator");
    let weight = codes(&info, "w");
    assert_eq!((weight.axis, weight.scales.as_slice()), (RSome(0), &[0.25, 0.125][..]));
    let bias = codes(&info, "b");
    assert_eq!(
        (bias.dtype, bias.scales.as_slice(), bias.axis),
        (DType::INT32, &[0.125, 0.0625][..], RSome(0))
    );
    assert_eq!(value(&info, "r").quantization.as_ref().unwrap().zero_points.as_slice(), [10.0]);
    assert_eq!(value(&info, "q").quantization.as_ref().unwrap().dtype, DType::UINT8);
}

/// What ONNX Runtime's optimizer leaves of a MatMul of looked-up codes: both scales are stored, so it has multiplied
/// them. 0.25 * 0.5 = 0.125.
#[test]
fn a_product_of_two_stored_scales_is_taken_apart() {
    let info = info(
        vec![
            node("Gather", &["table", "ids"], &["rows"]),
            node("MatMulInteger", &["rows", "w", "tz", "wz"], &["i"]),
            with_ints(node("Cast", &["i"], &["f"]), &[("to", 1)]),
            node("Mul", &["f", "product"], &["y"]),
            node("DequantizeLinear", &["rows", "ts", "tz"], &["real"]),
        ],
        vec![
            bytes("table", DType::UINT8, &[4, 2], &[1; 8]),
            scalar("ts", 0.25),
            bytes("tz", DType::UINT8, &[], &[3]),
            bytes("w", DType::INT8, &[2, 3], &[1; 6]),
            bytes("wz", DType::INT8, &[], &[0]),
            scalar("product", 0.125),
        ],
    );
    assert_eq!(codes(&info, "table").scales.as_slice(), [0.25]);
    let known = codes(&info, "w");
    assert_eq!((known.scales.as_slice(), known.scale_name.as_str()), (&[0.5][..], ""));
}

#[test]
fn dynamic_products_find_their_scale_behind_them() {
    let info = info(
        vec![
            node("DynamicQuantizeLinear", &["x"], &["q", "qs", "qz"]),
            named("product", node("MatMulInteger", &["q", "w", "qz", "wz"], &["i"])),
            with_ints(node("Cast", &["i"], &["f"]), &[("to", 1)]),
            node("Mul", &["qs", "ws"], &["s"]),
            node("Mul", &["f", "s"], &["y"]),
        ],
        vec![
            bytes("w", DType::INT8, &[2, 3], &[1; 6]),
            bytes("wz", DType::INT8, &[], &[0]),
            floats("ws", &[3], &[0.1, 0.2, 0.3]),
        ],
    );
    assert_eq!((info.precision.as_str(), info.scheme.as_str()), ("dynamic-int8", "dynamic"));
    let known = codes(&info, "w");
    assert_eq!((known.axis, known.scale_count, known.is_dynamic), (RSome(1), 3, false));
    assert_eq!(known.scale_name, "ws");
    assert!(value(&info, "q").quantization.as_ref().unwrap().is_dynamic);
    assert!(layer(&info, "product").tensors.iter().any(|name| name == "ws"));
}

#[test]
fn precision_is_mixed_only_when_weights_differ() {
    let weights = |second: DType| {
        let bytes_of = |dtype: DType| vec![0x11; usize::try_from(dtype.packed_bytes(4).unwrap()).unwrap()];
        info(
            vec![
                node("DequantizeLinear", &["a", "s"], &["wa"]),
                node("DequantizeLinear", &["b", "s"], &["wb"]),
                node("MatMul", &["x", "wa"], &["h"]),
                node("MatMul", &["h", "wb"], &["y"]),
            ],
            vec![
                bytes("a", DType::INT8, &[2, 2], &bytes_of(DType::INT8)),
                bytes("b", second, &[2, 2], &bytes_of(second)),
                scalar("s", 0.5),
            ],
        )
        .precision
        .to_string()
    };
    assert_eq!(weights(DType::INT8), "weight-only-int8");
    assert_eq!(weights(DType::INT4), "mixed");
}

#[test]
fn float_models_have_the_type_of_their_parameters() {
    let of = |dtypes: &[DType]| {
        let names = ["a", "b"];
        let tensors = dtypes.iter().zip(names).map(|(&dtype, name)| {
            bytes(name, dtype, &[2, 2], &vec![0; usize::try_from(dtype.packed_bytes(4).unwrap()).unwrap()])
        });
        let tensors: Vec<TensorProto> = tensors.collect();
        let nodes = vec![node("MatMul", &["x", "a"], &["h"]), node("MatMul", &["h", "b"], &["y"])];
        info(nodes, tensors).precision.to_string()
    };
    assert_eq!(of(&[DType::FLOAT16, DType::FLOAT16]), "float16");
    assert_eq!(of(&[DType::BFLOAT16]), "bfloat16");
    assert_eq!(of(&[DType::FLOAT16, DType::FLOAT32]), "mixed");
    assert_eq!(of(&[]), "float32", "that of the input");
}

#[test]
fn bad_and_missing_scales_are_found() {
    let bad = info(
        vec![node("DequantizeLinear", &["a", "s"], &["w"]), node("MatMul", &["x", "w"], &["y"])],
        vec![bytes("a", DType::INT8, &[2, 2], &[1; 4]), scalar("s", 0.0)],
    );
    assert_eq!(
        (bad.findings[0].code.as_str(), bad.findings[0].subjects[0].as_str()),
        ("onnx.bad-scale", "s")
    );
    let missing = info(
        vec![node("MatMulInteger", &["x", "w"], &["y"])],
        vec![bytes("w", DType::INT8, &[2, 2], &[1; 4])],
    );
    assert_eq!(missing.findings[0].code, "onnx.missing-scale");
}

#[test]
fn structure_is_constant_and_statistics_are_buffers() {
    let info = info(
        vec![
            node("BatchNormalization", &["x", "g", "b", "m", "v"], &["n"]),
            node("Reshape", &["n", "shape"], &["y"]),
        ],
        vec![
            floats("g", &[2], &[1.0; 2]),
            floats("b", &[2], &[1.0; 2]),
            floats("m", &[2], &[1.0; 2]),
            floats("v", &[2], &[1.0; 2]),
            bytes("shape", DType::INT64, &[1], &[0xff; 8]),
        ],
    );
    let roles: Vec<TensorRole> = info.tensors.iter().map(|tensor| tensor.role).collect();
    let (parameter, buffer) = (TensorRole::PARAMETER, TensorRole::BUFFER);
    assert_eq!(roles, [parameter, parameter, buffer, buffer, TensorRole::CONSTANT]);
}
