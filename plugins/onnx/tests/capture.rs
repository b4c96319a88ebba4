//! Values between layers, against those of Python's ONNX Runtime for the same input with every value of the graph as
//! an output and graph optimization off.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

mod support;

use qp_abi::sdk::{DType, ErrorKind, Fetch, Model, STEP_STAGE, STEPS, TensorView, step_stage};
use support::build::{external, floats, graph, model, node, saved, value, with_graph};
use support::{Ask, Received, bytes_of, open, run, run_with, runner, sample, with_stages};

/// 0, 1, … 255, 0, 1, … as an image.
fn ramp() -> Vec<u8> {
    bytes_of(&(0..3072_u32).map(|index| (index % 256) as f32).collect::<Vec<_>>())
}

const AS_WRITTEN: &[(&str, &str)] = &[("optimization", "disable")];

fn capture(name: &str, options: &[(&str, &str)]) -> Vec<Received> {
    let backend = runner();
    let model = open(&backend, &sample(name)).unwrap();
    let image = ramp();
    let input = TensorView::whole("image", DType::FLOAT32, &[1, 32, 32, 3], &image);
    let ask = Ask { fetch: Some(Fetch::LAYERS), options, ..Ask::default() };
    run(&model, &[input], &ask).unwrap().0
}

fn extremes(values: &[Received], name: &str) -> (Vec<i64>, f64, f64) {
    let value = values.iter().find(|value| value.name == name).unwrap_or_else(|| panic!("{name}"));
    let numbers = value.floats();
    let largest = numbers.iter().map(|number| f64::from(number.abs())).fold(0.0, f64::max);
    (value.shape.clone(), numbers.iter().map(|number| f64::from(*number)).sum(), largest)
}

#[test]
fn every_layer_is_captured_as_python_computes_it() {
    let values = capture("resnet8.onnx", AS_WRITTEN);
    let names: Vec<_> = values.iter().map(|value| value.name.as_str()).collect();
    assert_eq!((names.len(), names[0], names[24]), (25, "normalize.transpose_output", "probabilities"));
    for (name, shape, sum, largest) in [
        ("stem_output", vec![1, 16, 32, 32], -1_950.247_532_337_904, 7.239_971_160_888_672),
        ("relu_output", vec![1, 16, 32, 32], 13_337.795_792_609_453, 7.239_971_160_888_672),
        ("layer2.add_output", vec![1, 32, 16, 16], 1_555.414_041_537_791_5, 10.634_757_995_605_469),
        ("pool_output", vec![1, 64, 1, 1], 302.771_276_321_262_1, 13.891_478_538_513_184),
        ("fc_output", vec![1, 10], -74.162_811_279_296_88, 34.876_323_699_951_17),
    ] {
        let found = extremes(&values, name);
        assert_eq!(found.0, shape, "{name}");
        assert!((found.1 / sum - 1.0).abs() < 1e-4, "{name}: {found:?}");
        assert!((found.2 / largest - 1.0).abs() < 1e-5, "{name}: {found:?}");
    }
}

/// What ends the process at a layer is found by the last stage.
#[test]
fn a_run_by_steps_tells_each_layer_before_it() {
    for name in ["resnet8.onnx", "resnet8_int8.onnx"] {
        let model = open(&runner(), &sample(name)).unwrap();
        let image = ramp();
        let input = TensorView::whole("image", DType::FLOAT32, &[1, 32, 32, 3], &image);
        let ask = Ask { fetch: Some(Fetch::LAYERS), options: &[(STEPS, "true")], ..Ask::default() };
        let stages = std::sync::Mutex::new(Vec::new());
        let tell = |stage: &str| stages.lock().unwrap().push(stage.to_owned());
        let (values, _) = with_stages(tell, |progress| run_with(&model, &[input], &ask, progress)).unwrap();
        let mut stages = stages.into_inner().unwrap();
        stages.retain(|stage| stage.starts_with(STEP_STAGE));
        stages.dedup();
        let info = model.info().unwrap();
        let layers: Vec<String> = info.layers.iter().map(|layer| step_stage(&layer.path)).collect();
        assert_eq!(stages, layers);
        let (whole, _) = run(&model, &[input], &Ask { options: AS_WRITTEN, ..ask }).unwrap();
        assert!(
            values.len() == whole.len()
                && values.iter().zip(&whole).all(|(one, other)| one.bytes == other.bytes)
        );
    }
}

/// The codes of a pair are delivered too; the values of an int8 model are within a step or two on another CPU.
#[test]
fn a_quantized_model_gives_codes_and_what_they_stand_for() {
    let values = capture("resnet8_int8.onnx", AS_WRITTEN);
    assert_eq!(values.len(), 70);
    let (_, _, largest) = extremes(&values, "layer1.conv2_output");
    assert!((largest - 7.232_926_845_550_537).abs() < 0.11, "{largest}");
    let codes = values.iter().find(|value| value.name == "relu_output_QuantizeLinear_Output").unwrap();
    assert_eq!((codes.dtype, codes.shape.as_slice()), (DType::INT8, [1, 16, 32, 32].as_slice()));
}

