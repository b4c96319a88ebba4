//! `run`: real models on real runtimes.

use crate::support::plugin::model;
use crate::support::world::World;
use std::fs::File;

/// The outputs of the Python runtimes on the first 100 digits, as scripts/make_models.py recorded them.
fn golden(file: &str) -> Vec<f32> {
    let mut archive = zip::ZipArchive::new(File::open(model("golden_outputs.npz")).unwrap()).unwrap();
    let entry = archive.by_name(&format!("{file}.npy")).unwrap();
    npyz::NpyFile::new(entry).unwrap().into_vec().unwrap()
}

/// The largest difference of any probability from Python's over the first digits.
fn largest_difference(file: &str, digits: usize) -> f64 {
    let world = World::new();
    let mut session = world.session();
    session.command("open models");
    session.command("use resnet8.onnx");
    let expected = golden(file);
    let mut largest = 0.0_f64;
    for digit in 0..digits {
        session.command(&format!("input models/digits.npz:images[{digit}]"));
        let ran = session.command(&format!("run {file}"));
        let values = ran["outputs"][0]["values"].as_array().unwrap_or_else(|| panic!("{ran}"));
        assert_eq!(values.len(), 10);
        for (class, value) in values.iter().enumerate() {
            largest = largest.max((value.as_f64().unwrap() - f64::from(expected[digit * 10 + class])).abs());
        }
    }
    println!("{file}: {largest:e}");
    largest
}

/// Float kernels may add in another order.
const FLOAT_TOLERANCE: f64 = 1e-5;
/// The quantized ONNX models answer differently from CPU to CPU (models/README.md).
const INT8_ONNX_TOLERANCE: f64 = 0.02;
/// FBGEMM and oneDNN agree on every CPU but for one quantization step of the logits.
const INT8_PYTORCH_TOLERANCE: f64 = 0.02;

#[test]
fn float_onnx_agrees_with_python() {
    assert!(largest_difference("resnet8.onnx", 100) <= FLOAT_TOLERANCE);
}

/// 100 digits in runs of 7, with 2 in the last, are saved as what Python computed of each.
#[test]
fn samples_that_are_run_some_at_a_time_agree_with_python() {
    let world = World::new();
    let mut session = world.session();
    session.command("open models");
    session.command("input models/digits.npz:images[0:100]");
    let ran = session.command("run resnet8.onnx --batch 7 --save outputs.npz");
    assert_eq!(ran["outputs"][0]["shape"], serde_json::json!([100, 10]), "{ran}");
    let file = File::open(world.path("outputs.npz")).unwrap();
    let mut archive = zip::ZipArchive::new(file).unwrap();
    let first = archive.by_index(0).unwrap();
    let saved: Vec<f32> = npyz::NpyFile::new(first).unwrap().into_vec().unwrap();
    let expected = golden("resnet8.onnx");
    assert_eq!(saved.len(), 1000);
    for (own, expected) in saved.iter().zip(&expected) {
        assert!((own - expected).abs() <= FLOAT_TOLERANCE as f32, "{own} {expected}");
    }
}

#[test]
fn int8_onnx_agrees_with_python() {
    assert!(largest_difference("resnet8_int8.onnx", 100) <= INT8_ONNX_TOLERANCE);
}

#[test]
fn uint8_onnx_agrees_with_python() {
    assert!(largest_difference("resnet8_uint8.onnx", 100) <= INT8_ONNX_TOLERANCE);
}

#[test]
fn float_torchscript_agrees_with_python() {
    assert!(largest_difference("resnet8_traced.pt", 100) <= FLOAT_TOLERANCE);
}

#[test]
fn int8_torchscript_agrees_with_python() {
    assert!(largest_difference("resnet8_int8.pt", 100) <= INT8_PYTORCH_TOLERANCE);
}

#[test]
fn both_runtimes_work_in_one_process_in_either_order() {
    let world = World::new();
    for order in [["resnet8.onnx", "resnet8_traced.pt"], ["resnet8_traced.pt", "resnet8.onnx"]] {
        let [first, second] = order;
        let results = world.jsons(&format!(
            "open models; use resnet8.onnx; input models/digits.npz:images[3]; run {first}; run {second}"
        ));
        let top = |index: usize| results[index]["outputs"][0]["top"][0]["class"].clone();
        assert_eq!(top(3), top(4));
    }
}

