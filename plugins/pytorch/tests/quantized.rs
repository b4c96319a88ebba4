//! Exported programs that are changed, written and read again, against what NumPy and Python's PyTorch compute: see
//! `data/make_quantized.py`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use qp_abi::abi_stable::RRef;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::RSlice;
use qp_abi::manifest::{Pair, pair};
use qp_abi::sdk::{BackendError, DType, Edit, ErrorKind, QUANTIZABLE, Quantizable, QuantizableOf, RVec};
use qp_abi::sink::{FnProgress, FnSink, Progress_TO, TensorSink_TO};
use qp_abi::{ModelBox, TensorView};
use serde_json::{Value, json};
use std::path::Path;
use support::cases::{Case, Tensor, cases};
use support::native::setup;
use support::{backend, backend_with, open, read_tensor, sample};

fn edited(model: &ModelBox, edits: &[Edit]) -> Result<ModelBox, BackendError> {
    let progress = FnProgress(|_: &str, _, _| false);
    model
        .edit(RSlice::from_slice(edits), Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque))
        .into_result()
}

fn exported(model: &ModelBox, path: &Path) -> Result<(), BackendError> {
    let progress = FnProgress(|_: &str, _, _| false);
    let progress = Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque);
    model.export(path.to_str().unwrap().into(), RSlice::EMPTY, progress).into_result()
}

fn quantizable(model: &ModelBox, of: &QuantizableOf) -> Result<Quantizable, BackendError> {
    let progress = FnProgress(|_: &str, _, _| false);
    let progress = Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque);
    let mut sink = FnSink(|_: TensorView<'_>| Ok(()));
    let sink = TensorSink_TO::from_ptr(qp_abi::abi_stable::RMut::new(&mut sink), TD_Opaque);
    let payload = serde_json::to_string(of).unwrap();
    let answer = model.request(QUANTIZABLE.into(), payload.as_str().into(), sink, progress).into_result()?;
    Ok(serde_json::from_str(&answer).unwrap())
}

fn edit(action: &str, target: &str, arguments: &[(&str, &str)]) -> Edit {
    let arguments: Vec<Pair> = arguments.iter().map(|(name, value)| pair(*name, *value)).collect();
    Edit {
        action: action.into(),
        target: target.into(),
        arguments: arguments.into(),
        dtype: DType::INT8,
        shape: RVec::new(),
        bytes: RVec::new(),
    }
}

fn with(mut edit: Edit, dtype: DType, shape: &[i64], bytes: &[u8]) -> Edit {
    (edit.dtype, edit.shape, edit.bytes) = (dtype, shape.to_vec().into(), bytes.to_vec().into());
    edit
}

/// The changes of a case.
fn edits(case: &Case) -> Vec<Edit> {
    let read = |row: &Value| {
        let arguments: Vec<Pair> = row["arguments"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| pair(name.as_str(), value.as_str().unwrap()))
            .collect();
        let mut edit = edit(row["action"].as_str().unwrap(), row["target"].as_str().unwrap(), &[]);
        edit.arguments = arguments.into();
        if let Some(dtype) = row.get("dtype") {
            edit.dtype = DType::from_name(dtype.as_str().unwrap()).unwrap();
        }
        match row.get("tensor").map(Tensor::of) {
            Some(tensor) => with(edit, tensor.dtype, &tensor.shape, &tensor.bytes),
            None => edit,
        }
    };
    case.values["edits"].as_array().unwrap().iter().map(read).collect()
}

fn case(name: &str) -> Case {
    cases("quantized.zip").into_iter().find(|case| case.name == name).unwrap()
}

#[test]
fn changed_programs_compute_what_python_does_and_are_the_same_in_a_file() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let cases = cases("quantized.zip");
    assert_eq!(cases.len(), 6);
    for case in &cases {
        let model = open(&backend, &case.path()).unwrap();
        let changed = edited(&model, &edits(case)).unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
        case.agrees(&changed);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changed.pt2");
        exported(&changed, &path).unwrap();
        assert_eq!(exported(&changed, &path).unwrap_err().kind, ErrorKind::IO, "the file is there");
        let again = open(&backend, &path).unwrap();
        case.agrees(&again);
        assert_eq!(again.info().into_result().unwrap().layers, changed.info().into_result().unwrap().layers);
        for (name, expected) in case.values.get("codes").and_then(Value::as_object).into_iter().flatten() {
            let (found, expected) = (read_tensor(&again, name).unwrap(), Tensor::of(expected));
            assert_eq!((found.dtype, &found.shape), (Some(expected.dtype), &expected.shape), "{name}");
            assert_eq!(found.bytes, expected.bytes, "{name}");
        }
    }
}

