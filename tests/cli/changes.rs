//! `set`, `scale`, `undo`, `changes`, `try`, `sweep`, `export`. Expected codes are computed here by the definition of quantization
//! from the float model's weights; runs are those of ONNX Runtime on the exported file.

use crate::support::numpy::numbers;
use crate::support::world::{Session, World};
use serde_json::{Value, json};

/// A session with the float and the int8 model, the latter chosen.
fn loaded(world: &World) -> Session {
    let mut session = world.session();
    session.command("load models/resnet8.onnx models/resnet8_int8.onnx");
    session.command("use models/resnet8_int8.onnx");
    session
}

fn parameters(session: &mut Session, layer: &str) -> Vec<Value> {
    session.command(&format!("quant {layer}"))["tensors"].as_array().unwrap().clone()
}

#[test]
fn a_weight_gets_codes_of_the_float_models_values_and_the_bias_follows() {
    let world = World::new();
    let mut session = loaded(&world);
    session.command("export models/resnet8.onnx w.npy --tensor layer1.conv1");
    session.command("export models/resnet8.onnx b.npy --tensor layer1.conv1.bias");
    let made = session.command("scale layer1.conv1.weight × 8");
    assert_eq!(made["model"], "models/resnet8_int8.onnx*");
    assert!(
        made["effect"].as_str().unwrap().contains("codes from `models/resnet8.onnx`; 1 bias adjusted"),
        "{made}"
    );
    session.command("export resnet8_int8* codes.npy --tensor layer1.conv1 --codes");
    session.command("export resnet8_int8* bias.npy --tensor layer1.conv1.bias_quantized --codes");
    let tensors = parameters(&mut session, "layer1.conv1");
    let [weight, bias] = [0, 1].map(|index| tensors[index]["scales"][0].as_f64().unwrap());
    // 8 × 0.002633807, the scale in the file.
    assert!((weight / (8.0 * 0.002_633_807) - 1.0).abs() < 1e-6, "{weight}");
    let input = parameters(&mut session, "stem")[2]["scales"][0].as_f64().unwrap();
    assert!((bias / (weight * input) - 1.0).abs() < 1e-6, "{bias} is not {weight} · {input}");
    let expected = |name: &str, scale: f64, limit: f64| -> Vec<i64> {
        let code =
            |value: f32| (f64::from(value) / scale).round_ties_even().clamp(-limit - 1.0, limit) as i64;
        numbers(&world.path(name), f32::from_le_bytes).into_iter().map(code).collect()
    };
    let codes: Vec<i64> =
        numbers(&world.path("codes.npy"), i8::from_le_bytes).into_iter().map(i64::from).collect();
    assert_eq!(codes, expected("w.npy", weight, 127.0));
    let codes: Vec<i64> =
        numbers(&world.path("bias.npy"), i32::from_le_bytes).into_iter().map(i64::from).collect();
    assert_eq!(codes, expected("b.npy", bias, 2_147_483_647.0));
    // The file is as before, and so is its own model.
    let file = session.command("quant layer1.conv1 --model models/resnet8_int8.onnx");
    let scale = file["tensors"][0]["scales"][0].as_f64().unwrap();
    assert!((scale / 0.002_633_807 - 1.0).abs() < 1e-6, "{scale}");
}

