//! Exported programs through libtorch, against what Python's PyTorch computes: see `data/make_programs.py`,
//! `data/make_layouts.py` and `data/make_torchao.py`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use qp_abi::TensorView;
use qp_abi::sdk::{DType, ErrorKind, Fetch, RString, TensorRole};
use serde_json::Value;
use support::cases::{Tensor, cases};
use support::native::{run, run_for, setup};
use support::{backend_with, open, read_tensor};

#[test]
fn every_program_gives_pythons_outputs_again_and_again() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let cases = cases("programs.zip");
    assert!(cases.len() > 30);
    for case in cases.iter().filter(|case| !case.name.starts_with("refused")) {
        let model = open(&backend, &case.path()).unwrap();
        // A second run begins as the first did: what a program writes into its buffers does not stay.
        case.agrees(&model);
        case.agrees(&model);
    }
}

#[test]
fn programs_of_every_layout_run_with_their_regions_in_place() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let cases = cases("layouts.zip");
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let of_2_6_and_2_8 = ["2.6_quantized", "2.6_regions", "2.8_quantized", "2.8_regions"];
    assert_eq!(names, [["2.13_regions", "2.5_quantized"].as_slice(), &of_2_6_and_2_8].concat());
    for case in &cases {
        let model = open(&backend, &case.path()).unwrap();
        case.agrees(&model);
        let info = model.info().into_result().unwrap();
        assert!(info.layers.iter().all(|layer| !layer.op_type.starts_with("wrap_with")), "{}", case.name);
        if case.name.ends_with("quantized") {
            assert_eq!(info.scheme, "PT2E", "{}", case.name);
            continue;
        }
        assert!(info.layers.iter().any(|layer| layer.path == "stem" && layer.op_type == "Conv2d"));
        let weight = info.tensors.iter().find(|tensor| tensor.name == "fc.weight").unwrap();
        assert_eq!((weight.shape.as_slice(), weight.role), ([3, 2].as_slice(), TensorRole::PARAMETER));
        assert!(weight.external_file.is_empty(), "{}", case.name);
    }
}

#[test]
fn what_torchao_has_quantized_runs_and_shows_its_weights() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let cases = cases("torchao.zip");
    assert!(cases.len() > 20);
    for case in &cases {
        let model = open(&backend, &case.path()).unwrap();
        case.agrees(&model);
        let info = model.info().into_result().unwrap();
        let (precision, classes): (_, &[&str]) = match case.name.as_str() {
            "weight_only_int8" => ("weight-only-int8", &["Linear", "GELU", "Linear"]),
            "dynamic_int8" => ("dynamic-int8", &["Linear", "GELU", "Linear"]),
            "dynamic_int4" => ("dynamic-int4", &["Linear", "GELU", "Linear"]),
            "weight_only_int4" => ("weight-only-int4", &["Linear", "GELU", "Linear"]),
            "weight_only_float8" => ("weight-only-float8_e4m3fn", &["Linear", "GELU", "Linear"]),
            "unwrapped" => ("weight-only-int4", &["dequantize_affine", "linear"]),
            "unwrapped_dynamic" => {
                let quantizers = ["choose_qparams_affine", "quantize_affine", "dequantize_affine"];
                ("dynamic-int4", &[quantizers[0], quantizers[1], quantizers[2], quantizers[2], "linear"])
            }
            _ => continue,
        };
        assert_eq!((info.precision.as_str(), info.scheme.as_str()), (precision, "torchao"), "{}", case.name);
        let found: Vec<&str> = info.layers.iter().map(|layer| layer.op_type.as_str()).collect();
        assert_eq!(found, classes, "{}", case.name);
        let codes: Vec<_> = info.tensors.iter().filter(|tensor| tensor.quantization.is_some()).collect();
        assert_eq!(codes.len(), if classes[0] == "Linear" { 2 } else { 1 }, "{}", case.name);
        if let [first, second] = codes[..] {
            assert_eq!((first.name.as_str(), first.layer.as_str()), ("0.weight.qdata", "0"), "{}", case.name);
            assert_eq!((second.shape.as_slice(), second.layer.as_str()), ([32, 32].as_slice(), "2"));
            assert_eq!(read_tensor(&model, &first.name).unwrap().bytes.len(), 32 * 64);
        }
    }
}

