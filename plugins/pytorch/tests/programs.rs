//! Exported programs through libtorch, against what Python's PyTorch computes: see `data/make_programs.py` and
//! `data/make_layouts.py`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use qp_abi::sdk::{DType, ErrorKind, Fetch, RString, TensorRole};
use qp_abi::{ModelBox, TensorView};
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use support::native::{run, run_for, setup};
use support::{Received, backend_with, open};
use zip::ZipArchive;

/// Float results of one operator after another: what vector units of another width add up differently.
const FLOAT_TOLERANCE: f64 = 1e-6;

/// A case: its program in a file of its own, and what goes in and comes out.
struct Case {
    name: String,
    folder: tempfile::TempDir,
    values: Value,
}

fn cases() -> Vec<Case> {
    cases_of("programs.zip")
}

fn cases_of(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    let mut archive = ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let names: Vec<String> = archive
        .file_names()
        .map(|name| name.unwrap().into_owned())
        .filter(|name| name.ends_with(".pt2"))
        .collect();
    let mut content = |name: &str| {
        let mut bytes = Vec::new();
        archive.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let cases = names.into_iter().map(|file| {
        let name = file.trim_end_matches(".pt2").to_owned();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(&file), content(&file)).unwrap();
        let values = serde_json::from_slice(&content(&format!("{name}.json"))).unwrap();
        Case { name, folder, values }
    });
    cases.collect()
}

impl Case {
    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join(format!("{}.pt2", self.name))
    }

    /// Runs the program on the case's inputs.
    fn run(&self, model: &ModelBox) -> Result<Vec<Received>, qp_abi::sdk::BackendError> {
        let info = model.info().into_result().unwrap();
        let given: Vec<Tensor> = self.values["inputs"].as_array().unwrap().iter().map(Tensor::of).collect();
        assert_eq!(given.len(), info.inputs.len(), "{}", self.name);
        let views: Vec<TensorView<'_>> = info
            .inputs
            .iter()
            .zip(&given)
            .map(|(input, tensor)| {
                TensorView::whole(input.name.as_str(), tensor.dtype, &tensor.shape, &tensor.bytes)
            })
            .collect();
        run(model, &views, &[]).map(|(_, outputs)| outputs)
    }

    /// Checks that a run on the case's inputs gives what Python's PyTorch gave.
    fn agrees(&self, model: &ModelBox) {
        let name = &self.name;
        let outputs = self.run(model).unwrap_or_else(|error| panic!("{name}: {error:?} {}", error.detail));
        let expected: Vec<Tensor> =
            self.values["outputs"].as_array().unwrap().iter().map(Tensor::of).collect();
        assert_eq!(outputs.len(), expected.len(), "{name}");
        for (output, expected) in outputs.iter().zip(expected) {
            assert_eq!(output.dtype, Some(expected.dtype), "{name}");
            assert_eq!(output.shape, expected.shape, "{name}");
            for (one, other) in decoded(output).iter().zip(&expected.numbers) {
                let scale = other.abs().max(1.0);
                let is_same = one == other
                    || (expected.dtype.is_float() && (one - other).abs() <= FLOAT_TOLERANCE * scale);
                assert!(is_same, "{name}: {one} {other}");
            }
        }
    }
}

/// A tensor of a case.
struct Tensor {
    dtype: DType,
    shape: Vec<i64>,
    numbers: Vec<f64>,
    bytes: Vec<u8>,
}

impl Tensor {
    fn of(value: &Value) -> Self {
        let dtype = DType::from_name(value["dtype"].as_str().unwrap()).unwrap();
        let shape = value["shape"].as_array().unwrap().iter().map(|size| size.as_i64().unwrap()).collect();
        let number = |number: &Value| match number.as_str() {
            Some(text) => text.parse().unwrap(),
            None => number.as_f64().unwrap(),
        };
        let numbers: Vec<f64> = value["numbers"].as_array().unwrap().iter().map(number).collect();
        let bytes = numbers.iter().flat_map(|number| encoded(dtype, *number)).collect();
        Self { dtype, shape, numbers, bytes }
    }
}

fn encoded(dtype: DType, number: f64) -> Vec<u8> {
    match dtype {
        DType::FLOAT64 => number.to_le_bytes().to_vec(),
        DType::FLOAT32 => (number as f32).to_le_bytes().to_vec(),
        DType::FLOAT16 => half::f16::from_f64(number).to_le_bytes().to_vec(),
        DType::INT64 => (number as i64).to_le_bytes().to_vec(),
        DType::INT16 => (number as i16).to_le_bytes().to_vec(),
        DType::INT8 => (number as i8).to_le_bytes().to_vec(),
        DType::UINT8 => (number as u8).to_le_bytes().to_vec(),
        other => panic!("{other}"),
    }
}

fn decoded(received: &Received) -> Vec<f64> {
    let bytes = received.bytes.as_slice();
    match received.dtype.unwrap() {
        DType::FLOAT64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
        DType::FLOAT32 => bytes.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
        DType::FLOAT16 => bytes.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f64()).collect(),
        DType::INT64 => bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
        DType::INT16 => bytes.as_chunks().0.iter().map(|&b| f64::from(i16::from_le_bytes(b))).collect(),
        DType::INT8 => bytes.iter().map(|b| f64::from(b.cast_signed())).collect(),
        DType::UINT8 => bytes.iter().map(|b| f64::from(*b)).collect(),
        other => panic!("{other}"),
    }
}

#[test]
fn every_program_gives_pythons_outputs_again_and_again() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let cases = cases();
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
    let cases = cases_of("layouts.zip");
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names, ["2.13_regions", "2.6_quantized", "2.6_regions", "2.8_quantized", "2.8_regions"]);
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
fn what_libtorch_lacks_is_named_with_its_node() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let cases = cases();
    let case = |name: &str| cases.iter().find(|case| case.name == name).unwrap();
    // A higher-order operator is known to be one before anything runs.
    let model = open(&backend, &case("refused_higher_order").path()).unwrap();
    let info = model.info().into_result().unwrap();
    let obstacle = info.run_obstacle.into_option().unwrap();
    assert_eq!(obstacle.kind, ErrorKind::UNSUPPORTED_OP, "{obstacle:?}");
    assert!(obstacle.message.contains("`cond`"), "{obstacle:?}");
    assert!(info.layers.iter().any(|layer| layer.op_type == "cond"), "it is inspected all the same");
    let model = open(&backend, &case("refused_custom_operator").path()).unwrap();
    let error = case("refused_custom_operator").run(&model).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UNSUPPORTED_OP);
    assert_eq!(error.message, "libtorch has no operator `qp_test::double`, which `double` calls");
}

#[test]
fn every_value_of_a_program_is_captured_under_the_name_of_the_graph() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let cases = cases();
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

#[test]
fn a_program_whose_inputs_do_not_fit_says_where_it_failed_in_one_line() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let cases = cases();
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
    let program = serde_json::json!({
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
    });
    let mut bytes = Vec::new();
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(&mut bytes));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file("m/models/model.json", stored).unwrap();
    std::io::Write::write_all(&mut archive, program.to_string().as_bytes()).unwrap();
    archive.finish().unwrap();
    bytes
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