/// Damage, find it, mend it, save it, and go back.
#[test]
fn a_damaged_scale_is_found_mended_saved_and_undone() {
    let world = World::new();
    let mut session = loaded(&world);
    session.command("data few = models/digits.npz --samples 64");
    let at = |compared: &Value, layer: &str| -> f64 {
        let layers = compared["layers"].as_array().unwrap();
        layers.iter().find(|row| row["layer"] == layer).unwrap()["local"]["sqnr_db"].as_f64().unwrap()
    };
    let before = session.command("compare models/resnet8.onnx models/resnet8_int8.onnx --data few");
    session.command("scale layer1.conv1.weight × 16");
    let damaged = session.command("compare models/resnet8.onnx resnet8_int8* --data few");
    // Steps sixteen times as wide cost this layer 24 dB by the formula; its input's rounding is another part of its error.
    assert!(at(&before, "layer1.conv1") - at(&damaged, "layer1.conv1") > 15.0);
    assert!((at(&before, "layer3.conv1") - at(&damaged, "layer3.conv1")).abs() < 1.0);
    let worst = |compared: &Value| -> String {
        let mut layers = compared["layers"].as_array().unwrap().clone();
        layers.retain(|row| row["local"]["sqnr_db"].is_f64());
        let by = |row: &Value| row["local"]["sqnr_db"].as_f64().unwrap();
        layers.sort_by(|one, other| by(one).total_cmp(&by(other)));
        layers[0]["layer"].as_str().unwrap().to_owned()
    };
    assert_eq!(worst(&damaged), "layer1.conv1");
    let swept = session.command("sweep layer1.conv1.weight.scale ×0.03125..×2 --steps 7 --apply --data few");
    assert!(swept["applied"].as_str().unwrap().starts_with("set layer1.conv1.weight.scale "), "{swept}");
    let mended = session.command("compare models/resnet8.onnx resnet8_int8* --data few");
    assert!(at(&mended, "layer1.conv1") > at(&damaged, "layer1.conv1") + 10.0);
    // The file gives the numbers that the model in memory gave.
    session.command("export resnet8_int8* mended.onnx");
    let saved = session.command("compare models/resnet8.onnx mended.onnx --data few");
    assert_eq!(saved["layers"], mended["layers"]);
    let undone = session.command("undo 5");
    assert_eq!((&undone["changes"], undone["taken_back"].as_array().unwrap().len()), (&json!(0), 2));
    session.command("export resnet8_int8* first.onnx");
    let same = |one: &str, other: &str| {
        std::fs::read(world.path(one)).unwrap() == std::fs::read(world.path(other)).unwrap()
    };
    assert!(same("first.onnx", "models/resnet8_int8.onnx"));
    session.command("redo 2");
    session.command("export resnet8_int8* again.onnx");
    assert!(same("again.onnx", "mended.onnx"));
}

/// Without its quantization, the last layer computes what the float model's weights give.
#[test]
fn a_layer_that_is_turned_off_computes_with_real_numbers() {
    let world = World::new();
    let mut session = loaded(&world);
    let off = session.command("set fc.quantized off");
    assert_eq!(off["effect"], "computes with real numbers; weight from `models/resnet8.onnx`");
    let kernels = session.command("kernels");
    // 16 of the file's layers are quantized: the Gemm is not any more, nor is the Softmax, which read its rounded output.
    assert_eq!(kernels["quantized"], json!(14));
    let layers = session.command("layers");
    let layers = layers["layers"].as_array().unwrap();
    let count = |op: &str| layers.iter().filter(|layer| layer["op_type"] == op).count();
    // The pairs of the output and of the input, which only this layer read, and those of its weight and bias are gone.
    assert_eq!((count("QuantizeLinear"), count("DequantizeLinear")), (14, 32));
    session.command("input models/digits.npz:images[0:16]");
    let compared = session.command("compare models/resnet8.onnx resnet8_int8*");
    let row = |layer: &str| {
        compared["layers"].as_array().unwrap().iter().find(|row| row["layer"] == layer).unwrap().clone()
    };
    // Nothing of it is rounded: alone it has no error.
    assert!(
        row("fc")["local"].is_null()
            || row("fc")["local"]["sqnr_db"] == "inf"
            || row("fc")["local"]["sqnr_db"].as_f64().unwrap() > 100.0,
        "{}",
        row("fc")
    );
    session.command("set fc.quantized on");
    assert_eq!(session.command("changes")["changes"], json!([]));
}

/// With every layer turned off, the quantized models are the float model again: its weights, and the ReLUs that quantizers left to
/// the codes.
#[test]
fn without_any_quantization_the_float_model_is_left() {
    let world = World::new();
    let mut session = world.session();
    session.command("load models/resnet8.onnx models/resnet8_int8.onnx models/resnet8_uint8.onnx");
    for name in ["resnet8_int8", "resnet8_uint8"] {
        session.command(&format!("use models/{name}.onnx"));
        let is_plumbing = |layer: &Value| layer["op_type"].as_str().unwrap().ends_with("uantizeLinear");
        // One that is turned off may leave nothing quantized in its neighbors.
        loop {
            let layers = session.command("layers")["layers"].as_array().unwrap().clone();
            let quantized = |layer: &&Value| !layer["quantization"].is_null() && !is_plumbing(layer);
            let Some(layer) = layers.iter().find(quantized) else { break };
            session.command(&format!("set {}.quantized off", layer["path"].as_str().unwrap()));
        }
        let left = session.command("layers")["layers"].as_array().unwrap().clone();
        assert_eq!(left.iter().filter(|layer| is_plumbing(layer)).count(), 0);
        let evaluated = session.command(&format!(
            "evaluate models/resnet8.onnx '{name}*' --data models/digits.npz --samples 32"
        ));
        assert_eq!(evaluated["models"][1]["agreement"]["sqnr_db"], json!("inf"), "{name}");
    }
}

