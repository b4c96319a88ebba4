//! `quantize`. Expected scales and zero points are those of `onnxruntime.quantization.quantize_static` 1.31.1 on the same model
//! with the same 16 samples, one at a time.

use crate::support::onnx;
use crate::support::world::{Session, World};
use serde_json::{Value, json};

const DATA: &str = "--data models/digits.npz --samples 16 --batch 1";

/// Scale and zero point of a tensor; of its first channel if there are several.
fn parameters(session: &mut Session, model: &str, tensor: &str) -> (f64, i64) {
    let found = session.command(&format!("quant --model {model}"));
    let row = found["tensors"].as_array().unwrap().iter().find(|row| row["name"] == tensor).cloned();
    let row = row.unwrap_or_else(|| panic!("no `{tensor}` in {found}"));
    (row["scales"][0].as_f64().unwrap(), row["zero_points"][0].as_f64().unwrap_or(0.0) as i64)
}

fn check(options: &str, expected: &[(&str, f64, i64)]) {
    let world = World::new();
    let mut session = world.session();
    session.command(&format!("quantize models/resnet8.onnx {DATA} --out made.onnx {options}"));
    for (tensor, scale, zero_point) in expected {
        let (found, zero) = parameters(&mut session, "made.onnx", tensor);
        assert!((found / scale - 1.0).abs() < 1e-6, "{options}: {tensor} has {found}, not {scale}");
        assert_eq!(zero, *zero_point, "{options}: {tensor}");
    }
}

#[test]
fn parameters_are_those_of_onnxruntime() {
    check(
        "",
        &[
            ("layer1.conv1.weight_quantized", 0.002_633_807_016_536_593_4, 0),
            ("layer1.relu1_output", 0.022_964_712_232_351_303, -128),
            ("layer3.relu2_output", 0.051_793_314_516_544_34, -128),
            ("fc.weight_quantized", 0.003_118_940_629_065_036_8, 0),
            ("layer1.conv1.bias_quantized", 6.597_586_616_408_08e-5, 0),
        ],
    );
    check(
        "--calibrate-method percentile --activation-type uint8 --per-channel",
        &[
            ("layer1.conv1.weight_quantized", 0.001_577_839_255_332_946_8, 0),
            ("layer1.relu1_output", 0.022_594_675_421_714_783, 0),
            ("layer3.relu2_output", 0.051_768_027_245_998_38, 0),
            ("fc.weight_quantized", 0.002_696_936_484_426_26, 0),
            ("layer1.conv1.bias_quantized", 3.944_707_350_456_156e-5, 0),
        ],
    );
    check(
        "--calib-moving-average",
        &[
            ("layer1.relu1_output", 0.019_745_010_882_616_043, -128),
            ("layer3.relu2_output", 0.039_978_004_992_008_21, -128),
            ("layer1.conv1.bias_quantized", 5.525_074_448_087_253e-5, 0),
        ],
    );
    check(
        "--weight-type int4 --activation-type uint8",
        &[
            ("layer1.conv1.weight_quantized", 0.044_599_130_749_702_454, 0),
            ("layer1.relu1_output", 0.022_964_712_232_351_303, 0),
            ("fc.weight_quantized", 0.052_814_062_684_774_4, 0),
        ],
    );
}