#[test]
fn what_libtorch_lacks_is_named_with_its_node() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let cases = cases("programs.zip");
    let case = |name: &str| cases.iter().find(|case| case.name == name).unwrap();
    // A higher-order operator is known to be one before anything runs.
    let model = open(&backend, &case("refused_higher_order").path()).unwrap();
    let info = model.info().into_result().unwrap();
    let obstacle = info.run_obstacle.into_option().unwrap();
    assert_eq!(obstacle.kind, ErrorKind::UNSUPPORTED_OP, "{obstacle:?}");
    assert!(obstacle.message.contains("`while_loop`"), "{obstacle:?}");
    assert!(info.layers.iter().any(|layer| layer.op_type == "while_loop"), "it is inspected all the same");
    let model = open(&backend, &case("refused_custom_operator").path()).unwrap();
    let error = case("refused_custom_operator").run(&model).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UNSUPPORTED_OP);
    assert_eq!(error.message, "libtorch has no operator `qp_test::double`, which `double` calls");
}

#[test]
fn every_value_of_a_program_is_captured_under_the_name_of_the_graph() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let cases = cases("programs.zip");
    let case = cases.iter().find(|case| case.name == "small").unwrap();
    let model = open(&backend, &case.path()).unwrap();
    let info = model.info().into_result().unwrap();
    let paths: Vec<&str> = info.layers.iter().map(|layer| layer.path.as_str()).collect();
    assert_eq!(paths, ["conv", "bn", "act", "mean", "fc"]);
    let input = Tensor::of(&case.values["inputs"][0]);
    let view = TensorView::whole(info.inputs[0].name.as_str(), input.dtype, &input.shape, &input.bytes);
    let (_, all) = run_for(&model, &[view], &[], Fetch::LAYERS, &[]).unwrap();
    let names: Vec<&str> = all.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["conv2d", "batch_norm", "hardswish", "mean", "linear"]);
    assert_eq!(all[0].shape, [3, 3, 4, 4]);
    let wanted = ["linear", "conv2d"].map(RString::from);
    let (_, some) = run_for(&model, &[view], &[], Fetch::NAMED, &wanted).unwrap();
    assert_eq!((some[0].bytes.clone(), some[1].bytes.clone()), (all[4].bytes.clone(), all[0].bytes.clone()));
}

/// `hardswish(x) = x · min(max(x + 3, 0), 6) / 6`, so that 1 gives 2/3.
#[test]
fn values_that_are_given_stand_in_place_of_those_that_are_computed_for_one_run() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let cases = cases("programs.zip");
    let case = cases.iter().find(|case| case.name == "small").unwrap();
    let model = open(&backend, &case.path()).unwrap();
    let input = Tensor::of(&case.values["inputs"][0]);
    let view = TensorView::whole("x", input.dtype, &input.shape, &input.bytes);
    let (_, plain) = run_for(&model, &[view], &[], Fetch::LAYERS, &[]).unwrap();
    let ones: Vec<u8> = std::iter::repeat_n(1.0_f32.to_le_bytes(), 3 * 3 * 16).flatten().collect();
    let given = TensorView::whole("batch_norm", DType::FLOAT32, &[3, 3, 4, 4], &ones);
    let (_, all) = run_for(&model, &[view, given], &[], Fetch::LAYERS, &[]).unwrap();
    // What is replaced is delivered as it is computed.
    assert_eq!((&all[0].bytes, &all[1].bytes), (&plain[0].bytes, &plain[1].bytes));
    assert!(all[2].floats().iter().all(|value| (value - 2.0 / 3.0).abs() < 1e-6), "{:?}", all[2].floats());
    // One of another shape is none of these values.
    let other = TensorView::whole("batch_norm", DType::FLOAT32, &[1], &ones[..4]);
    let (_, same) = run_for(&model, &[view, other], &[], Fetch::LAYERS, &[]).unwrap();
    assert_eq!(same[4].bytes, plain[4].bytes);
    let unknown = TensorView::whole("nothing", DType::FLOAT32, &[1], &ones[..4]);
    assert_eq!(run(&model, &[view, unknown], &[]).unwrap_err().kind, ErrorKind::INVALID_INPUT);
    case.agrees(&model);
}