#[test]
fn what_cannot_be_set_is_refused_with_what_can() {
    let world = World::new();
    for (line, message, hint) in [
        ("set layer1.conv1.weight.zero_point 200", "codes from -128 to 127", ""),
        (
            "set layer1.conv1.weight.scale 0",
            "a scale of `layer1.conv1.weight` would be 0",
            "A scale is from 1.17549e-38",
        ),
        ("set layer1.conv1.weight.scale[3] 1", "has one scale for all", ""),
        ("set layer1.relu1.output.scale 1", "no layer", ""),
        (
            "set softmax.output.scale 1",
            "the output of `softmax` is not quantized",
            "What is: `softmax.input`.",
        ),
        (
            "set layer1.conv1 1",
            "`conv1` cannot be set",
            "Set `scale`, `zero_point`, `range`, `bits` or `quantized`",
        ),
        ("set layer1.conv1.quantized on", "the file has no scales for `layer1.conv1`", ""),
        ("set normalize.mul.quantized off", "`normalize.mul` is not quantized", ""),
        ("undo", "no model has changes", "`set LAYER.weight.scale VALUE`"),
        ("try scale fc × 2", "there is no result to compare with", "Run `compare` or `evaluate` first"),
        ("sweep fc.weight.scale", "no float variant", "--reference MODEL"),
    ] {
        let ran = world.run(&format!("use models/resnet8_int8.onnx; {line}"));
        assert_ne!(ran.code, 0, "{line}: {}", ran.output);
        assert!(ran.talk.contains(message) && ran.talk.contains(hint), "{line}: {}", ran.talk);
    }
}

#[test]
fn a_journal_is_a_script_that_makes_the_same_model() {
    let world = World::new();
    let mut session = loaded(&world);
    session.command("scale layer1.conv1.weight × 2");
    session.command("set stem.output.range 0..4");
    session.command("set fc.quantized off");
    session.command("changes --out journal.qp");
    session.command("export resnet8_int8* one.onnx");
    session.command("reset");
    let journal = session.command("changes --replay journal.qp");
    assert_eq!(journal["changes"].as_array().unwrap().len(), 3);
    session.command("export resnet8_int8* two.onnx");
    let bytes = |name: &str| std::fs::read(world.path(name)).unwrap();
    assert!(bytes("one.onnx") == bytes("two.onnx"));
    // A script makes them, too, and one layer's change can be dropped.
    let mut other = loaded(&world);
    other.command("source journal.qp");
    (0..2).for_each(|_| drop(other.next("source journal.qp")));
    other.command("export resnet8_int8* three.onnx");
    assert!(bytes("one.onnx") == bytes("three.onnx"));
    let state = other.command("reset stem");
    assert_eq!(
        (&state["changes"], &state["taken_back"]),
        (&json!(2), &json!(["set stem.output.range 0..4"]))
    );
    // The words of ONNX Runtime: the names are those of the float model's tensors.
    session.command("changes --out overrides.json --as tensor-quant-overrides");
    let overrides: Value = serde_json::from_slice(&bytes("overrides.json")).unwrap();
    assert_eq!(
        overrides["relu_output"],
        json!([{"quant_type": "QInt8", "scale": f64::from(4.0_f32 / 255.0), "zero_point": -128}])
    );
    assert_eq!(overrides["layer1.conv1.weight"][0]["zero_point"], json!(0));
    session.command("changes --out exclude.json --as nodes-to-exclude");
    assert_eq!(serde_json::from_slice::<Value>(&bytes("exclude.json")).unwrap(), json!(["fc"]));
    session.command("changes --out encodings.json --as aimet");
    let encodings: Value = serde_json::from_slice(&bytes("encodings.json")).unwrap();
    let encoding = &encodings["activation_encodings"]["relu_output"][0];
    assert_eq!(
        (&encoding["offset"], &encoding["bitwidth"], &encoding["min"]),
        (&json!(0), &json!(8), &json!(0.0))
    );
}

