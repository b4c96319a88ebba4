//! `set LAYER.bits` and `repair --bits`: layers with more bits. Expected codes are computed here by the definition of quantization
//! from the float model's weights; runs are those of ONNX Runtime, with its optimizations.

use crate::support::numpy::numbers;
use crate::support::world::{Session, World};
use serde_json::Value;

/// Scale of layer1.conv1's weight in the file.
const SCALE: f64 = 0.002_633_807;

fn loaded(world: &World) -> Session {
    let mut session = world.session();
    session.command("load models/resnet8.onnx models/resnet8_int8.onnx");
    session.command("use models/resnet8_int8.onnx");
    session
}

fn sqnr(session: &mut Session, model: &str) -> f64 {
    let command = format!("evaluate models/resnet8.onnx '{model}' --data models/digits.npz --samples 32");
    session.command(&command)["models"][1]["agreement"]["sqnr_db"].as_f64().unwrap()
}

#[test]
fn sixteen_bits_divide_each_step_into_256() {
    let world = World::new();
    let mut session = loaded(&world);
    session.command("export models/resnet8.onnx w.npy --tensor layer1.conv1");
    let made = session.command("set layer1.conv1.bits 16");
    assert_eq!(made["effect"], "reads codes of 16 bits; weight from `models/resnet8.onnx`");
    session.command("export resnet8_int8* codes.npy --tensor layer1.conv1 --codes");
    let expected: Vec<i64> = numbers(&world.path("w.npy"), f32::from_le_bytes)
        .into_iter()
        .map(|value| (f64::from(value) / f64::from((SCALE / 256.0) as f32)).round_ties_even() as i64)
        .collect();
    let codes: Vec<i64> =
        numbers(&world.path("codes.npy"), i16::from_le_bytes).into_iter().map(i64::from).collect();
    // The constant above has seven digits, the codes five: some differ by one.
    assert_eq!(codes.len(), expected.len());
    assert!(codes.iter().zip(&expected).all(|(code, wanted)| (code - wanted).abs() <= 1), "{codes:?}");
    let input = session.command("layer layer1.conv1")["inputs"][0]["quantization"].clone();
    let before = session.command("layer layer1.conv1 --model models/resnet8_int8.onnx");
    let before = before["inputs"][0]["quantization"].clone();
    let number = |parameters: &Value, key: &str| parameters[key][0].as_f64().unwrap();
    assert_eq!(number(&input, "scales"), number(&before, "scales") / 256.0);
    assert_eq!(number(&input, "zero_points"), number(&before, "zero_points") * 256.0);
    // Alone, the layer's error is that of 16 bits.
    session.command("input models/digits.npz:images[0:16]");
    let compared = session.command("compare models/resnet8.onnx resnet8_int8*");
    let rows = compared["layers"].as_array().unwrap();
    let row = rows.iter().find(|row| row["layer"] == "layer1.conv1").unwrap();
    assert!(row["local"]["sqnr_db"].as_f64().unwrap() > 42.0, "{row}");
    session.command("undo");
    assert_eq!(session.command("set fc.bits 16")["effect"], made["effect"]);
    session.command("changes --out journal.qp");
    session.command("changes --out overrides.json --as tensor-quant-overrides");
    let overrides: Value =
        serde_json::from_str(&std::fs::read_to_string(world.path("overrides.json")).unwrap()).unwrap();
    assert_eq!(overrides["fc.weight"][0]["quant_type"], "QInt16", "{overrides}");
    session.command("export resnet8_int8* one.onnx");
    session.command("reset");
    session.command("changes --replay journal.qp");
    session.command("export resnet8_int8* two.onnx");
    let bytes = |name: &str| std::fs::read(world.path(name)).unwrap();
    assert!(bytes("one.onnx") == bytes("two.onnx"));
}

/// ONNX Runtime rounds biases to 32 bits with the scale of input times weight, and lets them overflow.
#[test]
fn with_16_bits_everywhere_no_bias_overflows() {
    let world = World::new();
    let mut session = loaded(&world);
    session.command("quantize models/resnet8.onnx --per-channel --data models/digits.npz --samples 32 --out resnet8_channels.onnx");
    session.command("quantize models/resnet8.onnx --quant-format qoperator --data models/digits.npz --samples 32 --out resnet8_qop.onnx");
    for (name, least) in [
        ("models/resnet8_int8", 70.0),
        ("models/resnet8_uint8", 70.0),
        ("resnet8_channels", 70.0),
        ("resnet8_qop", 60.0),
    ] {
        let file = format!("{name}.onnx");
        session.command(&format!("load {file}"));
        session.command(&format!("use {file}"));
        let before = sqnr(&mut session, &file);
        let layers = session.command("layers")["layers"].as_array().unwrap().clone();
        for layer in &layers {
            let is_rounding = layer["op_type"].as_str().unwrap().ends_with("uantizeLinear");
            if layer["quantization"].is_null() || is_rounding {
                continue;
            }
            let path = layer["path"].as_str().unwrap();
            // What the softmax reads has 16 bits when the layer before it has, and its result is not rounded in every file.
            if path == "softmax" && name.starts_with("models/") {
                continue;
            }
            session.command(&format!("set {path}.bits 16"));
        }
        let after = sqnr(&mut session, &format!("{}.onnx*", name.trim_start_matches("models/")));
        assert!(before < 50.0 && after > least, "{name}: {before} dB, {after} dB");
    }
}

#[test]
fn repair_gives_8_bits_to_layers_of_4() {
    let world = World::new();
    let mut session = world.session();
    session.command("load models/resnet8.onnx");
    session.command("quantize models/resnet8.onnx --weight-type int4 --data models/digits.npz --samples 64 --out four.onnx");
    session.command("load four.onnx");
    let target = "--reference models/resnet8.onnx --min-sqnr 30 --data models/digits.npz --samples 32";
    let found = session.command(&format!("repair four.onnx {target} --bits 8 --out mended.onnx"));
    assert_eq!((&found["is_reached"], &found["bits"]), (&Value::from(true), &Value::from(8)));
    let count = found["layers"].as_array().unwrap().len();
    assert!((1..6).contains(&count), "{found}");
    session.command("load mended.onnx");
    assert!(sqnr(&mut session, "mended.onnx") >= 30.0);
    session.command("use four.onnx");
    session.command("reset");
    let float = session.command(&format!("repair four.onnx {target} --out float.onnx"));
    assert!(found["more_bytes"].as_u64().unwrap() * 4 < float["more_bytes"].as_u64().unwrap(), "{float}");
    // What is missed is not written.
    session.command("reset");
    let missed = session
        .command(&format!("repair four.onnx {} --bits 8 --out missed.onnx", target.replace("30", "90")));
    assert_eq!((&missed["is_reached"], &missed["out"]), (&Value::from(false), &Value::Null));
    assert!(!world.path("missed.onnx").exists());
}

#[test]
fn bits_that_cannot_be_are_refused() {
    let world = World::new();
    for (line, message) in [
        ("set fc.bits 4", "codes cannot be given `4` bits"),
        ("set fc.bits 8", "nothing that `fc_output` is computed from has codes of fewer bits"),
        ("set normalize.mul.bits 16", "`normalize.mul` is not quantized"),
        ("repair --bits 12 --min-sqnr 40 --data models/digits.npz", "codes get 8 or 16 bits"),
    ] {
        let ran = world.run(&format!("use models/resnet8_int8.onnx; {line}"));
        assert!(ran.code != 0 && ran.talk.contains(message), "{line}: {}", ran.talk);
    }
}
