//! What of a model can be quantized, and the changes that do it. Expected are what `onnxruntime.quantization` 1.31.1 makes of the
//! same graphs: `quantize_static(model, …, activation_type=QuantType.QUInt8)`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail where it stands"
)]

mod support;

use qp_abi::manifest::{Pair, pair};
use qp_abi::sdk::{DType, Edit, Fetch, Model, QuantizableOf, RString, RunRequest, TensorView};
use qp_plugin_onnx::model::OnnxModel;
use qp_plugin_onnx::proto::{AttributeProto, NodeProto, code};
use support::build::{floats, graph, model, named, node, saved, value, with_ints};
use support::{bytes_of, collect, open, runner, with_progress};

/// ((7 · i) mod 11 − 5) / 8 and the like.
fn wave(count: usize, factor: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * factor % 11) as f32 - 5.0) / 8.0).collect()
}

fn with(mut node: NodeProto, name: &str, ints: &[i64], float: Option<f32>) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.to_owned()),
        ints: ints.to_vec(),
        f: float,
        r#type: Some(if float.is_some() { code::FLOAT } else { code::INTS }),
        ..AttributeProto::default()
    });
    node
}

/// Two convolutions that share a bias, a ReLU between them, a constant operand, a product with a factor for its bias.
fn network() -> (tempfile::TempDir, std::path::PathBuf) {
    let step = |op: &str, inputs: &[&str], output: &str, name: &str| named(name, node(op, inputs, &[output]));
    let pool = with(step("MaxPool", &["r"], "m", "pool"), "kernel_shape", &[2, 2], None);
    let product = with_ints(step("Gemm", &["f", "g", "h"], "z", "fc"), &[("transB", 1)]);
    let nodes = vec![
        step("Conv", &["x", "w1", "b"], "c", "conv1"),
        step("Relu", &["c"], "r", "relu"),
        with(pool, "strides", &[2, 2], None),
        step("Conv", &["m", "w2", "b"], "d", "conv2"),
        step("Add", &["d", "k"], "s", "add"),
        step("Flatten", &["s"], "f", "flat"),
        with(product, "beta", &[], Some(0.5)),
        step("Softmax", &["z"], "y", "soft"),
    ];
    let stored = vec![
        floats("w1", &[2, 2, 1, 1], &wave(4, 3)),
        floats("w2", &[2, 2, 1, 1], &wave(4, 7)),
        floats("b", &[2], &[0.25, -0.5]),
        floats("k", &[1], &[0.75]),
        floats("g", &[3, 8], &wave(24, 5)),
        floats("h", &[3], &[1.0, 2.0, 3.0]),
    ];
    let mut whole = graph(nodes, stored);
    whole.input = vec![value("x", DType::FLOAT32, Some(&[1, 2, 4, 4]))];
    whole.output = vec![value("y", DType::FLOAT32, Some(&[1, 3]))];
    saved(&model(whole))
}

fn edit(
    action: &str,
    target: &str,
    arguments: Vec<Pair>,
    elements: Option<(DType, &[i64], Vec<u8>)>,
) -> Edit {
    let (dtype, shape, bytes) = elements.unwrap_or((DType::UNDEFINED, &[], Vec::new()));
    Edit {
        action: action.into(),
        target: target.into(),
        arguments: arguments.into(),
        dtype,
        shape: shape.to_vec().into(),
        bytes: bytes.into(),
    }
}

fn changed(model: &OnnxModel, edits: &[Edit]) -> qp_abi::ModelBox {
    with_progress(|progress| model.edit(edits, progress)).unwrap()
}

fn outputs(model: &qp_abi::ModelBox, x: &[f32], shape: &[i64]) -> Vec<f32> {
    let bytes = bytes_of(x);
    let inputs = [TensorView::whole("x", DType::FLOAT32, shape, &bytes)];
    let names: Vec<RString> = Vec::new();
    let request = RunRequest {
        inputs: inputs.as_slice().into(),
        fetch: Fetch::OUTPUTS,
        names: names.as_slice().into(),
        options: [].as_slice().into(),
    };
    let received = collect(|sink| {
        with_progress(|progress| {
            model.run(request, sink.as_raw(), progress.as_raw()).into_result().map(|_| ())
        })
    });
    received.unwrap()[0].floats()
}

/// The nodes with what they read, by what they compute.
fn wiring(model: &qp_abi::ModelBox) -> Vec<(String, Vec<String>)> {
    let info = model.info().into_result().unwrap();
    let text = |name: &RString| name.to_string();
    let mut nodes: Vec<_> = (info.layers.iter())
        .map(|layer| (text(&layer.outputs[0]), layer.inputs.iter().map(text).collect()))
        .collect();
    nodes.sort();
    nodes
}