#[test]
fn values_and_weights_get_codes_as_the_xnnpack_quantizer_annotates_them() {
    let case = case("network");
    let model = open(&backend(), &case.path()).unwrap();
    let prepared = edited(&model, &[edit("prepare", "", &[])]).unwrap();
    let of = QuantizableOf { per_channel: true, ..QuantizableOf::default() };
    let plan = quantizable(&prepared, &of).unwrap();
    let values: Vec<Value> = plan.values.iter().map(|value| json!([value.name, value.same_as])).collect();
    assert_eq!(Value::Array(values), case.values["wanted"]["values"]);
    let tensors: Vec<Value> = plan.tensors.iter().map(|tensor| json!([tensor.name, tensor.axis])).collect();
    assert_eq!(Value::Array(tensors), case.values["wanted"]["tensors"]);
    assert!(plan.biases.is_empty() && plan.folded.is_empty());
    assert!(plan.layers.iter().all(|layer| layer.reason.is_none()), "{:?}", plan.layers);
    // Without a layer, and without a kind of layers.
    let of = QuantizableOf { exclude: ["second".to_owned()].into(), ..QuantizableOf::default() };
    let plan = quantizable(&prepared, &of).unwrap();
    let second = plan.layers.iter().find(|layer| layer.layer == "second").unwrap();
    assert_eq!(second.reason.as_ref().unwrap().code, "excluded");
    assert!(plan.tensors.iter().all(|tensor| tensor.name != "second.weight" && tensor.axis.is_none()));
    let of = QuantizableOf { op_types: ["Linear".to_owned()].into(), ..QuantizableOf::default() };
    let plan = quantizable(&prepared, &of).unwrap();
    let values: Vec<&str> = plan.values.iter().map(|value| value.name.as_str()).collect();
    assert_eq!(values, ["flatten"]);
}

#[test]
fn what_others_read_keeps_its_real_numbers() {
    let case = case("tied");
    let model = open(&backend(), &case.path()).unwrap();
    let before = read_tensor(&model, "embedding.weight").unwrap();
    let changed = edited(&model, &edits(&case)).unwrap();
    assert_eq!(read_tensor(&changed, "embedding.weight").unwrap().bytes, before.bytes);
    assert_eq!(read_tensor(&changed, "embedding.weight_codes").unwrap().dtype, Some(DType::INT8));
    let info = changed.info().into_result().unwrap();
    assert!(info.layers.iter().all(|layer| layer.op_type != "BatchNorm2d"));
    // The statistics of what is folded go, with their counters; the model that was changed has them still.
    assert!(info.tensors.iter().all(|tensor| !tensor.name.contains("_norm")));
    assert!(read_tensor(&model, "one_norm.running_mean").is_ok());
}

