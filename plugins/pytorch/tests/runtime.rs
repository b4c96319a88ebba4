//! Runs of the sample models through libtorch. Where libtorch is not installed, only its absence is tested.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use qp_abi::TensorView;
use qp_abi::manifest::pair;
use qp_abi::sdk::{DType, ErrorKind, Fetch, RString, Setup};
use support::native::{bytes_of, run, run_for, run_request, setup};
use support::{backend_with, npz, open, sample};

/// Between two CPUs the last digits of a softmax differ.
const FLOAT_TOLERANCE: f32 = 1e-5;
/// One step of an activation's scale, through a softmax.
const INT8_TOLERANCE: f32 = 0.02;

/// The largest absolute difference between the model's outputs and Python's, over the first 100 digits.
fn largest_difference(file: &str) -> Option<f32> {
    let backend = backend_with(setup()?);
    let model = open(&backend, &sample(file)).unwrap();
    let input = model.info().into_result().unwrap().inputs[0].name.to_string();
    let (shape, images) = npz::images(&sample("digits.npz"));
    let (golden_shape, golden) = npz::floats(&sample("golden_outputs.npz"), file);
    let (pixels, classes) = (shape[1..].iter().product(), golden_shape[1]);
    assert_eq!(golden_shape[0], 100);
    let mut largest = 0.0_f32;
    for (image, golden) in images.chunks(pixels).zip(golden.chunks(classes)) {
        let bytes = bytes_of(image);
        let view = TensorView::whole(&input, DType::FLOAT32, &[1, 32, 32, 3], &bytes);
        let (_, outputs) = run(&model, &[view], &[]).unwrap();
        assert_eq!(outputs.len(), 1);
        assert_eq!(outputs[0].shape, [1, 10]);
        // Probabilities, and no NaN that a maximum would swallow.
        assert!((outputs[0].floats().iter().sum::<f32>() - 1.0).abs() < 1e-3);
        for (one, other) in outputs[0].floats().iter().zip(golden) {
            largest = largest.max((one - other).abs());
        }
    }
    Some(largest)
}

/// What ends the process at a layer is found by the last stage.
#[test]
fn a_run_by_steps_tells_each_layer_before_it() {
    let Some(setup) = setup() else { return };
    let model = open(&backend_with(setup), &sample("resnet8_traced.pt")).unwrap();
    let input = model.info().into_result().unwrap().inputs[0].name.to_string();
    let image = bytes_of(&[0.5; 3072]);
    let view = TensorView::whole(&input, DType::FLOAT32, &[1, 32, 32, 3], &image);
    let stages = std::sync::Mutex::new(Vec::new());
    let tell = |stage: &str| {
        let mut stages = stages.lock().unwrap();
        if stage.starts_with(qp_abi::sdk::STEP_STAGE) && stages.last().is_none_or(|last| last != stage) {
            stages.push(stage.to_owned());
        }
        true
    };
    let options = [pair(qp_abi::sdk::STEPS, "true")];
    let (_, values) = run_request(&model, &[view], &options, (Fetch::LAYERS, &[]), &tell).unwrap();
    let stages = stages.into_inner().unwrap();
    // The values that are delivered are among them, in the same order, each told before it comes.
    let mut told = stages.iter();
    for value in &values {
        let stage = qp_abi::sdk::step_stage(&value.name);
        assert!(told.any(|told| *told == stage), "{stage} of {stages:?}");
    }
    assert!(values.len() > 20, "{}", values.len());
}

#[test]
fn the_traced_model_gives_pythons_outputs() {
    let Some(largest) = largest_difference("resnet8_traced.pt") else { return };
    println!("largest absolute difference: {largest}");
    assert!(largest <= FLOAT_TOLERANCE, "{largest}");
}

#[test]
fn the_eager_model_gives_pythons_outputs() {
    let Some(largest) = largest_difference("resnet8.pt") else { return };
    println!("largest absolute difference: {largest}");
    assert!(largest <= FLOAT_TOLERANCE, "{largest}");
}