#[test]
fn the_plan_is_that_of_onnxruntime() {
    let (_folder, path) = network();
    let model = open(&runner(), &path).unwrap();
    let plan = |of: &QuantizableOf| with_progress(|progress| model.quantizable(of, progress)).unwrap();
    let found = plan(&QuantizableOf::default());
    let values: Vec<(&str, Option<&str>)> =
        found.values.iter().map(|value| (value.name.as_str(), value.same_as.as_deref())).collect();
    // `c` is gone: the ReLU is part of its codes. Pools and reshapes have the codes of what they read.
    let expected = [("x", None), ("r", None), ("m", Some("r")), ("d", None), ("s", None), ("f", Some("s"))];
    assert_eq!(values[..6], expected);
    assert_eq!(values[6..], [("z", None), ("y", None)]);
    assert_eq!(found.folded.iter().map(|folded| folded.value.as_str()).collect::<Vec<_>>(), ["r"]);
    // Probabilities need no samples.
    assert_eq!(found.values[7].range, Some((0.0, 1.0)));
    let tensors: Vec<_> = found.tensors.iter().map(|t| (t.name.as_str(), t.axis, t.is_operand)).collect();
    assert_eq!(tensors, [("w1", None, false), ("w2", None, false), ("k", None, true), ("g", None, false)]);
    let biases: Vec<_> = (found.biases.iter())
        .map(|b| (b.tensor.as_str(), b.copy.as_deref(), b.input.as_str(), b.weight.as_str(), b.factor))
        .collect();
    let expected =
        [("b", None, "x", "w1", 1.0), ("b", Some("b0"), "m", "w2", 1.0), ("h", None, "f", "g", 0.5)];
    assert_eq!(biases, expected);
    assert!(found.layers.iter().all(|layer| layer.reason.is_none()));
    // With channels: the first axis of a convolution's weight, and of a transposed one of a product.
    let found = plan(&QuantizableOf { per_channel: true, ..QuantizableOf::default() });
    let axes: Vec<_> = found.tensors.iter().map(|t| (t.name.as_str(), t.axis)).collect();
    assert_eq!(axes, [("w1", Some(0)), ("w2", Some(0)), ("k", None), ("g", Some(0))]);
    // Symmetric codes of activations cannot be a ReLU; it keeps the range of its result.
    let found = plan(&QuantizableOf { symmetric_activations: true, ..QuantizableOf::default() });
    assert!(found.folded.is_empty());
    let clamped = found.values.iter().find(|value| value.name == "c").unwrap();
    assert_eq!(clamped.range_of.as_deref(), Some("r"));
    // Without its convolution, the ReLU has no codes to be part of.
    let exclude = ["conv1".to_owned()].into();
    let found = plan(&QuantizableOf { exclude, ..QuantizableOf::default() });
    let reasons: Vec<_> = (found.layers.iter())
        .filter_map(|layer| Some((layer.layer.as_str(), layer.reason.as_ref()?.code.as_str())))
        .collect();
    assert_eq!(reasons, [("conv1", "excluded"), ("relu", "input"), ("pool", "input")]);
    // The convolution behind it reads what has no codes yet, and gets them there.
    assert_eq!(found.values[0].name, "m");
}