#[test]
fn changes_that_make_no_sense_are_refused_with_a_reason() {
    let network = case("network");
    let model = open(&backend(), &network.path()).unwrap();
    let one = [("scales", "0.5"), ("zero-points", "0")];
    let codes = |edit: Edit, shape: &[i64], count: usize| with(edit, DType::INT8, shape, &vec![1; count]);
    let many = "1,".repeat(1 << 16) + "1";
    let (invalid, missing, unsupported) =
        (ErrorKind::INVALID_INPUT, ErrorKind::NOT_FOUND, ErrorKind::UNSUPPORTED_OP);
    let refused = [
        (edit("bend", "x", &[]), unsupported),
        (edit("quantize-value", "nowhere", &one), missing),
        (edit("quantize-value", "x", &[]), invalid),
        (edit("quantize-value", "x", &[("scales", "0.5,0.5"), ("zero-points", "0,0")]), invalid),
        (edit("quantize-value", "x", &[("scales", "half"), ("zero-points", "0")]), invalid),
        (edit("quantize-value", "x", &[("scales", "0"), ("zero-points", "0")]), invalid),
        (edit("quantize-value", "x", &[("scales", "NaN"), ("zero-points", "0")]), invalid),
        (edit("quantize-value", "x", &[("scales", "1e39"), ("zero-points", "0")]), invalid),
        (edit("quantize-value", "x", &[("scales", "1"), ("zero-points", "128")]), invalid),
        (edit("quantize-value", "x", &[("scales", "1"), ("zero-points", "1e300")]), invalid),
        (edit("quantize-value", "x", &[("scales", "1"), ("zero-points", "0.5")]), invalid),
        (edit("quantize-value", "x", &[("same-as", "relu")]), missing),
        (with(edit("quantize-value", "x", &one), DType::FLOAT32, &[], &[]), unsupported),
        (edit("quantize-tensor", "nowhere", &one), missing),
        (codes(edit("quantize-tensor", "head.weight", &one), &[3, 5], 15), invalid),
        (codes(edit("quantize-tensor", "head.weight", &one), &[3, 4], 11), invalid),
        (
            codes(edit("quantize-tensor", "head.weight", &[("axis", "9"), one[0], one[1]]), &[3, 4], 12),
            invalid,
        ),
        (
            codes(edit("quantize-tensor", "head.weight", &[("axis", "-1"), one[0], one[1]]), &[3, 4], 12),
            invalid,
        ),
        (
            codes(
                edit(
                    "quantize-tensor",
                    "head.weight",
                    &[("axis", "0"), ("scales", &many), ("zero-points", &many)],
                ),
                &[3, 4],
                12,
            ),
            invalid,
        ),
        (codes(edit("quantize-tensor", "head.bias", &one), &[3], 3), unsupported),
        (with(edit("quantize-tensor", "head.weight", &one), DType::INT4, &[3, 4], &[0; 5]), invalid),
        (edit("set-quantization", "relu", &one), unsupported),
        (edit("set-quantization", "nowhere", &one), missing),
        (codes(edit("replace", "head.weight", &[]), &[3, 4], 12), invalid),
        (codes(edit("replace", "nowhere", &[]), &[3, 4], 12), missing),
        (codes(edit("store", "head.weight", &[]), &[1], 1), invalid),
        (codes(edit("store", "", &[]), &[1], 1), invalid),
        (codes(edit("store", "new", &[]), &[i64::MAX, 2], 1), invalid),
        (codes(edit("store", "new", &[]), &[-1], 1), invalid),
        (edit("unquantize", "relu", &[]), invalid),
        (edit("unquantize", "nowhere", &[]), missing),
        (edit("convert", "", &[]), invalid),
        (edit("convert", "", &[("to", "qoperator")]), unsupported),
    ];
    for (edit, kind) in refused {
        let error = edited(&model, std::slice::from_ref(&edit)).map(drop).unwrap_err();
        assert_eq!(error.kind, kind, "{} {}: {error:?}", edit.action, edit.target);
        assert!(!error.message.contains('\n') && error.message.len() < 400, "{}", error.message.len());
    }
    // An action that reads what is not there after one that changes something.
    let off = case("off");
    let model = open(&backend(), &off.path()).unwrap();
    let store = with(edit("store", "plain", &[]), DType::FLOAT32, &[2], &[0; 8]);
    for (name, kind) in [("nowhere", missing), ("plain", invalid)] {
        let real = edit("unquantize", "linear", &[("real:codes0", name)]);
        assert_eq!(edited(&model, &[store.clone(), real]).map(drop).unwrap_err().kind, kind, "{name}");
    }
}

#[test]
fn other_files_are_neither_changed_nor_written_and_say_why() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["resnet8_traced.pt", "resnet8_int8.pt"] {
        let model = open(&backend(), &sample(name)).unwrap();
        let errors = [
            edited(&model, &[edit("prepare", "", &[])]).map(drop).unwrap_err(),
            exported(&model, &folder.path().join("new.pt2")).unwrap_err(),
            quantizable(&model, &QuantizableOf::default()).map(drop).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind, ErrorKind::UNSUPPORTED_OP);
            assert!(error.message.contains("torch.export.save") && !error.help.is_empty());
        }
    }
    let packed = &cases("torchao.zip")[0];
    let model = open(&backend(), &packed.path()).unwrap();
    let error = edited(&model, &[edit("prepare", "", &[])]).map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UNSUPPORTED_OP, "{error:?}");
    assert!(error.message.contains("torchao"), "{}", error.message);
}

