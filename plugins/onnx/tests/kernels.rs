//! `kernels/1`: each reason for float is in the way of ONNX Runtime, and without it the same layer is computed in integers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

mod support;

use qp_abi::sdk::{DType, ErrorKind, KernelsOf, Model, TensorView};
use qp_plugin_onnx::proto::{AttributeProto, NodeProto, TensorProto, code};
use serde_json::{Value, json};
use support::build::{floats, graph, model, named, node, saved, tensor, value, with_ints};
use support::{Ask, bytes_of, open, run, runner, sample, with_progress};

/// What `kernels/1` answers about a model with the node `op` in a graph that begins with `x`, its codes and `xd`.
struct Case {
    codes: DType,
    zero_point: i8,
    nodes: Vec<NodeProto>,
    /// Zero point of the codes of the output.
    output_zero_point: i8,
    more: Vec<TensorProto>,
    outputs: Vec<&'static str>,
}

fn case(nodes: Vec<NodeProto>) -> Case {
    Case {
        codes: DType::UINT8,
        zero_point: -128,
        nodes,
        output_zero_point: -128,
        more: Vec::new(),
        outputs: vec!["y"],
    }
}

fn quantize(from: &str, to: &str, zero_point: &str) -> NodeProto {
    named(&format!("{to}.q"), node("QuantizeLinear", &[from, "scale", zero_point], &[to]))
}

fn dequantize(from: &str, to: &str, zero_point: &str) -> NodeProto {
    named(&format!("{to}.dq"), node("DequantizeLinear", &[from, "scale", zero_point], &[to]))
}

/// The last step: `value` rounded to codes and back.
fn rounded(value: &str) -> [NodeProto; 2] {
    [quantize(value, "yq", "zo"), dequantize("yq", "y", "zo")]
}

fn conv() -> Vec<NodeProto> {
    let conv = node("Conv", &["xd", "wd"], &["c"]);
    vec![node("DequantizeLinear", &["w", "scale", "zw"], &["wd"]), named("op", conv)]
}

fn op(op_type: &str, inputs: &[&str]) -> Vec<NodeProto> {
    vec![named("op", node(op_type, inputs, &["c"]))]
}

fn with(mut nodes: Vec<NodeProto>, more: impl IntoIterator<Item = NodeProto>) -> Vec<NodeProto> {
    nodes.extend(more);
    nodes
}

fn with_text(mut node: NodeProto, name: &str, text: &str) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(code::STRING),
        s: Some(text.as_bytes().to_vec().into()),
        ..AttributeProto::default()
    });
    node
}

impl Case {
    fn answer(self) -> Value {
        let code = |zero_point: i8| vec![zero_point.to_le_bytes()[0]];
        let zero = |name: &str, zero_point: i8| match self.codes {
            DType::UINT16 => tensor(name, self.codes, &[], &[0, 0x80]),
            codes => tensor(name, codes, &[], &code(zero_point)),
        };
        let mut stored = vec![
            floats("scale", &[], &[0.05]),
            zero("zx", self.zero_point),
            zero("zo", self.output_zero_point),
            tensor("zw", DType::INT8, &[], &[0]),
            tensor("w", DType::INT8, &[2, 2, 1, 1], &[1, 2, 3, 4]),
            tensor("m", DType::INT8, &[4, 4], &[1; 16]),
            floats("sizes", &[4], &[1.0, 1.0, 2.0, 2.0]),
        ];
        stored.extend(self.more);
        let nodes = with(vec![quantize("x", "xq", "zx"), dequantize("xq", "xd", "zx")], self.nodes);
        let mut graph = graph(nodes, stored);
        graph.input = vec![value("x", DType::FLOAT32, Some(&[1, 2, 4, 4]))];
        graph.output = self.outputs.iter().map(|name| value(name, DType::FLOAT32, None)).collect();
        let (_folder, path) = saved(&model(graph));
        kernels(&open(&runner(), &path).unwrap(), &[])
    }

    /// The code of the reason why `op` is in float; `None` if it is in integers.
    fn reason(self) -> Option<String> {
        let answer = self.answer();
        let quantized = answer["quantized"].as_array().unwrap();
        let found = quantized.iter().find(|quantized| quantized["layer"] == "op");
        found.unwrap_or_else(|| panic!("{answer}"))["reason"]["code"].as_str().map(str::to_owned)
    }
}

fn kernels(model: &impl Model, options: &[(&str, &str)]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let of = KernelsOf { folder: folder.path().to_owned(), options, timed: false };
    json!(with_progress(|progress| model.kernels(&of, progress)).unwrap())
}