#[test]
fn the_int8_model_gives_pythons_outputs() {
    let Some(largest) = largest_difference("resnet8_int8.pt") else { return };
    println!("largest absolute difference: {largest}");
    assert!(largest <= INT8_TOLERANCE, "{largest}");
}

#[test]
fn the_outputs_have_the_names_of_the_description_and_the_run_says_its_settings() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let model = open(&backend, &sample("resnet8_int8.pt")).unwrap();
    let bytes = bytes_of(&[0.0; 2 * 32 * 32 * 3]);
    let view = TensorView::whole("image", DType::FLOAT32, &[2, 32, 32, 3], &bytes);
    let (report, outputs) = run(&model, &[view], &[pair("threads", "1")]).unwrap();
    let info = model.info().into_result().unwrap();
    assert_eq!(outputs[0].name, info.outputs[0].name.as_str());
    assert_eq!(outputs[0].shape, [2, 10]);
    assert!(report.elapsed_ns > 0);
    let settings: Vec<_> = report.settings.iter().map(|pair| (pair.0.as_str(), pair.1.as_str())).collect();
    assert!(settings.contains(&("threads", "1")), "{settings:?}");
    assert!(settings.iter().any(|(name, _)| *name == "qengine"), "{settings:?}");
    let name = [info.outputs[0].name.clone()];
    let (_, named) = run_for(&model, &[view], &[], Fetch::NAMED, &name).unwrap();
    assert_eq!(named[0].bytes, outputs[0].bytes);
    assert!(backend.runtime().into_result().unwrap().is_loaded);
}

#[test]
fn inputs_that_do_not_fit_are_refused_before_libtorch_sees_them() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let model = open(&backend, &sample("resnet8_traced.pt")).unwrap();
    let info = model.info().into_result().unwrap();
    let name = info.inputs[0].name.as_str();
    let bytes = bytes_of(&[0.0; 32 * 32 * 3]);
    let good = TensorView::whole(name, DType::FLOAT32, &[1, 32, 32, 3], &bytes);
    let short = TensorView::whole(name, DType::FLOAT32, &[9, 32, 32, 3], &bytes);
    let integer = TensorView::whole(name, DType::INT32, &[1, 32, 32, 3], &bytes);
    let flat = TensorView::whole(name, DType::FLOAT32, &[3072], &bytes);
    let other = TensorView::whole("other", DType::FLOAT32, &[1, 32, 32, 3], &bytes);
    for inputs in [&[][..], &[short], &[integer], &[flat], &[other], &[good, good], &[good, other]] {
        let error = run(&model, inputs, &[]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::INVALID_INPUT, "{error:?}");
    }
    for option in [pair("thread", "1"), pair("threads", "0"), pair("threads", "many")] {
        let error = run(&model, &[good], &[option]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::INVALID_INPUT, "{error:?}");
    }
    let error = run_for(&model, &[good], &[], Fetch::NAMED, &[RString::from("nothing")]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NOT_FOUND);
    let error = run_for(&model, &[good], &[], Fetch(99), &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UNSUPPORTED_OP);
    assert!(run(&model, &[good], &[]).is_ok());
}

/// The 25 calls in `forward` of models/resnet8_traced.pt, read off its code; the last one is the output.
#[test]
fn every_layer_is_delivered_in_order_and_single_ones_in_the_order_asked_for() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let model = open(&backend, &sample("resnet8_traced.pt")).unwrap();
    let input = model.info().into_result().unwrap().inputs[0].name.to_string();
    let bytes = bytes_of(&[100.0; 32 * 32 * 3]);
    let view = TensorView::whole(&input, DType::FLOAT32, &[1, 32, 32, 3], &bytes);
    let (_, all) = run_for(&model, &[view], &[], Fetch::LAYERS, &[]).unwrap();
    let names: Vec<&str> = all.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!((names.len(), names[0], names[1], names[24]), (25, "permute", "mul", "softmax"));
    let wanted = ["softmax", "layer2.relu1", "stem"].map(RString::from);
    let (_, some) = run_for(&model, &[view], &[], Fetch::NAMED, &wanted).unwrap();
    let found: Vec<&str> = some.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(found, ["softmax", "layer2.relu1", "stem"]);
    assert_eq!(some[1].shape, [1, 32, 16, 16]);
    for tensor in &some {
        let same = all.iter().find(|other| other.name == tensor.name).unwrap();
        assert_eq!(same.floats(), tensor.floats());
    }
    let (_, outputs) = run(&model, &[view], &[]).unwrap();
    assert_eq!(outputs[0].floats(), some[0].floats());
}