#[test]
fn named_values_come_in_the_order_asked_and_ordinary_runs_go_on() {
    let backend = runner();
    let model = open(&backend, &sample("resnet8.onnx")).unwrap();
    let image = ramp();
    let input = [TensorView::whole("image", DType::FLOAT32, &[1, 32, 32, 3], &image)];
    let plain = run(&model, &input, &Ask::default()).unwrap().0;
    let ask = Ask { names: Some(&["fc_output", "probabilities", "stem_output"]), ..Ask::default() };
    let (values, report) = run(&model, &input, &ask).unwrap();
    let names: Vec<_> = values.iter().map(|value| value.name.as_str()).collect();
    assert_eq!(names, ["fc_output", "probabilities", "stem_output"]);
    assert!(report.settings.iter().any(|setting| setting.0 == "optimization" && setting.1 == "all"));
    let again = run(&model, &input, &Ask::default()).unwrap().0;
    assert_eq!(plain[0].bytes, again[0].bytes);
    let ask = Ask { names: Some(&["nothing"]), ..Ask::default() };
    assert_eq!(run(&model, &input, &ask).unwrap_err().kind, ErrorKind::NOT_FOUND);
    let ask = Ask { names: Some(&["stem.weight"]), ..Ask::default() };
    assert_eq!(run(&model, &input, &ask).unwrap_err().kind, ErrorKind::NOT_FOUND);
}

#[test]
fn a_model_with_external_data_is_captured_too() {
    let weight =
        external("w", DType::FLOAT32, &[3], &[("location", "w.bin"), ("offset", "0"), ("length", "12")]);
    let nodes = vec![node("Mul", &["x", "w"], &["m"]), node("Neg", &["m"], &["y"])];
    let mut graph = graph(nodes, vec![weight]);
    graph.input = vec![value("x", DType::FLOAT32, Some(&[3]))];
    let (folder, path) = saved(&model(graph));
    std::fs::write(folder.path().join("w.bin"), bytes_of(&[1.0, 10.0, 100.0])).unwrap();
    let backend = runner();
    let model = open(&backend, &path).unwrap();
    let numbers = bytes_of(&[2.0, 3.0, 4.0]);
    let input = TensorView::whole("x", DType::FLOAT32, &[3], &numbers);
    let ask = Ask { fetch: Some(Fetch::LAYERS), ..Ask::default() };
    let values = run(&model, &[input], &ask).unwrap().0;
    assert_eq!(values[0].floats(), [2.0, 30.0, 400.0]);
    assert_eq!(values[1].floats(), [-2.0, -30.0, -400.0]);
}

#[test]
fn values_inside_of_a_node_cannot_leave_it_and_that_is_said() {
    let branch = |op: &str, name: &str| {
        let mut inner = graph(vec![node(op, &["x"], &[name])], Vec::new());
        inner.input.clear();
        inner.output = vec![value(name, DType::FLOAT32, None)];
        inner
    };
    let choice = with_graph(node("If", &["condition"], &["y"]), "then_branch", branch("Neg", "a"));
    let choice = with_graph(choice, "else_branch", branch("Abs", "b"));
    let mut graph = graph(vec![choice, node("Neg", &["y"], &["z"])], vec![floats("unused", &[1], &[0.0])]);
    graph.input = vec![value("x", DType::FLOAT32, Some(&[1])), value("condition", DType::BOOL, Some(&[]))];
    let (_folder, path) = saved(&model(graph));
    let backend = runner();
    let model = open(&backend, &path).unwrap();
    let number = bytes_of(&[5.0]);
    let inputs = [
        TensorView::whole("x", DType::FLOAT32, &[1], &number),
        TensorView::whole("condition", DType::BOOL, &[], &[1]),
    ];
    let ask = Ask { fetch: Some(Fetch::LAYERS), ..Ask::default() };
    let values = run(&model, &inputs, &ask).unwrap().0;
    let found: Vec<_> = values.iter().map(|value| (value.name.as_str(), value.floats())).collect();
    assert_eq!(found, [("y", vec![-5.0]), ("z", vec![5.0])]);
    let ask = Ask { names: Some(&["a"]), ..Ask::default() };
    assert_eq!(run(&model, &inputs, &ask).unwrap_err().kind, ErrorKind::UNSUPPORTED_OP);
    assert!(model.info().unwrap().layers.iter().any(|layer| layer.outputs.iter().any(|name| name == "a")));
}