#[test]
fn what_is_left_as_it_is_is_named_with_the_reason() {
    let world = World::new();
    let mut session = world.session();
    session.command("open models");
    let line = format!(
        "quantize resnet8.onnx {DATA} --calibrate-method entropy --exclude fc --exclude layer3* --force"
    );
    let made = session.command(&line);
    let left: Vec<(&str, &str)> = (made["layers"].as_array().unwrap().iter())
        .filter(|row| row["is_quantized"] == json!(false))
        .map(|row| (row["layer"].as_str().unwrap(), row["reason"].as_str().unwrap()))
        .collect();
    assert!(left.contains(&("fc", "excluded")) && left.contains(&("layer3.conv1", "excluded")), "{left:?}");
    assert!(left.contains(&("normalize.transpose", "input")), "{left:?}");
    assert_eq!((&made["samples"], &made["method"]), (&json!(16), &json!("entropy")));
    // It is a variant of the family, under the name that the types say, and half float.
    assert_eq!(made["variant"], "resnet8_int8.onnx");
    let quantized = session.command("quant --model resnet8_int8.onnx");
    let names: Vec<&str> =
        quantized["tensors"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(!names.contains(&"fc.weight_quantized") && names.contains(&"stem.weight_quantized"), "{names:?}");
}

/// The model agrees with the float one as well as that of Python does, and its graph runs.
#[test]
fn the_quantized_model_computes_nearly_what_the_float_one_does() {
    let world = World::new();
    let mut session = world.session();
    session.command(&format!("quantize models/resnet8.onnx {DATA} --out made.onnx"));
    let rated = session
        .command("evaluate made.onnx models/resnet8_int8.onnx --reference models/resnet8.onnx --data models/digits.npz");
    let agreement = |name: &str| -> f64 {
        let models = rated["models"].as_array().unwrap();
        let model = models.iter().find(|model| model["model"] == name).unwrap();
        model["agreement"]["sqnr_db"].as_f64().unwrap()
    };
    let (ours, theirs) = (agreement("made.onnx"), agreement("models/resnet8_int8.onnx"));
    assert!(ours > theirs - 3.0, "{ours} dB, Python's {theirs} dB");
}

/// A second time nothing is measured, and the file has the same bytes; other samples are measured.
#[test]
fn ranges_are_measured_once() {
    let world = World::new();
    let mut session = world.session();
    let mut made = |options: &str, out: &str| -> (Value, Value) {
        let line = format!("quantize models/resnet8.onnx {DATA} --out {out} {options}");
        let made = session.command(&line);
        (made["kept_ranges"].clone(), made["runtime"].clone())
    };
    let (kept, runtime) = made("", "first.onnx");
    assert_eq!((kept, runtime), (json!(0), json!("ONNX Runtime")));
    let (kept, runtime) = made("", "second.onnx");
    assert!(kept.as_u64() > Some(10) && runtime.is_null(), "{kept} {runtime}");
    assert!(made("--per-channel --exclude fc", "third.onnx").1.is_null());
    let bytes = |name: &str| std::fs::read(world.path(name)).unwrap();
    assert_eq!(bytes("first.onnx"), bytes("second.onnx"));
    for options in ["--fresh", "--samples 15", "--as-is"] {
        let line = options.replace("--samples 15", "");
        let data = if options == "--samples 15" { DATA.replace("16", "15") } else { DATA.to_owned() };
        let again =
            session.command(&format!("quantize models/resnet8.onnx {data} --out again.onnx --force {line}"));
        assert_eq!(again["kept_ranges"], json!(0), "{options}");
    }
}

/// What one method has measured, another one does not measure again, and comes to the same ranges.
#[test]
fn another_method_does_not_run_the_model_again() {
    let world = World::new();
    let mut session = world.session();
    let mut made = |options: &str, out: &str| -> Value {
        let line = format!("quantize models/resnet8.onnx {DATA} --force --out {out} {options}");
        session.command(&line)
    };
    let first = made("--calibrate-method percentile", "p.onnx");
    assert_eq!((&first["kept_ranges"], &first["runtime"]), (&json!(0), &json!("ONNX Runtime")));
    let bytes = |name: &str| std::fs::read(world.path(name)).unwrap();
    for options in [
        "",
        "--calib-moving-average",
        "--calib-tensor-range-symmetric true",
        "--calibrate-method entropy",
        "--calibrate-method mse --activation-type uint8",
        "--calibrate-method percentile --calib-tensor-range-symmetric false --calib-percentile 99.9",
    ] {
        let kept = made(options, "kept.onnx");
        assert!(kept["kept_ranges"].as_u64() > Some(10) && kept["runtime"].is_null(), "{options}: {kept}");
        let fresh = made(&format!("{options} --fresh"), "fresh.onnx");
        assert_eq!(fresh["kept_ranges"], json!(0), "{options}");
        assert_eq!(bytes("kept.onnx"), bytes("fresh.onnx"), "{options}");
    }
}

/// With operators of codes it computes what the pairs around float operators do, but for rounding of other products.
#[test]
fn the_form_of_operators_has_the_same_parameters() {
    let world = World::new();
    let mut session = world.session();
    session.command(&format!("quantize models/resnet8.onnx {DATA} --out qdq.onnx"));
    let made = session
        .command(&format!("quantize models/resnet8.onnx {DATA} --out qop.onnx --quant-format qoperator"));
    assert_eq!(made["format"], "qoperator");
    for tensor in ["layer1.conv1.weight_quantized", "fc.weight_quantized"] {
        assert_eq!(
            parameters(&mut session, "qdq.onnx", tensor),
            parameters(&mut session, "qop.onnx", tensor),
            "{tensor}"
        );
    }
    let rated = session.command("evaluate qop.onnx --reference qdq.onnx --data models/digits.npz");
    let agreement = &rated["models"][1]["agreement"];
    // Equal but for codes that fall on the other side of a tie.
    assert!(agreement["changed"] == json!(0) && agreement["sqnr_db"].as_f64() > Some(55.0), "{agreement}");
    assert_eq!(session.command("info qop.onnx")["scheme"], "QOperator");
}

#[test]
fn nothing_is_written_that_was_not_asked_for() {
    let world = World::new();
    let refused = |line: &str, message: &str| {
        let ran = world.run(line);
        assert!(ran.code != 0 && ran.talk.contains(message), "{line}: {}", ran.talk);
    };
    let before = std::fs::read(world.path("models/resnet8_int8.onnx")).unwrap();
    refused(&format!("quantize models/resnet8.onnx {DATA}"), "already exists");
    refused(
        &format!("quantize models/resnet8.onnx {DATA} --out models/resnet8.onnx --force"),
        "is read from",
    );
    for line in [
        "convert models/resnet8_int8.onnx --to float --out models/resnet8_int8.onnx --force",
        "search models/resnet8.onnx --target-size 60KiB --data models/digits.npz --out models/resnet8.onnx --force",
        "load models/resnet8.onnx; repair models/resnet8_int8.onnx --min-sqnr 42 --data models/digits.npz \
         --out models/resnet8_int8.onnx --force",
        "export models/resnet8_int8.onnx models/resnet8_int8.onnx --force",
    ] {
        refused(line, "is read from");
    }
    refused(&format!("quantize models/resnet8_int8.onnx {DATA} --out x.onnx"), "is quantized already");
    refused(
        &format!("quantize models/resnet8.onnx {DATA} --out x.onnx --exclude nothing*"),
        "no layer matches",
    );
    refused(
        &format!("quantize models/resnet8.onnx {DATA} --out x.onnx --op-types LSTM"),
        "no layer is a `LSTM`",
    );
    refused(&format!("quantize models/resnet8.onnx {DATA} --out no/x.onnx"), "Create the folder first");
    refused("quantize models/resnet8.onnx --out x.onnx", "no input is chosen");
    assert_eq!(std::fs::read(world.path("models/resnet8_int8.onnx")).unwrap(), before);
    // A value without a finite range is named.
    let nodes = [
        onnx::node("layer", "MatMul", "", &["x", "w"], &["h"]),
        onnx::node("act", "Sigmoid", "", &["h"], &["y"]),
    ];
    let graph = [
        nodes.iter().flat_map(|node| onnx::field(1, node)).collect(),
        onnx::text(2, "graph"),
        onnx::field(5, &onnx::tensor("w", 1, &[4, 4], &f32::MAX.to_le_bytes().repeat(16))),
        onnx::field(11, &onnx::value("x", &[Ok(2), Ok(4)])),
        onnx::field(12, &onnx::value("y", &[Ok(2), Ok(4)])),
    ]
    .concat();
    world.write("large.onnx", onnx::model(&graph, &[]));
    refused("use large.onnx; input ones; quantize --out x.onnx", "`h` cannot be calibrated");
    assert!(!world.path("x.onnx").exists());
    let left: Vec<_> =
        std::fs::read_dir(world.path("")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".qp-")), "{left:?}");
}