#[test]
fn what_libtorch_says_is_one_line_and_the_rest_is_detail() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let model = open(&backend, &sample("resnet8_traced.pt")).unwrap();
    let info = model.info().into_result().unwrap();
    let bytes = bytes_of(&[0.0; 32 * 32 * 4]);
    let wrong = TensorView::whole(info.inputs[0].name.as_str(), DType::FLOAT32, &[1, 32, 32, 4], &bytes);
    let error = run(&model, &[wrong], &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::RUNTIME_FAILED);
    assert_eq!(error.causes.len(), 1);
    assert!(!error.causes[0].contains('\n'), "{error:?}");
    assert!(error.detail.len() > error.causes[0].len());
}

#[test]
fn without_libtorch_models_are_read_and_a_run_says_what_to_do() {
    let nowhere = tempfile::tempdir().unwrap();
    let setup = Setup {
        runtime_folders: vec![nowhere.path().display().to_string().into()].into(),
        ..Setup::default()
    };
    let backend = backend_with(setup);
    let status = backend.runtime().into_result().unwrap();
    assert!(!status.is_loaded);
    assert_eq!(status.obstacle.into_option().unwrap().kind, ErrorKind::RUNTIME_MISSING);
    let model = open(&backend, &sample("resnet8_traced.pt")).unwrap();
    let info = model.info().into_result().unwrap();
    let bytes = bytes_of(&[0.0; 32 * 32 * 3]);
    let view = TensorView::whole(info.inputs[0].name.as_str(), DType::FLOAT32, &[1, 32, 32, 3], &bytes);
    let error = run(&model, &[view], &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::RUNTIME_MISSING);
    assert!(error.help.contains("scripts/setup.sh"), "{error:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_libtorch_that_does_not_open_is_refused_with_the_loaders_reason() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libtorch_cpu.so");
    std::fs::write(&library, "not a library").unwrap();
    let settings = vec![pair("runtime.path", library.to_str().unwrap())].into();
    let model =
        open(&backend_with(Setup { settings, ..setup().unwrap_or_default() }), &sample("resnet8_traced.pt"));
    let bytes = bytes_of(&[0.0; 32 * 32 * 3]);
    let view = TensorView::whole("x", DType::FLOAT32, &[1, 32, 32, 3], &bytes);
    let error = run(&model.unwrap(), &[view], &[]).unwrap_err();
    assert_eq!(error.message, format!("`{}` cannot be opened", library.display()));
    // The words of glibc's loader.
    assert_eq!(error.causes.as_slice(), ["file too short"]);
}

#[test]
fn dictionaries_and_quantized_tensors_are_delivered_by_name_and_as_codes() {
    let Some(setup) = setup() else { return };
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dynamic.pt");
    let backend = backend_with(setup);
    let model = open(&backend, &path).unwrap();
    let (x, y) = (bytes_of(&[1.0; 4]), bytes_of(&[0.0; 2]));
    let x = TensorView::whole("x", DType::FLOAT32, &[1, 4], &x);
    let y = TensorView::whole("y", DType::FLOAT32, &[1, 2], &y);
    // In another order than that of `forward`: inputs go by name.
    let (_, outputs) = run(&model, &[y, x], &[]).unwrap();
    let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["sum", "codes"]);
    // What Python's PyTorch gave: see tests/data/make.py.
    assert_eq!(outputs[0].floats(), [1.625, 0.25]);
    assert_eq!((outputs[1].dtype, outputs[1].bytes.as_slice()), (Some(DType::UINT8), &[13, 10][..]));
    let parameters = outputs[1].quantization.as_ref().unwrap();
    assert_eq!((parameters.scales[0], parameters.zero_points[0]), (0.5, 10.0));
}