#[test]
fn a_batch_gives_a_row_for_each_sample() {
    let world = World::new();
    let ran = world.json("load models/resnet8.onnx; input models/digits.npz:images[0:4]; run");
    assert_eq!(ran["outputs"][0]["shape"], serde_json::json!([4, 10]));
    let expected = golden("resnet8.onnx");
    for (value, expected) in ran["outputs"][0]["values"].as_array().unwrap().iter().zip(expected) {
        assert!((value.as_f64().unwrap() - f64::from(expected)).abs() <= FLOAT_TOLERANCE);
    }
}

#[test]
fn settings_reach_the_runtime_and_an_unknown_one_is_refused() {
    let world = World::new();
    let ran = world.json("load models/resnet8.onnx; input zeros; run --set optimization=disable");
    let settings = ran["settings"].to_string();
    assert!(settings.contains("disable"), "{settings}");
    let refused = world.run("load models/resnet8.onnx; input zeros; run --set nonsense=1");
    assert_eq!(refused.code, 1);
    assert!(refused.error().contains("nonsense"), "{}", refused.talk);
}

#[test]
fn without_an_input_or_a_computation_it_says_what_to_do() {
    let world = World::new();
    let ran = world.run("load models/resnet8.onnx; run");
    assert_eq!(
        (ran.error(), ran.hint()),
        ("no input is chosen", "Choose one with `input random` or `input FILE`.")
    );
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/pytorch/tests/data/subclass.pt");
    let ran = world.run(&format!("open models; use resnet8.onnx; input zeros; run {weights}"));
    assert_eq!(ran.code, 1);
    assert!(ran.talk.contains("torch.jit.trace"), "{}", ran.talk);
}

#[test]
fn a_setting_is_refused_where_no_backend_has_it_and_goes_to_those_that_do() {
    let world = World::new();
    let ran = world.run("input models/digits.npz:images[0:2]; run models/resnet8.onnx --qengine fbgemm");
    assert_eq!((ran.code, ran.error()), (2, "ONNX Runtime does not support `--qengine`"));
    let found = world.json(
        "input models/digits.npz:images[0:2]; run models/resnet8.onnx models/resnet8_int8.pt --qengine qnnpack --threads 1",
    );
    let settings = found["models"][1]["settings"].to_string();
    assert!(settings.contains("qnnpack"), "{settings}");
    assert!(!found["models"][0]["settings"].to_string().contains("qengine"));
    let found = world.json(
        "input models/digits.npz:images[0:8]; drift models/resnet8_int8.pt --threads 1 --qengine fbgemm,qnnpack",
    );
    let engines: Vec<&str> =
        found["rows"].as_array().unwrap().iter().map(|row| row["qengine"].as_str().unwrap()).collect();
    assert_eq!(engines, ["fbgemm", "qnnpack"]);
    assert_eq!((&found["rows"][0]["differing"], &found["rows"][0]["elements"]), (&0.into(), &80.into()));
}

/// `refuses.pt` of plugins/pytorch/tests/data/make_torchscript.py prints and warns whenever it runs.
#[test]
fn what_a_torchscript_model_prints_and_warns_is_on_no_screen() {
    let world = World::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/pytorch/tests/data/refuses.pt");
    let ran = world.run_args(&["--format", "json", "-c", &format!("input ones --shape 4,3; run '{file}'")]);
    assert_eq!((ran.code, ran.talk.as_str()), (0, ""));
    let documents: Result<Vec<serde_json::Value>, _> = ran.output.lines().map(serde_json::from_str).collect();
    assert_eq!(documents.unwrap().len(), 2, "{}", ran.output);
    let ran = world.run(&format!("input ones --shape 2,3; run '{file}'"));
    assert_eq!(ran.error(), "the model raised an error: ValueError: 2 samples are too few");
    assert!(!format!("{}{}", ran.output, ran.talk).contains("ed by the model"), "{}{}", ran.output, ran.talk);
    assert!(!ran.talk.contains("Traceback"), "{}", ran.talk);
    let commands = format!("input ones --shape 2,3; run '{file}'");
    let ran = world.run_args(&["--verbose", "-c", &commands]);
    assert!(ran.talk.contains("Traceback of TorchScript"), "{}", ran.talk);
}

#[test]
fn a_model_that_cannot_be_run_says_so_before_it_asks_for_an_input() {
    let world = World::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/pytorch/tests/data/torchao.safetensors");
    for command in ["run", "drift", "capture"] {
        let error = world.run(&format!("{command} '{file}'")).error().to_owned();
        assert!(error.contains("holds weights"), "{command}: {error}");
    }
    let ran = world.run(&format!("load '{file}'; input ones"));
    assert_eq!(ran.code, 0, "{}", ran.talk);
    assert!(ran.output.contains("cannot be run"), "{}", ran.output);
}