fn without_reason(case: Case) {
    let names: Vec<String> = case.nodes.iter().map(|node| node.op_type().to_owned()).collect();
    assert_eq!(case.reason(), None, "{names:?}");
}

#[test]
fn layers_between_codes_are_in_integers() {
    without_reason(case(with(conv(), rounded("c"))));
    without_reason(case(with(op("Add", &["xd", "xd"]), rounded("c"))));
    without_reason(case(with(op("Sigmoid", &["xd"]), rounded("c"))));
    without_reason(case(with(
        op("MaxPool", &["xd"])
            .into_iter()
            .map(|node| {
                let mut node = with_ints(node, &[]);
                node.attribute.push(AttributeProto {
                    name: Some("kernel_shape".to_owned()),
                    r#type: Some(code::INTS),
                    ints: vec![2, 2],
                    ..AttributeProto::default()
                });
                node
            })
            .collect(),
        rounded("c"),
    )));
    // A product puts out numbers without a rounding, too.
    let product = vec![dequantize("m", "md", "zw"), named("op", node("MatMul", &["xd", "md"], &["y"]))];
    without_reason(case(product));
}

#[test]
fn an_operator_may_have_no_integer_kernel() {
    let of = |nodes| case(nodes).reason().unwrap();
    for operator in ["Relu", "Tanh", "Exp"] {
        assert_eq!(of(with(op(operator, &["xd"]), rounded("c"))), "no-kernel", "{operator}");
    }
    let resize = |mode: &str| {
        with(
            vec![with_text(named("op", node("Resize", &["xd", "", "sizes"], &["c"])), "mode", mode)],
            rounded("c"),
        )
    };
    assert_eq!(of(resize("linear")), "no-kernel");
    without_reason(case(resize("nearest")));
}

#[test]
fn a_layer_needs_codes_of_8_bits_at_all_inputs_and_at_the_output() {
    let of = |case: Case| case.reason().unwrap();
    assert_eq!(
        of(Case { codes: DType::UINT16, ..case(with(op("Add", &["xd", "xd"]), rounded("c"))) }),
        "code-type"
    );
    assert_eq!(of(case(with(op("Add", &["xd", "x"]), rounded("c")))), "float-input");
    assert_eq!(of(case(with(conv(), [node("Identity", &["c"], &["y"])]))), "float-output");
    assert_eq!(
        of(case(with(conv(), [named("h", node("Tanh", &["c"], &["t"]))].into_iter().chain(rounded("t"))))),
        "function-between"
    );
    let read_twice = with(with(conv(), rounded("c")), [node("Relu", &["c"], &["z"])]);
    assert_eq!(of(Case { outputs: vec!["y", "z"], ..case(read_twice) }), "output-shared");
    let also_output = Case { outputs: vec!["y", "c"], ..case(with(conv(), rounded("c"))) };
    assert_eq!(of(also_output), "output-shared");
    let weight_only = vec![
        node("DequantizeLinear", &["w", "scale", "zw"], &["wd"]),
        named("op", node("Conv", &["x", "wd"], &["y"])),
    ];
    assert_eq!(of(case(weight_only)), "weight-only");
}

#[test]
fn an_activation_is_part_of_codes_that_reach_no_further() {
    let with_relu = || with(with(conv(), [named("relu", node("Relu", &["c"], &["r"]))]), rounded("r"));
    // Zero point 128 of uint8: half of the codes are negative.
    let kept = case(with_relu());
    assert_eq!(kept.reason().unwrap(), "activation-kept");
    without_reason(Case { output_zero_point: 0, ..case(with_relu()) });
    let signed = |output_zero_point| Case {
        codes: DType::INT8,
        zero_point: 0,
        output_zero_point,
        ..case(with_relu())
    };
    assert_eq!(signed(0).reason().unwrap(), "activation-kept");
    without_reason(signed(-128));
}

#[test]
fn codes_are_only_moved_to_codes_that_mean_the_same() {
    let transpose = || with(op("Transpose", &["xd"]), rounded("c"));
    without_reason(case(transpose()));
    assert_eq!(Case { output_zero_point: 0, ..case(transpose()) }.reason().unwrap(), "scale-changed");
}