/// The buffer that the program adds to is the value itself: what was put there must not stay.
#[test]
fn a_stored_tensor_has_its_own_values_again_after_a_run_with_others() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let cases = cases("programs.zip");
    let case = cases.iter().find(|case| case.name == "a_buffer_that_is_written").unwrap();
    let model = open(&backend, &case.path()).unwrap();
    let info = model.info().into_result().unwrap();
    let input = Tensor::of(&case.values["inputs"][0]);
    let view = TensorView::whole(info.inputs[0].name.as_str(), input.dtype, &input.shape, &input.bytes);
    let sevens: Vec<u8> = std::iter::repeat_n(7.0_f32.to_le_bytes(), 3).flatten().collect();
    for layer in &info.layers {
        let given = TensorView::whole(layer.outputs[0].as_str(), DType::FLOAT32, &[3], &sevens);
        run_for(&model, &[view, given], &[], Fetch::LAYERS, &[]).unwrap();
        case.agrees(&model);
    }
}

#[test]
fn a_program_whose_inputs_do_not_fit_says_where_it_failed_in_one_line() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let cases = cases("programs.zip");
    let case = cases.iter().find(|case| case.name == "small").unwrap();
    let model = open(&backend, &case.path()).unwrap();
    let bytes = vec![0_u8; 4 * 5 * 16];
    let view = TensorView::whole("x", DType::FLOAT32, &[1, 5, 4, 4], &bytes);
    let error = run(&model, &[view], &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::RUNTIME_FAILED);
    assert_eq!(error.message, "libtorch failed to compute `conv2d`", "{}", error.detail);
    assert!(error.causes[0].contains("to have 2 channels, but got 5 channels"), "{error:?}");
    assert!(!error.causes[0].contains('\n'));
}

/// A program of one call, in the words of the export schema.
fn program_of(target: &str, inputs: &Value) -> Vec<u8> {
    packed(&program_text(target, inputs))
}

fn program_text(target: &str, inputs: &Value) -> Value {
    serde_json::json!({
        "schema_version": {"major": 8, "minor": 20},
        "graph_module": {
            "graph": {
                "inputs": [{"as_tensor": {"name": "x"}}],
                "outputs": [{"as_tensor": {"name": "y"}}],
                "nodes": [{
                    "target": target, "name": "y", "inputs": inputs, "metadata": {},
                    "outputs": [{"as_tensor": {"name": "y"}}],
                }],
                "tensor_values": {}, "sym_int_values": {}, "sym_bool_values": {},
            },
            "signature": {
                "input_specs": [{"user_input": {"arg": {"as_tensor": {"name": "x"}}}}],
                "output_specs": [{"user_output": {"arg": {"as_tensor": {"name": "y"}}}}],
            },
        },
    })
}

fn packed(program: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(&mut bytes));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file("m/models/model.json", stored).unwrap();
    std::io::Write::write_all(&mut archive, program.to_string().as_bytes()).unwrap();
    archive.finish().unwrap();
    bytes
}