#[test]
fn the_report_agrees_with_the_file() {
    let world = World::new();
    let made: Value =
        world.json(&format!("quantize models/resnet8.onnx {DATA} --out made.onnx --per-channel"));
    let size = std::fs::metadata(world.path("made.onnx")).unwrap().len();
    assert_eq!((&made["bytes"], &made["files"]), (&json!(size), &json!(["./made.onnx"])));
    let layers = made["layers"].as_array().unwrap();
    let row = layers.iter().find(|row| row["layer"] == "layer1.conv1").unwrap();
    assert_eq!(
        (&row["weight_type"], &row["axis"], row["scales"].as_array().unwrap().len()),
        (&json!("int8"), &json!(0), 16)
    );
}

/// The gain of an option: SQNR of the output in dB, without and with it.
fn gain(session: &mut Session, line: &str, option: &str) -> (f64, f64) {
    let made = session.command(line);
    let gains = made["gains"].as_array().unwrap();
    let gain = gains.iter().find(|gain| gain["option"] == option).unwrap_or_else(|| panic!("{made}"));
    (gain["sqnr_before_db"].as_f64().unwrap(), gain["sqnr_after_db"].as_f64().unwrap())
}

/// The agreement of a model with `models/resnet8.onnx` on the samples of calibration, in dB.
fn agreement(session: &mut Session, model: &str) -> f64 {
    let line =
        format!("evaluate {model} --reference models/resnet8.onnx --data models/digits.npz --samples 16");
    let rated = session.command(&line);
    let found = rated["models"].as_array().unwrap().iter().find(|row| row["model"] == model);
    found.unwrap_or_else(|| panic!("{rated}"))["agreement"]["sqnr_db"].as_f64().unwrap()
}