/// ONNX Runtime has kernels for int8 on other processors.
#[cfg(target_arch = "x86_64")]
#[test]
fn on_x86_int8_is_converted_only_if_one_layer_reads_it() {
    let signed = |nodes| Case { codes: DType::INT8, zero_point: 0, output_zero_point: 0, ..case(nodes) };
    without_reason(signed(with(conv(), rounded("c"))));
    let read_twice = || with(with(conv(), rounded("c")), [node("Tanh", &["xd"], &["z"])]);
    assert_eq!(Case { outputs: vec!["y", "z"], ..signed(read_twice()) }.reason().unwrap(), "int8-read-twice");
    without_reason(Case { outputs: vec!["y", "z"], ..case(read_twice()) });
    let stored = || {
        with(vec![dequantize("m", "md", "zw"), named("op", node("Add", &["xd", "md"], &["c"]))], rounded("c"))
    };
    assert_eq!(signed(stored()).reason().unwrap(), "int8-stored-operand");
}

#[test]
fn a_level_that_changes_nothing_is_the_reason() {
    let model = open(&runner(), &sample("resnet8_uint8.onnx")).unwrap();
    let answer = kernels(&model, &[("optimization", "basic")]);
    let codes: Vec<&str> = answer["quantized"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|layer| layer["reason"]["code"].as_str())
        .collect();
    assert!(!codes.is_empty() && codes.iter().all(|code| *code == "optimization-level"), "{codes:?}");
}

#[test]
fn each_kernel_names_its_layers() {
    let model = open(&runner(), &sample("resnet8_uint8.onnx")).unwrap();
    let answer = kernels(&model, &[]);
    let of = |layer: &str| {
        let kernels = answer["kernels"].as_array().unwrap().iter();
        let mut found = kernels.filter(|kernel| kernel["layers"].as_array().unwrap().contains(&json!(layer)));
        found.next().unwrap_or_else(|| panic!("{layer}: {answer}")).clone()
    };
    for (layer, operator) in
        [("stem", "QLinearConv"), ("layer3.add", "QLinearAdd"), ("fc", "QGemm"), ("softmax", "Softmax")]
    {
        let kernel = of(layer);
        assert_eq!((&kernel["operator"], &kernel["layers"][0]), (&json!(operator), &json!(layer)));
    }
    assert_eq!(of("softmax")["arithmetic"], "float");
    assert_eq!(
        (&of("stem")["arithmetic"], &of("stem")["element_type"]),
        (&json!("integer"), &json!("uint8"))
    );
}

#[test]
fn times_are_those_of_the_profiled_runs() {
    let model = open(&runner(), &sample("resnet8.onnx")).unwrap();
    let pixels = bytes_of(&vec![0.0; 32 * 32 * 3]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let info = model.info().unwrap();
    for _ in 0..3 {
        let input = TensorView::whole(&info.inputs[0].name, DType::FLOAT32, &[1, 32, 32, 3], &pixels);
        run(&model, &[input], &Ask { options: &[("profile", path)], ..Ask::default() }).unwrap();
    }
    let of = KernelsOf { folder: folder.path().to_owned(), timed: true, ..KernelsOf::default() };
    let timed = || with_progress(|progress| model.kernels(&of, progress));
    let answer = json!(timed().unwrap());
    let runs: Vec<u64> =
        answer["runs_ns"].as_array().unwrap().iter().map(|run| run.as_u64().unwrap()).collect();
    assert_eq!(runs.len(), 3);
    let kernels = answer["kernels"].as_array().unwrap();
    for (run, whole) in runs.iter().enumerate() {
        let sum: u64 = kernels.iter().map(|kernel| kernel["times_ns"][run].as_u64().unwrap()).sum();
        assert!(sum > 0 && sum <= *whole, "{sum} of {whole}");
    }
    // The profile has ended; there is none without a run.
    assert_eq!(timed().unwrap_err().kind, ErrorKind::INVALID_INPUT);
}

#[test]
fn the_type_of_a_kernel_is_that_of_its_operands() {
    // A concatenation of codes reads scales first, a choice a condition.
    let concat = vec![with_ints(named("op", node("Concat", &["xd", "xd"], &["c"])), &[("axis", 1)])];
    let choice =
        vec![node("Less", &["x", "x"], &["l"]), named("op", node("Where", &["l", "x", "x"], &["c"]))];
    let of = |nodes: Vec<NodeProto>, operator: &str| {
        let answer = case(with(nodes, rounded("c"))).answer();
        let kernels = answer["kernels"].as_array().unwrap();
        let found = kernels.iter().find(|kernel| kernel["operator"] == operator);
        let found = found.unwrap_or_else(|| panic!("{answer}"));
        (found["element_type"].clone(), found["arithmetic"].clone())
    };
    assert_eq!(of(concat, "QLinearConcat"), (json!("uint8"), json!("integer")));
    assert_eq!(of(choice, "Where"), (json!("float32"), json!("float")));
}