/// Lists that name lists before them, and conditions that pass lists on: each would be some times as large as the last.
#[test]
fn what_a_name_stands_for_is_one_value() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.pt2");
    let named = |name: &str| serde_json::json!({"as_name": name});
    let mut inputs = vec![serde_json::json!({"user_input": {"arg": {"as_tensor": {"name": "x"}}}})];
    for level in 1..12 {
        let last = named(&format!("c{}", level - 1));
        let value = serde_json::json!({"as_sym_ints": vec![last; 10]});
        inputs.push(serde_json::json!({"constant_input": {"name": format!("c{level}"), "value": value}}));
    }
    inputs.insert(1, serde_json::json!({"constant_input": {"name": "c0", "value": {"as_ints": [1, 1]}}}));
    let mut graph = serde_json::json!({"inputs": [], "outputs": [{"as_tensor": {"name": "y"}}], "nodes": []});
    for _ in 0..8 {
        let given = serde_json::json!([
            {"name": "", "arg": {"as_bool": true}},
            {"name": "", "arg": {"as_graph": {"name": "a", "graph": graph.clone()}}},
            {"name": "", "arg": {"as_graph": {"name": "b", "graph": graph}}},
            {"name": "", "arg": {"as_nested_tensors": [vec![serde_json::json!({"name": "l"}); 30]]}},
        ]);
        let node = serde_json::json!({
            "target": "torch.ops.higher_order.cond", "inputs": given, "metadata": {},
            "outputs": [{"as_tensor": {"name": "y"}}],
        });
        let input = serde_json::json!({"as_tensor": {"name": "l"}});
        let output = serde_json::json!({"as_tensor": {"name": "y"}});
        graph = serde_json::json!({"inputs": [input], "outputs": [output], "nodes": [node]});
    }
    let relu = serde_json::json!([{"name": "self", "arg": {"as_tensor": {"name": "x"}}, "kind": 1}]);
    for is_condition in [false, true] {
        let mut program = program_text("torch.ops.aten.relu.default", &relu);
        match is_condition {
            true => program["graph_module"]["graph"] = graph.clone(),
            false => program["graph_module"]["signature"]["input_specs"] = inputs.clone().into(),
        }
        std::fs::write(&path, packed(&program)).unwrap();
        let model = open(&support::backend(), &path).unwrap();
        assert!(model.info().into_result().unwrap().run_obstacle.is_some());
    }
}

#[test]
fn a_program_that_reaches_for_files_is_refused() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let folder = tempfile::tempdir().unwrap();
    let (path, target) = (folder.path().join("m.pt2"), folder.path().join("written"));
    let inputs = serde_json::json!([
        {"name": "filename", "arg": {"as_string": target.display().to_string()}, "kind": 1},
        {"name": "shared", "arg": {"as_bool": true}, "kind": 1},
        {"name": "size", "arg": {"as_int": 16}, "kind": 1},
    ]);
    std::fs::write(&path, program_of("torch.ops.aten.from_file.default", &inputs)).unwrap();
    let model = open(&backend, &path).unwrap();
    let view = TensorView::whole("x", DType::FLOAT32, &[1], &[0; 4]);
    let error = run(&model, &[view], &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UNSAFE_FILE, "{error:?}");
    assert!(!target.exists());
}

#[test]
fn a_graph_that_contradicts_itself_is_corrupt() {
    let backend = support::backend();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.pt2");
    for inputs in [
        serde_json::json!([{"name": "self", "arg": {"as_tensor": {"name": "later"}}, "kind": 1}]),
        serde_json::json!([{"name": "self", "arg": {"as_tensor": 7}, "kind": 1}]),
        serde_json::json!([{"name": "self", "arg": {}, "kind": 1}]),
        serde_json::json!([{"name": "self", "arg": {"as_scalar_type": 999}, "kind": 1}]),
    ] {
        std::fs::write(&path, program_of("torch.ops.aten.relu.default", &inputs)).unwrap();
        let model = open(&backend, &path).unwrap();
        let obstacle = model.info().into_result().unwrap().run_obstacle.into_option().unwrap();
        assert_eq!(obstacle.kind, ErrorKind::CORRUPT_FILE, "{inputs}: {obstacle:?}");
    }
}
