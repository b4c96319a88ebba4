//! TorchScript with all its layers: the files of `tests/data/make_torchscript.py`, against what Python's PyTorch computes
//! and the code that is in them. Where libtorch is not installed, only what is read is tested.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use qp_abi::TensorView;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::{RMut, RRef};
use qp_abi::sdk::{AttributeValue, BackendError, DType, ErrorKind, Fetch, LayerInfo, ModelInfo};
use qp_abi::sink::{FnProgress, FnSink, Progress_TO, TensorSink_TO};
use std::path::{Path, PathBuf};
use support::native::{bytes_of, run, run_for, setup};
use support::{Received, backend, backend_with, inspect, names, open};

/// Both sides compute with the same kernels, one operator at a time or several.
const TOLERANCE: f64 = 1e-6;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn layer<'a>(info: &'a ModelInfo, path: &str) -> &'a LayerInfo {
    info.layers.iter().find(|layer| layer.path == path).unwrap_or_else(|| panic!("no layer {path}"))
}

/// The two inputs for which make_torchscript.py computes.
fn inputs() -> (Vec<u8>, Vec<u8>) {
    let x = bytes_of(&[-1.0, 0.5, 2.0, -0.25, 0.75, -2.0, 0.125, 1.0]);
    (x, bytes_of(&[0.5, -0.5, 0.25, 0.0]))
}

fn numbers(tensor: &Received) -> Vec<f64> {
    let (chunks, _) = tensor.bytes.as_chunks::<8>();
    match tensor.dtype {
        Some(DType::INT64) => chunks.iter().map(|bytes| i64::from_le_bytes(*bytes) as f64).collect(),
        Some(DType::BOOL) => tensor.bytes.iter().map(|byte| f64::from(*byte)).collect(),
        _ => tensor.floats().into_iter().map(f64::from).collect(),
    }
}

#[test]
fn every_value_is_captured_under_the_path_that_computes_it_as_python_computes_it() {
    let Some(setup) = setup() else { return };
    let model = open(&backend_with(setup), &data("scripted.pt")).unwrap();
    let (x, bias) = inputs();
    let views = [
        TensorView::whole("x", DType::FLOAT32, &[2, 4], &x),
        TensorView::whole("bias", DType::FLOAT32, &[4], &bias),
    ];
    let text = std::fs::read_to_string(data("scripted.json")).unwrap();
    let expected: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    let (_, captured) = run_for(&model, &views, &[], Fetch::LAYERS, &[]).unwrap();
    let is_captured = |name: &str| captured.iter().any(|tensor| tensor.name == name);
    let missing: Vec<&String> = expected.keys().filter(|name| !is_captured(name)).collect();
    assert_eq!((captured.len(), expected.len()), (30, 30), "not captured: {missing:?}");
    for tensor in &captured {
        let python = expected.get(&tensor.name).unwrap_or_else(|| panic!("Python has no {}", tensor.name));
        let python: Vec<f64> = python.as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
        let found = numbers(tensor);
        assert_eq!(found.len(), python.len(), "{}", tensor.name);
        for (one, other) in found.iter().zip(&python) {
            assert!((one - other).abs() <= TOLERANCE, "{}: {one}, {other} in Python", tensor.name);
        }
    }
    // One by one, too, and in another order than that of the run.
    let wanted = ["loop:1", "pair", "fc_1"].map(Into::into);
    let (_, some) = run_for(&model, &views, &[], Fetch::NAMED, &wanted).unwrap();
    for (tensor, name) in some.iter().zip(["loop:1", "pair", "fc_1"]) {
        let same = captured.iter().find(|other| other.name == name).unwrap();
        assert_eq!((&tensor.name, &tensor.bytes), (&same.name, &same.bytes));
    }
}