#[test]
fn a_change_is_tried_without_leaving_a_trace() {
    let world = World::new();
    let mut session = loaded(&world);
    session.command(
        "evaluate models/resnet8.onnx models/resnet8_int8.onnx --data models/digits.npz --samples 64",
    );
    let tried = session.command("try scale layer1.conv1 × 64");
    let row = |key: &str| {
        let rows = tried["values"].as_array().unwrap();
        rows.iter().find(|row| row["key"].as_str().unwrap().ends_with(key)).unwrap().clone()
    };
    assert!(row("agreement.sqnr_db")["difference"].as_f64().unwrap() < -10.0, "{tried}");
    let before = session.command(
        "evaluate models/resnet8.onnx models/resnet8_int8.onnx --data models/digits.npz --samples 64",
    );
    assert_eq!(before["models"][1]["agreement"]["sqnr_db"], row("agreement.sqnr_db")["before"]);
    assert!(
        world.run("open models; use models/resnet8_int8.onnx; changes").talk.contains("no model has changes")
    );
    // One that harms is not kept.
    assert_eq!(session.command("try scale layer1.conv1 × 64 --keep")["is_kept"], json!(false));
}

/// `scripts/check/repair.py` holds the number of layers against that of other rules.
#[test]
fn repair_finds_layers_that_reach_the_target_and_none_that_is_not_needed() {
    let world = World::new();
    let mut session = loaded(&world);
    session.command("data few = models/digits.npz --samples 48");
    let sqnr = |session: &mut Session, name: &str| {
        let line = format!("evaluate models/resnet8.onnx '{name}' --data few");
        session.command(&line)["models"][1]["agreement"]["sqnr_db"].as_f64().unwrap()
    };
    let before = sqnr(&mut session, "models/resnet8_int8.onnx");
    let wanted = before + 3.0;
    let found = session.command(&format!(
        "repair models/resnet8_int8.onnx --min-sqnr {wanted} --data few --out mended.onnx"
    ));
    let layers: Vec<String> =
        found["layers"].as_array().unwrap().iter().map(|layer| layer.as_str().unwrap().to_owned()).collect();
    assert_eq!(found["is_reached"], json!(true));
    assert!(!layers.is_empty() && layers.len() < 14, "{layers:?}");
    assert!(sqnr(&mut session, "mended.onnx") >= wanted);
    // Quantizing any of them again, but the last that was added, misses the target.
    let last =
        found["steps"].as_array().unwrap().iter().rfind(|step| step["action"] == "add").unwrap()["layer"]
            .clone();
    for layer in layers.iter().filter(|layer| **layer != last) {
        session.command(&format!("set {layer}.quantized on"));
        assert!(sqnr(&mut session, "resnet8_int8*") < wanted, "{layer} is not needed");
        session.command("undo");
    }
    let reached = session.command("repair resnet8_int8* --min-sqnr 1 --data few");
    assert_eq!(reached["runs"], json!(1));
}

#[test]
fn a_model_that_is_written_into_the_open_folder_is_listed() {
    let world = World::new();
    std::fs::create_dir(world.path("own")).unwrap();
    for name in ["resnet8.onnx", "resnet8_int8.onnx", "digits.npz"] {
        std::fs::copy(world.path("models").join(name), world.path("own").join(name)).unwrap();
    }
    let lines = "open own; load resnet8.onnx resnet8_int8.onnx; export resnet8_int8.onnx own/resnet8_copy.onnx; \
                 convert resnet8_int8.onnx --to uint8 --out own/resnet8_u8s8.onnx; \
                 search resnet8.onnx --target-size 60KiB --data own/digits.npz --samples 8 --out own/resnet8_mixed.onnx; \
                 repair resnet8_int8.onnx --min-sqnr 1 --data own/digits.npz --samples 8 --out own/resnet8_mended.onnx; \
                 models --json";
    let found = world.json(lines);
    let text = found.to_string();
    for name in ["resnet8_copy.onnx", "resnet8_u8s8.onnx", "resnet8_mixed.onnx", "resnet8_mended.onnx"] {
        assert!(text.contains(name), "{name} is not listed: {text}");
    }
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let world = World::new();
    let ran =
        world.run("export models/resnet8_int8.onnx copy.onnx; export models/resnet8_int8.onnx copy.onnx");
    assert!(ran.talk.contains("`copy.onnx` already exists") && ran.talk.contains("--force"), "{}", ran.talk);
    let ran = world.run("export models/resnet8_int8.onnx no/copy.onnx");
    assert!(ran.talk.contains("Create the folder first."), "{}", ran.talk);
    let ran = world.run("export models/resnet8_int8.onnx models/resnet8_int8.onnx --force");
    assert!(ran.talk.contains("is the file that") && ran.talk.contains("is read from"), "{}", ran.talk);
    let ran = world.run("export models/resnet8_int8.pt copy.pt");
    assert_eq!(ran.code, 1);
    assert!(
        ran.talk.contains("only exported programs (`torch.export.save`) and float eager models"),
        "{}",
        ran.talk
    );
    let mut names: Vec<_> =
        std::fs::read_dir(world.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with(".qp-")), "{names:?}");
}

