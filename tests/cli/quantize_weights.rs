//! `quantize --dynamic` and `--weight-only`. Expected scales, zero points and outputs are those of `quantize_dynamic` and
//! `MatMulNBitsQuantizer` of onnxruntime 1.31.1 for the same model, computed by its own runtime.

use crate::support::onnx;
use crate::support::world::{Session, World};
use serde_json::json;

/// Scale and zero point of a tensor; of its first channel or block if there are several, and how many there are.
fn parameters(session: &mut Session, model: &str, tensor: &str) -> (f64, i64, usize) {
    let found = session.command(&format!("quant --model {model}"));
    let row = found["tensors"].as_array().unwrap().iter().find(|row| row["name"] == tensor).cloned();
    let row = row.unwrap_or_else(|| panic!("no `{tensor}` in {found}"));
    let scales = row["scales"].as_array().unwrap();
    (scales[0].as_f64().unwrap(), row["zero_points"][0].as_f64().unwrap_or(0.0) as i64, scales.len())
}

/// A tensor, its scale, its zero point and how many scales it has.
type Expected = (&'static str, f64, i64, usize);

fn near(found: f64, expected: f64) -> bool {
    (found / expected - 1.0).abs() < 1e-6
}

#[test]
fn dynamic_parameters_are_those_of_onnxruntime() {
    let cases: [(&str, &[Expected]); 2] = [
        (
            "",
            &[
                ("stem.weight_quantized", 0.034_955_985_844_135_284, 0, 1),
                ("layer1.conv1.weight_quantized", 0.002_633_807_016_536_593_4, 0, 1),
                ("fc.weight_quantized", 0.003_118_940_629_065_036_8, 0, 1),
            ],
        ),
        (
            // Convolutions have one scale in any case.
            "--weight-type uint8 --per-channel --reduce-range",
            &[
                ("stem.weight_quantized", 0.067_317_396_402_359_01, 66, 1),
                ("layer1.conv1.weight_quantized", 0.004_891_025_368_124_247, 68, 1),
                ("fc.weight_quantized", 0.005_224_569_234_997_034, 66, 10),
            ],
        ),
    ];
    for (options, expected) in cases {
        let world = World::new();
        let mut session = world.session();
        let made = session.command(&format!("quantize models/resnet8.onnx --dynamic --out d.onnx {options}"));
        let quantized = made["layers"].as_array().unwrap().iter();
        assert_eq!(quantized.filter(|row| row["is_quantized"] == json!(true)).count(), 10);
        assert_eq!(
            (&made["activations"], &made["activation_type"], &made["method"], &made["samples"]),
            (&json!("dynamic"), &json!("uint8"), &json!(null), &json!(0))
        );
        for (tensor, scale, zero_point, count) in expected {
            let found = parameters(&mut session, "d.onnx", tensor);
            assert!(near(found.0, *scale), "{options}: {tensor} has {found:?}");
            assert_eq!((found.1, found.2), (*zero_point, *count), "{options}: {tensor}");
        }
    }
}

#[test]
fn the_dynamic_model_computes_what_that_of_onnxruntime_does() {
    let expected = [
        3.7588782e-04,
        6.0686801e-04,
        8.0521524e-05,
        1.1676509e-07,
        1.1324490e-04,
        2.8778131e-05,
        9.9597663e-01,
        1.4323922e-06,
        2.8160887e-03,
        4.8046525e-07,
    ];
    let world = World::new();
    let mut session = world.session();
    // With 7 bits no processor's sums of products saturate.
    session.command("quantize models/resnet8.onnx --dynamic --reduce-range --out d.onnx");
    session.command("input models/digits.npz:images[0]");
    let ran = session.command("run d.onnx");
    let found = ran["outputs"][0]["values"].as_array().unwrap();
    for (found, expected) in found.iter().zip(expected) {
        let found = found.as_f64().unwrap();
        assert!((found - expected).abs() < 1e-5 * f64::max(expected, 1e-3), "{found} is not {expected}");
    }
    assert_eq!(found.len(), 10);
}

#[test]
fn blocks_have_the_parameters_of_onnxruntime_in_both_forms() {
    let expected = [0.034_915_626, 0.035_979_904, 0.039_013_75, 0.044_234_686];
    let world = World::new();
    let mut session = world.session();
    session.command("quantize models/resnet8.onnx --weight-only --block-size 16 --out product.onnx");
    let product = parameters(&mut session, "product.onnx", "fc.weight_Q4");
    let more = "--quant-format qdq --out tensor.onnx";
    session.command(&format!("quantize models/resnet8.onnx --weight-only --block-size 16 {more}"));
    let tensor = parameters(&mut session, "tensor.onnx", "fc.weight_quantized");
    for (found, form) in [(product, "product"), (tensor, "tensor")] {
        assert!((found.0 - expected[0]).abs() < 1e-8, "{form}: {found:?}");
        assert_eq!((found.1, found.2), (8, 40), "{form}");
    }
    // Blocks need an opset that the model does not have: it gets the operators of opset 21.
    let found = session.command("info tensor.onnx").to_string();
    assert!(found.contains("\"21\""), "{found}");
    let line = "evaluate product.onnx tensor.onnx --reference models/resnet8.onnx --data models/digits.npz --samples 32";
    for row in session.command(line)["models"].as_array().unwrap() {
        if row["model"] != "models/resnet8.onnx" {
            assert!(row["agreement"]["sqnr_db"].as_f64().unwrap() > 30.0, "{row}");
        }
    }
}

/// The last layer's weight is a matrix: it gets blocks, and its bias stays real; all others are as without blocks.
#[test]
fn a_static_model_may_have_blocks_as_well() {
    let world = World::new();
    let mut session = world.session();
    let line = "quantize models/resnet8.onnx --block-size 16 --weight-type uint4 --activation-type uint8 \
                --data models/digits.npz --samples 16 --out s.onnx";
    let made = session.command(line);
    // Ten weights and a constant operand.
    assert_eq!((&made["tensors"], &made["biases"], &made["block_size"]), (&json!(11), &json!(9), &json!(16)));
    let (scale, zero_point, count) = parameters(&mut session, "s.onnx", "fc.weight_quantized");
    assert!((scale - 0.034_915_626).abs() < 1e-8, "{scale}");
    assert_eq!((zero_point, count), (8, 40));
    assert_eq!(parameters(&mut session, "s.onnx", "stem.weight_quantized").2, 1);
    let line = "evaluate s.onnx --reference models/resnet8.onnx --data models/digits.npz --samples 16";
    let rated = session.command(line);
    let row =
        rated["models"].as_array().unwrap().iter().find(|row| row["model"] == "s.onnx").cloned().unwrap();
    assert!(row["agreement"]["sqnr_db"].as_f64().unwrap() > 5.0, "{row}");
}

/// All weights of a network at 4 bits: rounding by the inputs of layers gains what it does for static models.
#[test]
fn weights_alone_are_rounded_by_the_inputs_of_layers() {
    let world = World::new();
    let mut session = world.session();
    let line = "quantize models/resnet8.onnx --weight-only --block-size 0 --weight-type int4 --per-channel \
                --rounding gptq --data models/digits.npz --samples 16 --out w.onnx";
    let made = session.command(line);
    assert_eq!((&made["tensors"], &made["values"], &made["samples"]), (&json!(10), &json!(0), &json!(0)));
    let gain = &made["gains"][0];
    let (before, after) = (gain["sqnr_before_db"].as_f64().unwrap(), gain["sqnr_after_db"].as_f64().unwrap());
    assert!(after > before + 3.0, "{before} dB, {after} dB");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let world = World::new();
    let cases = [
        ("--dynamic --weight-only", "cannot be used with"),
        ("--dynamic --activation-type int8", "cannot be used with"),
        ("--dynamic --weight-type int4", "int8 or uint8"),
        ("--dynamic --quant-format qdq", "leave out `--quant-format`"),
        ("--weight-only --block-size 24", "a power of two from 16 on"),
        ("--weight-only --block-size 0 --quant-format qoperator", "leave out `--quant-format`"),
        ("--weight-only --weight-type int16", "4 or 8 bits"),
        ("--weight-only --bias-correction", "cannot be used with"),
        ("--dynamic --block-size 32", "cannot be used with"),
        ("--block-size 32 --quant-format qoperator", "know no blocks"),
        ("--weight-only --rounding gptq", "no input is chosen"),
        ("--weight-only --op-types Conv", "nothing to quantize"),
    ];
    for (options, message) in cases {
        let ran = world.run(&format!("quantize models/resnet8.onnx --out x.onnx {options}"));
        assert!(ran.code != 0 && ran.talk.contains(message), "{options}: {}", ran.talk);
    }
    assert!(!world.path("x.onnx").exists());
}

/// `AttributeProto` of whole numbers.
fn ints(name: &str, numbers: &[u64]) -> Vec<u8> {
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| onnx::int(8, *number)).collect();
    onnx::field(5, &[onnx::text(1, name), numbers, onnx::int(20, 7)].concat())
}