#[test]
fn clipped_weights_have_smaller_scales_and_their_gain_is_measured() {
    let world = World::new();
    let mut session = world.session();
    let line = format!("quantize models/resnet8.onnx {DATA} --weight-type int4 --force");
    session.command(&format!("{line} --out plain.onnx"));
    let found = gain(&mut session, &format!("{line} --out clipped.onnx --weight-clip mse"), "weight-clip");
    let expected = (agreement(&mut session, "plain.onnx"), agreement(&mut session, "clipped.onnx"));
    assert!(
        (found.0 - expected.0).abs() < 0.1 && (found.1 - expected.1).abs() < 0.1,
        "{found:?}, {expected:?}"
    );
    let tensor = "layer1.conv1.weight_quantized";
    let scales = ["plain.onnx", "clipped.onnx"].map(|model| parameters(&mut session, model, tensor).0);
    assert!(scales[1] < scales[0], "{scales:?}");
}

/// With 16 bits nearly nothing is lost: the equalized float model computes what the model did.
#[test]
fn equalization_leaves_what_the_float_model_computes() {
    let world = World::new();
    let mut session = world.session();
    let line = format!(
        "quantize models/resnet8.onnx {DATA} --activation-type int16 --weight-type int16 --exclude stem* --exclude layer* --out equal.onnx --equalize"
    );
    let (before, after) = gain(&mut session, &line, "equalize");
    assert!(before > 80.0 && after > 80.0, "{before} dB, {after} dB");
    let line = format!("quantize models/resnet8.onnx {DATA} --out made.onnx --equalize");
    let made = session.command(&line);
    assert!(made["gains"][0]["changed"].as_u64().unwrap() >= 3, "{made}");
    // The weights are others.
    let tensor = "layer1.conv1.weight_quantized";
    let scales =
        ["models/resnet8_int8.onnx", "made.onnx"].map(|model| parameters(&mut session, model, tensor).0);
    assert!((scales[0] / scales[1] - 1.0).abs() > 1e-3, "{scales:?}");
}

/// The mean of a layer's output over the samples of calibration.
fn mean(session: &mut Session, model: &str, layer: &str) -> f64 {
    session.command("input models/digits.npz:images[0:16]");
    let found = session.command(&format!("activations {layer} --model {model}"));
    found["statistics"]["mean"].as_f64().unwrap_or_else(|| panic!("{found}"))
}

#[test]
fn corrected_biases_leave_no_error_of_the_mean() {
    let world = World::new();
    let mut session = world.session();
    let line = format!("quantize models/resnet8.onnx {DATA} --weight-type int4 --activation-type int16");
    session.command(&format!("{line} --out plain.onnx"));
    let (before, after) =
        gain(&mut session, &format!("{line} --out corrected.onnx --bias-correction"), "bias-correction");
    assert!(after > before + 1.0, "{before} dB, {after} dB");
    let expected = mean(&mut session, "models/resnet8.onnx", "fc");
    let [plain, corrected] =
        ["plain.onnx", "corrected.onnx"].map(|model| (mean(&mut session, model, "fc") - expected).abs());
    assert!(corrected < 1e-3 && corrected < plain / 10.0, "{plain}, {corrected}");
}