/// Each form is what the name says and computes the same but for the last step of a sum; without rounding of activations the output
/// comes closer to the float model's.
#[test]
fn a_converted_model_is_the_same_in_another_form() {
    let world = World::new();
    let mut session = world.session();
    session.command("load models/resnet8.onnx models/resnet8_int8.onnx models/resnet8_uint8.onnx");
    session.command("input models/digits.npz:images[0:48]");
    let count = |session: &mut Session, model: &str, op: &str| {
        let layers = session.command(&format!("layers {model}"))["layers"].as_array().unwrap().clone();
        layers.iter().filter(|layer| layer["op_type"] == op).count()
    };
    // 9 convolutions, 3 additions, a product and a pool.
    let made = session.command("convert models/resnet8_int8.onnx --to qoperator --out o.onnx");
    assert!(made["outputs"][0]["sqnr_db"].as_f64().unwrap() > 60.0, "{made}");
    assert_eq!(
        ["QLinearConv", "QLinearAdd", "QGemm", "Conv"].map(|op| count(&mut session, "o.onnx", op)),
        [9, 3, 1, 0]
    );
    // And back: the pairs around each of them.
    let back = session.command("convert o.onnx --to qdq --out q.onnx");
    assert!(back["outputs"][0]["sqnr_db"].as_f64().unwrap() > 60.0, "{back}");
    assert_eq!(
        ["QLinearConv", "Conv", "Add", "Gemm"].map(|op| count(&mut session, "q.onnx", op)),
        [0, 9, 3, 1]
    );
    // The same codes, moved by 128: what the float values are rounded to does not change.
    let moved = session.command("convert models/resnet8_int8.onnx --to uint8 --out u.onnx");
    assert!(moved["outputs"][0]["sqnr_db"].as_f64().unwrap() > 60.0, "{moved}");
    let parameters = |session: &mut Session, model: &str| {
        let tensors =
            session.command(&format!("quant stem --model {model}"))["tensors"].as_array().unwrap().clone();
        let activation = tensors.iter().find(|row| row["kind"] == "activation").unwrap().clone();
        (
            activation["dtype"].clone(),
            activation["zero_points"][0].as_f64().unwrap(),
            activation["scales"].clone(),
        )
    };
    let (before, after) =
        (parameters(&mut session, "models/resnet8_int8.onnx"), parameters(&mut session, "u.onnx"));
    assert_eq!((before.1 + 128.0, before.2), (after.1, after.2));
    assert_eq!((before.0, after.0), (json!("int8"), json!("uint8")));
    if cfg!(target_arch = "x86_64") {
        // ONNX Runtime has kernels for these on x86: 7 of 16 before.
        assert_eq!(session.command("kernels u.onnx")["in_integers"], json!(15));
    }
    let stripped = session.command("convert models/resnet8_int8.onnx --to float --out f.onnx");
    assert!(stripped["outputs"][0]["sqnr_db"].as_f64().unwrap() < 60.0, "{stripped}");
    // The float model has 7; one more is behind the pixels, which are never negative.
    assert_eq!(
        ["QuantizeLinear", "DequantizeLinear", "Relu"].map(|op| count(&mut session, "f.onnx", op)),
        [0, 0, 8]
    );
    let sqnr = |session: &mut Session, model: &str| {
        let found = session.command(&format!("evaluate models/resnet8.onnx {model}"));
        found["models"][1]["agreement"]["sqnr_db"].as_f64().unwrap()
    };
    assert!(sqnr(&mut session, "f.onnx") > sqnr(&mut session, "models/resnet8_int8.onnx"));
    let refused = world.run("convert models/resnet8_int8.onnx --to int8 --out i.onnx");
    assert!(refused.talk.contains("no activation has uint8 codes"), "{}", refused.talk);
    assert!(!world.path("i.onnx").exists());
}

#[test]
fn changed_models_are_listed() {
    let world = World::new();
    let mut session = world.session();
    session.command("open models");
    assert_eq!(session.command("models")["changed"], json!([]));
    session.command("use resnet8_int8.onnx");
    session.command("scale fc × 2");
    let found = session.command("models");
    let changed = json!({ "name": "resnet8_int8.onnx*", "base": "resnet8_int8.onnx", "changes": 1 });
    assert_eq!(found["changed"], json!([changed]));
    session.command("undo");
    assert_eq!(session.command("models")["changed"], json!([]));
}