fn whole(name: &str, number: u64) -> Vec<u8> {
    onnx::field(5, &[onnx::text(1, name), onnx::int(3, number), onnx::int(20, 2)].concat())
}

/// Operators that later versions changed: both models run in ONNX Runtime, which knows what each version means.
#[test]
fn a_newer_opset_computes_the_same() {
    let nodes = [
        // Before opset 13 the last two dimensions together.
        [onnx::node("soft", "Softmax", "", &["x"], &["s"]), whole("axis", 1)].concat(),
        [onnx::node("sum", "ReduceSum", "", &["s"], &["r"]), ints("axes", &[2]), whole("keepdims", 0)]
            .concat(),
        [onnx::node("mean", "ReduceMean", "", &["x"], &["m"]), ints("axes", &[2]), whole("keepdims", 0)]
            .concat(),
        [onnx::node("split", "Split", "", &["x"], &["a", "b"]), whole("axis", 1)].concat(),
        [onnx::node("more", "Unsqueeze", "", &["m"], &["u"]), ints("axes", &[1])].concat(),
        onnx::node("add", "Add", "", &["a", "u"], &["t"]),
        onnx::node("add2", "Add", "", &["r", "m"], &["y"]),
    ];
    let graph = [
        nodes.iter().flat_map(|node| onnx::field(1, node)).collect(),
        onnx::text(2, "graph"),
        onnx::field(11, &onnx::value("x", &[Ok(3), Ok(4), Ok(4)])),
        onnx::field(12, &onnx::value("y", &[Ok(3), Ok(4)])),
        onnx::field(12, &onnx::value("s", &[Ok(3), Ok(4), Ok(4)])),
        onnx::field(12, &onnx::value("b", &[Ok(3), Ok(2), Ok(4)])),
    ]
    .concat();
    let bytes = [onnx::int(1, 6), onnx::field(7, &graph), onnx::field(8, &onnx::int(2, 11))].concat();
    let world = World::new();
    world.write("old.onnx", bytes);
    let mut session = world.session();
    session.command("use old.onnx");
    session.command("input random");
    for opset in [13, 18, 21] {
        let made = session.command(&format!("convert old.onnx --opset {opset} --out new.onnx --force"));
        let rows = made["outputs"].as_array().unwrap_or_else(|| panic!("{made}"));
        assert_eq!(rows.len(), 3, "{made}");
        for row in rows {
            assert_eq!(row["equal"], row["elements"], "opset {opset}: {row}");
        }
    }
    let refused = world.run("convert models/resnet8.onnx --opset 11 --out x.onnx");
    assert!(refused.talk.contains("the model has opset 20, and 11 is older"), "{}", refused.talk);
    let refused = world.run("convert models/resnet8.onnx --opset 99 --out x.onnx");
    assert!(refused.talk.contains("up to 24"), "{}", refused.talk);
}