/// Values have the names by which the eager model is captured.
#[test]
fn an_eager_model_is_planned_and_changed_by_its_own_names() {
    let model = open(&backend(), &sample("resnet8.pt")).unwrap();
    let info = model.info().into_result().unwrap();
    let plan = quantizable(&model, &QuantizableOf { per_channel: true, ..QuantizableOf::default() }).unwrap();
    let outputs = info.layers.iter().flat_map(|layer| &layer.outputs).map(|name| name.as_str());
    let known: Vec<&str> = outputs.chain(info.inputs.iter().map(|input| input.name.as_str())).collect();
    assert_eq!((plan.values.len(), plan.tensors.len()), (17, 10));
    for value in &plan.values {
        assert!(known.contains(&value.name.as_str()), "{} is not in the file", value.name);
    }
    let parameters = [("scales", "0.02"), ("zero-points", "-128")];
    let changed = edited(&model, &[edit("quantize-value", "layer1.relu1", &parameters)]).unwrap();
    let layers = changed.info().into_result().unwrap().layers;
    let codes = layers.iter().find(|layer| layer.op_type == "quantize_per_tensor").unwrap();
    assert_eq!(codes.inputs[0], "layer1_relu1");
}

#[test]
fn programs_of_older_layouts_are_written_in_the_new_one() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let folder = tempfile::tempdir().unwrap();
    let mut written = 0;
    for case in &cases("layouts.zip") {
        let model = open(&backend, &case.path()).unwrap();
        // Schema 7 is that of PyTorch 2.5, which newer ones do not read in any layout.
        match edited(&model, &[edit("prepare", "", &[])]) {
            Ok(changed) => {
                case.agrees(&changed);
                let path = folder.path().join(format!("{}.pt2", case.name));
                exported(&changed, &path).unwrap();
                case.agrees(&open(&backend, &path).unwrap());
                written += 1;
            }
            Err(error) => {
                assert_eq!((case.name.as_str(), error.kind), ("2.5_quantized", ErrorKind::UNSUPPORTED_OP));
            }
        }
    }
    assert_eq!(written, 5);
}

/// A graph like that of a file, with one thing wrong: whatever comes out, it is a result or an error of the file.
#[test]
fn damaged_programs_are_changed_or_refused() {
    let network = case("network");
    let good = std::fs::read(network.path()).unwrap();
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(good)).unwrap();
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        entries.push((entry.name().unwrap().into_owned(), content));
    }
    let program = entries.iter().position(|(name, _)| name.ends_with("models/model.json")).unwrap();
    let whole: Value = serde_json::from_slice(&entries[program].1).unwrap();
    let mut paths = Vec::new();
    places(&whole["graph_module"], &mut "/graph_module".to_owned(), &mut paths);
    assert!(paths.len() > 1000);
    let all = edits(&network);
    let off = [edit("unquantize", "linear", &[("if-any", "")]), edit("convert", "", &[("to", "float")])];
    let folder = tempfile::tempdir().unwrap();
    let backend = backend();
    let wrong =
        [json!(null), json!(-1), json!(1e300), json!("x"), json!([]), json!({"as_tensor": {"name": "x"}})];
    let (mut refused, mut changed) = (0, 0);
    // Every 11th place, each with another of the wrong values: all kinds of places are among them.
    for (index, path) in paths.iter().enumerate().step_by(11) {
        let mut damaged = whole.clone();
        *damaged.pointer_mut(path).unwrap() = wrong[index % wrong.len()].clone();
        entries[program].1 = serde_json::to_vec(&damaged).unwrap();
        let file = folder.path().join("damaged.pt2");
        let mut out = zip::ZipWriter::new(std::fs::File::create(&file).unwrap());
        for (name, content) in &entries {
            out.start_file(name.as_str(), zip::write::SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut out, content).unwrap();
        }
        out.finish().unwrap();
        let Ok(model) = open(&backend, &file) else { continue };
        for of in
            [QuantizableOf::default(), QuantizableOf { quantize_moves: true, ..QuantizableOf::default() }]
        {
            quantizable(&model, &of).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        }
        for edits in [&all[..], &all[1..], &off] {
            match edited(&model, edits) {
                Ok(_) => changed += 1,
                Err(error) => {
                    assert_ne!(error.kind, ErrorKind::INTERNAL, "{path}: {error:?}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 9 && changed > 99, "{refused} refused, {changed} changed");
}

/// The pointers of all values within a value.
fn places(value: &Value, at: &mut String, found: &mut Vec<String>) {
    let length = at.len();
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(entries) => entries.iter().map(|(key, entry)| (key.clone(), entry)).collect(),
        Value::Array(elements) => {
            elements.iter().enumerate().map(|(index, element)| (index.to_string(), element)).collect()
        }
        _ => Vec::new(),
    };
    for (key, entry) in entries {
        at.push('/');
        at.push_str(&key.replace('~', "~0").replace('/', "~1"));
        found.push(at.clone());
        places(entry, at, found);
        at.truncate(length);
    }
}