#[test]
fn rounding_by_the_inputs_of_layers_is_better_than_to_the_nearest() {
    let world = World::new();
    let mut session = world.session();
    let line = format!(
        "quantize models/resnet8.onnx {DATA} --weight-type int4 --activation-type int16 --exclude layer2* --exclude layer3* --force --out made.onnx --rounding"
    );
    for method in ["gptq", "descent"] {
        let (before, after) = gain(&mut session, &format!("{line} {method}"), "rounding");
        assert!(after > before + 1.0, "{method}: {before} dB, {after} dB");
    }
}

/// A file of plugins/pytorch/tests/data/make_quantized.py.
fn of_quantized(name: &str) -> Vec<u8> {
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/pytorch/tests/data/quantized.zip");
    let mut archive = zip::ZipArchive::new(std::fs::File::open(archive).unwrap()).unwrap();
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut archive.by_name(name).unwrap(), &mut content).unwrap();
    content
}

/// Scales of weights are those of NumPy: the largest of each channel, batch normalizations folded, over 127.
#[test]
fn an_exported_program_becomes_what_pt2e_would_write() {
    let world = World::new();
    world.write("network.pt2", of_quantized("network.pt2"));
    let mut session = world.session();
    session.command("use network.pt2");
    session.command("input random --seed 3");
    let made = session.command("quantize network.pt2 --out made.pt2 --per-channel");
    assert!(made["layers"].as_array().unwrap().iter().all(|layer| layer["reason"].is_null()), "{made}");
    let known: Value = serde_json::from_slice(&of_quantized("network.json")).unwrap();
    let weights =
        known["edits"].as_array().unwrap().iter().filter(|edit| edit["action"] == "quantize-tensor");
    let mut count = 0;
    for edit in weights {
        let first = edit["arguments"]["scales"].as_str().unwrap().split(',').next().unwrap();
        let expected: f64 = first.parse().unwrap();
        let (found, zero_point) = parameters(&mut session, "made.pt2", edit["target"].as_str().unwrap());
        assert!((found / expected - 1.0).abs() < 1e-6, "{} {found} {expected}", edit["target"]);
        assert_eq!(zero_point, 0);
        count += 1;
    }
    assert_eq!(count, 3);
    // What was written can be changed, and changed files are written.
    for line in ["use made.pt2", "set head.quantized off", "export made.pt2 off.pt2"] {
        session.command(line);
    }
    let off = session.command("info off.pt2");
    assert_eq!(off["scheme"], "PT2E", "{off}");
    let again = world.run("quantize made.pt2 --data models/digits.npz --out again.pt2");
    assert!(again.talk.contains("is quantized already: PT2E"), "{}", again.talk);
    let other = world.run(&format!("quantize models/resnet8_traced.pt {DATA} --out made.pt"));
    assert!(other.talk.contains("only exported programs (`torch.export.save`)"), "{}", other.talk);
}

#[test]
fn weights_alone_of_an_exported_program_become_codes() {
    let world = World::new();
    world.write("network.pt2", of_quantized("network.pt2"));
    let mut session = world.session();
    session.command("quantize network.pt2 --weight-only --block-size 0 --per-channel --out made.pt2");
    let layers = session.command("layers made.pt2");
    let kinds: Vec<&str> =
        layers["layers"].as_array().unwrap().iter().filter_map(|layer| layer["op_type"].as_str()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "dequantize_per_channel").count(), 3, "{kinds:?}");
    assert!(kinds.iter().all(|kind| !kind.ends_with("per_tensor")), "{kinds:?}");
    for options in ["--dynamic", "--weight-only --block-size 32"] {
        let ran = world.run(&format!("quantize network.pt2 {options} --out other.pt2"));
        assert!(
            ran.talk.contains("exported programs get scales from calibration"),
            "{options}: {}",
            ran.talk
        );
        assert!(!world.path("other.pt2").exists());
    }
}