#[test]
fn a_module_of_the_users_own_is_opened_and_its_path_names_what_it_returns() {
    let info = inspect(&data("scripted.pt")).unwrap();
    let sigmoid = layer(&info, "list.1.sigmoid");
    assert_eq!((sigmoid.scope.as_str(), names(&sigmoid.inputs)), ("list.1", vec!["list.0"]));
    let act = layer(&info, "list.1");
    assert_eq!(act.op_type, "Swish");
    assert_eq!(names(&act.inputs), ["list.0", "list.1.sigmoid"]);
    assert_eq!(names(&act.outputs), ["list.1"]);
    // Of a tuple each tensor is an output; the module hands on what its operators compute.
    let pair = layer(&info, "pair");
    assert_eq!(names(&pair.inputs), ["pair.add", "pair.relu"]);
    assert_eq!(names(&pair.outputs), ["pair", "pair:1"]);
    // A list is known as far as the code unpacks it.
    assert_eq!(names(&layer(&info, "chunk").outputs), ["chunk", "chunk:1"]);
    // The second call of a module, by a method of the same class.
    assert_eq!(names(&layer(&info, "fc_1").inputs), ["tanh"]);
    // A function of the user's own is part of the module that calls it.
    assert_eq!(names(&layer(&info, "mul").inputs), ["sigmoid", "named.b"]);
}

#[test]
fn an_if_and_a_loop_are_one_layer_each_where_they_stand() {
    let info = inspect(&data("scripted.pt")).unwrap();
    let branch = layer(&info, "if");
    assert_eq!(names(&branch.inputs), ["gt", "named.b"]);
    assert_eq!(names(&branch.outputs), ["if", "if:1"]);
    let rare = layer(&info, "rare");
    assert!(rare.outputs.is_empty() && rare.tensors.len() == 2);
    assert_eq!(rare.attributes[0].value, AttributeValue::Text("if".into()));
    // `if self.training` is never taken and `if self.is_scaled` always: its addition is a layer.
    assert_eq!(names(&layer(&info, "add").inputs), ["if:1"]);
    assert_eq!(names(&layer(&info, "loop").outputs), ["loop", "loop:1"]);
    // The `if` that raises and the loop that fills a list yield no tensor.
    let listed = info.layers.iter().filter(|layer| layer.op_type == "if" || layer.op_type == "loop");
    assert_eq!(listed.count(), 3);
}

fn listing(path: &Path, layer: &str) -> Result<serde_json::Value, BackendError> {
    let model = open(&backend(), path).unwrap();
    let mut sink = FnSink(|_: TensorView<'_>| panic!("a listing has no tensors"));
    let sink = TensorSink_TO::from_ptr(RMut::new(&mut sink), TD_Opaque);
    let progress = FnProgress(|_: &str, _, _| false);
    let progress = Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque);
    let payload = serde_json::json!({ "layer": layer }).to_string();
    let answer = model.request("code/1".into(), payload.as_str().into(), sink, progress).into_result()?;
    Ok(serde_json::from_str(&answer).unwrap())
}

#[test]
fn the_listing_has_the_methods_and_all_that_they_compute() {
    let path = data("scripted.pt");
    let root = listing(&path, "").unwrap();
    let methods: Vec<&str> =
        root["methods"].as_array().unwrap().iter().map(|method| method["name"].as_str().unwrap()).collect();
    assert_eq!((root["class"].as_str(), methods), (Some("Scripted"), vec!["forward", "encode", "twice"]));
    let steps = root["inlined"].as_array().unwrap();
    let has = |layer: &str, depth: u64, text: &str| {
        steps.iter().any(|step| {
            step["layer"] == layer && step["depth"] == depth && step["text"].as_str().unwrap().contains(text)
        })
    };
    assert!(has("fc", 0, "= torch.linear(x, fc.weight, fc.bias)"), "{steps:#?}");
    assert!(has("list.1", 0, "torch.sigmoid("));
    assert!(has("", 0, "if bool(torch.gt(torch.sum("));
    assert!(has("rare", 1, "= torch.linear("));
    assert!(has("", 1, "torch.append("));
    // An operator is computed by a module.
    let act = listing(&path, "list.1.sigmoid").unwrap();
    assert_eq!((act["layer"].as_str(), act["class"].as_str()), (Some("list.1"), Some("Swish")));
    assert_eq!(act["inlined"][0]["text"], "return torch.mul(x, torch.sigmoid(x))");
    assert_eq!(listing(&path, "nowhere").unwrap_err().kind, ErrorKind::NOT_FOUND);
    assert_eq!(listing(&data("tensors.pt"), "").unwrap_err().kind, ErrorKind::UNSUPPORTED_OP);
    let info = inspect(&path).unwrap();
    assert!(info.metadata.iter().any(|pair| pair.0 == "methods beside forward" && pair.1 == "encode, twice"));
}