#[test]
fn the_changed_graph_has_onnxruntimes_names_and_values() {
    let (_folder, path) = network();
    let model = open(&runner(), &path).unwrap();
    let of = |scale: &str, zero_point: &str| vec![pair("scales", scale), pair("zero-points", zero_point)];
    let codes = |dims: &'static [i64], codes: &[i8]| {
        Some((DType::INT8, dims, codes.iter().map(|code| *code as u8).collect::<Vec<u8>>()))
    };
    let activation = |name: &str, scale: &str, zero_point: &str| {
        edit("quantize-value", name, of(scale, zero_point), Some((DType::UINT8, &[], Vec::new())))
    };
    let shared = |name: &str, other: &str| edit("quantize-value", name, vec![pair("same-as", other)], None);
    let bias = |name: &str, value: &str, copy: Option<&str>, scale: &str, codes: &[i32]| {
        let bytes = codes.iter().flat_map(|code| code.to_le_bytes()).collect();
        let mut arguments = of(scale, "0");
        arguments.push(pair("value", value));
        arguments.extend(copy.map(|copy| pair("copy", copy)));
        let dims: &[i64] = if codes.len() == 2 { &[2] } else { &[3] };
        edit("quantize-bias", name, arguments, Some((DType::INT32, dims, bytes)))
    };
    let g: Vec<i8> = wave(24, 5).iter().map(|x| (x / 0.004_921_26).round_ties_even() as i8).collect();
    // Scales, zero points and codes as quantize_static writes them.
    let edits = [
        edit("fold-clamp", "r", Vec::new(), None),
        edit("quantize-tensor", "w1", of("0.0049212598", "0"), codes(&[2, 2, 1, 1], &[-127, -51, 25, 102])),
        edit("quantize-tensor", "w2", of("0.0049212598", "0"), codes(&[2, 2, 1, 1], &[-127, 51, -51, 127])),
        edit("quantize-tensor", "k", of("0.0029411765", "0"), Some((DType::UINT8, &[1], vec![255]))),
        edit("quantize-tensor", "g", of("0.0049212598", "0"), codes(&[3, 8], &g)),
        activation("x", "0.004901961", "128"),
        activation("r", "0.0028186275", "0"),
        activation("d", "0.0026654412", "255"),
        activation("s", "0.0027343750", "0"),
        activation("z", "0.005462048", "0"),
        activation("y", "0.003921569", "0"),
        shared("m", "r"),
        shared("f", "s"),
        bias("b", "r", None, "2.4123823e-05", &[10363, -20726]),
        bias("b", "d", Some("b0"), "1.3871198e-05", &[18023, -36046]),
        bias("h", "z", None, "6.728285e-06", &[148_626, 297_253, 445_879]),
    ];
    let quantized = changed(&model, &edits);
    let found = wiring(&quantized);
    let reads = |value: &str| -> Vec<&str> {
        let (_, inputs) = found.iter().find(|(output, _)| output == value).unwrap();
        inputs.iter().map(String::as_str).collect()
    };
    assert_eq!(reads("r"), ["x_DequantizeLinear_Output", "w1_DequantizeLinear_Output", "b"]);
    assert_eq!(reads("d"), ["m_DequantizeLinear_Output", "w2_DequantizeLinear_Output", "b0"]);
    assert_eq!(reads("m_QuantizeLinear_Output"), ["m", "r_scale", "r_zero_point"]);
    assert_eq!(reads("b0"), ["b0_quantized", "b0_quantized_scale", "b0_quantized_zero_point"]);
    assert_eq!(reads("y"), ["y_QuantizeLinear_Output", "y_scale", "y_zero_point"]);
    assert_eq!(reads("y_QuantizeLinear_Input"), ["z_DequantizeLinear_Output"]);
    assert_eq!(found.len(), 30, "as many nodes as onnxruntime's");
    let info = quantized.info().into_result().unwrap();
    assert_eq!((info.scheme.as_str(), info.precision.as_str()), ("QDQ", "int8"));
    assert!(info.tensors.iter().all(|tensor| !["w1", "w2", "g", "k"].contains(&tensor.name.as_str())));
    // With these samples all three scores are 0: a third each, in steps of 1/255.
    let y = outputs(&quantized, &wave(32, 2), &[1, 2, 4, 4]);
    assert_eq!(y, [85.0 * 0.003_921_569_f32; 3]);
}

/// y = relu((w · x + b − mean) · scale / √(variance + ε) + shift), with ε = 1e-5, one number for each of two channels.
#[test]
fn preparation_folds_what_is_constant_and_computes_the_same() {
    let step = |op: &str, inputs: &[&str], output: &str| node(op, inputs, &[output]);
    let mut constant = step("Constant", &[], "w");
    constant.attribute.push(AttributeProto {
        name: Some("value".to_owned()),
        t: Some(floats("", &[2, 1, 1, 1], &[2.0, -3.0])),
        r#type: Some(code::TENSOR),
        ..AttributeProto::default()
    });
    let nodes = vec![
        constant,
        step("Identity", &["x"], "same"),
        step("Conv", &["same", "w"], "c"),
        step("BatchNormalization", &["c", "scale", "shift", "mean", "variance"], "n"),
        step("Dropout", &["n"], "kept"),
        step("Relu", &["kept"], "y"),
    ];
    let stored = vec![
        floats("scale", &[2], &[0.5, 1.5]),
        floats("shift", &[2], &[0.125, 4.0]),
        floats("mean", &[2], &[1.0, -1.0]),
        floats("variance", &[2], &[4.0, 0.25]),
    ];
    let mut whole = graph(nodes, stored);
    whole.input = vec![value("x", DType::FLOAT32, Some(&[1, 1, 1, 2]))];
    whole.output = vec![value("y", DType::FLOAT32, Some(&[1, 2, 1, 2]))];
    let (_folder, path) = saved(&model(whole));
    let model = open(&runner(), &path).unwrap();
    let prepared = changed(&model, &[edit("prepare", "", Vec::new(), None)]);
    let found = wiring(&prepared);
    assert_eq!(found.iter().map(|(output, _)| output.as_str()).collect::<Vec<_>>(), ["n", "y"]);
    assert_eq!(found[0].1[..2], ["x", "w"]);
    let x = [1.5_f32, -2.0];
    let channel = |weight: f64, scale: f64, shift: f64, mean: f64, variance: f64| {
        x.map(|x| ((weight * f64::from(x) - mean) * scale / (variance + 1e-5).sqrt() + shift).max(0.0))
    };
    let expected = [channel(2.0, 0.5, 0.125, 1.0, 4.0), channel(-3.0, 1.5, 4.0, -1.0, 0.25)].concat();
    let computed = outputs(&prepared, &x, &[1, 1, 1, 2]);
    for (one, other) in computed.iter().zip(&expected) {
        assert!((f64::from(*one) - other).abs() < 1e-5, "{computed:?} is not {expected:?}");
    }
    assert_eq!(computed.len(), expected.len());
}