/// float64 is what float32 rounds: a network of this size differs by less than this in its probabilities.
const PRECISION_TOLERANCE: f64 = 1e-5;

#[test]
fn the_precision_of_floats_and_the_engine_of_codes_are_chosen_for_a_run_and_reported() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let bytes = bytes_of(&[100.0; 32 * 32 * 3]);
    let setting = |report: &qp_abi::sdk::RunReport, name: &str| {
        report.settings.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_string())
    };
    for file in ["resnet8_traced.pt", "resnet8.pt"] {
        let model = open(&backend, &sample(file)).unwrap();
        let input = model.info().into_result().unwrap().inputs[0].name.to_string();
        let view = TensorView::whole(&input, DType::FLOAT32, &[1, 32, 32, 3], &bytes);
        let (_, narrow) = run(&model, &[view], &[]).unwrap();
        let (report, wide) = run(&model, &[view], &[pair("precision", "float64")]).unwrap();
        assert_eq!(setting(&report, "precision").as_deref(), Some("float64"));
        assert_eq!(wide[0].dtype, Some(DType::FLOAT64), "{file}");
        let wide: Vec<f64> = wide[0].bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect();
        for (one, other) in wide.iter().zip(narrow[0].floats()) {
            assert!((one - f64::from(other)).abs() < PRECISION_TOLERANCE, "{file}");
        }
        // The next run is as the first again.
        let (report, again) = run(&model, &[view], &[]).unwrap();
        assert_eq!((setting(&report, "precision"), &again[0].bytes), (None, &narrow[0].bytes), "{file}");
    }
    let model = open(&backend, &sample("resnet8_int8.pt")).unwrap();
    let view = TensorView::whole("image", DType::FLOAT32, &[1, 32, 32, 3], &bytes);
    for engine in ["qnnpack", "fbgemm"] {
        let (report, outputs) = run(&model, &[view], &[pair("qengine", engine)]).unwrap();
        assert_eq!(setting(&report, "qengine").as_deref(), Some(engine));
        assert!((outputs[0].floats().iter().sum::<f32>() - 1.0).abs() < 0.05);
    }
    for (option, help) in [
        (pair("qengine", "cuda"), "`fbgemm`"),
        (pair("precision", "int8"), "`float64`"),
        (pair("speed", "high"), "`precision`"),
    ] {
        let error = run(&model, &[view], &[option]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::INVALID_INPUT);
        assert!(error.help.contains(help), "{error:?} {}", error.help);
    }
    assert!(run(&model, &[view], &[]).is_ok());
}

/// The plugin's own library exports a root module, too, but of the contract between the host and its plugins.
#[test]
fn an_engine_of_another_contract_is_refused_by_its_version() {
    let Some(setup) = setup() else { return };
    let own = std::env::current_exe().unwrap().parent().unwrap().join("libqp_plugin_pytorch.so");
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(own, folder.path().join("libqp_plugin_pytorch_engine.so")).unwrap();
    let library_path = folder.path().join("libqp_plugin_pytorch.so").display().to_string().into();
    let backend = backend_with(Setup { library_path, ..setup });
    let model = open(&backend, &sample("resnet8_traced.pt")).unwrap();
    let info = model.info().into_result().unwrap();
    let bytes = bytes_of(&[0.0; 32 * 32 * 3]);
    let view = TensorView::whole(info.inputs[0].name.as_str(), DType::FLOAT32, &[1, 32, 32, 3], &bytes);
    let error = run(&model, &[view], &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::RUNTIME_FAILED);
    let versions =
        format!("is of version {}, the plugin of {}", qp_abi::ABI_VERSION, env!("CARGO_PKG_VERSION"));
    assert!(error.message.ends_with(&versions), "{error:?}");
    assert!(error.help.contains("cargo build -p qp-plugin-pytorch -p qp-plugin-pytorch-engine"), "{error:?}");
}