#[test]
fn what_a_model_raises_is_one_line_and_the_traceback_is_detail() {
    let Some(setup) = setup() else { return };
    let model = open(&backend_with(setup), &data("refuses.pt")).unwrap();
    let bytes = bytes_of(&[0.0; 12]);
    let few = TensorView::whole("x", DType::FLOAT32, &[2, 3], &bytes[..24]);
    let error = run(&model, &[few], &[]).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::RUNTIME_FAILED, "the model raised an error")
    );
    assert_eq!(error.causes.as_slice(), ["ValueError: 2 samples are too few"]);
    assert!(error.detail.contains("Traceback of TorchScript"), "{}", error.detail);
    let wide = TensorView::whole("x", DType::FLOAT32, &[3, 4], &bytes);
    let error = run(&model, &[wide], &[]).unwrap_err();
    assert_eq!(error.message, "libtorch failed to compute `fc`");
    assert_eq!(error.causes.as_slice(), ["mat1 and mat2 shapes cannot be multiplied (3x4 and 3x2)"]);
    let good = TensorView::whole("x", DType::FLOAT32, &[4, 3], &bytes);
    assert_eq!(run(&model, &[good], &[]).unwrap().1[0].shape, [4, 2]);
}

#[test]
fn an_operator_that_libtorch_lacks_is_named_with_its_layer() {
    let path = data("custom_op.pt");
    let info = inspect(&path).unwrap();
    assert!(info.layers.iter().any(|layer| layer.path == "custom.double" && layer.domain == "qp_test"));
    let Some(setup) = setup() else { return };
    let model = open(&backend_with(setup), &path).unwrap();
    let bytes = bytes_of(&[0.0; 3]);
    let x = TensorView::whole("x", DType::FLOAT32, &[1, 3], &bytes);
    let error = run(&model, &[x], &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UNSUPPORTED_OP);
    assert_eq!(error.message, "libtorch has no operator `qp_test::double`");
    assert_eq!(error.causes.as_slice(), ["the layer `custom` computes with it"]);
}

#[test]
fn a_mobile_archive_is_recognized_and_runs() {
    let info = inspect(&data("lite.ptl")).unwrap();
    assert!(info.versions.iter().any(|pair| pair.0 == "mobile bytecode" && pair.1 == "8"));
    let Some(setup) = setup() else { return };
    let model = open(&backend_with(setup), &data("lite.ptl")).unwrap();
    let bytes = bytes_of(&[1.0, -1.0, 0.5]);
    let x = TensorView::whole("x", DType::FLOAT32, &[1, 3], &bytes);
    // As make_torchscript.py prints it.
    let expected = [0.083_760_83_f32, 0.310_124_75];
    for (one, other) in run(&model, &[x], &[]).unwrap().1[0].floats().iter().zip(expected) {
        assert!((one - other).abs() < 1e-6, "{one}, {other}");
    }
}

#[test]
fn a_mobile_model_in_flatbuffers_is_recognized_and_refused() {
    let path = data("flatbuffer.ptl");
    let head = std::fs::read(&path).unwrap();
    let format = backend().probe(head.as_slice().into(), "net.ptl".into()).into_result().unwrap();
    assert_eq!(format.into_option().unwrap(), "torchscript");
    let error = inspect(&path).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UNSUPPORTED_FORMAT);
    assert!(error.message.contains("FlatBuffers") && error.help.contains("torch.jit.save"), "{error:?}");
}

#[test]
fn code_that_writes_files_is_refused_before_libtorch_sees_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/saves.pt");
    let info = inspect(&path).unwrap();
    let obstacle = info.run_obstacle.into_option().unwrap();
    assert_eq!(obstacle.kind, ErrorKind::UNSAFE_FILE);
    assert_eq!(obstacle.message, "the file calls `aten::save`, which does more than compute");
    assert!(info.findings.iter().any(|finding| finding.code == "code.reaches-out"));
}
